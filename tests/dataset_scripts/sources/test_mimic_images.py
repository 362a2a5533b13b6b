"""MIMIC-CXR's JPEGs become PNGs that stand as the JPEGs are looked at."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_scripts.sources.mimic.images import render_jpeg
from modeling_radir.pictures import read_picture


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_rendered_jpeg_stands_as_a_reader_of_the_file_sees_it(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    ramp = np.linspace(0, 255, 40 * 64).reshape(40, 64).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "a.jpg", exif=exif, quality=100)
    rendered = Image.open(io.BytesIO(render_jpeg(tmp_path / "a.jpg", 40)))
    np.testing.assert_array_equal(np.asarray(rendered), np.asarray(read_picture(tmp_path / "a.jpg")))
