"""Relevance by content for one pair of texts, written to be read: the reference that the engine is tested
against.

The arithmetic is RaTEScore's: every entity of a text takes its best match in the other text, a direction is
the weighted mean of what the entities earn, and the two directions meet in their harmonic mean (see
``ratescore``). Four things differ, so that the score follows what the texts affirm and not how they word it:

- an entity weighs by its own type, its rarity in the training reports and its severity, not by the type of
  its match;
- an entity whose best match contradicts it earns nothing;
- two denials are alike by 0.9 at least, and no similarity is negative;
- two texts that affirm no finding are fully alike; where one of two affirms a finding, they are not alike.
"""

import math
from dataclasses import dataclass

import numpy as np

from dataset_scripts.relevance.entities import ENTITY_TYPES
from dataset_scripts.relevance.ratescore import (
    NO_ENTITIES_SCORE,
    OPPOSED,
    SIMILARITY_STEPS,
    BestMatch,
    DirectedScore,
    EntityEmbeddings,
    harmonic_mean,
    similarity,
    tie_rank,
)

AFFIRMED = np.array([kind in ("ABNORMALITY", "DISEASE") for kind in ENTITY_TYPES])
"""(5,) bool: entities of this type affirm a finding."""
DENIED = np.array([kind.startswith("NON-") for kind in ENTITY_TYPES])
"""(5,) bool: entities of this type deny a finding, or say that something is normal."""

NEITHER_AFFIRMS_SCORE = 1.0
ONE_AFFIRMS_SCORE = 0.0
LEAST_IDF = 2.0**-7  # of an entity of every report: a text of such entities is still like itself


@dataclass(frozen=True)
class ContentWeights:
    """How much an entity counts by its type.

    Attributes:
        finding: of ABNORMALITY and DISEASE.
        anatomy: of ANATOMY.
        denial: of NON-ABNORMALITY and NON-DISEASE; 0, since what two abnormal texts deny tells them apart by
            wording more than by content (`benchmarks/judges.py`: 0.1 agrees less with labels).
        denials_alike: the least similarity of two denials, 0 to 1.
        severity: whether an entity's weight is multiplied by its severity as well.

    Raises:
        ValueError: a weight is not finite or is negative, that of findings is 0, or ``denials_alike`` is not
            within 0 to 1.
    """

    finding: float = 1.0
    anatomy: float = 0.15
    denial: float = 0.0
    denials_alike: float = 0.9
    severity: bool = True

    def __post_init__(self) -> None:
        for name in ("finding", "anatomy", "denial"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0) or (name == "finding" and value == 0):
                least = "above 0" if name == "finding" else "of 0 or more"
                raise ValueError(f"the weight of {name} is {value}: give a finite number {least}")
        if not 0.0 <= self.denials_alike <= 1.0:
            raise ValueError(f"denials_alike is {self.denials_alike}: it must lie between 0 and 1")

    @property
    def by_type(self) -> np.ndarray:
        """(5,) float64, in ``ENTITY_TYPES`` order."""
        return np.where(AFFIRMED, self.finding, np.where(DENIED, self.denial, self.anatomy))

    @property
    def least_similarity(self) -> np.ndarray:
        """(5, 5) float64, of two types: in steps of 2^-20 as similarities are."""
        alike = np.rint(self.denials_alike * SIMILARITY_STEPS) / SIMILARITY_STEPS
        return np.where(DENIED[:, None] & DENIED, alike, 0.0)


@dataclass(frozen=True)
class WeightedEntities(EntityEmbeddings):
    """The entities of one text, with what each counts beside its type.

    Attributes:
        weights: (n,) float64: inverse document frequency, times severity where that counts.

    Raises:
        ValueError: the shapes do not agree, or a type is not one of the five.
    """

    weights: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights.shape != self.types.shape:
            raise ValueError(
                f"weights {self.weights.shape} and types {self.types.shape} do not belong together: give one "
                "weight for each entity"
            )

    @property
    def affirms(self) -> bool:
        """Whether the text affirms a finding."""
        return bool(AFFIRMED[self.types].any())


def inverse_document_frequency(reports: np.ndarray, total: int) -> np.ndarray:
    """Return how much rarer than everywhere entities are: log((N + 1) / (df + 1)) / log(N + 1).

    1 is an entity that no training report holds, and ``LEAST_IDF`` the least. The scale cancels in a score.

    Args:
        reports: (V,) int, df: the number of training reports that hold each entity.
        total: N, the number of training reports.

    Returns:
        (V,) float64, in steps of 2^-20, so that the last bit of a machine's logarithm does not matter; all 1
        where N is 0.

    Raises:
        ValueError: a number is negative or above the total.
    """
    if reports.size and not (reports.min() >= 0 and reports.max() <= total):
        raise ValueError(
            f"of {total:,} training reports {reports.min():,} to {reports.max():,} are said to hold an "
            "entity: the numbers do not belong together, build the dataset again"
        )
    if total == 0:
        return np.ones(len(reports))
    counts, place = np.unique(reports, return_inverse=True)
    rarity = [math.log((total + 1) / (count + 1)) / math.log(total + 1) for count in counts.tolist()]
    rounded = np.rint(np.array(rarity, dtype=np.float64) * SIMILARITY_STEPS) / SIMILARITY_STEPS
    return np.maximum(rounded, LEAST_IDF)[place]


def directed_content(
    query: WeightedEntities, match: WeightedEntities, weights: ContentWeights
) -> DirectedScore:
    """Return one direction: how well the other text covers the entities of the query.

    Each entity i of the query takes its best match j by similarity s, ties by `tie_rank`, then by cosine. Its
    weight is w = by_type[type i] * weights[i]; n = 0 if the two types contradict each other, else 1.
    """
    cosines = similarity(query.vectors, match.vectors)
    similarities = np.clip(cosines, weights.least_similarity[np.ix_(query.types, match.types)], 1.0)
    matches = []
    for i, query_type in enumerate(query.types.tolist()):
        j = max(
            range(len(match.types)),
            key=lambda k: (similarities[i, k], tie_rank(query_type, int(match.types[k])), cosines[i, k]),
        )
        opposed = bool(OPPOSED[query_type, match.types[j]])
        w = float(weights.by_type[query_type] * query.weights[i])
        matches.append(BestMatch(i, j, float(similarities[i, j]), w, opposed, 0.0 if opposed else 1.0))
    return DirectedScore(tuple(matches))


def by_convention(query: EntityEmbeddings, match: EntityEmbeddings) -> float | None:
    """Return the score of two texts that is not computed; None where both affirm a finding.

    A text without entities says nothing: against one that affirms no finding it scores 0.5, as RaTEScore has
    it, so that an empty text is no perfect report of a healthy patient.
    """
    affirming = [bool(AFFIRMED[side.types].any()) for side in (query, match)]
    if all(affirming):
        return None
    if any(affirming):
        return ONE_AFFIRMS_SCORE
    return NEITHER_AFFIRMS_SCORE if len(query.types) and len(match.types) else NO_ENTITIES_SCORE


def content_score(query: WeightedEntities, match: WeightedEntities, weights: ContentWeights) -> float:
    """Return the relevance of one pair of texts by content: symmetric, 0 to 1.

    Example:
        >>> effusion, left, right = np.eye(3)
        >>> disease_and_anatomy, rarity = np.array([2, 4]), np.array([1.0, 0.5])
        >>> one = WeightedEntities(np.stack([effusion, left]), disease_and_anatomy, rarity)
        >>> other = WeightedEntities(np.stack([effusion, right]), disease_and_anatomy, rarity)
        >>> content_score(one, one, ContentWeights()), round(content_score(one, other, ContentWeights()), 3)
        (1.0, 0.93)
    """
    known = by_convention(query, match)
    if known is not None:
        return known
    forward = directed_content(query, match, weights)
    backward = directed_content(match, query, weights)
    return harmonic_mean(forward.score, backward.score)
