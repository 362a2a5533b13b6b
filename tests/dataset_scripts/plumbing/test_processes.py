"""A parallel map keeps the order, reads few items ahead and passes errors on."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataset_scripts.plumbing.processes import AHEAD, map_in_order


@pytest.mark.parametrize(("processes", "count"), [(1, 0), (1, 1), (1, 9), (2, 0), (2, 1), (2, 9)])
def test_results_come_in_the_order_of_the_items(processes: int, count: int) -> None:
    assert list(map_in_order(math.factorial, range(count), processes)) == [*map(math.factorial, range(count))]


@pytest.mark.parametrize("processes", [1, 2])
def test_few_items_are_read_ahead(processes: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(50):
            taken += 1
            yield number

    for number, _ in enumerate(map_in_order(math.factorial, items(), processes)):
        assert taken - number <= AHEAD * processes + 1


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_comes_through(processes: int) -> None:
    with pytest.raises(ValueError, match="negative"):
        list(map_in_order(math.factorial, [3, 2, -1, 4], processes))


def test_no_process_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or more, got 0"):
        map_in_order(math.factorial, [1], 0)


def _killed(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_worker_ends_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="a worker process was killed"):
        list(map_in_order(_killed, [1, 2, 3], 2))


_PARENT = """
import time
from dataset_scripts.plumbing.processes import map_in_order
if __name__ == "__main__":
    list(map_in_order(time.sleep, [86400] * 3, 2))
"""


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    psutil = pytest.importorskip("psutil")
    parent = subprocess.Popen([sys.executable, str(script)], start_new_session=True)
    workers: list[Any] = []
    while len(workers) < 3:  # multiprocessing's tracker of resources, and two workers
        assert parent.poll() is None
        workers = psutil.Process(parent.pid).children()
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    for worker in workers:
        worker.wait()  # or for ever, which the limit against hangs ends
