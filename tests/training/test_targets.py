"""Relevance of a batch by the rows of its studies, and the anatomies that a step is conditioned on."""

from types import SimpleNamespace

import numpy as np
import pytest

from dataset_scripts.building.relevance_tables import WHOLE_REPORT
from radir_training.targets import Targets

ROWS = {
    WHOLE_REPORT: np.arange(6),
    "heart": np.array([0, 1, 2, 3, 4, -1]),
    "spine": np.array([0, -1, 2, -1, -1, -1]),
}


def block(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A relevance whose entries tell the rows that they are of, NaN where a study has no findings."""
    known = (rows >= 0)[:, None] & (columns >= 0)[None]
    return np.where(known, rows[:, None] + 10 * columns[None], np.nan).astype(np.float32)


TARGETS = Targets([], ROWS, SimpleNamespace(block=block))  # type: ignore[arg-type]


def test_the_relevance_of_a_batch_is_in_its_order_and_nan_without_findings() -> None:
    found = TARGETS.relevance("heart", np.array([4, 5, 0]))
    expected = [[44, np.nan, 4], [np.nan] * 3, [40, np.nan, 0]]
    np.testing.assert_array_equal(found.numpy(), np.array(expected, dtype=np.float32))


def test_the_anatomies_of_a_step_are_distinct_and_follow_from_the_seed() -> None:
    for step in range(5):
        drawn = TARGETS.sample_anatomies(8, (0, step))
        assert sorted(drawn) == ["heart", "spine"]
        assert drawn == TARGETS.sample_anatomies(8, (0, step))


def test_an_anatomy_of_more_studies_is_drawn_more_often() -> None:
    drawn = [TARGETS.sample_anatomies(1, (0, step))[0] for step in range(400)]
    share = np.log(5) / (np.log(5) + np.log(2))
    assert drawn.count("heart") / 400 == pytest.approx(share, abs=0.08)


def test_without_an_anatomy_to_compare_there_is_a_sentence() -> None:
    TARGETS.require_anatomies("made-up")
    with pytest.raises(ValueError, match="no anatomy has findings in two or more training images of made-up"):
        Targets([], {WHOLE_REPORT: ROWS[WHOLE_REPORT]}, TARGETS.engine).require_anatomies("made-up")
