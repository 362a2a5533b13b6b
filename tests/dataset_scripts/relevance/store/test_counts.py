"""Promises of what a store keeps beside texts and vectors: training reports that hold an entity, severity."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dataset_scripts.relevance.engine.engine import RelevanceEngine
from dataset_scripts.relevance.formulas import ContentWeights, Corpus, named_formula
from dataset_scripts.relevance.store.store import EntityStore, build_store
from tests.made_up.old_store import as_version_2
from tests.made_up.word_extractor import RECORDS, WordExtractor, content, many_records


class SevereExtractor(WordExtractor):
    """Knows of a large thing that it is urgent and of an effusion that it is not."""

    severe: float = 0.5

    def severities(self, entity_texts: Sequence[str]) -> np.ndarray:
        return np.array([self.severe if text == "effusion" else 1.0 for text in entity_texts], np.float32)


def test_each_entity_counts_the_training_reports_that_hold_it() -> None:
    records = list(many_records(80))
    training = {f"study-{number}" for number in range(0, 80, 3)} | {"study-unknown"}
    store = EntityStore.build(records, WordExtractor(), training=training)
    whole = [text for study, anatomy, text in records if not anatomy and study in training]
    expected = Counter(word for text in whole for word in set(text.split()))  # once a report
    assert store.training_reports == len(whole)
    assert store.document_frequencies is not None
    found = dict(zip(store.entity_texts, store.document_frequencies.tolist(), strict=True))
    assert found == {word: expected[word] for word in store.entity_texts}
    assert 0 < max(expected.values()) < len(whole)


def test_counts_and_severities_are_the_same_once_saved_and_opened(tmp_path: Path) -> None:
    build_store(many_records(), SevereExtractor(), tmp_path / "a", training=["study-4", "study-9"])
    opened = EntityStore.load(tmp_path / "a")
    opened.save(tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert opened.training_reports == 2
    assert opened.severities[list(opened.entity_texts).index("effusion")] == 0.5
    assert sorted(set(opened.severities.tolist())) == [0.5, 1.0]
    in_memory = EntityStore.build(many_records(), SevereExtractor(), training=["study-4", "study-9"])
    np.testing.assert_array_equal(in_memory.document_frequencies, opened.document_frequencies)


def test_without_training_studies_nothing_is_counted_and_content_says_so(tmp_path: Path) -> None:
    store = EntityStore.build(RECORDS, WordExtractor(), tmp_path / "entities")
    assert store.document_frequencies is None
    assert store.training_reports is None
    for ask in (lambda: RelevanceEngine.named(store, "content"), lambda: Corpus.of(store)):
        with pytest.raises(ValueError, match="build the dataset again with `radir build`, or take `paper`"):
            ask()


def test_a_store_of_the_version_before_serves_the_papers_relevance_alone(tmp_path: Path) -> None:
    store = EntityStore.build(RECORDS, SevereExtractor(), tmp_path / "entities", training=["s1"])
    rows = np.arange(len(store))
    before = RelevanceEngine(store).block(rows, rows)
    as_version_2(tmp_path / "entities")
    old = EntityStore.load(tmp_path / "entities", SevereExtractor())
    old.check_content()
    np.testing.assert_array_equal(RelevanceEngine(old).block(rows, rows), before)
    with pytest.raises(ValueError, match="build the dataset again"):
        RelevanceEngine.named(old, "content")
    np.testing.assert_array_equal(old.severities, np.ones(len(old.entity_texts)))


def test_a_severity_multiplies_the_weight_where_it_counts() -> None:
    store = EntityStore.build([("s", "", "large effusion")], SevereExtractor())
    place = list(store.entity_texts).index("effusion")
    for counts, expected in ((True, 0.5), (False, 1.0)):
        weights = ContentWeights(severity=counts)
        formula = named_formula(store, "content", weights=weights, corpus=Corpus())
        assert formula.tables().entity_weight[place] == expected


def test_severities_that_are_none_are_refused(tmp_path: Path) -> None:
    scorer = SevereExtractor()
    for scorer.severe in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="above 0 and at most 1"):
            build_store([("s", "", "effusion")], scorer, tmp_path / "entities")
    store = EntityStore.build(RECORDS, WordExtractor(), training=["s1"])
    whole = {name: getattr(store, name) for name in EntityStore.__dataclass_fields__}
    for change, sentence in (
        ({"severities": store.severities * 0}, "above 0 and at most 1"),
        ({"severities": store.severities[1:]}, "do not belong together"),
        ({"training_reports": None}, "do not belong together"),
        ({"document_frequencies": store.document_frequencies + 2}, "document frequencies must be 0 to 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            EntityStore(**{**whole, **change}).save(tmp_path / "entities")
    assert not list(tmp_path.iterdir())
