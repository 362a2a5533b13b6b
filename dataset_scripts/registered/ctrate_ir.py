"""`load_dataset("ctrate_ir", ...)`."""

from dataset_scripts.ctrate.source import CTRateSource
from dataset_scripts.registered.builder import SourceBuilder


class CTRateIR(SourceBuilder, source=CTRateSource):
    """CTRATE-IR."""
