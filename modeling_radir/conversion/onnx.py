"""ONNX: the image tower and the fusion as graphs that onnxruntime runs, without torch and for any batch.

    vision.onnx    pixel_values -> tokens (B, N, Cv), pooled (B, Cv), image_embeds (B, d)
    fusion.onnx    tokens (B, N, Cv), queries (Q, d) -> features (B, Q, d)
    queries.npy    (Q, d) float32, the queries of the anatomies that the model knows
    export.json    the anatomies in that order, the shape of pixel_values, the grid of the tokens, differences

Features have unit length, so their dot products are cosines. The size of the images is fixed at the export.
"""

import json
import os
import shutil
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..checks import library
from ..inference import load
from ..modeling_radir import RadIRModel

VISION, FUSION, QUERIES, ABOUT = "vision.onnx", "fusion.onnx", "queries.npy", "export.json"
TOLERANCE = 1e-4
_OUTPUTS = {VISION: ("tokens", "pooled", "image_embeds"), FUSION: ("features",)}
_DATA_BESIDE = (
    1_500_000_000  # bytes of weights from which they go to a file of their own: protobuf ends at 2 GB
)


@dataclass(frozen=True)
class OnnxExport:
    """What was written.

    Attributes:
        folder: with the files above.
        shape: (C, H, W) or (C, D, H, W) of one of the pixel_values.
        anatomies: in the order of queries.npy; empty for a model without fusion, which has no fusion.onnx.
        differences: output -> its largest difference from torch, on random images and batches of other sizes
            than that of the export.
    """

    folder: Path
    shape: tuple[int, ...]
    anatomies: tuple[str, ...]
    differences: dict[str, float]


def export_model(model: str | Path, out: Path) -> OnnxExport:
    """Export a model folder or Hub id, for the images that its processor makes.

    Raises:
        ValueError: if it holds no RadIR model, or as export_onnx.
        ImportError: as export_onnx.
    """
    loaded, processor = load(model, "cpu")
    size = processor.image_processor.size
    sides = [size[axis] for axis in ("depth", "height", "width") if axis in size]
    return export_onnx(loaded.float(), out, (loaded.vision_model.num_channels, *sides))


def export_onnx(model: RadIRModel, out: Path, shape: Sequence[int]) -> OnnxExport:
    """Export a model, and compare what onnxruntime makes of it with torch.

    Args:
        model: in float32.
        out: the folder to make, atomically.
        shape: (C, H, W) of the images, or (C, D, H, W) of the volumes, that it will be given.

    Raises:
        ValueError: if `out` exists, the tower does not take that shape, or the graphs differ from the model
            by more than 1e-4.
        ImportError: if onnx, onnxscript or onnxruntime is not installed.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        library(name, "exporting to ONNX")
    if out.exists():
        raise ValueError(f"{out} exists: give a new folder for the export")
    if model.dtype != torch.float32:
        raise ValueError(f"the model is in {model.dtype}: load it with dtype=torch.float32 to export it")
    fresh = out.with_name(f".{out.name}.{uuid.uuid4().hex[:12]}.partial")
    fresh.mkdir(parents=True)
    try:
        with _resting(model):
            written = _write(model, fresh, tuple(shape))
        os.replace(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return OnnxExport(out, *written)


@torch.no_grad()
def _write(
    model: RadIRModel, folder: Path, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[str, ...], dict[str, float]]:
    """The files of an export: the shape, the anatomies and the differences."""
    images = [_random(model, (count, *shape)) for count in (2, 1, 3)]
    grid = model.encode_image(images[0]).grid
    differences = _graph(folder / VISION, _Vision(model), [{"pixel_values": batch} for batch in images])
    anatomies: tuple[str, ...] = ()
    if model.fusion_model is not None:
        anatomies = tuple(model.config.anatomies)
        queries = torch.empty(0, model.config.projection_dim)
        if anatomies:
            queries = model.encode_anatomies(*model.anatomy_tokens(anatomies))  # (Q, d)
        np.save(folder / QUERIES, queries.numpy(force=True))
        asked = [_random(model, (count, model.config.projection_dim)) for count in (2, 3, 1)]
        cases = [
            {"tokens": model.encode_image(batch).tokens, "queries": query}
            for batch, query in zip(images, asked, strict=True)
        ]
        differences |= _graph(folder / FUSION, _Fusion(model, grid), cases)
    about = {"shape": shape, "grid": grid, "anatomies": anatomies, "differences": differences}
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return shape, anatomies, differences


class _Vision(nn.Module):
    """Pixels to what the fusion and an index need."""

    def __init__(self, model: RadIRModel):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        vision = self.model.encode_image(pixel_values)
        return vision.tokens, vision.pooled, self.model.project_image(vision)


class _Fusion(nn.Module):
    """Tokens on a fixed grid and queries to conditional features."""

    def __init__(self, model: RadIRModel, grid: tuple[int, int]):
        super().__init__()
        self.model, self.grid = model, grid

    def forward(self, tokens: Tensor, queries: Tensor) -> Tensor:
        return self.model.fuse(tokens, self.grid, queries)


def _graph(path: Path, module: nn.Module, cases: Sequence[dict[str, Tensor]]) -> dict[str, float]:
    """Write one graph by the first case, and run it on all: output -> its largest difference from torch."""
    outputs = _OUTPUTS[path.name]
    size = sum(parameter.numel() * 4 for parameter in module.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter about its own internals
        torch.onnx.export(
            module.eval(),
            tuple(cases[0].values()),
            path,
            input_names=list(cases[0]),
            output_names=list(outputs),
            dynamic_shapes=tuple({0: torch.export.Dim(f"n_{name}")} for name in cases[0]),
            dynamo=True,
            external_data=size > _DATA_BESIDE,
            verbose=False,
        )
    session = library("onnxruntime", "checking an export").InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    differences = dict.fromkeys(outputs, 0.0)
    for case in cases:
        expected = module(*case.values())
        found = session.run(None, {name: value.numpy(force=True) for name, value in case.items()})
        for name, ours, theirs in zip(
            outputs, found, expected if isinstance(expected, tuple) else (expected,), strict=True
        ):
            largest = float(np.abs(ours - theirs.numpy(force=True)).max())
            differences[name] = max(differences[name], largest)
            if not largest <= TOLERANCE:
                raise ValueError(
                    f"{name} of {path.name} differs from the model by {largest:g}, more than {TOLERANCE:g}: "
                    "nothing was written; try another version of torch or onnxruntime"
                )
    return differences


def _random(model: RadIRModel, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [-1, 1), the same for the same shape."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(shape, generator=generator) * 2 - 1).to(model.device)


@contextmanager
def _resting(model: RadIRModel) -> Iterator[Any]:
    """The model without dropout, and as it was afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
