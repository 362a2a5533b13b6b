"""Findings: a section's text -> the sentences about each anatomy (paper section 3.2).

Every sentence is linked to the anatomies that it mentions; the sentences of a part count for the wholes that
it is part of.
"""

import functools

from dataset_scripts.laterality import SideFinder
from dataset_scripts.mentions import MentionFinder
from dataset_scripts.ontology import Ontology, default_ontology
from dataset_scripts.sentences import split_sentences
from dataset_scripts.words import tokenize


class FindingsMiner:
    """Mines regional findings from report text by dictionary look-up, in time linear in the text.

    Args:
        ontology: the anatomies to mine; the packaged one by default.

    Example:
        >>> miner = FindingsMiner()
        >>> miner.link("Small left pleural effusion.")
        ('pleura', 'left pleura')
        >>> miner.mine("The heart is large. Small left effusion.")["thorax"]
        'The heart is large. Small left effusion.'
    """

    def __init__(self, ontology: Ontology | None = None) -> None:
        self.ontology = ontology or default_ontology()
        self._mentions = MentionFinder(self.ontology)
        self._sides = SideFinder(self.ontology)
        numbers = {name: number for number, name in enumerate(self.ontology.names)}
        # For each anatomy the bits of itself and of all that it is part of.
        self._lineage = tuple(
            functools.reduce(
                lambda bits, a: bits | 1 << numbers[a], self.ontology.ancestors(name), 1 << numbers[name]
            )
            for name in self.ontology.names
        )
        self._numbers_of: dict[int, tuple[int, ...]] = {}

    def link(self, sentence: str) -> tuple[str, ...]:
        """The anatomies that one sentence mentions, in ontology order, without the wholes of these."""
        return tuple(self.ontology.names[number] for number in sorted(self._link(sentence)))

    def mine(self, text: str) -> dict[str, str]:
        """The sentences about each anatomy.

        Args:
            text: a section of a report.

        Returns:
            Anatomy -> its own sentences and those of its parts, each once, joined by a blank in report order.
            Anatomies that the text does not mention are absent; the others come in ontology order.
        """
        found: dict[int, list[str]] = {}
        for sentence in split_sentences(text):
            bits = 0
            for number in self._link(sentence):
                bits |= self._lineage[number]
            for number in self._decode(bits):
                found.setdefault(number, []).append(sentence)
        return {self.ontology.names[number]: " ".join(found[number]) for number in sorted(found)}

    def _link(self, sentence: str) -> set[int]:
        tokens = tokenize(sentence)
        mentions = self._mentions.find(tokens)
        linked = {number for mention in mentions for number, _ in mention.owners}
        if mentions and self._sides.has_side(tokens):
            for mention, sides in zip(mentions, self._sides.find(tokens, mentions), strict=True):
                if sides:
                    for number, _ in mention.owners:
                        linked.update(self._sides.children(number, sides))
        return linked

    def _decode(self, bits: int) -> tuple[int, ...]:
        """The anatomy numbers whose bits are set; kept, since reports repeat a few thousand combinations."""
        numbers = self._numbers_of.get(bits)
        if numbers is None:
            numbers = tuple(number for number in range(bits.bit_length()) if bits >> number & 1)
            if len(self._numbers_of) < 65536:
                self._numbers_of[bits] = numbers
        return numbers
