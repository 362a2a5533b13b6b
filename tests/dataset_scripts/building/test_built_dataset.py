"""What is read of a built dataset: one build, named errors, nothing that others on the machine may read."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.building.contents import own_files
from dataset_scripts.building.layout import KIND
from dataset_scripts.plumbing.manifest import write_manifest
from dataset_scripts.relevance.store.files import open_tensors, write_tensors
from tests.made_up.open_i import built_open_i


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_open_i(tmp_path_factory.mktemp("made"), studies=12)


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of a restricted dataset that a test may change, with a manifest of its files."""
    copy = tmp_path / "built"
    shutil.copytree(made, copy)
    (copy / "manifest.json").unlink(missing_ok=True)
    write_manifest(copy, KIND)
    return copy


def _rewrite(path: Path, **columns: pa.Array) -> None:
    """Replace columns of a Parquet file."""
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), table.schema.field(name), values)
    pq.write_table(table, path)


def _break_image(path: Path, row: int) -> str:
    """Truncate the picture of one row; returns its image_id."""
    table = pq.read_table(path)
    images = table["image"].to_pylist()
    images[row]["bytes"] = images[row]["bytes"][:200]
    _rewrite(path, image=pa.array(images, table["image"].type))
    return table["image_id"][row].as_py()


def _readable_by_others(below: Path) -> list[Path]:
    """Files that another user could open: all folders above them, up to `below`, let others through."""
    found = []
    for place, folders, files in os.walk(below):
        folders[:] = [f for f in folders if (Path(place) / f).stat().st_mode & stat.S_IXOTH]
        found += [Path(place, file) for file in files if Path(place, file).stat().st_mode & stat.S_IROTH]
    return found


def test_the_digest_is_that_of_the_tables_not_of_the_card(folder: Path) -> None:
    before = BuiltDataset(folder).digest
    (folder / "README.md").write_text("edited")
    (folder / "notes.txt").write_text("mine")
    (folder / "findings" / ".test.0123456789ab.partial.parquet").write_text("rest of a killed build")
    (folder / "studies" / "test-00009.parquet").write_text("another's file")
    assert BuiltDataset(folder).digest == before
    path = folder / "findings" / "test.parquet"
    texts = ["changed", *pq.read_table(path)["text"].to_pylist()[1:]]
    _rewrite(path, text=pa.array(texts))
    assert BuiltDataset(folder).digest != before


def test_a_copy_has_the_digest_of_its_original(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert BuiltDataset(tmp_path / "elsewhere").digest == BuiltDataset(folder).digest


def test_a_dataset_of_an_earlier_version_has_no_manifest_and_opens(folder: Path) -> None:
    before, splits = BuiltDataset(folder).digest, BuiltDataset(folder).splits
    (folder / "manifest.json").unlink()
    (folder / "studies" / "mine.parquet").write_text("another's file")
    data = BuiltDataset(folder)
    assert data.digest == before
    assert data.splits == splits
    assert "studies/mine.parquet" not in own_files(folder)


def test_pictures_outside_count_by_what_can_be_seen_of_them(folder: Path, tmp_path: Path) -> None:
    path, picture = folder / "studies" / "test-00000.parquet", tmp_path / "outside.png"
    picture.write_bytes(b"one")
    table = pq.read_table(path)
    images = [{"bytes": None, "path": str(picture)} for _ in range(len(table))]
    _rewrite(path, image=pa.array(images, table["image"].type))
    before = BuiltDataset(folder).digest
    picture.write_bytes(b"another")
    assert BuiltDataset(folder).digest != before


def test_rows_give_pictures_undecoded_and_image_decodes_them(folder: Path) -> None:
    data = BuiltDataset(folder)
    row = data.studies("test")[0]
    assert set(row["image"]) == {"bytes", "path"}
    assert data.image(row).size == (32, 32)


def test_a_damaged_picture_leaves_other_rows_alone_and_is_named(folder: Path) -> None:
    broken = _break_image(folder / "studies" / "test-00000.parquet", 0)
    data = BuiltDataset(folder)
    rows = data.studies("test")
    assert len(rows["report"][:]) == len(rows)
    assert data.image(rows[1]).size == (32, 32)
    with pytest.raises(ValueError, match=rf"image {broken} of built cannot be read"):
        data.image(rows[0])


def test_a_missing_picture_is_named(folder: Path) -> None:
    data = BuiltDataset(folder)
    row = data.studies("test")[0] | {"image": {"bytes": None, "path": "/nowhere/a.png"}}
    with pytest.raises(ValueError, match=rf"image {row['image_id']} of built .*/nowhere/a.png"):
        data.image(row)
    with pytest.raises(ValueError, match="has no picture"):
        data.image(row | {"image": None})


_READS: dict[str, Callable[[BuiltDataset], object]] = {
    "studies/test-00000.parquet": lambda data: data.studies("test"),
    "findings/test.parquet": lambda data: data.findings("test"),
    "anatomies/train.parquet": lambda data: data.anatomies(),
    "labels/train.parquet": lambda data: data.labels(),
    "entities/keys.arrow": lambda data: data.engine,
}


@pytest.mark.parametrize("name", _READS)
@pytest.mark.parametrize("length", [0, 100])
def test_a_truncated_table_is_named(folder: Path, name: str, length: int) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:length])
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        _READS[name](BuiltDataset(folder))


@pytest.mark.parametrize("name", ["studies/test-00000.parquet", "findings/test.parquet"])
def test_a_missing_table_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        BuiltDataset(folder)
    (folder / "manifest.json").unlink()  # of an earlier version
    with pytest.raises(ValueError, match=r"findings/test\.parquet is missing|no split 'test'"):
        BuiltDataset(folder).studies("test"), BuiltDataset(folder).findings("test")


@pytest.mark.parametrize(("name", "array"), [("embeddings", "embeddings"), ("rows", "entity_ids")])
def test_entities_that_make_no_sense_are_refused_before_they_score(
    folder: Path, name: str, array: str
) -> None:
    path = folder / "entities" / f"{name}.safetensors"
    arrays = {key: np.array(values) for key, values in open_tensors(path, memory_map=False).items()}
    arrays[array][0] = np.nan if name == "embeddings" else 10**6
    write_tensors(path, arrays)
    with pytest.raises(ValueError, match=r"entities is damaged: .*; build the dataset again"):
        assert BuiltDataset(folder).engine


def test_a_manifest_of_something_else_is_refused(folder: Path) -> None:
    manifest = folder / "manifest.json"
    for text in ("{", "[]", json.dumps({"format": KIND, "files": {"../outside": {}}})):
        manifest.write_text(text)
        with pytest.raises(ValueError, match=r"manifest\.json does not list the files"):
            BuiltDataset(folder)


def test_a_dataset_that_is_replaced_while_it_is_read_is_not_mixed(folder: Path, tmp_path: Path) -> None:
    data = BuiltDataset(folder)
    assert data.findings("test")
    shutil.copytree(folder, tmp_path / "new")
    folder.rename(tmp_path / "old")
    (tmp_path / "new").rename(folder)
    for read in (lambda: data.studies("test"), lambda: data.findings("test"), lambda: data.digest):
        with pytest.raises(ValueError, match="was replaced or removed while it was being read"):
            read()
    assert BuiltDataset(folder).findings("test")


_READ = """
import sys, time
from pathlib import Path
from dataset_scripts.building.built_dataset import BuiltDataset
data = BuiltDataset(Path(sys.argv[1]))
rows = data.studies("train")
rows[0], rows.sort("report"), data.digest
print("read", flush=True)
if len(sys.argv) > 2: time.sleep(60)
"""


def _reader(folder: Path, cache: Path, *more: str) -> subprocess.Popen:
    places = {"HF_HOME": str(cache), "HF_DATASETS_CACHE": str(cache / "datasets"), "TMPDIR": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", _READ, str(folder), *more],
        stdout=subprocess.PIPE,
        env=os.environ | places | {"OMP_NUM_THREADS": "1"},
    )


def test_restricted_rows_leave_nothing_even_when_their_reader_is_killed(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o755)
    killed = _reader(folder, cache, "wait")
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"read\n"
    assert list(cache.rglob("*.arrow"))
    assert not _readable_by_others(cache)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert list(cache.rglob("*.arrow"))
    after = _reader(folder, cache)
    after.communicate()
    assert after.returncode == 0
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_one_process_keeps_one_copy_of_the_rows(folder: Path) -> None:
    one, other = (BuiltDataset(folder).studies("test").cache_files for _ in range(2))
    assert one == other
    assert Path(datasets.config.HF_DATASETS_CACHE) in Path(one[0]["filename"]).parents
