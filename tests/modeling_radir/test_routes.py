"""An image gives the same pixel values by every route to the model."""

import base64
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Pipeline, pipeline

from modeling_radir import pipeline_radir
from modeling_radir.pictures import read_picture
from radir_search.features import read_pixels
from radir_search.image_files import list_images
from tests.made_up.dicom import write_dicom
from tests.made_up.pictures import write_tiff
from tests.modeling_radir import tiny

SCENE = np.add.outer(np.arange(40) ** 2, 7 * np.arange(32)).astype(np.uint16)  # no symmetry, above 8 bits
PICTURES = ("rotated.jpg", "deep.png", "min_is_white.tif", "big_endian.tif", "float.tif", "rotated_deep.png")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each kind, by its name."""
    folder = tmp_path_factory.mktemp("images")
    exif = Image.Exif()
    exif[0x0112] = 6
    colours = np.dstack([SCENE // 10 % 256, SCENE // 8 % 256, SCENE // 7 % 256]).astype(np.uint8)
    Image.fromarray(colours).save(folder / "rotated.jpg", exif=exif, quality=100)
    Image.fromarray(SCENE).save(folder / "deep.png")
    Image.fromarray(SCENE).save(folder / "rotated_deep.png", exif=exif)
    write_tiff(folder / "min_is_white.tif", np.uint16(2**16 - 1) - SCENE, white_is_zero=True)
    write_tiff(folder / "big_endian.tif", SCENE, order=">")
    write_tiff(folder / "float.tif", SCENE.astype(np.float32))
    write_dicom(folder / "inverted", np.uint16(4095) - SCENE, "MONOCHROME1", 12)
    return {path.name: path for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def extract(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("model")
    tiny.model().save_pretrained(folder)
    tiny.processor().save_pretrained(folder)
    made: Pipeline = pipeline("image-feature-extraction", model=str(folder))
    return made


def by_path(image: Any) -> torch.Tensor:
    return tiny.processor()(images=image, return_tensors="pt")["pixel_values"]


def rows(path: Path, decode: bool) -> Any:
    """The image of a dataset's row."""
    stored = datasets.Dataset.from_list([{"image": {"bytes": path.read_bytes(), "path": path.name}}])
    return stored.cast_column("image", datasets.Image(decode=decode))[0]["image"]


@pytest.mark.parametrize("name", [*PICTURES, "inverted"])
def test_every_route_gives_the_same_pixel_values(
    files: dict[str, Path], extract: Pipeline, name: str
) -> None:
    path, processor = files[name], tiny.processor()
    expected = by_path(path)
    found = {
        "text": by_path(str(path)),
        "bytes": by_path(path.read_bytes()),
        "image processor": processor.image_processor(path, return_tensors="pt")["pixel_values"],
        "search": read_pixels(processor, path),
        "index": read_pixels(
            processor, next(each for each in list_images(path.parent, volumes=False) if each.name == name)
        ),
        "pipeline": extract.preprocess(str(path))["pixel_values"],
        "pipeline, bytes": extract.preprocess(path.read_bytes())["pixel_values"],
    }
    if name in PICTURES:
        with Image.open(path) as opened:
            found["PIL image"] = by_path(opened)
        found["dataset row"] = by_path(rows(path, decode=True))
        found["dataset row, by read_picture"] = by_path(read_picture(rows(path, decode=False)["bytes"]))
        found["upright PIL image"] = by_path(read_picture(path))
        found["pipeline, PIL image"] = extract.preprocess(read_picture(path))["pixel_values"]
    for route, pixels in found.items():
        assert torch.equal(pixels, expected), route


def test_pixel_values_rise_with_the_scene_whatever_the_file(files: dict[str, Path]) -> None:
    size = {"height": 40, "width": 32}
    settings: dict[str, Any] = {"size": size, "return_tensors": "np"}
    scene = (SCENE - SCENE.min()) / np.ptp(SCENE) * 2 - 1
    for name in ("deep.png", "min_is_white.tif", "big_endian.tif", "float.tif", "inverted"):
        pixels = tiny.processor().image_processor(files[name], **settings)["pixel_values"][0, 0]
        np.testing.assert_allclose(pixels, scene, atol=1e-6, err_msg=name)
    turned = tiny.processor().image_processor(
        files["rotated_deep.png"], size={"height": 32, "width": 40}, return_tensors="np"
    )["pixel_values"][0, 0]
    np.testing.assert_allclose(turned, np.rot90(scene, -1), atol=1e-6)


@pytest.fixture
def address(files: dict[str, Path]) -> Iterator[str]:
    """Of a server that gives the files."""
    folder = next(iter(files.values())).parent

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_pipeline_takes_addresses_and_base64_at_full_depth(
    files: dict[str, Path], extract: Pipeline, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    expected = by_path(files["deep.png"])
    text = base64.b64encode(files["deep.png"].read_bytes()).decode()
    for source in (f"{address}/deep.png", text, f"data:image/png;base64,{text}"):
        assert torch.equal(extract.preprocess(source)["pixel_values"], expected)
    with pytest.raises(ValueError, match=r"absent\.png cannot be fetched .*404"):
        extract(f"{address}/absent.png")


@pytest.mark.parametrize("name", ["absent.png", "data:image/png;base64,***"])
def test_the_pipeline_refuses_what_it_cannot_read_in_words(extract: Pipeline, name: str) -> None:
    with pytest.raises(ValueError, match=r"no file absent\.png|base64 text is damaged"):
        extract(name)


def test_the_pipelines_features_are_those_of_the_deep_image(
    files: dict[str, Path], extract: Pipeline
) -> None:
    with torch.no_grad():
        for name in ("deep.png", "inverted"):
            expected = tiny.model().get_image_features(by_path(files[name]))
            torch.testing.assert_close(extract(str(files[name]), return_tensors=True), expected)
    several = extract([str(files["deep.png"]), str(files["inverted"])], batch_size=2, return_tensors=True)
    assert len(several) == 2


def test_other_models_keep_the_pipeline_of_transformers(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, extract: Pipeline
) -> None:
    seen: list[Any] = []

    class Other:
        def __call__(self, image: Any, **settings: Any) -> Any:
            seen.append(image)
            return torch.zeros(1)

    monkeypatch.setattr(extract, "image_processor", Other())
    extract.preprocess(str(files["deep.png"]))
    assert seen[0].mode == "RGB"  # as transformers opens it
    assert type(extract) is pipeline_radir.RadIRImageFeatureExtractionPipeline


def test_a_saved_pipeline_loads_without_trust(extract: Pipeline, tmp_path: Path) -> None:
    extract.save_pretrained(str(tmp_path))
    assert "custom_pipelines" not in (tmp_path / "config.json").read_text()
    assert pipeline("image-feature-extraction", model=str(tmp_path)) is not None
