"""Exports: other tools read them and find our figures; what is excluded, or may not be shared, stays out."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import datasets
import numpy as np
import pytest
import yaml
from radir_eval.benchmark import evaluate_models
from radir_eval.export.export import ExportOptions, export_run
from radir_eval.export.judged_tasks import escape, judged_tasks
from radir_eval.export.trec import task_folder
from radir_eval.protocol import Protocol
from radir_eval.rankers.vectors import ArrayRanking, RandomRanker, Ranker
from radir_eval.retrieval_split import RetrievalSplit
from radir_retrieval import retrieval_metrics

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.sources.base import Sharing
from tests.made_up.open_i import built_open_i

PROTOCOL = Protocol(bootstrap_draws=10, min_queries=5)


class Knowing(Ranker):
    """Vectors that know the findings a little; it ranks no reports."""

    name = "a model/with a name"

    def __init__(self, whole: np.ndarray, by_anatomy: dict[str, np.ndarray]) -> None:
        self.ranking = ArrayRanking(whole, by_anatomy)

    def open(self, items: RetrievalSplit) -> ArrayRanking:
        return self.ranking


@pytest.fixture(scope="module")
def run(helpers: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    dataset = helpers.FakeDataset()
    sources = [Knowing(*dataset.knowing_vectors(0.3)), RandomRanker()]
    out = tmp_path_factory.mktemp("export")
    exported = export_run(dataset, "test", sources, PROTOCOL, out, progress=False)
    items = RetrievalSplit(dataset, "test")
    rankings = {source.name: source.open(items) for source in sources}
    tasks = judged_tasks(items, PROTOCOL)
    return SimpleNamespace(
        dataset=dataset,
        sources=sources,
        out=out,
        exported=exported,
        items=items,
        rankings=rankings,
        tasks=tasks,
    )


def ours(task: Any, ranking: Any, ks: tuple[int, ...], scale: int = 1000) -> Any:
    """The benchmark's metrics on the scaled integer gains."""
    (block,) = task.blocks(scale)
    gains = np.where(block.allowed, block.gains, np.nan)
    scores = task.scores(ranking, block.queries)
    assert scores is not None
    for row, allowed in zip(scores, block.allowed, strict=True):
        assert len(np.unique(row[allowed].astype(np.float32))) == allowed.sum()  # no ties, also in trec_eval
    return retrieval_metrics(scores, gains, ks, correct=block.correct)


def pairs(run: SimpleNamespace) -> list[tuple[Any, str, Path]]:
    """Every task with every model that ranks it, and the folder."""
    found = [
        (task, name, task_folder(run.exported.trec, task)) for task in run.tasks for name in run.rankings
    ]
    return [
        (task, name, folder)
        for task, name, folder in found
        if (folder / f"{escape(name)}.run.trec").is_file()
    ]


def test_every_task_and_model_is_there(run: SimpleNamespace) -> None:
    assert [task.name for task in run.tasks[:3]] == ["image_to_image", "image_to_report", "lung"]
    assert run.exported.tasks == len(run.tasks) == 7
    assert len(pairs(run)) == 2 * 7 - 1  # reports are ranked by one of the two
    assert (run.exported.trec / "conditional" / "left%20pleura" / "gains.qrels.trec").is_file()


def test_pytrec_eval_finds_our_figures(run: SimpleNamespace) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    for task, name, folder in pairs(run):
        found = ours(task, run.rankings[name], (3, 5, 10))
        files = ("gains.qrels.trec", "correct.qrels.trec", f"{escape(name)}.run.trec")
        gains, correct, ranked = (io.StringIO((folder / file).read_text()) for file in files)
        parsed = pytrec_eval.parse_run(ranked)
        ndcg = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(gains), {"ndcg_cut.3,5,10"}).evaluate(
            parsed
        )
        hits = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(correct), {"success.3,5,10"}).evaluate(
            parsed
        )
        assert set(map(unquote, parsed)) == set(run.items.image_ids[task.queries])
        for row, query in enumerate(run.items.image_ids[task.queries]):
            for column, k in enumerate((3, 5, 10)):
                theirs = ndcg.get(escape(query), {}).get(f"ndcg_cut_{k}", np.nan)
                np.testing.assert_allclose(found.ndcg[row, column], theirs, atol=1e-6)
                theirs = hits.get(escape(query), {}).get(f"success_{k}", np.nan)
                np.testing.assert_allclose(found.recall[row, column], theirs, atol=1e-6)


_RANX = """
import json, sys
import ranx
for folder, run in json.load(sys.stdin):
    judged, ranked = ranx.Qrels.from_file(f"{folder}/gains.qrels.trec"), ranx.Run.from_file(f"{folder}/{run}")
    print(json.dumps(ranx.evaluate(judged, ranked, ["ndcg@3", "ndcg@10"], make_comparable=True)))
"""


def test_ranx_finds_our_figures(run: SimpleNamespace) -> None:
    pytest.importorskip("ranx")
    chosen = pairs(run)[:4]
    files = [(str(folder), f"{escape(name)}.run.trec") for _, name, folder in chosen]
    done = subprocess.run(
        [sys.executable, "-c", _RANX],
        input=json.dumps(files),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},  # compiling takes minutes, the figures no time
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for (task, name, _), line in zip(chosen, done.stdout.splitlines(), strict=True):
        found, theirs = ours(task, run.rankings[name], (3, 10)), json.loads(line)
        expected = [theirs["ndcg@3"], theirs["ndcg@10"]]
        np.testing.assert_allclose(np.nanmean(found.ndcg, axis=0), expected, atol=1e-6)


def test_hits_of_the_export_are_the_recall_of_the_evaluation(run: SimpleNamespace, tmp_path: Path) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    results = evaluate_models(run.dataset, "test", run.sources, PROTOCOL, tmp_path, progress=False)
    folder = run.exported.trec / "conditional" / "heart"
    with (folder / "correct.qrels.trec").open() as qrels, (folder / "random.run.trec").open() as ranked:
        evaluator = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(qrels), {"success.5"})
        hits = evaluator.evaluate(pytrec_eval.parse_run(ranked))
    recall = results["models"]["random"]["conditional"]["heart"]["recall"]["5"]
    assert np.mean([row["success_5"] for row in hits.values()]) == pytest.approx(recall)


def test_excluded_pairs_and_lower_ranks_are_not_in_the_files(run: SimpleNamespace, tmp_path: Path) -> None:
    exported = export_run(
        run.dataset, "test", [RandomRanker()], PROTOCOL, tmp_path, False, ExportOptions(depth=4)
    )
    patient = dict(zip(run.items.image_ids, run.items.subjects, strict=True))
    folder = exported.trec / "image_to_image"
    ranks: dict[str, list[tuple[int, float]]] = {}
    for line in (folder / "random.run.trec").read_text().splitlines():
        query, q0, candidate, rank, score, model = line.split(" ")
        assert (q0, model) == ("Q0", "random")
        assert patient[query] != patient[candidate]
        ranks.setdefault(query, []).append((int(rank), float(score)))
    for ranked in ranks.values():
        assert [rank for rank, _ in ranked] == [1, 2, 3, 4]
        assert [score for _, score in ranked] == sorted((score for _, score in ranked), reverse=True)
    for line in (folder / "gains.qrels.trec").read_text().splitlines():
        query, zero, candidate, gain = line.split(" ")
        assert (zero, patient[query] != patient[candidate]) == ("0", True)
        assert 0 < int(gain) <= 1000


def test_equal_scores_stand_in_the_order_of_trec_eval(run: SimpleNamespace, tmp_path: Path) -> None:
    flat = Knowing(np.ones((len(run.items), 2), dtype=np.float32), {})
    exported = export_run(run.dataset, "test", [flat], PROTOCOL, tmp_path, False, ExportOptions([]))
    lines = (exported.trec / "image_to_image" / f"{escape(flat.name)}.run.trec").read_text().splitlines()
    first = [line.split(" ")[2] for line in lines if line.startswith(f"{run.items.image_ids[0]} ")]
    assert first == sorted(first, reverse=True)


def test_names_with_blanks_come_back(helpers: SimpleNamespace, tmp_path: Path) -> None:
    dataset = helpers.FakeDataset(n_studies=8)
    names = [f"Ünit {number}/a%20b" for number in range(len(dataset.studies("test")))]
    dataset._studies = dataset._studies.remove_columns("image_id").add_column("image_id", names)
    exported = export_run(dataset, "test", [RandomRanker()], PROTOCOL, tmp_path, progress=False)
    lines = (exported.trec / "image_to_image" / "random.run.trec").read_text().splitlines()
    assert {len(line.split()) for line in lines} == {6}
    assert {unquote(line.split()[0]) for line in lines} == set(names)


# What MTEB's RetrievalDatasetLoader asks `load_dataset` for; `subset` is its `config`.
def as_mteb_reads(folder: Path, split: str, subset: str | None = None) -> SimpleNamespace:
    configs = datasets.get_dataset_config_names(str(folder))

    def load(name: str, default: str | None = None) -> datasets.Dataset:
        config = f"{subset}-{name}" if subset else default or name
        assert config in configs
        return datasets.load_dataset(str(folder), config, split=split)

    qrels: dict[str, dict[str, int]] = {}
    for row in load("qrels", "default"):
        qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = row["score"]
    ranked = {row["query-id"]: row["corpus-ids"] for row in load("top_ranked")}
    return SimpleNamespace(corpus=load("corpus"), queries=load("queries"), qrels=qrels, top_ranked=ranked)


@pytest.mark.parametrize("subset", [None, "image_to_report", "left pleura"])
def test_the_gains_folder_holds_the_task_for_load_dataset(run: SimpleNamespace, subset: str | None) -> None:
    task = next(task for task in run.tasks if task.name == (subset or "image_to_image"))
    found = as_mteb_reads(run.exported.gains, "test", subset)
    (block,) = task.blocks()
    assert set(found.queries["_id"]) >= set(block.query_ids)
    assert set(found.corpus["_id"]) >= set(task.candidate_ids)
    for row, query in enumerate(block.query_ids):
        expected = dict(zip(task.candidate_ids, block.gains[row].tolist(), strict=True))
        assert found.qrels.get(query, {}) == {name: gain for name, gain in expected.items() if gain}
        assert set(found.top_ranked[query]) == set(task.candidate_ids[block.allowed[row]])
    if subset == "image_to_report":
        assert found.corpus[0]["text"].startswith("The lung is ")
    else:
        pixels = np.asarray(run.items.studies[0]["image"])
        np.testing.assert_array_equal(np.asarray(found.corpus[0]["image"]), pixels)


def columns(folder: Path) -> set[str]:
    return {
        name
        for config in ("corpus", "queries", "image_to_report-corpus")
        for name in datasets.load_dataset(str(folder), config, split="test").column_names
    }


@pytest.mark.parametrize("sharing", [Sharing.RESTRICTED, Sharing.CREDENTIALED])
def test_what_is_not_open_goes_without_text_and_images_unless_told(
    sharing: Sharing, helpers: SimpleNamespace, tmp_path: Path
) -> None:
    dataset = helpers.FakeDataset(n_studies=10)
    dataset.facts.sharing, dataset.facts.licence = sharing, "Some License 1.0"
    arguments = (dataset, "test", [RandomRanker()], PROTOCOL)
    plain = export_run(*arguments, tmp_path / "plain", progress=False).gains
    assert columns(plain) == {"_id", "study_id"}
    for path in plain.rglob("*.parquet"):
        assert b"abnormal" not in path.read_bytes()
    card = (plain / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["license_name"] == "some-license-1.0"
    assert "does not hold text or images" in card
    assert str(sharing.value) in card
    told = export_run(*arguments, tmp_path / "told", False, ExportOptions(include_text=True)).gains
    assert columns(told) == {"_id", "study_id", "text"}


def test_a_built_dataset_is_exported_as_its_licence_says(tmp_path: Path) -> None:
    data = BuiltDataset.open(built_open_i(tmp_path))  # Open-i: restricted
    exported = export_run(data, "train", [RandomRanker()], PROTOCOL, tmp_path / "a", False)
    found = as_mteb_reads(exported.gains, "train", "heart")
    assert found.corpus.column_names == ["_id", "study_id"]
    assert found.qrels
    exported = export_run(
        data, "train", [RandomRanker()], PROTOCOL, tmp_path / "b", False, ExportOptions(include_images=True)
    )
    assert as_mteb_reads(exported.gains, "train").corpus[0]["image"].size == (32, 32)


def test_a_second_export_takes_the_place_of_the_first_and_of_nothing_else(
    run: SimpleNamespace, tmp_path: Path
) -> None:
    arguments = (run.dataset, "test", [RandomRanker()], PROTOCOL, tmp_path, False)
    export_run(*arguments, ExportOptions(["heart"]))
    export_run(*arguments, ExportOptions(["lung"], scale=100))
    assert [path.name for path in (tmp_path / "trec" / "conditional").iterdir()] == ["lung"]
    assert json.loads((tmp_path / "trec" / "export.json").read_text())["gain_scale"] == 100
    (tmp_path / "trec" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"trec holds 1 files beside those of an export \(mine\.txt\)"):
        export_run(*arguments, ExportOptions(["heart"]))
    assert (tmp_path / "trec" / "mine.txt").read_text() == "mine"
    (tmp_path / "trec" / "manifest.json").unlink()  # as of an earlier version
    with pytest.raises(ValueError, match=r"beside those of an export \(mine\.txt\)"):
        export_run(*arguments, ExportOptions(["heart"]))
    (tmp_path / "trec" / "mine.txt").unlink()
    export_run(*arguments, ExportOptions(["heart"]))
    (tmp_path / "gains" / "manifest.json").unlink()
    (tmp_path / "gains" / "export.json").unlink()
    with pytest.raises(ValueError, match="gains exists and is not an export"):
        export_run(*arguments, ExportOptions(["heart"]))


def test_an_interrupted_export_leaves_nothing_when_it_is_run_again(
    run: SimpleNamespace, tmp_path: Path
) -> None:
    leftover = tmp_path / ".trec.0123456789ab.partial"
    leftover.mkdir()
    (leftover / "half").write_text("of a killed export")
    export_run(run.dataset, "test", [RandomRanker()], PROTOCOL, tmp_path, False, ExportOptions(["heart"]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gains", "trec"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anatomies": ["tail"]}, "no task for tail"),
        ({"depth": 0}, "depth is 0"),
        ({"scale": 0}, "scale is 0"),
    ],
)
def test_what_cannot_be_exported_is_said_before_anything_is_written(
    options: dict[str, Any], message: str, run: SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        export_run(run.dataset, "test", [RandomRanker()], PROTOCOL, tmp_path, False, ExportOptions(**options))
    assert not list(tmp_path.iterdir())
