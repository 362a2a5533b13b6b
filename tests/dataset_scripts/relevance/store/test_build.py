"""Promises of building a store: nothing bad gets in; batches and processes do not change what comes out."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_scripts.relevance.entities import Entity
from dataset_scripts.relevance.store import build as store_build
from dataset_scripts.relevance.store.store import EntityStore, build_store
from tests.made_up.word_extractor import RECORDS, WordExtractor, content, many_records


@pytest.mark.parametrize("between", [[], [("t", "heart", "b.")]])
def test_two_texts_for_one_place_are_refused(between: list[tuple[str, str, str]]) -> None:
    """Also where other studies come between them."""
    records = [("s", "heart", "a."), *between, ("s", "heart", "a.")]
    with pytest.raises(ValueError, match="Study 's' has two texts for anatomy 'heart'"):
        EntityStore.build(records, WordExtractor())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"embed": lambda v: v * np.nan}, "finite vector"),
        ({"embed": lambda v: v[1:]}, "finite vector"),
        ({"embed": lambda v: v[:, 0]}, "finite vector"),
        ({"embed": lambda v: v * 3}, "length 3: a cosine needs vectors of length 1"),
        ({"extract": [[]]}, "entities of 1 texts for 4"),
        ({"extract": [[Entity("rib", "BONE")], [], [], []]}, "'rib' of type 'BONE'"),
    ],
)
def test_a_scorer_that_returns_nonsense_is_refused(
    change: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=sentence):
        build_store(RECORDS, WordExtractor(**change), tmp_path / "entities")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (("s", "", None), "three strings"),
        ((7, "", "a."), "three strings"),
        (("s", "", "\ud800"), "not valid Unicode"),
        (("s" * 256, "", "a."), "256 bytes"),
        (("s\0", "", "a."), "no NUL"),
    ],
)
def test_records_that_cannot_be_stored_are_refused(record: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        EntityStore.build([record], WordExtractor())


def test_batches_and_processes_do_not_change_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_store(many_records(), WordExtractor(), tmp_path / "whole")
    build_store(iter(list(many_records())), WordExtractor(), tmp_path / "again")
    assert content(tmp_path / "whole") == content(tmp_path / "again")
    monkeypatch.setattr(store_build, "TEXTS_AT_ONCE", 7)
    monkeypatch.setattr(store_build, "ENTITIES_AT_ONCE", 2)
    scorer = WordExtractor()
    build_store(many_records(), scorer, tmp_path / "one")
    build_store(many_records(), WordExtractor(), tmp_path / "two", processes=2)
    assert max(scorer.asked[:-4]) == 7
    assert content(tmp_path / "one") == content(tmp_path / "two")
    whole, one = (EntityStore.load(tmp_path / name) for name in ("whole", "one"))
    assert [whole.entities(i) for i in range(len(whole))] == [one.entities(i) for i in range(len(one))]
    np.testing.assert_array_equal(whole.embeddings, one.embeddings)


def test_a_scorer_that_cannot_be_pickled_is_told_to_use_one_process() -> None:
    with pytest.raises(ValueError, match="give processes=1"):
        EntityStore.build(RECORDS, WordExtractor(embed=lambda v: v), processes=2)


def test_a_text_with_two_types_is_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_build, "ENTITIES_AT_ONCE", 1)
    found = [[Entity("edema", "DISEASE"), Entity("rib", "ANATOMY"), Entity("edema", "NON-DISEASE")]]
    scorer = WordExtractor(extract=found)
    store = EntityStore.build([("s", "", "edema rib no edema")], scorer)
    assert scorer.asked == [1, 1, 1]
    assert [list(row).index(1) for row in store.embeddings] == [5, 3, 5]


def test_a_full_disk_is_noticed_before_the_embeddings_are_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ValueError, match=r"entities could not be written \(No space left on device\)"):
        build_store([("1", "", "Large heart.")], WordExtractor(), tmp_path / "entities")
    assert not list(tmp_path.iterdir())
