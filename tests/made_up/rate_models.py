"""Tiny NER and encoder with random weights, in folders, for tests of the ``ratescore`` scorer.

The NER is a DeBERTa-v2 token classifier with RaTEScore's labels and a Unigram tokenizer, the encoder a BERT
with a WordPiece tokenizer; both know some words of radiology and spell out others.
"""

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    DebertaV2Config,
    DebertaV2ForTokenClassification,
    DebertaV2Tokenizer,
)

from dataset_scripts.relevance.neural.spans import LABELS

WORDS = tuple(
    "the is are no there and of in right left heart lung lungs pleura pleural effusion pneumothorax small "  # noqa: SIM905
    "large normal clear size enlarged opacity lower upper lobe spine".split()
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CHARACTERS = string.ascii_letters + string.digits + ".,:;-()/%"


def save_ner(
    folder: Path, seed: int, labels: Sequence[str] = LABELS, words: Sequence[str] = WORDS, layers: int = 2
) -> Path:
    """Save a tiny NER; its labels come out about equally often. Returns the folder."""
    known = [word for word in dict.fromkeys(words) if len(word) > 1]
    pieces = [*SPECIAL, "▁", *CHARACTERS, *(f"▁{word}" for word in known)]
    scores = [0.0] * len(SPECIAL) + [-10.0] * (1 + len(CHARACTERS)) + [-5.0] * len(known)
    tokenizer = DebertaV2Tokenizer(vocab=list(zip(pieces, scores, strict=True)), unk_id=1)
    config = DebertaV2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        relative_attention=True,
        position_buckets=32,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        type_vocab_size=0,
        pad_token_id=0,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    return _save(DebertaV2ForTokenClassification, config, tokenizer, folder, seed)


def save_encoder(folder: Path, seed: int, words: Sequence[str] = WORDS, layers: int = 2) -> Path:
    """Save a tiny encoder whose embeddings differ from text to text. Returns the folder."""
    letters = CHARACTERS.lower()
    pieces = dict.fromkeys(
        [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *(word.lower() for word in words)]
    )
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        pad_token_id=0,
    )
    return _save(BertModel, config, tokenizer, folder, seed)


def _save(model_class: Any, config: Any, tokenizer: Any, folder: Path, seed: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class(config)
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                torch.nn.init.normal_(weight, std=1.0 if "classifier" in name or "word_emb" in name else 0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
