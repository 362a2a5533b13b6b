"""Models of transformers by id or folder: two towers (CLIP, SigLIP), or images alone (ViT, DINOv2)."""

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

from radir_eval.baselines.base import Baseline, best_device, unit
from radir_eval.baselines.images import as_pil
from radir_eval.baselines.weights import Published, check_location, folder_digest

# Trained on texts that are all padded to one length, and without an attention mask.
PADDED_TO_THE_END = ("siglip", "siglip2")


class TransformersBaseline(Baseline):
    """Any model of transformers with get_image_features, or with tokens or pooled features of images.

    Traps: SigLIP's texts are padded to the model's length and its padding is attended, CLIP's are not; of a
    ViT the class token after the last norm is taken, since checkpoints often lack the pooler's weights, which
    would then be random; pictures are resized by PIL, as they were when these models were trained, not by
    transformers' newer default; grey images become RGB.
    """

    name: ClassVar[str] = "transformers"
    hub_id: ClassVar[str | None] = None
    choices = MappingProxyType(
        {"images": "two towers: image features; else class token, else pooled features"}
    )

    def __init__(
        self,
        model: Any,
        image_processor: Any,
        tokenizer: Any = None,
        device: str | torch.device | None = None,
    ) -> None:
        self.device = best_device(device)
        self.model = model.eval().to(self.device)
        self.image_processor, self.tokenizer = image_processor, tokenizer

    @classmethod
    def _published(cls) -> Published:
        what = cls.hub_id or "the model"
        return Published(
            ("config.json",), cls.hub_id or "", f"download {what} from the Hub, and give its folder"
        )

    @classmethod
    def check(cls, location: str | Path | None) -> None:
        if location is None and cls.hub_id is None:
            raise ValueError(f"{cls.name} needs a Hub id or a folder: {cls.name}=ID_OR_FOLDER")
        if location is None:
            return
        check_location(location, cls._published())
        path = Path(location)
        if path.is_file() or (path.is_dir() and not (path / "config.json").is_file()):
            raise ValueError(f"{path} is no folder of a model of transformers: it holds no config.json")

    @classmethod
    def digest(cls, location: str | Path | None) -> str:
        return folder_digest(location, cls._published())

    @classmethod
    def load(
        cls, location: str | Path | None = None, device: str | torch.device | None = None
    ) -> "TransformersBaseline":
        cls.check(location)
        where = str(location or cls.hub_id)
        try:
            config = AutoConfig.from_pretrained(where)
            kind = config.model_type
            if kind.startswith("radir"):
                raise ValueError(f"it is a RadIR model: `radir evaluate --model {where}`")
            model, loaded = AutoModel.from_pretrained(where, dtype=torch.float32, output_loading_info=True)
            images = AutoImageProcessor.from_pretrained(where, backend="pil")
            tokenizer = AutoTokenizer.from_pretrained(where) if _has_two_towers(model) else None
        except (OSError, ValueError, KeyError, ImportError) as error:
            advice = cls._published().advice
            raise ValueError(f"{where} cannot be loaded by transformers: {error}; or {advice}") from error
        _check_loaded(model, loaded, where)
        return cls(model, images, tokenizer, device)

    def preprocess(self, image: Any) -> Tensor:
        """(3, H, W): RGB, then what the model's own image processor does."""
        picture = as_pil(image).convert("RGB")
        return self.image_processor(images=picture, return_tensors="pt")["pixel_values"][0]

    @torch.inference_mode()
    def encode_images(self, batch: Tensor) -> Tensor:
        batch = batch.to(self.device)
        if _has_two_towers(self.model):
            return unit(_pooled(self.model.get_image_features(pixel_values=batch)))
        states = self.model(pixel_values=batch)
        if _has_class_token(self.model):
            return unit(states.last_hidden_state[:, 0])
        return unit(_pooled(states).flatten(1))

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor | None:
        if self.tokenizer is None:
            return None
        config = self.model.config
        longest = config.text_config.max_position_embeddings
        whole = config.model_type in PADDED_TO_THE_END
        tokens = self.tokenizer(
            list(texts),
            padding="max_length" if whole else True,
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        )
        names = ("input_ids",) if whole else ("input_ids", "attention_mask")
        inputs = {name: tokens[name].to(self.device) for name in names}
        return unit(_pooled(self.model.get_text_features(**inputs)))


class MedSigLIP(TransformersBaseline):
    """MedSigLIP (gated: its terms must be accepted on the Hub).

    Trap: its published results rest on another resizing than its image processor's, bilinear without
    antialiasing, cut off to whole numbers (its model card); that one is used.
    """

    name = "medsiglip"
    hub_id = "google/medsiglip-448"
    choices = MappingProxyType(
        {"images": "resized bilinear without antialiasing, as for its published results"}
    )

    def preprocess(self, image: Any) -> Tensor:
        """(3, 448, 448)."""
        colours = v2.functional.pil_to_tensor(as_pil(image).convert("RGB")).float()  # (3, H, W)
        size = (self.image_processor.size["height"], self.image_processor.size["width"])
        resized = F.interpolate(colours[None], size, mode="bilinear", align_corners=False)[0]
        picture = Image.fromarray(resized.byte().permute(1, 2, 0).numpy())
        return super().preprocess(picture)


class RadDINO(TransformersBaseline):
    """RAD-DINO, of images alone: its class token."""

    name = "rad-dino"
    hub_id = "microsoft/rad-dino"


def _has_two_towers(model: Any) -> bool:
    return hasattr(model, "get_image_features") and hasattr(model, "get_text_features")


def _has_class_token(model: Any) -> bool:
    return getattr(getattr(model, "embeddings", None), "cls_token", None) is not None


def _pooled(output: Any) -> Tensor:
    """The features in what a model returns, which older versions of transformers returned bare."""
    features = output if isinstance(output, Tensor) else getattr(output, "pooler_output", None)
    if features is None:
        raise ValueError("this model gives neither a class token nor pooled features: choose another")
    return features


def _check_loaded(model: Any, loaded: dict[str, Any], where: str) -> None:
    """Raise ValueError unless the checkpoint filled all that the features pass."""
    unused = ("pooler.",) if _has_class_token(model) else ()
    missing = sorted(key for key in loaded["missing_keys"] if not key.startswith(unused or ("\0",)))
    wrong = sorted(str(key) for key in loaded["mismatched_keys"])
    if missing or wrong:
        raise ValueError(
            f"{where} does not fill a {type(model).__name__}: {len(missing)} keys are missing "
            f"({', '.join(missing)}) and {len(wrong)} have another shape ({', '.join(wrong)})"
        )
