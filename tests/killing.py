"""Ends a forked copy of this process at the n-th change of a folder, as SIGKILL would, without clean-up."""

import os
from collections.abc import Callable
from typing import Any

from dataset_scripts.plumbing import atomic

_CALLS = ("replace", "rename", "unlink", "remove", "mkdir", "rmdir")
KILLED = 9


def changes_of(work: Callable[[], Any]) -> list[str]:
    """The renames, removals and new folders that `work` makes in this process: "call last-argument" each."""
    counted = _Counter(stop_at=None)
    with counted:
        work()
    return counted.seen


def killed_at(number: int, work: Callable[[], Any]) -> bool:
    """Run `work` in a forked process that dies right before its change `number`; whether it came to that."""
    child = os.fork()
    if child == 0:
        try:
            with _Counter(stop_at=number):
                work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED), f"the forked process ended with {code}"
    return code == KILLED


class _Counter:
    """Counts the calls that change a folder, all but those on absolute names of the system."""

    def __init__(self, stop_at: int | None) -> None:
        self.seen: list[str] = []
        self._stop_at = stop_at
        self._before: dict[str, Any] = {}

    def __enter__(self) -> None:
        for name in _CALLS:
            self._before[name] = getattr(os, name)
            setattr(os, name, self._counted(self._before[name]))
        self._exchange = atomic.exchange
        atomic.exchange = self._counted(atomic.exchange)

    def __exit__(self, *_: object) -> None:
        for name, call in self._before.items():
            setattr(os, name, call)
        atomic.exchange = self._exchange

    def _counted(self, call: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if len(self.seen) == self._stop_at:
                os._exit(KILLED)
            self.seen.append(f"{call.__name__} {args[-1]}")
            return call(*args, **kwargs)

        return counted
