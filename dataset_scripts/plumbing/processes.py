"""Map a function over a stream on all cores: in order, with few items under way."""

import itertools
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import Any, TypeVar

AHEAD = 2  # items for each process: one that it works on and one that waits for it

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], processes: int | None = None
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order; memory does not grow with their number.

    Args:
        function: picklable; sent to each process once, so what it keeps stays there.
        items: picklable, each worth the trip; read at most `AHEAD` items a process ahead.
        processes: how many; all cores by default. 1 stays in this process, and so does a single item. A
            script that asks for several needs the `if __name__ == "__main__":` of `multiprocessing`.

    Raises:
        ValueError: `processes` is below 1, or one of them was killed; and whatever `function` raises.

    >>> list(map_in_order(len, ["a", "bc"], processes=1))
    [1, 2]
    """
    processes = processes if processes is not None else os.cpu_count() or 1
    if processes < 1:
        raise ValueError(f"processes must be 1 or more, got {processes}")
    stream = iter(items)
    head = list(itertools.islice(stream, 2))
    if processes == 1 or len(head) < 2:  # one item is not worth a start-up
        return map(function, itertools.chain(head, stream))
    return _map_in_pool(function, itertools.chain(head, stream), processes)


def _map_in_pool(
    function: Callable[[Item], Result], items: Iterator[Item], processes: int
) -> Iterator[Result]:
    # spawn: a forked child of a process with threads (Arrow's, torch's) can hang
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start, initargs=(function,)
    ) as pool:
        flying: deque[Future[Any]] = deque()
        try:
            for item in items:
                with _deaf_to_ctrl_c():  # the first item starts the workers, which inherit it
                    flying.append(pool.submit(_call, item))
                if len(flying) == AHEAD * processes:
                    yield flying.popleft().result()
            while flying:
                yield flying.popleft().result()
        except BrokenProcessPool as error:
            raise ValueError(
                "a worker process was killed, most likely for want of memory: the same command resumes; give "
                "it fewer --processes"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Hold SIGINT back; it comes afterwards. A worker would end with a traceback while it imports."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_function: Callable[[Any], Any] | None = None  # of this worker process


def _start(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all; the parent says so, and stops its workers
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Stop at once when the parent is gone: nobody waits for the results, and another run may be at work."""
    parent = parent_process()
    assert parent is not None, "runs in worker processes"
    wait([parent.sentinel])
    os._exit(1)


def _call(item: Any) -> Any:
    assert _function is not None
    return _function(item)
