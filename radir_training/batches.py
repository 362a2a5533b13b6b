"""A built dataset as training needs it: processed images, the order of batches, relevance targets.

The one module of this room that imports torch; nothing else here imports it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler, default_collate
from torchvision.transforms import v2

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.building.relevance_tables import WHOLE_REPORT
from dataset_scripts.relevance.engine.engine import RelevanceEngine


def augmentation(volumes: bool = False) -> v2.Transform:
    """Small rotations, shifts, zooms, and contrast and brightness changes; never a flip: sides matter.

    A volume moves within its slices, all of them alike, and keeps its Hounsfield units but for what scanners
    differ by: 2% and 10 HU at most.
    """
    strength = 0.02 if volumes else 0.2

    def exposure(pixels: Tensor) -> Tensor:
        contrast, brightness = 1 + strength * (2 * torch.rand(()) - 1), strength * (torch.rand(()) - 0.5)
        return pixels * contrast + brightness

    affine = v2.RandomAffine(
        degrees=5,
        translate=(0.04, 0.04),
        scale=(0.94, 1.06),
        fill=-1.0,
        interpolation=v2.InterpolationMode.BILINEAR,
    )
    return v2.Compose([affine, v2.Lambda(exposure)])


class TrainingImages(Dataset):
    """Processed images by (row, seed); the seed decides the augmentation, whoever reads the image."""

    def __init__(
        self,
        studies: datasets.Dataset,
        process: Callable[[dict[str, Any]], Tensor],
        augment: v2.Transform | None = None,
        cache: bool = False,
    ) -> None:
        """`process` turns one row of the studies into pixel values, (C, H, W) or (1, D, H, W) float32."""
        self._studies = studies
        self._process = process
        self._augment = augment
        self._cache: dict[int, Tensor] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self._studies)

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, Tensor] | ValueError:
        """The row and its pixel values, or why there are none: raised in a worker it would lose its words."""
        row, seed = key
        try:
            pixels = self._pixels(row)
        except ValueError as error:
            return error
        if self._augment is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                pixels = self._augment(pixels)
        return row, pixels

    def _pixels(self, row: int) -> Tensor:
        if self._cache is not None and row in self._cache:
            return self._cache[row]
        pixels = self._process(self._studies[row])
        if self._cache is not None:
            self._cache[row] = pixels
        return pixels


def collate(items: list[tuple[int, Tensor] | ValueError]) -> Any:
    """A batch, rows (b,) int64 and pixel values; or the first error among its images, to be raised."""
    for item in items:
        if isinstance(item, ValueError):
            return item
    return default_collate(items)


class BatchOrder(Sampler):
    """Which images make step s: shuffled anew each epoch, a function of (seed, stage, step) alone.

    So a resumed run continues exactly, and P processes together see the batch of one process.
    """

    def __init__(
        self, rows: int, batch: int, steps: range, seed: tuple[int, int], process: int = 0, processes: int = 1
    ) -> None:
        if rows < batch:
            raise ValueError(f"the training split has {rows} images, fewer than the batch size {batch}")
        if batch % processes:
            raise ValueError(f"batch size {batch} does not divide by {processes} processes")
        self._rows, self._batch, self._steps, self._seed = rows, batch, steps, seed
        share = batch // processes
        self._mine = slice(share * process, share * (process + 1))

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = self._rows // self._batch
        for step in self._steps:
            epoch, place = divmod(step, per_epoch)
            order = np.random.default_rng((*self._seed, epoch)).permutation(self._rows)
            rows = order[place * self._batch : (place + 1) * self._batch]
            seeds = np.random.default_rng((*self._seed, epoch, place)).integers(2**31, size=self._batch)
            pairs = list(zip(rows.tolist(), seeds.tolist(), strict=True))
            yield pairs[self._mine]


@dataclass
class Targets:
    """Text and relevance of the training images, by row."""

    texts: list[str]
    rows: dict[str, np.ndarray]  # anatomy -> store row of each image's study, -1 without findings there
    engine: RelevanceEngine

    @classmethod
    def of(cls, data: BuiltDataset, studies: datasets.Dataset, anatomies: Sequence[str]) -> "Targets":
        """The targets of the images of a split, for the whole report and for these anatomies."""
        engine, ids = data.engine, studies["study_id"][:]
        engine.prepare()  # once, instead of in the first steps
        names = [WHOLE_REPORT, *anatomies]
        rows = dict(zip(names, engine.store.row_table(ids, names), strict=True))
        kept = {name: at for name, at in rows.items() if name == WHOLE_REPORT or (at >= 0).sum() > 1}
        return cls(studies["findings"][:], kept, engine)

    def require_anatomies(self, dataset: str) -> None:
        """Raise ValueError unless at least one anatomy has findings of two images to compare."""
        if set(self.rows) <= {WHOLE_REPORT}:
            raise ValueError(
                f"no anatomy has findings in two or more training images of {dataset}, so stage 2 has "
                "nothing to compare: give a larger dataset, or train with --stage 1"
            )

    def relevance(self, anatomy: str, batch: np.ndarray) -> Tensor:
        """T (eq. 6), or T_Q (eq. 9): (N, N) float32, NaN where a study has no findings for the anatomy."""
        rows = self.rows[anatomy][batch]
        return torch.from_numpy(self.engine.block(rows, rows))

    def sample_anatomies(self, count: int, seed: tuple[int, ...]) -> list[str]:
        """Distinct anatomies, each drawn with a probability proportional to log(number of its studies)."""
        names = [name for name in self.rows if name != WHOLE_REPORT]
        weights = np.log([(self.rows[name] >= 0).sum() for name in names])
        rng = np.random.default_rng(seed)
        return list(rng.choice(names, size=min(count, len(names)), replace=False, p=weights / weights.sum()))
