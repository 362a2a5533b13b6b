"""The README.md of a model folder, written by code from what the folder and results.json say.

A card carries a digest of its own text, so that one that nobody has edited can be told from someone's work:
the first kind may be written anew when a model is pushed, the second never.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.repocard_data import eval_results_to_model_index

from dataset_scripts.building.card import licence_fields
from dataset_scripts.building.layout import CARD
from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.plumbing.markdown import code, fenced, plain
from radir.publishing.model_info import ModelInfo, is_local_path
from radir.publishing.model_results import TASK, ModelResults

_DIGEST = re.compile(r"^radir_card: '?([0-9a-f]{64})'?$", re.MULTILINE)
_BLANK = "0" * 64
_NO_LICENCE = {"license": "other", "license_name": "unknown"}
_PARTS = {
    "vision_model": "image tower",
    "text_model": "text tower",
    "fusion_model": "fusion",
    "visual_projection": "image projection",
    "text_projection": "text projection",
    "logit_scale": "logit scale",
}
_SIZES = {
    "hidden_size": "{} wide",
    "num_hidden_layers": "{} layers",
    "num_spatial_layers": "{} spatial layers",
    "num_temporal_layers": "{} temporal layers",
    "num_class_layers": "{} class layers",
    "num_attention_heads": "{} heads",
    "patch_size": "patches of {}",
    "temporal_patch_size": "{} slices deep",
    "vocab_size": "{:,} word pieces",
}


def write_model_card(folder: Path, results: Path | None = None, name: str | None = None) -> Path | None:
    """Write README.md into a model folder that has none.

    Args:
        folder: a model folder.
        results: results.json with figures of this model, or its folder; models go by the folder's name.
        name: what the folder will be called; by default its name.

    Returns:
        Its path; None where a README.md is there already, which stays as it is.

    Raises:
        ValueError: the folder holds no RadIR model, or `results` nothing about it.
    """
    target = Path(folder) / CARD
    if target.exists():
        return None
    name = name or ModelInfo.read(Path(folder)).name
    text = model_card(Path(folder), None if results is None else ModelResults.read(results, name), name)
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")
    return target


def model_card(folder: Path, results: ModelResults | None = None, model_id: str | None = None) -> str:
    """The text of a card.

    Args:
        folder: a model folder.
        results: the model's figures.
        model_id: what the card's code loads; the folder's name by default.

    Raises:
        ValueError: the folder holds no RadIR model.
    """
    facts = ModelInfo.read(folder)
    model_id = model_id or facts.name
    licence: dict[str, Any] = _NO_LICENCE
    if facts.data.get("licence"):
        licence = {**licence_fields(facts.data["licence"])}
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=TASK,
        tags=["radir", "radiology", "medical", "image-retrieval", "ct" if facts.takes_volumes else "x-ray"],
        datasets=[facts.data["name"]] if facts.data.get("name") else None,
        base_model=_base_models(facts) or None,
        model_name=model_id.split("/")[-1],
        eval_results=None if results is None else results.eval_results(),
        radir_card=_BLANK,
        **licence,
    )
    sections = [f"# {plain(model_id.split('/')[-1])}", *_sections(facts, model_id, results)]
    text = f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"
    return text.replace(_BLANK, _digest(text), 1)


def is_untouched(card: str) -> bool:
    """Whether a card is as `model_card` wrote it, in this version or another."""
    found = _DIGEST.search(card)
    return found is not None and found[1] == _digest(card.replace(found[1], _BLANK, 1))


def _digest(card: str) -> str:
    return hashlib.sha256(card.encode()).hexdigest()


def with_results(card: str, model: str, results: list[EvalResult]) -> str:
    """Someone's card with a model's figures in the `model-index` of its header; all else stays.

    Figures of the same task, dataset and split are replaced, others stay.

    Raises:
        ValueError: the header is not YAML.
    """
    match = REGEX_YAML_BLOCK.match(card)
    try:
        header = (yaml.safe_load(match[2]) if match else None) or {}
        index = list(header.get("model-index") or [])
        ours = eval_results_to_model_index(model, results)[0]
        places = [_place(result) for result in ours["results"]]
        for entry in [entry for entry in index if entry["name"] == model]:
            index.remove(entry)
            ours["results"] += [kept for kept in entry["results"] if _place(kept) not in places]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"the header of the model's {CARD} cannot be read ({error}): mend it") from error
    header["model-index"] = [*index, ours]
    body = card[match.end() :] if match else f"\n{card}"
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n{body}"


def _place(result: dict[str, Any]) -> tuple[Any, ...]:
    """What tells one group of figures in a model-index from another."""
    data = result["dataset"]
    return (result["task"]["type"], data["type"], data.get("config"), data.get("split"))


def _base_models(facts: ModelInfo) -> list[str]:
    """Hub ids of what the training started from."""
    settings = facts.training.get("settings", {})
    towers = (settings.get(name) or {} for name in ("vision", "text"))
    named = [settings.get("model"), *(tower.get("pretrained") for tower in towers)]
    return [name for name in named if name and "/" in name and not is_local_path(name)]


def _sections(facts: ModelInfo, model_id: str, results: ModelResults | None) -> Iterator[str]:
    fusion = facts.config.get("fusion_config") is not None
    seen = "chest CT volumes" if facts.takes_volumes else "chest X-rays"
    yield (
        f"A [RadIR](https://arxiv.org/abs/2503.04653) model for {seen}: it puts images and reports into one "
        "space, "
        + (
            "and images as far as one anatomy goes, so that similar cases are found by the left pleura, say. "
            if fusion
            else "like a CLIP. It has no fusion and so answers no question about a single anatomy. "
        )
        + "**It is not a medical device** and must not be used for diagnosis or treatment."
    )
    yield f"## How to use it\n\n{_code(facts, model_id, fusion)}"
    yield f"## Model\n\n{_architecture(facts)}"
    yield f"## Training\n\n{_training(facts)}"
    yield "## Results\n\n" + (
        "Not evaluated: `radir evaluate` measures it." if results is None else _results(results, fusion)
    )
    yield _use_and_limits(facts, results)


def _code(facts: ModelInfo, model_id: str, fusion: bool) -> str:
    width = facts.config["projection_dim"]
    image = "chest.nii.gz" if facts.takes_volumes else "chest.png"
    anatomy = next(iter(facts.config.get("anatomies") or {}), None)
    conditional = (
        f"\npart = model.get_conditional_features(pixel_values, anatomy={_quoted(anatomy)})"
        f"  # (1, 1, {width})"
        if fusion and anatomy
        else ""
    )
    note = (
        "DICOM series work in place of NIfTI files (a folder's path)."
        if facts.takes_volumes
        else "PNG (8 and 16 bit), JPEG, DICOM, PIL images and arrays work alike. "
        f'`pipeline("{TASK}")` gives `whole` too, but reads every file as 8-bit colour.'
    )
    return f"""```python
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained({_quoted(model_id)}, trust_remote_code=True)
processor = AutoProcessor.from_pretrained({_quoted(model_id)}, trust_remote_code=True)

pixel_values = processor(images="{image}", return_tensors="pt")["pixel_values"]
whole = model.get_image_features(pixel_values)  # (1, {width}){conditional}

tokens = processor(text=["Small left pleural effusion."], return_tensors="pt")
text = model.get_text_features(**tokens)  # (1, {width})
similarity = (whole @ text.T).item()
```

All features have length 1: their dot product is the cosine. {note}"""


def _quoted(text: str) -> str:
    """A Python string on one line."""
    return json.dumps(text, ensure_ascii=False)


def _fusion(fusion: dict[str, Any]) -> str:
    if fusion.get("kind") == "linear":
        heads, basis = fusion["num_conditions"], fusion["basis_size"]
        return f"{heads:,} linear heads of {fusion['hidden_size'] // 2} numbers, on {basis:,} of an image"
    return f"cross-attention, {_sizes(fusion)}"


def _architecture(facts: ModelInfo) -> str:
    config = facts.config
    fusion = config.get("fusion_config") or {}
    kinds = {
        "vision_model": _tower(config.get("vision_config") or {}),
        "text_model": _tower(config.get("text_config") or {}),
        "fusion_model": _fusion(fusion),
    }
    rows = [
        f"| {_PARTS.get(part, plain(part))} | {kinds.get(part, '')} | {count:,} |"
        for part, count in sorted(facts.parameters.items(), key=lambda item: -item[1])
    ]
    total = f"| all | features of {config['projection_dim']} numbers | {sum(facts.parameters.values()):,} |"
    table = "\n".join(["| Part | What | Parameters |", "| --- | --- | ---: |", *rows, total])
    size = facts.images.get("size") or {}
    shape = " x ".join(str(size[axis]) for axis in ("depth", "height", "width") if axis in size)
    lines = [table]
    if shape:
        spacing = facts.images.get("spacing_mm")
        lines.append(
            f"Images are brought to {shape} "
            + (f"voxels of {' x '.join(map(str, spacing))} mm." if spacing else "pixels.")
        )
    names = list(config.get("anatomies") or {})
    if names and fusion:
        lines.append(
            f"<details><summary>The {len(names)} anatomies that it knows by name</summary>\n\n"
            + ", ".join(map(plain, names))
            + "\n\n</details>"
        )
    return "\n\n".join(lines)


def _tower(config: dict[str, Any]) -> str:
    name = config.get("architecture") or config.get("model_type", "")
    return ", ".join(filter(None, [code(name), _sizes(config)]))


def _sizes(config: dict[str, Any]) -> str:
    found = ((pattern, config.get(name)) for name, pattern in _SIZES.items())
    return ", ".join(pattern.format(value) for pattern, value in found if value)


def _training(facts: ModelInfo) -> str:
    if not facts.training:
        return "Not recorded: the folder has no training.json."
    data = facts.data
    said = "The training data are not recorded."
    if data.get("name"):
        homepage, licence = (plain(data.get(key) or "") for key in ("homepage", "licence"))
        said = f"Trained on {plain(data['name'])} ({homepage or 'no page given'}), licence: "
        said += f"{licence or 'unknown'}; {_SHARING.get(data.get('sharing', ''), _SHARING[''])}"
    if "started_from" in data:
        earlier = (data["started_from"] or {}).get("name") or "data that are not known"
        said += f" It started from a model trained on {plain(earlier)}; the terms are the stricter of both."
    parts = [said]
    if facts.training.get("seconds"):
        parts.append(f"{facts.training['seconds']:,.0f} seconds. {_losses(facts.training)}".strip())
    if facts.settings:
        listed = yaml.safe_dump(facts.settings, sort_keys=False, allow_unicode=True)
        parts.append(f"<details><summary>Settings</summary>\n\n{fenced(listed, 'yaml')}\n\n</details>")
    return "\n\n".join(parts)


_SHARING = {
    "open": "the data are free to share.",
    "restricted": "the data may not be handed on.",
    "credentialed": "only people with signed access may hold the data.",
    "": "whether the data may be shared is not recorded.",
}


def _losses(training: dict[str, Any]) -> str:
    """The last loss of each stage; an adapted model has none."""
    last = {entry["stage"]: entry for entry in training.get("history", []) if "loss" in entry}
    return " ".join(
        f"Stage {stage}: {entry['step'] + 1:,} steps, last loss {entry['loss']:.4f}."
        for stage, entry in sorted(last.items())
    )


def _results(results: ModelResults, fusion: bool) -> str:
    note = "" if fusion else "\n\nWithout fusion, it ranks by the whole image for every anatomy."
    return results.markdown() + note


def _use_and_limits(facts: ModelInfo, results: ModelResults | None) -> str:
    name = facts.data.get("name", "")
    tested = (
        "It has not been tested at all."
        if results is None
        else f"It was tested on {plain(results.dataset)} ({plain(results.split)}) alone: not on other "
        "hospitals, devices, protocols, age groups or diseases."
    )
    phantom = (
        "- It has seen drawn phantoms alone and knows nothing of patients.\n"
        if name.startswith("phantom")
        else ""
    )
    return f"""## Intended use

Research on retrieval of similar images, and development of software for it. Hits are cases that look alike to
the model; whether they are alike is for a radiologist to say.

## Limits

- It is not a medical device: it has no approval, and no study shows that it helps anyone.
- What counts as similar was mined from reports by rules and models, with their errors; what a report does not
  mention, the model was not taught.
{phantom}- {tested}
- It may tell patients, devices and hospitals apart by marks that have nothing to do with disease.
- A learnt vocabulary and the weights derive from the training texts and images: they are to be handled as the
  data's licence says."""
