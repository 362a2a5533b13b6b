"""A run that is asked to stop: it ends its step, saves a checkpoint, says so, and exits with its own code.

Clusters pre-empt with SIGTERM, people with Ctrl-C, a closing terminal with SIGHUP. A launcher that dies of a
signal does not tell its child, which would train on unseen; that its parent is gone counts as SIGTERM.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
# What `accelerate launch` sets in the environment of what it starts, and torchrun in that of its workers.
_LAUNCHED = ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID")


class Interrupted(KeyboardInterrupt):
    """The run was stopped by a signal.

    Attributes:
        code: the exit code that says so: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, number: int, where: str) -> None:
        super().__init__(
            f"stopped by {signal.Signals(number).name} {where}; the same command resumes from there"
        )
        self.code = 128 + number


class StopRequest:
    """Whether this process was asked to stop.

    Attributes:
        safe: whether a request waits until someone looks, since there is something to save; it raises
            `Interrupted` at once otherwise.
    """

    def __init__(self) -> None:
        self.safe = False
        self._number = 0
        self._launcher = os.getppid() if any(name in os.environ for name in _LAUNCHED) else None

    @property
    def number(self) -> int:
        """The signal that asks to stop, 0 for none; SIGTERM too where the launcher is gone."""
        if not self._number and self._launcher not in (None, os.getppid()):
            return int(signal.SIGTERM)
        return self._number

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signals: the second one stops at once."""
        if self._number:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._number = number
        if not self.safe:
            raise Interrupted(number, "before the first step")


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Notice signals as long as the block runs; those that are ignored (nohup) stay so."""
    request = StopRequest()
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # others cannot set handlers
        for number in _SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, request.receive)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_signals_to_the_parent(worker: int = 0) -> None:
    """For workers that read images: signals reach the whole group, and the step under way needs them."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
