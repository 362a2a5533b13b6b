"""Models on the fake hub: what goes up, what comes back, what is refused, whose README.md stays."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import HfApi, ModelCard, constants

from dataset_scripts.building.provenance import joined
from dataset_scripts.sources.base import Sharing
from modeling_radir import RadIRModel
from radir.publishing.model_card import is_untouched, model_card, write_model_card
from radir.publishing.model_results import ModelResults
from radir.publishing.push_model import push_model
from tests.made_up.hub import FakeHub, Repository
from tests.made_up.model import model_folder, results_file
from tests.modeling_radir import tiny

REPO = "user/radir-tiny"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("models") / "radir-tiny")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A model folder that the test may change."""
    return Path(shutil.copytree(saved, tmp_path / "models" / "radir-tiny"))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return results_file(tmp_path / "results.json", "clip-tiny", "radir-tiny")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with FakeHub() as hub:
        yield hub


def push(hub: FakeHub, folder: Path, **options: Any) -> str:
    api = HfApi(endpoint=hub.url, token=hub.token)
    return push_model(folder, REPO, api=api, progress=False, **options)


def card_of(hub: FakeHub) -> str:
    return hub.models[REPO].files["README.md"].decode()


def train_anew(folder: Path, **changes: Any) -> None:
    """Change what training.json says."""
    report = json.loads((folder / "training.json").read_text())
    (folder / "training.json").write_text(json.dumps(report | changes))


def run_child(hub: FakeHub, code: str, home: Path) -> Any:
    """Run code that prints JSON where the Hub is the fake one and this package cannot be imported."""
    settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    switches = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    home.mkdir()
    away = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=home,
        env={**away, **settings, **switches},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_pushed_model_comes_back_bit_by_bit_with_plain_from_pretrained(
    hub: FakeHub, folder: Path, results: Path, tmp_path: Path
) -> None:
    assert push(hub, folder, results=results) == f"{hub.url}/{REPO}"
    code = f"""
import hashlib, json, sys
sys.modules["modeling_radir"] = None  # an import of the package fails
from huggingface_hub import ModelCard
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained({REPO!r}, trust_remote_code=True)
processor = AutoProcessor.from_pretrained({REPO!r}, trust_remote_code=True)
state = model.state_dict()
digests = {{name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in state.items()}}
card = ModelCard.load({REPO!r})
tokens = processor(text="left pleura", return_tensors="np")["input_ids"].tolist()
print(json.dumps([digests, tokens, card.data.to_dict()["model-index"]]))
"""
    digests, tokens, index = run_child(hub, code, tmp_path / "home")
    state = RadIRModel.from_pretrained(folder).state_dict()
    assert digests == {
        name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in state.items()
    }
    assert tokens == [tiny.tokenizer()("left pleura")["input_ids"]]
    assert (
        index
        == ModelCard(model_card(folder, ModelResults.read(results, folder.name), REPO)).data.to_dict()[
            "model-index"
        ]
    )


def test_the_package_reads_what_was_pushed(hub: FakeHub, folder: Path, tmp_path: Path) -> None:
    push(hub, folder)
    api = HfApi(endpoint=hub.url, token=False)
    pulled = RadIRModel.from_pretrained(api.snapshot_download(REPO, local_dir=tmp_path / "pulled"))
    own = RadIRModel.from_pretrained(folder)
    images = tiny.pixel_values(2)
    with torch.no_grad():
        ours, theirs = (m.get_conditional_features(images, anatomy="heart") for m in (own, pulled))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "README.md"])
def test_a_link_to_somewhere_else_is_not_followed(
    hub: FakeHub, folder: Path, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    (folder / name).rename(outside) if (folder / name).exists() else outside.write_text("mine")
    (folder / name).symlink_to(outside)
    with pytest.raises(ValueError, match=rf"{name} is a link to .*outside"):
        push(hub, folder)
    assert hub.requests == []


def test_a_snapshot_of_the_hub_s_cache_may_be_pushed(hub: FakeHub, folder: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a" / "snapshots" / "abc", tmp_path / "models--a" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in folder.iterdir():
        shutil.copy(path, blobs / path.name)
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    push(hub, snapshot)
    assert hub.models[REPO].files["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_only_what_the_model_needs_goes_up(hub: FakeHub, folder: Path) -> None:
    for name in ("notes.txt", "private.py", "optimizer.bin", ".hidden", "results.json"):
        (folder / name).write_text("of the machine")
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "model.safetensors").write_text("of the machine")
    push(hub, folder)
    files = hub.models[REPO].files
    assert len(hub.models[REPO].commits) == 2  # the empty one and ours
    expected = {"README.md", "config.json", "model.safetensors", "processor_config.json", "training.json"}
    expected |= {"tokenizer.json", "tokenizer_config.json"}
    code = {path.name for path in folder.glob("*.py")} - {"private.py"}
    assert {"modeling_radir.py", "modeling_base.py", "checks.py", "processing_radir.py"} <= code
    assert set(files) == expected | code
    for name in set(files) - {"README.md"}:
        assert files[name] == (folder / name).read_bytes(), name


def test_paths_of_this_machine_do_not_go_up(hub: FakeHub, tmp_path: Path) -> None:
    towers = tmp_path / "secret-place"
    tiny.model().vision_model.tower.save_pretrained(towers / "vit")
    tiny.model().text_model.tower.save_pretrained(towers / "bert")
    model = RadIRModel.from_encoders(
        towers / "vit", towers / "bert", projection_dim=32, fusion_config={"num_attention_heads": 2}
    )
    folder = model_folder(
        tmp_path / "secret-place" / "radir-tiny",
        vision={"pretrained": str(towers / "vit")},
        output_dir=str(tmp_path / "out"),
    )
    model.save_pretrained(folder)
    local = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert b"secret-place" in local["config.json"]  # so that not finding it means something
    push(hub, folder, private=True, i_may_share=True)  # nothing says on what the tower was trained
    files = hub.models[REPO].files
    assert not [name for name, data in files.items() if str(tmp_path).encode() in data]
    settings = json.loads(files["training.json"])["settings"]
    assert (settings["vision"], settings["output_dir"]) == ({"pretrained": "vit"}, "out")
    assert json.loads(files["config.json"])["vision_config"]["hidden_size"] == 32
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == local


def test_results_go_up_in_both_forms(hub: FakeHub, folder: Path, results: Path) -> None:
    push(hub, folder, results=results)
    entries = yaml.safe_load(hub.models[REPO].files[".eval_results/radir-made-up-test.yaml"])
    assert entries[-2] == {
        "dataset": {"id": "made-up", "task_id": "conditional_macro_recall_at_3"},
        "value": 0.2,
        "notes": "Conditional, average over anatomies, Recall@3, split test, 95% interval 0.1900 to 0.2100",
    }
    in_card = ModelCard(card_of(hub)).data.eval_results
    assert [entry["value"] for entry in entries] == [result.metric_value for result in in_card]


def test_a_second_push_replaces_weights_and_results_and_leaves_other_files(
    hub: FakeHub, folder: Path, results: Path
) -> None:
    push(hub, folder, results=results)
    hub.models[REPO].commits.append(
        {**hub.models[REPO].files, "LICENSE": b"mine", ".eval_results/mine.yaml": b"[]"}
    )
    tiny.model(seed=1).save_pretrained(folder, max_shard_size="50KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    push(hub, folder)
    files = hub.models[REPO].files
    assert files["LICENSE"] == b"mine" and ".eval_results/mine.yaml" in files
    assert not {"model.safetensors", ".eval_results/radir-made-up-test.yaml"} & set(files)
    assert "model.safetensors.index.json" in files
    assert "model-index" not in card_of(hub)


@pytest.mark.parametrize("sharing", [Sharing.RESTRICTED, Sharing.CREDENTIALED, None])
@pytest.mark.parametrize("options", [{}, {"private": True}, {"i_may_share": True}])
def test_models_of_data_that_are_not_known_to_be_open_are_refused_before_the_hub_is_asked(
    hub: FakeHub, folder: Path, sharing: Sharing | None, options: dict[str, bool]
) -> None:
    data = (
        None if sharing is None else {"name": "made-up", "licence": "The licence", "sharing": sharing.value}
    )
    train_anew(folder, data=data)
    said = (
        "nothing says on which data"
        if sharing is None
        else f"{sharing} data under the licence The licence .*made-up"
    )
    with pytest.raises(ValueError, match=rf"{said}.*--private and --i-may-share"):
        push(hub, folder, **options)
    (folder / "training.json").unlink()
    with pytest.raises(ValueError, match="nothing says on which data"):
        push(hub, folder, **options)
    assert hub.requests == []


def test_what_a_model_started_from_counts_too(hub: FakeHub, folder: Path) -> None:
    report = json.loads((folder / "training.json").read_text())
    started = report["settings"] | {"model": "runs/first"}
    train_anew(folder, settings=started)
    with pytest.raises(ValueError, match="nothing says on which data runs/first was trained"):
        push(hub, folder)
    earlier = {"name": "mimic-ir", "licence": "L", "sharing": "credentialed"}
    stricter = report["data"] | {"licence": "L", "sharing": "credentialed", "started_from": earlier}
    train_anew(folder, settings=started, data=stricter)
    with pytest.raises(ValueError, match=r"credentialed data under the licence L \(model: mimic-ir\)"):
        push(hub, folder)
    assert hub.requests == []
    train_anew(folder, settings=started, data=report["data"] | {"started_from": report["data"]})
    push(hub, folder)
    assert "It started from a model trained on made-up" in card_of(hub)


@pytest.mark.parametrize(
    "part",
    [
        {"tokenizer": "some/text"},
        {"vision": {"pretrained": "some/tower"}},
        {"text": {"pretrained": "some/text"}},
    ],
)
def test_the_tokenizer_and_the_towers_that_a_model_was_made_from_count_too(
    hub: FakeHub, folder: Path, part: dict[str, Any]
) -> None:
    """By training.json and, where an earlier version wrote it, by what is known of the part itself."""
    (name,) = part
    report = json.loads((folder / "training.json").read_text())
    settings, own = report["settings"] | part, report["data"]
    strict = {"name": "mimic-ir", "licence": "L", "sharing": "credentialed"}
    train_anew(folder, settings=settings, data=own | joined({"dataset": own, name: strict}))
    with pytest.raises(ValueError, match=rf"credentialed data under the licence L \({name}.*: mimic-ir\)"):
        push(hub, folder)
    train_anew(folder, settings=settings, data=own)
    with pytest.raises(ValueError, match=rf"those of its {name}.* \(neither a folder nor a repository"):
        push(hub, folder)
    assert REPO not in hub.models


def test_a_part_that_the_hub_gives_to_everybody_is_open_and_a_gated_or_private_one_is_not(
    hub: FakeHub, folder: Path
) -> None:
    report = json.loads((folder / "training.json").read_text())
    train_anew(folder, settings=report["settings"] | {"tokenizer": "some/bert"})
    hub.models["some/bert"] = Repository(private=True)
    with pytest.raises(ValueError, match="those of its tokenizer "):
        push(hub, folder)
    hub.models["some/bert"] = Repository(private=False)
    push(hub, folder)


def test_a_credentialed_model_goes_to_a_private_repository_that_strangers_do_not_see(
    hub: FakeHub, folder: Path
) -> None:
    train_anew(folder, data={"name": "mimic-ir", "licence": "L", "sharing": "credentialed"})
    push(hub, folder, private=True, i_may_share=True)
    assert hub.models[REPO].private
    assert not HfApi(endpoint=hub.url, token=False).repo_exists(REPO)


def test_a_public_repository_is_refused_whatever_the_flags_say(hub: FakeHub, folder: Path) -> None:
    hub.models[REPO] = Repository(private=False)
    with pytest.raises(ValueError, match="is public on the Hub, but must be private"):
        push(hub, folder, private=True, i_may_share=True)
    assert hub.blobs == {} and len(hub.models[REPO].commits) == 1


def test_a_repository_that_is_opened_during_the_upload_gets_no_commit(hub: FakeHub, folder: Path) -> None:
    def open_it(request: str) -> None:
        if request.startswith("PUT /blobs/"):
            hub.models[REPO].private = False

    hub.before = open_it
    with pytest.raises(ValueError, match="is public on the Hub"):
        push(hub, folder, private=True, i_may_share=True)
    assert hub.blobs and hub.models[REPO].files == {}


def test_a_card_is_made_for_the_repository_where_nobody_wrote_one(hub: FakeHub, folder: Path) -> None:
    push(hub, folder)
    assert card_of(hub) == model_card(folder, None, REPO)
    assert f'from_pretrained("{REPO}", trust_remote_code=True)' in card_of(hub)
    assert not (folder / "README.md").exists()


def test_an_untouched_card_gains_the_results_when_pushed(hub: FakeHub, folder: Path, results: Path) -> None:
    write_model_card(folder)
    push(hub, folder)
    push(hub, folder, results=results)
    assert card_of(hub) == model_card(folder, ModelResults.read(results, folder.name), REPO)
    assert is_untouched(card_of(hub))


def test_figures_without_a_hub_id_are_pushed_with_a_warning(
    hub: FakeHub, folder: Path, results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def ids() -> set[str]:
        (entries,) = [file for name, file in hub.models[REPO].files.items() if ".eval_results" in name]
        return {entry["dataset"]["id"] for entry in yaml.safe_load(entries)}

    push(hub, folder, results=results)
    assert ids() == {"made-up"} and "give --benchmark user/name" in caplog.text
    caplog.clear()
    push(hub, folder, results=results, benchmark="user/made-up")
    assert ids() == {"user/made-up"} and not caplog.records


def test_a_card_written_by_hand_goes_up_as_it_is_with_the_figures_in_its_header(
    hub: FakeHub, folder: Path, results: Path
) -> None:
    (folder / "README.md").write_bytes(b"---\nlicense: mit\n---\n# Mine\r\n")
    push(hub, folder)
    assert hub.models[REPO].files["README.md"] == b"---\nlicense: mit\n---\n# Mine\r\n"
    push(hub, folder, results=results)
    assert card_of(hub).endswith("---\n# Mine\r\n")
    assert len(ModelCard(card_of(hub)).data.eval_results) == 8
    assert (folder / "README.md").read_bytes() == b"---\nlicense: mit\n---\n# Mine\r\n"


def test_a_card_that_was_edited_on_the_hub_stays(hub: FakeHub, folder: Path, results: Path) -> None:
    push(hub, folder)
    edited = card_of(hub).replace("## Limits", "## Limits\n\nNot for children.")
    hub.models[REPO].commits.append({**hub.models[REPO].files, "README.md": edited.encode()})
    write_model_card(folder)
    push(hub, folder)
    assert card_of(hub) == edited
    push(hub, folder, results=results)
    assert card_of(hub).split("---\n", 2)[2] == edited.split("---\n", 2)[2]
    assert len(ModelCard(card_of(hub)).data.eval_results) == 8


def test_an_interrupted_upload_leaves_no_commit_and_can_be_repeated(hub: FakeHub, folder: Path) -> None:
    def break_off(request: str) -> None:
        if request.startswith("POST") and "/commit/" in request:
            raise ConnectionError

    hub.before = break_off
    with pytest.raises(ValueError, match="commits everything at its end or nothing"):
        push(hub, folder)
    assert hub.models[REPO].files == {}
    hub.before = lambda request: None
    push(hub, folder)
    assert hub.models[REPO].files["config.json"] == (folder / "config.json").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "checks.py").unlink(), r"lacks checks\.py, which its code needs"),
        (lambda folder: (folder / "modeling_radir.py").unlink(), r"lacks modeling_radir\.py"),
        (lambda folder: (folder / "config.json").unlink(), r"has no config\.json"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "x.bin"), "only pickled weights"),
    ],
)
def test_incomplete_folders_are_refused_before_the_hub_is_asked(
    hub: FakeHub, folder: Path, change: Any, message: str
) -> None:
    change(folder)
    with pytest.raises(ValueError, match=message):
        push(hub, folder)
    assert hub.requests == []


def test_a_folder_without_code_is_refused(hub: FakeHub, folder: Path) -> None:
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        settings = json.loads((folder / name).read_text())
        settings.pop("auto_map", None)
        settings.get("image_processor", {}).pop("auto_map", None)
        (folder / name).write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="names no code"):
        push(hub, folder)


def test_results_of_other_models_are_refused_before_the_hub_is_asked(
    hub: FakeHub, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no results of radir-tiny"):
        push(hub, folder, results=results_file(tmp_path / "results.json", "another"))
    assert hub.requests == []
