"""Builds resume, with the bytes of an undisturbed one, and refuse leaks."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from dataset_scripts.building import study_blocks as blocks
from dataset_scripts.building.build import build_dataset
from dataset_scripts.building.build_info import BuildInfo
from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.sources.base import Geometry, ImageRecord, Sharing, Skipped, option
from dataset_scripts.sources.splits import split_of_subject
from tests.made_up.open_i import findings


@dataclass(frozen=True)
class MadeUpSource:
    """Studies of made-up findings; the one numbered `broken` cannot be read."""

    count: int = option("number of studies", default=300)
    broken: int = option("number of a study whose reading fails", default=-1)

    name = "made-up"
    licence = "apache-2.0"
    homepage = "nowhere"
    sharing = Sharing.OPEN
    volumes = False
    label_anatomies: ClassVar[dict[str, str]] = {}
    label_origin = ""

    def jobs(self) -> Iterator[int | Skipped]:
        yield Skipped("row 0", "leads nowhere")
        yield from range(self.count)

    def read(self, job: int) -> list[ImageRecord | Skipped]:
        if job == self.broken:
            raise OSError("the disk is gone")
        if job % 50 == 7:
            return [Skipped(f"image {job}", "unreadable")]
        return [self.record(job)]

    def record(self, job: int) -> ImageRecord:
        text, subject = findings(job), str(job // 2)
        return ImageRecord(
            str(job), subject, f"i{job}", f"/x/{job}.png", "pa", text, text, "", split_of_subject(subject)
        )


def build(source: MadeUpSource, out: Path, processes: int = 1) -> BuildInfo:
    return build_dataset(source, out, LexicalExtractor(), processes=processes, progress=False)


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "made-up"
    build(MadeUpSource(), out)
    return out


def test_bytes_do_not_depend_on_the_number_of_processes(undisturbed: Path, tmp_path: Path) -> None:
    build(MadeUpSource(), tmp_path / "made-up", processes=2)
    assert content(tmp_path / "made-up") == content(undisturbed)


@pytest.mark.parametrize("stop_in", ["blocks", "entities", "relevance"])
def test_an_interrupted_build_goes_on_and_gives_the_same_bytes(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_in: str
) -> None:
    read: list[int] = []
    plain_read = MadeUpSource.read
    broken = {"on": True}

    def counted_read(self: MadeUpSource, job: int) -> list[ImageRecord | Skipped]:
        read.append(job)
        if stop_in == "blocks" and job == 200 and broken["on"]:
            raise KeyboardInterrupt
        return plain_read(self, job)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MadeUpSource, "read", counted_read)
    with monkeypatch.context() as patch:
        if stop_in == "entities":
            patch.setattr("dataset_scripts.relevance.store.store.EntityStore.build", interrupt)
        if stop_in == "relevance":
            patch.setattr("dataset_scripts.building.relevance_tables._join", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build(MadeUpSource(), tmp_path / "made-up")
    assert not (tmp_path / "made-up").exists()
    broken["on"] = False
    read.clear()
    build(MadeUpSource(), tmp_path / "made-up")
    assert read == (list(range(128, 300)) if stop_in == "blocks" else [])
    assert content(tmp_path / "made-up") == content(undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == ["made-up"]


def test_a_source_that_changed_meanwhile_is_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks whose jobs are no longer those of the source do not stay."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dataset_scripts.building.relevance_tables._join", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build(MadeUpSource(), tmp_path / "made-up")
    monkeypatch.setattr(MadeUpSource, "jobs", lambda self: iter(range(100)))
    facts = build(MadeUpSource(), tmp_path / "made-up")
    assert sum(facts.studies.values()) == 98
    data = BuiltDataset.open(tmp_path / "made-up")
    keys = set(data.engine.store.keys["study_id"].to_pylist())
    assert keys == {str(job) for job in range(100) if job % 50 != 7}
    assert len(list((tmp_path / "made-up" / "studies").iterdir())) == len(data.splits)


def test_other_options_do_not_take_up_an_interrupted_build(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk"):
        build(MadeUpSource(broken=299), tmp_path / "made-up")
    facts = build(MadeUpSource(count=40), tmp_path / "made-up")
    assert sum(facts.images.values()) == 39


def test_facts_and_card_say_what_was_built(undisturbed: Path) -> None:
    facts = BuildInfo.read(undisturbed)
    assert facts.skipped == {"unreadable": 6, "leads nowhere": 1}
    assert sum(facts.studies.values()) == sum(facts.images.values()) == 294
    assert sum(facts.subjects.values()) == 150
    assert facts.command == "radir build made-up --count 300 --broken -1 --scorer lexical"
    card = (undisturbed / "README.md").read_text()
    assert facts.command in card
    assert f"| left pleura | pleura | {facts.findings['left pleura']} |" in card
    assert "credentialed: false" in card


@pytest.mark.parametrize(("field", "what"), [("subject_id", "patient 0"), ("study_id", "study 0")])
def test_a_patient_or_study_in_two_splits_ends_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, what: str
) -> None:
    plain = MadeUpSource.record

    def leaking(self: MadeUpSource, job: int) -> ImageRecord:
        record = plain(self, job)
        return replace(record, **{field: "0"}, split="test") if job == 31 else replace(record, split="train")

    monkeypatch.setattr(MadeUpSource, "record", leaking)
    with pytest.raises(ValueError, match=f"{what} is in the splits train and test"):
        build(MadeUpSource(40), tmp_path / "made-up")
    assert not (tmp_path / "made-up").exists()


def test_two_images_of_one_name_end_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = MadeUpSource.record
    monkeypatch.setattr(MadeUpSource, "record", lambda self, job: replace(plain(self, job), image_id="same"))
    with pytest.raises(ValueError, match="'same' occurs twice"):
        build(MadeUpSource(4), tmp_path / "made-up")


def test_jobs_are_read_a_few_blocks_ahead_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_BLOCK", 4)
    ahead = []
    taken = 0

    def jobs(self: MadeUpSource) -> Iterator[int]:
        nonlocal taken
        for job in range(40):
            taken += 1
            yield job

    plain = MadeUpSource.read

    def read(self: MadeUpSource, job: int) -> list[ImageRecord | Skipped]:
        ahead.append(taken - job)
        return plain(self, job)

    monkeypatch.setattr(MadeUpSource, "jobs", jobs)
    monkeypatch.setattr(MadeUpSource, "read", read)
    build(MadeUpSource(), tmp_path / "made-up")
    assert max(ahead) <= 2 * 4


@dataclass(frozen=True)
class MadeUpVolumes(MadeUpSource):
    """Volumes: even ones come as bytes, odd ones stay where they are; each says how to read it."""

    volumes = True

    def record(self, job: int) -> ImageRecord:
        image = b"nifti" if job % 2 == 0 else f"/tree/{job}.nii.gz"
        geometry = Geometry((1.5, 0.75, 0.5), 1.0, -1024.0)
        return replace(super().record(job), image=image, geometry=geometry)


def test_volumes_come_with_their_geometry_and_path(tmp_path: Path) -> None:
    build(MadeUpVolumes(30), tmp_path / "ct")
    data = BuiltDataset.open(tmp_path / "ct")
    rows = {row["image_id"]: row for split in data.splits for row in data.studies(split)}
    assert rows["i4"]["image"] == "volumes/i4.nii.gz"
    assert data.path(rows["i4"]["image"]).read_bytes() == b"nifti"
    assert data.path(rows["i5"]["image"]) == Path("/tree/5.nii.gz")
    np.testing.assert_allclose(rows["i5"]["spacing_mm"], (1.5, 0.75, 0.5))
    assert (rows["i5"]["rescale_slope"], rows["i5"]["rescale_intercept"]) == (1.0, -1024.0)
