"""One processor for images and texts, the same in training and in use."""

from typing import Any

from transformers.processing_utils import ProcessingKwargs, ProcessorMixin


class RadIRProcessorKwargs(ProcessingKwargs, total=False):
    """How texts are tokenised unless the call says otherwise."""

    # Token types are not returned: no text here has two segments. The longest text of a batch sets its width.
    _defaults = {  # type: ignore[misc]  # noqa: RUF012 - transformers reads it so
        "text_kwargs": {"padding": True, "truncation": True, "return_token_type_ids": False}
    }


class RadIRProcessor(ProcessorMixin):
    """An image processor and a tokenizer as one.

    `processor(images=..., text=..., return_tensors="pt")` gives pixel_values (B, C, H, W) float32, of volumes
    (B, 1, D, H, W), input_ids and attention_mask (T, L) int64; images or text alone give their part. Texts
    are cut at the tokenizer's model_max_length and padded to the longest.

    Args:
        image_processor: RadIRCXRImageProcessor or RadIRCTImageProcessor.
        tokenizer: the tokenizer of the text tower.
    """

    valid_processor_kwargs = RadIRProcessorKwargs

    def __init__(self, image_processor: Any, tokenizer: Any, **kwargs: Any):
        super().__init__(image_processor, tokenizer, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        """The names of what it gives."""
        return ["pixel_values", "input_ids", "attention_mask"]
