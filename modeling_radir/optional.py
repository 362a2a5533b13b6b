"""Libraries that only some inputs need, so that a model loads without them."""

import importlib
from typing import Any


def library(name: str, purpose: str) -> Any:
    """Import a library that may be missing.

    Args:
        name: of the module: "pydicom", "pydicom.pixels".
        purpose: what needs it, as the subject of a sentence: "reading DICOM files".

    Raises:
        ImportError: if it is not installed, with what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(f"{purpose} needs {package}: pip install {package}") from error
