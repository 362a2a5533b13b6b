"""What a training configuration describes: the model, its processor and the losses."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    CONFIG_MAPPING,
    TOKENIZER_MAPPING,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
)

from modeling_radir import (
    ConditionalLoss,
    MaskedInfoNCELoss,
    RadIRConfig,
    RadIRCTImageProcessor,
    RadIRCTViTConfig,
    RadIRCXRImageProcessor,
    RadIRFusionConfig,
    RadIRModel,
    RadIRProcessor,
    RadIRTextModel,
    RadIRVisionModel,
    RankedTripletLoss,
    UnconditionalLoss,
)
from modeling_radir.modeling_base import READ_AS, load_tower
from radir_training.settings import PRETRAINED, Range, TrainConfig
from radir_training.tokenizer import learn_tokenizer

# What configurations and layers of transformers, timm and torch raise for values that make no sense to them.
_REFUSALS = (TypeError, ArithmeticError, RuntimeError, KeyError, IndexError, AttributeError, ImportError,
             AssertionError, NotImplementedError, StrictDataclassError)  # fmt: skip


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
        ValueError: a setting of a tower or of the fusion is not known, one cannot be loaded, or does not take
            such images.
    """
    _check_parts(config)
    if config.model:
        model, processor = _trained(config.model)
        if isinstance(processor.image_processor, RadIRCTImageProcessor) == volumes:
            return model, processor
        return model, RadIRProcessor(image_processor(config, model, volumes), processor.tokenizer)
    tokenizer = _tokenizer(config, [*texts, *names])
    try:
        model = _untrained(config, len(tokenizer))
    except _REFUSALS as error:
        said = " ".join(str(error).split())
        raise ValueError(f"the settings of vision, text and fusion make no model: {said}") from error
    model.set_anatomies(names, tokenizer)
    return model, RadIRProcessor(image_processor(config, model, volumes), tokenizer)


def _untrained(config: TrainConfig, vocab_size: int) -> RadIRModel:
    """A model of random weights, or on pretrained towers."""
    described = model_config(config, vocab_size)
    if PRETRAINED not in config.vision and PRETRAINED not in config.text:
        return RadIRModel(described)
    return RadIRModel.from_encoders(
        _pretrained("vision", config.vision) or RadIRVisionModel(described).tower,
        _pretrained("text", config.text) or RadIRTextModel(described).tower,
        fusion_config=described.fusion_config,
        projection_dim=config.projection_dim,
        text_pooling=config.text_pooling,
        vision_levels=config.vision_levels or None,
    )


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
        vision_levels=config.vision_levels or None,
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


def check_model(model: RadIRModel, processor: Any) -> None:
    """Make sure that a model takes what its processor gives, by one blank image, text and anatomy.

    Raises:
        ValueError: it does not, as where the tower is of another image size or knows fewer positions.
    """
    images, tokenizer = processor.image_processor, processor.tokenizer
    sizes = [images.size[name] for name in ("depth", "height", "width") if name in images.size]
    pixels = torch.zeros(1, model.vision_model.num_channels, *sizes)
    positions = getattr(model.config.text_config, "max_position_embeddings", None) or 512
    longest = min(tokenizer.model_max_length, max(positions, 4096))  # a tokenizer may know no limit
    tokens = torch.full((1, longest if longest < 4096 else positions), len(tokenizer) - 1)
    was_training = model.training
    model.eval()
    part = f"the image tower ({model.config.vision_config.model_type})"
    try:
        with torch.no_grad():
            vision = model.encode_image(pixels)
            model.project_image(vision)
            part = f"the text tower ({model.config.text_config.model_type})"
            queries = model.encode_anatomies(tokens, torch.ones_like(tokens))
            part = "the fusion"
            if model.fusion_model is not None:
                model.fuse(vision.tokens, vision.grid, queries)
    except (ValueError, *_REFUSALS) as error:
        said = " ".join(str(error).split())
        raise ValueError(
            f"{part} does not take the images {tuple(pixels.shape[1:])} and texts of up to {tokens.shape[1]} "
            f"tokens of these settings: {said}"
        ) from error
    model.train(was_training)


def spare_memory(model: RadIRModel, gradient_checkpointing: bool) -> None:
    """Lay out 2D convolutions as they are fastest, and compute activations twice if asked to."""
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if not model.vision_model.takes_volumes:
        # 2D convolutions run a quarter faster so; transformers' `to` hides its arguments from mypy.
        model.vision_model.to(memory_format=torch.channels_last)  # type: ignore[call-arg]


def _check_parts(config: TrainConfig) -> None:
    """Raise ValueError for a name under vision, text or fusion that no such part knows."""
    for part in ("vision", "text"):
        values = dict(getattr(config, part))
        where = values.pop(PRETRAINED, None)
        kind = values.pop("model_type", None)
        if where is not None and kind is None and values:
            kind = _own_type(part, where)
        if kind == RadIRCTViTConfig.model_type:
            _check_fields(part, values, RadIRCTViTConfig)
        elif kind in CONFIG_MAPPING:  # RadIRConfig refuses others
            _check_fields(part, values, CONFIG_MAPPING[kind])
    _check_fields("fusion", config.fusion, RadIRFusionConfig)


def _own_type(part: str, where: str) -> str | None:
    """The model_type of a pretrained tower."""
    try:
        own, _ = PretrainedConfig.get_config_dict(where)
    except (OSError, ValueError) as error:
        raise _not_loaded(f"{part} tower", where, error) from error
    return READ_AS.get(own.get("model_type", ""), own.get("model_type"))


def _check_fields(part: str, values: dict[str, Any], kind: type[PretrainedConfig]) -> None:
    """Raise ValueError for a field that no model of this type uses, and for a number that none can have."""
    known = {*kind().to_dict(), *kind.attribute_map}
    for name, value in values.items():
        if name not in known:
            close = get_close_matches(name, sorted(known), n=1)
            hint = f"; is {close[0]} meant?" if close else ""
            raise ValueError(f"{part} of type {kind.model_type} has no setting {name}{hint}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            (_SIZE if _IS_SIZE.fullmatch(name) else _NUMBER).check(f"{part}.{name}", value)


_IS_SIZE = re.compile(r".*_size|num_(?!classes|labels).*|.*_dim")
_SIZE, _NUMBER = Range(1), Range(0)


def _trained(where: str) -> tuple[RadIRModel, Any]:
    """A trained model and its processor."""
    try:
        model, processor = RadIRModel.from_pretrained(where), RadIRProcessor.from_pretrained(where)
    except (OSError, KeyError, TypeError, StrictDataclassError) as error:
        raise _not_loaded("model", where, error) from error
    model.centre, model.config.centred = None, False  # means of features that training changes
    return model, processor


def _tokenizer(config: TrainConfig, texts: Sequence[str]) -> Any:
    """The named tokenizer, or one that is learnt from the texts."""
    if not config.tokenizer:
        return learn_tokenizer(texts, config.vocab_size, config.max_tokens)
    kind: Any = AutoTokenizer
    if PRETRAINED in config.text and config.text.get("model_type") in CONFIG_MAPPING:
        kind = TOKENIZER_MAPPING[CONFIG_MAPPING[config.text["model_type"]]]
    try:
        return kind.from_pretrained(config.tokenizer, model_max_length=config.max_tokens)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _not_loaded("tokenizer", config.tokenizer, error) from error


def _pretrained(name: str, values: dict[str, Any]) -> PreTrainedModel | None:
    """The tower that settings name, None for random weights; see `load_tower`."""
    settings = dict(values)
    where = settings.pop(PRETRAINED, None)
    if where is None:
        return None
    try:
        return load_tower(where, **settings)
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise _not_loaded(f"{name} tower", where, error) from error


def _not_loaded(what: str, where: str, error: Exception) -> ValueError:
    return ValueError(f"the {what} {where} cannot be loaded: {' '.join(str(error).split())}")
