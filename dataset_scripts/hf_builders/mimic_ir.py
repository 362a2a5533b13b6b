"""`load_dataset("mimic_ir", ...)`."""

from dataset_scripts.hf_builders.builder import SourceBuilder
from dataset_scripts.sources.mimic.source import MimicSource


class MimicIR(SourceBuilder, source=MimicSource):
    """MIMIC-IR."""
