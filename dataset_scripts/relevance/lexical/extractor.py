"""Entities of a report text and their embeddings, by rules and a lexicon: the ``lexical`` scorer.

The five entity types are RaTEScore's (Zhao et al. 2024). An ANATOMY entity is an anatomical term with its
side ("left pleura"); a finding is a head with its degree and qualities in one order ("mild cardiomegaly",
"possible small effusion"); what a sentence negates, and what it calls normal, is a NON-DISEASE or
NON-ABNORMALITY.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset_scripts.mining.sentences import split_sentences
from dataset_scripts.relevance.entities import Entity
from dataset_scripts.relevance.lexical.lexicon import Lexicon, default_lexicon, split_form
from dataset_scripts.relevance.lexical.ngrams import HashedNGrams
from dataset_scripts.relevance.lexical.parser import Phrase, parse_sentence

POSSIBLE = "possible"
_SIDES = ("left", "right", "bilateral")


@dataclass(frozen=True)
class PhraseWeights:
    """How much each part of an entity text weighs in its embedding; its head weighs 1.

    With these, two findings that differ in degree have a cosine of about 0.67 to 0.84 and each one of 0.82
    with the mention without a degree; left and right are 0.55; terms of one lexicon group share the group's
    tag.
    """

    degree: float = 0.8
    quality: float = 0.6
    side: float = 1.0
    possible: float = 0.5
    group: float = 0.45
    finding: float = 0.35


class LexicalExtractor:
    """Entities and their embeddings without any model: deterministic, fast, the same on every machine.

    Args:
        weights: of the parts of an entity text.
        dimension: length of the embeddings.

    Example:
        >>> [entity.text for entity in LexicalExtractor().extract(["Small left pleural effusion."])[0]]
        ['left pleura', 'small effusion']
    """

    name = "lexical"

    def __init__(self, weights: PhraseWeights | None = None, dimension: int = 1024) -> None:
        self._lexicon: Lexicon = default_lexicon()
        known = (*self._lexicon.kinds, *self._lexicon.levels, *self._lexicon.qualities)
        self._longest = max(len(name.split()) for name in known)  # in words, of terms and modifiers
        self._weights = weights or PhraseWeights()
        self._ngrams = HashedNGrams(dimension)

    def __reduce__(self) -> tuple[type["LexicalExtractor"], tuple[PhraseWeights, int]]:
        return LexicalExtractor, (self._weights, self._ngrams.dimension)  # caches stay in their process

    @property
    def parameters(self) -> dict[str, Any]:
        """What the entities and embeddings depend on, as JSON; a store records it."""
        return {
            "rules": 1,
            "lexicon": self._lexicon.digest,
            "dimension": self._ngrams.dimension,
            "ngrams": [self._ngrams.smallest, self._ngrams.largest],
            "weights": dict(vars(self._weights)),
        }

    def extract(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Find the entities of each text.

        Args:
            texts: report texts of any number of sentences.

        Returns:
            For each text its entities in text order, not de-duplicated; none for a text without sentences.
        """
        known: dict[str, list[Entity]] = {}
        found: list[list[Entity]] = []
        for text in texts:
            entities: list[Entity] = []
            for sentence in split_sentences(text):
                if sentence not in known:
                    phrases = parse_sentence(sentence, self._lexicon)
                    known[sentence] = [_entity(phrase) for phrase in phrases]
                entities.extend(known[sentence])
            found.append(entities)
        return found

    def embed(self, entity_texts: Sequence[str]) -> np.ndarray:
        """Embed entity texts so that near meanings have a high cosine.

        Args:
            entity_texts: n canonical entity texts; other phrases are embedded by their spelling.

        Returns:
            (n, dimension) float32, rows L2-normalised.
        """
        return self._ngrams.embed([self._features(text) for text in entity_texts])

    def _features(self, text: str) -> list[tuple[str, float]]:
        """Return the weighted words and tags that an entity text is made of."""
        words, place = split_form(text), 0
        features: list[tuple[str, float]] = []
        while len(words) - place > 1 and not self._is_term(words, place):
            used, found = self._modifier(words[place : place + self._longest + 1])
            if not used:
                break
            features.extend(found)
            place += used
        words = words[place:]
        features.extend((word, len(words) ** -0.5) for word in words)
        head = " ".join(words)
        if head in self._lexicon.groups:
            features.append((f"#group {self._lexicon.groups[head]}", self._weights.group))
        if self._lexicon.kinds.get(head) != "anatomy":
            features.append(("#finding", self._weights.finding))
        return features

    def _is_term(self, words: tuple[str, ...], place: int) -> bool:
        """Whether the words from a place on are a term of the lexicon."""
        return len(words) - place <= self._longest and " ".join(words[place:]) in self._lexicon.kinds

    def _modifier(self, words: tuple[str, ...]) -> tuple[int, list[tuple[str, float]]]:
        """Return how many leading words are a modifier of the rest, 0 if none, and its features.

        Degrees one level apart share half of their features.
        """
        if words[0] == POSSIBLE:
            return 1, [("#possible", self._weights.possible)]
        if words[0] in _SIDES:
            return 1, [(words[0], self._weights.side)]
        for length in range(len(words) - 1, 0, -1):
            modifier = " ".join(words[:length])
            level = self._lexicon.levels.get(modifier)
            if level is not None:
                half = self._weights.degree * 0.5**0.5
                return length, [
                    (f"#degree {level - 1} to {level}", half),
                    (f"#degree {level} to {level + 1}", half),
                ]
            if modifier in self._lexicon.qualities:
                return length, [(modifier.replace(" ", "_"), self._weights.quality)]
        return 0, []


def _entity(phrase: Phrase) -> Entity:
    """Turn a phrase into an entity; negated ones lose their modifiers, "large" in "no large effusion"."""
    if phrase.kind == "anatomy":
        text = f"{phrase.side} {phrase.head}" if phrase.side in _SIDES else phrase.head
        return Entity(text, "ANATOMY")
    if phrase.status == "negated":
        return Entity(phrase.head, f"NON-{phrase.kind.upper()}")
    words = [POSSIBLE] if phrase.status == "uncertain" else []
    return Entity(" ".join([*words, *phrase.modifiers, phrase.head]), phrase.kind.upper())
