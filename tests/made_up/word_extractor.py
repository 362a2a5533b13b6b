"""A scorer that can be worked out by hand, and records to build stores from."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.relevance.entities import Entity
from dataset_scripts.relevance.store.store import FILES, MANIFEST

RECORDS = [
    ("s1", "", "Small left pleural effusion. Heart size is normal."),
    ("s1", "pleura", "Small left pleural effusion."),
    ("s2", "", "No pleural effusion."),
    ("s2", "pleura", "No pleural effusion."),
    ("s3", "pleura", "Small left pleural effusion."),
    ("s4", "", "XXXX."),
]


TYPES = {"large": "ABNORMALITY", "effusion": "DISEASE", "left": "ANATOMY", "no": "NON-DISEASE"}


class WordExtractor:
    """Each word is an entity, its embedding the one-hot of its length."""

    name = "words"

    def __init__(self, dimension: int = 16, **changes: Any) -> None:
        self.parameters: dict[str, Any] = {"dimension": dimension}
        self.changes = changes  # what a broken scorer returns instead
        self.asked: list[int] = []  # how many texts, then entities, at a time

    def extract(self, texts: Sequence[str]) -> list[list[Entity]]:
        self.asked.append(len(texts))
        found = [[Entity(word, TYPES.get(word, "ANATOMY")) for word in text.split()] for text in texts]
        return self.changes.get("extract", found)

    def embed(self, entity_texts: Sequence[str]) -> np.ndarray:
        self.asked.append(len(entity_texts))
        vectors = np.eye(self.parameters["dimension"], dtype=np.float32)[[len(t) for t in entity_texts]]
        return self.changes.get("embed", lambda v: v)(vectors)


def many_records(studies: int = 60) -> Iterator[tuple[str, str, str]]:
    """Few texts in many places, and studies in no order."""
    rng = np.random.default_rng(0)
    words = ["large", "effusion", "left", "no", "edema", "rib", ""]
    for study in rng.permutation(studies):
        for anatomy in rng.permutation(["", "heart", "pleura", "lung", "Rippe \u00fc"])[: 1 + study % 5]:
            yield f"study-{study}", anatomy, " ".join(rng.choice(words, size=rng.integers(0, 4)))


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (*FILES, MANIFEST)}
