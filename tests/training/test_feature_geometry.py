"""Effective rank and mean cosine, on features whose geometry is known."""

import numpy as np
import pytest

from radir_training.feature_geometry import feature_geometry


def test_features_that_fill_their_space_evenly_have_its_rank() -> None:
    axes = np.concatenate((np.eye(6), -np.eye(6)))
    found = feature_geometry(axes)
    assert found.effective_rank == pytest.approx(6)
    assert found.mean_cosine == pytest.approx(-1 / 11)
    assert not found.is_collapsed


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    features = np.random.default_rng(0).normal(size=(9, 4)) + 1
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    pairs = (unit @ unit.T)[np.triu_indices(9, 1)]
    assert feature_geometry(features).mean_cosine == pytest.approx(pairs.mean())


@pytest.mark.parametrize("spread", [0.0, 1e-3], ids=["equal", "nearly equal"])
def test_features_that_hardly_differ_are_collapsed(spread: float) -> None:
    features = np.ones((20, 8)) + spread * np.random.default_rng(0).normal(size=(20, 8))
    assert feature_geometry(features).is_collapsed


def test_features_on_a_line_are_collapsed_however_far_apart() -> None:
    angles = np.linspace(-1e-2, 1e-2, 11)
    both = np.concatenate((angles, angles + np.pi))
    features = np.stack((np.cos(both), np.sin(both), 0 * both), axis=1)
    found = feature_geometry(features)
    assert found.mean_cosine < 0.1 and found.effective_rank < 2 and found.is_collapsed


def test_the_geometry_of_one_feature_cannot_be_told() -> None:
    with pytest.raises(ValueError, match="two or more"):
        feature_geometry(np.ones((1, 3)))
