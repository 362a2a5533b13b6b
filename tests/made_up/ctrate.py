"""A made-up tree in the shape of CT-RATE: tables, and volumes as first released and as fixed."""

import csv
import gzip
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from dataset_scripts.sources.base import ImageRecord, Skipped
from dataset_scripts.sources.ctrate.source import CTRateSource
from tests.made_up.open_i import read_all

LABELS = ("Cardiomegaly", "Pleural effusion")
AIR, LUNG, SOFT, BONE = -1000, -850, 40, 700
FINDINGS = "The heart is enlarged. Small left pleural effusion."
IMPRESSION = "Cardiomegaly."


@dataclass
class MadeUpVolume:
    """One reconstruction: HU (D, H, W) with spacing, and what CT-RATE's tables say about it."""

    name: str
    hu: np.ndarray = field(default_factory=lambda: chest())
    spacing_mm: tuple[float, float, float] = (3.0, 0.75, 0.75)
    intercept: int = -1024
    slope: int = 1
    findings: str = FINDINGS
    impression: str = IMPRESSION
    labels: tuple[int, ...] = (1, 1)
    trees: tuple[str, ...] = ("v1", "fixed")
    metadata: dict[str, str] = field(default_factory=dict)  # in place of the true values
    in_metadata: bool = True

    @property
    def split(self) -> str:
        return self.name.split("_")[0]

    def path(self, dataset: Path, tree: str) -> Path:
        """Where the volume lies: CT-RATE's own folders."""
        scan = self.name.rsplit("_", 1)[0]
        folder = self.split + ("_fixed" if tree == "fixed" else "")
        return dataset / folder / scan.rsplit("_", 1)[0] / scan / f"{self.name}.nii.gz"


def chest(seed: int = 0, shape: tuple[int, int, int] = (10, 16, 20)) -> np.ndarray:
    """A body of soft tissue in air with two lungs, a spine and noise, in whole HU: (D, H, W) int16."""
    rng = np.random.default_rng(seed)
    _, height, width = shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    plane = np.where(x**2 + y**2 < 0.9, SOFT, AIR)
    for side in (-0.4, 0.4):
        plane[(x - side) ** 2 / 0.08 + y**2 / 0.3 < 1] = LUNG
    plane[(abs(x) < 0.15) & (y > 0.5)] = BONE
    return (plane + rng.integers(-20, 20, shape)).astype(np.int16)


def ctrate_tree(folder: Path, volumes: list[MadeUpVolume], no_chest: tuple[str, ...] = ()) -> Path:
    """Write CT-RATE's tables and trees for these volumes; returns the folder that holds `dataset/`."""
    dataset = folder / "dataset"
    for split, long in (("train", "train"), ("valid", "validation")):
        rows = [volume for volume in volumes if volume.split == split]
        _write_tables(dataset, split, long, rows)
        listed = "".join(f"{line}\n" for line in no_chest if split in line)
        (dataset / "metadata" / f"no_chest_{split}.txt").write_text(listed, encoding="utf-8")
    for volume in volumes:
        for tree in volume.trees:
            save_volume(volume, volume.path(dataset, tree), fixed=tree == "fixed")
    return folder


def a_scan(folder: Path, **changes: Any) -> tuple[Path, MadeUpVolume]:
    """A tree of one volume, `train_1_a_1`, and that volume."""
    volume = MadeUpVolume("train_1_a_1", **changes)
    return ctrate_tree(folder, [volume]), volume


def read(folder: Path, **options: Any) -> tuple[dict[str, ImageRecord], dict[str, str]]:
    """A source's records by volume, and its reasons by what they are about."""
    items = list(read_all(CTRateSource(folder, **options)))
    records = {item.image_id: item for item in items if isinstance(item, ImageRecord)}
    reasons = {item.record_id: item.reason for item in items if isinstance(item, Skipped)}
    assert len(records) + len(reasons) == len(items)  # nothing is listed twice
    return records, reasons


def save_volume(volume: MadeUpVolume, path: Path, fixed: bool) -> None:
    """Write HU under a header with spacing and LPS orientation, or raw values under a blank header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if fixed:
        z, y, x = volume.spacing_mm
        image = nibabel.Nifti1Image(volume.hu.T, np.diag([-x, -y, z, 1.0]))
    else:
        stored = (volume.hu.astype(np.int32) - volume.intercept) // volume.slope
        image = nibabel.Nifti1Image(stored.astype(np.int16).T, None)
    nibabel.save(image, path)


def save_nan_volume(volume: MadeUpVolume, path: Path, depth: int = 7) -> None:
    """Overwrite a fixed volume with one stored as float32 that has one NaN at the given depth."""
    values = volume.hu.astype(np.float32)
    values[depth, 3, 3] = np.nan
    z, y, x = volume.spacing_mm
    nibabel.save(nibabel.Nifti1Image(values.T, np.diag([-x, -y, z, 1.0])), path)


def truncate(path: Path, share: float = 0.7) -> None:
    """Cut a file off, as an interrupted download leaves it."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def in_two_members(path: Path) -> None:
    """Write the same content as two gzip members, as parallel compressors do."""
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))


def region_table(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    """Write a RadGenome region report: volume, region, sentence."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, ("Volumename", "Anatomy", "Sentence"), rows)
    return path


def _write_tables(dataset: Path, split: str, long: str, volumes: list[MadeUpVolume]) -> None:
    reports, metadata, labels = [], [], []
    for volume in volumes:
        name = f"{volume.name}.nii.gz"
        reports.append((name, "Cough.", "Non-contrast.", volume.findings, volume.impression))
        labels.append((name, *volume.labels))
        if volume.in_metadata:
            metadata.append((name, *(_metadata(volume) | volume.metadata).values()))
    sections = ("ClinicalInformation_EN", "Technique_EN", "Findings_EN", "Impressions_EN")
    metadata_columns = ("VolumeName", *_metadata(MadeUpVolume("train_1_a_1")))
    _write(dataset / "radiology_text_reports" / f"{long}_reports.csv", ("VolumeName", *sections), reports)
    _write(dataset / "metadata" / f"{long}_metadata.csv", metadata_columns, metadata)
    path = dataset / "multi_abnormality_labels" / f"{split}_predicted_labels.csv"
    _write(path, ("VolumeName", *LABELS), labels)


def _metadata(volume: MadeUpVolume) -> dict[str, str]:
    z, y, x = volume.spacing_mm
    slices, rows, columns = volume.hu.shape
    return {
        "Manufacturer": "made up",
        "Rows": str(rows),
        "Columns": str(columns),
        "XYSpacing": f"[{y}, {x}]",
        "RescaleIntercept": str(volume.intercept),
        "RescaleSlope": str(volume.slope),
        "NumberofSlices": str(slices),
        "ZSpacing": str(z),
    }


def _write(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([columns, *rows])
