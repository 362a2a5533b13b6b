"""The folder of an evaluation: whose files are replaced, who writes, what is left behind, who may look."""

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from radir_eval.benchmark import Protocol, evaluate_models
from radir_eval.export.export import ExportOptions, export_run
from radir_eval.rankers.vectors import ParquetEmbeddings, RandomRanker, Ranker
from radir_eval.report import contact_sheets
from radir_eval.report.page import write_report
from radir_eval.results_folder import FILES
from radir_eval.retrieval_split import RetrievalSplit

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.plumbing.outputs import claim
from tests.eval.conftest import FakeDataset
from tests.made_up.open_i import built_open_i

PROTOCOL = Protocol(bootstrap_draws=10, randomisations=10, min_queries=2, ks_unconditional=(5,))


@pytest.fixture(autouse=True)
def _no_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up engine has no entities to explain a relevance by."""
    monkeypatch.setattr(contact_sheets, "_whys", lambda *_: [])


def evaluated(dataset: Any, out: Path, *sources: Ranker, **options: Any) -> dict[str, Any]:
    found = evaluate_models(
        dataset, "test", sources or [RandomRanker()], PROTOCOL, out, progress=False, **options
    )
    write_report(dataset, out)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_our_name_that_is_not_ours_is_not_replaced(
    fake: FakeDataset, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(ValueError, match=f"holds {name}, which `radir evaluate` would replace"):
        evaluated(fake, tmp_path)
    assert contents(tmp_path) == {name: b'{"mine": 1}'}


def test_another_kind_of_output_is_not_evaluated_into(fake: FakeDataset, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format": "radir-dataset", "version": 1, "files": {}}')
    with pytest.raises(ValueError, match=r"holds manifest\.json"):
        evaluated(fake, tmp_path)


def test_a_file_in_place_of_the_folder_is_told(fake: FakeDataset, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ValueError, match="out is a file: give a folder"):
        evaluated(fake, tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told_before_the_work(fake: FakeDataset, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(ValueError, match="out cannot be written"):
        evaluated(fake, tmp_path / "out")


def test_an_evaluation_of_an_earlier_version_is_replaced(fake: FakeDataset, tmp_path: Path) -> None:
    evaluated(fake, tmp_path)
    expected = contents(tmp_path)
    (tmp_path / "manifest.json").unlink()
    evaluated(fake, tmp_path)
    assert contents(tmp_path) == expected


def test_what_a_killed_evaluation_left_is_gone_and_other_people_s_files_stay(
    fake: FakeDataset, tmp_path: Path
) -> None:
    evaluated(fake, tmp_path / "whole")
    out = tmp_path / "out"
    (out / ".tasks").mkdir(parents=True)
    (out / ".cache" / "key").mkdir(parents=True)
    for name in (".results.0123456789ab.partial.json", ".tasks/.a.0123456789ab.partial.npz"):
        (out / name).write_text("half")
    (out / ".cache" / "key" / ".holistic.0123456789ab.partial.npy").write_text("half")
    (out / ".tasks" / "mine.npz").write_text("mine")
    (out / "notes.txt").write_text("mine")
    evaluated(fake, out)
    mine = {".tasks/mine.npz": b"mine", "notes.txt": b"mine"}
    assert contents(out) == contents(tmp_path / "whole") | mine


@pytest.mark.parametrize("stop", ["results.json", "per_query.parquet", "heat_maps.json", "report.html"])
def test_a_stop_at_any_file_then_a_rerun_gives_the_same_bytes(
    fake: FakeDataset, tmp_path: Path, stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated(fake, tmp_path / "whole")
    original = os.replace

    def stopping(source: Any, target: Any) -> None:
        if Path(target).name == stop:
            raise KeyboardInterrupt
        original(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            evaluated(fake, tmp_path / "out")
    evaluated(fake, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_two_processes_do_not_write_one_evaluation(fake: FakeDataset, tmp_path: Path) -> None:
    with claim(tmp_path / "out"):
        for work in (
            evaluated,
            lambda *given: export_run(fake, "test", [RandomRanker()], PROTOCOL, given[1]),
        ):
            with pytest.raises(ValueError, match=rf"is being written by process {os.getpid()}"):
                work(fake, tmp_path / "out")


def test_pieces_and_vectors_are_for_their_owner_alone(fake: FakeDataset, tmp_path: Path) -> None:
    evaluated(fake, tmp_path)
    assert stat.S_IMODE((tmp_path / ".tasks").stat().st_mode) == 0o700


def test_results_say_on_which_terms_their_data_were_had(
    fake: FakeDataset, vectors_file: Path, tmp_path: Path
) -> None:
    alone = evaluated(fake, tmp_path / "reference")["data"]
    assert (alone["sharing"], list(alone["made_from"])) == ("open", ["dataset"])
    assert alone["made_from"]["dataset"]["digest"] == fake.digest
    found = evaluated(fake, tmp_path / "vectors", ParquetEmbeddings(vectors_file))["data"]
    assert found["sharing"] == "restricted"  # nobody knows where the vectors of a file come from
    assert found["made_from"]["model radir-like"]["licence"] == "unknown"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_open_i(tmp_path_factory.mktemp("open-i"), studies=40)


@pytest.fixture
def damaged(made: Path, tmp_path: Path) -> tuple[BuiltDataset, str]:
    """A dataset of which one picture is truncated, and its image_id."""
    folder = Path(shutil.copytree(made, tmp_path / "damaged"))
    path = folder / "studies" / "test-00000.parquet"
    table = pq.read_table(path)
    images = table["image"].to_pylist()
    images[1]["bytes"] = images[1]["bytes"][:100]
    at = table.column_names.index("image")
    pq.write_table(
        table.set_column(at, table.schema.field("image"), pa.array(images, table["image"].type)), path
    )
    return BuiltDataset(folder), table["image_id"][1].as_py()


def test_images_that_cannot_be_read_are_left_out_on_request_counted_and_listed(
    damaged: tuple[BuiltDataset, str], tmp_path: Path
) -> None:
    data, broken = damaged
    whole = evaluated(data, tmp_path / "whole")
    assert whole["left_out"] == []
    found = evaluated(data, tmp_path / "out", skip_unreadable=True)
    assert found["n_images"] == whole["n_images"] - 1
    assert [one["image_id"] for one in found["left_out"]] == [broken]
    assert f"image {broken} of damaged cannot be read" in found["left_out"][0]["reason"]
    rows = pd.read_parquet(tmp_path / "out" / "per_query.parquet")
    assert broken not in set(rows["query_id"])
    assert "1 more could not be read and are left out" in (tmp_path / "out" / "tables.md").read_text()
    assert f"image {broken} of damaged" in (tmp_path / "out" / "report.html").read_text()
    pieces = [{path.name for path in (tmp_path / name / ".tasks").iterdir()} for name in ("whole", "out")]
    assert not pieces[0] & pieces[1]


def test_entities_of_another_build_are_refused(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "mixed"))
    other = built_open_i(tmp_path / "other", studies=20)
    shutil.rmtree(folder / "entities")
    shutil.copytree(other / "entities", folder / "entities")
    with pytest.raises(ValueError, match="have findings that its entities do not know"):
        evaluated(BuiltDataset(folder), tmp_path / "out")


def test_an_export_leaves_unreadable_images_out_and_lists_them(
    damaged: tuple[BuiltDataset, str], tmp_path: Path
) -> None:
    data, broken = damaged
    found = export_run(
        data, "test", [RandomRanker()], PROTOCOL, tmp_path, False, skip_unreadable=True,
        options=ExportOptions(anatomies=[]),
    )  # fmt: skip
    assert list(found.left_out) == [broken]
    assert list(json.loads((found.trec / "export.json").read_text())["left_out"]) == [broken]
    assert broken not in pq.read_table(found.gains / "corpus" / "images.parquet")["_id"].to_pylist()


def test_an_unreadable_image_is_named_with_what_to_do(damaged: tuple[BuiltDataset, str]) -> None:
    data, broken = damaged
    with pytest.raises(ValueError, match=rf"image {broken} of damaged .*--skip-unreadable leaves"):
        RetrievalSplit(data, "test").image(1)


def test_a_dataset_without_any_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = FakeDataset(n_studies=4)
    monkeypatch.setattr(dataset.engine.store, "keys", {})
    with pytest.raises(ValueError, match="has no two images with a text"):
        evaluated(dataset, tmp_path)


@pytest.mark.parametrize("anatomies", [0, 1])
def test_a_dataset_whose_texts_name_no_anatomy_or_one_is_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anatomies: int
) -> None:
    dataset = FakeDataset(n_studies=4, labelled=False)
    kept = {
        key: row for key, row in dataset.engine.store.keys.items() if key[1] in ("", "lung")[: 1 + anatomies]
    }
    monkeypatch.setattr(dataset.engine.store, "keys", kept)
    found = evaluated(dataset, tmp_path)
    assert len(found["anatomies"]) == anatomies
    assert found["models"]["random"]["image_to_image"]["n_queries"] == 5


def test_a_report_of_damaged_results_is_refused(fake: FakeDataset, tmp_path: Path) -> None:
    evaluated(fake, tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({})[:1])
    with pytest.raises(ValueError, match=r"results\.json is not JSON"):
        write_report(fake, tmp_path)
