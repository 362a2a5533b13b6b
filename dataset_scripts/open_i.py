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

from dataset_scripts.records import ImageRecord, Skipped
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
_REPORT_COLUMNS = ("uid", "findings", "impression")
_PROJECTION_COLUMNS = ("uid", "filename", "projection")


@dataclass(frozen=True)
class OpenISource:
    """A local copy of Open-i.

    Args:
        source: the folder described above.
        views: which projections become images: `frontal` (default), `lateral` or `all`.
        seed: of the split by patient.

    Raises:
        ValueError: if the folder, a CSV file or a column of it is missing.
    """

    source: Path
    views: str = "frontal"
    seed: int = 0

    name = "open-i"
    licence = "cc-by-nc-nd-4.0"
    label_anatomies: ClassVar[dict[str, str]] = LABEL_ANATOMIES

    def __post_init__(self) -> None:
        if self.views not in VIEWS:
            raise ValueError(f"views must be one of {', '.join(VIEWS)}, got {self.views!r}")
        if not self.source.is_dir():
            raise ValueError(f"{self.source} is no folder; give the folder that holds indiana_reports.csv")

    def records(self) -> Iterator[ImageRecord | Skipped]:
        """Yield one record an image in the order of the projections file, or why there is none."""
        reports = _read_csv(self.source / "indiana_reports.csv", _REPORT_COLUMNS).set_index("uid")
        projections = _read_csv(self.source / "indiana_projections.csv", _PROJECTION_COLUMNS)
        labels = _gold_labels(self.source / "gold_labels.csv")
        for uid, filename, projection in projections[list(_PROJECTION_COLUMNS)].to_numpy(dtype=str).tolist():
            view = projection.lower()
            if self.views not in ("all", view):
                yield Skipped(filename, f"projection is {view}, not {self.views}")
            elif uid not in reports.index:
                yield Skipped(filename, "no report with this uid")
            else:
                yield self._record(uid, filename, view, reports.loc[uid], labels)

    def _record(
        self, uid: str, filename: str, view: str, report: pd.Series, labels: dict[str, dict[str, int]]
    ) -> ImageRecord | Skipped:
        findings, impression = report["findings"].strip(), report["impression"].strip()
        if not findings:
            return Skipped(filename, "the report has no findings section")
        image = _read_image(self.source / "images" / filename)
        if isinstance(image, str):
            return Skipped(filename, image)
        return ImageRecord(
            study_id=uid,
            subject_id=uid,
            image_id=filename.split(".")[0],
            image=image,
            view=view,
            report="\n".join(
                filter(None, (f"FINDINGS: {findings}", impression and f"IMPRESSION: {impression}"))
            ),
            findings=findings,
            impression=impression,
            split=split_of_subject(uid, self.seed),
            labels=labels.get(uid, {}),
        )


def _read_csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    if not path.is_file():
        raise ValueError(f"{path} is missing; Open-i's public CSV layout has {path.name} beside images/")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"{path} lacks the column(s) {', '.join(missing)}; found {', '.join(table.columns)}")
    return table


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


def _gold_labels(path: Path) -> dict[str, dict[str, int]]:
    """Labels set by people, uid -> label -> 0 or 1; empty where the source has no such file."""
    if not path.is_file():
        return {}
    table = _read_csv(path, ("uid",)).set_index("uid").astype(int)
    return {str(uid): {str(k): int(v) for k, v in row.items()} for uid, row in table.iterrows()}
