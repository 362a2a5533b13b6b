"""Every ready-made configuration loads, and its model has the number of parameters that the file states."""

import re
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from modeling_radir import RadIRCTImageProcessor, RadIRModel
from radir_training.assemble import image_processor, model_config
from radir_training.settings import TrainConfig, load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [*sorted((ROOT / "configs").glob("*.yaml")), ROOT / "radir" / "commands" / "demo.yaml"]
PRETRAINED_VOCABULARY = 30522  # of CXR-BERT's tokenizer
CT = ("phantom-ct", "radir-chestct")


def loaded(path: Path) -> TrainConfig:
    return load_config([str(path), "--dataset", "somewhere", "--output_dir", "somewhere"])


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def model(path: Path) -> RadIRModel:
    config = loaded(path)
    with torch.device("meta"):
        return RadIRModel(
            model_config(config, PRETRAINED_VOCABULARY if config.tokenizer else config.vocab_size)
        )


def test_the_files_are_those_that_the_readme_names() -> None:
    assert {path.stem for path in CONFIGS} == {"demo", "open-i", "phantom-ct", "radir-chestct", "radir-cxr"}


def test_a_configuration_gives_the_number_of_parameters_that_it_states(path: Path, model: RadIRModel) -> None:
    stated = re.search(r"^# parameters: ([\d,]+)", path.read_text(), re.MULTILINE)
    assert stated
    assert sum(p.numel() for p in model.parameters()) == int(stated[1].replace(",", ""))


def test_a_configurations_tower_takes_what_its_processor_gives(path: Path, model: RadIRModel) -> None:
    config = loaded(path)
    processor = image_processor(config, model, volumes=path.stem in CT)
    assert isinstance(processor, RadIRCTImageProcessor) == (path.stem in CT)
    size = config.volume_size if path.stem in CT else [config.image_size] * 2
    pixels = torch.empty(2, model.vision_model.num_channels, *size, device="meta")
    vision = model.encode_image(pixels)
    assert vision.tokens.shape[:2] == (2, vision.grid[0] * vision.grid[1])
    assert model.project_image(vision).shape == (2, config.projection_dim)


def test_the_released_scale_is_that_of_the_released_checkpoint() -> None:
    """SPEC section 2: 173,027,305 parameters, among them some that do nothing."""
    pooler, context_norms, fusion_norms = 768 * 768 + 768, 18 * 512, 4 * 2 * 512
    unused = pooler + context_norms + fusion_norms
    for name in ("radir-cxr", "radir-chestct"):
        text = (files("configs") / f"{name}.yaml").read_text()
        assert f"# parameters: {173_027_305 - unused:,}" in text
