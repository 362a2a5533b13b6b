"""RadIR: radiology image retrieval conditioned on anatomy.

`import radir` is quick: what it offers is imported when it is first asked for. The command line is `cli`, its
subcommands are in `commands/`, and what goes to the Hub is in `publishing/`; `score_shards` fills the shards
of a large corpus.
"""

from importlib import import_module, metadata
from operator import attrgetter
from typing import Any

_OFFERED = {
    "RadIRConfig": "modeling_radir",
    "RadIRModel": "modeling_radir",
    "RadIRProcessor": "modeling_radir",
    "load_model": "modeling_radir.inference:load",
    "BuiltDataset": "dataset_scripts.building.built_dataset",
    "build_dataset": "dataset_scripts.building.build",
    "score_texts": "dataset_scripts.relevance.text_scores",
    "evaluate_models": "radir_eval.benchmark",
    "build_index": "radir_search.build_index",
    "load_index": "radir_search.index:RetrievalIndex.load",
    "search_image": "radir_search.query",
}

__all__ = ["__version__", *_OFFERED]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("radir")
    if name not in _OFFERED:
        raise AttributeError(f"radir offers {', '.join(__all__)}, not {name}")
    module, _, attribute = _OFFERED[name].partition(":")
    return attrgetter(attribute or name)(import_module(module))


def __dir__() -> list[str]:
    return [*__all__]
