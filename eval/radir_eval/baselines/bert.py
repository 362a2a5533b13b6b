"""The BERT text towers of the baselines: sizes from a checkpoint's shapes, and their tokenizers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, BertConfig

from radir_eval.baselines.weights import Shape, count_layers, dimension

HEAD_DIM = 64  # of every BERT that these models use; no shape tells it
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")

# Old versions of transformers stored 0, 1, 2, ...; newer ones make it when loading.
POSITION_IDS = (r".*embeddings\.position_ids", "0, 1, 2, ...: made anew when loading")


def bert_config(
    shapes: Mapping[str, Shape], prefix: str, source: Path | str, heads: int | None = None
) -> BertConfig:
    """The configuration of a BERT whose tensors have these shapes.

    Args:
        shapes: of all tensors of a checkpoint.
        prefix: of the BERT's keys in it, with its full stop.
        source: the checkpoint's name in errors.
        heads: of the attention. None: one for each 64 of the width.

    Raises:
        ValueError: the checkpoint has no such BERT.
    """
    tables, layers = f"{prefix}embeddings.", f"{prefix}encoder.layer."
    width = dimension(shapes, f"{tables}word_embeddings.weight", 1, source)
    return BertConfig(
        vocab_size=dimension(shapes, f"{tables}word_embeddings.weight", 0, source),
        hidden_size=width,
        num_hidden_layers=count_layers(shapes, layers),
        num_attention_heads=heads or max(1, width // HEAD_DIM),
        intermediate_size=dimension(shapes, f"{layers}0.intermediate.dense.weight", 0, source),
        max_position_embeddings=dimension(shapes, f"{tables}position_embeddings.weight", 0, source),
        type_vocab_size=dimension(shapes, f"{tables}token_type_embeddings.weight", 0, source),
    )


def files_beside(folder: Path) -> list[Path]:
    """The tokenizer's files in a checkpoint's folder, if there are any."""
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]


def load_tokenizer(folder: Path, hub_id: str, vocabulary: int, kind: Any = AutoTokenizer) -> Any:
    """A text tower's tokenizer: that beside the checkpoint, if there is one, else the one on the Hub.

    Args:
        folder: of the checkpoint.
        hub_id: of the tokenizer that the authors used.
        vocabulary: pieces that the text tower knows.
        kind: the class to load it with.

    Raises:
        ValueError: it cannot be loaded, or knows more pieces than the text tower.
    """
    where = str(folder) if files_beside(folder) else hub_id
    try:
        tokenizer = kind.from_pretrained(where)
    except (OSError, ValueError, ImportError) as error:
        raise ValueError(
            f"the tokenizer {where} cannot be loaded ({str(error).splitlines()[0]}): download {hub_id} from "
            f"the Hub, or put its tokenizer files into {folder}"
        ) from error
    if len(tokenizer) > vocabulary:
        raise ValueError(
            f"the tokenizer {where} knows {len(tokenizer)} pieces and the text tower {vocabulary}: give that "
            f"of {hub_id}"
        )
    return tokenizer


def tokenize(
    tokenizer: Any, texts: Sequence[str], max_length: int, padding: bool | str = True
) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask of texts: (T, L) int64 each; longer texts lose their end.

    Args:
        padding: "max_length", or True for the longest of these texts.
    """
    tokens = tokenizer(
        list(texts), padding=padding, truncation=True, max_length=max_length, return_tensors="pt"
    )
    return tokens["input_ids"], tokens["attention_mask"]


def by_length(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[tuple[list[int], Tensor]]:
    """Token ids without any padding: for each length L, the positions of its T texts, and (T, L) int64."""
    rows = [tokenizer(text, truncation=True, max_length=max_length)["input_ids"] for text in texts]
    positions: dict[int, list[int]] = {}
    for position, row in enumerate(rows):
        positions.setdefault(len(row), []).append(position)
    return [(group, torch.tensor([rows[i] for i in group])) for group in positions.values()]
