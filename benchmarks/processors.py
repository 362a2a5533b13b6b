"""A CT scan of 512 x 512 x 150 to pixel values of 480 x 480 x 240, beside what a user would put together.

    python benchmarks/processors.py > benchmarks/results/processors.md

The scan is made up: a body with lungs, 2.0 x 0.7 x 0.7 mm, stored from the head down so that it has to be
turned, with noise of 15 HU so that it compresses as badly as a real one. Each figure is the best of several
runs in this process with the files in the page cache; reading and decompression count.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
import torch.nn.functional as F
from machine import machine
from nibabel.processing import resample_to_output
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from modeling_radir import RadIRCTImageProcessor, Volume, read_volume
from tests.made_up.dicom import write_series
from tests.made_up.volumes import save_turned

SHAPE, SPACING = (150, 512, 512), (2.0, 0.7, 0.7)


def scan() -> Volume:
    """A body of soft tissue in air with two lungs, in whole HU."""
    rng = np.random.default_rng(0)
    height, width = SHAPE[1:]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    plane = np.where(x**2 / 0.8 + y**2 / 0.5 < 1, 40.0, -1000.0)
    for side in (-0.4, 0.4):
        plane[(x - side) ** 2 / 0.08 + y**2 / 0.25 < 1] = -850
    hu = np.empty(SHAPE, np.int16)
    for section in hu:
        section[:] = np.rint(plane + rng.normal(0, 15, plane.shape))
    return Volume(hu, SPACING)


def fitted(array: np.ndarray, processor: Any) -> torch.Tensor:
    """Clip, pad with air or crop about the centre, and scale: (1, 1, D, H, W)."""
    size = [processor.size[side] for side in ("depth", "height", "width")]
    out = np.full(size, float(processor.hu_min), np.float32)
    to, take = [], []
    for have, want in zip(array.shape, size, strict=True):
        to.append(slice(max(0, want - have) // 2, max(0, want - have) // 2 + min(have, want)))
        take.append(slice(max(0, have - want) // 2, max(0, have - want) // 2 + min(have, want)))
    out[tuple(to)] = np.clip(array[tuple(take)], processor.hu_min, processor.hu_max)
    return torch.from_numpy(out / 1000)[None, None]


def canonical(path: Path) -> tuple[Any, np.ndarray]:
    """nibabel's image in LPS order, and its (z, y, x) zooms."""
    image = nibabel.load(path)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt("LPS")
    )
    image = image.as_reoriented(turn)
    return image, np.array(image.header.get_zooms()[::-1])


def with_scipy(path: Path, processor: Any) -> torch.Tensor:
    """nibabel and scipy.ndimage.zoom, order 1, on float32."""
    image, zooms = canonical(path)
    array = image.get_fdata(dtype=np.float32).T
    grid = np.rint(np.array(array.shape) * zooms / processor.spacing_mm)
    zoomed = ndimage.zoom(array, grid / array.shape, order=1, grid_mode=True, mode="nearest")
    return fitted(zoomed, processor)


def with_nibabel(path: Path, processor: Any) -> torch.Tensor:
    """nibabel.processing.resample_to_output, order 1; its frame is RAS, so it is turned afterwards."""
    image = resample_to_output(nibabel.load(path), processor.spacing_mm[::-1], order=1, cval=-1000)
    return fitted(image.get_fdata(dtype=np.float32)[::-1, ::-1].T, processor)


def with_torch(path: Path, processor: Any) -> torch.Tensor:
    """The release's steps with the true geometry: get_fdata in float64, interpolate, clip, pad."""
    image, zooms = canonical(path)
    array = torch.from_numpy(np.ascontiguousarray(image.get_fdata().T))[None, None]
    grid = [
        round(n * mm / to) for n, mm, to in zip(array.shape[2:], zooms, processor.spacing_mm, strict=True)
    ]
    return fitted(F.interpolate(array, grid, mode="trilinear")[0, 0].numpy(), processor)


def best_seconds(run: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    seconds, result = [], None
    for _ in range(repeats):
        result = None  # its memory goes back before the next run asks for it
        started = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - started)
    return min(seconds), result


def table(folder: Path, repeats: int) -> list[str]:
    """All ways of making the scan ready, and how far the others' pixel values are from RadIR's."""
    processor, volume = RadIRCTImageProcessor(), scan()
    path, npy = save_turned(folder / "scan.nii.gz", volume, "IPL"), folder / "scan.npy"
    write_series(folder / "series", volume.hu, SPACING)
    processor.save_prepared(path, npy)
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "this processor, from .nii.gz": lambda: processor(path)["pixel_values"],
        "this processor, from an int16 array": lambda: processor(volume)["pixel_values"],
        "this processor, from a DICOM series": lambda: processor(folder / "series")["pixel_values"],
        "this processor, from the prepared .npy": lambda: processor(npy)["pixel_values"],
        "nibabel and torch's interpolate in float64, the release's steps": lambda: with_torch(
            path, processor
        ),
        "nibabel and scipy.ndimage.zoom, order 1": lambda: with_scipy(path, processor),
        "nibabel.processing.resample_to_output, order 1": lambda: with_nibabel(path, processor),
    }
    ours, lines = processor(path)["pixel_values"], []
    first = None
    for name, way in ways.items():
        seconds, pixels = best_seconds(way, repeats if name.startswith("this") else max(1, repeats // 2))
        first = first or seconds
        same = "equal" if torch.equal(pixels, ours) else f"{1000 * (pixels - ours).abs().mean():.2f} HU"
        lines.append(f"| {name} | {seconds:.2f} | {seconds / first:.1f} | {same} |")
    reading, _ = best_seconds(lambda: read_volume(path), repeats)
    opening, _ = best_seconds(lambda: processor.load_prepared(npy), repeats)
    lines += [
        "",
        f"Of the first line {reading:.2f} s are reading and decompressing {path.stat().st_size / 1e6:.0f} MB."
        f" The prepared file ({npy.stat().st_size / 1e6:.0f} MB) opens in {1e3 * opening:.1f} ms.",
    ]
    return lines


def main() -> None:
    """Print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="of torch; this processor uses one")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        lines = table(Path(folder), arguments.repeats)
    text = [
        f"# Image processors, {machine()}",
        "",
        *__doc__.split("\n\n")[2].strip().splitlines(),
        "",
        "| a scan of 512 x 512 x 150 | seconds | of the first | mean difference |",
        "|---|---:|---:|---:|",
        *lines,
        "",
        f"Load of the machine before and after: {before:.1f}, {os.getloadavg()[0]:.1f}. "
        f"torch {torch.__version__}, {arguments.threads} threads.",
    ]
    sys.stdout.write("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
