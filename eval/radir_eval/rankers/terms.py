"""On which terms the data behind an evaluation were had: those of its dataset, and of its models' data."""

from collections.abc import Sequence
from typing import Any

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.building.provenance import joined
from radir_eval.rankers.vectors import Ranker


def terms_of(dataset: BuiltDataset, rankers: Sequence[Ranker]) -> dict[str, Any]:
    """The `data` of results.json.

    Args:
        dataset: what is evaluated on.
        rankers: what is evaluated; references (random, oracle) owe to no other data.

    Returns:
        sharing and licence, the strictest of all, and made_from: "dataset" and "model NAME" -> what is known
        of its data; what nothing is known of, such as vectors from a file, counts as restricted.
    """
    models = {f"model {ranker.name}": ranker.data() for ranker in rankers if not ranker.reference}
    return joined({"dataset": _of_dataset(dataset), **models})


def _of_dataset(dataset: BuiltDataset) -> dict[str, Any] | None:
    try:
        facts = dataset.facts
    except ValueError:  # of another version
        return None
    return {
        "name": facts.name,
        "licence": facts.licence,
        "sharing": facts.sharing.value,
        "homepage": facts.homepage,
        "digest": dataset.digest,
    }
