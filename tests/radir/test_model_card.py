"""Model cards: what they say is in the folder or the results, their code runs, nobody's README.md is lost."""

import json
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import EvalResult, ModelCard
from PIL import Image

from dataset_scripts.sources.base import Sharing
from radir.commands.convert import convert_checkpoint
from radir.publishing.model_card import is_untouched, model_card, with_results, write_model_card
from radir.publishing.model_info import ModelInfo, is_local_path, without_local_paths
from radir.publishing.model_results import ModelResults
from tests.made_up.model import model_folder, results_file
from tests.modeling_radir import tiny
from tests.modeling_radir.conversion import released


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("models") / "radir-tiny")


@pytest.fixture
def results_path(tmp_path: Path) -> Path:
    return results_file(tmp_path / "results.json", "clip-tiny", "radir-tiny")


@pytest.fixture
def results(results_path: Path) -> ModelResults:
    return ModelResults.read(results_path, "radir-tiny")


def test_the_header_is_what_the_hub_reads(folder: Path, results: ModelResults) -> None:
    data = ModelCard(model_card(folder, results)).data
    assert (data.library_name, data.pipeline_tag) == ("transformers", "image-feature-extraction")
    assert {"radir", "radiology", "image-retrieval"} <= set(data.tags)
    assert (data.license, data.datasets, data.base_model) == ("apache-2.0", ["made-up"], None)


def test_the_model_index_holds_the_figures_of_this_model_alone(folder: Path, results: ModelResults) -> None:
    data = ModelCard(model_card(folder, results)).data
    assert data.model_name == "radir-tiny"
    found = {(r.dataset_config, r.metric_name): (r.metric_value, r.metric_args) for r in data.eval_results}
    assert found["conditional_macro", "Recall@3"] == (0.2, {"k": 3, "ci95": [0.19, 0.21000000000000002]})
    assert found["image_to_report", "NDCG@10"][0] == 0.1
    # 2 image to image (no Recall there), 4 image to report, 2 conditional
    assert len(found) == len(data.eval_results) == 8
    assert {(r.dataset_name, r.dataset_split) for r in data.eval_results} == {("made-up", "test")}


def test_results_are_tables_with_intervals(folder: Path, results: ModelResults) -> None:
    card = model_card(folder, results)
    assert "| Conditional, average over anatomies | Recall@3 | 20.00 [19.00, 21.00] | 2,000 |" in card
    assert "| Image to image | Recall@5 | - | 1,200 |" in card
    assert "| heart | 1 | 2,000 | 40.00 [39.00, 41.00] |" in card
    assert "1,200 images of 1,000 patients" in card and "relevance is above 0.9" in card


def test_results_may_be_given_by_their_folder(results_path: Path, results: ModelResults) -> None:
    assert ModelResults.read(results_path.parent, "radir-tiny") == results


def test_figures_go_by_the_hub_id_of_the_dataset_where_it_has_one(results_path: Path) -> None:
    def named(benchmark: str | None = None) -> set[str]:
        read = ModelResults.read(results_path, "radir-tiny", benchmark)
        assert {result.dataset_name for result in read.eval_results()} == {"made-up"}
        return {result.dataset_type for result in read.eval_results()} | {
            entry["dataset"]["id"] for entry in read.entries()
        }

    assert named() == {"made-up"}
    assert named("user/elsewhere") == {"user/elsewhere"}
    content = json.loads(results_path.read_text())
    results_path.write_text(json.dumps({**content, "hub_dataset": "user/made-up"}))
    assert named() == {"user/made-up"}
    with pytest.raises(ValueError, match="'made-up' is no Hub id of a dataset"):
        named("made-up")


def test_results_without_the_model_are_refused(tmp_path: Path) -> None:
    others = results_file(tmp_path / "others.json", "radir-large", "clip-tiny")
    with pytest.raises(ValueError, match=r"no results of radir-tiny \(it holds radir-large, clip-tiny"):
        ModelResults.read(others, "radir-tiny")
    with pytest.raises(ValueError, match="there is no"):
        ModelResults.read(tmp_path / "nothing.json", "radir-tiny")


def test_training_and_limits_are_told(folder: Path) -> None:
    card = model_card(folder)
    assert "Trained on made-up (https://example.org/made-up), licence: apache-2.0" in card
    assert "1,234 seconds" in card and "Stage 2: 50 steps, last loss 0.2500." in card
    assert "learning_rate: 0.001" in card
    assert "not a medical device" in card and "mined from reports" in card
    assert "It has not been tested at all." in card and "Not evaluated" in card
    assert "eval_results" not in card and "model-index" not in card


@pytest.mark.parametrize("tower", tiny.TOWERS)
def test_parameters_are_those_of_the_model(tmp_path: Path, tower: str) -> None:
    model = tiny.model(tower)
    model.save_pretrained(tmp_path)
    counted = ModelInfo.read(tmp_path).parameters
    for part, count in counted.items():
        value = getattr(model, part)
        expected = value.numel() if part == "logit_scale" else sum(p.numel() for p in value.parameters())
        assert count == expected, part
    assert sum(counted.values()) == sum(p.numel() for p in model.parameters())
    assert f"| {sum(counted.values()):,} |" in model_card(tmp_path)


def test_weights_in_several_files_are_all_counted(tmp_path: Path) -> None:
    model = tiny.model()
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert sum(ModelInfo.read(tmp_path).parameters.values()) == sum(p.numel() for p in model.parameters())


def run_code_of(card: str) -> dict[str, Any]:
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)
    return names


@pytest.mark.parametrize("fusion", [True, False])
def test_the_code_of_the_card_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fusion: bool) -> None:
    card = model_card(model_folder(tmp_path / "tiny", fusion=fusion))
    Image.new("L", (40, 30), 90).save(tmp_path / "chest.png")
    monkeypatch.chdir(tmp_path)
    names = run_code_of(card)
    assert names["whole"].shape == (1, 32)
    assert -1 <= names["similarity"] <= 1
    assert ("part" in names) == fusion
    assert not fusion or names["part"].shape == (1, 1, 32)
    assert "Images are brought to 32 x 32 pixels." in card and "chest X-rays" in card


def test_the_code_of_a_card_for_volumes_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = model_card(model_folder(tmp_path / "tiny", tower="ctvit", volumes=True))
    scan = np.random.default_rng(0).integers(-1000, 1000, (20, 22, 9)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(scan, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "chest.nii.gz")
    monkeypatch.chdir(tmp_path)
    names = run_code_of(card)
    assert names["pixel_values"].shape == (1, 1, tiny.VOLUME_DEPTH, 32, 32)
    assert names["part"].shape == (1, 1, 32)
    assert f"{tiny.VOLUME_DEPTH} x 32 x 32 voxels of 3.0 x 2.0 x 2.0 mm" in card and "chest CT" in card


def test_a_model_without_training_json_says_that_nothing_is_recorded(tmp_path: Path) -> None:
    tiny.model().save_pretrained(tmp_path)
    data = ModelCard(model_card(tmp_path)).data
    assert (data.license, data.license_name, data.datasets) == ("other", "unknown", None)
    assert "Not recorded" in model_card(tmp_path)


def test_a_licence_that_the_hub_does_not_know_is_named(tmp_path: Path) -> None:
    folder = model_folder(
        tmp_path / "m", Sharing.CREDENTIALED, "PhysioNet Credentialed Health Data License 1.5.0"
    )
    data = ModelCard(model_card(folder)).data
    assert data.license == "other"
    assert data.license_name == "physionet-credentialed-health-data-license-1.5.0"
    assert "only people with signed access" in model_card(folder)


def test_hub_ids_that_training_started_from_are_base_models(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    folder = model_folder(
        tmp_path / "m", vision={"pretrained": str(tmp_path / "here")}, text={"pretrained": "org/encoder"}
    )
    assert ModelCard(model_card(folder)).data.base_model == ["org/encoder"]
    assert str(tmp_path) not in model_card(folder)


def test_a_card_is_written_once_and_never_over_a_readme(folder: Path, tmp_path: Path) -> None:
    target = model_folder(tmp_path / "model")
    assert write_model_card(target) == target / "README.md"
    written = (target / "README.md").read_text()
    assert written == model_card(target)
    (target / "README.md").write_text("mine")
    assert write_model_card(target) is None
    assert (target / "README.md").read_text() == "mine"


def test_a_converted_folder_has_a_card_with_the_folders_name(tmp_path: Path) -> None:
    torch.save(released.state(), tmp_path / "RadIR.pt")
    convert_checkpoint(tmp_path / "RadIR.pt", tmp_path / "mine")
    card = (tmp_path / "mine" / "README.md").read_text()
    assert card == model_card(tmp_path / "mine")
    assert "# mine" in card.splitlines()


def test_an_edit_anywhere_in_a_card_is_seen(folder: Path, results: ModelResults) -> None:
    for card in (model_card(folder), model_card(folder, results, "user/other")):
        assert is_untouched(card)
        assert not is_untouched(card.replace("## Limits", "## Known limits"))
        assert not is_untouched(card.replace("- radiology\n", "- radiology\n- mine\n"))
    assert not is_untouched("mine") and not is_untouched("---\nlicense: mit\n---\nmine")


def test_figures_enter_the_header_of_someones_card_and_nothing_else_changes() -> None:
    def figure(dataset: str, value: float, config: str = "a") -> EvalResult:
        return EvalResult(
            "image-feature-extraction", dataset, dataset, "recall", value, dataset_config=config
        )

    body = "\n# Mine\r\n\n---\nNot *this*.\n"
    first = with_results("---\nlicense: mit\nmine: [1, 2]\n---\n" + body, "m", [figure("x", 0.1)])
    second = with_results(first, "m", [figure("x", 0.2), figure("y", 0.3)])
    third = with_results(with_results(second, "n", [figure("x", 0.9)]), "m", [figure("x", 0.4)])
    assert all(card.endswith("---\n" + body) for card in (first, second, third))
    header = yaml.safe_load(third.split("---\n")[1])
    assert (header["license"], header["mine"]) == ("mit", [1, 2])
    index = {
        (entry["name"], result["dataset"]["name"]): result["metrics"][0]["value"]
        for entry in header["model-index"]
        for result in entry["results"]
    }
    assert index == {("m", "x"): 0.4, ("m", "y"): 0.3, ("n", "x"): 0.9}
    assert with_results("no header", "m", [figure("x", 0.1)]).endswith("---\n\nno header")
    with pytest.raises(ValueError, match="cannot be read"):
        with_results("---\n{\n---\n", "m", [figure("x", 0.1)])


def test_paths_of_this_machine_become_names_and_hub_ids_stay(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "one").mkdir(parents=True)
    paths = ["/data/x", "~/x", "./x", "../up/x", "C:\\models\\x", "runs/one", "a/b/c", "file:///x"]
    assert all(is_local_path(path) for path in paths)
    others = ["org/model", "vit", "", "https://example.org/a/b", "left/right lung", "timm/resnet18.a1_in1k"]
    assert not any(is_local_path(text) for text in others)
    value = {"a": [str(tmp_path / "runs" / "one"), 3, None], "b": {"c": "runs/one"}, "d": "org/model"}
    assert without_local_paths(value) == {"a": ["one", 3, None], "b": {"c": "one"}, "d": "org/model"}


def test_folders_of_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no config\.json"):
        model_card(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        model_card(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="'bert', not a RadIR model"):
        model_card(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "radir"}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="only pickled weights"):
        model_card(tmp_path)
