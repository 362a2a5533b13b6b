"""MIMIC-CXR's tables (split, metadata, CheXpert labels) as studies with their images, in a fixed order.

The tables lie at the root of MIMIC-CXR-JPG as `mimic-cxr-2.0.0-*.csv.gz`; unpacked `.csv` does as well. Files
are never listed: a study's folder and report follow from its numbers.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dataset_scripts.sources.tables import read_source_table

PREFIX = "mimic-cxr-2.0.0-"
SPLIT_NAMES = {"train": "train", "validate": "validation", "test": "test"}
LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
_SPLIT_COLUMNS = ("dicom_id", "study_id", "subject_id", "split")
_METADATA_COLUMNS = (
    *("dicom_id", "study_id", "subject_id"),
    *("ViewPosition", "ViewCodeSequence_CodeMeaning"),
)
# Where the DICOM header leaves ViewPosition empty (some 4% of the images), the code of the view often tells.
_VIEW_OF_CODE = {
    "postero-anterior": "PA",
    "antero-posterior": "AP",
    "lateral": "LATERAL",
    "left lateral": "LL",
}
_BLANK = 2
_LABEL_VALUES = {"": _BLANK, "1.0": 1, "0.0": 0, "-1.0": -1, "1": 1, "0": 0, "-1": -1}
_NUMBER = re.compile(r"\d{8}")
_FILE_NAME = r"[0-9A-Za-z_.-]*[0-9A-Za-z_-][0-9A-Za-z_.-]*"  # without slashes, and not ".."
_SOURCE = "it comes with MIMIC-CXR-JPG (https://physionet.org/content/mimic-cxr-jpg/2.1.0/)"


@dataclass(frozen=True, slots=True)
class MimicStudy:
    """One study of the split table: its numbers as in the tables ("50414267"), its split in our names.

    `images` are (dicom_id, view): the ViewPosition in capitals, "" where no table tells it, None where the
    metadata table has no row for the image.
    """

    study_id: str
    subject_id: str
    split: str
    images: tuple[tuple[str, str | None], ...]

    @property
    def folder(self) -> str:
        """The images' folder, from the root."""
        return f"files/p{self.subject_id[:2]}/p{self.subject_id}/s{self.study_id}"

    @property
    def report(self) -> str:
        """The report's path from its root, or in the zip: a sibling of the study's folder."""
        return f"{self.folder}.txt"


def find_tables(roots: Sequence[Path]) -> list[Path]:
    """The tables that are there."""
    return [path for name in ("split", "metadata", "chexpert") if (path := _first(roots, name))]


def read_studies(roots: Sequence[Path]) -> tuple[list[MimicStudy], list[str]]:
    """The studies of the split table in the order in which it first names them.

    Args:
        roots: the folders in which the tables are looked for, in this order.

    Returns:
        The studies, and the dicom_ids that only the metadata table has.

    Raises:
        ValueError: if a table is missing, damaged or inconsistent.
    """
    split = read_csv(_find(roots, "split"), _SPLIT_COLUMNS)
    metadata = read_csv(_find(roots, "metadata"), _METADATA_COLUMNS)
    _check(split, metadata)
    views = metadata["ViewPosition"].str.strip().str.upper()
    codes = metadata["ViewCodeSequence_CodeMeaning"].str.strip().str.lower().map(_VIEW_OF_CODE).fillna("")
    kinds, names = pd.factorize(
        views.mask(views == "", codes)
    )  # one string for each view, not for each image
    rows = pd.Index(metadata["dicom_id"]).get_indexer(split["dicom_id"])
    _check_agreement(split, metadata, rows)
    named: list[str | None] = [*names.to_numpy(object), None]
    image_views = [named[kind] for kind in np.where(rows >= 0, kinds[rows], len(names))]
    unsplit = metadata["dicom_id"][~metadata["dicom_id"].isin(split["dicom_id"])].to_list()
    return list(_grouped(split, image_views)), unsplit


def read_labels(
    roots: Sequence[Path], studies: Sequence[MimicStudy] = ()
) -> dict[str, tuple[tuple[str, int], ...]]:
    """Study number -> (label, 1 present, 0 absent or -1 uncertain), blanks left out; {} without the table.

    Args:
        roots: the folders in which the table is looked for, in this order.
        studies: whose patients the table must agree with.

    The labels of `mimic-cxr-2.0.0-chexpert.csv.gz` were read from the reports by a program (CheXpert), not
    set by people.

    Raises:
        ValueError: if the table lacks a column, holds something else than 1, 0, -1 and blanks, or contradicts
            itself or the studies.
    """
    path = _first(roots, "chexpert")
    if path is None:
        return {}
    table = read_csv(path, ("study_id", "subject_id", *LABELS)).drop_duplicates()
    _check_patients(path, table, studies)
    if (twice := table["study_id"].duplicated()).any():
        raise ValueError(
            f"{path} has two rows of different labels for study {table['study_id'][twice].iloc[0]}: expected "
            "one; compare it with SHA256SUMS.txt"
        )
    cells = table[list(LABELS)]
    if not (fine := cells.isin(list(_LABEL_VALUES))).all(axis=None):
        row, column = np.argwhere(~fine.to_numpy())[0]
        raise ValueError(
            f"{path}: study {table['study_id'].iloc[row]} has the label {cells.iat[row, column]!r}, "
            "expected 1.0, 0.0, -1.0 or blank"
        )
    values = np.stack([cells[label].map(_LABEL_VALUES).to_numpy(np.int8) for label in LABELS], axis=1)
    pairs = [{value: (label, value) for value in (1, 0, -1)} for label in LABELS]  # shared by all studies
    return {
        study_id: tuple(pairs[column][value] for column, value in enumerate(row) if value != _BLANK)
        for study_id, row in zip(table["study_id"], values.tolist(), strict=True)
    }


def read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """The columns of a CSV file, packed or not, as strings; blanks are "".

    Raises:
        ValueError: if the file is damaged or lacks a column.
    """
    return read_source_table(path, columns, "compare it with SHA256SUMS.txt")


def _first(roots: Sequence[Path], name: str) -> Path | None:
    paths = (root / f"{PREFIX}{name}.csv{packed}" for root in roots for packed in (".gz", ""))
    return next((path for path in paths if path.is_file()), None)


def _find(roots: Sequence[Path], name: str) -> Path:
    if (path := _first(roots, name)) is None:
        places = " and ".join(map(str, dict.fromkeys(roots)))
        raise ValueError(
            f"{PREFIX}{name}.csv.gz is missing: looked in {places}; {_SOURCE}, and can be put there "
            "for MIMIC-CXR (DICOM), whose own cxr-record-list.csv.gz has neither splits nor views"
        )
    return path


def _check(split: pd.DataFrame, metadata: pd.DataFrame) -> None:
    for name, table in (("split", split), ("metadata", metadata)):
        if (twice := table["dicom_id"].duplicated()).any():
            raise ValueError(
                f"the {name} table names {table['dicom_id'][twice].iloc[0]} twice: expected once"
            )
    if not (fine := split["dicom_id"].str.fullmatch(_FILE_NAME)).all():
        raise ValueError(
            f"the split table has the dicom_id {split['dicom_id'][~fine].iloc[0]!r}: expected the name of a "
            "file in a study's folder"
        )
    for column in ("study_id", "subject_id"):
        if not (fine := split[column].str.fullmatch(_NUMBER.pattern)).all():
            raise ValueError(
                f"the split table has the {column} {split[column][~fine].iloc[0]!r}: expected 8 digits"
            )
    if not (fine := split["split"].isin(list(SPLIT_NAMES))).all():
        seen = split["split"][~fine].iloc[0]
        raise ValueError(f"the split table has the split {seen!r}: expected {', '.join(SPLIT_NAMES)}")
    studies = split.drop_duplicates(["study_id", "subject_id", "split"])["study_id"]
    if (twice := studies.duplicated()).any():
        raise ValueError(f"study {studies[twice].iloc[0]} has two patients or splits in the split table")


def _check_patients(path: Path, labels: pd.DataFrame, studies: Sequence[MimicStudy]) -> None:
    subjects = {study.study_id: study.subject_id for study in studies}
    for study_id, subject_id in zip(labels["study_id"], labels["subject_id"], strict=True):
        if subjects.get(study_id, subject_id) != subject_id:
            raise ValueError(
                f"{path}: study {study_id} is of patient {subject_id!r}, in the split table of "
                f"{subjects[study_id]}: compare both with SHA256SUMS.txt"
            )


def _check_agreement(split: pd.DataFrame, metadata: pd.DataFrame, rows: np.ndarray) -> None:
    """Compare each image's numbers in both tables; `rows` (n,) are the split's images in the metadata."""
    known = np.flatnonzero(rows >= 0)
    for column in ("study_id", "subject_id"):
        here = split[column].to_numpy(object)[known]
        there = metadata[column].str.strip().to_numpy(object)[rows[known]]
        if len(wrong := np.flatnonzero(here != there)):
            place = wrong[0]
            raise ValueError(
                f"image {split['dicom_id'].iloc[known[place]]} has the {column} {here[place]} in the split "
                f"table and {there[place]!r} in the metadata table: compare both with SHA256SUMS.txt"
            )


def _grouped(split: pd.DataFrame, views: list[str | None]) -> Iterator[MimicStudy]:
    """The rows by study in one pass: sorted by the study's first appearance, then cut."""
    codes, _ = pd.factorize(split["study_id"])
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1)).tolist()
    dicom_ids, studies, subjects, splits = (split[name].to_list() for name in _SPLIT_COLUMNS)
    rows = order.tolist()
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        row = rows[start]
        images = tuple((dicom_ids[i], views[i]) for i in rows[start:end])
        yield MimicStudy(studies[row], subjects[row], SPLIT_NAMES[splits[row]], images)
