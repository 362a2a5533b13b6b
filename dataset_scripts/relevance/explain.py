"""Why two texts have their relevance: which entity matched which, and what it earned.

What is explained is the relevance of two *texts*. A model ranks images by embeddings, in which no entity can
be pointed at: beside its hits, an explanation says how relevant they are and why, not why the model chose
them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dataset_scripts.mining.tokens import fold
from dataset_scripts.mining.vocabulary import default_vocabulary
from dataset_scripts.relevance.content import AFFIRMED
from dataset_scripts.relevance.entities import ENTITY_TYPES, Entity, EntityExtractor
from dataset_scripts.relevance.formulas import Corpus, Formula, PaperFormula, named_formula, text_options
from dataset_scripts.relevance.ratescore import DirectedScore, RateScoreWeights
from dataset_scripts.relevance.store.store import EntityStore

FAR = 0.5  # a best match less similar than this is called far: the other text has no counterpart
LINE_LENGTH = 240
AFFIRMED_TYPES = tuple(kind for kind, affirmed in zip(ENTITY_TYPES, AFFIRMED, strict=True) if affirmed)
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
        score: the relevance, bit for bit that of the formula's reference.
        forward: each entity of the first text and its match in the second.
        backward: each entity of the second text and its match in the first.
        convention: why the score is not computed, in words; then both directions are empty. "" where it is.
    """

    score: float
    forward: Direction
    backward: Direction
    convention: str = ""

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
            return _cut(f"{self.convention}: {self.score:.2f} by convention", length)
        shown = len(links)
        while shown > 1 and len(_joined(links, shown)) > length:
            shown -= 1
        line = _joined(links, shown)
        if len(line) <= length:
            return line
        rest = line[len(links[0]) :]  # a single link that is too long loses its end
        return links[0][: length - len(rest) - 1].rstrip() + "…" + rest

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON: score, line, convention, and each direction's score and matches."""
        directions = {
            name: {"score": side.score, "matches": [dict(vars(item)) for item in side.matches]}
            for name, side in (("forward", self.forward), ("backward", self.backward))
        }
        return {"score": self.score, "line": self.line(), "convention": self.convention, **directions}


def explain(
    store: EntityStore, formula: Formula | RateScoreWeights | None, left_row: int, right_row: int
) -> Explanation:
    """Explain the score of two texts of a store.

    Args:
        store: the entities.
        formula: over this store, such as ``RelevanceEngine.formula``; or RaTEScore's type weights, by
            default the paper's.
        left_row, right_row: text rows.

    Raises:
        ValueError: there is no such row; -1 stands for a missing text, which has no score.
    """
    if formula is None or isinstance(formula, RateScoreWeights):
        formula = PaperFormula(store, formula or RateScoreWeights.named())
    left, right = store.entities(left_row), store.entities(right_row)
    found = formula.compare(left_row, right_row)
    if found.forward is None or found.backward is None:
        nothing = Direction(0.0, ())
        return Explanation(found.score, nothing, nothing, _convention(left, right))
    forward, backward = _direction(left, right, found.forward), _direction(right, left, found.backward)
    return Explanation(found.score, forward, backward)


def explain_hits(
    query_text: str,
    hit_texts: Sequence[str],
    scorer: EntityExtractor,
    weights: RateScoreWeights | None = None,
    relevance: str = "paper",
    corpus: Corpus | None = None,
) -> list[Explanation]:
    """Explain the scores of one text with several, where there is no store: each text is read once.

    Args:
        query_text: the query's findings.
        hit_texts: the hits' findings; a text without entities is explained as such.
        scorer: finds and embeds entities.
        weights: of the types, for "paper"; None takes the paper's.
        relevance: "paper" or "content".
        corpus: in how many training reports each entity is, for "content"; without one entities count by type
            and severity alone.

    Raises:
        ValueError: there is no such relevance, or weights or a corpus are given for the other one.

    Example:
        >>> from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
        >>> explain_hits("Small effusion.", ["No effusion."], LexicalExtractor())[0].line()
        'small effusion ≠ no effusion (0.83, contradicts); pleura ~ no effusion (0.03, far)'
    """
    options = text_options(relevance, weights, corpus)
    records = [("query", "", query_text), *((f"hit {i}", "", text) for i, text in enumerate(hit_texts))]
    store = EntityStore.build(records, scorer)
    formula = named_formula(store, relevance, **options)
    query, *hits = (int(row) for row in store.rows([key for key, _, _ in records], ""))
    return [explain(store, formula, query, hit) for hit in hits]


def _convention(left: Sequence[Entity], right: Sequence[Entity]) -> str:
    """Why the score of two texts is a convention, in words."""
    affirmed = [[item.text for item in side if item.type in AFFIRMED_TYPES] for side in (left, right)]
    if any(affirmed) and left and right:
        place, found = ("first", affirmed[0]) if affirmed[0] else ("second", affirmed[1])
        return f"the {place} text alone affirms a finding ({', '.join(dict.fromkeys(found))})"
    if left and right:
        return "neither text affirms a finding"
    return "no entities to compare"


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


def _cut(line: str, length: int) -> str:
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
