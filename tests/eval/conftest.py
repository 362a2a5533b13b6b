"""A made-up dataset shaped like BuiltDataset: random pictures, invented sentences, known relevance."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dataset_scripts.relevance.entities import ENTITY_TYPES
from dataset_scripts.sources.base import Sharing

ANATOMIES = ("lung", "heart", "left pleura", "right pleura", "trachea")
REGIONS = {
    "lung": "Lung",
    "heart": "Heart",
    "left pleura": "Pleura",
    "right pleura": "Pleura",
    "trachea": "Airway",
}
PARENTS = {"left pleura": ["lung"], "right pleura": ["lung"]}
SHARE = {"lung": 1.0, "heart": 0.9, "left pleura": 0.7, "right pleura": 0.5, "trachea": 0.15}
WORDS = ("clear", "mildly abnormal", "abnormal", "markedly abnormal")


class FakeStore:
    """Text rows of (study, anatomy) with a severity 0 .. 3 each; relevance 1 - difference / 3.

    A text has one entity, which affirms a finding where the severity is above 1.
    """

    def __init__(self, counted: bool = True) -> None:
        self.texts: list[str] = []
        self.severity: list[float] = []
        self.keys: dict[tuple[str, str], int] = {}
        self.document_frequencies = np.ones(2, np.int32) if counted else None
        self.entity_types = np.array([ENTITY_TYPES.index("NON-ABNORMALITY"), ENTITY_TYPES.index("DISEASE")])

    @property
    def entity_ids(self) -> np.ndarray:
        return (np.array(self.severity) > 1).astype(np.int64)

    @property
    def indptr(self) -> np.ndarray:
        return np.arange(len(self.texts) + 1)

    def add(self, study: str, anatomy: str, text: str, severity: float) -> None:
        self.keys[study, anatomy] = len(self.texts)
        self.texts.append(text)
        self.severity.append(severity)

    def rows(self, study_ids: list[str], anatomy: str) -> np.ndarray:
        return np.array([self.keys.get((study, anatomy), -1) for study in study_ids], dtype=np.int64)

    def row_table(self, study_ids: list[str], anatomies: list[str]) -> np.ndarray:
        return np.array([self.rows(study_ids, anatomy) for anatomy in anatomies])

    def text(self, row: int) -> str:
        return self.texts[row]


class FakeEngine:
    """By content, two texts without a finding are alike, and one with a finding and one without are not."""

    def __init__(self, store: FakeStore, relevance: str = "paper") -> None:
        self.store, self.relevance = store, relevance

    def also(self, relevance: str) -> "FakeEngine":
        return FakeEngine(self.store, relevance)

    def block(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        severity = np.append(self.store.severity, np.nan)  # row -1 takes the NaN
        left, right = severity[rows][:, None], severity[columns][None, :]
        alike = (1 - np.abs(left - right) / 3).astype(np.float32)
        if self.relevance == "paper":
            return alike
        by_convention = np.where((left > 1) == (right > 1), np.float32(1), np.float32(0))
        found = np.where((left > 1) & (right > 1), alike, by_convention)
        return np.where(np.isnan(alike), np.float32(np.nan), found)


class FakeDataset:
    """One image a study, except that every tenth study has two; two studies a patient."""

    name, hub_id, splits, holds_volumes = "fake-cxr", None, ("train", "test"), False

    def __init__(
        self,
        n_studies: int = 60,
        seed: int = 0,
        size: int = 48,
        labelled: bool = True,
        counted: bool = True,
    ) -> None:
        rng = np.random.default_rng(seed)
        store, rows = FakeStore(counted), []
        self.severity: dict[tuple[str, str], int] = {}
        for number in range(n_studies):
            study = f"s{number:04d}"
            for anatomy in ANATOMIES:
                self.severity[study, anatomy] = severity = int(rng.integers(0, 4))
                if rng.random() < SHARE[anatomy]:
                    store.add(study, anatomy, f"The {anatomy} is {WORDS[severity]}.", severity)
            whole = float(np.mean([self.severity[study, anatomy] for anatomy in ANATOMIES]))
            report = " ".join(store.text(row) for (s, _), row in store.keys.items() if s == study)
            store.add(study, "", report, whole)
            for copy in range(2 if number % 10 == 0 else 1):
                rows.append(
                    {
                        "study_id": study,
                        "subject_id": f"p{number // 2:04d}",
                        "image_id": f"{study}_{copy}",
                        "image": Image.fromarray(_picture(rng, size, whole)),
                    }
                )
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        features = {name: datasets.Value("string") for name in ("study_id", "subject_id", "image_id")}
        features["image"] = datasets.Image()
        self._studies = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        self.engine = FakeEngine(store)
        self._labelled = labelled
        self.digest = (
            f"{n_studies} studies of {size} pixels, seed {seed}, labels {labelled}, counted {counted}"
        )
        self.facts = SimpleNamespace(
            name="fake-cxr",
            label_origin="Labels: made up.",
            sharing=Sharing.OPEN,
            licence="apache-2.0",
            homepage="https://example.org",
        )

    def engine_for(self, relevance: str) -> Any:
        return self.engine if relevance == "paper" else self.engine.also(relevance)

    def studies(self, split: str) -> datasets.Dataset:
        return self._studies

    def image(self, row: dict[str, Any]) -> Any:
        return row["image"]

    def anatomies(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "parent": PARENTS.get(name, []), "region": REGIONS[name], "synonyms": []}
            for name in ANATOMIES
        ]

    def labels(self) -> pd.DataFrame | None:
        if not self._labelled:
            return None
        rows = [
            (study, f"{anatomy} abnormal", int(severity >= 2), anatomy)
            for (study, anatomy), severity in self.severity.items()
            if anatomy in ("heart", "left pleura")
        ]
        return pd.DataFrame(rows, columns=["study_id", "label", "value", "anatomy"])

    def knowing_vectors(self, noise: float, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Vectors that know the severity up to noise: holistic (N, d) and by anatomy."""
        rng = np.random.default_rng(seed)

        def circle(severity: list[float]) -> np.ndarray:
            angle = np.asarray(severity) * 0.5 + rng.normal(scale=noise, size=len(severity))
            return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)

        studies = self._studies["study_id"][:]
        by_anatomy = {a: circle([self.severity[s, a] for s in studies]) for a in ANATOMIES}
        whole = circle([float(np.mean([self.severity[s, a] for a in ANATOMIES])) for s in studies])
        return whole, by_anatomy


def _picture(rng: np.random.Generator, size: int, whole: float) -> np.ndarray:
    """A grey blob that grows with the severity, in noise: (size, size) uint8."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    blob = np.exp(-(x**2 + y**2) / (0.02 + 0.03 * whole))
    return np.clip(40 + 160 * blob + rng.normal(scale=12, size=blob.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def fake() -> FakeDataset:
    return FakeDataset()


@pytest.fixture
def vectors_file(fake: FakeDataset, tmp_path: Path) -> Path:
    """Vectors of a good conditional model as `--embeddings` takes them."""
    return write_vectors(tmp_path / "radir-like.parquet", fake, *fake.knowing_vectors(0.05))


def write_vectors(
    path: Path, fake: FakeDataset, whole: np.ndarray, by_anatomy: dict[str, np.ndarray]
) -> Path:
    ids = fake.studies("test")["image_id"][:]
    parts = [(name, values) for name, values in {"": whole, **by_anatomy}.items()]
    frame = pd.DataFrame(
        [
            (image, vector.tolist(), name)
            for name, values in parts
            for image, vector in zip(ids, values, strict=True)
        ],
        columns=["id", "vector", "anatomy"],
    )
    frame.to_parquet(path)
    return path


@pytest.fixture(scope="session")
def helpers() -> SimpleNamespace:
    """The pieces that tests build other datasets and files from."""
    return SimpleNamespace(FakeDataset=FakeDataset, write_vectors=write_vectors, ANATOMIES=ANATOMIES)
