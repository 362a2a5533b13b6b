"""`load_dataset("ctrate_ir", ...)`."""

from dataset_scripts.hf_builders.builder import SourceBuilder
from dataset_scripts.sources.ctrate.source import CTRateSource


class CTRateIR(SourceBuilder, source=CTRateSource):
    """CTRATE-IR."""
