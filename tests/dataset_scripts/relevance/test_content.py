"""Promises of relevance by content: what texts affirm decides, whatever the wording; engine = reference."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from dataset_scripts.relevance.content import (
    LEAST_IDF,
    ContentWeights,
    WeightedEntities,
    content_score,
    directed_content,
    inverse_document_frequency,
)
from dataset_scripts.relevance.engine import engine as relevance
from dataset_scripts.relevance.engine.engine import RelevanceEngine
from dataset_scripts.relevance.explain import explain
from dataset_scripts.relevance.formulas import ContentFormula, Corpus, named_formula
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.relevance.ratescore import EntityEmbeddings, RateScoreWeights
from dataset_scripts.relevance.store.store import EntityStore
from dataset_scripts.relevance.text_scores import score_all_pairs, score_texts
from tests.dataset_scripts.relevance.engine.test_engine import random_store

LEXICAL = LexicalExtractor()
ALL_COUNT = ContentWeights(denial=0.1)
ABNORMALITY, NON_ABNORMALITY, DISEASE, NON_DISEASE, ANATOMY = range(5)


def random_formula(store: EntityStore, seed: int = 0) -> ContentFormula:
    own = np.random.default_rng(seed).uniform(0.01, 1, len(store.entity_types))
    return ContentFormula(store, ALL_COUNT, own)


def weighted(
    vectors: Sequence[Sequence[float]], types: Sequence[int], weights: Sequence[float]
) -> WeightedEntities:
    return WeightedEntities(np.array(vectors, float), np.array(types), np.array(weights, float))


def content_of(*texts: str) -> np.ndarray:
    return score_all_pairs(texts, texts, LEXICAL, relevance="content")


def test_a_pair_by_hand() -> None:
    left = weighted([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [DISEASE, ANATOMY, NON_DISEASE], [0.5, 0.2, 0.1])
    right = weighted([[0.5, 0.75**0.5, 0], [0, 0.6, 0.8]], [DISEASE, NON_ABNORMALITY], [1.0, 0.4])
    weights = ALL_COUNT
    half, near = round(0.5 * 2**20) / 2**20, round(0.75**0.5 * 2**20) / 2**20
    alike = round(0.9 * 2**20) / 2**20
    # effusion: 1 * .5, half alike; pleura: .15 * .2, nearest to the finding; denial: .1 * .1, like the other
    there = (half * 0.5 + near * 0.15 * 0.2 + alike * 0.1 * 0.1) / (0.5 + 0.15 * 0.2 + 0.1 * 0.1)
    # the finding is nearest to the anatomy; the denial to the other one, at .9 where its cosine is .8
    back = (near * 1.0 + alike * 0.1 * 0.4) / (1.0 + 0.1 * 0.4)
    assert directed_content(left, right, weights).score == pytest.approx(there, abs=1e-12)
    assert directed_content(right, left, weights).score == pytest.approx(back, abs=1e-12)
    expected = 2 * there * back / (there + back)
    assert content_score(left, right, weights) == pytest.approx(expected, abs=1e-12)


def test_a_contradiction_earns_nothing_and_counts() -> None:
    one = weighted([[1, 0], [0, 1]], [DISEASE, DISEASE], [1, 1])
    other = weighted([[1, 0], [0, 1]], [NON_DISEASE, DISEASE], [1, 1])
    assert directed_content(one, other, ALL_COUNT).score == 0.5
    assert directed_content(other, one, ALL_COUNT).score == pytest.approx(1 / 1.1)


def test_normal_texts_are_fully_alike_and_unlike_those_with_a_finding() -> None:
    normal = ["Heart size is normal.", "No cardiomegaly.", "The lungs are clear.", "Left lung."]
    found = content_of(*normal, "Small left pleural effusion.", "")
    assert_array_equal(found[:4, :4], np.ones((4, 4), np.float32))
    assert_array_equal(found[4], np.array([0, 0, 0, 0, 1, 0], np.float32))
    assert_array_equal(found[5], np.array([0.5, 0.5, 0.5, 0.5, 0, 0.5], np.float32))  # it says nothing


def test_denials_do_not_drown_the_finding() -> None:
    denials = " No pneumothorax. No pleural effusion. No focal consolidation. The heart size is normal."
    with_a_nodule, other = "Nodule in the right upper lobe." + denials, "Rib fracture." + denials
    found = content_of(with_a_nodule, "Nodule in the right upper lobe.", other)
    assert found[0, 1] > 0.6 > found[0, 2]
    paper = score_all_pairs([with_a_nodule], [with_a_nodule[:31], other], LEXICAL)[0]
    assert paper[1] > paper[0]  # which is what it corrects


def test_a_rare_finding_counts_more_than_a_frequent_one() -> None:
    texts = ["Pneumothorax. Scoliosis.", "Pneumothorax. Rib fracture.", "Scoliosis. Pleural effusion."]
    frequent = EntityStore.build(
        [(str(i), "", text) for i, text in enumerate(["Scoliosis."] * 30 + ["Pneumothorax."])],
        LEXICAL,
        training=map(str, range(31)),
    )
    plain = score_texts([texts[0]] * 2, texts[1:], LEXICAL, relevance="content")
    rare = score_texts([texts[0]] * 2, texts[1:], LEXICAL, relevance="content", corpus=Corpus.of(frequent))
    assert rare[0] > plain[0] > 0
    assert rare[1] < plain[1]


@pytest.mark.parametrize("budget_bytes", [1, 20_000, 2**28])
@pytest.mark.parametrize(("cells", "per_pair"), [(1, 1), (50, 8), (2**22, 16)])
def test_pairs_blocks_and_explanations_are_the_reference_to_the_bit(
    cells: int, per_pair: int, budget_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relevance, "_CELLS", cells)
    monkeypatch.setattr(relevance, "_CELLS_PER_PAIR", per_pair)
    store = random_store(90, 30, seed=6)  # two tiles
    formula = random_formula(store)
    engine = RelevanceEngine(store, formula, budget_bytes, threads=2)
    everyone = np.arange(90)
    expected = np.array([[formula.compare(i, j).score for j in everyone] for i in everyone])
    rows, columns = np.random.default_rng(1).integers(0, 90, size=(2, 150))
    assert_array_equal(engine.pairs(rows, columns), expected[rows, columns])
    assert_array_equal(engine.block(everyone, everyone), expected.astype(np.float32))
    assert_array_equal(engine.block(everyone[::3], everyone), expected[::3].astype(np.float32))
    told = [explain(store, formula, i, j).score for i, j in zip(rows, columns, strict=True)]
    assert_array_equal(told, expected[rows, columns])
    assert {0.0, 0.5, 1.0} < set(expected.ravel().tolist())


@pytest.mark.parametrize("budget_bytes", [1, 2**28])
def test_the_best_are_those_of_the_sorted_block(budget_bytes: int) -> None:
    store = random_store(70, seed=5)
    engine = RelevanceEngine(store, random_formula(store), budget_bytes)
    rows = np.r_[np.arange(69, -1, -1), np.arange(25)]
    block = engine.block(rows, rows)
    expected = np.argsort(-block, axis=1, kind="stable")[:, :12]
    positions, scores = engine.top_k(rows, rows, 12)
    assert_array_equal(positions, expected)
    assert_array_equal(scores, np.take_along_axis(block, expected, axis=1))
    assert_array_equal(engine.top_k(rows[:9], rows, 12)[0], expected[:9])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_scores_are_symmetric_within_0_and_1_and_1_with_themselves(dtype: str, tmp_path: Path) -> None:
    random_store(60, seed=3).save(tmp_path / "entities", dtype)
    store = EntityStore.load(tmp_path / "entities")
    engine = RelevanceEngine(store, random_formula(store))
    rows = np.arange(60)
    block = engine.block(rows, rows)
    assert_array_equal(block, block.T)
    assert ((block >= 0) & (block <= 1)).all()
    filled = np.diff(store.indptr) > 0
    own = np.diag(block)[filled]
    np.testing.assert_allclose(own, 1, atol=0 if dtype == "float32" else 1e-3)


def test_an_explanation_adds_up_and_says_what_is_a_convention() -> None:
    store = random_store(40, 30, seed=2)
    formula, computed = random_formula(store), 0
    for row in range(40):
        for column in range(40):
            found = explain(store, formula, row, column)
            if found.convention:
                assert not found.forward.matches + found.backward.matches
                continue
            computed += 1
            there, back = (
                sum(item.contribution for item in side.matches) for side in (found.forward, found.backward)
            )
            total = there + back
            assert found.score == pytest.approx(2 * there * back / total if total else 0, abs=1e-12)
            assert sum(link.share for link in found.links()) == pytest.approx(1)
    assert computed > 100


def test_no_scorer_of_another_store_and_no_unknown_option_or_relevance() -> None:
    store = random_store()
    with pytest.raises(ValueError, match="build the dataset again"):
        RelevanceEngine.named(store, "content")
    with pytest.raises(ValueError, match="There is no relevance 'bleu': choose paper or content"):
        RelevanceEngine.named(store, "bleu")
    with pytest.raises(ValueError, match="no option neg_weight; it has corpus, weights"):
        RelevanceEngine.named(store, "content", neg_weight=0.5)
    with pytest.raises(ValueError, match="one finite weight above 0"):
        ContentFormula(store, ContentWeights(), np.zeros(40))
    with pytest.raises(ValueError, match="a corpus belongs to"):
        score_texts(["a"], ["a"], LEXICAL, corpus=Corpus())
    with pytest.raises(ValueError, match="neg_weight belong to"):
        score_texts(["a"], ["a"], LEXICAL, RateScoreWeights.named(), relevance="content")
    assert RelevanceEngine.named(store).relevance == "paper"
    assert named_formula(store, "content", corpus=Corpus()).name == "content"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"finding": 0.0}, "the weight of finding is 0.0: give a finite number above 0"),
        ({"denial": -0.1}, "the weight of denial is -0.1: give a finite number of 0 or more"),
        ({"anatomy": float("nan")}, "anatomy is nan"),
        ({"denials_alike": 1.5}, "between 0 and 1"),
    ],
)
def test_weights_that_are_none_are_refused(change: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ContentWeights(**change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one weight for each entity"):
        WeightedEntities(np.eye(2), np.array([0, 1]), np.ones(3))
    assert isinstance(WeightedEntities(np.eye(1), np.array([0]), np.ones(1)), EntityEmbeddings)


def test_rarity_falls_with_the_number_of_reports_and_is_1_for_the_unseen() -> None:
    found = inverse_document_frequency(np.array([0, 1, 9, 50, 100]), 100)
    assert found[0] == 1.0
    assert (np.diff(found) < 0).all()
    assert found[2] == pytest.approx(np.log(101 / 10) / np.log(101), abs=1e-6)
    assert found[4] == LEAST_IDF
    assert_array_equal(inverse_document_frequency(np.array([0, 0]), 0), [1.0, 1.0])
    with pytest.raises(ValueError, match="the numbers do not belong together"):
        inverse_document_frequency(np.array([3]), 2)
