"""Mentions: where a sentence speaks of which anatomies (paper section 3.2, "rule-based string matching").

A dictionary of tokens, searched left to right, longest term first: time is linear in the number of tokens.
"""

import itertools
from dataclasses import dataclass
from typing import Any

from dataset_scripts.ontology import Ontology
from dataset_scripts.words import fold, inflections

# How sure a term is of its anatomy, least sure first.
SUGGESTED, IMPLIED, EXPLICIT = range(3)

_END = ""  # the key of a trie node under which the term that ends there is kept; no token is empty
_COORDINATORS = frozenset({"and", "or", "&", "/", ",", "to", "as", "well"})
_CHUNK_MARKS = frozenset({"and", "or", "&", "/", ",", ";", ":", "(", "but", "no", "there"})
_FRONTING = frozenset({"in", "at", "within", "on"})
_LANDMARKS = frozenset(
    [
        "over",
        "overlying",
        "overlies",
        "overlie",
        "projecting",
        "projects",
        "projected",
        "adjacent",
        "behind",
        "beneath",
        "below",
        "above",
        "near",
    ]
)

Owners = tuple[
    tuple[int, int], ...
]  # (number of the anatomy in the ontology, SUGGESTED | IMPLIED | EXPLICIT)


@dataclass(slots=True)
class Mention:
    """A term found in tokens[start:end] and the anatomies that it stands for."""

    start: int
    end: int
    owners: Owners


class MentionFinder:
    """Finds the terms of an ontology in tokenised sentences.

    Args:
        ontology: whose names, synonyms, adjectives and findings to find.
    """

    def __init__(self, ontology: Ontology) -> None:
        forms: dict[tuple[str, ...], dict[int, int]] = {}
        for number, anatomy in enumerate(ontology):
            for terms, kind in (
                ((anatomy.name, *anatomy.synonyms), EXPLICIT),
                (anatomy.adjectives, EXPLICIT),
                (anatomy.implied_by, IMPLIED),
                (anatomy.suggested_by, SUGGESTED),
            ):
                for term in terms:
                    is_name = terms is not anatomy.adjectives and kind == EXPLICIT
                    for form in inflections(fold(term), singular=is_name):
                        owners = forms.setdefault(form, {})
                        owners[number] = max(kind, owners.get(number, SUGGESTED))
        for phrase in ontology.not_anatomy:
            forms[fold(phrase)] = {}
        self._forms: dict[tuple[str, ...], Owners] = {
            form: tuple(owners.items()) for form, owners in forms.items()
        }
        self._root = _trie(self._forms)
        self._lineage = [
            frozenset(ontology.names.index(a) for a in (anatomy.name, *ontology.ancestors(anatomy.name)))
            for anatomy in ontology
        ]

    def find(self, tokens: list[str]) -> list[Mention]:
        """The mentions in a sentence, in order, not overlapping.

        Coordinated terms are completed ("thoracic and lumbar spine"), and findings that only suggest an
        anatomy are left out where their part of the sentence names another place ("nodule in the liver").

        Args:
            tokens: from `words.tokenize`.
        """
        mentions = [mention for mention in self._match(tokens) if mention.owners]
        if len(mentions) > 1:
            self._settle_suggestions(tokens, mentions)
        return [mention for mention in mentions if mention.owners]

    def _match(self, tokens: list[str]) -> list[Mention]:
        mentions: list[Mention] = []
        root, count, position = self._root, len(tokens), 0
        while position < count:
            node = root.get(tokens[position])
            if node is None:
                position += 1
                continue
            found, end, ahead = None, position, position + 1
            while node is not None:
                if _END in node:
                    found, end = node[_END], ahead
                node = node.get(tokens[ahead]) if ahead < count else None
                ahead += 1
            if found is None:
                position += 1
                continue
            if position and end - position > 1 and tokens[position - 1] in _COORDINATORS:
                self._complete_conjuncts(tokens, position, end, mentions)
            mentions.append(Mention(position, end, found))
            position = end
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
                owners = self._forms.get((*tokens[begin:stop], *tail[head:]))
                if owners:
                    return Mention(begin, stop, owners)
        return None

    def _settle_suggestions(self, tokens: list[str], mentions: list[Mention]) -> None:
        """Drop suggested owners from mentions whose part of the sentence names a place elsewhere."""
        chunks = _chunks(tokens, mentions)
        # "In the liver, there is a nodule": a place up front holds for all that names none.
        fronted = _places(tokens, chunks[0]) if tokens[0] in _FRONTING else set()
        carried: set[int] = set()
        for chunk in reversed(chunks):
            # "mass or nodule in the liver": a chunk without a place takes that of a next chunk of its kind.
            places = _places(tokens, chunk) or carried or fronted
            opens_with_suggestion = all(kind == SUGGESTED for _, kind in chunk[0].owners)
            for mention in chunk:
                mention.owners = tuple(
                    (number, kind)
                    for number, kind in mention.owners
                    if kind != SUGGESTED or places <= self._lineage[number]
                )
            carried = places if opens_with_suggestion else set()


def _places(tokens: list[str], chunk: list[Mention]) -> set[int]:
    """The anatomies that a chunk names as the place of its findings."""
    return {
        number
        for mention in chunk
        if not _is_landmark(tokens, mention)
        for number, kind in mention.owners
        if kind == EXPLICIT
    }


def _chunks(tokens: list[str], mentions: list[Mention]) -> list[list[Mention]]:
    """Mentions parted where a coordinator or a clause mark stands between two."""
    chunks = [[mentions[0]]]
    for before, mention in itertools.pairwise(mentions):
        if not _CHUNK_MARKS.isdisjoint(tokens[before.end : mention.start]):
            chunks.append([])
        chunks[-1].append(mention)
    return chunks


def _is_landmark(tokens: list[str], mention: Mention) -> bool:
    """Whether a mention only says what something lies over or beside ("projecting over the rib")."""
    return not _LANDMARKS.isdisjoint(tokens[max(0, mention.start - 5) : mention.start])


def _trie(forms: dict[tuple[str, ...], Owners]) -> dict[str, Any]:
    """Nested dictionaries by token; the owners of a term lie under `_END` of its last node."""
    root: dict[str, Any] = {}
    for form, owners in forms.items():
        node = root
        for token in form:
            node = node.setdefault(token, {})
        node[_END] = owners
    return root
