"""What a training configuration describes: the model, its processor and the losses."""

from collections.abc import Sequence
from typing import Any

from transformers import (
    CONFIG_MAPPING,
    TOKENIZER_MAPPING,
    AutoTokenizer,
    PreTrainedModel,
)

from configs.settings import TrainConfig
from modeling_radir import (
    ConditionalLoss,
    MaskedInfoNCELoss,
    RadIRConfig,
    RadIRCTImageProcessor,
    RadIRCXRImageProcessor,
    RadIRModel,
    RadIRProcessor,
    RadIRTextModel,
    RadIRVisionModel,
    RankedTripletLoss,
    UnconditionalLoss,
)
from modeling_radir.modeling_base import load_tower
from modeling_radir.tokenization_radir import learn_tokenizer

PRETRAINED = "pretrained"  # the key of a tower's settings that names its weights


def build_model(
    config: TrainConfig, texts: Sequence[str], names: Sequence[str], volumes: bool = False
) -> tuple[RadIRModel, Any]:
    """The model and its processor, from a trained folder, pretrained towers or random weights.

    Args:
        config: the settings.
        texts: the training reports, from which a tokenizer is learnt if none is named.
        names: the anatomies that the model shall know.
        volumes: whether its images are volumes; they are X-rays otherwise.

    Raises:
        ValueError: a tower cannot be loaded, or does not take such images.
    """
    if config.model:
        model = RadIRModel.from_pretrained(config.model)
        processor = RadIRProcessor.from_pretrained(config.model)
        if isinstance(processor.image_processor, RadIRCTImageProcessor) == volumes:
            return model, processor
        return model, RadIRProcessor(image_processor(config, model, volumes), processor.tokenizer)
    tokenizer = _tokenizer(config, [*texts, *names])
    described = model_config(config, len(tokenizer))
    if PRETRAINED in config.vision or PRETRAINED in config.text:
        model = RadIRModel.from_encoders(
            _pretrained("vision", config.vision) or RadIRVisionModel(described).tower,
            _pretrained("text", config.text) or RadIRTextModel(described).tower,
            fusion_config=described.fusion_config,
            projection_dim=config.projection_dim,
            text_pooling=config.text_pooling,
        )
    else:
        model = RadIRModel(described)
    model.set_anatomies(names, tokenizer)
    return model, RadIRProcessor(image_processor(config, model, volumes), tokenizer)


def model_config(config: TrainConfig, vocab_size: int) -> RadIRConfig:
    """The model's configuration; a pretrained tower stands there with the defaults of its model_type.

    Args:
        config: the settings.
        vocab_size: of the tokenizer.
    """
    vision, text = (
        None if set(values) == {PRETRAINED} else {k: v for k, v in values.items() if k != PRETRAINED}
        for values in (config.vision, config.text)
    )
    sizes = {"vocab_size": vocab_size, "max_position_embeddings": config.max_tokens}
    return RadIRConfig(
        vision_config=vision,
        text_config=None if text is None else text | sizes,
        fusion_config=None if config.method == "clip" else config.fusion,
        projection_dim=config.projection_dim,
        text_pooling=config.text_pooling,
    )


def image_processor(config: TrainConfig, model: RadIRModel, volumes: bool) -> Any:
    """The processor of the images that the model is trained on, and the one of its use.

    Raises:
        ValueError: the dataset holds volumes, and the model takes single images.
    """
    if not volumes:
        return RadIRCXRImageProcessor(
            size={"height": config.image_size, "width": config.image_size},
            num_channels=model.vision_model.num_channels,
        )
    if not model.vision_model.takes_volumes:
        raise ValueError(
            f"the dataset holds volumes, and a tower of type {model.config.vision_config.model_type!r} takes "
            "single images: set vision to a tower of model_type radir_ctvit, as configs/phantom-ct.yaml does"
        )
    size = dict(zip(("depth", "height", "width"), config.volume_size, strict=True))
    return RadIRCTImageProcessor(size=size, spacing_mm=config.spacing_mm)


def build_losses(config: TrainConfig) -> tuple[UnconditionalLoss, ConditionalLoss]:
    """The objectives of both stages; a plain CLIP has no image-image term."""
    triplet: dict[str, Any] = {
        "margin": config.margin,
        "temperature": config.temperature,
        "positive_threshold": config.positive_threshold,
        "gap": config.gap,
    }
    image_to_image = 0.0 if config.method == "clip" else config.lambda_i2i
    unconditional = UnconditionalLoss(
        weights=(config.lambda_i2t, config.lambda_t2i, image_to_image),
        contrastive=MaskedInfoNCELoss(config.tau),
        triplet=RankedTripletLoss(**triplet),
    )
    return unconditional, ConditionalLoss(RankedTripletLoss(**triplet, weighted=True))


def _tokenizer(config: TrainConfig, texts: Sequence[str]) -> Any:
    """The named tokenizer, or one that is learnt from the texts."""
    if not config.tokenizer:
        return learn_tokenizer(texts, config.vocab_size, config.max_tokens)
    kind: Any = AutoTokenizer
    if PRETRAINED in config.text and "model_type" in config.text:
        kind = TOKENIZER_MAPPING[CONFIG_MAPPING[config.text["model_type"]]]
    try:
        return kind.from_pretrained(config.tokenizer, model_max_length=config.max_tokens)
    except (OSError, ValueError) as error:
        raise ValueError(f"the tokenizer {config.tokenizer} cannot be loaded: {error}") from error


def _pretrained(name: str, values: dict[str, Any]) -> PreTrainedModel | None:
    """The tower that settings name, None for random weights; see `load_tower`."""
    settings = dict(values)
    where = settings.pop(PRETRAINED, None)
    if where is None:
        return None
    try:
        return load_tower(where, **settings)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"the {name} tower {where} cannot be loaded: {error}") from error
