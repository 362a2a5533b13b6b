"""Promises of the relevance engine: blocks, pairs and neighbours equal the formula, whatever the chunks."""

import csv
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dataset_scripts.mining.sentences import split_sentences
from dataset_scripts.relevance.engine import engine as relevance
from dataset_scripts.relevance.engine.engine import RelevanceEngine
from dataset_scripts.relevance.explain import explain
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.relevance.ratescore import RateScoreWeights, rate_score
from dataset_scripts.relevance.store.store import EntityStore

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
    return EntityStore.build([(str(i), "", text) for i, text in enumerate(texts)], LexicalExtractor())


def one_by_one(engine: RelevanceEngine, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
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
    np.testing.assert_allclose(block, one_by_one(engine, rows, columns), rtol=2e-4, atol=1e-5)


def test_block_equals_the_formula_on_texts() -> None:
    engine = RelevanceEngine(lexical_store(TEXTS))
    rows = np.arange(len(TEXTS))
    np.testing.assert_allclose(engine.block(rows, rows), one_by_one(engine, rows, rows), atol=1e-5)


def test_block_equals_the_formula_on_open_reports(shared_data: Path) -> None:
    with (shared_data / "open-i" / "indiana_reports.csv").open(newline="", encoding="utf-8") as file:
        reports = [row["findings"] for row in csv.DictReader(file) if row["findings"]][:40]
    sentences = list(dict.fromkeys(s for report in reports for s in split_sentences(report)))[:20]
    engine = RelevanceEngine(lexical_store(list(dict.fromkeys(sentences + reports[:12]))))
    rows = np.arange(len(engine.store))
    block = engine.block(rows, rows)
    np.testing.assert_allclose(block, one_by_one(engine, rows, rows), atol=1e-5)
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


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scores_are_the_reference_rounded_to_float32(seed: int) -> None:
    engine = RelevanceEngine(random_store(70, 50, seed=seed))  # two tiles
    rows = np.arange(70)
    np.testing.assert_array_equal(engine.block(rows, rows), one_by_one(engine, rows, rows))
    np.testing.assert_array_equal(engine.block(rows[::2], rows), one_by_one(engine, rows[::2], rows))


@pytest.mark.parametrize("table_bytes", [0, 4 * 20**2, 2**28])
@pytest.mark.parametrize("budget_bytes", [1, 5_000, 100_000])
def test_chunks_tables_and_threads_do_not_change_a_bit(budget_bytes: int, table_bytes: int) -> None:
    store = random_store(60, 50, seed=3)
    rows = np.arange(60)
    expected = RelevanceEngine(store).block(rows, rows)
    engine = RelevanceEngine(store, None, budget_bytes, threads=3, table_bytes=table_bytes)
    np.testing.assert_array_equal(engine.block(rows, rows), expected)
    engine.prepare()
    np.testing.assert_array_equal(engine.block(rows[:40], rows), expected[:40])


@pytest.mark.parametrize(("cells", "per_pair"), [(1, 1), (50, 8), (2**22, 16)])
@pytest.mark.parametrize("neg_weight", [0.3612, None])
@pytest.mark.parametrize("affinity", ["long", "short"])
def test_pairs_blocks_and_explanations_are_the_reference_to_the_bit(
    affinity: str, neg_weight: float | None, cells: int, per_pair: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relevance, "_CELLS", cells)
    monkeypatch.setattr(relevance, "_CELLS_PER_PAIR", per_pair)
    store, weights = random_store(40, 12, seed=6), RateScoreWeights.named(affinity, neg_weight)
    engine = RelevanceEngine(store, weights)
    rows, columns = np.random.default_rng(1).integers(0, 40, size=(2, 150))
    sides = [store.entity_embeddings(row) for row in range(40)]
    expected = [rate_score(sides[i], sides[j], weights) for i, j in zip(rows, columns, strict=True)]
    found = engine.pairs(rows, columns)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(engine.pairs(columns, rows), expected)
    everyone = np.arange(40)
    block = engine.block(everyone, everyone)
    np.testing.assert_array_equal(block[rows, columns], np.array(expected, np.float32))
    told = [explain(store, weights, i, j).score for i, j in zip(rows, columns, strict=True)]
    assert told == expected
    assert expected.count(0.5) > 10  # texts without entities


def test_pairs_of_missing_texts_are_nan() -> None:
    engine = RelevanceEngine(lexical_store(TEXTS))
    found = engine.pairs(np.array([-1, 0, -1, 6, 0]), np.array([-1, -1, 7, 0, 1]))
    np.testing.assert_array_equal(found, [np.nan, np.nan, np.nan, 0.5, 1.0])
    assert engine.pairs(np.array([], int), np.array([], int)).shape == (0,)


def test_memory_stays_within_the_budget_whatever_the_number_of_texts() -> None:
    store, budget = random_store(1500, 400, seed=1), 2 * 2**20
    engine = RelevanceEngine(store, budget_bytes=budget, threads=2, table_bytes=0)
    rows = np.arange(1500)
    engine.top_k(rows[:50], rows, 5)  # compiles
    tracemalloc.start()
    engine.top_k(rows, rows, 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < budget + 1500 * 100  # the rows themselves and their best, in a handful of arrays


def test_an_engine_answers_from_several_threads_and_after_a_pickle() -> None:
    engine = RelevanceEngine(random_store(80), threads=2)
    rows = np.arange(80)
    expected = engine.block(rows, rows)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: engine.block(rows, rows), range(8)):
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(engine)).block(rows, rows), expected)


@pytest.mark.parametrize("k", [1, 12, 70])
@pytest.mark.parametrize("budget_bytes", [1, 2**28])
def test_top_k_is_the_sorted_block_with_ties_by_position(budget_bytes: int, k: int) -> None:
    store = random_store(40, seed=5)
    engine = RelevanceEngine(store, budget_bytes=budget_bytes)
    rows, columns = np.array([4, 9, 4]), np.concatenate([np.arange(40), np.arange(40)])
    positions, scores = engine.top_k(rows, columns, k)
    block = RelevanceEngine(store).block(rows, columns)
    expected = np.argsort(-block, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(positions, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(block, expected, axis=1))
    assert positions.dtype == np.int64
    assert scores.dtype == np.float32


@pytest.mark.parametrize("k", [5, 80])
@pytest.mark.parametrize("budget_bytes", [1, 2**28])
def test_top_k_of_texts_among_themselves_is_the_sorted_block(budget_bytes: int, k: int) -> None:
    engine = RelevanceEngine(random_store(60, seed=7), budget_bytes=budget_bytes)
    rows = np.r_[np.arange(59, -1, -1), np.arange(25)]  # some texts twice
    block = engine.block(rows, rows)
    expected = np.argsort(-block, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(engine.top_k(rows, rows, k)[0], expected)


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
    with pytest.raises(ValueError, match="threads"):
        RelevanceEngine(engine.store, threads=0)
    with pytest.raises(ValueError, match="table_bytes"):
        RelevanceEngine(engine.store, table_bytes=-1)
    with pytest.raises(ValueError, match="2 rows and 1 columns"):
        engine.pairs(np.array([0, 1]), np.array([0]))
    with pytest.raises(ValueError, match="budget_bytes"):
        RelevanceEngine(engine.store, budget_bytes=0)
