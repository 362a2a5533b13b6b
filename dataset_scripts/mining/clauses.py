"""Clauses: a sentence's mentions, parted where another thing is spoken of, each with what is said of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from dataset_scripts.mining.mentions import Mention
from dataset_scripts.mining.status import PRESENT
from dataset_scripts.mining.tokens import words

FINDINGS = frozenset({"disease", "abnormality", "device", "attribute"})
_BREAKS = words("""
    ; but however although though while which whereas there
""")
_PARTING = frozenset({":", "~"})
_EDGES = _BREAKS | _PARTING | {","}
_BOUNDARY = frozenset({",", ";", ":", "~", "."})
_AFTER_COMMA = words("""
    the there this no with without and stable unchanged
""")


@dataclass(slots=True)
class Item:
    """A mention and what is said of it.

    Attributes:
        mention: where it stands, and its term.
        role: "anatomy", "disease", "abnormality", "device", "attribute", "degree", "quality", "normal",
            "generic" or "unknown".
        name: the concept.
        sides: LEFT | RIGHT bits of `laterality`.
        places: of a finding the anatomies that its clause names for it.
        status, degrees, qualities, change, is_attribute: as of `reader.Statement`.
    """

    mention: Mention
    role: str
    name: str
    sides: int = 0
    places: list["Item"] = field(default_factory=list)
    status: str = PRESENT
    degrees: list[str] = field(default_factory=list)
    qualities: list[str] = field(default_factory=list)
    change: str = ""
    is_attribute: bool = False

    @property
    def start(self) -> int:
        """The number of its first token."""
        return self.mention.start

    @property
    def end(self) -> int:
        """The number of the token behind it."""
        return self.mention.end

    @property
    def is_finding(self) -> bool:
        """Whether it can be affirmed and denied by itself."""
        return self.role in FINDINGS


def cut_clauses(tokens: Sequence[str], items: Sequence[Item]) -> list[list[Item]]:
    """Part items where a clause ends between two of them.

    A colon ends a clause only where something has been said before it: "Lungs: clear" is one.
    """
    clauses: list[list[Item]] = []
    said = False
    for number, item in enumerate(items):
        between = tokens[items[number - 1].end if number else 0 : item.start]
        if not clauses or (_is_break(between, item, said) and not _qualifies(items, number, tokens)):
            clauses.append([])
            said = False
        clauses[-1].append(item)
        said = said or item.is_finding or item.role in ("normal", "generic")
    joined: list[list[Item]] = []
    for clause in clauses:  # "Consolidation, left lower lobe": a place alone belongs to what it follows
        if joined and all(item.role == "anatomy" for item in clause):
            joined[-1].extend(clause)
        else:
            joined.append(clause)
    return joined


def clause_spans(tokens: Sequence[str], clauses: Sequence[Sequence[Item]]) -> list[tuple[int, int]]:
    """The tokens of each clause: up to the last mark or conjunction before the next one's mentions."""
    edges = [0]
    for clause, following in pairwise(clauses):
        last = max(item.end for item in clause)
        between = range(following[0].start - 1, last - 1, -1)
        edges.append(next((place for place in between if tokens[place] in _EDGES), last))
    return list(pairwise([*edges, len(tokens)])) if clauses else []


def _qualifies(items: Sequence[Item], number: int, tokens: Sequence[str]) -> bool:
    """Whether a word behind a colon or dash is said of what stands before: "effusion: small, left"."""
    item = items[number]
    if item.role not in ("degree", "quality") or tokens[item.start - 1] not in _PARTING:
        return False
    following = items[number + 1] if number + 1 < len(items) else None
    return following is None or not _BOUNDARY.isdisjoint(tokens[item.end : following.start])


def _is_break(between: Sequence[str], item: Item, said: bool) -> bool:
    if not _BREAKS.isdisjoint(between) or (said and not _PARTING.isdisjoint(between)):
        return True
    commas = [place for place, token in enumerate(between) if token == ","]
    following = [between[place + 1] for place in commas if place + 1 < len(between)]
    if any(token in _AFTER_COMMA for token in following):
        return True
    # ", heart enlarged": an anatomy behind a comma opens a clause where the one before is complete.
    return bool(commas) and said and item.role == "anatomy" and commas[-1] == len(between) - 1
