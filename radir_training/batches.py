"""A built dataset as batches: processed images, their augmentation, and the order in which they come."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate
from torchvision.transforms import v2

from dataset_scripts.building.built_dataset import BuiltDataset
from radir_training.settings import TrainConfig
from radir_training.stopping import leave_signals_to_the_parent
from radir_training.volume_cache import VolumeCache

PREPARED = "prepared"  # volumes made ready once, below output_dir unless cache_dir is set


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


class ImageReader:
    """One row of the studies to the pixel values that the model takes."""

    def __init__(self, data: BuiltDataset, processor: Any, read: Callable[[dict[str, Any]], Any]) -> None:
        """`read` gives the image of a row, and names it in what goes wrong."""
        self._name, self._processor, self._read = data.name, processor, read

    def __call__(self, row: dict[str, Any]) -> Tensor:
        """Pixel values, (C, H, W) or (1, D, H, W) float32.

        Raises:
            ValueError: the image cannot be read or prepared.
        """
        image = self._read(row)
        try:
            return self._processor(images=image, return_tensors="pt")["pixel_values"][0]
        except ValueError as error:
            raise ValueError(
                f"image {row['image_id']} of {self._name} cannot be prepared: {error}"
            ) from error


def training_images(
    config: TrainConfig, data: BuiltDataset, studies: datasets.Dataset, processor: Any
) -> TrainingImages:
    """The images of a split as the settings ask for them: augmented, cached in memory or on disk.

    Raises:
        ValueError: the folder of the prepared volumes cannot be made.
    """
    read: Callable[[dict[str, Any]], Any] = data.image
    if data.holds_volumes and config.cache_volumes:
        out = Path(config.output_dir).resolve()
        folder = Path(config.cache_dir) if config.cache_dir else out / PREPARED
        read = VolumeCache(data, processor.image_processor, folder)
    augment = augmentation(data.holds_volumes) if config.augment else None
    return TrainingImages(studies, ImageReader(data, processor, read), augment, config.cache_images)


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


def read_batches(images: TrainingImages, order: BatchOrder, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of an order: rows (b,) int64 and pixel values (b, C, H, W) or (b, 1, D, H, W) float32.

    Args:
        images: of the training split.
        order: which of them make the batches of this process.
        workers: processes that read them; 0: this one.

    Raises:
        ValueError: an image cannot be read.
    """
    # With a generator of its own the loader leaves the default one, which decides the dropout, alone.
    loader = DataLoader(
        images, batch_sampler=order, num_workers=workers, generator=torch.Generator(), collate_fn=collate,
        worker_init_fn=leave_signals_to_the_parent,
    )  # fmt: skip
    for batch in loader:
        if isinstance(batch, ValueError):
            raise batch
        yield batch
