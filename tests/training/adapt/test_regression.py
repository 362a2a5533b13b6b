"""The closed forms, against NumPy's own: ridge by sums, the shared basis, the skill they are chosen by."""

from itertools import permutations

import numpy as np
import pytest
from radir_retrieval.metrics import retrieval_metrics

from radir_training.adapt.basis import fit_basis
from radir_training.adapt.ridge import NormalEquations
from radir_training.adapt.text_side import fit_projection
from radir_training.content_skill import ContentSkill

RNG = np.random.default_rng(0)
X, Z = RNG.normal(size=(50, 7)) + 2, RNG.normal(size=(50, 3))


def test_ridge_by_sums_is_least_squares_with_penalty_rows() -> None:
    x, z = X - X.mean(axis=0), Z - Z.mean(axis=0)
    rows = np.concatenate((x, np.sqrt(3.0) * np.eye(7))), np.concatenate((z, np.zeros((7, 3))))
    expected = np.linalg.lstsq(*rows, rcond=None)[0]
    head = NormalEquations.of(X, Z).solve(3.0)
    np.testing.assert_allclose(head.weight, expected.T, atol=1e-10)
    np.testing.assert_allclose(head(X), x @ expected, atol=1e-10)


def test_ridge_is_that_of_the_kernel() -> None:
    centred = X - X.mean(axis=0)
    kernel = centred @ centred.T
    expected = kernel @ np.linalg.solve(kernel + 3.0 * np.eye(50), Z - Z.mean(axis=0))
    np.testing.assert_allclose(NormalEquations.of(X, Z).solve(3.0)(X), expected, atol=1e-10)


def test_ridge_of_some_rows_is_that_of_these_alone() -> None:
    rows = np.array([4, 9, 11, 30, 41, 49, 2, 17])
    some = NormalEquations.of(X, Z[rows], rows).solve(1.0)
    alone = NormalEquations.of(X[rows], Z[rows]).solve(1.0)
    np.testing.assert_allclose(some.weight, alone.weight, atol=1e-12)
    np.testing.assert_allclose(some.offset, alone.offset, atol=1e-12)


def tokens(images: int = 30) -> np.ndarray:
    """(images, 4 tokens * 5 channels): the last channel never varies."""
    made = np.random.default_rng(1).normal(size=(images, 4, 5)) * np.array([1, 20, 0.3, 2, 0]) + 3
    return made.reshape(images, 20).astype(np.float16)


def test_products_in_the_basis_are_the_mean_kernel_of_the_groups() -> None:
    """The groups: the cells of a map of 3 channels, those of a map of 2, and the mean token."""
    given = tokens()
    cells = given.astype(np.float64).reshape(30, 4, 5)
    groups = (cells[:, :, :3].reshape(30, -1), cells[:, :, 3:4].reshape(30, -1), cells.mean(axis=1)[:, :4])
    kernel = np.zeros((30, 30))
    for group in groups:
        standard = (group - group.mean(axis=0)) / group.std(axis=0)
        kernel += standard @ standard.T / standard.shape[1] / len(groups)
    x = fit_basis(given, [3, 2], size=30).apply(given)
    np.testing.assert_allclose(x @ x.T, kernel, atol=2e-3)


def test_a_basis_keeps_the_leading_directions_and_is_the_same_every_time() -> None:
    given = tokens()
    whole, short = (
        fit_basis(given, [3, 2], size=30).apply(given),
        fit_basis(given, [3, 2], size=6).apply(given),
    )
    np.testing.assert_allclose(short, whole[:, :6], atol=1e-3)
    again = fit_basis(given, [3, 2], size=6)
    np.testing.assert_array_equal(again.weight, fit_basis(given, [3, 2], size=6).weight)


def test_images_of_equal_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="the same tokens"):
        fit_basis(np.ones((5, 20), np.float16), [5], size=3)


def test_the_skill_is_that_of_the_metric_less_chance() -> None:
    relevance = np.random.default_rng(2).uniform(size=(6, 6))
    features = np.random.default_rng(3).normal(size=(6, 4))
    affirms = np.array([True, False, True, True, False, True])
    skill = ContentSkill()
    skill.add(features, relevance, affirms)
    above = below = 0.0
    for query in np.flatnonzero(affirms):
        others = [i for i in range(6) if i != query]
        scores = (features @ features.T)[query, others]

        def ndcg(of: np.ndarray, gains: np.ndarray = relevance[query, others]) -> float:
            return float(retrieval_metrics(of[None], gains[None], ks=(10,)).ndcg[0, 0])

        chance = np.mean([ndcg(np.array(order, float)) for order in permutations(range(5))])
        above, below = above + ndcg(scores) - chance, below + 1 - chance
    assert skill.value == pytest.approx(above / below, abs=1e-9)


def test_a_skill_of_no_query_is_not_a_number() -> None:
    assert np.isnan(ContentSkill().value)


def test_a_projection_of_texts_takes_the_penalty_that_the_held_out_ones_ask_for() -> None:
    rng = np.random.default_rng(4)
    true, features = rng.normal(size=(2, 5)), rng.normal(size=(200, 5))
    targets = features @ true.T
    found = fit_projection(features, targets, (features, targets))
    np.testing.assert_allclose(found, true, rtol=1e-3, atol=1e-3)
