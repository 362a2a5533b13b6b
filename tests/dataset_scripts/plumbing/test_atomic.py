"""Promises of atomic_path: whole or not at all, for files and folders."""

import errno
from pathlib import Path

import pytest

from dataset_scripts.plumbing import atomic
from dataset_scripts.plumbing.atomic import atomic_path, remove_leftovers


def test_file_appears_whole_under_its_name(tmp_path: Path) -> None:
    target = tmp_path / "sub" / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.suffix == ".txt"
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_folder_replaces_an_existing_folder(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("old")
    with atomic_path(target) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
        assert (target / "old").exists()
    assert [p.name for p in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("folder", [False, True])
def test_failure_leaves_the_old_and_no_temporary(tmp_path: Path, folder: bool) -> None:
    target = tmp_path / "a"
    target.write_text("old")

    def write_half() -> None:
        with atomic_path(target) as temporary:
            if folder:
                temporary.mkdir()
            (temporary / "half" if folder else temporary).write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_writing_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Nothing was written"), atomic_path(tmp_path / "a"):
        pass


def test_replacing_a_folder_never_leaves_its_name_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "folder"
    (target / "sub").mkdir(parents=True)
    seen: list[bool] = []
    remove = atomic._remove

    def watched(path: Path) -> None:
        seen.append(target.is_dir())
        remove(path)

    monkeypatch.setattr(atomic, "_remove", watched)
    with atomic_path(target) as temporary:
        temporary.mkdir()
    assert seen and all(seen)
    assert not list(target.iterdir())


def test_a_file_system_that_cannot_exchange_gets_the_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "exchange", lambda one, other: False)
    test_folder_replaces_an_existing_folder(tmp_path)


def test_a_kill_between_two_renames_is_mended(tmp_path: Path) -> None:
    (tmp_path / ".folder.0123456789ab.old").mkdir()
    (tmp_path / ".folder.0123456789ab.old" / "data").write_text("old")
    (tmp_path / ".folder.ba9876543210.partial").mkdir()
    remove_leftovers(tmp_path, of="folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert (tmp_path / "folder" / "data").read_text() == "old"


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = [".a.partial", "a.0123456789ab.partial", ".b.0123456789ab.partial.txt", "notes.old"]
    for name in [*kept, ".a.0123456789ab.partial.csv", ".a.0123456789ab.old"]:
        (tmp_path / name).write_text("x")
    (tmp_path / "a").write_text("x")
    (tmp_path / "a.csv").write_text("x")
    remove_leftovers(tmp_path, of="a.csv")
    remove_leftovers(tmp_path, of="a")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "a", "a.csv"])
    remove_leftovers(tmp_path)
    assert not (tmp_path / ".b.0123456789ab.partial.txt").exists()


def test_what_was_written_is_flushed_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, flushed = tmp_path / "folder", []
    fsync = atomic._fsync

    def watched(path: str | Path) -> None:
        flushed.append((Path(path).name, target.exists()))
        fsync(path)

    monkeypatch.setattr(atomic, "_fsync", watched)
    with atomic_path(target) as temporary:
        temporary.mkdir()
        (temporary / "data").write_text("x")
    names = [name for name, _ in flushed]
    assert names[0] == "data" and names[-1] == tmp_path.name, "the file first, the folder's new name last"
    assert [there for _, there in flushed] == [False, False, True]


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ValueError, match=r"a\.txt could not be written \(No space left"), atomic_path(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert target.read_text() == "old"


def test_leftovers_of_one_name_are_not_those_of_a_longer_one(tmp_path: Path) -> None:
    for name in (".a.0123456789ab.partial", ".a.0123456789ab.partial.b", ".a.b.0123456789ab.partial"):
        (tmp_path / name).write_text("half")
    remove_leftovers(tmp_path, of="a")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.0123456789ab.partial.b",
        ".a.b.0123456789ab.partial",
    ]


def test_removal_begins_with_a_rename_to_a_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("text")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_remove", killed)
        with pytest.raises(KeyboardInterrupt):
            atomic.remove(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())
    atomic.remove(tmp_path / "folder")  # nothing there: nothing happens


def test_a_file_does_not_take_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "data").write_text("years of work")
    with pytest.raises(ValueError, match="is a folder"), atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a" / "data").is_file()
