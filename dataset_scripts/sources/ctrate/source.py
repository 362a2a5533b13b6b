"""CTRATE-IR: chest CT volumes and reports from a local, gated download of CT-RATE.

Source folder: CT-RATE's repository (or its `dataset/`), with `radiology_text_reports/`, `metadata/`,
`multi_abnormality_labels/` and one or both trees of volumes: `train`, `valid` as first released, whose
headers are blank and whose spacing and scale stand in the metadata table alone, and `train_fixed`,
`valid_fixed`, which hold HU under correct headers. Each volume's geometry says which of the two it needs, so
that the scale is applied once. Partial downloads are fine: what is not there is listed.

The paper follows "the official train-test split" (section 5), and CT-RATE has train and validation alone:
its validation is therefore the test split here, and a validation split is taken from train on request only.

A volume is quarantined, that is listed with its reason, if it shows another body part (no_chest lists), is
truncated or damaged, holds NaN (train_11755_a_3 and two others do; the search reads the volumes that are
stored as floats), or contradicts the tables. CT-RATE is gated, its licence is CC BY-NC-SA 4.0.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dataset_scripts.sources.base import Geometry, ImageRecord, Sharing, Skipped, option
from dataset_scripts.sources.ctrate.radgenome import RegionReports, read_region_reports, region_tables
from dataset_scripts.sources.ctrate.tables import (
    OFFICIAL_SPLITS,
    Scan,
    Volume,
    VolumeName,
    read_scans,
    table_geometry,
    table_paths,
    table_shape,
    table_spacing,
)
from dataset_scripts.sources.nifti_headers import (
    UnusableVolumeError,
    VolumeHeader,
    geometry_from_header,
    has_nonfinite,
    inspect_volume,
)
from dataset_scripts.sources.splits import split_of_subject

TREES = ("auto", "v1", "fixed")
RECONSTRUCTIONS = ("first", "all")
FALLBACKS = ("none", "impression")
LABEL_ANATOMIES = {
    "Medical material": "support devices",
    "Arterial wall calcification": "artery",
    "Cardiomegaly": "heart",
    "Pericardial effusion": "pericardium",
    "Coronary artery wall calcification": "coronary artery",
    "Hiatal hernia": "stomach",
    "Lymphadenopathy": "lymph nodes",
    "Emphysema": "lungs",
    "Atelectasis": "lungs",
    "Lung nodule": "lungs",
    "Lung opacity": "lungs",
    "Pulmonary fibrotic sequela": "lungs",
    "Pleural effusion": "pleura",
    "Mosaic attenuation pattern": "lungs",
    "Peribronchial thickening": "bronchi",
    "Consolidation": "lungs",
    "Bronchiectasis": "bronchi",
    "Interlobular septal thickening": "interstitium",
}  # where each label shows; a text classifier has read the labels from the reports, no person has set them
_NO_TEXT = {
    "none": "the report has no findings section",
    "impression": "the report has neither findings nor impression",
}
_TOLERANCE = 0.03  # of a spacing between header and table: roundings differ, other volumes differ by more


@dataclass(frozen=True)
class CTRateJob:
    """One scan to read: its text, labels and reconstructions, and the sentences that RadGenome ties."""

    scan: Scan
    findings: str  # what is mined
    split: str
    regional: dict[str, str]


@dataclass(frozen=True)
class CTRateSource:
    """A local copy of CT-RATE: a study is a scan, an image one of its reconstructions.

    Raises:
        ValueError: if the folder, a table or a column of it is missing, or a choice is unknown.
    """

    source: Path = option("CT-RATE's folder, which holds dataset/, or dataset/ itself")
    tree: str = option(
        "which volumes to read: v1 (train, valid), fixed (train_fixed, valid_fixed), or auto: the fixed one "
        "where it is there",
        default="auto",
    )
    reconstructions: str = option(
        "which reconstructions of a scan become images: first (the first usable one) or all", default="first"
    )
    fallback: str = option(
        "what to mine where a report has no findings section: none (leave it out) or impression",
        default="none",
    )
    radgenome: Path | None = option(
        "RadGenome-Chest CT's region reports, a CSV file or their folder: sentences already tied to regions",
        default=None,
    )
    validation_percent: int = option(
        "percentage of the training patients that become validation; CT-RATE's own validation is test",
        default=0,
    )
    seed: int = option("of the validation split by patient", default=0)

    name: ClassVar[str] = "ctrate-ir"
    licence: ClassVar[str] = "cc-by-nc-sa-4.0"
    homepage: ClassVar[str] = "https://huggingface.co/datasets/ibrahimhamamci/CT-RATE"
    sharing: ClassVar[Sharing] = Sharing.RESTRICTED
    volumes: ClassVar[bool] = True
    label_anatomies: ClassVar[dict[str, str]] = LABEL_ANATOMIES
    label_origin: ClassVar[str] = "Labels: read from the reports by a text classifier, not set by people."

    def __post_init__(self) -> None:
        for field, choices in (
            ("tree", TREES),
            ("reconstructions", RECONSTRUCTIONS),
            ("fallback", FALLBACKS),
        ):
            if getattr(self, field) not in choices:
                raise ValueError(f"{field} must be one of {', '.join(choices)}, got {getattr(self, field)!r}")
        if not 0 <= self.validation_percent <= 50:
            raise ValueError(f"validation_percent must be from 0 to 50, got {self.validation_percent}")
        if not (self._dataset / "radiology_text_reports").is_dir():
            raise ValueError(
                f"{self.source} is no copy of CT-RATE; give the folder that holds "
                "dataset/radiology_text_reports/"
            )
        if self.radgenome is not None and not self.radgenome.exists():
            raise ValueError(
                f"{self.radgenome} is missing; give RadGenome's region reports, a CSV or a folder"
            )

    def tables(self) -> list[Path]:
        """CT-RATE's tables as far as they are there, and RadGenome's where they are asked for."""
        paths = [path for split in OFFICIAL_SPLITS for path in table_paths(self._dataset, split).values()]
        return [path for path in paths if path.is_file()] + (
            region_tables(self.radgenome) if self.radgenome else []
        )

    def jobs(self) -> Iterator[CTRateJob | Skipped]:
        """One job a scan that has text, in the order of the report tables; train before valid.

        Raises:
            ValueError: a table is missing or lacks a column, no tree of volumes is there, or RadGenome's
                reports are about no scan of these tables.
        """
        self._check_trees()
        reports = {split: table_paths(self._dataset, split)["reports"] for split in OFFICIAL_SPLITS}
        splits = [split for split, path in reports.items() if path.is_file()]
        if not splits:
            raise ValueError(f"{self._dataset / 'radiology_text_reports'} holds neither of CT-RATE's tables")
        for split in OFFICIAL_SPLITS:
            if split not in splits:
                yield Skipped(split, f"the split is left out: {reports[split].name} is missing")
        regions = read_region_reports(self.radgenome) if self.radgenome else RegionReports({})
        yield from regions.skipped()
        unmatched = set(regions.by_scan)
        for split in splits:
            for item in read_scans(self._dataset, split):
                if isinstance(item, Skipped):
                    yield item
                else:
                    unmatched.discard(item.name)
                    yield from self._job(item, split, regions.by_scan.get(item.name, {}))
        if unmatched:
            yield self._unmatched(unmatched, regions)

    def read(self, job: CTRateJob) -> list[ImageRecord | Skipped]:
        """The scan's first usable reconstruction, or all of them, and why the others are left out."""
        items: list[ImageRecord | Skipped] = []
        for volume in job.scan.volumes:
            taken = self.reconstructions == "first" and any(isinstance(item, ImageRecord) for item in items)
            if volume.problem:
                items.append(Skipped(str(volume.name), volume.problem))
            elif taken:
                items.append(Skipped(str(volume.name), "another reconstruction of the scan is taken"))
            else:
                items.append(self._image(volume, job))
        return items

    def inputs(self, job: CTRateJob) -> list[Path]:
        """The scan's volumes, wherever they may lie."""
        return [
            self._dataset / tree / _inner(volume.name)
            for volume in job.scan.volumes
            for tree in self._trees(volume.name.split)
        ]

    @property
    def _dataset(self) -> Path:
        inner = self.source / "dataset"
        return inner if inner.is_dir() else self.source

    def _trees(self, split: str) -> tuple[str, ...]:
        """The split's folders of volumes in the order in which they are looked into."""
        return {"v1": (split,), "fixed": (f"{split}_fixed",), "auto": (f"{split}_fixed", split)}[self.tree]

    def _check_trees(self) -> None:
        trees = [tree for split in OFFICIAL_SPLITS for tree in self._trees(split)]
        if not any((self._dataset / tree).is_dir() for tree in trees):
            raise ValueError(
                f"{self._dataset} holds no volumes: none of {', '.join(trees)} is there; download one, or "
                "choose another --tree"
            )

    def _job(self, scan: Scan, split: str, regional: dict[str, str]) -> Iterator[CTRateJob | Skipped]:
        findings = scan.findings or (scan.impression if self.fallback == "impression" else "")
        if findings:
            yield CTRateJob(scan, findings, self._split(scan.subject, split), regional)
        else:
            yield from (Skipped(str(volume.name), _NO_TEXT[self.fallback]) for volume in scan.volumes)

    def _split(self, subject: str, official: str) -> str:
        if official == "valid":
            return "test"
        share = self.validation_percent / 100
        return split_of_subject(subject, self.seed, (1 - share, share, 0.0))

    def _unmatched(self, scans: set[str], regions: RegionReports) -> Skipped:
        if len(scans) == len(regions.by_scan):
            raise ValueError(
                f"{self.radgenome} is about no scan of {self._dataset}: it names {min(scans)} and "
                f"{len(scans) - 1} others"
            )
        return Skipped("radgenome", f"of a scan that the report tables lack: {len(scans)} region reports")

    def _image(self, volume: Volume, job: CTRateJob) -> ImageRecord | Skipped:
        name, scan = volume.name, job.scan
        inner = _inner(name)
        trees = self._trees(name.split)
        tree = next((tree for tree in trees if (self._dataset / tree / inner).is_file()), None)
        if tree is None:
            return Skipped(str(name), "the volume is not in this copy")
        # Not resolved: a download cache links to files that are named by their digest, without a suffix.
        path = (self._dataset / tree / inner).absolute()
        try:
            geometry = volume_geometry(path, volume.metadata, fixed=tree.endswith("_fixed"))
        except UnusableVolumeError as error:
            return Skipped(str(name), error.reason)
        sections = (("FINDINGS", scan.findings), ("IMPRESSION", scan.impression))
        return ImageRecord(
            study_id=scan.name,
            subject_id=scan.subject,
            image_id=str(name),
            image=str(path),
            view="ct",
            report="\n".join(f"{heading}: {text}" for heading, text in sections if text),
            findings=job.findings,
            impression=scan.impression,
            split=job.split,
            labels=dict(scan.labels),
            regional=dict(job.regional),
            geometry=geometry,
        )


def _inner(name: VolumeName) -> Path:
    """Where a tree of volumes has a volume."""
    return Path(name.subject, name.scan, f"{name}.nii.gz")


def volume_geometry(path: Path, metadata: dict[str, str], fixed: bool) -> Geometry:
    """How a volume of CT-RATE is to be read, after its header has been held against the metadata table.

    Args:
        path: the volume.
        metadata: its row of the metadata table, as texts; empty where it has none.
        fixed: whether it comes from a `_fixed` tree, and so holds HU under a correct header.

    Returns:
        For a fixed volume, its header's spacing and scale, which the table's scale must not touch; for one of
        the first release, the table's spacing and scale.

    Raises:
        UnusableVolumeError: the volume must not be used.
    """
    header = inspect_volume(path)
    try:
        geometry = _fixed_geometry(header, metadata) if fixed else _blank_geometry(header, metadata, path)
        _check_shape(header, metadata)
    except UnusableVolumeError:
        raise
    except ValueError as error:
        raise UnusableVolumeError(path, str(error)) from error
    if has_nonfinite(path):
        raise UnusableVolumeError(path, "the volume holds NaN or infinite values")
    return geometry


def _fixed_geometry(header: VolumeHeader, metadata: dict[str, str]) -> Geometry:
    try:
        stated = table_spacing(metadata)
    except ValueError:  # the table is only a check here
        stated = None
    if stated and not _near(header.spacing_mm, stated):
        hint = "" if header.has_spacing else "; a blank header belongs into the trees without _fixed"
        raise ValueError(f"header and metadata disagree on the spacing: {_mm(header, stated)}{hint}")
    if not stated and not header.has_spacing:
        raise ValueError("neither header nor metadata have a spacing: nothing says how large the voxels are")
    return geometry_from_header(header)


def _blank_geometry(header: VolumeHeader, metadata: dict[str, str], path: Path) -> Geometry:
    if not metadata:
        raise ValueError("the metadata have no row for the volume, which its blank header needs")
    geometry = table_geometry(metadata)
    if header.has_spacing and _near(header.spacing_mm, geometry.spacing_mm):
        tree = path.parents[2]
        raise ValueError(
            "the header already has the metadata's spacing: a fixed volume, in HU, in a tree of the first "
            f"release; scaling it again would ruin it, so rename {tree.name} to {tree.name}_fixed"
        )
    if header.has_spacing:
        raise ValueError(f"header and metadata disagree on the spacing: {_mm(header, geometry.spacing_mm)}")
    own, stated = (header.slope, header.intercept), (geometry.rescale_slope, geometry.rescale_intercept)
    if own not in ((1.0, 0.0), stated):
        raise ValueError(f"header and metadata disagree on the scale: header {own}, metadata {stated}")
    return geometry


def _check_shape(header: VolumeHeader, metadata: dict[str, str]) -> None:
    """Rows and columns in either order: square as they are, no one has fixed which is which."""
    slices, rows, columns = table_shape(metadata)
    if slices and slices != header.shape[0]:
        raise ValueError(f"header and metadata disagree on the slices: {header.shape[0]} and {slices}")
    if rows and columns and {rows, columns} != set(header.shape[1:]):
        seen = f"{header.shape[1]} x {header.shape[2]} and {rows} x {columns}"
        raise ValueError(f"header and metadata disagree on the matrix: {seen}")


def _near(spacing: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(math.isclose(one, two, rel_tol=_TOLERANCE) for one, two in zip(spacing, other, strict=True))


def _mm(header: VolumeHeader, stated: tuple[float, ...]) -> str:
    texts = (" x ".join(f"{mm:g}" for mm in spacing) for spacing in (header.spacing_mm, stated))
    return "header {}, metadata {} mm".format(*texts)
