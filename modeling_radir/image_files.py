"""Which files below a folder are images for a model: X-rays as PNG, JPEG or DICOM, or volumes as NIfTI files
or folders of a DICOM series."""

from pathlib import Path
from typing import Any

from .dicom import is_dicom
from .volumes import NIFTI_SUFFIXES

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
PICTURE, VOLUME, DICOM = "picture", "volume", "dicom"


def takes_volumes(processor: Any) -> bool:
    """Whether a RadIRProcessor is one for volumes; it is for X-rays otherwise."""
    return "depth" in processor.image_processor.size


def file_kind(path: Path) -> str | None:
    """What a file is by its name, or, if it is DICOM, by its content; None for something else."""
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return VOLUME
    if name.endswith(PICTURE_SUFFIXES):
        return PICTURE
    if name == "dicomdir":  # the table of contents of a disc of DICOM files
        return None
    try:
        return DICOM if is_dicom(path) else None
    except OSError:
        return None


def list_images(folder: Path, volumes: bool) -> list[Path]:
    """The images below a folder, in the order of their paths; a DICOM series of a volume is its folder.

    Args:
        folder: where to look, at any depth.
        volumes: whether volumes are looked for. Files that are images of the other kind come along, so that
            whoever reads them can say why they are left out.

    Raises:
        ValueError: if the folder holds no image of the right kind.
    """
    kinds = {path: file_kind(path) for path in folder.rglob("*") if path.is_file()}
    wanted = (VOLUME, DICOM) if volumes else (PICTURE, DICOM)
    if not any(kind in wanted for kind in kinds.values()):
        what = "NIfTI file or DICOM series" if volumes else "PNG, JPEG or DICOM file"
        others = sum(kind is not None for kind in kinds.values())
        of_others = f", but {others} {'X-ray images' if volumes else 'volumes'}" if others else ""
        raise ValueError(f"{folder} holds no {what}{of_others}: give a folder of what the model takes")
    found = {path.parent if volumes and kind == DICOM else path for path, kind in kinds.items() if kind}
    return sorted(found)


def check_kind(path: Path, volumes: bool) -> None:
    """Refuse a path that is clearly no image for the model.

    Args:
        path: a file, or the folder of a DICOM series; whether it exists is left to who reads it.
        volumes: whether the model takes volumes.

    Raises:
        ValueError: if it is of the other kind.
    """
    if volumes and path.is_file() and file_kind(path) == PICTURE:
        raise ValueError(
            f"{path} is a picture, and this model takes volumes: give a NIfTI file or the folder of one "
            "DICOM series, or ask a model for X-rays"
        )
    if not volumes and (path.is_dir() or path.name.lower().endswith(NIFTI_SUFFIXES)):
        what = "a folder" if path.is_dir() else "a volume"
        raise ValueError(
            f"{path} is {what}, and this model takes single X-rays: give a PNG, JPEG or DICOM file, or ask a "
            "model for volumes"
        )
