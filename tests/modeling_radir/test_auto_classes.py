"""Saved folders: the auto classes and the pipeline read them, with the package and as remote code."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoProcessor,
    AutoTokenizer,
    pipeline,
)

from modeling_radir import RadIRConfig, RadIRCXRImageProcessor, RadIRModel, RadIRProcessor
from tests.modeling_radir import tiny

# What only some inputs, or other rooms, need: a model must load where it is missing.
OPTIONAL = ("pydicom", "nibabel", "scipy", "pandas", "pyarrow", "datasets", "numba", "onnx", "onnxruntime")


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A saved model of each tower with its processor."""
    root = tmp_path_factory.mktemp("models")
    for tower in tiny.TOWERS:
        tiny.model(tower).save_pretrained(root / tower)
        tiny.processor().save_pretrained(root / tower)
    return {tower: root / tower for tower in tiny.TOWERS}


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("image") / "chest.png"
    noise = np.random.default_rng(0).integers(0, 2**16, (50, 40), dtype=np.uint16)
    Image.fromarray(noise).save(path)
    return path


@pytest.mark.parametrize("tower", tiny.TOWERS)
def test_every_auto_class_reads_a_saved_folder(folders, tower, image):
    folder, own = folders[tower], tiny.model(tower)
    config, model = AutoConfig.from_pretrained(folder), AutoModel.from_pretrained(folder)
    assert type(config) is RadIRConfig and type(model) is RadIRModel
    assert config.vision_config.to_dict() == own.config.vision_config.to_dict()
    state = model.state_dict()
    assert state.keys() == own.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in own.state_dict().items())
    processor, images = AutoProcessor.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
    assert type(processor) is RadIRProcessor and type(images) is RadIRCXRImageProcessor
    expected = tiny.processor()(images=image, return_tensors="pt")["pixel_values"]
    for made in (processor(images=image, return_tensors="pt"), images(image, return_tensors="pt")):
        assert torch.equal(made["pixel_values"], expected)
    names = list(tiny.ANATOMIES)
    assert AutoTokenizer.from_pretrained(folder)(names)["input_ids"] == tiny.tokenizer()(names)["input_ids"]


@pytest.fixture(scope="module")
def without_package(folders, image, tmp_path_factory) -> dict[str, dict[str, torch.Tensor]]:
    """What a process that has neither our package nor optional libraries makes of each folder."""
    scratch = tmp_path_factory.mktemp("elsewhere")
    script = f"""
import json, sys
for name in ("modeling_radir", "dataset_scripts", "eval", "configs", "radir") + {OPTIONAL!r}:
    sys.modules[name] = None  # importing it fails, as where it is not installed
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor, AutoTokenizer, pipeline
torch.set_grad_enabled(False)
for tower, folder in json.loads(sys.argv[1]).items():
    trust = {{"trust_remote_code": True}}
    config, model = AutoConfig.from_pretrained(folder, **trust), AutoModel.from_pretrained(folder, **trust)
    processor, images = (c.from_pretrained(folder, **trust) for c in (AutoProcessor, AutoImageProcessor))
    tokenizer = AutoTokenizer.from_pretrained(folder, **trust)
    for made in (config, model, processor, images):
        assert type(made).__module__.startswith("transformers_modules."), type(made)
    pixels = images(sys.argv[2], return_tensors="pt")["pixel_values"]
    assert torch.equal(pixels, processor(images=sys.argv[2], return_tensors="pt")["pixel_values"])
    tokens = tokenizer(["left pleura", "heart"], padding=True, return_tensors="pt")
    tokens.pop("token_type_ids", None)
    extract = pipeline("image-feature-extraction", model=folder, **trust)
    save_file({{
        "pixels": pixels,
        "tokens": tokens["input_ids"],
        "image": model.get_image_features(pixels),
        "text": model.get_text_features(**tokens),
        "anatomies": model.get_conditional_features(pixels, anatomy=list(config.anatomies)),
        "pipeline": extract(sys.argv[2], return_tensors=True),
    }}, tower + ".safetensors")
    model.set_attn_implementation("eager")  # transformers warns of parts that it finds no model of
"""
    environment = {
        "HF_HOME": str(scratch / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": "",
    }
    where = json.dumps({tower: str(folder) for tower, folder in folders.items()})
    done = subprocess.run(
        [sys.executable, "-c", script, where, str(image)],
        cwd=scratch,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "attention implementation" not in done.stdout + done.stderr, done.stderr[-3000:]
    return {tower: load_file(scratch / f"{tower}.safetensors") for tower in folders}


@pytest.mark.parametrize("tower", tiny.TOWERS)
def test_a_folder_gives_the_same_features_where_the_package_is_not_installed(without_package, tower, image):
    model, there = tiny.model(tower), without_package[tower]
    pixels = tiny.processor()(images=image, return_tensors="pt")["pixel_values"]
    tokens = tiny.processor()(text=["left pleura", "heart"], return_tensors="pt")
    assert torch.equal(there["pixels"], pixels)
    assert torch.equal(there["tokens"], tokens["input_ids"])
    expected = {
        "image": model.get_image_features(pixels),
        "text": model.get_text_features(**tokens),
        "anatomies": model.get_conditional_features(pixels, anatomy=list(tiny.ANATOMIES)),
        "pipeline": model.get_image_features(pixels),
    }
    for name, features in expected.items():
        torch.testing.assert_close(there[name], features, atol=1e-6, rtol=0, msg=name)


@pytest.mark.parametrize("tower", tiny.TOWERS)
def test_all_code_that_a_folder_needs_lies_in_it_flat(folders, tower):
    files = list(folders[tower].iterdir())
    assert all(path.is_file() for path in files)
    modules = {path.stem: ast.parse(path.read_text()) for path in files if path.suffix == ".py"}
    assert {"modeling_radir", "modeling_ctvit", "configuration_ctvit", "processing_radir"} <= set(modules)
    for name, tree in modules.items():
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        relative = [node for node in imports if getattr(node, "level", 0)]
        # transformers copies and resolves `from .x import y` alone
        assert all(node.level == 1 and node.module in modules for node in relative), name
        absolute = {
            (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
            for node in imports
            if node not in relative
            for alias in node.names
        }
        assert not absolute & {"modeling_radir", "dataset_scripts", "eval", *OPTIONAL}, name


@pytest.mark.parametrize("tower", tiny.TOWERS)
def test_the_pipeline_gives_the_features_of_the_model(folders, tower, image):
    extract, model = pipeline("image-feature-extraction", model=str(folders[tower])), tiny.model(tower)
    pixels = tiny.processor()(images=image, return_tensors="pt")["pixel_values"]
    expected = model.get_image_features(pixels)
    torch.testing.assert_close(extract(str(image), return_tensors=True), expected)
    torch.testing.assert_close(extract(Image.open(image), return_tensors=True), expected)
    torch.testing.assert_close(torch.tensor(extract(str(image))), expected)
    pooled = extract(str(image), pool=True, return_tensors=True)
    torch.testing.assert_close(pooled, model.encode_image(pixels).pooled)


def test_the_pipeline_takes_batches(folders, image):
    extract = pipeline("image-feature-extraction", model=str(folders["vit"]))
    alone = extract(str(image), return_tensors=True)
    together = extract([str(image)] * 3, batch_size=2, return_tensors=True)
    assert len(together) == 3
    for one in together:
        torch.testing.assert_close(one, alone)


@pytest.mark.parametrize("tower", tiny.TOWERS)
def test_the_state_dict_holds_no_positions_that_a_checkpoint_would_carry(folders, tower):
    saved = load_file(folders[tower] / "model.safetensors")
    assert not [name for name in saved if "position_ids" in name]
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    sizes = [value.numel() for name, value in saved.items() if not name.endswith(statistics)]
    assert sum(sizes) == sum(p.numel() for p in tiny.model(tower).parameters())


def test_weights_are_saved_as_safetensors_alone(folders):
    for folder in folders.values():
        assert (folder / "model.safetensors").is_file()
        assert not [path for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl")]


@pytest.mark.parametrize("loader", [RadIRModel, AutoModel])
def test_pickled_weights_are_refused_with_a_sentence(tmp_path, loader):
    tiny.model().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no safetensors, only pytorch_model\.bin.*save it with"):
        loader.from_pretrained(tmp_path)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    torch.save({name: value + 1 for name, value in state.items()}, tmp_path / "pytorch_model.bin")
    again = loader.from_pretrained(tmp_path, use_safetensors=False).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in tiny.model().state_dict().items())
