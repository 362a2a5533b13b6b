"""The text side of an adapted model: reports to vectors of the same space, by ridge regression.

Without a text tower to build on, a text is the mean of its words' embeddings, which are random and fixed: the
regression is then one on the words that a report holds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, BertConfig, BertModel, PreTrainedModel

from modeling_radir import RadIRConfig, RadIRTextModel
from modeling_radir.modeling_base import load_tower
from radir_training.adapt.ridge import NormalEquations
from radir_training.tokenizer import learn_tokenizer

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)  # of features whose mean squared norm is 1, for each training report
_WIDTH, _VOCABULARY, _MOST_TOKENS, _BATCH = 1024, 8192, 512, 64


def text_tower(texts: Sequence[str], where: str | None = None) -> tuple[PreTrainedModel, Any, str]:
    """A text tower, its tokenizer, and how its words are pooled.

    Args:
        texts: the training reports and the names of the conditions, of which a tokenizer is learnt.
        where: a folder or Hub id of a BERT-like tower; None for embeddings of words alone.

    Raises:
        ValueError: it cannot be loaded.
    """
    if where is not None:
        try:
            tower = load_tower(where)
            longest = getattr(tower.config, "max_position_embeddings", None) or _MOST_TOKENS
            tokenizer = AutoTokenizer.from_pretrained(where, model_max_length=min(longest, _MOST_TOKENS))
        except (OSError, ValueError, KeyError, TypeError) as error:
            said = " ".join(str(error).split())
            raise ValueError(f"the text tower {where} cannot be loaded: {said}") from error
        return tower, tokenizer, "mean"
    tokenizer = learn_tokenizer(texts, _VOCABULARY, _MOST_TOKENS)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=_WIDTH, num_hidden_layers=0, num_attention_heads=8,
        intermediate_size=_WIDTH, max_position_embeddings=_MOST_TOKENS, hidden_dropout_prob=0.0,
    )  # fmt: skip
    tower = BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        tower.embeddings.position_embeddings.weight.zero_()  # where a word stands tells nothing here
        tower.embeddings.token_type_embeddings.weight.zero_()
    return tower, tokenizer, "mean"


@torch.inference_mode()
def text_features(tower: PreTrainedModel, tokenizer: Any, pooling: str, texts: Sequence[str]) -> np.ndarray:
    """Features of texts before their projection, (n, Ct) float32."""
    config = RadIRConfig(text_config=tower.config, fusion_config=None, text_pooling=pooling)
    model = RadIRTextModel(config)
    model.tower = tower
    model.eval()
    found = []
    for start in range(0, len(texts), _BATCH):
        tokens = tokenizer(
            list(texts[start : start + _BATCH]), padding=True, truncation=True, return_tensors="pt"
        )
        found.append(model(tokens["input_ids"], tokens["attention_mask"]).float().numpy())
    return np.concatenate(found)


def fit_projection(
    features: np.ndarray, targets: np.ndarray, held_out: tuple[np.ndarray, np.ndarray] | None
) -> np.ndarray:
    """A projection of text features onto centred targets, without an intercept.

    Args:
        features: (n, Ct) of the training reports.
        targets: (n, r), centred.
        held_out: the same of the validation reports, by whose error the penalty is chosen; None: the middle
            one is taken.

    Returns:
        (r, Ct) float64.
    """
    scale = float(np.mean((features.astype(np.float64) ** 2).sum(axis=1))) * len(features)
    sums = NormalEquations(
        features.astype(np.float64).T @ features,
        features.astype(np.float64).T @ targets,
        np.zeros(features.shape[1]),
    )
    heads = {penalty: sums.solve(penalty * scale) for penalty in PENALTIES}
    if held_out is None:
        chosen = PENALTIES[len(PENALTIES) // 2]
    else:
        x, z = held_out
        chosen = min(PENALTIES, key=lambda penalty: float(((heads[penalty](x) - z) ** 2).sum()))
    return heads[chosen].weight
