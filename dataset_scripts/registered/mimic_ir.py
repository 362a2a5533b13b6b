"""`load_dataset("mimic_ir", ...)`."""

from dataset_scripts.mimic.source import MimicSource
from dataset_scripts.registered.builder import SourceBuilder


class MimicIR(SourceBuilder, source=MimicSource):
    """MIMIC-IR."""
