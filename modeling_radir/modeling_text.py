"""The text encoder: any BERT-like encoder, read at its first token or over all words (paper, eq. 4)."""

from typing import Any

import torch
from torch import Tensor

from .configuration_radir import RadIRConfig
from .modeling_base import RadIRPreTrainedModel, build_tower


class RadIRTextModel(RadIRPreTrainedModel):
    """Token ids (T, L) to features (T, Ct), by the encoder that config.text_config names."""

    main_input_name = "input_ids"
    input_modalities = ["text"]  # noqa: RUF012 - transformers declares it so

    def __init__(self, config: RadIRConfig):
        super().__init__(config)
        self.tower: Any = build_tower(config.text_config)
        self.post_init()

    @property
    def hidden_size(self) -> int:
        """Ct, the width of the features."""
        return self.config.text_config.hidden_size

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The last layer's first token, or the mean of its words, as config.text_pooling says: (T, Ct).

        Args:
            input_ids: (T, L) int64.
            attention_mask: (T, L), 1 for tokens and 0 for padding; None: no padding.

        Raises:
            ValueError: if the shapes do not fit, or a text is longer than the encoder's positions.
        """
        if input_ids.ndim != 2 or (attention_mask is not None and attention_mask.shape != input_ids.shape):
            mask_shape = None if attention_mask is None else tuple(attention_mask.shape)
            raise ValueError(
                f"input_ids have the shape {tuple(input_ids.shape)} and attention_mask {mask_shape}; both "
                "must be (texts, tokens)"
            )
        longest = getattr(self.config.text_config, "max_position_embeddings", None)
        if longest is not None and input_ids.shape[1] > longest:
            raise ValueError(
                f"a text has {input_ids.shape[1]} tokens and the encoder takes {longest}: tokenise with "
                f"truncation=True, max_length={longest}"
            )
        states = self.tower(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states[:, 0] if self.config.text_pooling == "cls" else mean_of_words(states, attention_mask)


def mean_of_words(states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """Mean over the tokens between the first and the last one, which are special: (T, L, Ct) -> (T, Ct).

    A text without words gives the zero vector.
    """
    mask = torch.ones(states.shape[:2], device=states.device) if attention_mask is None else attention_mask
    places = torch.arange(states.shape[1], device=states.device)
    last = mask.sum(dim=1, keepdim=True) - 1  # (T, 1)
    words = ((places > 0) & (places < last)).to(states.dtype)[..., None]  # (T, L, 1)
    return (states * words).sum(dim=1) / words.sum(dim=1).clamp(min=1)
