"""Mentions: where a sentence speaks of which anatomies (paper section 3.2, "rule-based string matching").

A dictionary of tokens, searched left to right, longest term first: time is linear in the number of tokens.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataset_scripts.mining.ontology import Ontology
from dataset_scripts.mining.tokens import fold, inflections, words
from dataset_scripts.mining.vocabulary import Sense, Vocabulary, default_vocabulary

# How sure a term is of its anatomy, least sure first.
SUGGESTED, IMPLIED, EXPLICIT = range(3)

DEVICES = "devices"  # the region of the ontology whose anatomies are devices

_END = ""  # the key of a trie node under which the term that ends there is kept; no token is empty
_COORDINATORS = frozenset({"and", "or", "&", "/", ",", "to", "as", "well"})
_CHUNK_MARKS = words("""
    and or & / , ; : ( but no there
""")
_FRONTING = frozenset({"in", "at", "within", "on", "as"})
# "No mass or stone in both kidneys": such a place is that of all before it that names none.
_LOCATING = frozenset({"in", "within", "of", "from"})
_PASSED_OVER = frozenset({"the", "a", "both", "bilateral", "left", "right"})
# "Scattered opacities, most notably in the middle lobe" are elsewhere too.
_SINGLING_OUT = frozenset(["most", "mostly", "mainly", "notably", "especially", "predominantly"])
_LANDMARKS = words("""
    over overlying overlies overlie projecting projects projected adjacent behind beneath below above near
""")
# (number of the anatomy in the ontology, SUGGESTED | IMPLIED | EXPLICIT) each
Owners = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Mention:
    """A term found in tokens[start:end] and the anatomies that it stands for.

    `is_conjunct` tells one whose noun stands further on: the "upper" of "upper and lower lobes".
    """

    start: int
    end: int
    owners: Owners
    term: "Term"
    is_conjunct: bool = False


class Term:
    """What is known of a term before any sentence is read.

    Sets of anatomies are integers with one bit an anatomy: unions and subsets of them cost next to nothing.

    Attributes:
        owners: the anatomies that it stands for.
        sense: what the vocabulary says of it; None for a name of an anatomy and for what is no anatomy.
    """

    __slots__ = ("only_suggests", "owners", "places", "sense", "suggests")

    def __init__(self, owners: Owners, sense: Sense | None) -> None:
        kinds = [kind for _, kind in owners]
        self.owners = owners
        self.sense = sense
        self.places = sum(1 << number for number, kind in owners if kind == EXPLICIT)
        self.suggests = SUGGESTED in kinds
        self.only_suggests = all(kind == SUGGESTED for kind in kinds)


class MentionFinder:
    """Finds the terms of an ontology and of a vocabulary in tokenised sentences.

    Args:
        ontology: whose names, synonyms, adjectives and findings to find.
        vocabulary: the findings, and the words that qualify them; the packaged one by default.
    """

    def __init__(self, ontology: Ontology, vocabulary: Vocabulary | None = None) -> None:
        vocabulary = vocabulary or default_vocabulary()
        own, shared = _owners_by_form(ontology, vocabulary)
        owners = shared | own
        _compose(owners, own, vocabulary)
        devices = {
            number: Sense("device", anatomy.name)
            for number, anatomy in enumerate(ontology)
            if anatomy.region == DEVICES
        }
        self._forms = {
            form: Term(of_form, vocabulary.senses.get(form) or _sense(form, of_form, vocabulary, devices))
            for form, of_form in owners.items()
        }
        for form, sense in vocabulary.senses.items():
            if form not in self._forms:
                self._forms[form] = Term((), sense)
        self._root = _trie(self._forms)
        self._lineage = lineage_bits(ontology)

    def owners(self, term: str) -> Owners:
        """The anatomies that a term stands for by itself, with how sure it is of each."""
        found = self._forms.get(fold(term))
        return found.owners if found is not None else ()

    def find(self, tokens: list[str]) -> list[Mention]:
        """The mentions of anatomies in a sentence, in order, not overlapping.

        Coordinated terms are completed ("thoracic and lumbar spine"), and findings that only suggest an
        anatomy are left out where their part of the sentence names another place ("nodule in the liver").

        Args:
            tokens: from `words.tokenize`.
        """
        return [mention for mention in self.find_all(tokens) if mention.owners]

    def find_all(self, tokens: list[str]) -> list[Mention]:
        """As `find`, with the mentions that stand for no anatomy: degrees, qualities, "normal"."""
        mentions = self._match(tokens)
        linked = [mention for mention in mentions if mention.owners]
        if len(linked) > 1 and any(mention.term.suggests for mention in linked):
            self._settle_suggestions(tokens, linked)
        return mentions

    def _match(self, tokens: list[str]) -> list[Mention]:
        mentions: list[Mention] = []
        root, count, end = self._root, len(tokens), 0
        for start in [position for position, token in enumerate(tokens) if token in root]:
            if start < end:
                continue  # inside the term before
            term, node, ahead = None, root[tokens[start]], start + 1
            while node is not None:
                if _END in node:
                    term, end = node[_END], ahead
                node = node.get(tokens[ahead]) if ahead < count else None
                ahead += 1
            if term is None:
                continue
            if start and end - start > 1 and term.owners and tokens[start - 1] in _COORDINATORS:
                self._complete_conjuncts(tokens, start, end, mentions)
            mentions.append(Mention(start, end, term.owners, term))
        return mentions

    def _complete_conjuncts(self, tokens: list[str], start: int, end: int, mentions: list[Mention]) -> None:
        """Add "thoracic spine" for the "thoracic" before "and lumbar spine"; further conjuncts likewise."""
        conjuncts: list[Mention] = []
        begin = start
        while begin and tokens[begin - 1] in _COORDINATORS:
            stop = begin
            while stop and tokens[stop - 1] in _COORDINATORS:
                stop -= 1
            conjunct = self._conjunct(tokens, stop, tokens[start + 1 : end])
            if conjunct is None:
                break
            conjuncts.append(conjunct)
            begin = conjunct.start
        if conjuncts:
            while mentions and mentions[-1].end > begin:
                mentions.pop()
            mentions.extend(reversed(conjuncts))

    def _conjunct(self, tokens: list[str], stop: int, tail: list[str]) -> Mention | None:
        """The longest known term made of words before `stop` and last words of `tail`."""
        for begin in range(max(0, stop - 3), stop):
            for head in range(len(tail)):
                term = self._forms.get((*tokens[begin:stop], *tail[head:]))
                if term is not None and term.owners:
                    return Mention(begin, stop, term.owners, term, is_conjunct=True)
        return None

    def _settle_suggestions(self, tokens: list[str], mentions: list[Mention]) -> None:
        """Drop suggested owners from mentions whose part of the sentence names a place elsewhere."""
        chunks = _chunks(tokens, mentions)
        has_landmarks = not _LANDMARKS.isdisjoint(tokens)
        # "In the liver, there is a nodule": a place up front holds for all that names none.
        fronted = _places(tokens, chunks[0], has_landmarks) if tokens[0] in _FRONTING else 0
        carried = 0
        for index in range(len(chunks) - 1, -1, -1):
            chunk = chunks[index]
            # "mass or nodule in the liver": a chunk without a place takes that of a next chunk of its kind;
            # "lesion of the spleen (cyst?)": one in brackets that of the chunk before.
            places = _places(tokens, chunk, has_landmarks) or carried or fronted
            if not places and index and "(" in tokens[chunks[index - 1][-1].end : chunk[0].start]:
                places = _places(tokens, chunks[index - 1], has_landmarks)
            carried = places if chunk[0].term.only_suggests or _is_located(tokens, chunk[0]) else 0
            if not places:
                continue
            for mention in chunk:
                if mention.term.suggests:
                    mention.owners = tuple(
                        (number, kind)
                        for number, kind in mention.owners
                        if kind != SUGGESTED or not places & ~self._lineage[number]
                    )


def _owners_by_form(
    ontology: Ontology, vocabulary: Vocabulary
) -> tuple[dict[tuple[str, ...], Owners], dict[tuple[str, ...], Owners]]:
    """The anatomies of each form that the ontology lists itself, and of each whose concept it lists.

    The name of a concept stands for all its forms, except those that some anatomy lists itself.
    """
    own: dict[tuple[str, ...], dict[int, int]] = {}
    shared: dict[tuple[str, ...], dict[int, int]] = {}
    for number, anatomy in enumerate(ontology):
        for terms, kind in (
            ((anatomy.name, *anatomy.synonyms), EXPLICIT),
            (anatomy.adjectives, EXPLICIT),
            (anatomy.implied_by, IMPLIED),
            (anatomy.suggested_by, SUGGESTED),
        ):
            for term in terms:
                is_name = terms is not anatomy.adjectives and kind == EXPLICIT
                forms = inflections(fold(term), singular=is_name)
                found = own
                if kind != EXPLICIT and term in vocabulary.kinds:
                    forms, found = tuple(vocabulary.forms_of(term)), shared
                for form in forms:
                    owners = found.setdefault(form, {})
                    owners[number] = max(kind, owners.get(number, SUGGESTED))
    for phrase in ontology.not_anatomy:
        own[fold(phrase)] = {}
    first, second = (
        {form: tuple(owners.items()) for form, owners in found.items()} for found in (own, shared)
    )
    return first, second


def _compose(
    owners: dict[tuple[str, ...], Owners], own: Mapping[tuple[str, ...], Owners], vocabulary: Vocabulary
) -> None:
    """Give a finding's form the anatomies that are named inside it ("pulmonary nodule"), in place."""
    for form in vocabulary.senses:
        if form in own or len(form) == 1:
            continue
        inside = dict(owners.get(form, ()))
        start = 0
        while start < len(form):
            stops = range(min(len(form), start + len(form) - 1), start, -1)
            stop = next((stop for stop in stops if form[start:stop] in own), start + 1)
            for number, kind in own.get(form[start:stop], ()):
                if kind != SUGGESTED:
                    inside[number] = max(kind, inside.get(number, SUGGESTED))
            start = stop
        if inside:
            owners[form] = tuple(inside.items())


def _sense(
    form: tuple[str, ...], owners: Owners, vocabulary: Vocabulary, devices: dict[int, Sense]
) -> Sense | None:
    """What a form says that the ontology has and the vocabulary has not: a device, or a finding."""
    device = next((devices[number] for number, _ in owners if number in devices), None)
    if device is not None or not owners or any(kind == EXPLICIT for _, kind in owners):
        return device
    for length in range(len(form) - 1, 0, -1):  # "lower lobectomy" is a lobectomy
        for start in range(len(form) - length, -1, -1):
            sense = vocabulary.senses.get(form[start : start + length])
            if sense is not None and sense.is_finding:
                return sense
    return Sense("abnormality", " ".join(form))


def lineage_bits(ontology: Ontology) -> tuple[int, ...]:
    """For each anatomy the bits of itself and of all that it is part of; bit i is `ontology.names[i]`."""
    bit = {name: 1 << number for number, name in enumerate(ontology.names)}
    return tuple(bit[name] | sum(bit[whole] for whole in ontology.ancestors(name)) for name in ontology.names)


def _places(tokens: list[str], chunk: list[Mention], has_landmarks: bool) -> int:
    """The bits of the anatomies that a chunk names as the place of its findings."""
    places = 0
    for mention in chunk:
        if not (has_landmarks and _is_landmark(tokens, mention)):
            places |= mention.term.places
    return places


def _chunks(tokens: list[str], mentions: list[Mention]) -> list[list[Mention]]:
    """Mentions parted where a coordinator or a clause mark stands between two."""
    chunks = [[mentions[0]]]
    for before, mention in itertools.pairwise(mentions):
        if not _CHUNK_MARKS.isdisjoint(tokens[before.end : mention.start]):
            chunks.append([])
        chunks[-1].append(mention)
    return chunks


def _is_located(tokens: list[str], mention: Mention) -> bool:
    """Whether a mention is introduced as the place of what was named before it."""
    start = mention.start
    while start and tokens[start - 1] in _PASSED_OVER:
        start -= 1
    singled_out = not _SINGLING_OUT.isdisjoint(tokens[max(0, start - 3) : start])
    return start > 0 and tokens[start - 1] in _LOCATING and not singled_out


def _is_landmark(tokens: list[str], mention: Mention) -> bool:
    """Whether a mention only says what something lies over or beside ("projecting over the rib")."""
    return not _LANDMARKS.isdisjoint(tokens[max(0, mention.start - 5) : mention.start])


def _trie(forms: dict[tuple[str, ...], Term]) -> dict[str, Any]:
    """Nested dictionaries by token; a term lies under `_END` of its last node."""
    root: dict[str, Any] = {}
    for form, owners in forms.items():
        node = root
        for token in form:
            node = node.setdefault(token, {})
        node[_END] = owners
    return root
