"""Promises of the entity store: each thing once, the same bytes for the same texts, no mixing of scorers."""

import json
import multiprocessing
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file

from dataset_scripts.relevance.entities import ENTITY_TYPES, Entity
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.relevance.store.store import FILES, MANIFEST, EntityStore, build_store
from tests.made_up.word_extractor import RECORDS, WordExtractor, content, many_records


@pytest.fixture(scope="module")
def store() -> EntityStore:
    return EntityStore.build(RECORDS, LexicalExtractor())


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
    again = EntityStore.load(tmp_path / "entities", LexicalExtractor())
    assert sorted(p.name for p in (tmp_path / "entities").iterdir()) == sorted([*FILES, MANIFEST])
    assert list(again.entity_texts) == list(store.entity_texts)
    assert again.texts.equals(store.texts)
    assert again.keys.equals(store.keys)
    for name in ("entity_types", "embeddings", "indptr", "entity_ids"):
        mine, other = getattr(store, name), getattr(again, name)
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)


def test_the_same_texts_give_the_same_bytes(store: EntityStore, tmp_path: Path) -> None:
    store.save(tmp_path / "a")
    EntityStore.build(iter(RECORDS), LexicalExtractor()).save(tmp_path / "b")
    for name in (*FILES, MANIFEST):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_another_scorer_version_or_a_torn_copy_is_refused(store: EntityStore, tmp_path: Path) -> None:
    folder = tmp_path / "entities"
    with pytest.raises(ValueError, match="not an entity store"):
        EntityStore.load(folder)
    store.save(folder)
    with pytest.raises(ValueError, match="was built by scorer"):
        EntityStore.load(folder, LexicalExtractor(dimension=64))
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        EntityStore.load(folder)
    (folder / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        EntityStore.load(folder)
    store.save(folder)
    (folder / "keys.arrow").write_bytes(b"ARROW1")
    with pytest.raises(ValueError, match="incomplete"):
        EntityStore.load(folder)


def test_an_empty_store_can_be_saved(tmp_path: Path) -> None:
    EntityStore.build([], LexicalExtractor()).save(tmp_path / "empty")
    assert len(EntityStore.load(tmp_path / "empty")) == 0


def test_a_store_that_was_put_together_wrongly_is_refused(store: EntityStore, tmp_path: Path) -> None:
    whole = {name: getattr(store, name) for name in EntityStore.__dataclass_fields__}
    with pytest.raises(ValueError, match="do not belong together"):
        EntityStore(**{**whole, "embeddings": store.embeddings[1:]})
    twice = pa.concat_tables([store.keys, store.keys]).replace_schema_metadata(None)
    for change, sentence in (
        ({"keys": twice}, "two texts"),
        ({"keys": pa.table({"study": ["a"]})}, "study_id and anatomy"),
        ({"keys": pa.table({"study_id": ["a"], "anatomy": [""], "row": [4]})}, "rows of keys must be 0 to 3"),
        ({"entity_ids": store.entity_ids + 1}, "entity_ids must be 0 to 3"),
        ({"entity_types": store.entity_types - 5}, "entity_types must be 0 to 4"),
        ({"indptr": store.indptr[[0, 3, 1, 2, 4]]}, "never fall"),
        ({"embeddings": np.full_like(store.embeddings, np.inf)}, "finite vector"),
        ({"embeddings": store.embeddings.astype(np.float64)}, "not as 'float64'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            EntityStore(**{**whole, **change}).save(tmp_path / "entities")
    assert not list(tmp_path.iterdir())


def test_lookup_equals_a_dictionary_of_the_records(tmp_path: Path) -> None:
    records = list(many_records())
    expected = {(study, anatomy): text for study, anatomy, text in records}
    studies = [f"study-{i}" for i in np.random.default_rng(1).integers(-5, 66, size=200)]
    studies += ["", "study-1\0", "study-1" * 9, "stud"]
    built = EntityStore.build(records, WordExtractor(), tmp_path / "entities")
    by_hand = EntityStore(**{name: getattr(built, name) for name in EntityStore.__dataclass_fields__})
    # As somebody would write the table: plain strings, any order.
    plain = pa.table({"study_id": [r[0] for r in records], "anatomy": [r[1] for r in records]})
    rows = [[built.texts[i].as_py() for i in range(len(built))].index(text) for _, _, text in records]
    object.__setattr__(by_hand, "keys", plain.append_column("row", pa.array(rows)))
    anatomies = ["", "heart", "pleura", "lung", "Rippe \u00fc", "none"]
    for known in (built, by_hand):
        for anatomy in anatomies:
            found = known.rows(studies, anatomy)
            texts = [known.text(row) if row >= 0 else None for row in found]
            assert texts == [expected.get((study, anatomy)) for study in studies]
            assert known.rows([], anatomy).shape == (0,)
        table = known.row_table(studies, anatomies)
        np.testing.assert_array_equal(table, [known.rows(studies, anatomy) for anatomy in anatomies])
    assert built.row_table(studies, []).shape == (0, 204)
    with pytest.raises(ValueError, match="Study ids are strings, got 7"):
        built.rows(["study-1", 7], "")  # type: ignore[list-item]


@pytest.mark.parametrize("ids", [["b", "a", "c"], ["10", "9", ""], ["\u00e9", "z", "\U0001f600", "abc"]])
def test_any_study_ids_are_found(ids: list[str]) -> None:
    store = EntityStore.build([(study, "", study) for study in ids], WordExtractor())
    assert store.rows(ids, "").tolist() == [*range(len(ids))]
    assert store.rows([f"{study}x" for study in ids], "").tolist() == [-1] * len(ids)


def test_files_are_what_other_readers_expect(store: EntityStore, tmp_path: Path) -> None:
    store.save(tmp_path / "entities")
    tensors = load_file(tmp_path / "entities" / "embeddings.safetensors")
    np.testing.assert_array_equal(tensors["embeddings"], store.embeddings)
    assert load_file(tmp_path / "entities" / "rows.safetensors").keys() == {"indptr", "entity_ids"}
    keys = pa.ipc.open_file(str(tmp_path / "entities" / "keys.arrow")).read_pandas()
    texts = pa.ipc.open_file(str(tmp_path / "entities" / "texts.arrow")).read_pandas()["text"]
    seen = zip(keys["study_id"], keys["anatomy"], texts[keys["row"]], strict=True)
    assert list(seen) == sorted(RECORDS, key=lambda record: (record[1], record[0]))
    entities = pa.ipc.open_file(str(tmp_path / "entities" / "entities.arrow")).read_pandas()
    assert entities["type"].tolist() == [ENTITY_TYPES[i] for i in store.entity_types]


def test_half_precision_halves_the_file_and_is_recorded(store: EntityStore, tmp_path: Path) -> None:
    store.save(tmp_path / "half", dtype="float16")
    build_store(RECORDS, LexicalExtractor(), tmp_path / "built", dtype="float16")
    assert content(tmp_path / "half") == content(tmp_path / "built")
    half = EntityStore.load(tmp_path / "half", LexicalExtractor())
    assert half.embeddings.dtype == np.float16
    assert json.loads((tmp_path / "half" / MANIFEST).read_text())["dtype"] == "float16"
    np.testing.assert_array_equal(half.embeddings, store.embeddings.astype(np.float16))
    half.save(tmp_path / "half")  # onto the files that it is mapped from
    assert content(tmp_path / "half") == content(tmp_path / "built")
    with pytest.raises(ValueError, match="float32 or float16, not as 'int8'"):
        store.save(tmp_path / "half", dtype="int8")


def test_opening_maps_the_files_and_leaves_them_alone(store: EntityStore, tmp_path: Path) -> None:
    store.save(tmp_path / "entities")
    before = content(tmp_path / "entities")
    mapped = EntityStore.load(tmp_path / "entities")
    allocated = pa.total_allocated_bytes()
    assert [mapped.text(i) for i in range(len(mapped))] == [store.text(i) for i in range(len(store))]
    assert pa.total_allocated_bytes() == allocated
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert all(str(tmp_path / "entities" / name) in maps.read_text() for name in FILES)
    for array in (mapped.embeddings, mapped.indptr, mapped.entity_ids, mapped.entity_types):
        assert array.flags.aligned and array.flags.c_contiguous and array.flags.writeable
    mapped.embeddings[0] = 7  # of this process alone
    assert content(tmp_path / "entities") == before
    assert EntityStore.load(tmp_path / "entities").embeddings[0, 0] != 7
    shutil.rmtree(tmp_path / "entities")  # a build that takes its place
    assert mapped.text(2) == store.text(2)


def test_a_mapped_store_pickles_as_its_folder(
    store: EntityStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(tmp_path / "entities")
    monkeypatch.chdir(tmp_path)
    mapped = EntityStore.load(Path("entities"))
    pickled = pickle.dumps(mapped)
    assert len(pickled) < 500
    monkeypatch.chdir("/")
    assert pickle.loads(pickled).rows(["s2"], "").tolist() == mapped.rows(["s2"], "").tolist()
    in_memory = pickle.loads(pickle.dumps(store))
    assert in_memory.entities(1) == store.entities(1)
    assert in_memory.rows(["s3", "s2"], "pleura").tolist() == store.rows(["s3", "s2"], "pleura").tolist()
    build_store(RECORDS[:2], LexicalExtractor(), tmp_path / "entities")
    with pytest.raises(ValueError, match="has been built again"):
        pickle.loads(pickled)


def _look_up(store: EntityStore) -> tuple[int, list[int], str]:
    return os.getpid(), store.rows(["s3", "s4"], "pleura").tolist(), store.text(1)


def test_forked_workers_read_the_same_store(store: EntityStore, tmp_path: Path) -> None:
    store.save(tmp_path / "entities")
    mapped = EntityStore.load(tmp_path / "entities")
    expected = _look_up(mapped)[1:]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map(_look_up, [mapped] * 4, chunksize=1)
    assert all(answer[1:] == expected and answer[0] != os.getpid() for answer in found)


def _recorded(folder: Path) -> None:
    """Bring the sizes of the manifest up to date, as if the files had been written like this."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["bytes"] = {name: (folder / name).stat().st_size for name in FILES}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_files_of_other_contents_are_refused(store: EntityStore, tmp_path: Path) -> None:
    folder = tmp_path / "entities"
    for name, data, sentence in (
        ("embeddings.safetensors", b"\xff" * 8 + b"{}", "not a safetensors file"),
        ("embeddings.safetensors", b"\x02" + b"\0" * 7 + b"{]", "not a safetensors file"),
        ("embeddings.safetensors", b"abc", "not a safetensors file"),
        ("keys.arrow", b"ARROW1 but not really", "cannot be read as an Arrow file"),
    ):
        store.save(folder)
        (folder / name).write_bytes(data)
        _recorded(folder)
        with pytest.raises(ValueError, match=sentence):
            EntityStore.load(folder)
    store.save(folder)
    (folder / "texts.arrow").write_bytes((folder / "keys.arrow").read_bytes())
    _recorded(folder)
    with pytest.raises(ValueError, match="must have the columns"):
        EntityStore.load(folder)
    store.save(folder)
    save_file({"embeddings": store.embeddings[1:]}, folder / "embeddings.safetensors")
    _recorded(folder)
    with pytest.raises(ValueError, match="do not belong together"):
        EntityStore.load(folder)
    store.save(folder)
    save_file({"embeddings": store.embeddings.astype(np.float16)}, folder / "embeddings.safetensors")
    _recorded(folder)
    with pytest.raises(ValueError, match="its manifest says"):
        EntityStore.load(folder)


def test_a_store_of_the_first_version_is_to_be_built_again(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({"format": "radir-entities", "format_version": 1}))
    with pytest.raises(
        ValueError, match=r"version 1, this code reads .* version 2 and 3: build the dataset again"
    ):
        EntityStore.load(tmp_path)
    (tmp_path / MANIFEST).write_text(json.dumps({"format": "radir-entities", "format_version": 2}))
    with pytest.raises(ValueError, match="lacks some of"):
        EntityStore.load(tmp_path)
    (tmp_path / MANIFEST).write_text("[]")
    with pytest.raises(ValueError, match="has format None"):
        EntityStore.load(tmp_path)
