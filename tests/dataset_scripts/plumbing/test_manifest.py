"""A manifest tells our files from other people's."""

from pathlib import Path

import pytest

from dataset_scripts.plumbing.manifest import check_replaceable, read_manifest, write_manifest


def _ours(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a").write_text("a")
    write_manifest(folder, "kind")
    return folder


def test_files_are_listed_with_size_and_digest(tmp_path: Path) -> None:
    listed = read_manifest(_ours(tmp_path / "out"), "kind")
    sha256 = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert listed == {"sub/a": {"bytes": 1, "sha256": sha256}}


def test_what_is_ours_missing_or_empty_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (_ours(tmp_path / "out"), tmp_path / "missing", tmp_path / "empty"):
        check_replaceable(folder, "kind", "a thing")


def test_a_foreign_file_beside_ours_keeps_the_folder(tmp_path: Path) -> None:
    folder = _ours(tmp_path / "out")
    (folder / "sub" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"1 files beside those of a thing \(sub/thesis\.tex\)"):
        check_replaceable(folder, "kind", "a thing")


@pytest.mark.parametrize("manifest", ["{}", "[]", "not JSON", '{"format": "other", "files": {}}'])
def test_another_manifest_is_not_ours(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text(manifest)
    with pytest.raises(ValueError, match="is not a thing that this version wrote"):
        check_replaceable(tmp_path / "out", "kind", "a thing")


def test_a_file_in_the_place_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("notes")
    with pytest.raises(ValueError, match="is not a thing"):
        check_replaceable(tmp_path / "out", "kind", "a thing")
