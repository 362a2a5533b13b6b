"""Picture files of all kinds to PIL images, in one way for every route to a model.

What comes back stands upright and has one frame, and its grey levels rise from black to white; nothing of
that is left to whoever takes it. A picture that cannot be read so is refused, with its name and the reason.
"""

import io
import os
import warnings
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

# Named one by one: Pillow would start Ghostscript for a PostScript file, whatever its name is.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", "GIF", "WEBP", "JPEG2000", "PPM")
PICTURE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".tif", ".tiff", ".bmp", ".dib", ".gif"),
    *(".webp", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
)
# Pictures of formats that are not read, so that a folder's listing can say so.
UNREAD_SUFFIXES = (
    *(".avif", ".avifs", ".heic", ".heif", ".jxl", ".jls", ".svg", ".psd", ".tga", ".ico", ".icns", ".cur"),
    *(".pcx", ".dcx", ".dds", ".sgi", ".rgb", ".rgba", ".bw", ".ras", ".xbm", ".xpm", ".qoi", ".fits"),
    *(".fit", ".eps", ".ps", ".pdf", ".wmf", ".emf", ".msp", ".fli", ".flc", ".im", ".exr"),
    *(".dng", ".nef", ".cr2", ".arw", ".orf", ".rw2", ".pef", ".svs", ".ndpi"),  # TIFF with more inside
)
MAX_PIXELS = 89_478_485  # where Pillow begins to warn; the largest detectors give 30 million
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
PictureSource: TypeAlias = "str | os.PathLike[str] | bytes"

_JPEG, _PNG, _GIF = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8"
_JPEG2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
_PHOTOMETRIC, _BITS = TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, TiffImagePlugin.BITSPERSAMPLE
_SAMPLE_FORMAT = TiffImagePlugin.SAMPLEFORMAT
_UNSIGNED, _SIGNED = (1,), (2,)
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
_ADVICE = "give a PNG, JPEG, TIFF or DICOM file, or download it again"


def read_picture(source: PictureSource, name: str | None = None) -> Image.Image:
    """Read a picture upright and at its own depth; alpha is kept, and left to who takes the image.

    EXIF orientation is applied. Of an MPO file, which is a photograph with its previews, the photograph is
    taken; every other file of several frames (TIFF pages, GIF, APNG, WebP) is refused.

    Args:
        source: the path of a file, or what is in it; its format follows from its content, not from its name.
        name: what messages call it; the path by default.

    Returns:
        A PIL image of 8 bits in the file's own mode, or of the mode I;16, I or F; H, W as it is looked at.

    Raises:
        ValueError: there is no such file, it is empty, damaged, truncated, of another format, of several
            frames, of colours deeper than 8 bits (Pillow would drop half of each), or of more than
            89,478,485 pixels, which is found before they are decoded.
    """
    what = name or ("the image" if isinstance(source, bytes) else str(source))
    try:
        with _opened(source) as image:
            return upright(image)
    except ValueError as error:
        raise ValueError(f"{what} {error}") from error


def upright(image: Image.Image) -> Image.Image:
    """A PIL image as `read_picture` gives it, from one that Pillow opened.

    Applied twice it changes nothing. Of copies that lost their tags (`image.copy()`, `image.convert()`) it
    cannot know whether 0 was white.

    Raises:
        ValueError: as of `read_picture`, as the second half of a sentence that begins with the image's name.
    """
    _check(image)
    try:
        image.load()
        lies = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        # A file's image is copied, so that it can be closed; one that is in memory alone is passed on.
        turned = ImageOps.exif_transpose(image) if lies or isinstance(image, ImageFile.ImageFile) else image
    except Exception as error:
        raise ValueError(f"cannot be read as an image ({_first_line(error)}): {_ADVICE}") from error
    return _rising(turned, image) if turned.mode in DEEP_MODES else turned


def is_picture(path: Path) -> bool:
    """Whether a file's first bytes are those of a picture, see `begins_picture`."""
    with path.open("rb") as file:
        return begins_picture(file.read(12))


def begins_picture(start: bytes) -> bool:
    """Whether the first 12 bytes of a file are those of a PNG, JPEG, TIFF, GIF, WebP or JPEG 2000 file."""
    if start[:4] == b"RIFF":
        return start[8:12] == b"WEBP"
    return start.startswith((_JPEG, _PNG, _GIF, *_JPEG2000, *TiffImagePlugin.PREFIXES))


class _TiffFile(TiffImagePlugin.TiffImageFile):
    """A TIFF file whose deep grey values are read as they are stored, in either byte order.

    Pillow knows deep values where 0 is white in the one byte order only, and unsigned 32-bit values too; both
    are told to it as their plain relatives, and put right by `_rising`.
    """

    def _setup(self) -> None:
        tags = self.tag_v2
        self.stored = (tags.get(_PHOTOMETRIC), tags.get(_SAMPLE_FORMAT, _UNSIGNED), tags.get(_BITS, (1,)))
        photometric, kind, bits = self.stored
        if bits in ((16,), (32,)) and photometric == _WHITE_IS_ZERO:
            tags[_PHOTOMETRIC] = _BLACK_IS_ZERO
        if bits == (32,) and kind == _UNSIGNED:
            tags[_SAMPLE_FORMAT] = _SIGNED
        super()._setup()


def _opened(source: PictureSource) -> Image.Image:
    """The file as a PIL image of which nothing is decoded."""
    start = source[:4] if isinstance(source, bytes) else _start(Path(source))
    if not start:
        raise ValueError(f"is empty (0 bytes): {_ADVICE}")
    file: Any = io.BytesIO(source) if isinstance(source, bytes) else Path(source)
    try:
        if start in TiffImagePlugin.PREFIXES:
            return _TiffFile(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such are refused by _check
            return Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"holds more pixels than the {MAX_PIXELS:,} that are read: give it at a smaller size"
        ) from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"cannot be read as an image: it is damaged, or of another format than {', '.join(FORMATS)}; "
            f"{_ADVICE}"
        ) from error
    except Exception as error:  # Pillow's readers raise what they like on damaged files
        raise ValueError(f"cannot be read as an image ({_first_line(error)}): {_ADVICE}") from error


def _start(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError("is no file: check the path")
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise ValueError(f"cannot be opened ({error.strerror}): check its permissions") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _check(image: Image.Image) -> None:
    """What can be seen of an image before its pixels are decoded."""
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(
            f"holds {image.width} x {image.height} pixels, more than the {MAX_PIXELS:,} that are read: "
            "give it at a smaller size"
        )
    try:
        frames = getattr(image, "n_frames", 1) if getattr(image, "is_animated", False) else 1
    except Exception as error:
        raise ValueError(f"cannot be read as an image ({_first_line(error)}): {_ADVICE}") from error
    if frames > 1 and image.format != "MPO":
        raise ValueError(
            f"holds {frames} frames or pages, and one image is needed: save the one that matters as a file "
            "of its own"
        )
    if image.mode not in DEEP_MODES and _is_deep(image):
        raise ValueError(
            "holds colours or alpha of 16 bits, of which half would be lost: save it as grey of 16 bits, or "
            "as colours of 8"
        )


def _is_deep(image: Image.Image) -> bool:
    """Whether a file has more than 8 bits in each of several channels; unknown once it is decoded."""
    arguments = [tile[3] for tile in getattr(image, "tile", ())]
    modes = [each[0] if isinstance(each, tuple) and each else each for each in arguments]
    return any(isinstance(mode, str) and ";16" in mode for mode in modes)


def _rising(turned: Image.Image, opened: Image.Image) -> Image.Image:
    """A deep grey image with native values that rise from black to white.

    Args:
        turned: the upright image.
        opened: the image as Pillow opened it, with its tags.
    """
    photometric, kind, bits = _stored(opened)
    values = np.asarray(turned)
    if bits == (32,) and kind == _UNSIGNED and values.dtype == np.int32:
        values = values ^ np.int32(-(2**31))  # the same order and distances, without its sign bit wrapped
    if photometric == _WHITE_IS_ZERO:
        values = _negative(values)
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return Image.fromarray(np.ascontiguousarray(native))


def _stored(opened: Image.Image) -> tuple[Any, Any, Any]:
    """Photometric interpretation, sample format and bits of a TIFF file; None of any other."""
    if stored := getattr(opened, "stored", None):
        photometric, kind, bits = stored
        return photometric, kind, bits
    tags = getattr(opened, "tag_v2", None)
    if tags is None or opened.format != "TIFF":
        return None, None, None
    return tags.get(_PHOTOMETRIC), tags.get(_SAMPLE_FORMAT, _UNSIGNED), tags.get(_BITS, (1,))


def _negative(values: np.ndarray) -> np.ndarray:
    """Values turned round within what their type holds; floats within 0 to 1 stay there."""
    if values.dtype.kind in "iu":
        return ~values
    return 1 - values if values.size and values.min() >= 0 and values.max() <= 1 else -values
