"""`radir index`, `search` and `heat-map` as they are typed."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_scripts.plumbing.outputs import claim
from radir import cli
from tests.made_up.model import model_folder

SEARCH = ("search", "--image", "images/1.png", "--index")
MAP = ("heat-map", "--image", "images/0.png", "--anatomy")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a few images."""
    folder = tmp_path_factory.mktemp("world")
    model_folder(folder / "model")
    (folder / "images").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    return folder


@pytest.fixture
def run(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Types a command in `world`; gives what it printed, or with `code` 2 its sentence."""

    def typed(*arguments: object, code: int = 0) -> str:
        monkeypatch.chdir(world)
        monkeypatch.setattr(sys, "argv", ["radir", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        assert (ended.value.code or 0) == code, printed.err
        return printed.err if code else printed.out

    return typed


def test_search_prints_the_same_fields_to_machines(run, tmp_path: Path) -> None:
    run("index", "--model", "model", "--images", "images", "--out", tmp_path / "index")
    found = json.loads(run(*SEARCH, tmp_path / "index", "--anatomy", "cardiac silhouette", "-k", 9, "--json"))
    assert set(found) == {"image", "anatomy", "hits"}
    assert found["anatomy"] == "heart"
    assert [set(hit) for hit in found["hits"]] == [{"rank", "score", "image_id", "study_id", "findings"}] * 3
    assert found["hits"][0]["image_id"] == "1.png"


def test_an_index_says_to_machines_whose_data_it_holds(run, tmp_path: Path) -> None:
    found = json.loads(
        run("index", "--model", "model", "--images", "images", "--out", tmp_path / "index", "--json")
    )
    assert (found["count"], found["anatomies"], found["skipped"]) == (3, 3, [])
    assert found["data"]["sharing"] == "restricted"


def test_names_of_files_that_are_no_text_are_left_out_and_listed(
    run, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    content = (world / "images" / "0.png").read_bytes()
    (tmp_path / "images" / "a.png").write_bytes(content)
    (tmp_path / "images" / "caf\udce9.png").write_bytes(content)
    printed = run("index", "--model", "model", "--images", tmp_path / "images", "--out", tmp_path / "index")
    assert "1 images, for" in printed
    assert r"left out caf\udce9.png: its name is no UTF-8 text" in printed


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("index", "--images", "nowhere", "--out", "{tmp}/i"), "nowhere is no folder"),
        (("index", "--images", "images/0.png", "--out", "{tmp}/i"), "0.png is no folder"),
        (("index", "--images", "images", "--split", "dev", "--out", "{tmp}/i"), "--split belongs to"),
        (("index", "--images", "images", "--out", "images"), "images holds something that is no index"),
        (("index", "--images", "images", "--out", "images/0.png/i"), "0.png/i cannot be written"),
        ((*MAP, "hart", "--out", "{tmp}/h.png"), "nearest known: 'heart'"),
        ((*MAP, "heart", "--out", "{tmp}/h.gif"), "ends in .png"),
        ((*MAP, "heart", "--out", "images/0.png/h.png"), "cannot be written"),
    ],
)  # fmt: skip
def test_bad_input_ends_with_a_sentence(run, tmp_path: Path, command: tuple[str, ...], words: str) -> None:
    command = tuple(word.format(tmp=tmp_path) for word in command)
    assert words in run(*command, "--model", "model", code=2)
    assert not any(tmp_path.iterdir())


def test_a_heat_map_replaces_no_folder(run, tmp_path: Path) -> None:
    (tmp_path / "maps.png").mkdir()
    (tmp_path / "maps.png" / "mine.txt").write_text("mine")
    command = (*MAP, "heart", "--model", "model", "--out")
    assert "which is a folder" in run(*command, tmp_path / "maps.png", code=2)
    assert (tmp_path / "maps.png" / "mine.txt").read_text() == "mine"


def test_a_heat_map_goes_where_its_link_leads_and_to_one_writer_at_a_time(run, tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "map.png")
    command = (*MAP, "heart", "--model", "model", "--out")
    with claim(tmp_path / "map.png"):
        assert "is being written by process" in run(*command, tmp_path / "link.png", code=2)
    run(*command, tmp_path / "link.png")
    assert Image.open(tmp_path / "map.png").size == (40, 40)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.png", "map.png"]
