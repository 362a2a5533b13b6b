"""Entities of a report text and their embeddings, by rules and a lexicon: the ``lexical`` scorer.

The five entity types are RaTEScore's (Zhao et al. 2024). What a report says is read by `mining.reader`; here
it is written as entities. An ANATOMY entity is an anatomy of the ontology with its side ("left pleura"); a
finding is a concept with its degree and qualities in one order ("mild cardiomegaly", "possible small
effusion"); what a sentence denies, and what it calls normal, is a NON-DISEASE or NON-ABNORMALITY. So
"heart size is normal", "no cardiomegaly" and "the heart is not enlarged" have the same entities.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset_scripts.mining.ontology import Ontology, default_ontology
from dataset_scripts.mining.reader import Reader, Statement
from dataset_scripts.mining.sentences import split_sentences
from dataset_scripts.mining.status import ABSENT, HISTORICAL, POSSIBLE
from dataset_scripts.mining.tokens import fold
from dataset_scripts.mining.vocabulary import Vocabulary, default_vocabulary
from dataset_scripts.relevance.entities import Entity
from dataset_scripts.relevance.lexical.ngrams import HashedNGrams

_HEDGES = {POSSIBLE: "possible", HISTORICAL: "prior"}
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
        self._vocabulary: Vocabulary = default_vocabulary()
        self._ontology: Ontology = default_ontology()
        self._reader = Reader()
        known = (*self._vocabulary.kinds, *self._vocabulary.levels, *self._vocabulary.qualities)
        # In words, of the longest concept, anatomy or modifier.
        self._longest = max(len(name.split()) for name in (*known, *self._ontology.names))
        self._weights = weights or PhraseWeights()
        self._ngrams = HashedNGrams(dimension)

    def __reduce__(self) -> tuple[type["LexicalExtractor"], tuple[PhraseWeights, int]]:
        return LexicalExtractor, (self._weights, self._ngrams.dimension)  # caches stay in their process

    @property
    def parameters(self) -> dict[str, Any]:
        """What the entities and embeddings depend on, as JSON; a store records it."""
        return {
            "rules": 2,
            "vocabulary": self._vocabulary.digest,
            "ontology": self._ontology.digest,
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
                    known[sentence] = list(self._entities(self._reader.read_sentence(sentence)))
                entities.extend(known[sentence])
            found.append(entities)
        return found

    def _entities(self, statements: Sequence[Statement]) -> Iterator[Entity]:
        """A sentence's statements as entities: each anatomy once, before the first finding in it."""
        named: set[str] = set()
        for statement in statements:
            for anatomy in statement.anatomies:
                text = anatomy
                if statement.side in _SIDES and not anatomy.startswith(("left ", "right ")):
                    text = f"{statement.side} {anatomy}"
                if text not in named and self._tells(statement, anatomy, text):
                    named.add(text)
                    yield Entity(text, "ANATOMY")
            if statement.kind == "normal":
                yield Entity(statement.concept, "NON-ABNORMALITY")
            elif statement.kind != "anatomy" and not statement.is_attribute:
                yield _finding(statement)

    def _tells(self, statement: Statement, anatomy: str, text: str) -> bool:
        """Whether an anatomy says more than its finding does.

        A device's own name does not, nor does the usual site of what is denied: "no pleural effusion" is "no
        effusion", and "the heart is normal in size" is "no cardiomegaly".
        """
        if statement.kind == "device":
            return anatomy != statement.concept
        if statement.status != ABSENT or text.startswith(_SIDES):
            return True
        site = self._reader.site(statement.concept)
        return site is None or self._ontology[site].region != self._ontology[anatomy].region

    def severities(self, entity_texts: Sequence[str]) -> np.ndarray:
        """How grave each entity is: 1 urgent, 0.5 actionable, 0.25 minor, by the vocabulary.

        Args:
            entity_texts: n entity texts of `extract`.

        Returns:
            (n,) float32; 1 where the vocabulary does not know the concept, and for anatomies.
        """
        grades = self._vocabulary.severities
        return np.array([grades.get(self._head(text), 1.0) for text in entity_texts], dtype=np.float32)

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
        words, place, features = self._cut(text)
        words = words[place:]
        features.extend((word, len(words) ** -0.5) for word in words)
        head = " ".join(words)
        group = self._group(head)
        if group is not None:
            features.append((f"#group {group}", self._weights.group))
        if head not in self._ontology or head in self._vocabulary.kinds:
            features.append(("#finding", self._weights.finding))
        return features

    def _head(self, text: str) -> str:
        words, place, _ = self._cut(text)
        return " ".join(words[place:])

    def _group(self, head: str) -> str | None:
        """The group of near meanings of a concept; of an anatomy its region."""
        if head in self._vocabulary.groups:
            return self._vocabulary.groups[head]
        return self._ontology[head].region if head in self._ontology else None

    def _cut(self, text: str) -> tuple[tuple[str, ...], int, list[tuple[str, float]]]:
        """An entity text's words, the number of those before its head, and the features of these."""
        words, place = fold(text), 0
        features: list[tuple[str, float]] = []
        while len(words) - place > 1 and not self._is_concept(words[place:]):
            used, found = self._modifier(words[place : place + self._longest + 1])
            if not used:
                break
            features.extend(found)
            place += used
        return words, place, features

    def _is_concept(self, words: tuple[str, ...]) -> bool:
        """Whether the words are a concept, or an anatomy that has no side in its name."""
        name = " ".join(words)
        return name in self._vocabulary.kinds or (name in self._ontology and words[0] not in _SIDES)

    def _modifier(self, words: tuple[str, ...]) -> tuple[int, list[tuple[str, float]]]:
        """Return how many leading words are a modifier of the rest, 0 if none, and its features.

        Degrees one level apart share half of their features.
        """
        if words[0] in _HEDGES.values():
            return 1, [(f"#{words[0]}", self._weights.possible)]
        if words[0] in _SIDES:
            return 1, [(words[0], self._weights.side)]
        for length in range(len(words) - 1, 0, -1):
            modifier = " ".join(words[:length])
            level = self._vocabulary.levels.get(modifier)
            if level is not None:
                half = self._weights.degree * 0.5**0.5
                return length, [
                    (f"#degree {level - 1} to {level}", half),
                    (f"#degree {level} to {level + 1}", half),
                ]
            if modifier in self._vocabulary.qualities:
                return length, [(modifier.replace(" ", "_"), self._weights.quality)]
        return 0, []


def _finding(statement: Statement) -> Entity:
    """A finding as an entity; what is denied loses its modifiers, "large" in "no large effusion"."""
    kind = "DISEASE" if statement.kind == "disease" else "ABNORMALITY"
    if statement.status == ABSENT:
        return Entity(statement.concept, f"NON-{kind}")
    words = [_HEDGES[statement.status]] if statement.status in _HEDGES else []
    return Entity(" ".join([*words, *statement.modifiers, statement.concept]), kind)
