"""The relevances by name, over one store each: `paper` is RaTEScore (eq. 3), `content` that of ``content``.

A formula gives the score of one pair by its plain reference, and the numbers from which the engine computes
the same scores for many pairs.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from dataset_scripts.relevance.content import (
    AFFIRMED,
    NEITHER_AFFIRMS_SCORE,
    ONE_AFFIRMS_SCORE,
    ContentWeights,
    WeightedEntities,
    by_convention,
    directed_content,
    inverse_document_frequency,
)
from dataset_scripts.relevance.ratescore import (
    NO_ENTITIES_SCORE,
    SIMILARITY_STEPS,
    DirectedScore,
    RateScoreWeights,
    directed_score,
    harmonic_mean,
)
from dataset_scripts.relevance.store.store import EntityStore

RELEVANCES = ("paper", "content")


@dataclass(frozen=True)
class Compared:
    """The score of a pair and what it is made of.

    Attributes:
        score: the relevance.
        forward, backward: the two directions; None where the score is a convention and not computed.
    """

    score: float
    forward: DirectedScore | None = None
    backward: DirectedScore | None = None


@dataclass(frozen=True, eq=False)
class Tables:
    """A formula as the engine computes it.

    Texts fall into groups; the scores between two groups are one constant, but for those of the last group
    with itself, which are computed.

    Attributes:
        weight, sign: (5, 5) float64, of an entity and its match, by query type and match type.
        least, most: (5, 5) int32, bounds of the similarity in steps of 2^-20; None where none are needed.
        entity_weight: (V,) float64, by which each entity's weight is multiplied.
        constants: (groups, groups) float64, symmetric; NaN at the end.
    """

    weight: np.ndarray
    sign: np.ndarray
    least: np.ndarray | None
    most: np.ndarray | None
    entity_weight: np.ndarray
    constants: np.ndarray


class Formula(Protocol):
    """A relevance over the texts of one store."""

    @property
    def name(self) -> str:
        """One of ``RELEVANCES``."""
        ...

    def compare(self, left_row: int, right_row: int) -> Compared:
        """Compare two texts of the store by the plain reference."""
        ...

    def tables(self) -> Tables:
        """Return the numbers for the engine."""
        ...

    def groups(self, rows: np.ndarray) -> np.ndarray:
        """Return the group of each text: (n,) int64 for (n,) rows of the store."""
        ...


@dataclass(frozen=True, eq=False)
class PaperFormula:
    """RaTEScore over a store, see ``ratescore``.

    Attributes:
        store: the entities.
        weights: of the types.
    """

    store: EntityStore
    weights: RateScoreWeights = field(default_factory=RateScoreWeights.named)
    name: ClassVar[str] = "paper"

    def compare(self, left_row: int, right_row: int) -> Compared:
        """Compare two texts by `ratescore.directed_score`."""
        left, right = (self.store.entity_embeddings(row) for row in (left_row, right_row))
        if not len(left.types) or not len(right.types):
            return Compared(NO_ENTITIES_SCORE)
        return _met(directed_score(left, right, self.weights), directed_score(right, left, self.weights))

    def tables(self) -> Tables:
        """Return the tables: weights by both types, similarities as they are."""
        constants = np.array([[NO_ENTITIES_SCORE, NO_ENTITIES_SCORE], [NO_ENTITIES_SCORE, np.nan]])
        ones = np.ones(len(self.store.entity_types))
        return Tables(self.weights.affinity, self.weights.signs, None, None, ones, constants)

    def groups(self, rows: np.ndarray) -> np.ndarray:
        """Return 0 for texts without entities, 1 for all others."""
        return (self.store.indptr[rows + 1] > self.store.indptr[rows]).astype(np.int64)


@dataclass(frozen=True, eq=False)
class ContentFormula:
    """Relevance by content over a store, see ``content``.

    Attributes:
        store: the entities.
        weights: of the types.
        entity_weight: (V,) float64, what each entity counts beside its type; rarity, times severity.

    Raises:
        ValueError: there is not one weight for each entity, or one is not finite and above 0.
    """

    store: EntityStore
    weights: ContentWeights
    entity_weight: np.ndarray
    name: ClassVar[str] = "content"

    def __post_init__(self) -> None:
        found = self.entity_weight
        if found.shape != self.store.entity_types.shape or not (np.isfinite(found) & (found > 0)).all():
            raise ValueError(
                f"entity_weight {found.shape} does not fit the store's {len(self.store.entity_types):,} "
                "entities: give each one finite weight above 0"
            )

    def compare(self, left_row: int, right_row: int) -> Compared:
        """Compare two texts by `content.directed_content`."""
        left, right = self._entities(left_row), self._entities(right_row)
        known = by_convention(left, right)
        if known is not None:
            return Compared(known)
        return _met(directed_content(left, right, self.weights), directed_content(right, left, self.weights))

    def _entities(self, row: int) -> WeightedEntities:
        plain = self.store.entity_embeddings(row)
        ids = self.store.entity_ids[self.store.indptr[row] : self.store.indptr[row + 1]]
        return WeightedEntities(plain.vectors, plain.types, self.entity_weight[ids])

    def tables(self) -> Tables:
        """Return the tables: weights by the query's type alone, contradictions 0, bounded similarities."""
        weight = np.repeat(self.weights.by_type[:, None], 5, axis=1)
        least = np.rint(self.weights.least_similarity * SIMILARITY_STEPS).astype(np.int32)
        most = np.full((5, 5), SIMILARITY_STEPS, dtype=np.int32)
        none, one, neither = NO_ENTITIES_SCORE, ONE_AFFIRMS_SCORE, NEITHER_AFFIRMS_SCORE
        constants = np.array([[none, none, one], [none, neither, one], [one, one, np.nan]])
        sign = RateScoreWeights(weight, 0.0).signs
        return Tables(weight, sign, least, most, self.entity_weight, constants)

    def groups(self, rows: np.ndarray) -> np.ndarray:
        """Return 0 for texts without entities, 1 for those that affirm no finding, 2 for those that do."""
        begins, ends = self.store.indptr[rows], self.store.indptr[rows + 1]
        lengths = ends - begins
        starts = np.cumsum(lengths) - lengths
        where = np.arange(lengths.sum()) + np.repeat(begins - starts, lengths)
        affirmed = AFFIRMED[self.store.entity_types[self.store.entity_ids[where]]]
        count = np.concatenate([np.zeros(1, np.int64), np.cumsum(affirmed)])
        affirms = count[starts + lengths] > count[starts]
        return np.where(affirms, 2, (lengths > 0).astype(np.int64))


def _met(forward: DirectedScore, backward: DirectedScore) -> Compared:
    return Compared(harmonic_mean(forward.score, backward.score), forward, backward)


@dataclass(frozen=True)
class Corpus:
    """In how many reports of a training split each entity is: a dataset's document frequencies.

    Without arguments it is the corpus of no reports, in which all entities are equally rare: they count by
    type and severity alone.

    Attributes:
        reports: (entity text, position of its type) -> number of reports that hold it.
        total: number of reports, N.
    """

    reports: Mapping[tuple[str, int], int] = field(default_factory=dict)
    total: int = 0

    @classmethod
    def of(cls, store: EntityStore) -> "Corpus":
        """Read them from a dataset's store.

        Raises:
            ValueError: the store does not hold them.
        """
        counted, total = store.reports_with()
        known = zip(store.entity_texts, store.entity_types.tolist(), strict=True)
        return cls(dict(zip(known, counted.tolist(), strict=True)), total)

    def rarity(self, store: EntityStore) -> np.ndarray:
        """Return the inverse document frequency of the entities of any store, (V,) float64."""
        keys = zip(store.entity_texts, store.entity_types.tolist(), strict=True)
        counted = np.array([self.reports.get(key, 0) for key in keys], dtype=np.int64)
        return inverse_document_frequency(counted, self.total)


def named_formula(store: EntityStore, relevance: str = "paper", **options: Any) -> Formula:
    """Return a relevance by name.

    Args:
        store: the entities.
        relevance: "paper" or "content".
        options: of `paper`: weights, ``RateScoreWeights``. Of `content`: weights, ``ContentWeights``;
            corpus, ``Corpus``, by default the training reports of the store itself.

    Raises:
        ValueError: there is no such relevance, it has no such option, or the store does not hold how many
            training reports hold each entity, which `content` needs where no corpus is given.
    """
    check_relevance(relevance)
    makers: dict[str, Any] = {"paper": _paper, "content": _content}
    known = set(inspect.signature(makers[relevance]).parameters) - {"store"}
    if unknown := sorted(set(options) - known):
        raise ValueError(
            f"the relevance {relevance!r} has no option {', '.join(unknown)}; it has "
            f"{', '.join(sorted(known))}"
        )
    formula: Formula = makers[relevance](store, **options)
    return formula


def check_relevance(relevance: str) -> None:
    """Raise ValueError unless there is a relevance of that name."""
    if relevance not in RELEVANCES:
        raise ValueError(f"There is no relevance {relevance!r}: choose {' or '.join(RELEVANCES)}")


def text_options(
    relevance: str, weights: RateScoreWeights | None = None, corpus: Corpus | None = None
) -> dict[str, Any]:
    """Return the options of `named_formula` for texts without a dataset.

    Args:
        relevance: "paper" or "content".
        weights: RaTEScore's, for "paper".
        corpus: for "content"; by default no reports, so that entities count by type and severity alone.

    Raises:
        ValueError: there is no such relevance, or something is given that belongs to the other one.
    """
    check_relevance(relevance)
    if relevance == "paper":
        if corpus is not None:
            raise ValueError(
                "a corpus belongs to the relevance `content`: leave it out, or ask for `content`"
            )
        return {"weights": weights}
    if weights is not None:
        raise ValueError(
            "affinity and neg_weight belong to the relevance `paper`: leave them out, or ask for `paper`"
        )
    return {"corpus": Corpus() if corpus is None else corpus}


def _paper(store: EntityStore, weights: RateScoreWeights | None = None) -> PaperFormula:
    return PaperFormula(store, weights or RateScoreWeights.named())


def _content(
    store: EntityStore, weights: ContentWeights | None = None, corpus: Corpus | None = None
) -> ContentFormula:
    weights = weights or ContentWeights()
    found = inverse_document_frequency(*store.reports_with()) if corpus is None else corpus.rarity(store)
    if weights.severity:
        found = found * store.severities
    return ContentFormula(store, weights, found)
