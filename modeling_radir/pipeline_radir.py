"""`pipeline("image-feature-extraction")` for models that read their images themselves.

The pipeline of transformers opens every file as RGB of 8 bits before the image processor sees it, which
leaves nothing of 16-bit images and opens no DICOM or NIfTI file. This one leaves the opening to image
processors that say they do it; for all others it is the pipeline of transformers.
"""

import base64
import binascii
from pathlib import Path
from typing import Any

from transformers import image_utils
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.image_feature_extraction import ImageFeatureExtractionPipeline

from .pictures import begins_picture

TASK = "image-feature-extraction"
_PICTURE_START = 16  # bytes that tell a picture


class RadIRImageFeatureExtractionPipeline(ImageFeatureExtractionPipeline):
    """The pipeline of transformers, with files read by image processors that can (`reads_files`).

    For these it takes what the processor takes: paths, URLs, base64 texts, bytes, PIL images and arrays.
    """

    def preprocess(  # type: ignore[override] # as in transformers
        self, image: Any, timeout: float | None = None, **image_processor_kwargs: Any
    ) -> Any:
        """Pixel values of one image.

        Raises:
            ValueError: the image cannot be fetched or read.
        """
        processor: Any = self.image_processor
        if not getattr(processor, "reads_files", False):
            return super().preprocess(image, timeout=timeout, **image_processor_kwargs)
        source = fetched(image, timeout) if isinstance(image, str) else image
        return processor(source, return_tensors="pt", **image_processor_kwargs).to(self.dtype)


def fetched(text: str, timeout: float | None = None) -> str | bytes:
    """What a text stands for: the bytes of a URL, a `data:` URL or a base64 text, or itself as a path.

    Args:
        text: of these.
        timeout: seconds to wait for a URL.

    Raises:
        ValueError: the URL does not answer, or a `data:` URL holds no base64.
    """
    if text.startswith(("http://", "https://")):
        return _downloaded(text, timeout)
    if text.startswith("data:"):
        return _decoded(text.partition(",")[2])
    if _is_path(text):
        return text
    try:
        inside = _decoded(text)
    except ValueError:
        return text  # the reader says that there is no such file
    return inside if begins_picture(inside[:_PICTURE_START]) else text


def _downloaded(address: str, timeout: float | None) -> bytes:
    client: Any = image_utils.httpx  # the one that transformers fetches images with
    try:
        answer = client.get(address, timeout=timeout, follow_redirects=True)
        answer.raise_for_status()
        return bytes(answer.content)
    except (client.HTTPError, client.InvalidURL) as error:
        raise ValueError(f"{address} cannot be fetched ({error}): check the address") from error


def _is_path(text: str) -> bool:
    try:
        return Path(text).exists()
    except OSError:  # too long for a name
        return False


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("the image's base64 text is damaged: encode it again") from error


def use_own_pipeline() -> None:
    """Let `pipeline("image-feature-extraction")` leave the reading of files to processors that do it.

    Not through `register_pipeline`, which would write the class into the saved configuration, where it asks
    for trust_remote_code though the package is installed.
    """
    PIPELINE_REGISTRY.supported_tasks[TASK]["impl"] = RadIRImageFeatureExtractionPipeline
