"""One reading of a sentence: tokens -> mentions -> clauses -> statements, for mining and for relevance alike.

A statement is what a report says of one concept: which finding, where, on which side, of what degree, whether
it is present, absent, possible or historical, and how it has changed.
"""

import functools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from dataset_scripts.mining.abbreviations import expand
from dataset_scripts.mining.changes import find_changes
from dataset_scripts.mining.clauses import Item, clause_spans, cut_clauses
from dataset_scripts.mining.laterality import BOTH, LEFT, RIGHT, SideFinder
from dataset_scripts.mining.mentions import EXPLICIT, IMPLIED, Mention, MentionFinder, Term, lineage_bits
from dataset_scripts.mining.ontology import Ontology, default_ontology
from dataset_scripts.mining.qualify import attach_changes, attach_modifiers, attach_places, name_attributes
from dataset_scripts.mining.sentences import split_sentences
from dataset_scripts.mining.status import ABSENT, POSSIBLE, PRESENT, StatusFinder
from dataset_scripts.mining.tokens import tokenize
from dataset_scripts.mining.triggers import Trigger, find_triggers
from dataset_scripts.mining.vocabulary import NORMAL, Sense, Vocabulary, default_vocabulary

ABNORMALITY = "abnormality"
_SIDES = {LEFT: "left", RIGHT: "right", BOTH: "bilateral"}
_KEPT = 65536  # sentences; reports repeat theirs
_SHORTEST_UNKNOWN = 4  # letters; shorter unknown words are fragments and codes
_PHRASE_ENDS = frozenset({",", ";", ":", "(", "and", "or", "with", "in", "is", "are"})
_DEGREES = {1: "minimal", 2: "mild", 3: "moderate", 4: "severe"}


@dataclass(frozen=True, slots=True)
class Statement:
    """What a sentence says of one concept.

    Attributes:
        concept: "effusion", "cardiomegaly", "pacemaker"; of an anatomy alone its name; "normal".
        kind: "disease", "abnormality", "device", "anatomy" or "normal".
        anatomies: where, by the ontology's names, with their side where it has a name of its own
            ("left pleura").
        side: "left", "right", "bilateral" or "".
        degree: "minimal", "mild", "moderate", "severe" or "".
        modifiers: the words for degree and qualities ("small", "patchy"), degree first.
        status: "present", "absent", "possible" or "historical".
        change: "new", "better", "worse", "same", "gone" or "".
        is_attribute: whether it is denied of another finding alone ("no cavitation within the mass").
    """

    concept: str
    kind: str
    anatomies: tuple[str, ...] = ()
    side: str = ""
    degree: str = ""
    modifiers: tuple[str, ...] = ()
    status: str = PRESENT
    change: str = ""
    is_attribute: bool = False


@dataclass(slots=True)
class _Parse:
    """A sentence's tokens, all its mentions, and the sides of those that stand for an anatomy."""

    tokens: list[str]
    mentions: list[Mention]
    linked: list[Mention]
    sides: list[int]


class Reader:
    """Reads report text by dictionary look-up and rules, in time linear in the text.

    Args:
        ontology: the anatomies; the packaged one by default.
        vocabulary: the findings; the packaged one by default.
        kept: number of sentences, those met last, whose statements are kept: reports repeat their sentences.

    Example:
        >>> read = Reader().read("Small left pleural effusion. No PTX.")
        >>> [(s.concept, s.anatomies, s.status) for s in read]
        [('effusion', ('left pleura',), 'present'), ('pneumothorax', ('pleura',), 'absent')]
    """

    def __init__(
        self, ontology: Ontology | None = None, vocabulary: Vocabulary | None = None, kept: int = _KEPT
    ) -> None:
        self.ontology = ontology or default_ontology()
        self.vocabulary = vocabulary or default_vocabulary()
        self._kept = kept
        self._finder = MentionFinder(self.ontology, self.vocabulary)
        self._sides = SideFinder(self.ontology)
        self._lineage = lineage_bits(self.ontology)
        # The anatomies that have a left or a right one, as bits.
        self._paired = sum(1 << n for n in range(len(self.ontology)) if self._sides.children(n, BOTH))
        # Of one of a pair, the whole and the other one.
        self._pairs = {
            child: (whole, children[1 - place])
            for whole in reversed(range(len(self.ontology)))  # "left lung" is of the lungs, first of all
            if len(children := self._sides.children(whole, BOTH)) == 2
            for place, child in enumerate(children)
        }
        self._sites: dict[str, str] = {}
        for concept in self.vocabulary.kinds:
            owners = self._finder.owners(concept)
            if owners:
                self._sites[concept] = self.ontology.names[max(owners, key=lambda o: (o[1], -o[0]))[0]]
        self.read_sentence = functools.lru_cache(kept)(self._read_sentence)

    def __reduce__(self) -> tuple[type["Reader"], tuple[Ontology, Vocabulary, int]]:
        return Reader, (self.ontology, self.vocabulary, self._kept)  # what is kept stays in its process

    def read(self, text: str) -> list[Statement]:
        """The statements of a text of any number of sentences, in text order."""
        return [s for sentence in split_sentences(text) for s in self.read_sentence(sentence)]

    def link(self, sentence: str) -> int:
        """The bits of the anatomies that a sentence mentions; bit i is ``ontology.names[i]``."""
        parse = self._parse(sentence, self._paired)
        bits = 0
        for mention, sides in zip(parse.linked, parse.sides, strict=True):
            for number, _ in mention.owners:
                bits |= 1 << number
                if sides:
                    for child in self._sides.children(number, sides):
                        bits |= 1 << child
        return bits

    def _parse(self, sentence: str, sided: int) -> _Parse:
        """Tokens and mentions; sides only where one of the anatomies `sided`, as bits, is mentioned."""
        tokens = expand(tokenize(sentence))
        mentions = self._finder.find_all(tokens)
        linked = [mention for mention in mentions if mention.owners]
        bits = 0
        for mention in linked:
            for number, _ in mention.owners:
                bits |= 1 << number
        if bits & sided and self._sides.has_side(tokens):
            return _Parse(tokens, mentions, linked, self._sides.find(tokens, linked))
        return _Parse(tokens, mentions, linked, [0] * len(linked))

    def _read_sentence(self, sentence: str) -> tuple[Statement, ...]:
        """The statements of one sentence; an unknown phrase is a finding where the sentence names none."""
        parse = self._parse(sentence, -1)
        triggers = find_triggers(parse.tokens)
        skipped = {k for t in triggers if t.kind == "pseudo" for k in range(t.start, t.end)}
        items = [
            item
            for item in self._items(parse)
            if item.role != "generic" or item.start not in skipped  # "no interval change"
        ]
        if not any(item.is_finding or item.role == "normal" for item in items):
            items = self._with_unknown(parse.tokens, items, skipped)
        _assert(parse.tokens, triggers, items)
        changes = find_changes(parse.tokens, triggers)
        statements: list[Statement] = []
        clauses = cut_clauses(parse.tokens, items)
        for clause, span in zip(clauses, clause_spans(parse.tokens, clauses), strict=True):
            name_attributes(clause, self.ontology.names, self.vocabulary)
            attach_modifiers(parse.tokens, clause, skipped, self.vocabulary)
            attach_places(parse.tokens, clause)
            attach_changes(parse.tokens, clause, [c for c in changes if c[0] in range(*span)])
            statements.extend(self._statements(clause))
        # "The lungs are clear, without consolidation" denies one thing, twice.
        told = {(s.concept, s.anatomies) for s in statements if s.status == ABSENT}
        return tuple(s for s in statements if s.status != ABSENT or _first(told, (s.concept, s.anatomies)))

    def _items(self, parse: _Parse) -> list[Item]:
        sides = {id(mention): found for mention, found in zip(parse.linked, parse.sides, strict=True)}
        items = []
        for mention in parse.mentions:
            sense = mention.term.sense
            status = PRESENT
            if sense is None or sense.role in ("structure", "removed"):
                if not mention.owners:
                    continue
                name = self.ontology.names[mention.owners[0][0]]
                is_removed = sense is not None and sense.role == "removed"
                sense = Sense("device" if is_removed else "anatomy", name)
                status = ABSENT if is_removed else PRESENT
            items.append(Item(mention, sense.role, sense.name, sides.get(id(mention), 0), status=status))
        known = {place for mention in parse.mentions for place in range(mention.start, mention.end)}
        for place, token in enumerate(parse.tokens):  # "nondilated", "nonconsolidated": a finding denied
            sense = self.vocabulary.senses.get((token[3:],)) if token.startswith("non") else None
            if sense is not None and sense.is_finding and place not in known:
                term = Term((), sense)
                item = Item(Mention(place, place + 1, (), term), sense.role, sense.name, 0, status=ABSENT)
                item.is_attribute = _precedes_finding(parse.tokens, place, items)
                items.append(item)
        return sorted(items, key=lambda item: item.start)

    def _with_unknown(self, tokens: list[str], items: list[Item], skipped: Collection[int]) -> list[Item]:
        """The items with the first unknown phrase of one or two words as a finding."""
        taken = {place for item in items for place in range(item.start, item.end)}.union(skipped)

        def is_unknown(place: int) -> bool:
            return (
                place < len(tokens)
                and place not in taken
                and tokens[place].isalpha()
                and len(tokens[place]) >= _SHORTEST_UNKNOWN
                and tokens[place] not in self.vocabulary.ignored
                and set(tokens[place]) != {"x"}
            )

        place = next((place for place in range(len(tokens)) if is_unknown(place)), None)
        if place is None:
            return items
        end = place + 1 + is_unknown(place + 1)
        sense = Sense(ABNORMALITY, " ".join(tokens[place:end]))
        unknown = Item(Mention(place, end, (), Term((), sense)), "unknown", sense.name)
        return sorted([*items, unknown], key=lambda item: item.start)

    def _statements(self, clause: list[Item]) -> Iterator[Statement]:
        """The statements of one clause, in order."""
        clause = _without_structures(clause)
        speaks = any(item.is_finding or item.role in ("normal", "unknown") for item in clause)
        subjects = _subjects(clause)
        placed = {id(place) for item in clause for place in item.places}
        named = {id(s) for of_normal in subjects.values() for s in of_normal}
        for item in clause:
            if item.is_finding or item.role == "unknown":
                yield self._finding(item)
                yield from self._suggested(item, clause)
            elif item.role == "normal" or (item.role == "generic" and item.status == ABSENT):
                if subjects[id(item)] or not any(other.role == "device" for other in clause):
                    yield from self._normal(item, subjects[id(item)])
            elif item.role == "generic" and item.status != ABSENT and not speaks:
                yield self._finding(item)
            elif item.role == "anatomy" and id(item) not in placed | named:
                yield self._anatomy(item)

    def _finding(self, item: Item) -> Statement:
        kind = item.role if item.role in ("disease", "device") else ABNORMALITY
        name = item.name if item.role != "generic" else ABNORMALITY
        anatomies, sides = self._places(item)
        if item.status == ABSENT and (meant := self._suggests(name, anatomies)):
            name, kind = meant, self.vocabulary.kinds[meant]  # "angles are not blunted": no effusion
        degree = item.degrees[0] if item.degrees else ""
        return Statement(
            concept=name,
            kind=kind,
            anatomies=anatomies,
            side=_one_side(sides) if item.status == ABSENT else _SIDES.get(sides, ""),
            degree=_DEGREES[self.vocabulary.levels[degree]] if degree else "",
            modifiers=(*item.degrees, *item.qualities),
            status=item.status,
            change=item.change,
            is_attribute=item.is_attribute,
        )

    def site(self, concept: str) -> str | None:
        """The anatomy that a finding always or often lies in, by the ontology; None where it names none."""
        return self._sites.get(concept)

    def _anatomy(self, item: Item) -> Statement:
        anatomies, sides = self._named(item)
        return Statement(item.name, "anatomy", anatomies, _SIDES.get(sides, ""))

    def _normal(self, item: Item, subjects: list[Item]) -> Iterator[Statement]:
        """What is denied where anatomies are called normal, or nothing abnormal is seen in them."""
        general: list[str] = []
        sides = 0
        for subject in subjects:
            anatomies, of_subject = self._named(subject)
            sides |= of_subject
            for name in anatomies:
                denied = self._denied(name)
                if denied is None or (item.role == "generic" and (len(anatomies) > 1 or name == "heart")):
                    general.append(name)
                else:
                    kind = self.vocabulary.kinds[denied]
                    yield Statement(denied, kind, (name,), _one_side(of_subject), status=ABSENT)
        if general or not subjects:
            yield Statement(NORMAL, "normal", tuple(general), _one_side(sides))

    def _denied(self, anatomy: str) -> str | None:
        return self.vocabulary.denied_by_normal.get(anatomy)

    def _suggested(self, item: Item, clause: list[Item]) -> Iterator[Statement]:
        """What a finding suggests at its anatomy: a blunted costophrenic angle an effusion."""
        if item.status == ABSENT:
            return
        anatomies, sides = self._places(item)
        concept = self._suggests(item.name, anatomies)
        if concept is not None and not any(other.name == concept for other in clause):
            kind = self.vocabulary.kinds[concept]
            yield Statement(concept, kind, anatomies, _SIDES.get(sides, ""), status=POSSIBLE)

    def _suggests(self, concept: str, anatomies: Sequence[str]) -> str | None:
        """The finding that another one suggests at an anatomy."""
        return next((s for name in anatomies if (s := self.vocabulary.suggested.get((concept, name)))), None)

    def _places(self, item: Item) -> tuple[tuple[str, ...], int]:
        """Where a finding lies and on which sides: as its clause says, and where it always or often lies."""
        named = [list(dict.fromkeys(number for number, _ in self._sided(place))) for place in item.places]
        numbers = dict.fromkeys(number for of_place in named for number in of_place)
        sides = item.sides
        for place, of_place in zip(item.places, named, strict=True):
            if not all(self._is_whole(number, numbers) for number in of_place):  # "the lungs", of a lung base
                sides |= place.sides
        own = [(number, kind) for number, kind in item.mention.owners if kind in (EXPLICIT, IMPLIED)]
        if not own and not numbers:
            own = list(item.mention.owners)[:1]
        for number, _ in own:
            numbers.update(dict.fromkeys(self._with_side(number, item.sides or sides)))
        kept = [number for number in numbers if not self._is_whole(number, numbers)]
        return tuple(self.ontology.names[n] for n in kept), sides or self._own_sides(kept)

    def _is_whole(self, number: int, numbers: Iterable[int]) -> bool:
        """Whether one of the anatomies is a part of this one."""
        return any(self._lineage[other] >> number & 1 and other != number for other in numbers)

    def _named(self, item: Item) -> tuple[tuple[str, ...], int]:
        """The anatomies that an anatomy's term names, with their side."""
        numbers = list(dict.fromkeys(number for number, _ in self._sided(item)))
        return tuple(self.ontology.names[n] for n in numbers), item.sides or self._own_sides(numbers)

    def _sided(self, item: Item) -> Iterator[tuple[int, int]]:
        """The owners of an anatomy's term, each replaced by the one of its side; both sides by the whole."""
        owners = dict(item.mention.owners)
        for number, kind in owners.items():
            whole, other = self._pairs.get(number, (-1, -1))
            if whole in owners or other in owners:  # "bibasilar" names the bases of both sides
                yield whole, kind
            else:
                for child in self._with_side(number, item.sides):
                    yield child, kind

    def _with_side(self, number: int, sides: int) -> Sequence[int]:
        """An anatomy's left or right one where the side is known, else itself."""
        return (sides in (LEFT, RIGHT) and self._sides.children(number, sides)) or (number,)

    def _own_sides(self, numbers: Sequence[int]) -> int:
        """The sides that anatomies lie on by their names."""
        found = 0
        for number in numbers:
            found |= self._sides.side_of(number)
        return found


def _assert(tokens: list[str], triggers: list[Trigger], items: list[Item]) -> None:
    """Set the status of all that can be denied; "normal" only by a "not" directly before it."""
    asserted = [item for item in items if item.is_finding or item.role in ("generic", "unknown")]
    spans = [(item.start, item.end) for item in asserted]
    subjects = [(item.start, item.end) for item in items if item.role == "anatomy"]
    findings = [(item.start, item.end) for item in asserted if item.is_finding]
    devices = [(item.start, item.end) for item in asserted if item.role == "device"]
    finder = StatusFinder(tokens, triggers, spans, subjects, findings, devices)
    for item in items:
        if item.status == PRESENT and item.role not in ("anatomy", "quality", "normal"):
            item.status = finder.status((item.start, item.end))
            item.is_attribute = (item.start, item.end) in finder.attributes
    for item in items:
        if item.role == "normal" and tokens[item.start - 1 : item.start] == ["not"]:
            item.role, item.name = "abnormality", ABNORMALITY


def _precedes_finding(tokens: Sequence[str], place: int, items: Sequence[Item]) -> bool:
    """Whether a finding follows in the same phrase: "noncalcified left lower lobe nodule"."""
    following = next((item for item in items if item.start > place and item.is_finding), None)
    return following is not None and _PHRASE_ENDS.isdisjoint(tokens[place : following.start])


def _first(told: set[tuple[str, tuple[str, ...]]], key: tuple[str, tuple[str, ...]]) -> bool:
    """Whether a key is asked for the first time, after which it is told."""
    if key not in told:
        return False
    told.remove(key)
    return True


def _one_side(sides: int) -> str:
    """The side of what is denied: "clear bilaterally" says no more than "clear"."""
    return _SIDES[sides] if sides in (LEFT, RIGHT) else ""


def _without_structures(clause: list[Item]) -> list[Item]:
    """A clause without words such as "silhouette" where it names an anatomy in full."""
    if any(item.role == "anatomy" and item.mention.term.sense is None for item in clause):
        return [item for item in clause if item.role != "anatomy" or item.mention.term.sense is None]
    return clause


def _subjects(clause: list[Item]) -> dict[int, list[Item]]:
    """For each "normal" of a clause, by its id, the anatomies that it is said of.

    Those before it since the last finding or "normal", else those behind it. What is said of a device is
    said of no anatomy.
    """
    found: dict[int, list[Item]] = {}
    waiting: list[Item] = []
    open_normal: Item | None = None
    for item in clause:
        if item.role == "anatomy":
            if open_normal is not None:
                found[id(open_normal)].append(item)
            else:
                waiting.append(item)
        elif item.role in ("normal", "generic"):
            found[id(item)] = waiting
            open_normal, waiting = (item if not waiting else None), []
        elif item.is_finding:
            waiting, open_normal = [], None
    return found
