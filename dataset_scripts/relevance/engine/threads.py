"""A few threads that share compiled loops, and that survive a fork."""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_WORTH = 2**16  # cells of a simple loop, about 30 us; for less, waking a thread costs more than it saves


def rows_worth(width: int) -> int:
    """The fewest rows of so many cells each that are worth a thread of their own."""
    return max(1, _WORTH // max(1, width))


class Workers:
    """Runs a function that releases the interpreter's lock over parts of a range, on several threads.

    Args:
        threads: how many; by default as many as this process may use, or fewer if ``OMP_NUM_THREADS`` says.

    Raises:
        ValueError: fewer than one thread.
    """

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}: give 1 or more, or None for all cores")
        self.threads = threads or _available()
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"threads": self.threads, "_pool": None}

    def share(
        self, function: Callable[..., None], count: int, arguments: tuple[Any, ...], at_least: int = 1
    ) -> None:
        """Call ``function(*arguments, first, last)`` for parts that together make up 0 to ``count``.

        Args:
            function: does not depend on how the range is cut, and writes elsewhere for each part.
            count: end of the range.
            arguments: the same for each part.
            at_least: no part is shorter, except the last.
        """
        size = max(at_least, -(-count // self.threads))
        if self.threads > 1 and count > 8 * self.threads * at_least:
            size = -(-count // (4 * self.threads))  # shorter parts level out where other work slows a thread
        parts = deque((first, min(count, first + size)) for first in range(0, count, size))

        def work() -> None:
            while parts:
                try:
                    part = parts.popleft()
                except IndexError:  # another thread was faster
                    return
                function(*arguments, *part)

        helpers = min(self.threads, len(parts)) - 1
        waiting = [self._threads().submit(work) for _ in range(helpers)]
        work()
        for future in waiting:
            future.result()

    def _threads(self) -> ThreadPoolExecutor:
        """The pool of this process: a fork copies the object, not the threads."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), ThreadPoolExecutor(self.threads, thread_name_prefix="relevance"))
        return self._pool[1]


def _available() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return min(cores, int(wanted)) if wanted.isdigit() and int(wanted) > 0 else cores
