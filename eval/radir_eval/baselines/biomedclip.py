"""BiomedCLIP, through open_clip."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from radir_eval.baselines.base import Baseline, best_device, unit
from radir_eval.baselines.images import as_pil
from radir_eval.baselines.weights import Published, check_location, folder_digest

HUB_ID = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
CONFIG = "open_clip_config.json"
PUBLISHED = Published((CONFIG,), HUB_ID, f"download {HUB_ID} from the Hub, and give its folder")
MISSING = "biomedclip needs open_clip: pip install open_clip_torch (the extra `baselines`)"


class BiomedCLIP(Baseline):
    """BiomedCLIP, and any other model that open_clip loads from a Hub id or a folder.

    Traps: open_clip reads the text tower's configuration from the Hub by the name in open_clip_config.json
    (its weights are in the checkpoint); a folder must hold the tokenizer's files too; texts have up to 256
    tokens; features come without normalisation by default.
    """

    name: ClassVar[str] = "biomedclip"
    choices = MappingProxyType({"text": "the model's own context, 256 tokens"})

    def __init__(self, model: Any, transform: Any, tokenizer: Any, device: torch.device) -> None:
        self.model, self.device = model.eval(), device
        self._transform, self._tokenizer = transform, tokenizer

    @classmethod
    def check(cls, location: str | Path | None) -> None:
        if importlib.util.find_spec("open_clip") is None:
            raise ValueError(MISSING)
        if location is None:
            return
        check_location(location, PUBLISHED)
        path = Path(location)
        if path.is_file() or (path.is_dir() and not (path / CONFIG).is_file()):
            raise ValueError(f"{path} is no folder with {CONFIG}: {PUBLISHED.advice}")

    @classmethod
    def digest(cls, location: str | Path | None) -> str:
        return folder_digest(location, PUBLISHED)

    @classmethod
    def load(
        cls, location: str | Path | None = None, device: str | torch.device | None = None
    ) -> "BiomedCLIP":
        cls.check(location)
        import open_clip

        where = str(location or HUB_ID)
        schema = f"local-dir:{where}" if Path(where).is_dir() else f"hf-hub:{where}"
        place = best_device(device)
        try:
            model, transform = open_clip.create_model_from_pretrained(schema, device=place)
            tokenizer = open_clip.get_tokenizer(schema)
        except (RuntimeError, OSError, ValueError, KeyError, ImportError) as error:
            # The loader is strict: its error lists all keys that are missing, unexpected or of another shape.
            raise ValueError(f"open_clip cannot load {schema}: {PUBLISHED.advice}\n{error}") from error
        return cls(model, transform, tokenizer, place)

    def preprocess(self, image: Any) -> Tensor:
        """(3, 224, 224): the model's own transform, the same pixels as CLIP's."""
        return self._transform(as_pil(image))

    @torch.inference_mode()
    def encode_images(self, batch: Tensor) -> Tensor:
        return unit(self.model.encode_image(batch.to(self.device)))

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return unit(self.model.encode_text(self._tokenizer(list(texts)).to(self.device)))
