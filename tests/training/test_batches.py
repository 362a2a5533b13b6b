import numpy as np
import pytest

from radir_training.batches import BatchOrder


def rows(order: BatchOrder) -> list[list[int]]:
    return [[row for row, _ in batch] for batch in order]


def test_an_epoch_visits_every_image_once() -> None:
    order = BatchOrder(rows=24, batch=8, steps=range(3), seed=(0, 1))
    assert sorted(np.concatenate(rows(order))) == list(range(24))


def test_starting_late_continues_the_same_order() -> None:
    whole = list(BatchOrder(24, 8, range(7), (0, 1)))
    assert list(BatchOrder(24, 8, range(4, 7), (0, 1))) == whole[4:]


def test_two_processes_share_the_batch_of_one() -> None:
    whole = list(BatchOrder(24, 8, range(5), (0, 1)))
    shares = [list(BatchOrder(24, 8, range(5), (0, 1), process, 2)) for process in (0, 1)]
    assert [first + second for first, second in zip(*shares, strict=True)] == whole


def test_stages_and_seeds_have_their_own_order() -> None:
    orders = [rows(BatchOrder(24, 8, range(3), seed)) for seed in ((0, 1), (0, 2), (1, 1))]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_a_batch_larger_than_the_split_is_refused() -> None:
    with pytest.raises(ValueError, match="4 images, fewer than the batch size 8"):
        BatchOrder(4, 8, range(1), (0, 1))
