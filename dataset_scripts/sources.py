"""The sources that datasets are built from, by name."""

from dataset_scripts.ctrate.source import CTRateSource
from dataset_scripts.mimic.source import MimicSource
from dataset_scripts.open_i import OpenISource
from dataset_scripts.phantom_ct_source import PhantomCTSource
from dataset_scripts.phantom_source import PhantomCXRSource
from dataset_scripts.records import Source

SOURCES: dict[str, type[Source]] = {
    kind.name: kind for kind in (PhantomCXRSource, PhantomCTSource, OpenISource, MimicSource, CTRateSource)
}
