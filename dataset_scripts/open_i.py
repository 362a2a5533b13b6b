"""Open-i: the Indiana University chest X-rays in their public CSV layout.

Source folder: `indiana_reports.csv` (uid, MeSH, Problems, image, indication, comparison, findings,
impression), `indiana_projections.csv` (uid, filename, projection), an `images/` folder and, optionally,
`gold_labels.csv` (uid and one 0/1 column a label). There is one study a patient and no patient
number, so the uid serves as both. The licence (CC BY-NC-ND 4.0) forbids redistribution: the built folder is
for the machine it is built on.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
from PIL import Image, UnidentifiedImageError

from dataset_scripts.records import ImageRecord, Sharing, Skipped, option
from dataset_scripts.splits import split_of_subject

VIEWS = ("frontal", "lateral", "all")
LABEL_ANATOMIES = {
    "Atelectasis": "lungs",
    "Cardiomegaly": "heart",
    "Consolidation": "lungs",
    "Edema": "lungs",
    "Effusion": "pleura",
    "Emphysema": "lungs",
    "Fibrosis": "lungs",
    "Hernia": "stomach",
    "Infiltration": "lungs",
    "Mass": "lungs",
    "Nodule": "lungs",
    "Pleural_Thickening": "pleura",
    "Pneumonia": "lungs",
    "Pneumothorax": "pleura",
}  # where each gold label shows; `normal` is about no anatomy
FALLBACKS = ("none", "impression")
_NO_TEXT = {
    "none": "the report has no findings section",
    "impression": "the report has neither findings nor impression",
}
_REPORT_COLUMNS = ("uid", "findings", "impression")
_PROJECTION_COLUMNS = ("uid", "filename", "projection")


@dataclass(frozen=True)
class OpenIStudy:
    """One study's rows: its report's sections, its images as (file name, view), its gold labels."""

    uid: str
    findings: str
    impression: str
    images: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class OpenISource:
    """A local copy of Open-i.

    Raises:
        ValueError: if the folder, a CSV file or a column of it is missing, or a choice is unknown.
    """

    source: Path = option("the folder that holds indiana_reports.csv")
    views: str = option("which projections become images: frontal, lateral or all", default="frontal")
    fallback: str = option(
        "what to mine where a report has no findings section: none (leave it out) or impression",
        default="none",
    )
    seed: int = option("of the split by patient", default=0)

    name: ClassVar = "open-i"
    licence: ClassVar = "cc-by-nc-nd-4.0"
    homepage: ClassVar = "https://openi.nlm.nih.gov"
    sharing: ClassVar = Sharing.RESTRICTED
    volumes: ClassVar = False
    label_anatomies: ClassVar[dict[str, str]] = LABEL_ANATOMIES
    label_origin: ClassVar[str] = "Labels: set by people."

    def __post_init__(self) -> None:
        for option_name, choices in (("views", VIEWS), ("fallback", FALLBACKS)):
            if (seen := getattr(self, option_name)) not in choices:
                raise ValueError(f"{option_name} must be one of {', '.join(choices)}, got {seen!r}")
        if not self.source.is_dir():
            raise ValueError(f"{self.source} is no folder; give the folder that holds indiana_reports.csv")

    def tables(self) -> list[Path]:
        """The CSV files."""
        return sorted(self.source.glob("*.csv"))

    def jobs(self) -> Iterator[OpenIStudy | Skipped]:
        """One job a study, in the order in which the projections file first names them."""
        reports: dict[str, tuple[str, str]] = {}
        for uid, findings, impression in _read_csv(self.source / "indiana_reports.csv", _REPORT_COLUMNS):
            reports[uid] = (findings.strip(), impression.strip())
        images: dict[str, list[tuple[str, str]]] = {}
        for uid, name, view in _read_csv(self.source / "indiana_projections.csv", _PROJECTION_COLUMNS):
            images.setdefault(uid, []).append((name, view.lower()))
        labels = _gold_labels(self.source / "gold_labels.csv")
        for uid, names in images.items():
            if uid in reports:
                yield OpenIStudy(uid, *reports[uid], tuple(names), labels.get(uid, ()))
            else:
                yield from (Skipped(name, "no report with this uid") for name, _ in names)

    def read(self, job: OpenIStudy) -> list[ImageRecord | Skipped]:
        """The wanted images of one study."""
        return [self._record(job, filename, view) for filename, view in job.images]

    def _record(self, study: OpenIStudy, filename: str, view: str) -> ImageRecord | Skipped:
        if self.views not in ("all", view):
            return Skipped(filename, f"projection is {view}, not {self.views}")
        mined = study.findings or (study.impression if self.fallback == "impression" else "")
        if not mined:
            return Skipped(filename, _NO_TEXT[self.fallback])
        image = _read_image(self.source / "images" / filename)
        if isinstance(image, str):
            return Skipped(filename, image)
        sections = (("FINDINGS", study.findings), ("IMPRESSION", study.impression))
        return ImageRecord(
            study_id=study.uid,
            subject_id=study.uid,
            image_id=filename.split(".")[0],
            image=image,
            view=view,
            report="\n".join(f"{name}: {text}" for name, text in sections if text),
            findings=mined,
            impression=study.impression,
            split=split_of_subject(study.uid, self.seed),
            labels=dict(study.labels),
        )


def _read_csv(path: Path, columns: tuple[str, ...]) -> list[list[str]]:
    """The rows of a CSV file, as strings, in the columns asked for."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; Open-i's public CSV layout has {path.name} beside images/")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"{path} lacks the column(s) {', '.join(missing)}; found {', '.join(table.columns)}")
    return table[list(columns)].to_numpy(dtype=str).tolist()


def _read_image(path: Path) -> bytes | str:
    """The file's bytes, or the reason why they are no image."""
    if not path.is_file():
        return "the image file is missing"
    encoded = path.read_bytes()
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError):
        return "the image file is unreadable"
    return encoded


def _gold_labels(path: Path) -> dict[str, tuple[tuple[str, int], ...]]:
    """Labels set by people, uid -> (label, 0 or 1), ...; empty where the source has no such file."""
    if not path.is_file():
        return {}
    names = [name for name in pd.read_csv(path, nrows=0).columns if name != "uid"]
    rows = _read_csv(path, ("uid", *names))
    return {uid: tuple(zip(names, map(int, values), strict=True)) for uid, *values in rows}
