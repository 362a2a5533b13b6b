"""`load_dataset("open_i", ...)`."""

from dataset_scripts.open_i import OpenISource
from dataset_scripts.registered.builder import SourceBuilder


class OpenI(SourceBuilder, source=OpenISource):
    """Open-i."""
