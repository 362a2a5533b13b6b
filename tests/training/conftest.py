"""A small dataset, a tiny configuration, and a run of it that nothing interrupted."""

from pathlib import Path

import pytest

from radir_training.settings import load_config
from tests.made_up.open_i import TINY_TRAINING, built_open_i
from train_accelerate import train


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_open_i(tmp_path_factory.mktemp("data"))


@pytest.fixture
def config(tmp_path: Path, dataset: Path) -> list[str]:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY_TRAINING + f"dataset: {dataset}\n")
    return [str(path)]


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "tiny.yaml").write_text(TINY_TRAINING + f"dataset: {dataset}\n")
    return train(load_config([str(folder / "tiny.yaml"), "--output_dir", str(folder / "model")]))
