"""The front door, as a user types it: build, train, evaluate, index, search, and the errors of bad input."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from transformers import BertConfig, BertModel

from radir import cli
from radir_training.settings import load_config
from tests.made_up.open_i import TINY_TRAINING, open_i_tree
from tests.made_up.rate_models import save_encoder, save_ner
from train_accelerate import train


def run(*arguments: object, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
    monkeypatch.setattr(sys, "argv", ["radir", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert (stopped.value.code or 0) == code


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source tree, a built dataset, a tiny RadIR, a tiny CLIP and an index."""
    folder = tmp_path_factory.mktemp("world")
    open_i_tree(folder / "source", studies=60)
    (folder / "tiny.yaml").write_text(TINY_TRAINING)
    with pytest.MonkeyPatch.context() as patch:
        run("build", "open-i", "--source", folder / "source", "--out", folder / "data", monkeypatch=patch)
        for method in ("radir", "clip"):
            arguments = ["--dataset", folder / "data", "--output_dir", folder / method, "--method", method]
            train(load_config([str(folder / "tiny.yaml"), *map(str, arguments)]))
        run("index", "--model", folder / "radir", "--dataset", folder / "data", "--out", folder / "index",
            monkeypatch=patch)  # fmt: skip
    return folder


def test_evaluate_writes_the_results_of_the_contract(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("evaluate", "--model", world / "radir", "--model", world / "clip", "--baseline", "oracle",
        "--dataset", world / "data", "--split", "train", "--out", tmp_path,
        monkeypatch=monkeypatch)  # fmt: skip
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["models"]) == {"radir", "clip", "oracle"}
    oracle = results["models"]["oracle"]
    assert oracle["conditional_macro"]["recall"] == {"3": 1.0, "5": 1.0, "10": 1.0}
    assert oracle["conditional"]["heart"]["ndcg"]["3"] == pytest.approx(1)
    for block in ("image_to_image", "image_to_report", "conditional_macro"):
        assert {"recall", "recall_ci95", "ndcg", "ndcg_ci95", "n_queries"} <= set(
            results["models"]["radir"][block]
        )
    assert set(results["models"]["radir"]["gold_precision"]["labels"]) == {"Cardiomegaly", "Effusion"}
    for name in ("tables.md", "report.html", "per_query.parquet"):
        assert (tmp_path / name).is_file()


def test_evaluate_takes_a_protocol_from_a_file(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "protocol.yaml").write_text("threshold: 0.5\nks_conditional: [1, 2]\nbootstrap_draws: 20\n")
    run("evaluate", "--baseline", "random", "--dataset", world / "data", "--split", "train", "--seed", 3,
        "--protocol", tmp_path / "protocol.yaml", "--out", tmp_path / "out", "--json",
        monkeypatch=monkeypatch)  # fmt: skip
    results = json.loads(capsys.readouterr().out)
    assert results["protocol"]["threshold"] == 0.5
    assert results["protocol"]["seed"] == results["seed"] == 3
    assert set(results["models"]["random"]["conditional_macro"]["recall"]) == {"1", "2"}


def test_search_finds_the_query_itself_first(
    world: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = sorted((world / "source" / "images").glob("7_*F*"))[0]
    run("search", "--index", world / "index", "--image", image, "--anatomy", "cardiac silhouette", "-k", 3,
        "--json", monkeypatch=monkeypatch)  # fmt: skip
    answer = json.loads(capsys.readouterr().out)
    assert answer["anatomy"] == "heart"
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3]
    assert answer["hits"][0]["study_id"] == "7"
    assert answer["hits"][0]["score"] == pytest.approx(1, abs=1e-4)
    assert answer["hits"][0]["findings"] in ("The heart is normal in size.", "Mild cardiomegaly.",
                                             "The heart is severely enlarged.")  # fmt: skip


def test_search_says_how_the_texts_compare_when_it_is_told_what_the_query_shows(
    world: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = sorted((world / "source" / "images").glob("7_*F*"))[0]
    run("search", "--index", world / "index", "--image", image, "--anatomy", "heart", "-k", 5,
        "--findings", "Mild cardiomegaly.", "--json", monkeypatch=monkeypatch)  # fmt: skip
    hits = json.loads(capsys.readouterr().out)["hits"]
    for hit in hits:
        same = hit["findings"] == "Mild cardiomegaly."
        assert (hit["text_relevance"]["score"] == pytest.approx(1)) == same


def test_two_files_are_scored_line_by_line_or_all_with_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("Mild cardiomegaly.\nNo effusion.\n")
    (tmp_path / "b.txt").write_text("The heart is mildly enlarged.\n\n")
    run("score", tmp_path / "a.txt", tmp_path / "b.txt", "--json", monkeypatch=monkeypatch)
    assert json.loads(capsys.readouterr().out)["scores"] == [pytest.approx(1), 0.5]
    run("score", tmp_path / "a.txt", tmp_path / "b.txt", "--json", "--all-pairs", monkeypatch=monkeypatch)
    matrix = json.loads(capsys.readouterr().out)["scores"]
    assert matrix[0] == [pytest.approx(1), 0.5]
    assert matrix[1][0] < 0.5


def test_build_and_score_take_ratescores_models_from_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ("--scorer", "ratescore", "--ner", save_ner(tmp_path / "ner", 0),
              "--encoder", save_encoder(tmp_path / "encoder", 0))  # fmt: skip
    tree = open_i_tree(tmp_path / "source", studies=12)
    run("build", "open-i", "--source", tree, "--out", tmp_path / "data", *models,
        "--shards", tmp_path / "shards", monkeypatch=monkeypatch)  # fmt: skip
    assert json.loads((tmp_path / "data" / "build.json").read_text())["scorer"]["name"] == "ratescore"
    capsys.readouterr()
    (tmp_path / "a.txt").write_text("Mild cardiomegaly.\n")
    run("score", tmp_path / "a.txt", tmp_path / "a.txt", *models, "--json", monkeypatch=monkeypatch)
    assert json.loads(capsys.readouterr().out)["scores"] == [pytest.approx(1)]


def test_a_folder_of_images_is_indexed_and_unreadable_ones_are_listed(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        Image.new("L", (40, 40), color=99).save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    run("index", "--model", world / "radir", "--images", tmp_path / "images", "--out", tmp_path / "index",
        "--json", monkeypatch=monkeypatch)  # fmt: skip
    summary = json.loads(capsys.readouterr().out)
    assert summary["count"] == 2
    assert [item["path"] for item in summary["skipped"]] == ["broken.png"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    config = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
    )
    BertModel(config).save_pretrained(folder)
    return folder


BAD_INPUT = {
    "missing source": (
        ("build", "open-i", "--source", "/nowhere", "--out", "{tmp}"),
        "/nowhere is no folder",
    ),
    "no source": (("build", "open-i", "--out", "{tmp}"), "--source"),
    "foreign option": (("build", "phantom-cxr", "--views", "all", "--out", "{tmp}"), "--views"),
    "unknown choice": (
        ("build", "open-i", "--source", "{world}/source", "--views", "oblique", "--out", "{tmp}"),
        "frontal, lateral, all",
    ),
    "restricted data to the Hub": (
        ("push", "--dataset", "{world}/data", "--repo", "user/open-i"),
        "cc-by-nc-nd-4.0",
    ),
    "models without their scorer": (
        ("score", "{world}/tiny.yaml", "{world}/tiny.yaml", "--ner", "x"),
        "--scorer ratescore",
    ),
    "no NER model": (
        ("score", "{world}/tiny.yaml", "{world}/tiny.yaml", "--scorer", "ratescore", "--ner", "/nowhere"),
        "/nowhere",
    ),
    "nothing to discover": (("discover", "--out", "{tmp}"), "either --radgraph"),
    "no RadGraph output": (("discover", "--radgraph", "{world}/tiny.yaml", "--out", "{tmp}"), "tiny.yaml"),
    "another model type": (
        ("evaluate", "--model", "{bert}", "--dataset", "{world}/data", "--out", "{tmp}"),
        "holds a model of type 'bert'",
    ),
    "no model": (("index", "--model", "/nowhere", "--dataset", "{world}/data", "--out", "{tmp}"), "/nowhere"),
    "no dataset": (
        ("evaluate", "--model", "{world}/radir", "--dataset", "/nowhere", "--out", "{tmp}"),
        "/nowhere",
    ),
    "unknown split": (
        (
            "evaluate",
            "--model",
            "{world}/radir",
            "--dataset",
            "{world}/data",
            "--out",
            "{tmp}",
            "--split",
            "dev",
        ),
        "train, validation, test",
    ),
    "unknown baseline": (
        (
            "evaluate",
            "--model",
            "{world}/radir",
            "--dataset",
            "{world}/data",
            "--out",
            "{tmp}",
            "--baseline",
            "x",
        ),
        "'random', 'oracle'",
    ),
    "unknown anatomy": (
        ("search", "--index", "{world}/index", "--image", "{image}", "--anatomy", "left plura"),
        "left pleura",
    ),
    "unreadable image": (
        ("search", "--index", "{world}/index", "--image", "{world}/tiny.yaml"),
        "cannot be read",
    ),
    "missing image": (
        ("search", "--index", "{world}/index", "--image", "/nowhere.png"),
        "no file /nowhere.png",
    ),
    "no index": (("search", "--index", "{tmp}", "--image", "{image}"), "radir index"),
    "images and dataset": (("index", "--model", "{world}/radir", "--out", "{tmp}"), "either --images"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_ends_with_a_sentence_and_exit_code_2(
    case: str, world: Path, bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    arguments, message = BAD_INPUT[case]
    image = sorted((world / "source" / "images").glob("7_*F*"))[0]
    places = {"world": world, "bert": bert, "tmp": tmp_path / "new", "image": image}
    run(*(argument.format(**places) for argument in arguments), monkeypatch=monkeypatch, code=2)
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_an_unknown_subcommand_ends_with_exit_code_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "radir.cli", "buld"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "buld" in done.stderr


def test_the_demo_runs_from_phantoms_to_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY_TRAINING)
    run("demo", "--out", tmp_path / "demo", "--count", 120, "--config", tmp_path / "tiny.yaml",
        monkeypatch=monkeypatch)  # fmt: skip
    results = json.loads((tmp_path / "demo" / "evaluation" / "results.json").read_text())
    assert set(results["models"]) == {"radir-cxr-phantom", "clip-cxr-phantom", "random", "oracle"}
    assert set(results["models"]["oracle"]["conditional_macro"]["recall"].values()) == {1.0}
    assert 0 < results["models"]["radir-cxr-phantom"]["conditional_macro"]["recall"]["3"] < 1
    printed = capsys.readouterr().out
    assert "Conditional Recall@3" in printed
    assert f"report:  {tmp_path / 'demo' / 'evaluation' / 'report.html'}" in printed


def test_a_heat_map_is_drawn_over_the_image_in_its_own_size(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = next((world / "source" / "images").iterdir())
    run("heat-map", "--model", world / "radir", "--image", image, "--anatomy", "cardiac silhouette",
        "--out", tmp_path / "map.png", "--json", monkeypatch=monkeypatch)  # fmt: skip
    assert json.loads(capsys.readouterr().out) == {"file": str(tmp_path / "map.png")}
    with Image.open(image) as picture, Image.open(tmp_path / "map.png") as drawn:
        assert drawn.size == picture.size
        assert drawn.mode == "RGB"
    run("heat-map", "--model", world / "radir", "--image", image, "--anatomy", "heart",
        "--out", tmp_path / "map.jpg", monkeypatch=monkeypatch, code=2)  # fmt: skip
    assert "ends in .png" in capsys.readouterr().err
