"""Made-up sources, small enough for a test: an Open-i-shaped tree with a report for each study."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from dataset_scripts.building.build import build_dataset
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.sources.base import ImageRecord, Skipped, Source
from dataset_scripts.sources.open_i import OpenISource

SENTENCES = {
    "heart": ("The heart is normal in size.", "Mild cardiomegaly.", "The heart is severely enlarged."),
    "left pleura": (
        "No left pleural effusion.",
        "There is a small left pleural effusion.",
        "Large left effusion.",
    ),
    "lungs": ("The lungs are clear.", "Right upper lobe consolidation.", "Left basilar atelectasis."),
    "spine": ("", "Degenerative changes of the thoracic spine.", ""),
}


def read_all(source: Source) -> Iterator[ImageRecord | Skipped]:
    """All of a source in order, in this process."""
    for job in source.jobs():
        if isinstance(job, Skipped):
            yield job
        else:
            yield from source.read(job)


def findings(number: int) -> str:
    """The made-up findings section of study `number`: 81 different ones."""
    chosen = [texts[number // 3**place % 3] for place, texts in enumerate(SENTENCES.values())]
    return " ".join(filter(None, chosen))


def open_i_tree(folder: Path, studies: int = 40, size: int = 32) -> Path:
    """Write indiana_reports.csv, indiana_projections.csv, gold_labels.csv and images/; returns the folder."""
    (folder / "images").mkdir(parents=True)
    reports, projections, labels = [], [], []
    rng = np.random.default_rng(0)
    for uid in range(1, studies + 1):
        text = findings(uid)
        reports.append((uid, "", "", "XRAY", "pain", "none", text, "See findings."))
        labels.append((uid, int("ardiomegaly" in text), int(" effusion" in text and "No" not in text)))
        for view in ("Frontal", "Lateral")[: 1 + uid % 2]:
            name = f"{uid}_IM-{uid:04}-{view[0]}001.dcm.jpg"
            projections.append((uid, name, view))
            pixels = rng.integers(0, 255, (size, size), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name)
    columns = ("uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression")
    _write(folder / "indiana_reports.csv", columns, reports)
    _write(folder / "indiana_projections.csv", ("uid", "filename", "projection"), projections)
    _write(folder / "gold_labels.csv", ("uid", "Cardiomegaly", "Effusion"), labels)
    return folder


def built_open_i(folder: Path, studies: int = 40) -> Path:
    """Build a dataset from such a tree; returns the dataset's folder."""
    source = OpenISource(open_i_tree(folder / "source", studies))
    build_dataset(source, folder / "built", LexicalExtractor(), progress=False)
    return folder / "built"


def _write(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([columns, *rows])


TINY_TRAINING = """
projection_dim: 16
vision: {model_type: vit, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2,
         intermediate_size: 32, image_size: 32, patch_size: 8, num_channels: 1}
text: {model_type: bert, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}
fusion: {num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}
vocab_size: 200
max_tokens: 48
image_size: 32
stage1_steps: 4
stage2_steps: 4
batch_size: 8
stage2_batch_size: 8
anatomies_per_step: 3
train_vision: true
learning_rate: 1.0e-3
warmup_steps: 2
augment: true
checkpoint_every: 2
log_every: 1
tracker: none
"""
