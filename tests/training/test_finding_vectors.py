"""Vectors of texts whose dot products are the relevance."""

from pathlib import Path

import numpy as np
import pytest

from dataset_scripts.building.built_dataset import BuiltDataset
from radir_training.finding_vectors import FindingVectors


@pytest.fixture(scope="module")
def engine(dataset: Path):
    return BuiltDataset.open(dataset).engine_for("content")


def test_dot_products_of_landmarks_are_their_relevance_but_for_the_directions_left_out(engine) -> None:
    rows = np.arange(24)
    vectors = FindingVectors.fit(engine, rows, size=24)
    relevance = engine.block(rows, rows).astype(np.float64)
    found = vectors.transform(rows)
    values, axes = np.linalg.eigh(relevance)
    kept = values > 1e-3 * values.max()
    np.testing.assert_allclose(found @ found.T, (axes[:, kept] * values[kept]) @ axes[:, kept].T, atol=1e-8)


def test_repeated_and_missing_texts_change_nothing(engine) -> None:
    once = FindingVectors.fit(engine, np.arange(10), size=6)
    more = FindingVectors.fit(engine, np.array([3, -1, 9, 9, *range(10), -1]), size=6)
    np.testing.assert_array_equal(once.projection, more.projection)


def test_landmarks_follow_from_the_seed(engine) -> None:
    one, same, other = (
        FindingVectors.fit(engine, np.arange(40), size=4, landmarks=8, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.landmarks, same.landmarks)
    assert len(one.landmarks) == 8 and not np.array_equal(one.landmarks, other.landmarks)
    assert one.transform(np.arange(3)).shape == (3, one.projection.shape[1])


def test_without_a_text_there_is_a_sentence(engine) -> None:
    with pytest.raises(ValueError, match="there is no text"):
        FindingVectors.fit(engine, np.array([-1, -1]), size=4)
