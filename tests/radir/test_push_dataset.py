import dataclasses
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from huggingface_hub import HfApi, constants

from dataset_scripts.building.build_info import BuildInfo
from dataset_scripts.building.layout import FINDINGS, KIND, STUDIES, studies_shard, table_path
from dataset_scripts.plumbing.manifest import write_manifest
from dataset_scripts.sources.base import Sharing
from radir.publishing.push_dataset import publishable, push_dataset
from tests.made_up.hub import FakeHub, Repository
from tests.made_up.open_i import SENTENCES, built_open_i


class DiskFullError(Exception):
    """The hub cannot take what it is sent."""


REPO = "user/made-up"
ALL_SENTENCES = [text for texts in SENTENCES.values() for text in texts if text] + ["See findings."]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_open_i(tmp_path_factory.mktemp("open-i"), studies=40)


@pytest.fixture
def shared(built: Path, tmp_path: Path) -> Callable[[Sharing], Path]:
    """A copy of the built dataset whose facts say who may have it, and which a test may change: it has no
    manifest, like those of earlier versions."""

    def make(sharing: Sharing) -> Path:
        folder = tmp_path / "dataset"
        shutil.copytree(built, folder)
        (folder / "manifest.json").unlink(missing_ok=True)
        dataclasses.replace(BuildInfo.read(folder), sharing=sharing, licence="The licence").write(folder)
        return folder

    return make


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with FakeHub() as hub:
        yield hub


def push(hub: FakeHub, folder: Path, **options: Any) -> str:
    api = HfApi(endpoint=hub.url, token=hub.token)
    return push_dataset(folder, REPO, api=api, progress=False, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def readable(name: str, data: bytes) -> str:
    """What a file says, Parquet decoded."""
    if name.endswith(".parquet"):
        return "\n".join(map(str, pq.read_table(io.BytesIO(data)).to_pylist()))
    return data.decode("latin-1")


def run_child(hub: FakeHub, code: str, home: Path) -> Any:
    """Run code that prints JSON where huggingface_hub and datasets are pointed at the fake hub."""
    settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(home)}
    switches = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **settings, **switches},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_an_open_dataset_comes_back_bit_by_bit(
    hub: FakeHub, shared: Callable[[Sharing], Path], tmp_path: Path
) -> None:
    folder = shared(Sharing.OPEN)
    (folder / ".hidden").write_text("of the machine")
    assert push(hub, folder) == f"{hub.url}/datasets/{REPO}"
    assert not hub.repositories[REPO].private
    expected = contents(folder)
    del expected[".hidden"]
    api = HfApi(endpoint=hub.url, token=False)
    pulled = api.snapshot_download(REPO, repo_type="dataset", local_dir=tmp_path / "pulled")
    shutil.rmtree(Path(pulled) / ".cache")  # the library's own notes
    assert contents(Path(pulled)) == expected


@pytest.fixture
def listed(shared: Callable[[Sharing], Path]) -> Path:
    """An open dataset with its manifest, and other people's files among its own."""
    folder = shared(Sharing.OPEN)
    write_manifest(folder, KIND)
    for name in (
        "report.html",
        ".tasks/a.npz",
        "index/items.parquet",
        "findings/mine.parquet",
        "volumes/x.nii",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not of the dataset")
    return folder


@pytest.mark.parametrize("manifest", [True, False])
def test_only_files_of_the_dataset_go_up_and_the_others_are_counted(
    hub: FakeHub, listed: Path, tmp_path: Path, manifest: bool, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "secret.txt").write_text("not of the dataset")
    (listed / "findings" / "link.parquet").symlink_to(tmp_path / "secret.txt")
    if not manifest:
        (listed / "manifest.json").unlink()
    push(hub, listed)
    files = hub.repositories[REPO].files
    assert not [name for name, data in files.items() if b"not of the dataset" in data]
    assert {name: data for name, data in contents(listed).items() if name in files} == files
    assert {"README.md", "build.json", "studies/test-00000.parquet", "entities/keys.arrow"} <= set(files)
    assert ("manifest.json" in files) == manifest
    assert "6 files in" in caplog.text


def test_a_file_that_is_not_as_it_was_built_is_refused_but_for_the_card(hub: FakeHub, listed: Path) -> None:
    (listed / "README.md").write_text("---\n{}\n---\nedited")
    push(hub, listed)
    assert hub.repositories[REPO].files["README.md"].endswith(b"edited")
    facts = BuildInfo.read(listed)
    dataclasses.replace(facts, licence="mine").write(listed)
    with pytest.raises(ValueError, match=r"build\.json is not what the build wrote"):
        push(hub, listed)


@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("manifest", [True, False])
def test_a_link_to_somewhere_else_is_not_followed(
    hub: FakeHub, listed: Path, tmp_path: Path, what: str, manifest: bool
) -> None:
    if not manifest:
        (listed / "manifest.json").unlink()
    moved = listed / ("relevance/test.parquet" if what == "file" else "relevance")
    moved.rename(tmp_path / "elsewhere")
    moved.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"relevance/\w+\.parquet is a link to .*elsewhere"):
        push(hub, listed)
    assert hub.requests == []


def test_a_snapshot_of_the_hub_s_cache_is_made_of_links_and_may_be_pushed(
    hub: FakeHub, listed: Path, tmp_path: Path
) -> None:
    snapshot, blobs = tmp_path / "datasets--a" / "snapshots" / "abc", tmp_path / "datasets--a" / "blobs"
    blobs.mkdir(parents=True)
    for number, name in enumerate(json.loads((listed / "manifest.json").read_text())["files"]):
        shutil.copy(listed / name, blobs / str(number))
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(os.path.relpath(blobs / str(number), (snapshot / name).parent))
    push(hub, snapshot)
    assert set(hub.repositories[REPO].files) >= {"README.md", "studies/test-00000.parquet"}


def test_load_dataset_reads_what_was_pushed(
    hub: FakeHub, shared: Callable[[Sharing], Path], tmp_path: Path
) -> None:
    folder = shared(Sharing.OPEN)
    push(hub, folder)
    code = f"""
import hashlib, json
from datasets import Image, load_dataset
rows = load_dataset({REPO!r}, split="test").cast_column("image", Image(decode=False))
digest = hashlib.sha256(b"".join(row["image"]["bytes"] for row in rows)).hexdigest()
relevance = load_dataset({REPO!r}, "relevance", split="test")
print(json.dumps([rows["report"][:], digest, relevance[0]]))
"""
    reports, digest, first = run_child(hub, code, tmp_path / "home")
    local = pq.read_table(studies_shard(folder, "test", 0))
    images = b"".join(image["bytes"] for image in local["image"].to_pylist())
    assert reports == local["report"].to_pylist()
    assert digest == hashlib.sha256(images).hexdigest()
    assert first == pq.read_table(folder / "relevance/test.parquet").slice(0, 1).to_pylist()[0]


@pytest.mark.parametrize("sharing", [Sharing.RESTRICTED, Sharing.CREDENTIALED])
@pytest.mark.parametrize("options", [{}, {"private": True}, {"i_may_share": True}])
def test_what_is_not_open_is_refused_before_the_hub_is_asked(
    hub: FakeHub, shared: Callable[[Sharing], Path], sharing: Sharing, options: dict[str, bool]
) -> None:
    with pytest.raises(ValueError, match=rf"{sharing} data .*The licence.*--identifiers-only"):
        push(hub, shared(sharing), **options)
    assert hub.requests == []


def test_a_public_repository_is_refused_whatever_the_flags_say(
    hub: FakeHub, shared: Callable[[Sharing], Path]
) -> None:
    hub.repositories[REPO] = Repository(private=False)
    with pytest.raises(ValueError, match="is public on the Hub, but must be private"):
        push(hub, shared(Sharing.CREDENTIALED), private=True, i_may_share=True)
    assert hub.blobs == {} and len(hub.repositories[REPO].commits) == 1


def test_a_repository_that_is_opened_during_the_upload_gets_no_commit(
    hub: FakeHub, shared: Callable[[Sharing], Path]
) -> None:
    def open_it(request: str) -> None:
        if request.startswith("PUT /blobs/"):
            hub.repositories[REPO].private = False

    hub.before = open_it
    with pytest.raises(ValueError, match="is public on the Hub"):
        push(hub, shared(Sharing.CREDENTIALED), private=True, i_may_share=True)
    assert hub.repositories[REPO].files == {}


def test_credentialed_data_goes_to_a_private_repository_that_strangers_do_not_see(
    hub: FakeHub, shared: Callable[[Sharing], Path]
) -> None:
    folder = shared(Sharing.CREDENTIALED)
    push(hub, folder, private=True, i_may_share=True)
    assert hub.repositories[REPO].private
    assert hub.repositories[REPO].files == contents(folder)
    assert not HfApi(endpoint=hub.url, token=False).repo_exists(REPO, repo_type="dataset")


def test_nothing_uploaded_as_identifiers_holds_text_or_images(
    hub: FakeHub, shared: Callable[[Sharing], Path]
) -> None:
    folder = shared(Sharing.CREDENTIALED)
    push(hub, folder, identifiers_only=True)
    files = hub.repositories[REPO].files
    assert set(hub.blobs.values()) <= set(files.values())  # nothing else was uploaded on the way
    images = [
        image["bytes"]
        for path in (folder / STUDIES).iterdir()
        for image in pq.read_table(path)["image"].to_pylist()
    ]
    assert len(images) > 20
    full = "".join(readable(name, data) for name, data in contents(folder).items())
    assert all(sentence in full for sentence in ALL_SENTENCES)  # so that not finding them means something
    for name, data in files.items():
        said = readable(name, data)
        assert not [sentence for sentence in ALL_SENTENCES if sentence.rstrip(".") in said], name
        assert not any(image[:64] in data for image in images), name
        assert str(folder) not in said
    assert not any(name.startswith(("entities/", "labels/", "skipped")) for name in files)
    columns = {name: pq.read_schema(io.BytesIO(files[name])).names for name in files if "test." in name}
    assert columns["relevance/test.parquet"] == ["query_id", "anatomy", "candidate_ids", "relevance"]
    assert columns["findings/test.parquet"] == ["study_id", "anatomy"]


def test_the_publishable_form_keeps_identifiers_and_relevance_and_loads(built: Path, tmp_path: Path) -> None:
    form = publishable(built, tmp_path / "form")
    for name in ("relevance/train.parquet", "anatomies/train.parquet"):
        assert pq.read_table(form / name).equals(pq.read_table(built / name))
    whole = pq.read_table(table_path(built, FINDINGS, "train"))
    assert pq.read_table(table_path(form, FINDINGS, "train")).equals(whole.select(["study_id", "anatomy"]))
    studies, findings = (
        load_dataset(str(form), name, split="train", cache_dir=str(tmp_path / "cache")).to_dict()
        for name in (STUDIES, FINDINGS)
    )
    assert list(studies) == ["study_id", "subject_id", "image_id", "view"]
    expected = pq.read_table(studies_shard(built, "train", 0), columns=list(studies))
    assert studies == expected.to_pydict()
    assert findings["study_id"] == whole["study_id"].to_pylist()
    assert BuildInfo.read(form).sharing == BuildInfo.read(built).sharing


def test_the_publishable_form_says_what_is_left_out_and_how_to_get_it_back(
    built: Path, tmp_path: Path
) -> None:
    card = (publishable(built, tmp_path / "form") / "README.md").read_text()
    assert "## What is left out" in card and "radir build open-i" in card and "cc-by-nc-nd-4.0" in card


def test_shards_become_one_table_a_split(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    shutil.copytree(built, folder, ignore=shutil.ignore_patterns("manifest.json"))
    shutil.copy(built / "entities" / "manifest.json", folder / "entities")
    shutil.copy(studies_shard(folder, "test", 0), studies_shard(folder, "train", 7))
    form = publishable(folder, tmp_path / "form")
    assert [path.name for path in sorted((form / STUDIES).glob("train-*"))] == ["train-00000.parquet"]
    ids = pq.read_table(studies_shard(form, "train", 0))["image_id"].to_pylist()
    assert ids == [
        name
        for number in (0, 7)
        for name in pq.read_table(studies_shard(folder, "train", number))["image_id"].to_pylist()
    ]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("image_id", "left: {sentence}", "a sentence of the reports"),
        ("view", "  {sentence}", "a sentence of the reports"),
        ("image_id", "/home/me/{number}.png", "path of this machine"),
        ("subject_id", None, "not identifiers"),
    ],
)
def test_identifiers_that_hold_text_or_paths_are_found(
    built: Path, tmp_path: Path, column: str, value: str | None, reason: str
) -> None:
    folder = tmp_path / "dataset"
    shutil.copytree(built, folder, ignore=shutil.ignore_patterns("manifest.json"))
    shutil.copy(built / "entities" / "manifest.json", folder / "entities")
    path = studies_shard(folder, "train", 0)
    table = pq.read_table(path)
    sentence = "THERE is a small  left pleural effusion"
    values = [
        b"pixels" if value is None else value.format(sentence=sentence, number=number)
        for number in range(len(table))
    ]
    table = table.set_column(table.column_names.index(column), column, pa.array(values))
    pq.write_table(table.replace_schema_metadata(None), path)
    with pytest.raises(ValueError, match=reason):
        publishable(folder, tmp_path / "form")
    assert not (tmp_path / "form").exists()


def test_an_interrupted_upload_leaves_no_commit_and_can_be_repeated(
    hub: FakeHub, shared: Callable[[Sharing], Path]
) -> None:
    folder = shared(Sharing.OPEN)

    def break_off(request: str) -> None:
        if request.startswith("PUT /blobs/") and len(hub.blobs) >= 2:
            raise DiskFullError

    hub.before = break_off
    with pytest.raises(ValueError, match="commits everything at its end or nothing"):
        push(hub, folder)
    assert len(hub.blobs) == 2 and hub.repositories[REPO].files == {}
    hub.before = lambda request: None
    push(hub, folder)
    assert len(hub.repositories[REPO].commits) == 2  # the empty one and ours
    assert hub.repositories[REPO].files == contents(folder)


def test_a_second_push_replaces_the_first_and_leaves_other_files(
    hub: FakeHub, shared: Callable[[Sharing], Path]
) -> None:
    folder = shared(Sharing.OPEN)
    push(hub, folder)
    hub.repositories[REPO].commits.append(
        {**hub.repositories[REPO].files, "LICENSE": b"mine", "README.md": b"edited"}
    )
    studies_shard(folder, "test", 0).unlink()
    push(hub, folder)
    files = hub.repositories[REPO].files
    assert files == {**contents(folder), "LICENSE": b"mine"}


def test_a_commit_in_between_is_not_overwritten(hub: FakeHub, shared: Callable[[Sharing], Path]) -> None:
    folder = shared(Sharing.OPEN)

    def interfere(request: str) -> None:
        if request.startswith("PUT /blobs/"):
            hub.before = lambda request: None
            hub.repositories[REPO].commits.append({"README.md": b"someone else's"})

    hub.before = interfere
    with pytest.raises(ValueError, match="A commit has happened since"):
        push(hub, folder)
    assert hub.repositories[REPO].files == {"README.md": b"someone else's"}


def test_identifiers_do_not_go_where_the_full_dataset_is_in_the_history(
    hub: FakeHub, shared: Callable[[Sharing], Path]
) -> None:
    folder = shared(Sharing.CREDENTIALED)
    push(hub, folder, private=True, i_may_share=True)
    with pytest.raises(ValueError, match="its history keeps it"):
        push(hub, folder, identifiers_only=True)


@pytest.mark.parametrize("volumes", [False, True])
def test_images_that_stay_outside_are_not_pushed_without_a_word(
    hub: FakeHub, shared: Callable[[Sharing], Path], volumes: bool
) -> None:
    folder = shared(Sharing.OPEN)
    path = studies_shard(folder, "train", 0)
    table = pq.read_table(path)
    names = [f"/data/{number}.nii.gz" for number in range(len(table))]
    column = pa.array(names if volumes else [{"bytes": None, "path": name} for name in names])
    table = table.set_column(table.column_names.index("image"), "image", column)
    pq.write_table(table.replace_schema_metadata(None), path)
    with pytest.raises(ValueError, match=r"stay outside of it \(/data/0.nii.gz.*--identifiers-only"):
        push(hub, folder)
    assert hub.requests == []
    push(hub, folder, identifiers_only=True)
    assert not any(b"/data/" in data for data in hub.repositories[REPO].files.values())


def test_volumes_inside_the_folder_are_pushed(hub: FakeHub, shared: Callable[[Sharing], Path]) -> None:
    folder = shared(Sharing.OPEN)
    (folder / "volumes").mkdir()
    for path in (folder / STUDIES).iterdir():
        table = pq.read_table(path)
        names = [f"volumes/{image_id}.nii.gz" for image_id in table["image_id"].to_pylist()]
        for name in names:
            (folder / name).write_bytes(name.encode())
        table = table.set_column(table.column_names.index("image"), "image", pa.array(names))
        pq.write_table(table.replace_schema_metadata(None), path)
    push(hub, folder)
    assert hub.repositories[REPO].files == contents(folder)


def test_a_folder_that_was_not_built_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("not a dataset")
    with pytest.raises(ValueError, match=r"has no build\.json"):
        push(hub, tmp_path)
    with pytest.raises(ValueError, match=r"has no build\.json"):
        publishable(tmp_path, tmp_path / "out")


def test_the_form_does_not_replace_what_is_there(built: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exists"):
        publishable(built, built)
    assert (built / "entities").is_dir()


def test_a_refused_login_is_told_without_the_token(
    hub: FakeHub, shared: Callable[[Sharing], Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    api = HfApi(endpoint=hub.url, token="hf_secret_of_mine")
    with pytest.raises(ValueError, match="did not succeed") as error:
        push_dataset(shared(Sharing.OPEN), REPO, api=api, progress=False)
    assert "hf_secret" not in "".join(traceback.format_exception(error.value)) + caplog.text
