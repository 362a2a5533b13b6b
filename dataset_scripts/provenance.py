"""What a model owes to its data: what it was trained on, and on which terms that was had."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

from dataset_scripts.facts import BuildFacts
from dataset_scripts.folder import BuiltDataset
from dataset_scripts.records import Sharing

TRAINING = "training.json"
_STRICTNESS = (Sharing.OPEN, Sharing.RESTRICTED, Sharing.CREDENTIALED)


def training_data(data: BuiltDataset, start: str = "") -> dict[str, Any]:
    """The `data` of a model's training.json.

    A model that starts from another one owes to that one's data as well: `sharing` and `licence` are those of
    the stricter data of both, and a start whose data nobody knows counts as restricted.

    Args:
        data: the dataset that the model is trained on.
        start: the folder or Hub id of the model that it starts from, if any.

    Returns:
        name, licence, sharing, homepage and digest and, with a start, started_from: the same of its data, or
        None where that is not known.

    Raises:
        ValueError: the dataset does not say what it was built from.
    """
    facts = BuildFacts.read(data.folder)
    found: dict[str, Any] = {
        "name": facts.name,
        "licence": facts.licence,
        "sharing": facts.sharing.value,
        "homepage": facts.homepage,
        "digest": data.digest,
    }
    if not start:
        return found
    earlier = _recorded(start)
    terms = earlier or {"licence": "unknown", "sharing": Sharing.RESTRICTED.value}
    if _STRICTNESS.index(Sharing(terms["sharing"])) > _STRICTNESS.index(facts.sharing):
        found |= {name: terms[name] for name in ("licence", "sharing")}
    return found | {"started_from": earlier}


def _recorded(start: str) -> dict[str, Any] | None:
    """The `data` of a model's training.json, None without any."""
    path = Path(start) / TRAINING
    try:
        if not Path(start).is_dir():
            path = Path(hf_hub_download(start, TRAINING))
        return json.loads(path.read_text(encoding="utf-8")).get("data")
    except (OSError, ValueError, EntryNotFoundError, HfHubHTTPError, HFValidationError):
        return None  # nothing is known of it; whether it can be loaded at all shows when it is
