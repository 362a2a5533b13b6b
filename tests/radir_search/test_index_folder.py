"""The folder of an index: every reader gets one generation, whatever writers do and whenever they die."""

import json
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dataset_scripts.plumbing.outputs import claim
from radir_search import index_folder
from radir_search.index import RetrievalIndex
from radir_search.index_folder import Origin, file_names

NAMES = ("", "heart")
OPEN = Origin("tiny", {"weights": "0"}, {"sharing": "open", "licence": "apache-2.0"})


def _index(number: int, count: int = 3, origin: Origin = OPEN) -> RetrievalIndex:
    """All features are `number`, and all items say so."""
    features = {name: torch.full((count, 4), float(number)) for name in NAMES}
    return RetrievalIndex.create(features, [{"image_id": f"{number}-{n}"} for n in range(count)], origin)


def _number(index: RetrievalIndex) -> int:
    """The number of an index, all of whose parts must be of one."""
    found = {int(value) for name in NAMES for value in index.embeddings(name).unique()}
    found |= {int(item["image_id"].split("-")[0]) for item in index.items}
    assert len(found) == 1, f"parts of the indices {found} in one"
    return found.pop()


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b"a folder"
        for path in sorted(folder.rglob("*"))
    }


def _save_version_1(folder: Path, number: int) -> None:
    (folder / "embeddings").mkdir(parents=True)
    index, files = _index(number), file_names(NAMES)
    for name in NAMES:
        save_file({"embeddings": index.embeddings(name)}, folder / "embeddings" / files[name])
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in index.items))
    about = {"format": "radir-retrieval-index", "version": 1, "model": "tiny", "dimension": 4, "count": 3}
    about |= {"anatomies": [{"name": name, "file": files[name]} for name in NAMES]}
    (folder / "index.json").write_text(json.dumps(about))


@pytest.mark.parametrize("before", [None, 1, 2])
def test_the_same_index_has_the_same_bytes_whatever_was_there(tmp_path: Path, before: int | None) -> None:
    _index(7).save(tmp_path / "expected")
    if before == 1:
        _save_version_1(tmp_path / "index", 6)
    elif before == 2:
        _index(6, count=9).save(tmp_path / "index")
    for _ in range(2):
        _index(7).save(tmp_path / "index")
        assert _tree(tmp_path / "index") == _tree(tmp_path / "expected")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expected", "index"]


def test_readers_get_one_index_whole_while_another_process_replaces_it(tmp_path: Path) -> None:
    _index(0).save(tmp_path / "index")
    stop = threading.Event()

    def replace() -> None:
        number = 0
        while not stop.is_set():
            number = (number + 1) % 5
            _index(number, count=3 + number).save(tmp_path / "index")

    writer = threading.Thread(target=replace)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    writer.start()
    try:
        numbers = [_number(RetrievalIndex.load(tmp_path / "index")) for _ in range(60)]
    finally:
        stop.set()
        writer.join()
        sys.setswitchinterval(interval)
    assert set(numbers) <= set(range(5))


@pytest.mark.parametrize("old", [1, 2])
def test_a_reader_whose_files_were_removed_reads_the_new_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: int
) -> None:
    _save_version_1(tmp_path / "index", 1) if old == 1 else _index(1).save(tmp_path / "index")
    read_about = index_folder.read_about
    waiting = [2, 3]

    def read_late(folder: Path) -> dict[str, Any]:
        about = read_about(folder)
        if waiting:
            monkeypatch.setattr(index_folder, "read_about", read_about)
            _index(waiting.pop(0)).save(folder)
            monkeypatch.setattr(index_folder, "read_about", read_late)
        return about

    monkeypatch.setattr(index_folder, "read_about", read_late)
    assert _number(RetrievalIndex.load(tmp_path / "index")) == 3


def test_an_open_index_stays_what_it_is_when_its_folder_is_replaced(tmp_path: Path) -> None:
    _index(1).save(tmp_path / "index")
    index = RetrievalIndex.load(tmp_path / "index")
    _index(2).save(tmp_path / "index")
    assert _number(index) == 1


@contextmanager
def _killed_at(step: int) -> Iterator[None]:
    """Kill this process before its `step`-th change of the disk."""
    steps = iter(range(step))
    changes = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"}

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if (event in changes or writes) and next(steps, None) is None:
            os._exit(9)

    sys.addaudithook(watch)
    yield


def _saved_until(folder: Path, step: int, index: RetrievalIndex) -> bool:
    """Whether a process that is killed before its `step`-th change saves the index."""
    child = os.fork()
    if child == 0:
        try:
            with _killed_at(step):
                index.save(folder)
            os._exit(0)
        except BaseException:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 0


@pytest.mark.parametrize("before", [None, 1, 2])
def test_a_kill_at_any_change_leaves_one_index_and_the_next_run_nothing_else(
    tmp_path: Path, before: int | None
) -> None:
    new = _index(2)
    new.save(tmp_path / "expected")
    expected = _tree(tmp_path / "expected")
    for step in range(200):
        folder = tmp_path / f"{step}" / "index"
        if before == 1:
            _save_version_1(folder, 1)
        elif before == 2:
            _index(1).save(folder)
        done = _saved_until(folder, step, new)
        if before is not None or (folder / "index.json").exists():
            assert _number(RetrievalIndex.load(folder)) in ((2,) if done else (1, 2))
        new.save(folder)
        assert _tree(folder) == expected
        assert [path.name for path in folder.parent.iterdir()] == ["index"]
        if done:
            break
    assert 5 < step < 199


def test_files_of_others_beside_an_index_stay(tmp_path: Path) -> None:
    _save_version_1(tmp_path / "index", 1)
    mine = {"notes.txt", "embeddings/mine.npy", "generation-notes/mine.txt"}
    for name in mine:
        (tmp_path / "index" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "index" / name).write_text("mine")
    for number in (2, 3):
        _index(number).save(tmp_path / "index")
        assert {name for name, content in _tree(tmp_path / "index").items() if content == b"mine"} == mine
        assert _number(RetrievalIndex.load(tmp_path / "index")) == number
    assert not (tmp_path / "index" / "items.jsonl").exists()


@pytest.mark.parametrize(
    "name", ["index.json", "embeddings/heart.safetensors", "items.jsonl", "generation-0123456789abcdef/a.txt"]
)
def test_a_folder_of_others_is_refused_and_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('{"mine": true}')
    before = _tree(tmp_path)
    with pytest.raises(ValueError, match=r"give a|another output|move that away"):
        _index(1).save(tmp_path)
    assert _tree(tmp_path) == before


def test_a_file_of_others_inside_a_generation_is_not_removed(tmp_path: Path) -> None:
    _index(1).save(tmp_path)
    (generation,) = tmp_path.glob("generation-*")
    (generation / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds notes.txt, which the index did not write"):
        _index(2).save(tmp_path)
    assert _number(RetrievalIndex.load(tmp_path)) == 1


def test_an_output_that_is_a_file_or_below_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "index"):
        with pytest.raises(ValueError, match="give another output"):
            _index(1).save(out)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_link_stands_for_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "index")
    _index(1).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert _number(RetrievalIndex.load(tmp_path / "disk" / "index")) == 1


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with claim(tmp_path / "index"), pytest.raises(ValueError, match="is being written by process"):
        _index(1).save(tmp_path / "index")


def test_a_full_disk_is_told_with_the_file_and_the_old_index_stays(tmp_path: Path) -> None:
    _index(1).save(tmp_path / "index")
    before = _tree(tmp_path)
    large = RetrievalIndex.create({"": torch.ones(2000, 100)}, [{"image_id": n} for n in range(2000)], OPEN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # as if the disk had no more room
    try:
        with pytest.raises(ValueError, match=r"index.* could not be written"):
            large.save(tmp_path / "index")
        with pytest.raises(ValueError, match=r"other.* could not be written"):
            large.save(tmp_path / "other")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _tree(tmp_path) == before


def test_an_index_of_data_that_are_not_open_is_readable_for_its_owner_alone(tmp_path: Path) -> None:
    _index(1).save(tmp_path / "open")
    assert (tmp_path / "open").stat().st_mode & 0o077
    _index(1, origin=Origin("tiny")).save(tmp_path / "unknown")
    restricted = Origin("tiny", {}, {"sharing": "restricted", "licence": "mine"})
    _index(1, origin=restricted).save(tmp_path / "open")
    for folder in (tmp_path / "open", tmp_path / "unknown"):
        (generation,) = folder.glob("generation-*")
        assert not (folder.stat().st_mode | generation.stat().st_mode) & 0o077 or folder.name == "open"
        assert not folder.stat().st_mode & 0o077


def test_version_1_opens_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _save_version_1(tmp_path / "index", 1)
    assert _number(RetrievalIndex.load(tmp_path / "index")) == 1
    assert "nothing says which weights made the index" in caplog.text


def _about(folder: Path, **changes: Any) -> None:
    about = json.loads((folder / "index.json").read_text()) | changes
    (folder / "index.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    "changes",
    [
        {"count": -3},
        {"count": 3.0},
        {"count": True},
        {"dimension": 0},
        {"dimension": "4"},
        {"model": 5},
        {"anatomies": []},
        {"anatomies": {"": "whole-image.safetensors"}},
        {"anatomies": [{"name": "", "file": "../../etc/x.safetensors"}]},
        {"anatomies": [{"name": "", "file": "/etc/x.safetensors"}]},
        {"anatomies": [{"name": None, "file": "heart.safetensors"}]},
        {"anatomies": [{"file": "heart.safetensors"}]},
        {"anatomies": [{"name": "", "file": "heart.safetensors"}, {"name": "", "file": "b.safetensors"}]},
        {"generation": "../index"},
        {"generation": "generation-0123456789abcdef"},
        {"generation": None},
        {"model_digests": "none"},
        {"data": []},
        {"replaces": ["../notes.txt"]},
        {"version": True},
        {"version": "2"},
    ],
)
def test_a_damaged_index_json_is_told_with_its_folder(tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    _index(1).save(tmp_path / "index")
    _about(tmp_path / "index", **changes)
    with pytest.raises(ValueError, match=str(tmp_path / "index")):
        RetrievalIndex.load(tmp_path / "index")
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"null", b"{", b"[" * 100_000])
def test_an_index_json_of_anything_is_told_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    _index(1).save(tmp_path / "index")
    (tmp_path / "index" / "index.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"index.json"):
        RetrievalIndex.load(tmp_path / "index")
    with pytest.raises(ValueError, match=r"index.json would be replaced"):
        _index(2).save(tmp_path / "index")


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ("", "0 lines, and index.json says 3 images"),
        ('{"image_id": "a"}\n', "1 lines"),
        ('{"image_id": "a"}\n\n{"image_id": "b"}\n', "line 2 of .*items.jsonl is no item"),
        ('{"image_id": "a"}\n["b"]\n', "line 2 of .*items.jsonl is no item"),
        ('{"image_id": null}\n', "has no image_id"),
        ('{"image_id": "a", "findings": "clear"}\n', "findings that are no object"),
        ('{"image_id": "a", "text": 3}\n', "a text that is no text"),
        ("\xff", "line 1 of"),
    ],
)
def test_bad_lines_of_the_items_are_told_by_number(tmp_path: Path, items: str, words: str) -> None:
    _index(1).save(tmp_path)
    next(tmp_path.glob("generation-*/items.jsonl")).write_text(items, encoding="latin-1")
    with pytest.raises(ValueError, match=words):
        RetrievalIndex.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff" * 7, "cut", "shape", "type", "name"])
def test_bad_features_are_told_with_their_file(tmp_path: Path, content: bytes | str) -> None:
    _index(1).save(tmp_path)
    path = next(tmp_path.glob("generation-*/embeddings/heart.safetensors"))
    made = {
        "shape": torch.ones(3, 5),
        "type": torch.ones(3, 4, dtype=torch.float64),
        "name": torch.ones(3, 4),
    }
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif isinstance(content, str):
        save_file({"rows" if content == "name" else "embeddings": made[content]}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=str(path)):
        RetrievalIndex.load(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_no_finite_numbers_are_refused(tmp_path: Path, value: float) -> None:
    rows = torch.ones(3, 4)
    rows[1, 2] = value
    items = [{"image_id": f"image {n}"} for n in range(3)]
    with pytest.raises(ValueError, match="image 1, heart, holds NaN or infinite"):
        RetrievalIndex.create({"heart": rows}, items)
    _index(1).save(tmp_path)
    save_file({"embeddings": rows}, next(tmp_path.glob("generation-*/embeddings/heart.safetensors")))
    with pytest.raises(ValueError, match="1-1, heart, holds NaN or infinite"):
        RetrievalIndex.load(tmp_path).search(torch.ones(4), "heart")
    with pytest.raises(ValueError, match="query holds NaN"):
        _index(1).search(torch.full((4,), value))
