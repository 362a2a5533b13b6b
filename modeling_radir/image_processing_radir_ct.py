"""Chest CT from NIfTI files, DICOM series or arrays to what the image tower takes."""

import dataclasses
import math
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import torch
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.processing_utils import ImagesKwargs, Unpack

from .checks import unknown_name
from .resampling import fit
from .volumes import CANONICAL, Volume, read_volume
from .voxels import check_codes

OneVolume: TypeAlias = "Volume | np.ndarray | torch.Tensor | str | os.PathLike[str]"

SIDES = ("depth", "height", "width")
ROUNDINGS = ("nearest", "down")
SETTINGS = (
    "size",
    "spacing_mm",
    "hu_min",
    "hu_max",
    "orientation",
    "assumed_spacing_mm",
    "rounding",
    "whole_hu",
)
RELEASED_ORIENTATION = "released"
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "released-ct": {
            "assumed_spacing_mm": [3.0, 1.0, 1.0],
            "orientation": RELEASED_ORIENTATION,
            "rounding": "down",
            "whole_hu": False,
        }
    }
)


class RadIRCTImageProcessorKwargs(ImagesKwargs, total=False):
    """Settings of RadIRCTImageProcessor beside return_tensors; declared, so that they are saved."""

    size: dict[str, int] | None  # type: ignore[misc] # depth is no side that transformers knows
    spacing_mm: list[float | int] | tuple[float | int, ...]
    hu_min: int
    hu_max: int
    orientation: str
    assumed_spacing_mm: list[float | int] | tuple[float | int, ...] | None
    rounding: str
    whole_hu: bool


class RadIRCTImageProcessor(BaseImageProcessor):
    """Volumes to pixel_values (B, 1, D, H, W) float32 in [-1, 1], the same in training and in use.

    It takes paths of `.nii` and `.nii.gz` files and of folders with one DICOM series, `Volume`s, and what
    `prepare` gives, as an array or the path of a `.npy` file. Each is brought to one orientation by
    transposes and flips, resampled to spacing_mm (trilinear, align_corners=False, no antialiasing), clipped
    to hu_min and hu_max, rounded to whole HU, cut or padded with air about its centre, and scaled so that
    hu_min becomes -1 and hu_max 1.

    The orientation is the header's; an oblique volume is not turned: its axes are taken for the nearest axes
    of the patient. A volume whose header gives no orientation is taken as it is.

    Args:
        size: {"depth": d, "height": h, "width": w} in voxels.
        spacing_mm: along depth, height and width.
        hu_min: what becomes -1, and pads.
        hu_max: what becomes 1.
        orientation: the directions in which depth, height and width grow: "SPL" for sections from the feet to
            the head, rows from front to back, columns from the patient's right to the left. "released": the
            release's flips of the array, whatever the header says (see `preset`).
        assumed_spacing_mm: of every volume along depth, height and width, whatever its header says; None
            for the volume's own.
        rounding: how n * spacing / spacing_mm becomes a number of voxels: "nearest" or "down".
        whole_hu: whether HU are rounded before they are scaled, so that the prepared form can be int16.

    Example:
        >>> size = {"depth": 4, "height": 8, "width": 8}
        >>> processor = RadIRCTImageProcessor(size=size, spacing_mm=[5, 2, 2])
        >>> volume = Volume(np.zeros((3, 6, 6), np.int16), spacing_mm=(5, 2, 2))
        >>> processor(volume, return_tensors="pt")["pixel_values"].shape
        torch.Size([1, 1, 4, 8, 8])
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012 - transformers declares it so
    reads_files = True  # for the pipeline, see pipeline_radir
    valid_kwargs = RadIRCTImageProcessorKwargs  # type: ignore[assignment] # for its size
    rescale_factor = None  # type: ignore[assignment] # the base class would save a factor that nothing uses

    size = {"depth": 240, "height": 480, "width": 480}  # noqa: RUF012 - copied for each processor
    spacing_mm = [1.5, 0.75, 0.75]  # noqa: RUF012 - copied for each processor
    hu_min = -1000
    hu_max = 1000
    orientation = CANONICAL
    assumed_spacing_mm = None
    rounding = "nearest"
    whole_hu = True

    def __init__(self, **kwargs: Unpack[RadIRCTImageProcessorKwargs]):
        super().__init__(**kwargs)  # type: ignore[misc]
        self._set_attributes(**kwargs)
        _check_settings(self._settings())

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "RadIRCTImageProcessor":
        """A processor with settings that have a name.

        "released-ct" is what the released RadIR makes of a NIfTI file: the header's spacing is
        ignored and taken for 3 x 1 x 1 mm (slice, row, column), so files of another spacing come out
        stretched; its orientation is ignored, array axes 0 and 1 are turned round, and the result has the
        axes (2, 0, 1), so rows run along the file's first axis: for a file stored towards left, back and head
        (LPS) rows run from the patient's left to the right and columns from back to front; the number of
        voxels is cut off to a whole one; HU keep their fractions. Other sources must first be resampled to
        3 x 1 x 1 mm in that orientation, or be given their true spacing through `assumed_spacing_mm=None`.
        Unlike the release, which makes them zeros, files that cannot be read are refused.

        Args:
            name: "released-ct".
            changes: settings in place of the preset's.

        Raises:
            ValueError: if there is no such preset.
        """
        if name not in PRESETS:
            raise unknown_name("preset", name, PRESETS)
        return cls(**{**PRESETS[name], **changes})

    def prepare(self, volume: OneVolume) -> np.ndarray:
        """All of the way but the last step: what is worth keeping on the disk for training.

        Args:
            volume: what the processor takes; a prepared array comes back as it is.

        Returns:
            (D, H, W) HU within hu_min and hu_max, int16; float32 where whole_hu is off.

        Raises:
            ValueError: if the volume cannot be read, or a prepared one is not of these settings.
        """
        return _prepared(volume, self._settings())

    def save_prepared(self, volume: OneVolume, path: str | os.PathLike[str]) -> Path:
        """Prepare a volume, unless it is, and write it to a `.npy` file, whole or not at all.

        Raises:
            ValueError: as `prepare` does, or if the path has another suffix.
        """
        path = Path(path)
        if path.suffix != ".npy":
            raise ValueError(f"a prepared volume goes to a .npy file, not to {path}: change the suffix")
        prepared = self.prepare(volume)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.partial")
        try:
            with temporary.open("wb") as file:
                np.save(file, prepared, allow_pickle=False)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def load_prepared(self, path: str | os.PathLike[str]) -> np.ndarray:
        """Open what `save_prepared` wrote, mapped into memory: nothing is read before it is used.

        Raises:
            ValueError: if the file cannot be read, or its shape or type is not of these settings.
        """
        return _load(Path(path), self._settings())

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """Leave paths as they are: the base class would read them as pictures."""
        return image_url_or_urls

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SETTINGS}

    def _standardize_kwargs(self, size: Any = None, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        standard = super()._standardize_kwargs(**kwargs)
        standard["size"] = None if size is None else dict(size)
        for name in ("spacing_mm", "assumed_spacing_mm"):
            standard[name] = list(standard[name]) if standard.get(name) is not None else None
        return standard

    def _validate_preprocess_kwargs(self, **kwargs: Any) -> None:  # type: ignore[override]
        _check_settings({name: kwargs[name] for name in SETTINGS})

    def _preprocess_image_like_inputs(self, images: Any, *args: Any, **kwargs: Any) -> BatchFeature:
        settings = {name: kwargs[name] for name in SETTINGS}
        batch = images if isinstance(images, list | tuple) else [images]
        if not batch:
            raise ValueError("no volume was given: the list is empty")
        pixel_values = torch.empty(len(batch), 1, *_sides(settings))  # (B, 1, D, H, W)
        middle = (settings["hu_max"] + settings["hu_min"]) / 2
        half = (settings["hu_max"] - settings["hu_min"]) / 2
        for place, volume in zip(pixel_values[:, 0].numpy(), batch, strict=True):
            np.subtract(_prepared(volume, settings), np.float32(middle), out=place, dtype=np.float32)
            place /= np.float32(half)
        return BatchFeature({"pixel_values": pixel_values}, tensor_type=kwargs.get("return_tensors"))


def _prepared(volume: OneVolume, settings: dict[str, Any]) -> np.ndarray:
    if isinstance(volume, str | os.PathLike):
        path = Path(volume)
        volume = _load(path, settings) if path.suffix == ".npy" else read_volume(path)
    if isinstance(volume, Volume):
        return _fitted(volume, settings)
    if isinstance(volume, torch.Tensor):
        volume = volume.detach().cpu().numpy()
    if not isinstance(volume, np.ndarray):
        raise ValueError(
            f"a volume is a {type(volume).__name__}; give the path of a NIfTI file or of a folder with one "
            "DICOM series, a Volume, or a prepared array, or a list of these"
        )
    _check_prepared(volume, settings, "an array")
    low, high = volume.min(), volume.max()
    if not (low >= settings["hu_min"] and high <= settings["hu_max"]):
        raise ValueError(
            f"an array holds values from {low} to {high}, a prepared volume {settings['hu_min']} to "
            f"{settings['hu_max']}: give Volume(hu, spacing_mm), whose spacing is known"
        )
    return volume


def _fitted(volume: Volume, settings: dict[str, Any]) -> np.ndarray:
    """A volume on the grid of the settings."""
    if settings["orientation"] == RELEASED_ORIENTATION:  # flips of the array as it is stored
        volume = dataclasses.replace(volume, axis_codes="").in_frame("SRA")
    else:
        volume = volume.in_frame(settings["orientation"])
    hu = volume.hu
    if list(np.abs(hu.strides)) != sorted(np.abs(hu.strides), reverse=True):
        hu = np.ascontiguousarray(hu)  # one ordered copy is faster than sections picked from all over
    spacing = settings["assumed_spacing_mm"] or volume.spacing_mm
    cut = settings["rounding"] == "down"
    grid = [
        max(1, int(n * (now / wanted) + (0.0 if cut else 0.5)))
        for n, now, wanted in zip(hu.shape, spacing, settings["spacing_mm"], strict=True)
    ]
    limits = (settings["hu_min"], settings["hu_max"])
    return fit(hu, (grid[0], grid[1], grid[2]), _sides(settings), limits, settings["whole_hu"])


def _load(path: Path, settings: dict[str, Any]) -> np.ndarray:
    try:
        prepared = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a prepared volume ({error}): prepare it again") from error
    _check_prepared(prepared, settings, str(path))
    return prepared


def _check_prepared(array: np.ndarray, settings: dict[str, Any], what: str) -> None:
    shape, dtype = _sides(settings), np.dtype(np.int16 if settings["whole_hu"] else np.float32)
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{what} has the shape {array.shape} and type {array.dtype}, a prepared volume {shape} and "
            f"{dtype}: prepare it with these settings, or give Volume(hu, spacing_mm)"
        )


def _sides(settings: dict[str, Any]) -> tuple[int, int, int]:
    depth, height, width = (settings["size"][side] for side in SIDES)
    return depth, height, width


def _check_settings(settings: dict[str, Any]) -> None:
    size = settings["size"] or {}
    if set(size) != set(SIDES) or any(not isinstance(n, int) or n < 1 for n in size.values()):
        raise ValueError(f'size is {size}; {{"depth": d, "height": h, "width": w}} in voxels is needed')
    for name in ("spacing_mm", "assumed_spacing_mm"):
        spacing = settings[name]
        if name == "assumed_spacing_mm" and spacing is None:
            continue
        if not spacing or len(spacing) != 3 or not all(math.isfinite(mm) and mm > 0 for mm in spacing):
            raise ValueError(f"{name} is {spacing}; three lengths in mm above 0, (z, y, x), are needed")
    low, high = settings["hu_min"], settings["hu_max"]
    limits = np.iinfo(np.int16)
    if not all(isinstance(hu, int) for hu in (low, high)) or not limits.min <= low < high <= limits.max:
        raise ValueError(f"hu_min and hu_max are {low} and {high}; whole HU of 16 bits, rising, are needed")
    if settings["orientation"] != RELEASED_ORIENTATION:
        check_codes(settings["orientation"], "orientation")
    if settings["rounding"] not in ROUNDINGS:
        raise ValueError(f"rounding is {settings['rounding']!r}; one of {ROUNDINGS} is needed")
