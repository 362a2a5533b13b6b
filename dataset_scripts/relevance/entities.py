"""Entities, which relevance compares, and what finds and embeds them; the five types are RaTEScore's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

ENTITY_TYPES = ("ABNORMALITY", "NON-ABNORMALITY", "DISEASE", "NON-DISEASE", "ANATOMY")


@dataclass(frozen=True)
class Entity:
    """One entity of a text: its canonical text and its type, one of ``ENTITY_TYPES``."""

    text: str
    type: str


class EntityExtractor(Protocol):
    """What finds and embeds entities; its name and parameters are recorded, so that none are mixed."""

    name: str

    @property
    def parameters(self) -> dict[str, Any]: ...

    def extract(self, texts: Sequence[str]) -> list[list[Entity]]: ...

    def embed(self, entity_texts: Sequence[str]) -> np.ndarray: ...
