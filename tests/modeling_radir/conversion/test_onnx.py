"""ONNX: the exported graphs say what the model says, for any batch."""

import json

import numpy as np
import pytest
import torch

from modeling_radir import RadIRCTImageProcessor, RadIRProcessor
from modeling_radir.conversion.onnx import export_model, export_onnx
from tests.modeling_radir import tiny

CASES = [*((tower, "images") for tower in tiny.TOWERS), ("ctvit", "volumes")]
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra onnx)")


@pytest.mark.parametrize(("tower", "kind"), CASES)
def test_onnxruntime_gives_the_features_of_torch_for_any_batch(tmp_path, tower, kind):
    model = tiny.model(tower)
    made = tiny.pixel_values if kind == "images" else tiny.volumes
    export = export_onnx(model, tmp_path / "onnx", made(1).shape[1:])
    vision, fusion = (
        onnxruntime.InferenceSession(str(export.folder / name)) for name in ("vision.onnx", "fusion.onnx")
    )
    queries = np.load(export.folder / "queries.npy")
    assert export.anatomies == tiny.ANATOMIES and queries.shape == (3, 32)
    for count, asked in ((1, [0, 1, 2]), (4, [2])):
        pixels = made(count, seed=count)
        with torch.no_grad():
            encoded = model.encode_image(pixels)
            whole = model.get_image_features(pixels)
            part = model.get_conditional_features(pixels, anatomy=[tiny.ANATOMIES[i] for i in asked])
        tokens, pooled, embeds = vision.run(None, {"pixel_values": pixels.numpy()})
        (features,) = fusion.run(None, {"tokens": tokens, "queries": queries[asked]})
        for ours, theirs in (
            (tokens, encoded.tokens),
            (pooled, encoded.pooled),
            (embeds, whole),
            (features, part),
        ):
            torch.testing.assert_close(torch.from_numpy(ours), theirs, atol=1e-4, rtol=0)


def test_a_model_folder_is_exported_for_the_images_of_its_processor(tmp_path):
    tiny.model("ctvit").save_pretrained(tmp_path / "model")
    size = {"depth": tiny.VOLUME_DEPTH, "height": tiny.IMAGE_SIZE, "width": tiny.IMAGE_SIZE}
    images = RadIRCTImageProcessor(size=size)
    RadIRProcessor(image_processor=images, tokenizer=tiny.tokenizer()).save_pretrained(tmp_path / "model")
    export = export_model(tmp_path / "model", tmp_path / "onnx")
    about = json.loads((tmp_path / "onnx" / "export.json").read_text())
    assert export.shape == tuple(about["shape"]) == (1, tiny.VOLUME_DEPTH, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE)
    assert about["anatomies"] == list(tiny.ANATOMIES) and about["grid"] == [4, 4]
    assert set(about["differences"]) == {"tokens", "pooled", "image_embeds", "features"}
    assert max(about["differences"].values()) <= 1e-4
    files = {path.name for path in (tmp_path / "onnx").iterdir()}
    assert files == {"vision.onnx", "fusion.onnx", "queries.npy", "export.json"}


def test_without_fusion_the_tower_alone_is_exported_and_the_model_is_left_as_it_was(tmp_path):
    model = tiny.model("resnet", fusion=False).train()
    export = export_onnx(model, tmp_path / "onnx", (1, 32, 32))
    assert model.training
    assert {path.name for path in export.folder.iterdir()} == {"vision.onnx", "export.json"}
    assert export.anatomies == ()


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"exists: give a new folder"):
        export_onnx(tiny.model(), tmp_path, (1, 32, 32))
    with pytest.raises(ValueError, match=r"load it with dtype=torch.float32"):
        export_onnx(tiny.model().to(torch.bfloat16), tmp_path / "onnx", (1, 32, 32))
    with pytest.raises(ValueError, match="num_channels=1"):
        export_onnx(tiny.model(), tmp_path / "onnx", (3, 32, 32))
    with pytest.raises(ValueError, match="volumes"):
        export_onnx(tiny.model(), tmp_path / "onnx", (1, 8, 32, 32))
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_differs_from_the_model_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("modeling_radir.conversion.onnx.TOLERANCE", -1.0)
    with pytest.raises(ValueError, match=r"tokens of vision\.onnx differs from the model"):
        export_onnx(tiny.model(), tmp_path / "onnx", (1, 32, 32))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ImportError, match="exporting to ONNX needs onnxscript: pip install onnxscript"):
        export_onnx(tiny.model(), tmp_path / "onnx", (1, 32, 32))
