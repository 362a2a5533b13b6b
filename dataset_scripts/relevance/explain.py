"""Why two texts have their RaTEScore: which entity matched which, and what it earned.

What is explained is the relevance of two *texts*. A model ranks images by embeddings, in which no entity can
be pointed at: beside its hits, an explanation says how relevant they are and why, not why the model chose
them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dataset_scripts.mining.tokens import fold
from dataset_scripts.mining.vocabulary import default_vocabulary
from dataset_scripts.relevance.entities import Entity, EntityExtractor
from dataset_scripts.relevance.ratescore import (
    NO_ENTITIES_SCORE,
    DirectedScore,
    RateScoreWeights,
    directed_score,
    harmonic_mean,
)
from dataset_scripts.relevance.store.store import EntityStore

FAR = 0.5  # a best match less similar than this is called far: the other text has no counterpart
LINE_LENGTH = 240
_DENIALS = frozenset(["no", "not", "non", "without"])


@dataclass(frozen=True)
class Match:
    """One entity of the query side and its single best match on the other.

    Attributes:
        entity, entity_type, position: the entity, one of ``ENTITY_TYPES``, and its place in its text, from 0.
        match, match_type, match_position: the same of what it matched.
        similarity: cosine, -1 to 1.
        weight, sign, opposed: as of ``ratescore.BestMatch``.
        share, contribution: as of ``ratescore.DirectedScore``; the shares sum to 1, the contributions to the
            score.
    """

    entity: str
    entity_type: str
    position: int
    match: str
    match_type: str
    match_position: int
    similarity: float
    weight: float
    sign: float
    opposed: bool
    share: float
    contribution: float


@dataclass(frozen=True)
class Direction:
    """One direction: its score, and the query side's entities, the largest share first."""

    score: float
    matches: tuple[Match, ...]


@dataclass(frozen=True)
class Link:
    """Two entities that matched in one direction or both, for reading.

    Attributes:
        left, right: the entities as words, of the first and of the second text; "no" stands before what is
            negated.
        similarity, opposed: as of `Match`.
        share: sum of the matches' shares over both directions, halved: 0 to 1, and 1 over all links.
    """

    left: str
    right: str
    similarity: float
    opposed: bool
    share: float

    @property
    def kind(self) -> str:
        """ "contradicts", "same", "near" or "far"."""
        if self.similarity < FAR:
            return "far"
        if self.opposed:
            return "contradicts"
        return "same" if self.left == self.right else "near"

    def __str__(self) -> str:
        sign = "≠" if self.opposed else "=" if self.kind == "same" else "~"
        note = f", {self.kind}" if self.kind in ("contradicts", "far") else ""
        return f"{self.left} {sign} {self.right} ({self.similarity:.2f}{note})"


@dataclass(frozen=True)
class Explanation:
    """Why a pair of texts has its score.

    Attributes:
        score: the RaTEScore, bit for bit that of ``ratescore.rate_score``.
        forward: each entity of the first text and its match in the second.
        backward: each entity of the second text and its match in the first.
    """

    score: float
    forward: Direction
    backward: Direction

    def links(self) -> list[Link]:
        """Both directions as one list: equal pairs of words joined, the largest share first."""
        shares: dict[tuple[str, str, bool], float] = {}
        nearest: dict[tuple[str, str, bool], float] = {}
        for direction in (self.forward, self.backward):
            for item in direction.matches:
                words = (_words(item.entity, item.entity_type), _words(item.match, item.match_type))
                left, right = words if direction is self.forward else words[::-1]
                key = (left, right, item.opposed)
                shares[key] = shares.get(key, 0.0) + item.share / 2
                nearest[key] = max(nearest.get(key, -1.0), item.similarity)
        found = [Link(*key[:2], nearest[key], key[2], share) for key, share in shares.items()]
        return sorted(found, key=lambda link: -link.share)  # stable: equals in the order of the first text

    def line(self, length: int = LINE_LENGTH) -> str:
        """The most telling links as one line.

        Args:
            length: at most so many characters, at least 40; what is left out is counted.

        Raises:
            ValueError: the length is under 40.
        """
        if length < 40:
            raise ValueError(f"length is {length}: a line needs at least 40 characters")
        links = [str(link) for link in self.links()]
        if not links:
            return f"no entities to compare: {self.score:.2f} by convention"
        shown = len(links)
        while shown > 1 and len(_joined(links, shown)) > length:
            shown -= 1
        line = _joined(links, shown)
        if len(line) <= length:
            return line
        rest = line[len(links[0]) :]  # a single link that is too long loses its end
        return links[0][: length - len(rest) - 1].rstrip() + "…" + rest

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON: score, line, and each direction's score and matches."""
        directions = {
            name: {"score": side.score, "matches": [dict(vars(item)) for item in side.matches]}
            for name, side in (("forward", self.forward), ("backward", self.backward))
        }
        return {"score": self.score, "line": self.line(), **directions}


def explain(
    store: EntityStore, weights: RateScoreWeights | None, left_row: int, right_row: int
) -> Explanation:
    """Explain the score of two texts of a store.

    Args:
        store: the entities.
        weights: of the types; None takes the paper's, as `RelevanceEngine` does.
        left_row, right_row: text rows.

    Raises:
        ValueError: there is no such row; -1 stands for a missing text, which has no score.
    """
    weights = weights or RateScoreWeights.named()
    left, right = store.entities(left_row), store.entities(right_row)
    if not left or not right:
        nothing = Direction(0.0, ())
        return Explanation(NO_ENTITIES_SCORE, nothing, nothing)
    sides = store.entity_embeddings(left_row), store.entity_embeddings(right_row)
    forward = _direction(left, right, directed_score(*sides, weights))
    backward = _direction(right, left, directed_score(*sides[::-1], weights))
    return Explanation(harmonic_mean(forward.score, backward.score), forward, backward)


def explain_hits(
    query_text: str,
    hit_texts: Sequence[str],
    scorer: EntityExtractor,
    weights: RateScoreWeights | None = None,
) -> list[Explanation]:
    """Explain the scores of one text with several, where there is no store: each text is read once.

    Args:
        query_text: the query's findings.
        hit_texts: the hits' findings; a text without entities is explained as such.
        scorer: finds and embeds entities.
        weights: of the types; None takes the paper's.

    Example:
        >>> from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
        >>> explain_hits("Small effusion.", ["No effusion."], LexicalExtractor())[0].line()
        'small effusion ≠ no effusion (0.83, contradicts); pleura ~ no effusion (0.03, far)'
    """
    records = [("query", "", query_text), *((f"hit {i}", "", text) for i, text in enumerate(hit_texts))]
    store = EntityStore.build(records, scorer)
    query, *hits = (int(row) for row in store.rows([key for key, _, _ in records], ""))
    return [explain(store, weights, query, hit) for hit in hits]


def _direction(query: Sequence[Entity], other: Sequence[Entity], found: DirectedScore) -> Direction:
    """Put names to the entities of one direction."""
    matches = [
        Match(
            *(query[item.query].text, query[item.query].type, item.query),
            *(other[item.match].text, other[item.match].type, item.match),
            item.similarity,
            item.weight,
            item.sign,
            item.opposed,
            found.share(item),
            found.contribution(item),
        )
        for item in found.matches
    ]
    return Direction(found.score, tuple(sorted(matches, key=lambda item: -item.share)))


def _words(text: str, entity_type: str) -> str:
    """An entity as it reads: "no pneumothorax" for what is negated, "normal" and "clear" as they are."""
    text = " ".join(text.split())
    if not entity_type.startswith("NON-"):
        return text
    words = fold(text)
    senses = default_vocabulary().senses
    said = any((sense := senses.get((word,))) is not None and sense.role == "normal" for word in words)
    return text if said or not _DENIALS.isdisjoint(words) else f"no {text}"


def _joined(links: Sequence[str], shown: int) -> str:
    more = len(links) - shown
    return "; ".join([*links[:shown], *([f"and {more} more"] if more else [])])
