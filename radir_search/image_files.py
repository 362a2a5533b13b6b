"""Which files below a folder are images for a model: X-rays as pictures or DICOM, or volumes as NIfTI files,
folders of a DICOM series, or DICOM files of many frames."""

import logging
import os
from pathlib import Path

from modeling_radir.dicom import is_dicom, is_multi_frame
from modeling_radir.pictures import PICTURE_SUFFIXES, UNREAD_SUFFIXES, is_picture
from modeling_radir.volumes import NIFTI_SUFFIXES

logger = logging.getLogger(__name__)

PICTURE, VOLUME, DICOM, UNREAD = "picture", "volume", "dicom", "unread"
UNREAD_VOLUMES = (".mha", ".mhd", ".nrrd", ".nhdr", ".mgh", ".mgz", ".mnc", ".hdr")
_IMAGE_SUFFIXES = (*PICTURE_SUFFIXES, *NIFTI_SUFFIXES, ".dcm", ".dicom")
_SYSTEM_FOLDERS = ("__macosx",)  # what a Mac adds to an archive


def file_kind(path: Path) -> str | None:
    """What a file is by its name, or else by its content.

    Returns:
        PICTURE, VOLUME, DICOM; UNREAD for an image of a format that no model takes, or a file that cannot be
        opened; None for something else.
    """
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return VOLUME
    if name.endswith(PICTURE_SUFFIXES):
        return PICTURE
    if name == "dicomdir":  # the table of contents of a disc of DICOM files
        return None
    unread = UNREAD if name.endswith((*UNREAD_SUFFIXES, *UNREAD_VOLUMES)) else None
    if not path.is_file():  # a pipe, or a link that leads nowhere
        return unread
    try:
        if is_dicom(path):  # which may end in anything
            return DICOM
        return unread or (PICTURE if is_picture(path) else None)
    except OSError:
        return UNREAD


def list_images(folder: Path, volumes: bool) -> list[Path]:
    """The images below a folder, in the order of their paths; a DICOM series of a volume is its folder.

    Linked folders are followed, each folder once, under its own name rather than a link's. Hidden files and
    folders, whose names begin with a dot, and `__MACOSX` are not looked at; hidden images are counted in the
    log.

    Args:
        folder: where to look, at any depth.
        volumes: whether volumes are looked for. Files that are images of the other kind, or of a format that
            is not read, and folders that cannot be opened come along, so that whoever reads them can say why
            they are left out.

    Raises:
        ValueError: if the folder holds no image of the right kind, or cannot be opened.
    """
    files, closed = _walk(folder)
    kinds = {path: file_kind(path) for path in files}
    wanted = (VOLUME, DICOM) if volumes else (PICTURE, DICOM)
    if not any(kind in wanted for kind in kinds.values()):
        raise ValueError(
            f"{folder} holds no {'NIfTI file or DICOM series' if volumes else 'PNG, JPEG or DICOM file'}"
            f"{_others(list(kinds.values()), volumes, len(closed))}: give a folder of what the model takes"
        )
    found = {_item(path, kind, volumes) for path, kind in kinds.items() if kind}
    return sorted(found | set(closed))


def _item(path: Path, kind: str, volumes: bool) -> Path:
    return path.parent if volumes and kind == DICOM and not is_multi_frame(path) else path


def _others(kinds: list[str | None], volumes: bool, closed: int) -> str:
    """What a folder without the wanted images holds instead."""
    counts = {
        "X-ray images" if volumes else "volumes": kinds.count(PICTURE if volumes else VOLUME),
        "images of formats that are not read": kinds.count(UNREAD),
        "folders that cannot be opened": closed,
    }
    held = " and ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f", but {held}" if held else ""


def _walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """All files below a folder, and the folders that cannot be opened; no folder is walked twice."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise ValueError(f"{folder} cannot be opened ({error.strerror}): check the path") from error
    files: list[Path] = []
    closed: list[Path] = []
    seen: set[str] = set()
    hidden = 0
    waiting = [folder]
    while waiting:  # the linked folders wait until all real ones are walked, so that those keep their names
        links: list[Path] = []
        for start in sorted(waiting):
            hidden += _walk_real(start, seen, files, links, closed)
        waiting = links
    if hidden:
        logger.warning("%s: %d hidden images, whose names begin with a dot, are left out", folder, hidden)
    return files, closed


def _walk_real(start: Path, seen: set[str], files: list[Path], links: list[Path], closed: list[Path]) -> int:
    """Walk a folder without its linked folders, which are put into `links`; returns the hidden images."""
    hidden = 0
    for current, folders, names in os.walk(
        start, onerror=lambda error: closed.append(Path(error.filename or start))
    ):
        here, real = Path(current), os.path.realpath(current)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        hidden += sum(name.startswith(".") and name.lower().endswith(_IMAGE_SUFFIXES) for name in names)
        files += [here / name for name in names if not name.startswith(".")]
        shown = [name for name in folders if not name.startswith(".") and name.lower() not in _SYSTEM_FOLDERS]
        links += [here / name for name in shown if (here / name).is_symlink()]
        folders[:] = sorted(name for name in shown if not (here / name).is_symlink())
    return hidden


def check_kind(path: Path, volumes: bool) -> None:
    """Refuse a path that is clearly no image for the model.

    Args:
        path: a file, or the folder of a DICOM series; whether it exists is left to who reads it.
        volumes: whether the model takes volumes.

    Raises:
        ValueError: if it is of the other kind, or a folder that cannot be opened.
    """
    if path.is_dir():
        try:
            os.scandir(path).close()
        except OSError as error:
            raise ValueError(f"{path} cannot be opened ({error.strerror}): check its permissions") from error
    if volumes and path.is_file() and file_kind(path) == PICTURE:
        raise ValueError(
            f"{path} is a picture, and this model takes volumes: give a NIfTI file or the folder of one "
            "DICOM series, or ask a model for X-rays"
        )
    if path.is_file() and file_kind(path) == UNREAD:
        raise ValueError(
            f"{path} is of a format that is not read, or cannot be opened: save it as "
            f"{'NIfTI' if volumes else 'PNG or TIFF'} first"
        )
    if not volumes and (path.is_dir() or path.name.lower().endswith(NIFTI_SUFFIXES)):
        what = "a folder" if path.is_dir() else "a volume"
        raise ValueError(
            f"{path} is {what}, and this model takes single X-rays: give a PNG, JPEG or DICOM file, or ask a "
            "model for volumes"
        )
