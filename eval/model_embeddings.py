"""Embeddings of a RadIR model: each image is encoded once, for the holistic features and all anatomies."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from eval.embeddings import ArrayRanking, Source
from eval.items import WHOLE, Items
from modeling_radir.indexing import check_model, embed, load

logger = logging.getLogger(__name__)


class ModelEmbeddings(Source):
    """A RadIR model; one without fusion (a plain CLIP) ranks by its holistic features under every anatomy.

    The conditional vectors of all N images under all Q anatomies that the split has are kept in memory:
    N x Q x d x 4 bytes.

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
        check_model(self.location)

    @torch.inference_mode()
    def open(self, items: Items) -> ArrayRanking:
        model, processor = load(self.location, self.device)
        anatomies = [a["name"] for a in items.anatomies if len(items.members(a["name"])) > 1]
        queries = None
        if model.config.fusion_config is not None and anatomies:
            queries = model.encode_anatomies(**self._tokens(model, processor, anatomies))  # (Q, d)
        holistic, conditional = self._images(model, processor, items, queries)
        reports = self._reports(model, processor, items)
        by_anatomy = {} if conditional is None else dict(zip(anatomies, conditional, strict=True))
        return ArrayRanking(holistic, by_anatomy, reports)

    @staticmethod
    def _tokens(model: Any, processor: Any, texts: list[str]) -> dict[str, torch.Tensor]:
        tokens = processor(text=texts, return_tensors="pt")
        return {key: tokens[key].to(model.device) for key in ("input_ids", "attention_mask")}

    def _images(
        self, model: Any, processor: Any, items: Items, queries: torch.Tensor | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Holistic vectors (N, d) and conditional ones (Q, N, d), float32."""
        holistic: np.ndarray | None = None
        conditional: np.ndarray | None = None
        for start in self._batches(len(items), "images"):
            stop = min(start + self.batch_size, len(items))
            images = items.studies[start:stop]["image"]
            pixels = processor(images=images, return_tensors="pt")["pixel_values"]
            whole, fused = embed(model, pixels, queries)  # (B, d), (B, Q, d)
            holistic = self._stored(holistic, (len(items), whole.shape[-1]), np.s_[start:stop], whole)
            if fused is not None:
                shape = (fused.shape[1], len(items), fused.shape[-1])
                conditional = self._stored(conditional, shape, np.s_[:, start:stop], fused.transpose(0, 1))
        assert holistic is not None  # Items hold two images or more
        return holistic, conditional

    def _reports(self, model: Any, processor: Any, items: Items) -> np.ndarray:
        """Text vectors of the images' reports (N, d) float32, NaN without one; each text is encoded once."""
        members = items.members(WHOLE)
        texts = [items.text(int(position), WHOLE) for position in members]
        unique = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        names = list(unique)
        vectors: np.ndarray | None = None
        for start in self._batches(len(names), "reports"):
            stop = min(start + self.batch_size, len(names))
            encoded = model.get_text_features(**self._tokens(model, processor, names[start:stop]))
            vectors = self._stored(vectors, (len(names), encoded.shape[-1]), np.s_[start:stop], encoded)
        if vectors is None:
            raise ValueError(
                f"{items.dataset.name}/{items.split} has no report text: there is nothing to retrieve by"
            )
        reports = np.full((len(items), vectors.shape[1]), np.nan, dtype=np.float32)
        reports[members] = vectors[[unique[text] for text in texts]]
        return reports

    def _batches(self, count: int, what: str) -> Any:
        title = f"{self.name}: {what}"
        return tqdm(range(0, count, self.batch_size), desc=title, unit="batch", disable=not self.progress)

    def _stored(
        self, target: np.ndarray | None, shape: tuple[int, ...], where: Any, values: torch.Tensor
    ) -> np.ndarray:
        """The target (made at the first batch, when d is known) with the batch's values in their place."""
        found = values.float().cpu().numpy()
        if not np.isfinite(found).all():
            raise ValueError(
                f"{self.name} gives vectors that are not finite: the checkpoint is damaged or diverged"
            )
        if target is None:
            target = np.empty(shape, dtype=np.float32)
        target[where] = found
        return target
