"""The images of one split as retrieval items: who they are, which may be compared, how relevant they are.

Images that cannot be read may be left out; they are listed then, and no model ranks them.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import datasets
import numpy as np

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.plumbing.bars import progress_bar
from dataset_scripts.relevance.content import AFFIRMED

WHOLE = ""  # the anatomy name that stands for the whole report, as in the dataset's `relevance` config
PAPER, CONTENT = "paper", "content"  # the relevances to judge by
NO_CONTENT = (
    "Judged by the paper's relevance alone: the dataset's entities do not hold how many training reports "
    "name each of them, which the relevance by content needs. Build the dataset again to have both."
)


class RetrievalSplit:
    """The N images of a split, by position.

    Args:
        dataset: a built dataset.
        split: "train", "validation" or "test".
        left_out: image_id -> why, of images that are not among the items; those that the split has count.

    Raises:
        ValueError: the split holds fewer than two images, or an image_id twice, or a study of which the
            dataset's entities know nothing.
    """

    def __init__(self, dataset: BuiltDataset, split: str, left_out: Mapping[str, str] | None = None) -> None:
        self.dataset, self.split = dataset, split
        self.studies: datasets.Dataset = dataset.studies(split)
        self.left_out: dict[str, str] = {}
        if left_out:
            self._leave_out(left_out)
        table = self.studies.select_columns(["image_id", "study_id", "subject_id"]).to_pandas()
        self.image_ids = table["image_id"].astype(str).to_numpy(dtype=object)
        self.study_ids = table["study_id"].astype(str).to_numpy(dtype=object)
        subjects = table["subject_id"]
        # An unknown patient is its own study's only: nothing else may be counted as the same person.
        known = subjects.notna() & (subjects.astype(str) != "")
        names = np.where(known, "subject " + subjects.astype(str), "study " + table["study_id"].astype(str))
        self.subjects = np.unique(names.astype(str), return_inverse=True)[1].astype(
            np.int64
        )  # (N,) 0 .. S - 1
        self.study_numbers = np.unique(self.study_ids.astype(str), return_inverse=True)[1].astype(np.int64)
        self._rows: dict[str, np.ndarray] = {}
        self._check()

    def _leave_out(self, left_out: Mapping[str, str]) -> None:
        names = [str(name) for name in self.studies["image_id"][:]]
        self.left_out = {name: left_out[name] for name in names if name in left_out}
        self.studies = self.studies.select([row for row, name in enumerate(names) if name not in left_out])

    @property
    def identity(self) -> dict[str, Any]:
        """What decides which images these are and what is known of them: equal for equal items."""
        return {"dataset": self.dataset.digest, "split": self.split, "left_out": sorted(self.left_out)}

    def _check(self) -> None:
        if len(self) < 2:
            raise ValueError(
                f"the split {self.split!r} of {self.dataset.name} holds {len(self)} images: retrieval needs 2"
            )
        names, counts = np.unique(self.image_ids.astype(str), return_counts=True)
        if (counts > 1).any():
            raise ValueError(
                f"image_id {names[counts.argmax()]!r} appears {counts.max()} times in {self.split!r}"
            )
        if "findings" in self.studies.column_names:
            self._check_known()

    def _check_known(self) -> None:
        """A study with a text is among the entities; else it would silently be no query and no candidate."""
        told = np.array([bool(text and text.strip()) for text in self.studies["findings"][:]])
        unknown = np.unique(self.study_ids[told & (self.rows(WHOLE) < 0)].astype(str))
        if len(unknown):
            raise ValueError(
                f"{len(unknown)} studies of {self.dataset.name}/{self.split} have findings that its "
                f"entities do not know, the first is {unknown[0]}: tables and entities/ are of two builds; "
                "build the dataset again"
            )

    def __len__(self) -> int:
        return len(self.image_ids)

    def image(self, position: int) -> Any:
        """The image as the image processors take it: a PIL image, or a Volume.

        Raises:
            ValueError: it is missing or damaged; the sentence names it.
        """
        try:
            return self.dataset.image(self.studies[position])
        except ValueError as error:
            raise ValueError(f"{error} (--skip-unreadable leaves such images out, and lists them)") from error

    @cached_property
    def anatomies(self) -> tuple[dict[str, Any], ...]:
        """The dataset's anatomies: name, parent, region, synonyms."""
        return tuple(self.dataset.anatomies())

    def rows(self, anatomy: str) -> np.ndarray:
        """The entity store's row of each image's study for an anatomy: (N,) int64, -1 without a text."""
        if anatomy not in self._rows:
            self._rows[anatomy] = self.dataset.engine.store.rows(list(self.study_ids), anatomy)
        return self._rows[anatomy]

    def members(self, anatomy: str) -> np.ndarray:
        """Positions of the images whose study has a text for the anatomy: (M,) int64, ascending."""
        return np.flatnonzero(self.rows(anatomy) >= 0)

    def text(self, position: int, anatomy: str) -> str:
        """The text about an anatomy (WHOLE: the report) of an image's study; empty if there is none."""
        row = int(self.rows(anatomy)[position])
        return self.dataset.engine.store.text(row) if row >= 0 else ""

    def first_of_studies(self) -> np.ndarray:
        """Positions of the first image of each study with a report: the gallery of reports, (R,) int64."""
        members = self.members(WHOLE)
        return np.sort(members[np.unique(self.study_numbers[members], return_index=True)[1]])

    def relevance(
        self, anatomy: str, queries: np.ndarray, candidates: np.ndarray, name: str = PAPER
    ) -> np.ndarray:
        """T (WHOLE) or T_Q (equation 3) between images: (Q, C) float32, NaN where a study has no text.

        Raises:
            ValueError: the name is not among `relevances`.
        """
        if name not in self.relevances:
            raise ValueError(NO_CONTENT if name == CONTENT else f"there is no relevance {name!r}")
        rows, engine = self.rows(anatomy), self._engines[name]
        block = engine.block(rows[queries], rows[candidates])
        return np.clip(block, 0.0, 1.0)  # rounding, and rare opposite embeddings, may leave the scale

    @property
    def relevances(self) -> tuple[str, ...]:
        """The names of the relevances that the dataset can be judged by; the paper's is always there."""
        return tuple(self._engines)

    @cached_property
    def _engines(self) -> dict[str, Any]:
        counted = self.dataset.engine.store.document_frequencies is not None
        return {name: self.dataset.engine_for(name) for name in ((PAPER, CONTENT) if counted else (PAPER,))}

    def affirms(self, anatomy: str) -> np.ndarray:
        """Whether each image's text for an anatomy affirms a finding: (N,) bool; False without a text.

        It does if one of its entities is an ABNORMALITY or a DISEASE.
        """
        rows = self.rows(anatomy)
        return (rows >= 0) & self._text_affirms[rows]

    @cached_property
    def _text_affirms(self) -> np.ndarray:
        """Of each text of the store: (T,) bool."""
        store = self.dataset.engine.store
        counted = np.zeros(len(store.entity_ids) + 1, dtype=np.int64)
        np.cumsum(AFFIRMED[store.entity_types[store.entity_ids]], out=counted[1:])
        return counted[store.indptr[1:]] > counted[store.indptr[:-1]]

    @cached_property
    def parents(self) -> dict[str, tuple[str, ...]]:
        """The anatomies that each anatomy is directly part of."""
        return {anatomy["name"]: tuple(anatomy["parent"]) for anatomy in self.anatomies}

    def level(self, anatomy: str) -> int:
        """How many steps an anatomy is below one that is part of nothing, by the shortest way up."""
        level, above = 0, {anatomy}
        while all(self.parents.get(name) for name in above):
            above = {parent for name in above for parent in self.parents[name]}
            level += 1
        return level

    def excluded(
        self, queries: np.ndarray, candidates: np.ndarray, exclude_self: bool, exclude_same_subject: bool
    ) -> np.ndarray:
        """Which candidates a query must not be compared with: (Q, C) bool.

        The same study is always the same patient, also where the patient is not known.
        """
        excluded = np.zeros((len(queries), len(candidates)), dtype=bool)
        if exclude_self:
            excluded |= queries[:, None] == candidates[None, :]
        if exclude_same_subject:
            excluded |= self.subjects[queries][:, None] == self.subjects[candidates][None, :]
            excluded |= self.study_numbers[queries][:, None] == self.study_numbers[candidates][None, :]
        return excluded

    def train_counts(self) -> dict[str, int]:
        """Studies with a text for each anatomy, in the training split (in this one if there is none).

        The paper orders its tables, head to tail, by the frequency in the training set.
        """
        split = "train" if "train" in self.dataset.splits else self.split
        studies = sorted(set(self.dataset.studies(split).select_columns(["study_id"])["study_id"]))
        names = [anatomy["name"] for anatomy in self.anatomies]
        counts = (self.dataset.engine.store.row_table(studies, names) >= 0).sum(axis=1)
        return dict(zip(names, counts.tolist(), strict=True))


def unreadable(dataset: BuiltDataset, split: str, progress: bool = True) -> dict[str, str]:
    """Images of a split that cannot be read, image_id -> why; each image is read once for it.

    Raises:
        ValueError: none can be read.
    """
    studies = dataset.studies(split)
    left_out: dict[str, str] = {}
    for row in progress_bar(studies, desc="reading images", unit="image", shown=progress):
        try:
            dataset.image(row)
        except ValueError as error:
            left_out[str(row["image_id"])] = str(error)
    if left_out and len(left_out) == len(studies):
        raise ValueError(
            f"no image of {dataset.name}/{split} can be read; the first: {next(iter(left_out.values()))}"
        )
    return left_out
