"""From a sentence to its anatomical phrases and findings: longest match, sides, modifiers, negation."""

import re
from bisect import bisect
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise

from dataset_scripts.relevance.lexical.lexicon import NORMAL, Lexicon
from dataset_scripts.relevance.lexical.negation import AFFIRMED, NEGATED, UNCERTAIN, assert_status

_MASK = re.compile(r"\bx-x{2,}|x{3,}(?:-x{2,})?|_{2,}|\[\*\*.*?\*\*\]", re.IGNORECASE)  # removed words
_TOKEN = re.compile(r"[a-z]+|\d+(?:[.,x]\d+)*|[,;:.()?]")
_BREAKS = frozenset({";", ":", ".", "but", "however", "although", "though", "while", "which", "there"})
_AFTER_COMMA = frozenset({"the", "there", "this", "no", "with", "without", "and", "stable", "unchanged"})
_COPULAS = frozenset({"is", "are", "was", "were", "appears", "appear", "remains", "remain"})
_FINDINGS = ("disease", "abnormality", "attribute")
_GENERIC_FINDING = "abnormality"
_SHORTEST_UNKNOWN = 4  # letters; shorter unknown words are fragments and codes


@dataclass(frozen=True)
class Phrase:
    """One entity before it is written out.

    Attributes:
        kind: "anatomy", "disease" or "abnormality".
        head: canonical term.
        modifiers: degree first, then qualities in alphabetical order.
        side: "left", "right", "bilateral" or "".
        status: "affirmed", "negated" or "uncertain".
    """

    kind: str
    head: str
    modifiers: tuple[str, ...] = ()
    side: str = ""
    status: str = AFFIRMED


@dataclass
class _Item:
    """A matched form, or an unknown word, at its place in the sentence."""

    kind: str
    names: tuple[str, ...]
    side: str
    span: tuple[int, int]
    word: str
    clause: int
    place: int  # token number
    modifiers: list[str] = field(default_factory=list)
    status: str = AFFIRMED


def parse_sentence(sentence: str, lexicon: Lexicon) -> list[Phrase]:
    """Find the anatomical phrases and findings of one sentence.

    Args:
        sentence: one sentence of a report.
        lexicon: the forms to look for.

    Returns:
        The phrases in text order. If the sentence names no finding, an unknown phrase in it stands for one.
    """
    items = _match(sentence, lexicon)
    _assert_items(sentence, items)
    for _, of_clause in groupby(items, key=lambda item: item.clause):
        part = list(of_clause)
        _name_attributes(part, lexicon)
        _attach_modifiers(part, lexicon)
        _attach_sides(part, lexicon)
    items = _only_telling(items)
    phrases = [phrase for item in items for phrase in _phrases(item)]
    return _drop_bilateral_if_normal(phrases)


def _match(sentence: str, lexicon: Lexicon) -> list[_Item]:
    """Return the forms of the sentence, longest first from the left, and its unknown words."""
    text = _MASK.sub(lambda m: " " * len(m.group()), sentence).lower()
    tokens = list(_TOKEN.finditer(text))
    words = [t.group() for t in tokens]
    items: list[_Item] = []
    place = clause = 0
    while place < len(words):
        after_comma = (
            words[place] == "," and words[place + 1 : place + 2] and words[place + 1] in _AFTER_COMMA
        )
        if words[place] in _BREAKS or after_comma:
            clause += 1
        matched = lexicon.match(words, place)
        term, length = matched if matched else (None, 1)
        span = (tokens[place].start(), tokens[place + length - 1].end())
        kind, names, side = (term.kind, term.names, term.side) if term else ("unknown", (), "")
        items.append(_Item(kind, names, side, span, " ".join(words[place : place + length]), clause, place))
        place += length
    return items


def _assert_items(sentence: str, items: list[_Item]) -> None:
    """Set the status of all that can be negated; "normal" only by a "not" directly before it."""
    asserted = [item for item in items if item.kind in (*_FINDINGS, "generic", "unknown")]
    for item, status in zip(asserted, assert_status(sentence, [i.span for i in asserted]), strict=True):
        item.status = status
    for before, item in pairwise(items):
        if item.kind == "normal" and before.word == "not":
            item.kind, item.names = "abnormality", (_GENERIC_FINDING,)


def _name_attributes(clause: list[_Item], lexicon: Lexicon) -> None:
    """Give an attribute the name it has on the nearest anatomy: "heart ... enlarged" is cardiomegaly."""
    anatomies = [item for item in clause if item.kind == "anatomy"]
    places = [item.place for item in anatomies]
    for item in clause:
        if item.kind != "attribute":
            continue
        after = bisect(places, item.place)
        beside = anatomies[max(0, after - 1) : after + 1]  # one before, one behind, in order
        nearest = sorted(beside, key=lambda a: (abs(a.place - item.place), -a.place))[:1]
        special = [lexicon.special.get((item.names[0], name)) for a in nearest for name in a.names]
        name = next((s for s in special if s), item.names[0])
        if name not in lexicon.kinds:  # "borderline cardiomegaly"
            degree, name = name.split(maxsplit=1)
            item.modifiers = [degree]
        item.kind, item.names = lexicon.kinds[name], (name,)


def _attach_modifiers(clause: list[_Item], lexicon: Lexicon) -> None:
    """Give modifiers to the finding they precede ("small effusion") or are said of ("it is small")."""
    pending: list[str] = []
    last: _Item | None = None
    said_of_last = False
    for item in clause:
        if item.kind == "modifier":
            pending.append(item.names[0])
        elif item.kind in _FINDINGS:
            item.modifiers = item.modifiers + pending
            pending, last, said_of_last = [], item, False
        elif item.kind == "normal" or item.word == "or":
            pending = []
        elif item.word in _COPULAS:
            pending, said_of_last = [], last is not None
    if last is not None and said_of_last:
        last.modifiers = last.modifiers + pending
    for item in clause:
        item.modifiers = _ordered(item.modifiers, lexicon)


def _ordered(modifiers: list[str], lexicon: Lexicon) -> list[str]:
    """Return the greatest degree, then the qualities in alphabetical order, each once."""
    degrees = sorted((m for m in modifiers if m in lexicon.levels), key=lambda m: (-lexicon.levels[m], m))
    return degrees[:1] + sorted({m for m in modifiers if m not in lexicon.levels})


def _attach_sides(clause: list[_Item], lexicon: Lexicon) -> None:
    """Give each side to the anatomy it belongs to, and an affirmed finding without anatomy its usual site."""
    sides: list[str] = []
    # "Where": the groups of the anatomies that the clause itself names.
    groups = {lexicon.groups[name] for item in clause if item.kind == "anatomy" for name in item.names}
    for item in clause:
        if item.kind == "side":
            sides.append(item.side)
        elif item.kind == "anatomy":
            item.side, sides = item.side or _joined(sides), []
        elif item.kind in _FINDINGS:
            says_where = bool(sides) or item.status != NEGATED
            site = lexicon.sites.get(item.names[0])
            if says_where and site is not None and lexicon.groups[site] not in groups:
                item.side, sides = _joined(sides) or "none", []
        elif item.word in (",", "or"):
            sides = []
    if sides:
        _attach_trailing_side(clause, _joined(sides))
    for item in clause:
        if item.kind in _FINDINGS and item.side:
            item.names = (item.names[0], lexicon.sites[item.names[0]])


def _joined(sides: list[str]) -> str:
    return sides[0] if len(set(sides)) == 1 else "bilateral" if sides else ""


def _attach_trailing_side(clause: list[_Item], side: str) -> None:
    """Give the side in "effusion on the left" to the last anatomy or sited finding that has none."""
    for item in reversed(clause):
        if (item.kind == "anatomy" and not item.side) or item.side == "none":
            item.side = side
            return


def _only_telling(items: list[_Item]) -> list[_Item]:
    """Keep anatomies, findings and normals; of the rest what stands for a finding where there is none."""
    telling: list[_Item] = []
    for item in items:
        if item.kind == "generic" and item.status == NEGATED:
            item.kind = "normal"
        # "Normal in size and intact" says one thing: a second normal needs an anatomy of its own.
        repeated = item.kind == "normal" and telling and telling[-1].kind == "normal"
        if item.kind in ("anatomy", "normal", *_FINDINGS) and not repeated:
            telling.append(item)
    if all(item.kind == "anatomy" for item in telling):
        telling += _fallback(items)
    return sorted(telling, key=lambda item: item.place)


def _fallback(items: list[_Item]) -> list[_Item]:
    """Return the finding of a sentence without any: an unknown phrase, else an affirmed "abnormality"."""
    unknown = [
        i for i in items if i.kind == "unknown" and i.word.isalpha() and len(i.word) >= _SHORTEST_UNKNOWN
    ]
    if unknown:
        first = unknown[0]
        second = next((i for i in unknown if i.place == first.place + 1), None)
        words = [first.word, second.word] if second else [first.word]
        return [replace(first, kind="abnormality", names=(" ".join(words),))]
    generic = [item for item in items if item.kind == "generic"]
    return [replace(item, kind="abnormality", names=(_GENERIC_FINDING,)) for item in generic[:1]]


def _phrases(item: _Item) -> list[Phrase]:
    """Return the phrases of one item: each anatomy of a compound; a finding after the site it implies."""
    if item.kind == "anatomy":
        return [Phrase("anatomy", name, side=item.side) for name in item.names]
    if item.kind == "normal":
        return [Phrase("abnormality", NORMAL, status=NEGATED)]
    side = "" if item.side == "none" else item.side
    finding = Phrase(item.kind, item.names[0], tuple(item.modifiers), status=item.status)
    return [*(Phrase("anatomy", name, side=side) for name in item.names[1:]), finding]


def _drop_bilateral_if_normal(phrases: list[Phrase]) -> list[Phrase]:
    """ "The lungs are clear bilaterally" says no more than "the lungs are clear"."""
    if any(p.kind != "anatomy" and p.status in (AFFIRMED, UNCERTAIN) for p in phrases):
        return phrases
    return [replace(p, side="") if p.side == "bilateral" else p for p in phrases]
