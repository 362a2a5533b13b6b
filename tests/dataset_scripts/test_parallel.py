"""A parallel map keeps the order, reads few items ahead and passes errors on."""

import math
from collections.abc import Iterator

import pytest

from dataset_scripts.parallel import AHEAD, map_in_order


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 2, 9])
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
