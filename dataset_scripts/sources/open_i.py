"""Open-i: the Indiana University chest X-rays in their public CSV layout.

Source folder: `indiana_reports.csv` (uid, MeSH, Problems, image, indication, comparison, findings,
impression), `indiana_projections.csv` (uid, filename, projection), an `images/` folder and, optionally,
`gold_labels.csv` (uid and one 0/1 column a label). MeSH terms become labels too, see `open_i_mesh`. There is
one study a patient and no patient number, so the uid serves as both. The licence (CC BY-NC-ND 4.0) forbids
redistribution: the built folder is for the machine it is built on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dataset_scripts.sources.base import ImageRecord, Sharing, Skipped, option
from dataset_scripts.sources.images import check_picture
from dataset_scripts.sources.open_i_mesh import ANATOMIES, mesh_labels
from dataset_scripts.sources.splits import split_of_subject
from dataset_scripts.sources.tables import is_blank, read_source_table, stays_below

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
NO_UID = "the row has no uid"
OUTSIDE = "the file name leads outside of images/"
TWO_REPORTS = "two different reports have this uid"
_REPORT_COLUMNS = ("uid", "findings", "impression")
_MESH_COLUMN = "MeSH"
_PROJECTION_COLUMNS = ("uid", "filename", "projection")
_LABEL_VALUES = {"1": 1, "0": 0, "-1": -1}
_HINT = "compare it with the public CSV layout of Open-i"


@dataclass(frozen=True)
class OpenIStudy:
    """One study's rows: its report's sections, its images as (file name, view), its gold and MeSH labels."""

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
    label_anatomies: ClassVar[dict[str, str]] = LABEL_ANATOMIES | ANATOMIES
    label_origin: ClassVar[str] = "Labels: set by people; those named MeSH index the reports."

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
        reports, two = self._reports()
        labels = _gold_labels(self.source / "gold_labels.csv")
        mesh = self._mesh_labels()
        images: dict[str, dict[str, str]] = {}
        for uid, name, view in _read_csv(self.source / "indiana_projections.csv", _PROJECTION_COLUMNS):
            if is_blank(uid) or not stays_below(name):
                yield Skipped(name, NO_UID if is_blank(uid) else OUTSIDE)
            elif name in images.setdefault(uid, {}):
                yield Skipped(name, "a second row for this image; the first one counts")
            else:
                images[uid][name] = view.lower()
        for uid, views in images.items():
            if uid in two:
                yield from (Skipped(name, TWO_REPORTS) for name in views)
            elif uid in reports:
                yield OpenIStudy(
                    uid, *reports[uid], tuple(views.items()), labels.get(uid, ()) + mesh.get(uid, ())
                )
            else:
                yield from (Skipped(name, "no report with this uid") for name in views)
        yield from (Skipped(uid, "the report has no image") for uid in reports if uid not in images)
        known = images.keys() | reports.keys()
        yield from (Skipped(uid, "gold labels of an unknown uid") for uid in labels if uid not in known)

    def inputs(self, job: OpenIStudy) -> list[Path]:
        """The images of one study."""
        return [self.source / "images" / filename for filename, _ in job.images]

    def _reports(self) -> tuple[dict[str, tuple[str, str]], set[str]]:
        """uid -> (findings, impression), and the uids with two reports: which is theirs no one can tell."""
        reports: dict[str, tuple[str, str]] = {}
        two: set[str] = set()
        for uid, findings, impression in _read_csv(self.source / "indiana_reports.csv", _REPORT_COLUMNS):
            texts = findings.strip(), impression.strip()
            if reports.setdefault(uid, texts) != texts:
                two.add(uid)
        return reports, two

    def _mesh_labels(self) -> dict[str, tuple[tuple[str, int], ...]]:
        """uid -> its MeSH terms as labels; empty where the table has no such column."""
        path = self.source / "indiana_reports.csv"
        if _MESH_COLUMN not in read_source_table(path, hint=_HINT).columns:
            return {}
        return mesh_labels(dict(_read_csv(path, ("uid", _MESH_COLUMN))))

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


def _read_csv(path: Path, columns: tuple[str, ...] | None) -> list[list[str]]:
    """The rows of a CSV file, as strings, in the columns asked for; the uid is stripped."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; Open-i's public CSV layout has {path.name} beside images/")
    table = read_source_table(path, columns, _HINT)
    table["uid"] = table["uid"].str.strip()
    return table.to_numpy(dtype=object).tolist()


def _read_image(path: Path) -> bytes | str:
    """The file's bytes, or the reason why they are no image."""
    if not path.is_file():
        return "the image file is missing"
    try:
        encoded = path.read_bytes()
        check_picture(encoded)
    except OSError as error:
        return f"the image file cannot be opened: {error.strerror or error}"
    except ValueError as error:
        return str(error)
    return encoded


def _gold_labels(path: Path) -> dict[str, tuple[tuple[str, int], ...]]:
    """Labels set by people, uid -> (label, 1, 0 or -1), blanks left out; empty without such a file.

    Raises:
        ValueError: a value is something else, or a uid has two rows that differ.
    """
    if not path.is_file():
        return {}
    names = [name for name in read_source_table(path, hint=_HINT).columns if name != "uid"]
    found: dict[str, tuple[tuple[str, int], ...]] = {}
    for uid, *cells in _read_csv(path, ("uid", *names)):
        values = {name: cell.strip().removesuffix(".0") for name, cell in zip(names, cells, strict=True)}
        values = {name: value for name, value in values.items() if not is_blank(value)}
        if wrong := [name for name, value in values.items() if value not in _LABEL_VALUES]:
            raise ValueError(
                f"{path}: uid {uid} has the label {values[wrong[0]]!r} for {wrong[0]}, expected 1 (yes), 0 "
                "(no), -1 (uncertain) or blank: correct the table"
            )
        labels = tuple((name, _LABEL_VALUES[value]) for name, value in values.items())
        if found.setdefault(uid, labels) != labels:
            raise ValueError(f"{path}: uid {uid} has two rows of different labels: correct the table")
    return found
