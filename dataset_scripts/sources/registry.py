"""The sources that datasets are built from, by name."""

from dataset_scripts.sources.base import Source
from dataset_scripts.sources.ctrate.source import CTRateSource
from dataset_scripts.sources.mimic.source import MimicSource
from dataset_scripts.sources.open_i import OpenISource
from dataset_scripts.sources.phantoms.ct_source import PhantomCTSource
from dataset_scripts.sources.phantoms.cxr_source import PhantomCXRSource

SOURCES: dict[str, type[Source]] = {
    kind.name: kind for kind in (PhantomCXRSource, PhantomCTSource, OpenISource, MimicSource, CTRateSource)
}
