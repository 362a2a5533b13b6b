"""Chest X-rays from arrays, PIL images or files to what the image tower takes."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.processing_utils import ImagesKwargs, Unpack

from .checks import unknown_name
from .dicom import is_dicom, read_radiograph
from .pictures import DEEP_MODES, read_picture, upright

OneImage: TypeAlias = "np.ndarray | torch.Tensor | Image.Image | str | os.PathLike[str] | bytes"

# ITU-R 601 luma, which PIL's convert("L") also uses.
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"released-cxr": {"size": {"height": 480, "width": 480}, "resize_in_8_bits": True}}
)


class RadIRCXRImageProcessorKwargs(ImagesKwargs, total=False):
    """Settings of RadIRCXRImageProcessor beside size and return_tensors; declared, so that they are saved."""

    keep_aspect: bool
    num_channels: int
    resize_in_8_bits: bool


class RadIRCXRImageProcessor(BaseImageProcessor):
    """Images to pixel_values (B, C, H, W) float32 in [-1, 1], the same in training and in use.

    It takes arrays, PIL images, and the paths or bytes of pictures (PNG, JPEG, TIFF and others, see
    `read_picture`) and DICOM files; EXIF orientation is applied to all. Each image becomes grey float32 and
    is scaled by what its type can hold: 8-bit by 0 to 255, floats within [0, 1] by that; DICOM by its VOI
    LUT or window; deeper integers and other floats, which have no fixed range, by their own minimum and
    maximum. Then it is resized, bilinear with antialiasing, in float32.

    Args:
        size: {"height": h, "width": w} in pixels.
        keep_aspect: False: stretch to size, as the release does. True: keep the aspect, pad with -1, black.
        num_channels: 1, or 3 for towers trained on colour images (the grey image three times).
        resize_in_8_bits: False: resize in float32. True: round to 8 bits and resize with PIL, as the release
            does.

    Example:
        >>> processor = RadIRCXRImageProcessor(size={"height": 32, "width": 32})
        >>> processor(np.zeros((40, 50), np.uint8), return_tensors="pt")["pixel_values"].shape
        torch.Size([1, 1, 32, 32])
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012 - transformers declares it so
    reads_files = True  # for the pipeline, see pipeline_radir
    valid_kwargs = RadIRCXRImageProcessorKwargs

    size = {"height": 224, "width": 224}  # noqa: RUF012 - copied for each processor
    keep_aspect = False
    num_channels = 1
    resize_in_8_bits = False

    def __init__(self, **kwargs: Unpack[RadIRCXRImageProcessorKwargs]):
        super().__init__(**kwargs)  # type: ignore[misc]
        self._set_attributes(**kwargs)
        _check_settings(self.size, self.num_channels)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "RadIRCXRImageProcessor":
        """A processor with settings that have a name.

        "released-cxr" is what the released RadIR makes of a radiograph: grey through PIL's
        convert("L"), stretched to 480 x 480 in 8 bits, bilinear, scaled to [-1, 1]. The released code is not
        of one mind about it: its inference script cuts a random 480 x 480 window instead unless told to
        resize, and fails on smaller images; stage 2 was trained and evaluated on [0, 1], stage 1 on [-1, 1],
        and its docstrings say [0, 1] everywhere. This preset takes the stretch and [-1, 1], those of stage 1;
        the tower normalises each patch first, so the range hardly matters to it. Images deeper than 8 bits,
        whose high values PIL cuts off there, are scaled to 8 bits first.

        Args:
            name: "released-cxr".
            changes: settings in place of the preset's.

        Raises:
            ValueError: if there is no such preset.
        """
        if name not in PRESETS:
            raise unknown_name("preset", name, PRESETS)
        return cls(**{**PRESETS[name], **changes})

    def fetch_images(self, image_url_or_urls: Any) -> Any:
        """Leave paths as they are: the base class would read them through 8-bit RGB."""
        return image_url_or_urls

    def _validate_preprocess_kwargs(self, **kwargs: Any) -> None:  # type: ignore[override]
        _check_settings(kwargs["size"], kwargs["num_channels"])

    def _preprocess_image_like_inputs(self, images: Any, *args: Any, **kwargs: Any) -> BatchFeature:
        size, channels = (kwargs["size"]["height"], kwargs["size"]["width"]), kwargs["num_channels"]
        how = {name: kwargs[name] for name in ("keep_aspect", "resize_in_8_bits")}
        batch = images if isinstance(images, list | tuple) else [images]
        if not batch:
            raise ValueError("no image was given: the list is empty")
        planes = [_resize(to_grey(image), size, **how) for image in batch]
        pixel_values = torch.stack(planes)[:, None].repeat(1, channels, 1, 1)  # (B, C, H, W)
        return BatchFeature({"pixel_values": pixel_values}, tensor_type=kwargs.get("return_tensors"))


def to_grey(image: OneImage) -> np.ndarray:
    """An image as grey (H, W) float32 in [-1, 1].

    Args:
        image: a path to a picture (see `read_picture`) or DICOM file, the bytes of one, a PIL image, or an
            array (H, W), (H, W, 1 or 3 or 4), (1 or 3, H, W). Alpha is left out.

    Raises:
        ValueError: if it cannot be read, has no pixels, is not finite, or is no single image; the message
            names the file.
    """
    if isinstance(image, str | os.PathLike | bytes):
        return _read(image if isinstance(image, bytes) else Path(image))
    if isinstance(image, Image.Image):
        try:
            return _picture(upright(image))
        except ValueError as error:
            raise ValueError(f"{getattr(image, 'filename', '') or 'an image'}: {error}") from error
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu().numpy()
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"an image is a {type(image).__name__}; give a path, a PIL image or an array, or a list of these"
        )
    return _scale(_grey_plane(image))


def _read(source: Path | bytes) -> np.ndarray:
    """A file, or what is in it."""
    what = "the image" if isinstance(source, bytes) else str(source)
    if isinstance(source, Path):
        _check_path(source)
    try:
        if is_dicom(source):
            return read_radiograph(source) * np.float32(2) - np.float32(1)
    except (ValueError, OSError) as error:
        raise ValueError(f"{what}: {error}") from error
    picture = read_picture(source)
    try:
        return _picture(picture)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


def _check_path(path: Path) -> None:
    if path.is_dir() or path.name.lower().endswith((".nii", ".nii.gz")):
        raise ValueError(
            f"{path} is a volume or a folder, and one radiograph is needed: give volumes to a "
            "RadIRCTImageProcessor"
        )
    if not path.is_file():
        raise ValueError(f"there is no file {path}: check the path")


def _picture(image: Image.Image) -> np.ndarray:
    """An upright PIL image as (H, W) float32 in [-1, 1]; alpha is left out."""
    if image.mode in DEEP_MODES:
        return _scale(np.asarray(image))
    try:
        return _scale(np.asarray((image.convert("LA") if image.mode == "La" else image).convert("L")))
    except ValueError as error:
        raise ValueError(f"its colours ({image.mode}) cannot become grey: save it as RGB or grey") from error


def _grey_plane(array: np.ndarray) -> np.ndarray:
    """An array of one image as (H, W); its type is kept where nothing has to be mixed."""
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 2:
        return array
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"an image has the shape {array.shape}; (H, W), (H, W, 3) or (3, H, W) is needed: give "
            "several images as a list"
        )
    if array.shape[-1] == 1:
        return array[..., 0]
    if array.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(array[..., :3])).convert("L"))
    return array[..., :3].astype(np.float32) @ LUMA


def _scale(plane: np.ndarray) -> np.ndarray:
    """(H, W) of any type to float32 in [-1, 1]."""
    if plane.size == 0 or plane.dtype.kind not in "buif":
        raise ValueError(
            f"an image has the shape {plane.shape} and type {plane.dtype}; numbers, at least one, are needed"
        )
    if plane.dtype == np.uint8:
        return plane.astype(np.float32) / np.float32(127.5) - np.float32(1)
    values = plane.astype(np.float64)  # differences of 32-bit integers need it
    if not np.isfinite(values).all():
        raise ValueError("an image holds NaN or infinite values: replace them first")
    low, high = float(values.min()), float(values.max())
    if plane.dtype.kind == "b" or (plane.dtype.kind == "f" and low >= 0 and high <= 1):
        low, high = 0.0, 1.0
    values -= low  # in place: large images are held once
    values /= high - low if high > low else 1.0  # a constant image becomes black
    values *= 2
    values -= 1
    return values.astype(np.float32)


def fitted_size(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) of an image's aspect that fits into size; half the rest pads each side."""
    factor = min(size[0] / shape[0], size[1] / shape[1])
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _resize(
    plane: np.ndarray, size: tuple[int, int], keep_aspect: bool, resize_in_8_bits: bool
) -> torch.Tensor:
    """(H, W) to size, by stretching, or by fitting and padding with black on both sides."""
    target = fitted_size(plane.shape, size) if keep_aspect else size
    if resize_in_8_bits:
        levels = Image.fromarray(np.rint((plane + 1) * np.float32(127.5)).astype(np.uint8))
        plane = _scale(np.asarray(levels.resize(target[::-1], Image.Resampling.BILINEAR)))
    image = torch.from_numpy(np.ascontiguousarray(plane))[None, None]
    if target != plane.shape:
        image = F.interpolate(image, size=target, mode="bilinear", antialias=True, align_corners=False)
    down, across = size[0] - target[0], size[1] - target[1]
    return F.pad(image[0, 0], (across // 2, across - across // 2, down // 2, down - down // 2), value=-1.0)


def _check_settings(size: Any, num_channels: Any) -> None:
    height, width = (size or {}).get("height"), (size or {}).get("width")
    if not height or not width or height < 1 or width < 1:
        raise ValueError(f'size is {size}; {{"height": h, "width": w}} in pixels is needed')
    if num_channels not in (1, 3):
        raise ValueError(
            f"num_channels is {num_channels}; 1 (grey) or 3 (the grey image three times) is needed"
        )
