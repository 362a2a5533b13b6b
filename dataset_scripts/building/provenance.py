"""What a model, or anything made with one, owes to data: which they are, and on which terms they were had.

A run is made from more than its dataset: from the model that it starts from, from pretrained towers, from a
tokenizer, whose vocabulary holds words of the texts that it was learnt from. What is made from several things
is under the terms of the strictest of them, and what nobody knows anything of counts as restricted.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelInfo, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, HTTPError, RepositoryNotFoundError

from dataset_scripts.building.build_info import BuildInfo
from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.sources.base import Sharing

TRAINING = "training.json"
UNKNOWN = "unknown"  # the licence of what nothing is known of
_STRICTNESS = (Sharing.OPEN, Sharing.RESTRICTED, Sharing.CREDENTIALED)
_TOWERS = ("vision", "text")
_ASKING_S = 10.0  # for one answer of the Hub


def known_data(model: str | Path) -> dict[str, Any] | None:
    """What is known of the data of a model, a tower or a tokenizer.

    Args:
        model: a folder or a Hub id.

    Returns:
        The `data` of its training.json: name, licence, sharing and more. Of a repository without one that the
        Hub gives to everybody: name, licence, sharing "open" and homepage. None where nothing is known.
    """
    return _look_up(str(model))[0]


def joined(parts: Mapping[str, dict[str, Any] | None]) -> dict[str, Any]:
    """The terms of what was made from several things.

    Args:
        parts: what it was made from, by its part in it ("dataset", "model", "tokenizer"): its data, or None
            where nothing is known of them.

    Returns:
        sharing and licence, those of the strictest part (of the first, among equals), and made_from: part ->
        its data. A part of which nothing is known is restricted, and its licence "unknown".

    >>> terms = joined({"dataset": {"sharing": "open", "licence": "apache-2.0"}, "tokenizer": None})
    >>> terms["sharing"], terms["licence"]
    ('restricted', 'unknown')
    """
    known = {part: _unknown("nothing says it") if data is None else data for part, data in parts.items()}
    terms = max(known.values(), key=_strictness, default=_unknown("nothing says it"))
    return {"sharing": _sharing(terms).value, "licence": terms.get("licence") or UNKNOWN, "made_from": known}


def parts_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """What a training starts from, by the settings of its configuration: part -> folder or Hub id."""
    model = settings.get("model")
    if model:  # the towers and the tokenizer are the model's then
        return {"model": model}
    found = {"tokenizer": settings.get("tokenizer")}
    for tower in _TOWERS:
        found[tower] = (settings.get(tower) or {}).get("pretrained")
    return {part: where for part, where in found.items() if where}


def training_data(data: BuiltDataset, parts: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The `data` of a model's training.json.

    Args:
        data: the dataset that the model is trained on.
        parts: what the training starts from: part -> folder or Hub id, as `parts_of` finds them.

    Returns:
        name, licence, sharing, homepage and digest of the dataset; licence and sharing are those of the
        strictest part. With parts, made_from: the data of the dataset and of each of them; with a model among
        them, started_from: its data, or None where that is not known.

    Raises:
        ValueError: the dataset does not say what it was built from.
    """
    facts = BuildInfo.read(data.folder)
    own: dict[str, Any] = {
        "name": facts.name,
        "licence": facts.licence,
        "sharing": facts.sharing.value,
        "homepage": facts.homepage,
        "digest": data.digest,
    }
    if not parts:
        return own
    found = {part: _look_up(where) for part, where in parts.items()}
    known = {part: _unknown(reason) if terms is None else terms for part, (terms, reason) in found.items()}
    result = own | joined({"dataset": own, **known})
    return result | {"started_from": found["model"][0]} if "model" in found else result


def why_not_open(
    data: Mapping[str, Any], settings: Mapping[str, Any], api: HfApi | None = None
) -> str | None:
    """Why what a training.json describes may not go to everybody, in words; None where it may.

    What the record does not say of a part is looked up: it may come from a version that did not follow it.

    Args:
        data: of the training.json.
        settings: of the same file.
        api: how to reach the Hub; by default its usual address.
    """
    known = dict(data.get("made_from") or {})
    if "started_from" in data:
        known.setdefault("model", data["started_from"])
    for part, where in parts_of(settings).items():
        if part not in known:
            terms, reason = _look_up(where, api)
            known[part] = _unknown(reason) if terms is None else terms
    known.setdefault("dataset", data)
    strict = [_said(part, of) for part, of in joined(known)["made_from"].items() if _strictness(of)]
    if not strict and _strictness(data):  # whatever its parts say
        strict = [_said("dataset", data)]
    return " and ".join(strict) or None


def _said(part: str, data: Mapping[str, Any]) -> str:
    part = f"{part} tower" if part in _TOWERS else part
    if "reason" in data:
        return f"data of which nobody knows, those of its {part} ({data['reason']})"
    name, licence = data.get("name") or "without a name", data.get("licence") or UNKNOWN
    return f"{_sharing(data).value} data under the licence {licence} ({part}: {name})"


def _sharing(data: Mapping[str, Any]) -> Sharing:
    """What a record says of sharing; what no version wrote is not open."""
    try:
        return Sharing(str(data.get("sharing")))
    except ValueError:
        return Sharing.RESTRICTED


def _strictness(data: Mapping[str, Any]) -> int:
    return _STRICTNESS.index(_sharing(data))


def _unknown(reason: str) -> dict[str, Any]:
    return {"licence": UNKNOWN, "sharing": Sharing.RESTRICTED.value, "reason": reason}


def _look_up(model: str, api: HfApi | None = None) -> tuple[dict[str, Any] | None, str]:
    """What is known of the data of a folder or Hub id and, where that is nothing, why."""
    if Path(model).is_dir():
        found = _recorded(Path(model) / TRAINING)
        return found, "" if found else f"a folder of this machine with no {TRAINING} that says it"
    api = api or HfApi()
    try:
        info = api.model_info(model, timeout=_ASKING_S)
        if TRAINING in [file.rfilename for file in info.siblings or []]:
            found = _recorded(Path(api.hf_hub_download(model, TRAINING, etag_timeout=_ASKING_S)))
            return found, "" if found else f"its {TRAINING} on the Hub does not say it"
    except (RepositoryNotFoundError, HFValidationError):
        return None, "neither a folder nor a repository that the Hub shows"
    except (HTTPError, OSError, RuntimeError) as error:
        cached = try_to_load_from_cache(model, TRAINING)
        found = _recorded(Path(cached)) if isinstance(cached, str) else None
        return found, "" if found else f"the Hub could not be asked: {type(error).__name__}"
    return _public(info)


def _public(info: ModelInfo) -> tuple[dict[str, Any] | None, str]:
    """The terms of a repository without training.json: open where the Hub gives it to everybody."""
    if info.private or info.gated:
        return None, f"a {'private' if info.private else 'gated'} repository without {TRAINING}"
    licence = (info.card_data.get("license") if info.card_data else None) or UNKNOWN
    return {
        "name": info.id,
        "licence": licence if isinstance(licence, str) else ", ".join(licence),
        "sharing": Sharing.OPEN.value,
        "homepage": f"https://huggingface.co/{info.id}",
    }, ""


def _recorded(path: Path) -> dict[str, Any] | None:
    """The `data` of a training.json, None without any that say on which terms they were had."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))["data"]
        return dict(data) if data["licence"] and Sharing(data["sharing"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
