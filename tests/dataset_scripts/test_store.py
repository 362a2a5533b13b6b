"""Promises of the entity store: each thing once, the same bytes for the same texts, no mixing of scorers."""

import json
from pathlib import Path

import numpy as np
import pytest

from dataset_scripts.entities import Entity, LexicalScorer
from dataset_scripts.store import FILES, MANIFEST, EntityStore

RECORDS = [
    ("s1", "", "Small left pleural effusion. Heart size is normal."),
    ("s1", "pleura", "Small left pleural effusion."),
    ("s2", "", "No pleural effusion."),
    ("s2", "pleura", "No pleural effusion."),
    ("s3", "pleura", "Small left pleural effusion."),
    ("s4", "", "XXXX."),
]


@pytest.fixture
def store() -> EntityStore:
    return EntityStore.build(RECORDS, LexicalScorer())


def test_texts_and_entities_are_stored_once(store: EntityStore) -> None:
    assert len(store) == 4
    assert len(set(zip(store.entity_texts, store.entity_types.tolist(), strict=True))) == len(
        store.entity_texts
    )
    assert store.embeddings.shape[0] == len(store.entity_texts)
    assert store.entities(1) == [Entity("left pleura", "ANATOMY"), Entity("small effusion", "DISEASE")]
    assert store.entities(3) == []


def test_rows_find_texts_by_study_and_anatomy(store: EntityStore) -> None:
    rows = store.rows(["s3", "s1", "unknown", "s4"], "pleura")
    assert rows.dtype == np.int64
    assert rows.tolist() == [1, 1, -1, -1]
    assert store.text(rows[0]) == "Small left pleural effusion."
    assert store.rows(["s1"], "no such anatomy").tolist() == [-1]
    with pytest.raises(ValueError, match="no text row -1"):
        store.text(-1)


def test_save_and_load_give_the_same_store(store: EntityStore, tmp_path: Path) -> None:
    store.save(tmp_path / "entities")
    again = EntityStore.load(tmp_path / "entities", LexicalScorer())
    assert sorted(p.name for p in (tmp_path / "entities").iterdir()) == sorted([*FILES, MANIFEST])
    assert again.entity_texts == store.entity_texts
    assert again.texts.equals(store.texts)
    assert again.keys.equals(store.keys)
    for name in ("entity_types", "embeddings", "indptr", "entity_ids"):
        mine, other = getattr(store, name), getattr(again, name)
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)


def test_the_same_texts_give_the_same_bytes(store: EntityStore, tmp_path: Path) -> None:
    store.save(tmp_path / "a")
    EntityStore.build(iter(RECORDS), LexicalScorer()).save(tmp_path / "b")
    for name in (*FILES, MANIFEST):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_another_scorer_version_or_a_torn_copy_is_refused(store: EntityStore, tmp_path: Path) -> None:
    folder = tmp_path / "entities"
    with pytest.raises(ValueError, match="not an entity store"):
        EntityStore.load(folder)
    store.save(folder)
    with pytest.raises(ValueError, match="was built by scorer"):
        EntityStore.load(folder, LexicalScorer(dimension=64))
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        EntityStore.load(folder)
    (folder / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        EntityStore.load(folder)
    store.save(folder)
    (folder / "keys.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="incomplete"):
        EntityStore.load(folder)


def test_two_texts_for_one_place_are_refused() -> None:
    with pytest.raises(ValueError, match="two texts"):
        EntityStore.build([("s", "heart", "a."), ("s", "heart", "b.")], LexicalScorer())


def test_bad_embeddings_are_refused() -> None:
    class Broken(LexicalScorer):
        def embed(self, entity_texts):  # type: ignore[no-untyped-def]
            return np.full((len(entity_texts), 4), np.nan, np.float32)

    with pytest.raises(ValueError, match="finite vector"):
        EntityStore.build(RECORDS, Broken())


def test_an_empty_store_can_be_saved(tmp_path: Path) -> None:
    EntityStore.build([], LexicalScorer()).save(tmp_path / "empty")
    assert len(EntityStore.load(tmp_path / "empty")) == 0
