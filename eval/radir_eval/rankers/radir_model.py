"""Embeddings of a RadIR model: each image is encoded once, for the holistic features and all anatomies."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dataset_scripts.building.provenance import known_data
from modeling_radir.inference import check_model, embed_all, load
from modeling_radir.modeling_radir import RadIRModel
from modeling_radir.processing_radir import RadIRProcessor
from radir_eval.fingerprint import code_digest, model_digest
from radir_eval.rankers.encoder import Encoder
from radir_eval.rankers.radir_heat_maps import ModelHeatMaps
from radir_eval.retrieval_split import RetrievalSplit


class ModelEmbeddings(Encoder):
    """A RadIR model; one without fusion (a plain CLIP) ranks by its holistic features for every anatomy.

    The conditional vectors of all N images for all Q anatomies that the split has take N x Q x d x 4 bytes,
    in memory, or on disk where `open` is given a cache.

    Args:
        folder_or_hub_id: what `save_pretrained` wrote, or a Hub id.
        name: in results; by default the folder's or repository's own name.
        batch_size: images, and report texts, at a time.
        device: by default a GPU if there is one.
        progress: show progress bars.

    Raises:
        ValueError: it cannot be loaded, or is not a RadIR model.
    """

    def __init__(
        self,
        folder_or_hub_id: str | Path,
        name: str | None = None,
        batch_size: int = 32,
        device: str | torch.device | None = None,
        progress: bool = True,
    ) -> None:
        self.location = str(folder_or_hub_id)
        self.name = name or Path(self.location).resolve().name
        self.batch_size, self.progress = batch_size, progress
        self.device = device
        self._heat_maps: ModelHeatMaps | None = None
        check_model(self.location)

    def fingerprint(self) -> str | None:
        model = model_digest(self.location)
        return None if model is None else f"RadIR model {model}, code {code_digest('modeling_radir')}"

    def data(self) -> dict[str, Any] | None:
        return known_data(self.location)

    def load_model(self) -> tuple[RadIRModel, RadIRProcessor]:
        return load(self.location, self.device)

    @torch.inference_mode()
    def encode_images(
        self, model: Any, items: RetrievalSplit, positions: Iterable[int], conditions: Sequence[str]
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        network, processor = model
        pixels = (
            processor(images=items.image(position), return_tensors="pt")["pixel_values"]
            for position in positions
        )
        queries = None
        if conditions and network.config.fusion_config is not None:
            queries = network.encode_anatomies(**_tokens(network, processor, conditions))  # (Q, d)
        for whole, fused in embed_all(network, pixels, queries, self.batch_size):
            # (B, d), (B, Q, d)
            yield _array(whole), None if fused is None else _array(fused.transpose(0, 1))

    @torch.inference_mode()
    def encode_texts(self, model: Any, texts: Sequence[str]) -> np.ndarray:
        network, processor = model
        return _array(network.get_text_features(**_tokens(network, processor, texts)))

    def heat_map(
        self, items: RetrievalSplit, position: int, anatomy: str, hit: int | None = None
    ) -> Image.Image | None:
        if self._heat_maps is None or self._heat_maps.items is not items:
            self._heat_maps = ModelHeatMaps(self.location, items, self.device)
        return self._heat_maps.draw(position, anatomy, hit)


def _tokens(network: RadIRModel, processor: RadIRProcessor, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    tokens = processor(text=list(texts), return_tensors="pt")
    return {key: tokens[key].to(network.device) for key in ("input_ids", "attention_mask")}


def _array(values: torch.Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
