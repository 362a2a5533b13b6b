"""Embeddings of a RadIR model: each image is encoded once, for the holistic features and all anatomies."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from dataset_scripts.building.provenance import known_data
from modeling_radir.inference import check_model, embed_all, load
from radir_eval.fingerprint import code_digest, model_digest
from radir_eval.rankers.encoder import Encoder, Encoding
from radir_eval.rankers.radir_heat_maps import ModelHeatMaps
from radir_eval.retrieval_split import RetrievalSplit


class ModelEmbeddings(Encoder):
    """A RadIR model; one without fusion (a plain CLIP) ranks by its holistic features under every anatomy.

    The conditional vectors of all N images under all Q anatomies that the split has take N x Q x d x 4 bytes:
    in memory here, on disk behind `radir_eval.rankers.vector_cache.CachedEmbeddings`.

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

    def encoding(self, items: RetrievalSplit) -> Encoding:
        return _ModelEncoding(self, items)

    def heat_map(
        self, items: RetrievalSplit, position: int, anatomy: str, hit: int | None = None
    ) -> Image.Image | None:
        if self._heat_maps is None or self._heat_maps.items is not items:
            self._heat_maps = ModelHeatMaps(self.location, items, self.device)
        return self._heat_maps.draw(position, anatomy, hit)


class _ModelEncoding(Encoding):
    """A loaded model and its processor, encoding the items of one split."""

    def __init__(self, source: ModelEmbeddings, items: RetrievalSplit) -> None:
        self._source, self._items = source, items
        self._model, self._processor = load(source.location, source.device)
        if self._model.config.fusion_config is not None:
            names = (anatomy["name"] for anatomy in items.anatomies)
            self.conditions = tuple(name for name in names if len(items.members(name)) > 1)

    @torch.inference_mode()
    def images(self, start: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        positions = self._bar(range(start, len(self._items)), "images", "image")
        pixels = (
            self._processor(images=self._items.image(position), return_tensors="pt")["pixel_values"]
            for position in positions
        )
        queries = None
        if self.conditions:
            queries = self._model.encode_anatomies(**self._tokens(self.conditions))  # (Q, d)
        for whole, fused in embed_all(self._model, pixels, queries, self._source.batch_size):
            # (B, d), (B, Q, d)
            yield self._checked(whole), None if fused is None else self._checked(fused.transpose(0, 1))

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        size = self._source.batch_size
        for start in self._bar(range(0, len(texts), size), "reports", "batch"):
            yield self._checked(self._model.get_text_features(**self._tokens(texts[start : start + size])))

    def _tokens(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        tokens = self._processor(text=list(texts), return_tensors="pt")
        return {key: tokens[key].to(self._model.device) for key in ("input_ids", "attention_mask")}

    def _bar(self, over: range, what: str, unit: str) -> Any:
        title = f"{self._source.name}: {what}"
        return tqdm(over, desc=title, unit=unit, disable=not self._source.progress)

    def _checked(self, values: torch.Tensor) -> np.ndarray:
        """The values as float32 in memory.

        Raises:
            ValueError: one of them is not finite.
        """
        found = values.float().cpu().numpy()
        if not np.isfinite(found).all():
            raise ValueError(
                f"{self._source.name} has vectors that are not finite: the checkpoint is damaged or diverged"
            )
        return found
