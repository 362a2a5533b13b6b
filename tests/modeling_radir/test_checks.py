"""A model is loaded as its file has it, or not at all."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, ViTModel

from modeling_radir import RadIRModel
from modeling_radir.checks import check_weights, load_checked
from modeling_radir.modeling_base import load_tower
from tests.modeling_radir import tiny


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny.model().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A model folder that the test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "tiny"))


def rewrite(folder: Path, **changes: torch.Tensor | None) -> None:
    """Change weights of a folder; None leaves one out."""
    path = folder / "model.safetensors"
    state = load_file(path) | {name.replace("__", "."): value for name, value in changes.items()}
    kept = {name: value for name, value in state.items() if value is not None}
    save_file(kept, path, metadata={"format": "pt"})


@pytest.mark.parametrize("kind", [AutoModel, RadIRModel])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.full((32, 32), float("nan")), "no finite numbers .visual_projection.weight"),
        (torch.full((32, 32), float("inf")), "no finite numbers .visual_projection.weight"),
        (None, "1 weights are missing in it .visual_projection.weight"),
        (torch.zeros(3, 32), "1 weights have another shape in it .visual_projection.weight"),
    ],
)
def test_weights_that_are_missing_or_no_numbers_are_refused(
    folder: Path, kind: type, value: torch.Tensor | None, said: str
) -> None:
    rewrite(folder, visual_projection__weight=value)
    with pytest.raises(ValueError, match=f"{folder}.*{said}"):
        kind.from_pretrained(folder)


@pytest.mark.parametrize("size", [0, 4, 20_000])
def test_a_truncated_file_of_weights_is_named(folder: Path, size: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=f"{folder} cannot be read .*get or save them again"):
        RadIRModel.from_pretrained(folder)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_configuration_that_is_no_json_object_is_named(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
        RadIRModel.from_pretrained(folder)


def test_a_tower_that_its_folder_does_not_hold_is_refused(folder: Path, tmp_path: Path) -> None:
    ViTModel(tiny.config().vision_config).save_pretrained(tmp_path / "vit")
    load_tower(tmp_path / "vit")
    settings = json.loads((tmp_path / "vit" / "config.json").read_text())
    (tmp_path / "vit" / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 3}))
    with pytest.raises(ValueError, match="weights are missing in it"):
        load_tower(tmp_path / "vit")


def test_loading_keeps_what_from_pretrained_returns(folder: Path) -> None:
    model, info = load_checked(RadIRModel, folder, output_loading_info=True)
    assert isinstance(model, RadIRModel)
    assert not info["missing_keys"]
    assert isinstance(load_checked(AutoModel, folder), RadIRModel)


def test_loaded_weights_lie_aligned_whatever_the_file_s_layout(folder: Path) -> None:
    model = RadIRModel.from_pretrained(folder)
    assert all(value.data_ptr() % 16 == 0 for value in model.parameters())


def test_weights_in_memory_are_checked_by_name() -> None:
    model = tiny.model()
    check_weights(model)
    with torch.no_grad():
        model.text_projection.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"the run .*text_projection\.weight"):
        check_weights(model, "the run")
