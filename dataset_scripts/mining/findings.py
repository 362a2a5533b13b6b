"""Findings: a section's text -> the sentences about each anatomy (paper section 3.2).

Every sentence is linked to the anatomies that it mentions; the sentences of a part count for the wholes that
it is part of.
"""

import functools
from collections import defaultdict
from collections.abc import Mapping

from dataset_scripts.mining.mentions import lineage_bits
from dataset_scripts.mining.ontology import Ontology, default_ontology
from dataset_scripts.mining.reader import Reader
from dataset_scripts.mining.sentences import split_sentences

_KEPT = 65536  # sentences; about 20 MB


class FindingsMiner:
    """Mines regional findings from report text by dictionary look-up, in time linear in the text.

    Args:
        ontology: the anatomies to mine; the packaged one by default.
        kept: number of sentences, those met last, whose anatomies are kept: reports repeat their sentences.

    Example:
        >>> miner = FindingsMiner()
        >>> miner.link("Small left pleural effusion.")
        ('pleura', 'left pleura')
        >>> miner.mine("The heart is large. Small left effusion.")["thorax"]
        'The heart is large. Small left effusion.'
    """

    def __init__(self, ontology: Ontology | None = None, kept: int = _KEPT) -> None:
        self._kept = kept
        self.ontology = ontology or default_ontology()
        self._reader = Reader(self.ontology)
        self._lineage = lineage_bits(self.ontology)
        self._with_wholes = functools.lru_cache(kept)(self._link_with_wholes)
        self._numbers = functools.lru_cache(kept)(_numbers)

    def __reduce__(self) -> tuple[type["FindingsMiner"], tuple[Ontology, int]]:
        return FindingsMiner, (self.ontology, self._kept)  # what is kept for speed stays in its process

    def link(self, sentence: str) -> tuple[str, ...]:
        """The anatomies that one sentence mentions, in ontology order, without the wholes of these."""
        return tuple(self.ontology.names[number] for number in _numbers(self._reader.link(sentence)))

    def mine(self, text: str) -> dict[str, str]:
        """The sentences about each anatomy.

        Args:
            text: a section of a report.

        Returns:
            Anatomy -> its own sentences and those of its parts, each once, joined by a blank in report order.
            Anatomies that the text does not mention are absent; the others come in ontology order.
        """
        found: defaultdict[int, list[str]] = defaultdict(list)
        for sentence in split_sentences(text):
            for number in self._with_wholes(sentence):
                found[number].append(sentence)
        return {self.ontology.names[number]: " ".join(found[number]) for number in sorted(found)}

    def mine_regional(self, regional: Mapping[str, str]) -> dict[str, str]:
        """The sentences about each anatomy where the source has tied sentences to anatomies (RadGenome).

        A sentence counts for the anatomy that it is tied to, for those that it mentions, and for the wholes
        of these.

        Args:
            regional: anatomy, by any name that `Ontology.resolve` knows -> the text about it.

        Returns:
            As `mine`; sentences in the given order, one that several anatomies share once for each anatomy.

        Raises:
            ValueError: if no anatomy goes by one of the names.
        """
        found: defaultdict[int, dict[str, None]] = defaultdict(dict)
        for name, text in regional.items():
            tied = self._lineage[self.ontology.names.index(self.ontology.resolve(name))]
            for sentence in split_sentences(text):
                for number in {*self._numbers(tied), *self._with_wholes(sentence)}:
                    found[number][sentence] = None
        return {self.ontology.names[number]: " ".join(found[number]) for number in sorted(found)}

    def _link_with_wholes(self, sentence: str) -> tuple[int, ...]:
        """The anatomies that a sentence counts for, as numbers in the ontology."""
        bits = 0
        for number in self._numbers(self._reader.link(sentence)):
            bits |= self._lineage[number]
        return self._numbers(bits)


def _numbers(bits: int) -> tuple[int, ...]:
    """The numbers of the bits that are set, ascending."""
    numbers = []
    while bits:
        lowest = bits & -bits
        numbers.append(lowest.bit_length() - 1)
        bits ^= lowest
    return tuple(numbers)
