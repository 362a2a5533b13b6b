"""Exact search over the features of many images, whole or as far as an anatomy goes, kept in a folder.

The folder holds index.json (what it is), items.jsonl (one item a line, in the order of the rows), and
embeddings/<name>.safetensors, one for each anatomy; "" stands for whole images.
"""

import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from modeling_radir.naming import unknown_name

FORMAT = "radir-retrieval-index"
VERSION = 1
WHOLE_IMAGE = ""
CHUNK_ROWS = 65536  # rows scored at once, so that scores of a large index do not fill the memory


class RetrievalIndex:
    """Features of images by anatomy, and what is known about each image.

    Make one with `create` or `load`.

    Attributes:
        items: one dict for each image, with "image_id" and whatever else is known: study_id, subject_id,
            path, findings (a dict of anatomy to text).
        model: the model that made the features.
        dimension: d.

    Example:
        >>> features = {"": torch.eye(3), "heart": torch.eye(3).flip(0)}
        >>> index = RetrievalIndex.create(features, [{"image_id": name} for name in "abc"], model="radir-cxr")
        >>> scores, positions = index.search(torch.tensor([[1.0, 0.5, 0.0]]), anatomy="heart", k=2)
        >>> [index.items[i]["image_id"] for i in positions[0]]
        ['c', 'b']
    """

    def __init__(self, embeddings: Mapping[str, Tensor], items: Sequence[Mapping[str, Any]], model: str):
        self._embeddings = dict(embeddings)
        self.items = [dict(item) for item in items]
        self.model = model
        _check_contents(self._embeddings, self.items)
        self.dimension = next(iter(self._embeddings.values())).shape[1]

    @classmethod
    def create(
        cls,
        embeddings: Mapping[str, Tensor | np.ndarray],
        items: Sequence[Mapping[str, Any]],
        model: str = "",
    ) -> "RetrievalIndex":
        """An index in memory.

        Args:
            embeddings: anatomy to (n, d) float, L2-normalised if scores shall be cosines; "" for the whole.
            items: n dicts with "image_id", in the order of the rows; all values must fit in JSON.
            model: name or folder of the model that made them.

        Raises:
            ValueError: if numbers of rows, widths or items do not fit.
        """
        # Copied, as a later change of the caller's array must not change the index.
        tensors = {
            name: torch.as_tensor(rows).detach().to("cpu", torch.float32, copy=True)
            for name, rows in embeddings.items()
        }
        return cls({name: rows.contiguous() for name, rows in tensors.items()}, items, model)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def anatomies(self) -> tuple[str, ...]:
        """The anatomies that can be searched; "" is the whole image."""
        return tuple(self._embeddings)

    def embeddings(self, anatomy: str = WHOLE_IMAGE) -> Tensor:
        """The features (n, d) float32 of an anatomy; of a loaded index they lie in the file until read.

        Raises:
            ValueError: if the anatomy is not in the index; the nearest names are given.
        """
        if anatomy not in self._embeddings:
            raise unknown_name("anatomy", anatomy, self._embeddings)
        return self._embeddings[anatomy]

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
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise ValueError(
                f"the query has the shape {tuple(queries.shape)} and the index holds features of width "
                f"{self.dimension}: was the query made by {self.model or 'the same model'}?"
            )
        if k < 1:
            raise ValueError(f"k is {k}; at least 1 is needed")
        best = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
        for start in range(0, len(rows), CHUNK_ROWS):
            scores = queries @ rows[start : start + CHUNK_ROWS].T  # (M, rows of the chunk)
            positions = torch.arange(start, start + scores.shape[1]).expand(len(queries), -1)
            scores, positions = _largest(scores, positions, k)
            best = _largest(torch.cat((best[0], scores), dim=1), torch.cat((best[1], positions), dim=1), k)
        return best

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the index, whole or not at all; an index that is there already is replaced.

        Raises:
            ValueError: if the folder holds something else.
        """
        folder = Path(folder)
        if (
            folder.exists()
            and not (folder / "index.json").is_file()
            and (folder.is_file() or any(folder.iterdir()))
        ):
            raise ValueError(f"{folder} holds something that is no index: give a new or empty folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        unique = uuid.uuid4().hex[:8]
        fresh = folder.with_name(f".{folder.name}.{unique}.new")
        try:
            self._write(fresh)
            if folder.exists():
                old = folder.with_name(f".{folder.name}.{unique}.old")
                folder.rename(old)
                fresh.rename(folder)
                shutil.rmtree(old)
            else:
                fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _write(self, folder: Path) -> None:
        (folder / "embeddings").mkdir(parents=True)
        files = _file_names(self.anatomies)
        for anatomy, rows in self._embeddings.items():
            save_file({"embeddings": rows}, folder / "embeddings" / files[anatomy])
        lines = (json.dumps(item, ensure_ascii=False, allow_nan=False) + "\n" for item in self.items)
        with open(folder / "items.jsonl", "w", encoding="utf-8") as file:
            file.writelines(lines)
        about = {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "dimension": self.dimension,
            "count": len(self),
            "anatomies": [{"name": anatomy, "file": files[anatomy]} for anatomy in self.anatomies],
        }
        (folder / "index.json").write_text(
            json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "RetrievalIndex":
        """Open a saved index; items are read at once, features are mapped and read when searched.

        Raises:
            ValueError: if the folder is no index, is damaged, or was written by a newer version.
        """
        folder = Path(folder)
        about = _read_about(folder)
        try:
            embeddings = {
                entry["name"]: _map_rows(folder / "embeddings" / entry["file"])
                for entry in about["anatomies"]
            }
            with open(folder / "items.jsonl", encoding="utf-8") as file:
                items = [json.loads(line) for line in file]
            index = cls(embeddings, items, about["model"])
            stated = (about["count"], about["dimension"])
        except (OSError, KeyError, TypeError, json.JSONDecodeError, SafetensorError) as error:
            raise ValueError(f"the index in {folder} is damaged ({error}): build it again") from error
        if stated != (len(index), index.dimension):
            raise ValueError(
                f"the index in {folder} is damaged: index.json tells {stated} items and dimensions, the "
                f"files hold {(len(index), index.dimension)}; build it again"
            )
        return index


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


def _file_names(anatomies: Sequence[str]) -> dict[str, str]:
    """A file name for each anatomy, readable and different from all others."""
    files: dict[str, str] = {}
    for anatomy in anatomies:
        slug = re.sub(r"[^a-z0-9]+", "-", anatomy.lower()).strip("-") or "whole-image"
        count = 2
        name = f"{slug}.safetensors"
        while name in files.values():
            name = f"{slug}-{count}.safetensors"
            count += 1
        files[anatomy] = name
    return files


def _read_about(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"{folder} is no index: it has no readable index.json; build one with `radir index`"
        ) from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder}/index.json is damaged ({error}): build the index again") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"{folder}/index.json does not describe a RadIR index: is this the right folder?")
    if about.get("version") != VERSION:
        raise ValueError(
            f"the index in {folder} has the format version {about.get('version')} and this program reads "
            f"{VERSION}: build it again, or use the version that wrote it"
        )
    return about


def _map_rows(path: Path) -> Tensor:
    with safe_open(path, framework="pt") as file:
        return file.get_tensor("embeddings")


def _check_contents(embeddings: Mapping[str, Tensor], items: Sequence[Mapping[str, Any]]) -> None:
    if not embeddings:
        raise ValueError('an index needs the features of at least one anatomy ("" for whole images)')
    shapes = {name: tuple(rows.shape) for name, rows in embeddings.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise ValueError(
            f"the features of all anatomies must have one shape (images, width); they have {shapes}"
        )
    count = next(iter(shapes.values()))[0]
    if count != len(items):
        raise ValueError(
            f"there are {count} rows of features and {len(items)} items; each row needs its item"
        )
    missing = [number for number, item in enumerate(items) if "image_id" not in item]
    if missing:
        raise ValueError(f"item {missing[0]} has no image_id; each item needs one")
