"""MIMIC-IR: MIMIC-CXR-JPG or MIMIC-CXR (DICOM) with its reports, straight from the credentialed download.

Source folder: `mimic-cxr-2.0.0-split.csv.gz`, `mimic-cxr-2.0.0-metadata.csv.gz`, optionally
`mimic-cxr-2.0.0-chexpert.csv.gz`, and `files/p10/p10000032/s50414267/<dicom_id>.jpg` or `.dcm`. The reports
are a download of their own. Parts of either may be missing; what is missing is counted.

Numbers are kept as the official tables have them: study_id "50414267", subject_id "10000032", image_id the
dicom_id. The split is the official one, its `validate` called validation.
"""

import itertools
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from dataset_scripts.mining.sections import section_body, split_sections
from dataset_scripts.sources.base import ImageRecord, Sharing, Skipped, option
from dataset_scripts.sources.mimic.images import check_jpeg, render_dicom, render_jpeg
from dataset_scripts.sources.mimic.overrides import Override, apply_overrides, read_overrides
from dataset_scripts.sources.mimic.reports import (
    Kind,
    Reports,
    find_reports,
    read_sectioned,
    report_files,
    spread,
)
from dataset_scripts.sources.mimic.tables import MimicStudy, find_tables, read_labels, read_studies

VIEW_POSITIONS = (
    *("AP", "PA", "LATERAL", "LL", "LPO", "RAO", "RPO", "LAO", "AP AXIAL", "XTABLE LATERAL"),
    *("AP LLD", "PA LLD", "AP RLD", "PA RLD", "L5 S1", "SWIMMERS"),
)
VIEW_GROUPS = {"frontal": ("AP", "PA"), "lateral": ("LATERAL", "LL")}
FALLBACKS = {
    "none": ("findings",),
    "impression": ("findings", "impression"),
    "last-paragraph": ("findings", "impression", "last_paragraph"),
}  # the sections that are mined, the first that the report has
LABEL_ANATOMIES = {
    "Atelectasis": "lungs",
    "Cardiomegaly": "heart",
    "Consolidation": "lungs",
    "Edema": "lungs",
    "Enlarged Cardiomediastinum": "mediastinum",
    "Fracture": "bones",
    "Lung Lesion": "lungs",
    "Lung Opacity": "lungs",
    "Pleural Effusion": "pleura",
    "Pleural Other": "pleura",
    "Pneumonia": "lungs",
    "Pneumothorax": "pleura",
    "Support Devices": "support devices",
}  # where each label shows; `No Finding` is about no anatomy. A program (CheXpert) set them, not people.
NO_IMAGE = "the image file is not in this (partial) download"
NO_REPORT = "the report is not in this (partial) download"
EMPTY_REPORT = "the report is empty"
UNREADABLE_REPORT = "the report is unreadable"
NOT_SECTIONED = (
    "the sectioned CSV has no row for the study (the official one leaves out 54 that were overridden by hand)"
)
NO_VIEW = "the image has no view (ViewPosition and the view's code are blank)"
NO_METADATA = "the metadata table has no row for the image"
NO_SPLIT = "the split table has no row for the image"
_NO_TEXT = {
    "none": "the report has no findings section",
    "impression": "the report has neither findings nor impression",
    "last-paragraph": "the report has neither findings, nor impression, nor a last paragraph",
}
_DICOM_SIZE = 512


@dataclass(frozen=True)
class MimicJob:
    """A study with its wanted images, and what the tables of the parent process say about it.

    `sections` is None where the worker reads the raw report from `reports`.
    """

    study: MimicStudy
    suffix: str
    reports: Reports
    sections: tuple[tuple[str, str], ...] | None
    labels: tuple[tuple[str, int], ...]
    overrides: tuple[Override, ...]


@dataclass(frozen=True)
class MimicSource:
    """A local copy of MIMIC-CXR-JPG or MIMIC-CXR, whole or in part.

    Raises:
        ValueError: if a folder, a table or a column is missing, or a choice is unknown.
    """

    source: Path = option(
        "root of MIMIC-CXR-JPG (or of MIMIC-CXR in DICOM), which holds files/; the split and metadata tables "
        "of MIMIC-CXR-JPG lie there or in the folder of the reports"
    )
    reports: Path | None = option(
        "the reports: a folder with files/p10/..., mimic-cxr-reports.zip or mimic_cxr_sectioned.csv[.gz]; "
        "by default they are looked for in the source",
        default=None,
    )
    overrides: Path | None = option(
        "CSV of corrections for reports that the parser gets wrong: study_id, section, start, end, name",
        default=None,
    )
    views: str = option(
        "which images: frontal (AP, PA), lateral (LATERAL, LL), all, or ViewPosition values such as "
        "'PA,AP AXIAL'",
        default="frontal",
    )
    fallback: str = option(
        "what to mine where a report has no findings section: none (leave it out), impression, or "
        "last-paragraph (the impression, else the last paragraph)",
        default="none",
    )
    size: int | None = option(
        "shorter side in pixels to which larger images are scaled and stored as 8-bit grey PNG; by default "
        "JPG files stay where they are, as they are, and DICOM is rendered at 512",
        default=None,
    )

    name: ClassVar = "mimic-ir"
    licence: ClassVar = "PhysioNet Credentialed Health Data License 1.5.0"
    homepage: ClassVar = "https://physionet.org/content/mimic-cxr-jpg/2.1.0/"
    sharing: ClassVar = Sharing.CREDENTIALED
    volumes: ClassVar = False
    label_anatomies: ClassVar[dict[str, str]] = LABEL_ANATOMIES
    label_origin: ClassVar[str] = "Labels: read from the reports by a program (CheXpert), not set by people."

    def __post_init__(self) -> None:
        if not self.source.is_dir():
            raise ValueError(
                f"{self.source} is no folder; give the root of MIMIC-CXR-JPG, which holds files/"
            )
        for name, path in (("reports", self.reports), ("overrides", self.overrides)):
            if path is not None and not path.exists():
                raise ValueError(f"{name}: {path} does not exist; give where it lies")
        if self.fallback not in FALLBACKS:
            raise ValueError(f"fallback must be one of {', '.join(FALLBACKS)}, got {self.fallback!r}")
        if self.size is not None and self.size < 1:
            raise ValueError(f"size must be 1 pixel or more, got {self.size}")
        _wanted_views(self.views)

    def tables(self) -> list[Path]:
        """The split, metadata and label tables, the reports' file and the overrides."""
        named = find_tables(self._roots())
        files = report_files(self.reports or self.source)
        return [*named, *files, *([self.overrides] if self.overrides else [])]

    def jobs(self) -> Iterator[MimicJob | Skipped]:
        """One job a study in the split table's order; `Skipped` for each image whose view is not wanted.

        Only tables are read, and the existence of some files is probed; no folder is listed.
        """
        studies, unsplit = read_studies(self._roots())
        suffix = _find_suffix(self.source, studies)
        reports = find_reports(self.reports or self.source, studies)
        overrides = read_overrides(self.overrides) if self.overrides else {}
        if overrides and reports.kind is Kind.SECTIONED:
            raise ValueError(f"overrides need raw reports, but {reports.path} holds sections only")
        sectioned = read_sectioned(reports.path) if reports.kind is Kind.SECTIONED else None
        labels = read_labels(self._roots(), studies)
        for study in studies:
            wanted, skipped = self._by_view(study)
            yield from skipped
            row = sectioned(study.study_id) if sectioned and wanted else None
            if sectioned and row is None:
                yield from (Skipped(dicom_id, NOT_SECTIONED) for dicom_id, _ in wanted)
            elif wanted:
                yield MimicJob(
                    study=MimicStudy(study.study_id, study.subject_id, study.split, wanted),
                    suffix=suffix,
                    reports=reports,
                    sections=row,
                    labels=labels.get(study.study_id, ()),
                    overrides=overrides.get(study.study_id, ()),
                )
        yield from (Skipped(dicom_id, NO_SPLIT) for dicom_id in unsplit)

    def read(self, job: MimicJob) -> list[ImageRecord | Skipped]:
        """The images of one study; the report is read only if one of them is there."""
        text: _StudyText | str | None = None
        items: list[ImageRecord | Skipped] = []
        for dicom_id, view in job.study.images:
            path = self.source / job.study.folder / f"{dicom_id}{job.suffix}"
            if not path.is_file():
                items.append(Skipped(dicom_id, NO_IMAGE))
                continue
            text = text or self._text(job)
            items.append(
                Skipped(dicom_id, text)
                if isinstance(text, str)
                else self._record(job, dicom_id, view, path, text)
            )
        return items

    def inputs(self, job: MimicJob) -> list[Path]:
        """The images of one study and, where reports are files, its report."""
        images = [
            self.source / job.study.folder / f"{dicom_id}{job.suffix}" for dicom_id, _ in job.study.images
        ]
        return [*images, *job.reports.inputs(job.study)]

    def _roots(self) -> list[Path]:
        """Where tables may lie: the source, and the folder of the reports."""
        if self.reports is None:
            return [self.source]
        return [self.source, self.reports if self.reports.is_dir() else self.reports.parent]

    def _by_view(self, study: MimicStudy) -> tuple[tuple[tuple[str, str | None], ...], list[Skipped]]:
        wanted_views = _wanted_views(self.views)
        wanted, skipped = [], []
        for dicom_id, view in study.images:
            if view is None:
                skipped.append(Skipped(dicom_id, NO_METADATA))
            elif wanted_views is None or view in wanted_views:
                wanted.append((dicom_id, view))
            else:
                reason = f"view is {view}, not {self.views}" if view else NO_VIEW
                skipped.append(Skipped(dicom_id, reason))
        return tuple(wanted), skipped

    def _text(self, job: MimicJob) -> "_StudyText | str":
        """The study's texts, or the reason why it has none to mine."""
        try:
            text = _sectioned_text(job.sections) if job.sections is not None else _raw_text(job)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error):
            return UNREADABLE_REPORT
        except ValueError as error:  # an override that does not fit
            return str(error)
        if isinstance(text, str):
            return text
        mined = (text.sections.get(name, "") for name in FALLBACKS[self.fallback])
        chosen = next(filter(None, mined), "")
        return replace(text, mined=chosen) if chosen else _NO_TEXT[self.fallback]

    def _record(
        self, job: MimicJob, dicom_id: str, view: str | None, path: Path, text: "_StudyText"
    ) -> ImageRecord | Skipped:
        image: bytes | str
        try:
            if job.suffix == ".dcm":
                image = render_dicom(path, self.size or _DICOM_SIZE)
            elif self.size is not None:
                image = render_jpeg(path, self.size)
            else:
                check_jpeg(path)
                image = str(path.absolute())
        except ValueError as error:
            return Skipped(dicom_id, str(error))
        return ImageRecord(
            study_id=job.study.study_id,
            subject_id=job.study.subject_id,
            image_id=dicom_id,
            image=image,
            view=(view or "unknown").lower(),
            report=text.report,
            findings=text.mined,
            impression=text.sections.get("impression", ""),
            split=job.study.split,
            labels=dict(job.labels),
        )


@dataclass(frozen=True)
class _StudyText:
    report: str
    sections: dict[str, str]
    mined: str = ""


def _raw_text(job: MimicJob) -> "_StudyText | str":
    report = job.reports.read(job.study)
    if report is None:
        return NO_REPORT
    if not report.strip():
        return EMPTY_REPORT
    return _StudyText(report, apply_overrides(report, split_sections(report), job.overrides))


def _sectioned_text(row: Sequence[tuple[str, str]]) -> "_StudyText":
    sections = {name: body for name, text in row if (body := section_body(text))}
    report = "\n".join(f"{name.replace('_', ' ').upper()}: {text}" for name, text in sections.items())
    return _StudyText(report, sections)


def _wanted_views(views: str) -> tuple[str, ...] | None:
    """The ViewPosition values that `views` asks for, None for all.

    Raises:
        ValueError: if one of them is unknown.
    """
    if views == "all":
        return None
    if views in VIEW_GROUPS:
        return VIEW_GROUPS[views]
    wanted = tuple(view.strip().upper() for view in views.split(","))
    if unknown := [view for view in wanted if view not in VIEW_POSITIONS]:
        raise ValueError(
            f"views names {', '.join(map(repr, unknown))}; give frontal, lateral, all, or some of "
            f"{', '.join(VIEW_POSITIONS)}, with commas between"
        )
    return wanted


def _find_suffix(source: Path, studies: Sequence[MimicStudy]) -> str:
    """`.jpg` or `.dcm`: that of the first image found, tried evenly over the table, then over all of it.

    Raises:
        ValueError: if no image is there.
    """
    for study in itertools.chain(spread(studies), studies):
        for dicom_id, _ in study.images:
            for suffix in (".jpg", ".dcm"):
                if os.path.isfile(f"{source}/{study.folder}/{dicom_id}{suffix}"):
                    return suffix
    raise ValueError(
        f"{source} has no image of the split table: expected files such as "
        f"{studies[0].folder}/{studies[0].images[0][0]}.jpg or .dcm"
        if studies
        else "the split table is empty"
    )
