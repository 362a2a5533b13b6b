"""A made-up tree in the shape of MIMIC-CXR: its names, numbers, tables, line breaks; none of its content.

The reports and radiographs are Open-i's or phantoms. Every
study shows one thing that the real data hold; `CASES` names them.
"""

import csv
import functools
import gzip
import hashlib
import io
import itertools
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from dataset_scripts.sources.base import ImageRecord, Skipped
from dataset_scripts.sources.mimic import source as mimic
from dataset_scripts.sources.phantoms.cxr import make_study
from tests.made_up.open_i import read_all

RULE = " " + "_" * 78
METADATA_COLUMNS = (
    *("dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows"),
    *("Columns", "StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning"),
    *("ViewCodeSequence_CodeMeaning", "PatientOrientationCodeSequence_CodeMeaning"),
)
LABEL_COLUMNS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture"),
    *("Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia"),
    *("Pneumothorax", "Support Devices"),
)


@dataclass
class Content:
    """What fills a study: pixels (H, W) uint8, and the text of the report's two sections."""

    pixels: np.ndarray
    findings: str
    impression: str


def phantom_contents() -> Iterator[Content]:
    """As many as one likes, made from a seed."""
    return map(_phantom, itertools.count())


@functools.cache
def _phantom(number: int) -> Content:
    study = make_study(number, 0, 96)
    return Content(study.image, study.findings, study.impression)


def open_i_contents(folder: Path) -> Iterator[Content]:
    """Frontal studies of Open-i that have both sections; XXXX becomes MIMIC's ___."""
    reports = pd.read_csv(folder / "indiana_reports.csv", dtype=str, keep_default_na=False).set_index("uid")
    images = pd.read_csv(folder / "indiana_projections.csv", dtype=str)
    for uid, name in images.loc[images["projection"] == "Frontal", ["uid", "filename"]].to_numpy().tolist():
        findings, impression = (
            " ".join(reports.at[uid, section].replace("XXXX", "___").split())
            for section in ("findings", "impression")
        )
        if findings and impression and (folder / "images" / name).is_file():
            with Image.open(folder / "images" / name) as image:
                yield Content(np.asarray(image.convert("L")), findings, impression)


def wrapped(text: str) -> str:
    """Lines of at most 79 characters, each with MIMIC's leading space, inside a report."""
    return "\n".join(f" {line}" for line in textwrap.wrap(text, 78))


def _usual(content: Content, heading: str = "FINDINGS") -> str:
    title = "FINAL REPORT".rjust(45)
    return (
        f"{title}\n EXAMINATION:  CHEST (PA AND LAT)\n \n INDICATION:  ___ year old with cough, r/o PNA.\n \n"
        f" COMPARISON:  ___ at 10:22.\n \n {heading}: \n \n{wrapped(content.findings)}\n \n IMPRESSION: \n \n"
        f"{wrapped(content.impression)}\n"
    )


def _addendum(content: Content) -> str:
    return f"{_usual(content)}{RULE}\n ADDENDUM\n \n Discussed with Dr. ___ by telephone.\n"


def _addendum_inside(content: Content) -> str:
    """The findings are the last section, so that the official parser counts the addendum to them."""
    return (
        f"{'FINAL REPORT'.rjust(45)}\n IMPRESSION:  {content.impression[:50]}\n \n FINDINGS:\n \n"
        f"{wrapped(content.findings)}\n{RULE}\n ADDENDUM\n \n Discussed with Dr. ___ by telephone.\n"
    )


def _wet_read(content: Content) -> str:
    return f" WET READ: ___ ___ ___ 10:22 PM\n  No acute process.\n{RULE}\n{_usual(content)}"


def _no_headings(content: Content) -> str:
    return f"{'FINAL REPORT'.rjust(45)}\n Portable chest.\n \n{wrapped(content.findings)}\n"


def _impression_only(content: Content) -> str:
    return (
        f"{'FINAL REPORT'.rjust(45)}\n HISTORY:  Cough.\n \n IMPRESSION: \n \n{wrapped(content.impression)}\n"
    )


def _last_paragraph(content: Content) -> str:
    return f"{'FINAL REPORT'.rjust(45)}\n HISTORY:  Cough.\n \n{wrapped(content.findings)}\n"


@dataclass(frozen=True)
class Case:
    """How one study is made: its report, its frontal view, and what is wrong with its files."""

    report: Callable[[Content], str | None] = _usual
    view: str = "PA"
    code: str = "postero-anterior"
    lateral: bool = False
    image: str = "whole"  # or truncated, missing, garbage
    labelled: bool = True


CASES: dict[str, Case] = {
    "usual": Case(),
    "with lateral": Case(lateral=True),
    "portable": Case(view="AP", code="antero-posterior"),
    "misspelt": Case(lambda content: _usual(content, "FINIDNGS")),
    "view heading": Case(lambda content: _usual(content, "CHEST, TWO VIEWS")),
    "addendum": Case(_addendum),
    "addendum inside": Case(_addendum_inside),
    "wet read": Case(_wet_read, labelled=False),
    "view by code": Case(view=""),
    "view unknown": Case(view="", code=""),
    "other view": Case(view="AP AXIAL"),
    "truncated image": Case(image="truncated"),
    "missing image": Case(image="missing"),
    "garbage image": Case(image="garbage"),
    "missing report": Case(lambda content: None, lateral=True),
    "empty report": Case(lambda content: " \n"),
    "no headings": Case(_no_headings),
    "impression only": Case(_impression_only),
    "last paragraph": Case(_last_paragraph),
    "test": Case(),
    "validation": Case(view="AP"),
    "test without findings": Case(_impression_only),
}
# The cases that give a record with the default options, in order.
USABLE = (
    *("usual", "with lateral", "portable", "misspelt", "view heading", "addendum", "addendum inside"),
    *("wet read", "view by code", "test", "validation"),
)
NO_TEXT = "the report has no findings section"
# ... and why the frontal image of each other case gives none.
DEFECTS = {
    "view unknown": mimic.NO_VIEW,
    "other view": "view is AP AXIAL, not frontal",
    "truncated image": "the image file is truncated",
    "missing image": mimic.NO_IMAGE,
    "garbage image": "the image file is unreadable",
    "missing report": mimic.NO_REPORT,
    "empty report": mimic.EMPTY_REPORT,
    **dict.fromkeys(("no headings", "impression only", "last paragraph", "test without findings"), NO_TEXT),
}
_SPLIT_OF_CASE = {"test": "test", "test without findings": "test", "validation": "validate"}


@dataclass
class MimicTree:
    """Where a made-up tree lies, and for each case its numbers, text and images."""

    root: Path
    reports: Path
    suffix: str
    contents: dict[str, Content] = field(default_factory=dict)
    study: dict[str, str] = field(default_factory=dict)
    subject: dict[str, str] = field(default_factory=dict)
    frontal: dict[str, str] = field(default_factory=dict)
    lateral: dict[str, str] = field(default_factory=dict)
    text: dict[str, str] = field(default_factory=dict)

    def folder(self, case: str) -> str:
        """The study's folder below a root."""
        subject = self.subject[case]
        return f"files/p{subject[:2]}/p{subject}/s{self.study[case]}"

    def image(self, case: str) -> Path:
        """The path of the study's frontal image."""
        return self.root / self.folder(case) / f"{self.frontal[case]}{self.suffix}"


def mimic_tree(
    root: Path,
    contents: Iterator[Content],
    suffix: str = ".jpg",
    reports: Path | None = None,
    zipped: bool = False,
) -> MimicTree:
    """Write the tree: images and tables below `root`, reports below `reports` (by default `root` as well)."""
    tree = MimicTree(root, reports or root, suffix)
    splits, metadata, labels = [], [], []
    for number, (case, how) in enumerate(CASES.items()):
        content = tree.contents[case] = next(contents)
        tree.subject[case] = str(10000032 + number * 471_503)
        tree.study[case] = str(50414267 + number * 1009)
        views = [(tree.frontal, how.view, how.code)]
        views += [(tree.lateral, "LATERAL", "lateral")] if how.lateral else []
        for ids, view, code in views:
            dicom_id = ids[case] = made_up_id(f"{case}/{view}")
            numbers = (tree.subject[case], tree.study[case])
            splits.append((dicom_id, *numbers[::-1], _SPLIT_OF_CASE.get(case, "train")))
            date = ("21800506", "213014.531", "CHEST (PA AND LAT)")
            metadata.append((dicom_id, *numbers, date[2], view, 3056, 2544, *date, code, "Erect"))
            _write_image(root / tree.folder(case) / f"{dicom_id}{suffix}", content.pixels, how.image)
        if (text := how.report(content)) is not None:
            tree.text[case] = text
        if how.labelled:
            marks = ["1.0" if name == "Cardiomegaly" else "" for name in LABEL_COLUMNS]
            marks[0], marks[3] = "0.0", "-1.0"
            labels.append((*numbers, *marks))
    _write_table(root, "split", ("dicom_id", "study_id", "subject_id", "split"), splits)
    _write_table(root, "metadata", METADATA_COLUMNS, metadata)
    _write_table(root, "chexpert", ("subject_id", "study_id", *LABEL_COLUMNS), labels)
    _write_reports(tree, zipped)
    return tree


def read_images(source: mimic.MimicSource) -> tuple[dict[str, ImageRecord], dict[str, str]]:
    """(image_id -> record, image_id -> reason) of all that a source yields: one item an image."""
    items = list(read_all(source))
    ids = [item.record_id if isinstance(item, Skipped) else item.image_id for item in items]
    assert len(set(ids)) == len(ids), "one item an image"
    records = {item.image_id: item for item in items if isinstance(item, ImageRecord)}
    return records, {item.record_id: item.reason for item in items if isinstance(item, Skipped)}


def plain(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def enough_contents(shared_data: Path | None) -> list[Content]:
    """Enough for a tree: of Open-i's studies where the shared open data are given, of phantoms otherwise."""
    source = open_i_contents(shared_data / "open-i") if shared_data else phantom_contents()
    return list(itertools.islice(source, len(CASES)))


def made_up_id(seed: str) -> str:
    """Five groups of eight hex digits, as a dicom_id has."""
    digits = hashlib.sha256(seed.encode()).hexdigest()
    return "-".join(digits[start : start + 8] for start in range(0, 40, 8))


def _write_reports(tree: MimicTree, zipped: bool) -> None:
    tree.reports.mkdir(parents=True, exist_ok=True)
    if zipped:
        with zipfile.ZipFile(tree.reports / "mimic-cxr-reports.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for case, text in tree.text.items():
                archive.writestr(f"{tree.folder(case)}.txt", text)
        return
    for case, text in tree.text.items():
        path = tree.reports / f"{tree.folder(case)}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii", errors="replace", newline="\n")


def _write_table(root: Path, name: str, columns: tuple[str, ...], rows: list[tuple]) -> None:
    with gzip.open(root / f"mimic-cxr-2.0.0-{name}.csv.gz", "wt", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([columns, *rows])


def _write_image(path: Path, pixels: np.ndarray, state: str) -> None:
    if state == "missing":
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = dicom_bytes(pixels) if path.suffix == ".dcm" else _jpeg_bytes(pixels)
    damaged = {"truncated": encoded[: len(encoded) * 2 // 3], "garbage": b"no image at all"}
    path.write_bytes(damaged.get(state, encoded))


def _jpeg_bytes(pixels: np.ndarray) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, format="JPEG", quality=95)
    return encoded.getvalue()


def dicom_bytes(pixels: np.ndarray) -> bytes:
    """Pixels (H, W) uint8 as a 12-bit MONOCHROME1 DICOM whose window shows them as they are, +-1."""
    from tests.made_up.dicom import write_dicom

    stored = np.rint((255 - pixels.astype(np.float64)) * 4095 / 255).astype(np.uint16)
    encoded = io.BytesIO()
    write_dicom(encoded, stored, "MONOCHROME1", 12, WindowCenter=2048, WindowWidth=4096)
    return encoded.getvalue()
