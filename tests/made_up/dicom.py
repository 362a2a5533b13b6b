"""Made-up DICOM files with the header fields that a test asks for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

_RADIOGRAPH = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation
_CT_FIELDS = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "SeriesInstanceUID": "1.2.4",
    "Modality": "CT",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "RescaleType": "HU",
}
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # of ImageOrientationPatient: columns to the left, rows to the back


def write_dicom(
    target: Path | BinaryIO,
    stored: np.ndarray,
    photometric: str,
    bits: int,
    syntax: Any = None,
    **fields: Any,
) -> None:
    """Write a grey radiograph.

    Args:
        target: the file.
        stored: (H, W) uint8, uint16 or int16, the stored values.
        photometric: MONOCHROME1 or MONOCHROME2.
        bits: BitsStored.
        syntax: the compressed transfer syntax that the header names; the pixels inside stay plain.
        fields: further header fields by keyword; None leaves a field out.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = _RADIOGRAPH
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["radir"])
    meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = _RADIOGRAPH, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.SamplesPerPixel = "DX", 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = stored.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    pixels = stored.tobytes()
    pixels += b"\0" * (len(pixels) % 2)
    dataset.PixelData = encapsulate([pixels]) if syntax else pixels
    dataset["PixelData"].VR = "OB" if syntax else "OW"
    for name, value in fields.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(target, enforce_file_format=True)


def write_series(
    folder: Path,
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    orientation: tuple[float, ...] = AXIAL,
    step: tuple[float, float, float] | None = None,
    scales: tuple[tuple[int, int], ...] = ((1, -1024),),
) -> list[Path]:
    """Write a CT series, one file a slice, in names that tell nothing about their order.

    Args:
        folder: of the files; made if missing.
        hu: (D, H, W) whole numbers; D grows along the normal of the slices.
        spacing_mm: D, H, W.
        orientation: the directions of a row's and of a column's pixels.
        step: from one slice to the next in mm; None: along the normal.
        scales: (RescaleSlope, RescaleIntercept), for one slice after the other, again and again.

    Returns:
        The files, in the order of D.
    """
    folder.mkdir(parents=True, exist_ok=True)
    along = np.array(step or np.cross(orientation[:3], orientation[3:]) * spacing_mm[0])
    paths = []
    for index, section in enumerate(hu):
        slope, intercept = scales[index % len(scales)]
        path = folder / f"{(index * 7 + 3) % 1000:03d}.dcm"
        fields = _CT_FIELDS | {
            "SOPInstanceUID": f"1.2.3.{index + 1}",
            "ImagePositionPatient": [round(float(mm), 4) for mm in along * index + (-100, -120, 30)],
            "ImageOrientationPatient": list(orientation),
            "PixelSpacing": [spacing_mm[1], spacing_mm[2]],
            "SliceThickness": spacing_mm[0],
            "RescaleSlope": slope,
            "RescaleIntercept": intercept,
        }
        stored = ((section.astype(np.int32) - intercept) // slope).astype(np.int16)
        write_dicom(path, stored, "MONOCHROME2", 16, **fields)
        paths.append(path)
    return paths


def write_enhanced(
    path: Path,
    hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    order: Sequence[int] = (),
    scales: tuple[tuple[int, int], ...] = ((1, -1024),),
    shared: bool = True,
    **fields: Any,
) -> Path:
    """Write an enhanced CT file: every slice of an axial volume as a frame with its functional groups.

    Args:
        path: the file.
        hu: (D, H, W) whole numbers; D grows to the head.
        spacing_mm: D, H, W.
        order: of the slices as frames; by D if empty.
        scales: (RescaleSlope, RescaleIntercept), for one slice after the other, again and again.
        shared: whether what is the same for all frames stands once, or in each.
        fields: further fields of the file, as of `write_dicom`.
    """
    frames = list(order) or list(range(len(hu)))
    stored, groups = [], []
    for index in frames:
        slope, intercept = scales[index % len(scales)]
        stored.append((hu[index].astype(np.int32) - intercept) // slope)
        scale = {"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "HU"}
        place = {"ImagePositionPatient": [-100, -120, 30 + spacing_mm[0] * index]}
        own = {"PlanePosition": place, "PixelValueTransformation": scale}
        groups.append(own if shared else own | _measures(spacing_mm))
    enhanced = _CT_FIELDS | {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1",
        "NumberOfFrames": len(frames),
        "PerFrameFunctionalGroupsSequence": [_groups(group) for group in groups],
        "SharedFunctionalGroupsSequence": [_groups(_measures(spacing_mm))] if shared else None,
    }
    del enhanced["RescaleType"]
    stack = np.stack(stored).astype(np.int16)
    wanted = {name: value for name, value in (enhanced | fields).items() if value is not None}
    write_dicom(path, stack.reshape(-1, hu.shape[2]), "MONOCHROME2", 16, Rows=hu.shape[1], **wanted)
    return path


def _measures(spacing_mm: tuple[float, float, float]) -> dict[str, dict[str, Any]]:
    return {
        "PlaneOrientation": {"ImageOrientationPatient": list(AXIAL)},
        "PixelMeasures": {"PixelSpacing": list(spacing_mm[1:]), "SliceThickness": spacing_mm[0]},
    }


def _groups(groups: dict[str, dict[str, Any]]) -> Dataset:
    """Functional groups, each a sequence of one item."""
    made = Dataset()
    for name, fields in groups.items():
        item = Dataset()
        for field, value in fields.items():
            setattr(item, field, value)
        setattr(made, f"{name}Sequence", [item])
    return made


def change_dicom(path: Path, **fields: Any) -> None:
    """Set header fields of a file; None takes a field out."""
    dataset = dcmread(path)
    for name, value in fields.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.save_as(path)
