"""What lies below a folder is listed once, or is said to be left out; never neither."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radir_search.image_files import check_kind, list_images
from tests.made_up.ctrate import chest
from tests.made_up.dicom import write_dicom, write_series

GREY = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))


def put(path: Path, form: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    GREY.save(path, format=form)
    return path


def names(folder: Path, volumes: bool = False) -> list[str]:
    return [str(path.relative_to(folder)) for path in list_images(folder, volumes)]


def test_pictures_are_known_by_any_suffix_of_theirs_or_by_their_content(tmp_path: Path) -> None:
    for name in ("a.webp", "b.gif", "c.jp2", "d.TIF", "e.bmp", "f.pgm", "g.jfif", "h.png"):
        (tmp_path / name).touch()
    put(tmp_path / "no_suffix")
    put(tmp_path / "image.0001", "JPEG")
    write_dicom(tmp_path / "y.im", np.zeros((2, 2), np.uint16), "MONOCHROME2", 12)
    write_dicom(tmp_path / "z", np.zeros((2, 2), np.uint16), "MONOCHROME2", 12)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    assert names(tmp_path) == [
        *("a.webp", "b.gif", "c.jp2", "d.TIF", "e.bmp", "f.pgm", "g.jfif", "h.png", "image.0001"),
        *("no_suffix", "y.im", "z"),
    ]


def test_images_of_formats_that_are_not_read_come_along_and_are_refused_in_words(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    for name in ("b.avif", "c.heic", "d.psd", "e.eps", "f.mha"):
        (tmp_path / name).write_bytes(b"x")
    assert len(names(tmp_path)) == 6
    with pytest.raises(ValueError, match=r"c\.heic is of a format that is not read.*save it as PNG"):
        check_kind(tmp_path / "c.heic", volumes=False)
    (tmp_path / "a.png").unlink()
    with pytest.raises(ValueError, match="but 5 images of formats that are not read"):
        list_images(tmp_path, volumes=False)


def test_linked_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    put(root / "z" / "one.png")
    put(outside / "two.png")
    (root / "a").symlink_to(root / "z")  # sorts first, and yet the folder's own name is kept
    (root / "loop").symlink_to(root)
    (outside / "back").symlink_to(root)
    (root / "linked").symlink_to(outside)
    (root / "linked_again").symlink_to(outside)
    assert names(root) == ["linked/two.png", "z/one.png"]


def test_a_folder_that_is_itself_a_link_is_walked(tmp_path: Path) -> None:
    put(tmp_path / "there" / "one.png")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert names(tmp_path / "link") == ["one.png"]


def test_links_that_lead_nowhere_and_pipes_are_listed_not_opened(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "absent.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path) == ["a.png", "gone.png", "pipe.png"]


def test_hidden_images_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.png", "._a.png", "._a.dcm", ".cache/b.png", "__MACOSX/c.png"):
        put(tmp_path / name)
    (tmp_path / ".DS_Store").touch()
    with caplog.at_level(logging.WARNING, logger="radir_search.image_files"):
        assert names(tmp_path) == ["a.png"]
    assert "2 hidden images" in caplog.text


def test_folders_that_cannot_be_opened_come_along_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / "closed" / "b.png")
    scandir = os.scandir

    def refuse(path: str | Path) -> object:  # as for someone who is not root
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert names(tmp_path) == ["a.png", "closed"]
    with pytest.raises(ValueError, match=r"closed cannot be opened \(Permission denied\)"):
        check_kind(tmp_path / "closed", volumes=False)
    with pytest.raises(ValueError, match=r"closed cannot be opened \(Permission denied\)"):
        list_images(tmp_path / "closed", volumes=False)


def test_a_series_is_its_folder_and_a_file_of_many_frames_itself(tmp_path: Path) -> None:
    write_series(tmp_path / "series", chest(), (3.0, 0.5, 0.75))
    frames = np.zeros((2, 2), np.uint16)
    (tmp_path / "enhanced").mkdir()
    write_dicom(tmp_path / "enhanced" / "many", frames, "MONOCHROME2", 12, NumberOfFrames=2)
    (tmp_path / "b.nii.gz").touch()
    put(tmp_path / "other.png")
    assert names(tmp_path, volumes=True) == ["b.nii.gz", "enhanced/many", "other.png", "series"]


@pytest.mark.parametrize(("volumes", "what"), [(True, "1 X-ray images"), (False, "1 volumes")])
def test_a_folder_of_the_other_kind_is_refused_in_words(tmp_path: Path, volumes: bool, what: str) -> None:
    (tmp_path / ("a.png" if volumes else "a.nii")).touch()
    with pytest.raises(ValueError, match=f"but {what}: give a folder of what the model takes"):
        list_images(tmp_path, volumes)
