"""A small model folder as a training leaves it, and results.json with made-up figures."""

import json
from pathlib import Path
from typing import Any

from dataset_scripts.sources.base import Sharing
from modeling_radir import RadIRCTImageProcessor, RadIRProcessor
from tests.modeling_radir import tiny

DATA = {"name": "made-up", "homepage": "https://example.org/made-up", "digest": "0" * 64}
SETTINGS = {"method": "radir", "stage": "both", "model": "", "learning_rate": 0.001}
HISTORY = [
    {"stage": 1, "step": 0, "loss": 4.0},
    {"stage": 1, "step": 99, "loss": 3.5},
    {"stage": 2, "step": 49, "loss": 0.25},
]


def model_folder(
    folder: Path,
    sharing: Sharing | None = Sharing.OPEN,
    licence: str = "apache-2.0",
    tower: str = "vit",
    fusion: bool = True,
    volumes: bool = False,
    **settings: Any,
) -> Path:
    """A tiny model with its processor and training.json; no word on the data if sharing is None."""
    tiny.model(tower, fusion).save_pretrained(folder)
    processor = tiny.processor()
    if volumes:
        size = {"depth": tiny.VOLUME_DEPTH, "height": tiny.IMAGE_SIZE, "width": tiny.IMAGE_SIZE}
        images = RadIRCTImageProcessor(size=size, spacing_mm=[3.0, 2.0, 2.0])
        processor = RadIRProcessor(image_processor=images, tokenizer=tiny.tokenizer())
    processor.save_pretrained(folder)
    data = None if sharing is None else DATA | {"licence": licence, "sharing": sharing.value}
    report = {"settings": SETTINGS | settings, "history": HISTORY, "seconds": 1234.5, "data": data}
    (folder / "training.json").write_text(json.dumps(report))
    return folder


def results_file(path: Path, *names: str, dataset: str = "made-up") -> Path:
    """results.json of models of these names: the n-th has a Recall of n / 10, regions twice that."""
    models = {name: _block(0.1 * number) for number, name in enumerate(names, 1)}
    models["random"] = _block(0.05) | {"reference": True}
    results = {
        "dataset": dataset,
        "split": "test",
        "seed": 0,
        "protocol": {"threshold": 0.9, "strict": True, "ks_unconditional": [5, 10], "ks_conditional": [3]},
        "n_images": 1200,
        "n_subjects": 1000,
        "models": models,
        "comparisons": [],
        "anatomies": {},
    }
    path.write_text(json.dumps(results))
    return path


def _block(value: float) -> dict[str, Any]:
    whole = {"n_queries": 1200, "n_without_correct": 0, "n_candidates": 1200}
    average = {"n_anatomies": 2, "n_queries": 2000, "n_without_correct": 10, "n_train_studies": 5000}
    undefined = {"recall": {"5": None, "10": None}, "recall_ci95": {"5": [None, None], "10": [None, None]}}
    return {
        "image_to_image": whole | _figures(("5", "10"), value) | undefined,
        "image_to_report": whole | _figures(("5", "10"), value),
        "conditional": {"heart": whole | _figures(("3",), value)},
        "conditional_macro": average | _figures(("3",), value),
        "conditional_regions": {"heart": average | {"n_anatomies": 1} | _figures(("3",), 2 * value)},
        "conditions": True,
        "reference": False,
    }


def _figures(ks: tuple[str, ...], value: float) -> dict[str, Any]:
    """NDCG is half of Recall; intervals reach 0.01 to both sides."""
    figures: dict[str, Any] = {}
    for metric, share in (("recall", 1.0), ("ndcg", 0.5)):
        figures[metric] = dict.fromkeys(ks, share * value)
        figures[f"{metric}_ci95"] = {k: [share * value - 0.01, share * value + 0.01] for k in ks}
    return figures
