"""The means of a model's features over training images, kept in it; see `modeling_radir.modeling_centre`."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.plumbing.bars import progress_bar
from dataset_scripts.plumbing.manifest import (
    MANIFEST,
    check_replaceable,
    files_below,
    read_manifest,
    write_manifest,
)
from dataset_scripts.plumbing.outputs import claim
from modeling_radir import RadIRModel
from modeling_radir.inference import embed_all, load
from modeling_radir.modeling_centre import RadIRCentre
from radir_training.batches import ImageReader
from radir_training.feature_geometry import FeatureGeometry, feature_geometry
from radir_training.run_folder import MODEL_KIND

logger = logging.getLogger(__name__)

TRAIN, WHOLE = "train", ""
MOST_IMAGES = 5_000  # whose means are taken, drawn with the seed
LEAST_IMAGES = 10  # of an anatomy, for a mean of its own


@dataclass(frozen=True)
class Calibrated:
    """What came of it.

    Attributes:
        folder: of the model.
        images: whose means were taken.
        before, after: condition ("" of whole images) -> its features' geometry, raw and centred.
        without_own: anatomies of too few images, which share the mean of all the others.
    """

    folder: Path
    images: int
    before: dict[str, FeatureGeometry]
    after: dict[str, FeatureGeometry]
    without_own: list[str]


def calibrate(
    model: str,
    dataset: str | Path,
    out: Path,
    images: int = MOST_IMAGES,
    seed: int = 0,
    progress: bool = True,
) -> Calibrated:
    """Write a model that keeps the means of its features over a training split.

    Args:
        model: a model folder or Hub id.
        dataset: a built dataset, folder or Hub id, of the images that the model was trained on, or such.
        out: the folder to write, whole or not at all; the model's own to replace it.
        images: of the training split, at most.
        seed: of their draw.
        progress: show a progress bar.

    Raises:
        ValueError: the model or the dataset cannot be used, or `out` holds other files.
    """
    if images < 2:
        raise ValueError(f"images is {images}: a mean needs two or more")
    data = BuiltDataset.open(dataset)
    if TRAIN not in data.splits:
        raise ValueError(f"{data.name} has no training split: build it with one")
    network, processor = load(model)
    if not network.config.anatomies:
        raise ValueError(f"{model} knows no anatomy: call set_anatomies, and save it again")
    network.centre, network.config.centred = None, False  # that of an earlier calibration
    names = list(network.config.anatomies)
    with claim(out) as place:
        source = Path(model)
        if not source.is_dir() or place != source.resolve():
            check_replaceable(place, MODEL_KIND, "a model")
        rows = _drawn(data, images, seed)
        features, spoken = _features(network, processor, data, rows, names, progress)
        texts = _text_features(network, processor, data, rows)
        centre, without_own = _centre(network, features, spoken, texts, names)
        before = _geometry(features, spoken, names)
        network.centre, network.config.centred = centre.eval(), True
        queries = centre.queries
        centred = {WHOLE: centre.whole(torch.from_numpy(features[WHOLE])).numpy()}
        for at, name in enumerate(names if len(features) > 1 else ()):
            moved = centre.conditional(torch.from_numpy(features[name])[:, None], queries[at : at + 1])
            centred[name] = moved[:, 0].numpy()
        after = _geometry(centred, spoken, names)
        with atomic_path(place) as fresh:
            _write(network, processor, source, fresh)
    return Calibrated(out, len(rows), before, after, without_own)


def _drawn(data: BuiltDataset, images: int, seed: int) -> np.ndarray:
    count = len(data.studies(TRAIN))
    if count <= images:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, images, replace=False))


def _features(
    network: RadIRModel,
    processor: Any,
    data: BuiltDataset,
    rows: np.ndarray,
    names: list[str],
    progress: bool,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Raw features (n, d) of whole images and under each anatomy, and which images' texts speak of it."""
    studies, read = data.studies(TRAIN), ImageReader(data, processor.image_processor, data.image)
    bar = progress_bar(rows.tolist(), desc="features", unit="image", shown=progress)
    pixels: Iterator[Tensor] = (read(studies[row])[None] for row in bar)
    queries = None
    if network.fusion_model is not None:
        with torch.inference_mode():
            queries = network.encode_anatomies(*network.anatomy_tokens(names))
    whole, fused = [], []
    for one, conditional in embed_all(network, pixels, queries):
        whole.append(one.numpy())
        if conditional is not None:
            fused.append(conditional.numpy())
    features = {WHOLE: np.concatenate(whole)}
    if fused:
        features |= dict(zip(names, np.concatenate(fused).swapaxes(0, 1), strict=True))
    findings, ids = data.findings(TRAIN), studies["study_id"][:]
    spoken = {name: np.array([name in findings.get(ids[row], ()) for row in rows.tolist()]) for name in names}
    return features, spoken


@torch.inference_mode()
def _text_features(network: RadIRModel, processor: Any, data: BuiltDataset, rows: np.ndarray) -> np.ndarray:
    """(m, d) of the reports of these images."""
    said = data.studies(TRAIN)["findings"][:]
    texts = sorted({said[row] for row in rows.tolist() if said[row]})
    found = [np.zeros((0, network.config.projection_dim), np.float32)]
    for start in range(0, len(texts), 64):
        tokens = processor(text=texts[start : start + 64], return_tensors="pt").to(network.device)
        features = network.get_text_features(tokens["input_ids"], tokens["attention_mask"])
        found.append(features.float().cpu().numpy())
    return np.concatenate(found)


@torch.no_grad()
def _centre(
    network: RadIRModel,
    features: dict[str, np.ndarray],
    spoken: dict[str, np.ndarray],
    texts: np.ndarray,
    names: list[str],
) -> tuple[RadIRCentre, list[str]]:
    """The means; an anatomy of few images takes that of all the others' features."""
    centre = RadIRCentre(network.config)
    centre.images.copy_(torch.from_numpy(features[WHOLE].mean(axis=0)))
    if len(texts):
        centre.texts.copy_(torch.from_numpy(texts.mean(axis=0)))
    centre.queries.copy_(network.encode_anatomies(*network.anatomy_tokens(names)).cpu())
    if len(features) == 1:
        return centre, []
    own = {name: features[name][spoken[name]].mean(axis=0) for name in names
           if spoken[name].sum() >= LEAST_IMAGES}  # fmt: skip
    common = np.mean(list(own.values()), axis=0) if own else np.zeros_like(features[WHOLE][0])
    for place, name in enumerate(names):
        centre.conditions[place].copy_(torch.from_numpy(own.get(name, common)))
    return centre, [name for name in names if name not in own]


def _geometry(
    features: dict[str, np.ndarray], spoken: dict[str, np.ndarray], names: list[str]
) -> dict[str, FeatureGeometry]:
    """Of whole images, and of each anatomy over the images that speak of it."""
    found = {WHOLE: feature_geometry(features[WHOLE])}
    for name in names if len(features) > 1 else ():
        if spoken[name].sum() >= LEAST_IMAGES:
            found[name] = feature_geometry(features[name][spoken[name]])
    return found


def _write(network: RadIRModel, processor: Any, source: Path, folder: Path) -> None:
    """The model and its processor, beside what else the model folder lists as its own."""
    folder.mkdir()
    listed = read_manifest(source, MODEL_KIND) if source.is_dir() else None
    kept = files_below(source) if source.is_dir() and listed is None else sorted(listed or ())
    for name in kept:
        if name != MANIFEST and (source / name).is_file() and not name.endswith(".safetensors"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, folder / name)
    network.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    write_manifest(folder, MODEL_KIND)
