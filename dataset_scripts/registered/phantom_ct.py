"""`load_dataset("phantom_ct", ...)`."""

from dataset_scripts.phantom_ct_source import PhantomCTSource
from dataset_scripts.registered.builder import SourceBuilder


class PhantomCT(SourceBuilder, source=PhantomCTSource):
    """Phantom-CT."""
