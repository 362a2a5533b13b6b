"""The index finds what an exact search must find, and comes back whole from its folder."""

import json

import faiss
import numpy as np
import pytest
import torch

from radir_search import index as index_module
from radir_search.index import RetrievalIndex


def _embeddings(count=300, width=16, seed=0):
    rows = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _index(count=300):
    items = [
        {"image_id": f"i{n}", "study_id": f"s{n}", "findings": {"heart": "normal"}} for n in range(count)
    ]
    features = {
        "": _embeddings(count),
        "heart": _embeddings(count, seed=1),
        "left pleura": _embeddings(count, seed=2),
    }
    return RetrievalIndex.create(features, items, "tiny")


@pytest.mark.parametrize("chunk_rows", [7, 65536])
def test_search_equals_faiss(monkeypatch, chunk_rows):
    monkeypatch.setattr(index_module, "CHUNK_ROWS", chunk_rows)
    index, queries = _index(), _embeddings(9, seed=3)
    flat = faiss.IndexFlatIP(16)
    flat.add(_embeddings(300, seed=1))
    expected, where = flat.search(queries, 20)
    scores, positions = index.search(queries, anatomy="heart", k=20)
    np.testing.assert_allclose(scores.numpy(), expected, atol=1e-6)
    np.testing.assert_array_equal(positions.numpy(), where)


@pytest.mark.parametrize("chunk_rows", [3, 4, 100])
def test_of_equal_scores_the_first_position_wins(monkeypatch, chunk_rows):
    monkeypatch.setattr(index_module, "CHUNK_ROWS", chunk_rows)
    rows = torch.tensor([[0.0], [1], [0], [1], [2], [1], [1], [2], [0], [1]])
    index = RetrievalIndex.create({"": rows}, [{"image_id": n} for n in range(10)])
    scores, positions = index.search(torch.tensor([[1.0]]), k=5)
    assert positions.tolist() == [[4, 7, 1, 3, 5]]
    assert scores.tolist() == [[2, 2, 1, 1, 1]]
    assert index.search(torch.tensor([1.0]), k=50)[1].tolist() == [[4, 7, 1, 3, 5, 6, 9, 0, 2, 8]]


def test_a_saved_index_comes_back_whole(tmp_path):
    index = _index()
    index.save(tmp_path / "index")
    again = RetrievalIndex.load(tmp_path / "index")
    assert (len(again), again.dimension, again.model) == (300, 16, "tiny")
    assert again.anatomies == ("", "heart", "left pleura")
    assert again.items == index.items
    for anatomy in index.anatomies:
        assert torch.equal(again.embeddings(anatomy), index.embeddings(anatomy))


def test_names_that_make_the_same_file_name_do_not_meet(tmp_path):
    names = ("", "whole image", "Left-Lung", "left lung")
    features = {name: torch.full((1, 2), float(n)) for n, name in enumerate(names)}
    RetrievalIndex.create(features, [{"image_id": "a"}]).save(tmp_path / "index")
    again = RetrievalIndex.load(tmp_path / "index")
    assert [again.embeddings(name)[0, 0].item() for name in names] == [0, 1, 2, 3]


def test_saving_again_replaces_and_leaves_nothing_behind(tmp_path):
    _index(5).save(tmp_path / "index")
    _index(7).save(tmp_path / "index")
    assert len(RetrievalIndex.load(tmp_path / "index")) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_failed_save_keeps_the_old_index(tmp_path):
    _index(5).save(tmp_path / "index")
    bad = RetrievalIndex.create({"": torch.zeros(1, 2)}, [{"image_id": "a", "note": {1, 2}}])
    with pytest.raises(TypeError):
        bad.save(tmp_path / "index")
    assert len(RetrievalIndex.load(tmp_path / "index")) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_folder_with_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds something that is no index"):
        _index(2).save(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_the_callers_array_can_change_afterwards():
    rows = _embeddings(4)
    index = RetrievalIndex.create({"": rows}, [{"image_id": n} for n in range(4)])
    rows[:] = 0
    assert index.embeddings().abs().sum() > 0


def test_an_unknown_anatomy_is_answered_with_the_nearest_names():
    with pytest.raises(ValueError, match="'left plura'; the nearest known: 'left pleura'"):
        _index(3).search(_embeddings(1), anatomy="left plura")


@pytest.mark.parametrize(
    ("query", "k", "message"), [(np.zeros((1, 5)), 3, "width 16"), (np.zeros((1, 16)), 0, "k is 0")]
)
def test_a_wrong_question_is_answered_with_a_sentence(query, k, message):
    with pytest.raises(ValueError, match=message):
        _index(3).search(query, k=k)


def _break(folder, part):
    about = json.loads((folder / "index.json").read_text())
    place = folder / about["generation"]
    if part == "newer":
        about["version"] = 99
    elif part == "count":
        about["count"] = 4
    elif part == "format":
        about["format"] = "other"
    elif part == "key":
        del about["anatomies"]
    elif part == "items":
        (place / "items.jsonl").write_text('{"image_id": ')
    elif part == "rows":
        (place / "embeddings" / "heart.safetensors").unlink()
    elif part == "torn":
        (place / "embeddings" / "heart.safetensors").write_bytes(b"123")
    (folder / "index.json").write_text("{" if part == "json" else json.dumps(about))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("newer", "format version 99"),
        ("count", "is damaged"),
        ("format", "right folder"),
        ("key", "is damaged"),
        ("items", "is damaged"),
        ("rows", "is damaged"),
        ("torn", "is damaged"),
        ("json", "is damaged"),
    ],
)
def test_a_damaged_index_is_refused_with_a_sentence(tmp_path, part, message):
    _index(3).save(tmp_path / "index")
    _break(tmp_path / "index", part)
    with pytest.raises(ValueError, match=message):
        RetrievalIndex.load(tmp_path / "index")


def test_no_index_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="is no index"):
        RetrievalIndex.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("features", "items", "message"),
    [
        ({}, [], "at least one anatomy"),
        ({"": np.zeros((2, 3))}, [{"image_id": 1}], "2 rows of features and 1 items"),
        ({"": np.zeros((1, 3)), "heart": np.zeros((1, 4))}, [{"image_id": 1}], "one shape"),
        ({"": np.zeros((1, 3))}, [{"study_id": 1}], "no image_id"),
    ],
)
def test_contents_that_do_not_fit_are_refused(features, items, message):
    with pytest.raises(ValueError, match=message):
        RetrievalIndex.create(features, items)
