"""Promises of atomic_path: whole or not at all, for files and folders."""

from pathlib import Path

import pytest

from dataset_scripts.atomic import atomic_path


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
