"""`load_dataset("phantom_cxr", ...)`."""

from dataset_scripts.hf_builders.builder import SourceBuilder
from dataset_scripts.sources.phantoms.cxr_source import PhantomCXRSource


class PhantomCXR(SourceBuilder, source=PhantomCXRSource):
    """Phantom-CXR."""
