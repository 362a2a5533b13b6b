"""`load_dataset("phantom_cxr", ...)`."""

from dataset_scripts.phantom_source import PhantomCXRSource
from dataset_scripts.registered.builder import SourceBuilder


class PhantomCXR(SourceBuilder, source=PhantomCXRSource):
    """Phantom-CXR."""
