"""A build that is killed anywhere is finished by the same command: the right bytes, and nothing else."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dataset_scripts.building import study_blocks as blocks
from dataset_scripts.building import working_folder
from dataset_scripts.building.build import build_dataset
from dataset_scripts.plumbing.manifest import read_manifest
from dataset_scripts.plumbing.outputs import claim
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.sources.base import ImageRecord
from tests.dataset_scripts.building.test_study_blocks import MadeUpSource, content
from tests.killing import changes_of, killed_at

SCORER = LexicalExtractor()


@dataclass(frozen=True)
class Tiny(MadeUpSource):
    """Two sentences, so that there are few anatomies."""

    count: int = 12
    text: str = "Large heart."

    def record(self, job: int) -> ImageRecord:
        return replace(super().record(job), findings=self.text if job % 2 else "The heart is normal.")


@pytest.fixture(autouse=True)
def few_studies_in_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_BLOCK", 4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_BLOCK", 4)
        out = tmp_path_factory.mktemp("whole") / "out"
        build(out)
        return content(out)


def build(out: Path, source: Tiny | None = None) -> None:
    build_dataset(source or Tiny(), out, SCORER, processes=1, progress=False)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def interrupted(out: Path, source: Tiny | None = None) -> Path:
    """A build that was stopped when all was there but the switch; returns its working folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dataset_scripts.building.build.switch", _stop)
        with pytest.raises(KeyboardInterrupt):
            build(out, source)
    return out.with_name(f".{out.name}.building")


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("earlier", [False, True])
def test_killed_at_any_change_of_a_folder(tmp_path: Path, whole: dict[str, bytes], earlier: bool) -> None:
    """Those around the switch, and some before and after; benchmarks/kills.py tries all of them."""
    (tmp_path / "seen").mkdir()
    if earlier:
        build(tmp_path / "seen" / "out", Tiny(count=8))
        shutil.copytree(tmp_path / "seen", tmp_path / "start")
    else:
        (tmp_path / "start").mkdir()
    changes = changes_of(lambda: build(tmp_path / "seen" / "out"))
    switched = next(n for n, change in enumerate(changes) if change.endswith("switch.json"))
    before = content(tmp_path / "start" / "out") if earlier else {}
    points = {switched // 2, *range(switched, switched + 4), len(changes) - 1}
    for number in sorted(points):
        folder = tmp_path / f"at-{number}"
        shutil.copytree(tmp_path / "start", folder)
        assert killed_at(number, lambda out=folder / "out": build(out)), f"nothing happened at {number}"
        seen = content(folder / "out") if (folder / "out").exists() else {}
        assert seen in (before, whole), f"a half dataset has the name after {number}"
        build(folder / "out")
        assert content(folder / "out") == whole, f"killed at change {number}"
        assert names(folder) == ["out"], f"killed at change {number}"


def test_a_finished_dataset_is_not_built_again_to_clean_up(
    tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(working_folder, "remove", _stop)
        with pytest.raises(KeyboardInterrupt):
            build(out)
    assert names(tmp_path) == [".out.building", "out"]
    monkeypatch.setattr(MadeUpSource, "read", _stop)
    build(out)
    assert content(out) == whole
    assert names(tmp_path) == ["out"]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [_cut, _empty, _zeros, Path.unlink])
def test_what_a_power_cut_leaves_is_written_again(
    tmp_path: Path, whole: dict[str, bytes], damage: Callable[[Path], None]
) -> None:
    """Every file of the working folder in turn, but for the plan."""
    working = interrupted(tmp_path / "out")
    shutil.copytree(working, tmp_path / "copy")
    files = [path.relative_to(working) for path in working.rglob("*") if path.is_file()]
    files = [name for name in files if name.name != "plan.json"]
    for chosen in (files[0::3], files[1::3], files[2::3]):
        if not working.exists():
            shutil.copytree(tmp_path / "copy", working)
        for name in chosen:
            damage(working / name)
        build(tmp_path / "out")
        assert content(tmp_path / "out") == whole
        shutil.rmtree(tmp_path / "out")


def test_stray_parts_are_not_joined(tmp_path: Path, whole: dict[str, bytes]) -> None:
    working = interrupted(tmp_path / "out")
    shards = sorted((working / "dataset" / "studies").iterdir())
    for name in ("train-00000", "train-00099", ".train-00000.0123456789ab.partial"):
        shutil.copy(shards[0], working / "dataset" / "studies" / f"{name}.parquet")
    for folder in (working / "work" / "relevance" / "train", working / "work" / "blocks"):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(shards[0], folder / "00099.texts.parquet")
        shutil.copy(shards[0], folder / ".0004.0123456789ab.partial.parquet")
    build(tmp_path / "out")
    assert content(tmp_path / "out") == whole
    assert names(tmp_path) == ["out"]


def test_another_source_or_option_starts_afresh(tmp_path: Path) -> None:
    interrupted(tmp_path / "out", Tiny(text="Small left effusion."))
    build(tmp_path / "out", Tiny(count=8))
    build(tmp_path / "alone", Tiny(count=8))
    assert content(tmp_path / "out") == content(tmp_path / "alone")
    assert names(tmp_path) == ["alone", "out"]


def test_the_manifest_lists_all_files(tmp_path: Path, whole: dict[str, bytes]) -> None:
    build(tmp_path / "out")
    listed = read_manifest(tmp_path / "out", "radir-dataset")
    assert listed is not None
    assert sorted(listed) == sorted(set(whole) - {"manifest.json"})


def test_a_link_stands_for_its_target(tmp_path: Path, whole: dict[str, bytes]) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "out")
    for _ in range(2):
        build(tmp_path / "link")
        assert content(tmp_path / "elsewhere" / "out") == whole
    assert names(tmp_path) == ["elsewhere", "link"]
    assert (tmp_path / "link").is_symlink()


def test_a_second_build_of_the_same_output_is_told_who_is_at_work(tmp_path: Path) -> None:
    with claim(tmp_path / "out"), pytest.raises(ValueError, match="is being written by process"):
        build(tmp_path / "out")


def _a_file(out: Path) -> None:
    out.write_text("text")


def _with_a_foreign_file(out: Path) -> None:
    build(out)
    (out / "notes.txt").write_text("mine")


def _of_an_earlier_version(out: Path) -> None:
    build(out)
    (out / "manifest.json").unlink()


def _with_a_foreign_entities_folder(out: Path) -> None:
    (out / "entities").mkdir(parents=True)
    (out / "entities" / "thesis.txt").write_text("years")


def _with_a_foreign_working_folder(out: Path) -> None:
    (out.parent / ".out.building").mkdir()
    (out.parent / ".out.building" / "thesis.txt").write_text("years")


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (_a_file, "not a built dataset"),
        (_with_a_foreign_file, "holds 1 files beside those of a built dataset .*notes.txt"),
        (_of_an_earlier_version, "an earlier one did"),
        (_with_a_foreign_entities_folder, "not a built dataset"),
        (_with_a_foreign_working_folder, "is not the working folder of a build"),
    ],
)
def test_what_is_not_ours_is_left_alone_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Path], None], sentence: str
) -> None:
    prepare(tmp_path / "out")
    before = content(tmp_path)
    monkeypatch.setattr(MadeUpSource, "read", _stop)  # no work is begun
    with pytest.raises(ValueError, match=sentence):
        build(tmp_path / "out")
    assert content(tmp_path) == before


def test_a_file_that_was_put_there_meanwhile_is_kept(
    tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    build(out, Tiny(count=8))
    plain = MadeUpSource.read

    def read(self: MadeUpSource, job: int) -> list:
        (out / "notes.txt").write_text("mine")
        return plain(self, job)

    with monkeypatch.context() as patch:
        patch.setattr(MadeUpSource, "read", read)
        with pytest.raises(ValueError, match=r"notes\.txt"):
            build(out)
    assert (out / "notes.txt").read_text() == "mine"
    (out / "notes.txt").unlink()
    monkeypatch.setattr(MadeUpSource, "read", _stop)  # the mined work is there
    build(out)
    assert content(out) == whole


def test_a_mount_point_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working_folder, "is_mount_point", lambda path: path == tmp_path / "out")
    with pytest.raises(ValueError, match="is a mount point"):
        build(tmp_path / "out")


def test_the_system_knows_mount_points() -> None:
    from dataset_scripts.plumbing.outputs import is_mount_point

    assert is_mount_point(Path("/proc"))
    assert not is_mount_point(Path(__file__).parent)


def test_an_image_that_came_later_is_used(tmp_path: Path) -> None:
    """The first try found it missing, and was stopped."""

    @dataclass(frozen=True)
    class OfFiles(Tiny):
        folder: str = ""

        def inputs(self, job: int) -> list[Path]:
            return [Path(self.folder) / f"{job}.png"]

        def read(self, job: int) -> list:
            there = self.inputs(job)[0].exists()
            return [self.record(job)] if there else []

    (tmp_path / "images").mkdir()
    for job in range(11):
        (tmp_path / "images" / f"{job}.png").write_bytes(b"png")
    source = OfFiles(folder=str(tmp_path / "images"))
    interrupted(tmp_path / "out", source)
    (tmp_path / "images" / "11.png").write_bytes(b"png")
    build(tmp_path / "out", source)
    facts = json.loads((tmp_path / "out" / "build.json").read_text())
    assert sum(facts["images"].values()) == 12


def test_a_dataset_in_which_no_text_names_an_anatomy_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = MadeUpSource.record
    monkeypatch.setattr(Tiny, "record", lambda self, job: replace(plain(self, job), findings="As before."))
    build(tmp_path / "out")
    assert "No text names an anatomy" in (tmp_path / "out" / "README.md").read_text()
    assert not (tmp_path / "out" / "findings").exists()
