"""Label metrics: scikit-learn's without ties, the mean over all orders with ties, chance in closed form."""

from itertools import permutations

import numpy as np
import pytest
from radir_eval.labels.metrics import LabelScores, RankedBlock, chance_level
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score


def in_order(label: np.ndarray, k: int) -> tuple[float, float]:
    """Precision@k and average precision of one ranking (best first) of certain labels, by hand."""
    hits = [np.mean(label[: place + 1]) for place in np.flatnonzero(label)]
    return float(np.mean(label[:k])), float(np.mean(hits))


def score(scores: list[float], label: list[int], k: int, excluded: list[int] | None = None) -> LabelScores:
    row = np.array([scores])
    left_out = np.zeros(row.shape, dtype=bool)
    left_out[0, excluded or []] = True
    return RankedBlock(row, left_out).scores(np.array([0]), np.array(label, dtype=np.int8), k)


def test_average_precision_by_hand() -> None:
    found = score([0.9, 0.8, 0.7, 0.6], [1, 0, 0, 1], k=3)
    assert found.average_precision[0] == pytest.approx((1 / 1 + 2 / 4) / 2)
    assert found.precision[0] == pytest.approx(1 / 3)


def test_without_ties_it_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, label = rng.normal(size=(20, 50)), rng.integers(0, 2, 50)
    found = RankedBlock(scores, np.zeros(scores.shape, dtype=bool)).scores(np.arange(20), label, 5)
    expected = [average_precision_score(label, row) for row in scores]
    np.testing.assert_allclose(found.average_precision, expected, atol=1e-12)
    # ... and its mean over queries is what scikit-learn calls label ranking average precision.
    mean = label_ranking_average_precision_score(np.tile(label, (20, 1)), scores)
    assert found.average_precision.mean() == pytest.approx(mean)


def test_ties_are_the_mean_over_all_orders() -> None:
    scores, label = np.array([2.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5]), np.array([0, 1, 0, 1, 0, 1, 0])
    orders = [[0, *middle, *last] for middle in permutations((1, 2, 3, 4)) for last in permutations((5, 6))]
    precision, average = np.mean([in_order(label[order], 3) for order in orders], axis=0)
    found = score(scores.tolist(), label.tolist(), k=3)
    assert found.precision[0] == pytest.approx(precision)
    assert found.average_precision[0] == pytest.approx(average)


def test_the_order_of_tied_candidates_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    scores, label = rng.integers(0, 4, (6, 30)).astype(float), rng.integers(-1, 2, 30)
    excluded = rng.random(scores.shape) < 0.2
    order = rng.permutation(30)
    rows = np.arange(6)
    here = RankedBlock(scores, excluded).scores(rows, label, 7)
    there = RankedBlock(scores[:, order], excluded[:, order]).scores(rows, label[order], 7)
    np.testing.assert_allclose(here.precision, there.precision)
    np.testing.assert_allclose(here.average_precision, there.average_precision)


@pytest.mark.parametrize("tied", [False, True])
def test_unknown_and_excluded_candidates_are_as_if_they_were_not_there(tied: bool) -> None:
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 3, 12).astype(float) if tied else rng.normal(size=12)
    label = np.array([1, 0, -1, 1, 0, 0, -1, 1, 0, 1, 1, 0])
    kept = np.array([place for place in range(12) if label[place] >= 0 and place not in (0, 4)])
    found = score(scores.tolist(), label.tolist(), k=3, excluded=[0, 4])
    expected = score(scores[kept].tolist(), label[kept].tolist(), k=3)
    assert found.precision[0] == pytest.approx(expected.precision[0])
    assert found.average_precision[0] == pytest.approx(expected.average_precision[0])


def test_what_is_not_defined_is_nan() -> None:
    nobody = score([0.1, 0.2], [-1, -1], k=3)
    assert np.isnan(nobody.precision[0])
    assert np.isnan(nobody.average_precision[0])
    negative = score([0.1, 0.2], [0, 0], k=3)
    assert negative.precision[0] == 0.0
    assert np.isnan(negative.average_precision[0])


@pytest.mark.parametrize(("candidates", "positives"), [(1, 1), (6, 1), (6, 3), (6, 6)])
def test_chance_is_the_mean_over_all_orders(candidates: int, positives: int) -> None:
    label = np.array([1] * positives + [0] * (candidates - positives))
    orders = list(permutations(range(candidates)))
    expected = np.mean([in_order(label[list(order)], candidates) for order in orders], axis=0)
    found = chance_level(np.array([candidates]), np.array([positives]))
    assert found.precision[0] == pytest.approx(expected[0])
    assert found.average_precision[0] == pytest.approx(expected[1])


def test_chance_of_nothing_is_not_defined() -> None:
    found = chance_level(np.array([0, 4]), np.array([0, 0]))
    assert np.isnan(found.precision[0])
    assert found.precision[1] == 0.0
    assert np.isnan(found.average_precision).all()
