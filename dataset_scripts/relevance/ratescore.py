"""RaTEScore for one pair of texts, written to be read: the reference that the fast engine is tested against.

The formula is that of the package RaTEScore 0.6.0 (Zhao et al. 2024, MIT licence), which the RadIR paper uses
as its relevance (eq. 3). The affinity matrices below are its figures.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from dataset_scripts.relevance.entities import ENTITY_TYPES

# Rows: the type of the query's entity; columns: the type of its best match; both in ENTITY_TYPES order.
# fmt: off
AFFINITY_LONG = (
    # ABNORMALITY      NON-ABNORMALITY     DISEASE                NON-DISEASE          ANATOMY
    (0.4276119164393705, 0.5431049700217344, 0.0034478181112993847, 0.27005425386213877, 0.6240929990607657),
    (0.16546764653692908, 0.0009357166071730684, 0.719397354576018, 0.0927333564267591, 0.018670610691852826),
    (0.8396510075734789, 0.9820689020512646, 0.8460555030578727, 0.3789136708096537, 0.9950209388542061),
    (0.7759420231214385, 0.03860183811876373, 0.10073046076318157, 0.34065681486566446, 0.1839139293714062),
    (0.7487824274337533, 0.02097055139911715, 0.4592143222158069, 0.00013736314126696204, 0.2856134859160784),
)
AFFINITY_SHORT = (
    (0.4070293318365468, 0.9479148658006686, 0.28342529466226446, 0.23875064111146294, 0.6952639610605605),
    (0.1712744286898638, 7.887930317199857e-4, 4.5065329822896076e-4, 0.8555432840895761, 0.4485149671497294),
    (0.8840397619834857, 0.6962283914800402, 0.19018958438059513, 0.943727057946997, 0.9637659445696822),
    (0.9555801066212176, 0.05650711141169969, 0.6072996585919443, 0.3214769399791204, 0.13122106162635216),
    (0.5829759950441763, 0.794672584951181, 0.0006059634829551632, 0.27982942400798977, 0.7709590751917746),
)
# fmt: on
_NAMED = {"long": (AFFINITY_LONG, 0.8716553966489615), "short": (AFFINITY_SHORT, 0.3611577852354489)}

OPPOSED = np.array([[{a, b} in ({0, 1}, {2, 3}, {1, 2}, {0, 3}) for b in range(5)] for a in range(5)])
"""(5, 5) bool: one is DISEASE or ABNORMALITY, the other NON-DISEASE or NON-ABNORMALITY."""

SIMILARITY_STEPS = 2**20
NO_ENTITIES_SCORE = 0.5


@dataclass(frozen=True)
class RateScoreWeights:
    """How much each pair of entity types counts, and what a contradiction is multiplied by.

    Attributes:
        affinity: (5, 5) float64, [query type, match type] in ``ENTITY_TYPES`` order, not negative.
        neg_weight: factor on the similarity of an affirmed and a negated entity, 0 to 1.

    Raises:
        ValueError: the matrix is not 5 x 5, finite and non-negative, or ``neg_weight`` is not within 0 to 1.
    """

    affinity: np.ndarray
    neg_weight: float

    def __post_init__(self) -> None:
        affinity = np.array(self.affinity, dtype=np.float64)
        if affinity.shape != (5, 5) or not np.isfinite(affinity).all() or (affinity < 0).any():
            raise ValueError(
                f"affinity has shape {affinity.shape}: it must be a 5 x 5 matrix of finite weights >= 0 "
                f"in the order {', '.join(ENTITY_TYPES)}"
            )
        if not 0.0 <= self.neg_weight <= 1.0:
            raise ValueError(f"neg_weight is {self.neg_weight}: it must lie between 0 and 1")
        affinity.setflags(write=False)
        object.__setattr__(self, "affinity", affinity)

    @classmethod
    def named(cls, affinity: str = "long", neg_weight: float | None = 0.3612) -> "RateScoreWeights":
        """Return the package's weights by name.

        Args:
            affinity: "long" (the package's default, for reports) or "short".
            neg_weight: 0.3612 for both matrices up to package version 0.5.0, which the paper precedes;
                None takes the matrix's own, as version 0.6.0 does.

        Raises:
            ValueError: the name is neither "long" nor "short".
        """
        if affinity not in _NAMED:
            raise ValueError(f"There is no affinity matrix {affinity!r}: choose 'long' or 'short'")
        matrix, own_neg_weight = _NAMED[affinity]
        return cls(np.array(matrix), own_neg_weight if neg_weight is None else neg_weight)

    @property
    def signs(self) -> np.ndarray:
        """(5, 5) float64: ``neg_weight`` where the two types contradict each other, 1 elsewhere."""
        return np.where(OPPOSED, self.neg_weight, 1.0)


@dataclass(frozen=True)
class EntityEmbeddings:
    """The entities of one text.

    Attributes:
        vectors: (n, D) float, rows L2-normalised.
        types: (n,) int, positions in ``ENTITY_TYPES``.

    Raises:
        ValueError: the shapes do not agree, or a type is not one of the five.
    """

    vectors: np.ndarray
    types: np.ndarray

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.types.shape != self.vectors.shape[:1]:
            raise ValueError(
                f"vectors {self.vectors.shape} and types {self.types.shape} do not belong together: "
                "give (n, D) vectors and (n,) types"
            )
        if self.types.size and not (self.types.min() >= 0 and self.types.max() < len(ENTITY_TYPES)):
            raise ValueError(
                f"types must be 0 to 4, positions in {ENTITY_TYPES}; found {np.unique(self.types)}"
            )


def similarity(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the cosines of all pairs, rounded to steps of 2^-20 (about 1e-6).

    The rounding makes ties real: two entities that are equally near must not be told apart by the last bit of
    a matrix product, whose value depends on the shape of the batch.

    Args:
        left, right: (n, D) and (m, D), rows L2-normalised.

    Returns:
        (n, m) float64.
    """
    cosines = left.astype(np.float64) @ right.astype(np.float64).T  # (n, m)
    return np.rint(cosines * SIMILARITY_STEPS) / SIMILARITY_STEPS


def tie_rank(query_type: int, match_type: int) -> int:
    """Return the preference among equally similar matches: own type first, then ENTITY_TYPES order.

    The package leaves ties to ``torch.topk``. With this rule every text scores exactly 1 against itself.
    """
    return len(ENTITY_TYPES) if query_type == match_type else len(ENTITY_TYPES) - 1 - match_type


class BestMatch(NamedTuple):
    """One entity of the query and its single best match in the other text.

    Attributes:
        query, match: positions of the two in their texts, from 0.
        similarity: s, their cosine.
        weight: w, affinity of their types.
        opposed: whether the two types contradict each other.
        sign: n, neg_weight if they do, else 1.
    """

    query: int
    match: int
    similarity: float
    weight: float
    opposed: bool
    sign: float


@dataclass(frozen=True)
class DirectedScore:
    """One direction of RaTEScore: how well the other text covers the entities of the query.

    Attributes:
        matches: one for each entity of the query, in their order.
    """

    matches: tuple[BestMatch, ...]

    @cached_property
    def total_weight(self) -> float:
        """sum(w) over the matches."""
        total = 0.0
        for found in self.matches:  # one after the other: `sum` rounds otherwise from Python 3.12 on
            total += found.weight
        return total

    @cached_property
    def score(self) -> float:
        """sum(s w n) / sum(w); 0 where the weights sum to 0. Note that n is in the numerator alone."""
        earned = 0.0
        for found in self.matches:
            earned += found.similarity * found.weight * found.sign
        return earned / self.total_weight if self.total_weight != 0 else 0.0

    def share(self, found: BestMatch) -> float:
        """w / sum(w): what an entity counts for, 0 to 1."""
        return found.weight / self.total_weight if self.total_weight != 0 else 0.0

    def contribution(self, found: BestMatch) -> float:
        """s n w / sum(w): what an entity adds to the score."""
        return found.similarity * found.sign * self.share(found)


def directed_score(
    query: EntityEmbeddings, match: EntityEmbeddings, weights: RateScoreWeights
) -> DirectedScore:
    """Return one direction of RaTEScore, with the matches that it is made of.

    Each entity i of the query takes its single best match j by cosine s, ties by `tie_rank`; its weight is
    w = affinity[type i, type j], its sign n = neg_weight if the two types contradict each other, else 1.
    """
    cosines = similarity(query.vectors, match.vectors)
    signs = weights.signs
    matches = []
    for i, query_type in enumerate(query.types):
        j = max(
            range(len(match.types)),
            key=lambda k: (cosines[i, k], tie_rank(int(query_type), int(match.types[k]))),
        )
        types = query_type, match.types[j]
        w, n = float(weights.affinity[types]), float(signs[types])
        matches.append(BestMatch(i, j, float(cosines[i, j]), w, bool(OPPOSED[types]), n))
    return DirectedScore(tuple(matches))


def harmonic_mean(forward: float, backward: float) -> float:
    """Return the RaTEScore from its two directions: their harmonic mean, 0 where they sum to 0."""
    total = forward + backward
    return 2.0 * forward * backward / total if total != 0 else 0.0


def rate_score(query: EntityEmbeddings, match: EntityEmbeddings, weights: RateScoreWeights) -> float:
    """Return the RaTEScore of one pair of texts: the harmonic mean of its two directions.

    It is symmetric; 0.5 if either side has no entities; 0 if the two directions sum to 0.

    Example:
        >>> one = EntityEmbeddings(np.eye(2), np.array([4, 2]))
        >>> rate_score(one, one, RateScoreWeights.named())
        1.0
    """
    if len(query.types) == 0 or len(match.types) == 0:
        return NO_ENTITIES_SCORE
    forward = directed_score(query, match, weights)
    backward = directed_score(match, query, weights)
    return harmonic_mean(forward.score, backward.score)
