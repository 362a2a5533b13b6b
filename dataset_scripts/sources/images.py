"""Is a picture file of a source whole? Without torch, which the readers in `modeling_radir` import."""

import io

from PIL import Image

UNREADABLE = "the image file is unreadable"
TRUNCATED = "the image file is truncated"
TOO_LARGE = "the image has too many pixels"
SEVERAL_FRAMES = "the image file holds several frames"
MAX_PIXELS = 89_478_485  # where Pillow begins to warn, and what `modeling_radir.pictures` reads
# Named one by one: Pillow would start Ghostscript for a PostScript file, whatever its name is.
FORMATS = ("PNG", "JPEG")


def check_picture(encoded: bytes) -> None:
    """Decode a picture.

    Args:
        encoded: what is in the file.

    Raises:
        ValueError: it is damaged, of several frames, of another format than PNG and JPEG, or of more than
            89,478,485 pixels, which is found before they are decoded.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            check_header(image)
            image.load()
    except _RefusedError:
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(TOO_LARGE) from error
    except Exception as error:  # Pillow's readers raise what they like on damaged files
        raise ValueError(UNREADABLE) from error


def check_header(image: Image.Image) -> None:
    """What an opened picture says before it is decoded.

    Raises:
        ValueError: it has too many pixels or frames.
    """
    if image.width * image.height > MAX_PIXELS:
        raise _RefusedError(TOO_LARGE)
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise _RefusedError(SEVERAL_FRAMES)


class _RefusedError(ValueError):
    """A picture that can be read and must not be."""
