"""Exact search over the features of many images, whole or conditioned on an anatomy."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset_scripts.plumbing.outputs import claim
from modeling_radir.checks import unknown_name
from radir_search import index_folder
from radir_search.index_folder import Contents, Origin
from radir_search.index_json import check_item

logger = logging.getLogger(__name__)

WHOLE_IMAGE = ""
CHUNK_ROWS = 65536  # rows scored at once, so that scores of a large index do not fill the memory


class RetrievalIndex:
    """Features of images by anatomy, and what is known about each image.

    Make one with `create` or `load`.

    Attributes:
        items: one dict for each image, with "image_id" and whatever else is known: study_id, subject_id,
            path, findings (a dict of anatomy to text).
        origin: the model and the data that it was made from.
        dimension: d.

    Example:
        >>> features = {"": torch.eye(3), "heart": torch.eye(3).flip(0)}
        >>> index = RetrievalIndex.create(features, [{"image_id": name} for name in "abc"], "radir-cxr")
        >>> scores, positions = index.search(torch.tensor([[1.0, 0.5, 0.0]]), anatomy="heart", k=2)
        >>> [index.items[i]["image_id"] for i in positions[0]]
        ['c', 'b']
    """

    def __init__(
        self,
        embeddings: Mapping[str, Tensor],
        items: Sequence[Mapping[str, Any]],
        origin: Origin,
        place: str = "",
    ):
        self._embeddings = dict(embeddings)
        self.items = [dict(item) for item in items]
        self.origin = origin
        self._place = place  # of a loaded index, for its sentences
        self._finite: set[str] = set()  # anatomies whose features were looked at
        _check_contents(self._embeddings, self.items)
        self.dimension = next(iter(self._embeddings.values())).shape[1]

    @classmethod
    def create(
        cls,
        embeddings: Mapping[str, Tensor | np.ndarray],
        items: Sequence[Mapping[str, Any]],
        origin: Origin | str = "",
    ) -> "RetrievalIndex":
        """An index in memory.

        Args:
            embeddings: anatomy to (n, d) float, L2-normalised if scores shall be cosines; "" for the whole.
            items: n dicts with "image_id", in the order of the rows; all values must fit in JSON.
            origin: what it was made from, or the name or folder of the model alone: its data are not known
                then, and count as restricted.

        Raises:
            ValueError: if numbers of rows, widths or items do not fit, or a feature is NaN or infinite.
        """
        # Copied, as a later change of the caller's array must not change the index.
        tensors = {
            name: torch.as_tensor(rows).detach().to("cpu", torch.float32, copy=True)
            for name, rows in embeddings.items()
        }
        origin = Origin(origin) if isinstance(origin, str) else origin
        index = cls({name: rows.contiguous() for name, rows in tensors.items()}, items, origin)
        for anatomy in index.anatomies:
            index.embeddings(anatomy)
        return index

    @property
    def model(self) -> str:
        """The model that made the features; "" where that is not known."""
        return self.origin.model

    def __len__(self) -> int:
        return len(self.items)

    @property
    def anatomies(self) -> tuple[str, ...]:
        """The anatomies that can be searched; "" is the whole image."""
        return tuple(self._embeddings)

    def embeddings(self, anatomy: str = WHOLE_IMAGE) -> Tensor:
        """The features (n, d) float32 of an anatomy; of a loaded index they lie in the file until read.

        Raises:
            ValueError: if the anatomy is not in the index (the nearest names are given), or a feature is NaN
                or infinite.
        """
        if anatomy not in self._embeddings:
            raise unknown_name("anatomy", anatomy, [name for name in self._embeddings if name])
        rows = self._embeddings[anatomy]
        if anatomy not in self._finite:
            for start in range(0, len(rows), CHUNK_ROWS):
                self._check_finite(anatomy, rows[start : start + CHUNK_ROWS], start)
            self._finite.add(anatomy)
        return rows

    def _check_finite(self, anatomy: str, rows: Tensor, start: int) -> None:
        bad = (~torch.isfinite(rows).all(dim=1)).nonzero()
        if len(bad):
            image = self.items[start + int(bad[0])]["image_id"]
            where = (
                f"the index in {self._place} is damaged" if self._place else "these features make no index"
            )
            raise ValueError(
                f"{where}: that of {image}, {anatomy or 'as a whole'}, holds NaN or infinite numbers; build "
                "it again, with a model whose weights are finite"
            )

    def search(
        self, query: Tensor | np.ndarray, anatomy: str = WHOLE_IMAGE, k: int = 10
    ) -> tuple[Tensor, Tensor]:
        """The k items with the largest inner product, exactly.

        Args:
            query: (M, d) or (d,) float features made by the same model, for the same anatomy.
            anatomy: which features to compare; "" for whole images.
            k: how many; fewer come back from a smaller index.

        Returns:
            scores (M, k) float32, descending, and positions (M, k) int64 in items; of equal scores the
            smaller position comes first.

        Raises:
            ValueError: if the anatomy is not in the index, or the shape or k is wrong.
        """
        rows = self.embeddings(anatomy)
        queries = torch.as_tensor(query).detach().to("cpu", torch.float32)
        queries = queries[None] if queries.ndim == 1 else queries
        if not torch.isfinite(queries).all():
            raise ValueError("the query holds NaN or infinite numbers: look at the model that made it")
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ValueError(
                f"the query has the shape {tuple(queries.shape)} and the index holds features of width "
                f"{self.dimension}: was the query made by {self.model or 'the same model'}?"
            )
        check_k(k)
        best = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
        for start in range(0, len(rows), CHUNK_ROWS):
            scores = queries @ rows[start : start + CHUNK_ROWS].T  # (M, rows of the chunk)
            positions = torch.arange(start, start + scores.shape[1]).expand(len(queries), -1)
            scores, positions = _largest(scores, positions, k)
            best = _largest(torch.cat((best[0], scores), dim=1), torch.cat((best[1], positions), dim=1), k)
        return best

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the index, whole or not at all; one that is there already is replaced, see `index_folder`.

        Raises:
            ValueError: the folder holds something else, another process writes it, or the disk refuses.
        """
        with claim(Path(folder)) as place:
            self.write(place)

    def write(self, folder: Path) -> None:
        """As `save`, for who holds the claim on the folder."""
        index_folder.write(folder, Contents(self._embeddings, self.items, self.origin))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "RetrievalIndex":
        """Open a saved index; items are read at once, features are mapped and read when searched.

        It stays what it is when the folder is replaced or removed meanwhile.

        Raises:
            ValueError: if the folder is no index, is damaged, or was written by a newer version.
        """
        found = index_folder.read(Path(folder))
        if not found.origin.model_digests:
            logger.warning(
                "nothing says which weights made the index in %s, so that any model of its width may answer "
                "it: build it again with `radir index`",
                folder,
            )
        return cls(found.embeddings, found.items, found.origin, str(folder))


def check_k(k: int) -> None:
    """Raise ValueError unless a number of hits is 1 or more."""
    if k < 1:
        raise ValueError(f"k is {k}; at least 1 is needed")


def _largest(scores: Tensor, positions: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, descending, of equals the first; equal scores come in order of position."""
    k = min(k, scores.shape[1])
    top, columns = scores.topk(k, dim=1)
    crowded = (scores >= top[:, -1:]).sum(
        dim=1
    ) > k  # more equal scores at the border than places: topk takes any
    if crowded.any():
        top[crowded], columns[crowded] = (
            part[:, :k] for part in scores[crowded].sort(dim=1, descending=True, stable=True)
        )
    columns, order = columns.sort(dim=1)
    top, order = top.gather(1, order).sort(dim=1, descending=True, stable=True)
    return top, positions.gather(1, columns.gather(1, order))


def _check_contents(embeddings: Mapping[str, Tensor], items: Sequence[Mapping[str, Any]]) -> None:
    if not embeddings:
        raise ValueError('an index needs the features of at least one anatomy ("" for whole images)')
    shapes = {name: tuple(rows.shape) for name, rows in embeddings.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise ValueError(
            f"the features of all anatomies must have one shape (images, width); they have {shapes}"
        )
    count, width = next(iter(shapes.values()))
    if not count or not width:
        raise ValueError(f"an index needs at least one image and one feature; the features have {shapes}")
    if count != len(items):
        raise ValueError(
            f"there are {count} rows of features and {len(items)} items; each row needs its item"
        )
    for number, item in enumerate(items):
        check_item(item, f"item {number}")
