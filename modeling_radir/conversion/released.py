"""The authors' RadIR checkpoint to a folder that AutoModel loads, equal in every feature."""

import logging
import math
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import BertTokenizer

from ..configuration_radir import RadIRConfig
from ..image_processing_radir import RadIRCXRImageProcessor
from ..image_processing_radir_ct import RadIRCTImageProcessor
from ..modeling_radir import RadIRModel
from ..processing_radir import RadIRProcessor
from .checkpoint_files import read_tensors
from .released_config import assumed_settings, read_overrides, released_config
from .released_keys import Shape, droppable_keys, expected_shapes, kept_keys

logger = logging.getLogger(__name__)

TEXT_TOWER = "microsoft/BiomedVLP-CXR-BERT-specialized"
TEXT_TOWER_VOCABULARY = 30522
# The released loss divides logits by 0.1 after scaling them by exp(temperature); ours has one factor.
LOG_INVERSE_TEMPERATURE = math.log(10.0)


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did.

    Attributes:
        folder: where the model is.
        num_parameters: of the model.
        sizes: what was read from the shapes, by "part.name".
        assumed: what no shape tells, by "part.name": the released values, or the overrides.
        dropped: keys that were left out, each with the reason.
        remarks: sentences on what could not be done.
    """

    folder: Path
    num_parameters: int
    sizes: dict[str, Any]
    assumed: dict[str, Any]
    dropped: list[tuple[str, str]]
    remarks: list[str]


def convert_checkpoint(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    overrides: "str | os.PathLike[str] | Mapping[str, Any] | None" = None,
    tokenizer: str | os.PathLike[str] | None = None,
    anatomies: Sequence[str] | None = None,
    images: Literal["cxr", "ct"] = "cxr",
    finish: Callable[[Path], None] = lambda folder: None,
) -> ConversionReport:
    """Convert a released checkpoint to a model folder, which is written atomically.

    Args:
        checkpoint: the authors' .pt file, or a .safetensors file of the same keys.
        out: the folder to be made; it must not exist or be empty.
        overrides: a JSON file or a mapping of RadIRConfig's settings, for what the weights cannot tell.
        tokenizer: Hub id or folder of the text tower's tokenizer. None: the released one, if it can be had.
        anatomies: names that the model shall know; without a tokenizer it knows none, and a remark says so.
        images: the kind of images that the folder's processor reads; the weights serve both.
        finish: adds to the folder what else belongs there, before it appears.

    Raises:
        ValueError: if the file is not such a checkpoint (all keys that are missing, extra or of another shape
            are listed), an override is not known, or the folder holds something.
    """
    out = Path(out)
    _check_target(out, images)
    state = read_checkpoint(Path(checkpoint))
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    config = released_config(shapes, read_overrides(overrides))
    model = empty_model(config)
    kept, dropped = check_keys(shapes, model, Path(checkpoint))
    _check_zero(state, dropped)
    model.load_state_dict(our_state(state, kept), assign=True)
    processor, remarks = _processor(config, tokenizer, images)
    if anatomies is not None and processor is not None:
        model.set_anatomies(anatomies, processor.tokenizer)
    elif anatomies is not None:
        remarks.append("the model knows no anatomy by its name, which a tokenizer has to spell")
    _write(out, model, processor, finish)
    sizes, assumed = _facts(config)
    return ConversionReport(out, model.num_parameters(), sizes, assumed, dropped, remarks)


def _check_target(out: Path, images: str) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists already: give a new or empty folder")
    if images not in ("cxr", "ct"):
        raise ValueError(f"images is {images!r}; 'cxr' or 'ct' is needed")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a released checkpoint, by key; nothing but tensors is unpickled.

    Args:
        path: a .safetensors file, or a .pt file of a state dict or of a package with one under "model".

    Raises:
        ValueError: if there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}: give the released RadIR.pt or a .safetensors of its keys")
    return read_tensors(path, "give the released RadIR.pt, or a .safetensors file of the same keys")


def empty_model(config: RadIRConfig) -> RadIRModel:
    """A model of this configuration without any numbers, to compare shapes with and to fill."""
    with torch.device("meta"):
        return RadIRModel(config)


def check_keys(
    shapes: Mapping[str, Shape], model: RadIRModel, checkpoint: Path
) -> tuple[dict[str, tuple[str, ...]], list[tuple[str, str]]]:
    """What becomes of each key of a checkpoint.

    Args:
        shapes: of all its tensors.
        model: what it is to fill.
        checkpoint: its name in the error.

    Returns:
        kept: released key to ours (see kept_keys); dropped: keys to be left out, with the reason.

    Raises:
        ValueError: with all keys that are missing, extra or of another shape.
    """
    ours = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    kept, droppable = kept_keys(model.config, ours), droppable_keys(model.config)
    unfilled = ours.keys() - {name for names in kept.values() for name in names}
    if unfilled:
        raise ValueError(
            f"no released tensor fills {sorted(unfilled)}: released models have image tokens as wide as "
            "their fusion, so these sizes are of none"
        )
    wanted: dict[str, tuple[int | None, ...]] = dict(expected_shapes(kept, ours))
    missing = [f"{name} {wanted[name]}" for name in kept if name not in shapes]
    wanted |= {name: shape for name, (shape, _) in droppable.items()}
    faults = {"missing": missing, **_strangers(shapes, wanted)}
    lists = [f"{kind} ({len(found)}):\n  " + "\n  ".join(found) for kind, found in faults.items() if found]
    if lists:
        raise ValueError(
            f"{checkpoint} is no released RadIR checkpoint as far as its keys go; nothing was written. If it "
            "is one of other settings, give them as overrides.\n" + "\n".join(lists)
        )
    return kept, [(name, reason) for name, (_, reason) in droppable.items() if name in shapes]


def _strangers(
    shapes: Mapping[str, Shape], wanted: Mapping[str, tuple[int | None, ...]]
) -> dict[str, list[str]]:
    """Keys that no released model has, and those of another shape, in words."""
    return {
        "extra": [f"{name} {shape}" for name, shape in shapes.items() if name not in wanted],
        "of another shape": [
            f"{name} {shape} instead of {wanted[name]}"
            for name, shape in shapes.items()
            if name in wanted and not _fits(shape, wanted[name])
        ],
    }


def _fits(shape: Shape, wanted: tuple[int | None, ...]) -> bool:
    """Whether a shape is the wanted one, where None stands for any size."""
    return len(shape) == len(wanted) and all(w is None or s == w for s, w in zip(shape, wanted, strict=True))


def _check_zero(state: Mapping[str, Tensor], dropped: Sequence[tuple[str, str]]) -> None:
    """Raise ValueError unless the shifts that our norms lack are zero."""
    shifts = [name for name, _ in dropped if name.endswith((".norm.beta", ".norm_out.beta"))]
    learnt = [name for name in shifts if state[name].any()]
    if learnt:
        raise ValueError(
            "these shifts of layer norms are zero in every released model, and here they are not: "
            + ", ".join(learnt)
        )


def our_state(state: Mapping[str, Tensor], kept: Mapping[str, tuple[str, ...]]) -> dict[str, Tensor]:
    """Our state dict, in float32, from a released one."""
    ours: dict[str, Tensor] = {}
    for theirs, names in kept.items():
        whole = state[theirs].float()
        if len(names) == 1:
            ours[names[0]] = whole
            continue
        # A part of a tensor shares its storage with the others, which safetensors does not write.
        parts = [part.clone() for part in whole.chunk(len(names))]
        ours |= dict(zip(names, parts, strict=True))
    ours["logit_scale"] = ours["logit_scale"] + LOG_INVERSE_TEMPERATURE
    return ours


def _processor(
    config: RadIRConfig, tokenizer: str | os.PathLike[str] | None, images: str
) -> tuple[RadIRProcessor | None, list[str]]:
    """The released preprocessing with a tokenizer; or None and the reason, where none was asked for."""
    try:
        words = _tokenizer(TEXT_TOWER if tokenizer is None else tokenizer, config)
    except ValueError as error:
        if tokenizer is not None:
            raise
        return None, [f"no processor was written: {error}"]
    return RadIRProcessor(image_processor=_image_processor(images, config), tokenizer=words), []


def _tokenizer(source: str | os.PathLike[str], config: RadIRConfig) -> BertTokenizer:
    """The text tower's tokenizer, from a Hub id or folder."""
    vocabulary = config.text_config.vocab_size
    if source == TEXT_TOWER and vocabulary != TEXT_TOWER_VOCABULARY:  # without asking the Hub
        raise ValueError(
            f"{TEXT_TOWER} knows {TEXT_TOWER_VOCABULARY} pieces and this text tower {vocabulary}: name the "
            "tokenizer that it was trained with"
        )
    try:
        words = BertTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ValueError(f"the tokenizer {source} cannot be loaded: {str(error).splitlines()[0]}") from error
    # Where it finds no vocabulary, as without a network, transformers 5 gives a tokenizer of five pieces.
    if len(words) <= len(words.all_special_tokens):
        raise ValueError(
            f"the tokenizer {source} has no vocabulary here: give a folder that holds its files, or a Hub id "
            "that can be reached"
        )
    if len(words) != vocabulary:
        raise ValueError(
            f"the tokenizer {source} knows {len(words)} pieces and the text tower {vocabulary}: give the one "
            "that it was trained with"
        )
    words.model_max_length = min(words.model_max_length, config.text_config.max_position_embeddings)
    return words


def _image_processor(images: str, config: RadIRConfig) -> Any:
    """The released preprocessing to the size that the tower is meant for."""
    side = config.vision_config.image_size
    height, width = (side, side) if isinstance(side, int) else side
    size = {"height": height, "width": width}
    if images == "cxr":
        return RadIRCXRImageProcessor.preset("released-cxr", size=size)
    depth = RadIRCTImageProcessor.preset("released-ct").size["depth"]
    return RadIRCTImageProcessor.preset("released-ct", size={"depth": depth, **size})


def _facts(config: RadIRConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sizes that were read, and what was assumed, by "part.name"."""
    assumed = assumed_settings(config)
    sizes = {"projection_dim": config.projection_dim}
    for part in ("vision_config", "text_config", "fusion_config"):
        values = {} if getattr(config, part) is None else getattr(config, part).to_dict()
        sizes |= {
            f"{part}.{name}": value
            for name, value in values.items()
            if isinstance(value, int)
            and not isinstance(value, bool)
            and name.endswith(("_size", "_layers", "_heads", "_dim", "_kv", "_modalities", "_embeddings"))
        }
    return {name: value for name, value in sizes.items() if name not in assumed}, assumed


def _write(
    out: Path, model: RadIRModel, processor: RadIRProcessor | None, finish: Callable[[Path], None]
) -> None:
    """Write the folder beside its place, then rename it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f".{out.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        model.save_pretrained(fresh)
        if processor is not None:
            processor.save_pretrained(fresh)
        finish(fresh)
        os.replace(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
