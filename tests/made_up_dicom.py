"""Made-up DICOM files with the header fields that a test asks for."""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

_RADIOGRAPH = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation


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
