"""An index of a built dataset: what it keeps of dataset and model, whom it lets in, and who may have it."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dataset_scripts.building.build_info import BuildInfo
from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.building.layout import studies_shards
from dataset_scripts.sources.base import Sharing
from radir import cli
from radir.publishing.push_dataset import push_dataset
from radir.publishing.push_model import push_model
from radir_search import build_index as module
from radir_search import model_identity
from radir_search.build_index import build_index
from radir_search.index import RetrievalIndex
from radir_search.index_folder import Origin
from radir_search.model_identity import model_digests
from radir_search.query import search_image
from radir_search.sharing import check_may_leave
from tests.made_up.model import model_folder
from tests.made_up.open_i import built_open_i


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of a few images, and a model of open data."""
    folder = tmp_path_factory.mktemp("made")
    built_open_i(folder / "open-i", studies=12).rename(folder / "data")
    _share(folder / "data", Sharing.OPEN, "Ours")
    model_folder(folder / "model")
    return folder


def _share(data: Path, sharing: Sharing, licence: str) -> None:
    dataclasses.replace(BuildInfo.read(data), sharing=sharing, licence=licence).write(data)


@pytest.fixture
def world(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change; the dataset has no manifest, like those of earlier versions."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    (tmp_path / "data" / "manifest.json").unlink(missing_ok=True)
    Image.new("L", (40, 40), 90).save(tmp_path / "query.png")
    return tmp_path


def _index(world: Path, splits: list[str] | None = None) -> RetrievalIndex:
    data = BuiltDataset(world / "data")
    build_index(str(world / "model"), data, world / "index", progress=False, splits=splits)
    return RetrievalIndex.load(world / "index")


def _change_image(data: Path, image: bytes | None, rows: slice) -> list[str]:
    """Put other bytes in place of the images of some rows; returns their names."""
    path = studies_shards(data, "train")[0]
    table = pq.read_table(path)
    columns = table.to_pydict()
    for row in range(table.num_rows)[rows]:
        columns["image"][row] = {"bytes": image, "path": None}
    pq.write_table(pa.table(columns, table.schema), path)
    return columns["image_id"][rows]


def _change_weights(model: Path, value: float) -> None:
    path = model / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in sorted(weights) if name.startswith("visual_projection"))
    save_file(weights | {name: torch.full_like(weights[name], value)}, path, {"format": "pt"})


def test_an_index_knows_its_dataset_and_its_terms(world: Path) -> None:
    origin = _index(world).origin
    assert origin.dataset == {"name": "data", "digest": BuiltDataset(world / "data").digest}
    assert origin.data["sharing"] == "open"
    assert {part: data["name"] for part, data in origin.data["made_from"].items()} == {
        "images": "open-i",
        "model": "made-up",
    }


def test_the_same_command_gives_the_same_bytes(world: Path) -> None:
    found = []
    for _ in range(2):
        _index(world)
        files = sorted(path for path in (world / "index").rglob("*") if path.is_file())
        found.append([(path.name, path.read_bytes()) for path in files])
        shutil.rmtree(world / "index")
    assert found[0] == found[1]


@pytest.mark.parametrize("images", [b"no image", None])
def test_images_of_a_dataset_that_cannot_be_read_are_left_out_and_listed(
    world: Path, images: bytes | None
) -> None:
    bad = _change_image(world / "data", images, slice(1, 3))
    data = BuiltDataset(world / "data")
    summary = build_index(str(world / "model"), data, world / "index", progress=False, splits=["train"])
    assert [skipped["path"] for skipped in summary.skipped] == bad
    assert all(skipped["reason"] for skipped in summary.skipped)
    index = RetrievalIndex.load(world / "index")
    assert len(index) == summary.count == len(data.studies("train")) - 2
    assert not set(bad) & {item["image_id"] for item in index.items}


def test_a_dataset_of_bad_images_alone_is_told(world: Path) -> None:
    _change_image(world / "data", b"no image", slice(None))
    with pytest.raises(ValueError, match="no image could be read; the first of"):
        _index(world, ["train"])
    assert not (world / "index").exists()


def test_an_unknown_split_is_refused_before_the_model_is_loaded(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "load_known", None)
    with pytest.raises(ValueError, match=r"has no split 'dev'; it has train"):
        _index(world, ["train", "dev"])


@pytest.mark.parametrize("out", ["query.png", "query.png/index", "data", "model", "link"])
def test_an_output_that_cannot_be_is_refused_before_the_model_is_loaded(
    world: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.setattr(module, "load_known", None)
    (world / "link").symlink_to(world / "data")
    with pytest.raises(ValueError, match=r"give another output|give a new or empty folder"):
        build_index(str(world / "model"), BuiltDataset(world / "data"), world / out, progress=False)


def test_a_dataset_that_is_changed_meanwhile_is_refused(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed_all = module.embed_all

    def change(*arguments: object, **more: object) -> object:
        yield from embed_all(*arguments, **more)
        path = studies_shards(world / "data", "train")[0]
        table = pq.read_table(path)
        pq.write_table(table.slice(1), path)

    monkeypatch.setattr(module, "embed_all", change)
    with pytest.raises(ValueError, match="was changed while it was being indexed"):
        _index(world)
    assert not (world / "index").exists()


def test_a_model_that_is_replaced_meanwhile_is_refused(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed_all = module.embed_all

    def change(*arguments: object, **more: object) -> object:
        yield from embed_all(*arguments, **more)
        _change_weights(world / "model", 0.5)

    monkeypatch.setattr(module, "embed_all", change)
    with pytest.raises(ValueError, match="was replaced while it was at work"):
        _index(world)


def test_a_model_of_the_same_content_elsewhere_may_ask(world: Path) -> None:
    _index(world)
    (world / "model").rename(world / "moved")
    with pytest.raises(ValueError, match="is not there: give --model"):
        search_image(world / "index", world / "query.png")
    assert search_image(world / "index", world / "query.png", "heart", 2, str(world / "moved"))


def _weights(model: Path) -> None:
    _change_weights(model, 0.25)


def _heads(model: Path) -> None:
    path = model / "config.json"
    path.write_text(path.read_text().replace('"num_attention_heads": 2', '"num_attention_heads": 4'))


def _aspect(model: Path) -> None:
    path = model / "processor_config.json"
    path.write_text(path.read_text().replace('"keep_aspect": false', '"keep_aspect": true'))


@pytest.mark.parametrize(
    ("change", "what"), [(_weights, "weights"), (_heads, "configuration"), (_aspect, "preprocessing")]
)
def test_another_model_in_the_same_folder_is_refused(world: Path, change, what: str) -> None:
    _index(world)
    change(world / "model")
    with pytest.raises(ValueError, match=f"is not the model that made the index in .*other {what};"):
        search_image(world / "index", world / "query.png")
    _index(world)  # as the sentence says
    assert search_image(world / "index", world / "query.png")


def test_what_decides_no_feature_does_not_tell_models_apart(world: Path) -> None:
    before = model_digests(world / "model")
    for name in ("config.json", "processor_config.json"):
        settings = json.loads((world / "model" / name).read_text())
        settings = {key: settings[key] for key in reversed(settings)} | {"transformers_version": "9"}
        (world / "model" / name).write_text(json.dumps(settings))
    (world / "model" / "README.md").write_text("a card")
    assert model_digests(world / "model") == before


def test_a_model_on_the_hub_is_known_by_its_content(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = world / "models--user--model" / "snapshots" / "abc"
    shutil.copytree(world / "model", snapshot)
    asked = []

    def cached_file(repo: str, name: str, revision: str | None) -> str:
        asked.append((repo, revision))
        return str(snapshot / name)

    monkeypatch.setattr(model_identity, "cached_file", cached_file)
    assert model_digests("user/model", "abc") == model_digests(world / "model")
    assert asked == [("user/model", "abc")]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_finite_numbers_make_no_index(world: Path, value: float) -> None:
    _change_weights(world / "model", value)
    with pytest.raises(ValueError, match="no finite numbers"):
        _index(world)


def test_a_model_that_lacks_weights_makes_no_index(world: Path) -> None:
    path = world / "model" / "model.safetensors"
    weights = {name: rows for name, rows in load_file(path).items() if not name.startswith("fusion_model")}
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"are missing in it \(fusion_model"):
        _index(world)


def test_features_that_are_no_finite_numbers_make_no_index(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_all = module.embed_all

    def spoil(*arguments: object, **more: object) -> object:
        for whole, conditional in embed_all(*arguments, **more):
            yield whole, torch.where(torch.arange(len(whole))[:, None, None] == 1, torch.nan, conditional)

    monkeypatch.setattr(module, "embed_all", spoil)
    with pytest.raises(ValueError, match="the model gives NaN or infinite features for"):
        _index(world)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, None])
def test_broken_weights_are_told_with_the_model(world: Path, content: bytes | None) -> None:
    path = world / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(ValueError, match=str(world / "model")):
        _index(world)


@pytest.mark.parametrize("name", ["config.json", "processor_config.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"image_processor": 5}', "\ufffe"])
def test_broken_settings_are_told_with_the_model(world: Path, name: str, content: str) -> None:
    (world / "model" / name).write_text(content)
    with pytest.raises(ValueError, match=str(world / "model")):
        _index(world)


def test_more_hits_than_images_are_all_of_them(world: Path, caplog: pytest.LogCaptureFixture) -> None:
    index = _index(world)
    assert len(search_image(world / "index", world / "query.png", k=500)) == len(index)
    assert f"500 hits were asked for, and {world / 'index'} holds {len(index)} images" in caplog.text
    with pytest.raises(ValueError, match="k is 0"):
        search_image(world / "index", world / "query.png", k=0)


def test_an_index_of_open_data_may_leave_and_others_only_where_their_licence_says(world: Path) -> None:
    _index(world)
    check_may_leave(world / "index")
    _share(world / "data", Sharing.RESTRICTED, "Theirs")
    _index(world)
    for allowed in ({}, {"private": True}, {"i_may_share": True}):
        with pytest.raises(ValueError, match="restricted data under the licence Theirs: it may only go"):
            check_may_leave(world / "index", **allowed)
    check_may_leave(world / "index", private=True, i_may_share=True)
    RetrievalIndex.create({"": torch.eye(2)}, [{"image_id": n} for n in range(2)]).save(world / "unknown")
    with pytest.raises(ValueError, match="restricted data under the licence unknown"):
        check_may_leave(world / "unknown")


def test_no_push_takes_an_index(world: Path) -> None:
    RetrievalIndex.create({"": torch.eye(2)}, [{"image_id": n} for n in range(2)], Origin()).save(
        world / "index"
    )
    for push in (push_dataset, push_model):
        with pytest.raises(ValueError, match=str(world / "index")):
            push(world / "index", "user/index")


def test_the_command_says_that_an_index_is_as_private_as_its_data(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (world / "images").mkdir()
    shutil.copy(world / "query.png", world / "images" / "a.png")
    for source, private in ((["--images", "images"], True), (["--dataset", "data"], False)):
        command = ["radir", "index", "--model", str(world / "model"), source[0], str(world / source[1])]
        monkeypatch.setattr(sys, "argv", [*command, "--out", str(world / "index")])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        assert ("the folder is as private as its data (restricted data" in capsys.readouterr().out) is private
    assert not (world / "index").stat().st_mode & 0o077
