"""Promises of the explanations: rate_score's score, directed_score's matches, a line that reads."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_scripts.relevance.engine.engine import RelevanceEngine
from dataset_scripts.relevance.entities import ENTITY_TYPES, Entity, EntityExtractor
from dataset_scripts.relevance.explain import Direction, Explanation, Match, explain, explain_hits
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.relevance.ratescore import RateScoreWeights, directed_score, rate_score
from dataset_scripts.relevance.store.store import EntityStore

LEXICAL = LexicalExtractor()
LEFT = "Small left pleural effusion. No pneumothorax. The hila are normal."
RIGHT = "Moderate left pleural effusion. Large pneumothorax. The heart is enlarged. Old rib fracture."


class RandomExtractor:
    """Random entities with few different vectors, so that many are equally near; "" has none."""

    name = "random"
    parameters: dict[str, Any] = {}  # noqa: RUF012

    def extract(self, texts: Sequence[str]) -> list[list[Entity]]:
        return [[Entity(word, ENTITY_TYPES[int(word[-1]) % 5]) for word in text.split()] for text in texts]

    def embed(self, entity_texts: Sequence[str]) -> np.ndarray:
        vectors = np.random.default_rng(3).normal(size=(4, 6))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        rows = [int(word[-2]) % 4 for word in entity_texts]  # alike in the last but one digit: equal
        return vectors[rows].astype(np.float32) if rows else np.zeros((0, 6), np.float32)


def random_store(texts: int = 24) -> EntityStore:
    rng = np.random.default_rng(5)
    words = [" ".join(f"e{n}" for n in rng.integers(10, 100, size=rng.integers(0, 8))) for _ in range(texts)]
    return EntityStore.build([(str(i), "", text) for i, text in enumerate(words)], RandomExtractor())


def explain_texts(
    query: str, hit: str, scorer: EntityExtractor, weights: RateScoreWeights | None = None
) -> Explanation:
    return explain_hits(query, [hit], scorer, weights)[0]


@pytest.mark.parametrize("neg_weight", [0.3612, None])
@pytest.mark.parametrize("affinity", ["long", "short"])
def test_the_score_is_that_of_the_formula_to_the_bit(affinity: str, neg_weight: float | None) -> None:
    store, weights = random_store(), RateScoreWeights.named(affinity, neg_weight)
    for row in range(len(store)):
        for column in range(len(store)):
            found = explain(store, weights, row, column)
            left, right = store.entity_embeddings(row), store.entity_embeddings(column)
            assert found.score == rate_score(left, right, weights)
            if len(left.types) and len(right.types):
                assert found.forward.score == directed_score(left, right, weights).score
                assert found.backward.score == directed_score(right, left, weights).score


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_store_on_disk_is_explained_with_the_engines_score(dtype: str, tmp_path: Path) -> None:
    random_store().save(tmp_path / "entities", dtype)
    engine = RelevanceEngine(EntityStore.load(tmp_path / "entities"))
    rows = np.arange(len(engine.store))
    found = [[explain(engine.store, None, row, column).score for column in rows] for row in rows]
    assert found == [[engine.pair(row, column) for column in rows] for row in rows]
    np.testing.assert_allclose(engine.block(rows, rows), found, atol=1e-6)


def test_contributions_and_shares_sum_up() -> None:
    store, weights = random_store(), RateScoreWeights.named()
    for row, column in ((0, 1), (2, 3), (7, 7), (9, 4)):
        found = explain(store, weights, row, column)
        for direction in (found.forward, found.backward):
            if direction.matches:
                total = sum(item.contribution for item in direction.matches)
                assert total == pytest.approx(direction.score, abs=1e-12)
                assert sum(item.share for item in direction.matches) == pytest.approx(1)
        if found.links():
            assert sum(link.share for link in found.links()) == pytest.approx(1)


def test_every_entity_has_its_nearest_match_and_ties_prefer_its_own_type() -> None:
    store, weights = random_store(), RateScoreWeights.named()
    ties = 0
    for row in range(len(store)):
        for column in range(len(store)):
            left, right = store.entity_embeddings(row), store.entity_embeddings(column)
            if not len(left.types) or not len(right.types):
                continue
            found = explain(store, weights, row, column).forward.matches
            assert sorted(item.position for item in found) == list(range(len(left.types)))
            cosines = left.vectors.astype(float) @ right.vectors.astype(float).T
            for item in found:
                near = np.flatnonzero(cosines[item.position] > cosines[item.position].max() - 1e-5)
                types = [ENTITY_TYPES[t] for t in right.types[near]]
                ties += len(set(types)) > 1
                expected = (
                    item.entity_type if item.entity_type in types else min(types, key=ENTITY_TYPES.index)
                )
                assert item.match_position in near
                assert item.match_type == expected
                assert (
                    item.weight == weights.affinity[left.types[item.position], ENTITY_TYPES.index(expected)]
                )
                assert item.sign == (weights.neg_weight if item.opposed else 1.0)
    assert ties > 50


def test_a_pair_by_hand() -> None:
    weights = RateScoreWeights.named("long", None)
    found = explain_texts("Small effusion.", "No effusion.", LEXICAL, weights)
    finding = next(item for item in found.forward.matches if item.entity == "small effusion")
    assert (finding.entity_type, finding.match, finding.match_type) == ("DISEASE", "effusion", "NON-DISEASE")
    assert finding.opposed
    assert finding.sign == pytest.approx(0.87166, abs=1e-5)
    assert finding.weight == pytest.approx(0.37891, abs=1e-5)
    assert finding.contribution == pytest.approx(finding.similarity * finding.sign * finding.share)


def test_the_line_reads_the_most_telling_first() -> None:
    line = explain_texts(LEFT, RIGHT, LEXICAL).line(1000)
    links = line.split("; ")
    assert links[0].startswith("small effusion ~ moderate effusion (0.")
    assert "left pleura = left pleura (1.00)" in links
    assert any(
        link.startswith("no pneumothorax ≠ large pneumothorax (") and link.endswith(", contradicts)")
        for link in links
    )
    assert any(link.startswith("normal ") for link in links)  # not "no normal"
    assert any(link.endswith(", far)") for link in links)
    found = explain_texts(LEFT, RIGHT, LEXICAL).links()
    assert [link.share for link in found] == sorted((link.share for link in found), reverse=True)


def test_the_first_text_stands_on_the_left_in_both_directions() -> None:
    there, back = (explain_texts(*texts, LEXICAL) for texts in ((LEFT, RIGHT), (RIGHT, LEFT)))
    turned = {(link.right, link.left, link.similarity) for link in back.links()}
    assert {(link.left, link.right, link.similarity) for link in there.links()} == turned
    assert there.score == pytest.approx(back.score, abs=1e-15)


def test_a_pair_named_twice_is_one_link() -> None:
    found = explain_texts("Small effusion. Small effusion.", "Small effusion.", LEXICAL)
    assert found.line() == "small effusion = small effusion (1.00); pleura = pleura (1.00)"
    assert len(found.forward.matches) == 4


def test_the_line_keeps_its_length_and_counts_what_it_leaves_out() -> None:
    found = explain_texts(LEFT * 2, RIGHT * 3, LEXICAL)
    count = len(found.links())
    assert count > 4
    for length in range(40, 400, 7):
        line = found.line(length)
        assert len(line) <= length
        shown = line.count(" (") if "…" not in line else 1
        assert (f"and {count - shown} more" in line) == (shown < count)
    with pytest.raises(ValueError, match="at least 40"):
        found.line(10)


def test_an_endless_entity_is_cut() -> None:
    match = Match("a" * 500, "DISEASE", 0, "b" * 500, "DISEASE", 0, 0.9, 1.0, 1.0, False, 1.0, 0.9)
    line = Explanation(0.9, Direction(0.9, (match,)), Direction(0.9, ())).line(80)
    assert len(line) == 80
    assert line.endswith("…")


@pytest.mark.parametrize(
    ("text", "entity_type", "shown"),
    [
        ("pneumothorax", "NON-DISEASE", "no pneumothorax"),
        ("within normal limits", "NON-ABNORMALITY", "within normal limits"),
        ("clear", "NON-ABNORMALITY", "clear"),
        ("no effusion", "NON-DISEASE", "no effusion"),
        ("small effusion", "DISEASE", "small effusion"),
        ("acute\n process", "NON-ABNORMALITY", "no acute process"),
    ],
)
def test_negation_is_shown_once_and_the_normal_stays_normal(text: str, entity_type: str, shown: str) -> None:
    match = Match(text, entity_type, 0, "x", "ANATOMY", 0, 0.9, 1.0, 1.0, False, 1.0, 0.9)
    assert Explanation(0.9, Direction(0.9, (match,)), Direction(0.9, ())).links()[0].left == shown


def test_texts_without_entities_say_so() -> None:
    for texts in (("", "No effusion."), ("No effusion.", "  "), ("", "")):
        found = explain_texts(*texts, LEXICAL)
        assert found.score == 0.5
        assert not found.links()
        assert found.line() == "no entities to compare: 0.50 by convention"


def test_weights_that_sum_to_zero_give_zero() -> None:
    found = explain_texts("No effusion.", "No effusion.", LEXICAL, RateScoreWeights(np.zeros((5, 5)), 0.5))
    assert found.score == 0.0
    assert all(item.share == item.contribution == 0.0 for item in found.forward.matches)


def test_it_is_plain_json() -> None:
    found = explain_texts(LEFT, RIGHT, LEXICAL)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["score"] == found.score
    assert data["line"] == found.line()
    assert data["forward"]["matches"][0]["entity"] == found.forward.matches[0].entity


def test_hits_are_explained_in_their_order_and_as_one_by_one() -> None:
    hits = [RIGHT, "", LEFT, RIGHT]
    found = explain_hits(LEFT, hits, LEXICAL)
    assert [item.score for item in found] == [explain_texts(LEFT, hit, LEXICAL).score for hit in hits]
    assert found[2].score == 1.0
    assert explain_hits(LEFT, [], LEXICAL) == []


def test_a_missing_text_is_refused() -> None:
    store = random_store(3)
    for row in (-1, 3):
        with pytest.raises(ValueError, match=r"no text row|rows"):
            explain(store, RateScoreWeights.named(), 0, row)
