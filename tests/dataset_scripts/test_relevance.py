"""Promises of the relevance engine: blocks and neighbours equal the plain formula, whatever the chunks."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dataset_scripts.entities import LexicalScorer
from dataset_scripts.ratescore import RateScoreWeights
from dataset_scripts.relevance import RelevanceEngine
from dataset_scripts.sentences import split_sentences
from dataset_scripts.store import EntityStore

TEXTS = [
    "Mild cardiomegaly.",
    "The heart is mildly enlarged.",
    "Severe cardiomegaly with edema.",
    "Heart size is normal.",
    "No pleural effusion or pneumothorax.",
    "Large left pleural effusion. No large right effusion.",
    "XXXX.",
    "Small effusion. No large effusion.",
]


def random_store(texts: int = 30, entities: int = 40, seed: int = 0) -> EntityStore:
    """Random entities, some texts without any, entities repeated within a text."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(entities, 12)).astype(np.float32)
    lengths = rng.integers(0, 9, size=texts)
    return EntityStore(
        entity_texts=[f"e{i}" for i in range(entities)],
        entity_types=rng.integers(0, 5, size=entities).astype(np.int8),
        embeddings=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        texts=pa.chunked_array([[f"text {i}" for i in range(texts)]]),
        indptr=np.cumsum([0, *lengths], dtype=np.int64),
        entity_ids=rng.integers(0, entities, size=lengths.sum()).astype(np.int32),
        keys=pa.table({"study_id": [""], "anatomy": [""], "row": [0]}),
        scorer={"name": "random", "parameters": {}},
    )


def lexical_store(texts: list[str]) -> EntityStore:
    return EntityStore.build([(str(i), "", text) for i, text in enumerate(texts)], LexicalScorer())


def pairs(engine: RelevanceEngine, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.array([[engine.pair(r, c) for c in columns] for r in rows], np.float32)


@pytest.mark.parametrize("affinity", ["long", "short"])
@pytest.mark.parametrize("seed", [0, 1])
def test_block_equals_the_formula_on_random_entities(affinity: str, seed: int) -> None:
    store = random_store(seed=seed)
    engine = RelevanceEngine(store, RateScoreWeights.named(affinity, None))
    rows, columns = np.array([3, 0, 3, 7, 29]), np.arange(30)[::-1]
    block = engine.block(rows, columns)
    assert block.dtype == np.float32
    assert block.shape == (5, 30)
    # Rounded cosines are the formula's own; the rest is float32. Random negative cosines can make sums near
    # 0.
    np.testing.assert_allclose(block, pairs(engine, rows, columns), rtol=2e-4, atol=1e-5)


def test_block_equals_the_formula_on_texts() -> None:
    engine = RelevanceEngine(lexical_store(TEXTS))
    rows = np.arange(len(TEXTS))
    np.testing.assert_allclose(engine.block(rows, rows), pairs(engine, rows, rows), atol=1e-5)


def test_block_equals_the_formula_on_open_reports(shared_data: Path) -> None:
    with (shared_data / "open-i" / "indiana_reports.csv").open(newline="", encoding="utf-8") as file:
        reports = [row["findings"] for row in csv.DictReader(file) if row["findings"]][:40]
    sentences = list(dict.fromkeys(s for report in reports for s in split_sentences(report)))[:20]
    engine = RelevanceEngine(lexical_store(list(dict.fromkeys(sentences + reports[:12]))))
    rows = np.arange(len(engine.store))
    block = engine.block(rows, rows)
    np.testing.assert_allclose(block, pairs(engine, rows, rows), atol=1e-5)
    assert ((block >= 0) & (block <= 1)).all()


def test_scores_are_symmetric_and_one_against_themselves() -> None:
    engine = RelevanceEngine(lexical_store(TEXTS))
    rows, columns = np.arange(6), np.array([5, 7, 1, 3])
    block = engine.block(rows, rows)
    np.testing.assert_array_equal(block, block.T)
    np.testing.assert_array_equal(engine.block(rows, columns), engine.block(columns, rows).T)
    np.testing.assert_array_equal(np.diag(block), np.ones(6, np.float32))
    assert engine.pair(7, 7) == 1.0  # it contradicts itself, and is still itself


def test_meaning_orders_the_scores() -> None:
    block = RelevanceEngine(lexical_store(TEXTS)).block(np.array([0]), np.arange(4))[0]
    assert block[1] == 1.0
    assert block[1] > block[2] > block[3]


def test_missing_texts_are_nan_and_empty_ones_one_half() -> None:
    engine = RelevanceEngine(lexical_store(TEXTS))
    block = engine.block(np.array([0, -1, 6]), np.array([-1, 0, 6]))
    expected = [[np.nan, 1.0, 0.5], [np.nan, np.nan, np.nan], [np.nan, 0.5, 0.5]]
    np.testing.assert_array_equal(block, np.array(expected, np.float32))
    assert np.isnan(engine.pair(-1, 0))
    assert engine.block(np.array([], int), np.array([0])).shape == (0, 1)


@pytest.mark.parametrize("budget_bytes", [1, 5_000, 100_000])
def test_chunks_and_tables_do_not_change_a_bit(budget_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    store = random_store(60, 50, seed=3)
    rows = np.arange(60)
    expected = RelevanceEngine(store).block(rows, rows)
    np.testing.assert_array_equal(
        RelevanceEngine(store, budget_bytes=budget_bytes).block(rows, rows), expected
    )
    monkeypatch.setattr("dataset_scripts.relevance._TABLE_MAX_BYTES", 0)
    np.testing.assert_array_equal(
        RelevanceEngine(store, budget_bytes=budget_bytes).block(rows, rows), expected
    )


@pytest.mark.parametrize("budget_bytes", [1, 2**28])
def test_top_k_is_the_sorted_block_with_ties_by_position(budget_bytes: int) -> None:
    store = random_store(40, seed=5)
    engine = RelevanceEngine(store, budget_bytes=budget_bytes)
    rows, columns = np.array([4, 9, 4]), np.concatenate([np.arange(40), np.arange(40)])
    positions, scores = engine.top_k(rows, columns, 12)
    block = RelevanceEngine(store).block(rows, columns)
    expected = np.argsort(-block, axis=1, kind="stable")[:, :12]
    np.testing.assert_array_equal(positions, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(block, expected, axis=1))
    assert positions.dtype == np.int64
    assert scores.dtype == np.float32


def test_top_k_leaves_missing_texts_out() -> None:
    engine = RelevanceEngine(lexical_store(TEXTS))
    positions, scores = engine.top_k(np.array([0, -1]), np.array([-1, 3, 1]), 3)
    assert positions.tolist() == [[2, 1, -1], [-1, -1, -1]]
    assert np.isnan(scores[0, 2])
    assert np.isnan(scores[1]).all()


def test_wrong_input_is_refused() -> None:
    engine = RelevanceEngine(lexical_store(TEXTS))
    with pytest.raises(ValueError, match="from -1 to 7"):
        engine.block(np.array([8]), np.array([0]))
    with pytest.raises(ValueError, match="k is 3"):
        engine.top_k(np.array([0]), np.array([0, 1]), 3)
    with pytest.raises(ValueError, match="budget_bytes"):
        RelevanceEngine(engine.store, budget_bytes=0)
