"""`load_dataset("phantom_ct", ...)`."""

from dataset_scripts.hf_builders.builder import SourceBuilder
from dataset_scripts.sources.phantoms.ct_source import PhantomCTSource


class PhantomCT(SourceBuilder, source=PhantomCTSource):
    """Phantom-CT."""
