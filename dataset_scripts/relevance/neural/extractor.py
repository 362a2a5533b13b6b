"""The ``ratescore`` scorer: entities and embeddings by the models of RaTEScore (Zhao et al. 2024), batched.

It gives the entities, and with ``ratescore.rate_score`` the scores, of the package RaTEScore 0.6.0 (MIT
licence), but each unique sentence goes through the NER once and each unique entity text through the encoder
once. One difference is on purpose: the package skips a text in which it finds no sentence, and from there on
scores every text against the wrong partner. Here such a text has no entities and scores 0.5.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoModelForTokenClassification

from dataset_scripts.plumbing.bars import progress_bar
from dataset_scripts.relevance.entities import ENTITY_TYPES, Entity
from dataset_scripts.relevance.neural.hub_models import BatchedModel, ModelFiles, pick_device
from dataset_scripts.relevance.neural.sentences import split_texts, splitter_parameters
from dataset_scripts.relevance.neural.spans import LABELS, SPECIAL_TOKENS, entity_spans

NER = "Angelakeke/RaTE-NER-Deberta"
ENCODER = "FremyCompany/BioLORD-2023-C"
NER_MAX_LENGTH = 512  # tokens of a sentence
ENTITY_MAX_LENGTH = 30  # tokens of an entity

_COMPATIBLE_WITH = "RaTEScore 0.6.0"


class RateScoreExtractor:
    """Finds entities with RaTEScore's NER and embeds them with its encoder.

    The models are loaded when they are first needed; what tells them apart is known from the start. Weights
    are read from safetensors alone.

    Args:
        ner: a token classifier with RaTEScore's eleven labels: a folder, or an id on the Hugging Face Hub.
        encoder: a text encoder, whose first token's last hidden state is the embedding.
        device: "cpu", "cuda", "cuda:1", ...; by default a GPU if there is one.
        batch_size: texts of up to 64 tokens in a batch; of longer ones proportionally fewer.
        ner_revision, encoder_revision: branch, tag or commit on the Hub.
        progress: show progress bars.

    Raises:
        ValueError: a model or the extra ``ratescore`` is missing, the NER has other labels, or ``batch_size``
            is below 1.
    """

    name = "ratescore"

    def __init__(
        self,
        ner: str | Path = NER,
        encoder: str | Path = ENCODER,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        ner_revision: str | None = None,
        encoder_revision: str | None = None,
        progress: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: it must be 1 or more")
        self._splitter = splitter_parameters()
        self._device = pick_device(device)
        self._batch_size = batch_size
        self._progress = progress
        self._ner_files = ModelFiles.find(ner, ner_revision)
        self._labels = _checked_labels(self._ner_files)
        self._encoder_files = ModelFiles.find(encoder, encoder_revision)
        self._ner: BatchedModel | None = None
        self._encoder: BatchedModel | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """What the entities and embeddings depend on, as JSON; a store records it.

        A model of the Hub is its id and commit; a folder is the SHA-256 of its files, whatever its path.
        """
        return {
            "compatible_with": _COMPATIBLE_WITH,
            "ner": self._ner_files.identity,
            "ner_max_length": NER_MAX_LENGTH,
            "encoder": self._encoder_files.identity,
            "entity_max_length": ENTITY_MAX_LENGTH,
            "sentences": self._splitter,
        }

    def extract(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Find the entities of each text.

        Args:
            texts: report texts of any length and language; equal texts and sentences are worked on once.

        Returns:
            For each text its entities in text order, not de-duplicated; none for a text without sentences.

        Raises:
            ValueError: a text is not a string, or the NER gives NaN.
        """
        unique = unique_texts(texts)
        sentences = dict(zip(unique, self.split(unique), strict=True))
        pieces = list(dict.fromkeys(piece for text in unique for piece in sentences[text]))
        found = dict(zip(pieces, self.recognise(pieces), strict=True))
        return [[entity for piece in sentences[text] for entity in found[piece]] for text in texts]

    def split(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the sentences of each text, as PyRuSH and the package find them."""
        return split_texts(progress_bar(texts, "sentences", unit="text", shown=self._progress))

    def recognise(self, sentences: Sequence[str]) -> list[list[Entity]]:
        """Return the entities of each sentence; give each sentence once.

        Raises:
            ValueError: the NER gives NaN.
        """
        found: list[list[Entity]] = [[] for _ in sentences]
        if not sentences:
            return found
        model = self._ner = self._ner or self._load(
            self._ner_files, AutoModelForTokenClassification, NER_MAX_LENGTH
        )
        read = _SpanReader(model.tokenizer, self._labels)
        with self._bar("entities", len(sentences), "sentence") as bar:
            for rows, ids, output in model.run(sentences):
                finite = torch.isfinite(output.logits).all(dim=2)  # (B, L)
                best = torch.where(finite, output.logits.argmax(dim=2), -1).tolist()
                for row, tokens, labels in zip(rows, ids, best, strict=True):
                    if -1 in labels[: len(tokens)]:
                        raise model.not_finite("label scores")
                    found[row] = read(tokens, labels)
                bar.update(len(rows))
        return found

    def embed(self, entity_texts: Sequence[str]) -> np.ndarray:
        """Embed entity texts; equal texts once.

        Returns:
            (n, D) float32, rows L2-normalised: the last hidden state of the first token, of the first 30.

        Raises:
            ValueError: a text is not a string, or the encoder gives NaN.
        """
        unique = unique_texts(entity_texts)
        model = self._encoder = self._encoder or self._load(self._encoder_files, AutoModel, ENTITY_MAX_LENGTH)
        vectors = np.zeros((len(unique), model.width), dtype=np.float32)
        with self._bar("embeddings", len(unique), "entity") as bar:
            for rows, _, output in model.run(unique):
                state = torch.nn.functional.normalize(output.last_hidden_state[:, 0], dim=1)  # (B, D)
                vectors[rows] = state.cpu().numpy()
                if not np.isfinite(vectors[rows]).all():
                    raise model.not_finite("embeddings")
                bar.update(len(rows))
        if len(unique) == len(entity_texts):
            return vectors
        position = {text: i for i, text in enumerate(unique)}
        return vectors[[position[text] for text in entity_texts]]

    def _load(self, files: ModelFiles, auto_class: Any, max_length: int) -> BatchedModel:
        return BatchedModel(files, auto_class, self._device, self._batch_size, max_length)

    def _bar(self, what: str, total: int, unit: str) -> Any:
        return progress_bar(total=total, desc=what, unit=unit, shown=self._progress)


class _SpanReader:
    """Turns the token ids and label numbers of a sentence into its entities."""

    def __init__(self, tokenizer: Any, labels: list[str]) -> None:
        self._tokenizer = tokenizer
        self._labels = labels
        vocabulary = tokenizer.get_vocab()
        self._special = {vocabulary[token] for token in SPECIAL_TOKENS if token in vocabulary}
        self._texts: dict[tuple[int, ...], str] = {}

    def __call__(self, ids: list[int], labels: list[int]) -> list[Entity]:
        # As the package does, count out [PAD], which a text may also hold as a word.
        count = len(ids) - ids.count(self._tokenizer.pad_token_id)
        names = [self._labels[label] for label in labels[: len(ids)]]
        spans = entity_spans(names, [i in self._special for i in ids[:count]])
        return [Entity(self._text(tuple(ids[:count][first : last + 1])), kind) for first, last, kind in spans]

    def _text(self, ids: tuple[int, ...]) -> str:
        if ids not in self._texts:
            tokens = self._tokenizer.convert_ids_to_tokens(list(ids))  # [UNK] where the text is unknown
            self._texts[ids] = self._tokenizer.convert_tokens_to_string(tokens)
        return self._texts[ids]


def unique_texts(texts: Sequence[str]) -> list[str]:
    """Return each text once, in order of first occurrence.

    Raises:
        ValueError: ``texts`` is one string, or something in it is not a string or not valid Unicode.
    """
    if isinstance(texts, str):
        raise ValueError("texts is one string: give a list of texts")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"Text {i} is {text!r}: give strings, an empty one where there is no text")
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"Text {i} is no valid Unicode ({error}): decode its source again"
                ) from error
    return list(dict.fromkeys(texts))


def _checked_labels(files: ModelFiles) -> list[str]:
    """Return the NER's labels by number; they must be O and B- and I- of the five types."""
    id2label = files.load_config().id2label
    labels = [str(id2label[number]) for number in sorted(id2label)]
    known = set(labels) <= set(LABELS)
    if not known or not {f"B-{name}" for name in ENTITY_TYPES} <= set(labels):
        raise ValueError(
            f"{files.name} predicts {', '.join(labels)}: the NER of RaTEScore predicts "
            f"{', '.join(LABELS)}; give a model trained with these labels"
        )
    return labels
