"""`load_dataset("open_i", ...)`."""

from dataset_scripts.hf_builders.builder import SourceBuilder
from dataset_scripts.sources.open_i import OpenISource


class OpenI(SourceBuilder, source=OpenISource):
    """Open-i."""
