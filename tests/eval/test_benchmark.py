"""The benchmark: the contract of results.json, brute force, oracle 1, exclusions, ahead only where clear."""

import json
import re
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from radir_eval.benchmark import Protocol, evaluate_models
from radir_eval.rankers.vectors import OracleRanker, ParquetEmbeddings, RandomRanker, Ranker
from radir_eval.retrieval_split import RetrievalSplit
from radir_eval.tasks import relevance_block
from radir_retrieval import retrieval_metrics

PROTOCOL = Protocol(bootstrap_draws=100, min_queries=5)


@pytest.fixture(scope="module")
def run(helpers: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("run")
    dataset = helpers.FakeDataset()
    whole, by_anatomy = dataset.knowing_vectors(0.1)
    radir = helpers.write_vectors(folder / "radir.parquet", dataset, whole, by_anatomy)
    clip = helpers.write_vectors(folder / "clip.parquet", dataset, dataset.knowing_vectors(0.3, 1)[0], {})
    rankers: list[Ranker] = [
        ParquetEmbeddings(radir),
        ParquetEmbeddings(clip),
        RandomRanker(0),
        OracleRanker(),
    ]
    results = evaluate_models(dataset, "test", rankers, PROTOCOL, folder / "out", progress=False)
    return SimpleNamespace(
        dataset=dataset, rankers=rankers, results=results, out=folder / "out", by_anatomy=by_anatomy
    )


def test_results_keep_the_contract(run: SimpleNamespace) -> None:
    results = json.loads((run.out / "results.json").read_text())
    assert results == run.results
    assert {"dataset", "split", "seed", "protocol", "models", "comparisons"} <= set(results)
    for name, block in results["models"].items():
        tasks = [block["image_to_image"], block["conditional_macro"]]
        tasks += [*block["conditional"].values(), *block["conditional_regions"].values()]
        assert ("image_to_report" in block) == (name in ("random", "oracle"))
        for task in tasks:
            assert isinstance(task["n_queries"], int)
            for metric in ("recall", "ndcg"):
                assert task[metric].keys() == task[f"{metric}_ci95"].keys()
                for k, value in task[metric].items():
                    low, high = task[f"{metric}_ci95"][k]
                    assert 0 <= low <= value + 1e-9, (name, k)
                    assert value - 1e-9 <= high <= 1 + 1e-9, (name, k)
        assert list(block["image_to_image"]["recall"]) == ["5", "10", "50", "100"]
        assert list(block["conditional_macro"]["recall"]) == ["3", "5", "10"]
    assert results["protocol"]["threshold"] == 0.9


def test_the_oracle_reaches_one_everywhere(run: SimpleNamespace) -> None:
    oracle = run.results["models"]["oracle"]
    for task in (oracle["image_to_image"], oracle["image_to_report"], *oracle["conditional"].values()):
        for metric in ("recall", "ndcg"):
            assert all(value == pytest.approx(1.0) for value in task[metric].values())


def test_a_conditional_figure_equals_a_loop_over_the_queries(run: SimpleNamespace) -> None:
    items = RetrievalSplit(run.dataset, "test")
    members = items.members("left pleura")
    vectors = run.by_anatomy["left pleura"].astype(np.float64)
    hits = []
    for query in members:
        others = [c for c in members if items.subjects[c] != items.subjects[query]]
        relevance = run.dataset.engine.block(
            items.rows("left pleura")[[query]], items.rows("left pleura")[others]
        )[0]
        if (relevance > 0.9).any():
            cosine = [vectors[query] @ vectors[c] / np.linalg.norm(vectors[c]) for c in others]
            hits.append(bool((relevance[np.argsort(cosine)[::-1][:5]] > 0.9).any()))
    found = run.results["models"]["radir"]["conditional"]["left pleura"]
    assert found["recall"]["5"] == pytest.approx(np.mean(hits))
    assert found["n_queries"] - found["n_without_correct"] == len(hits)


def test_the_macro_is_the_mean_over_anatomies_with_enough_queries(run: SimpleNamespace) -> None:
    block, anatomies = run.results["models"]["clip"], run.results["anatomies"]
    kept = [name for name, about in anatomies.items() if about["in_average"]]
    mean = np.mean([block["conditional"][name]["recall"]["3"] for name in kept])
    assert block["conditional_macro"]["recall"]["3"] == pytest.approx(mean)
    pleura = np.mean([block["conditional"][f"{side} pleura"]["ndcg"]["10"] for side in ("left", "right")])
    assert block["conditional_regions"]["Pleura"]["ndcg"]["10"] == pytest.approx(pleura)


def test_anatomies_with_too_few_queries_are_listed_and_left_out(run: SimpleNamespace, tmp_path: Path) -> None:
    protocol = Protocol(bootstrap_draws=10, min_queries=25)
    results = evaluate_models(run.dataset, "test", [RandomRanker()], protocol, tmp_path, progress=False)
    assert not results["anatomies"]["trachea"]["in_average"]
    assert "trachea" in results["models"]["random"]["conditional"]
    assert "Airway" not in results["models"]["random"]["conditional_regions"]


def test_per_query_rows_average_to_the_results(run: SimpleNamespace) -> None:
    rows = pd.read_parquet(run.out / "per_query.parquet")
    assert list(rows.columns) == [
        *("model", "task", "anatomy", "query_id", "k", "recall", "ndcg", "chance_recall", "chance_ndcg"),
        *("content_recall", "content_ndcg", "affirms"),
    ]
    means = (
        rows[rows.task == "conditional"]
        .groupby(["model", "anatomy", "k"], observed=True)[["recall", "ndcg"]]
        .mean()
    )
    for name, block in run.results["models"].items():
        for anatomy, task in block["conditional"].items():
            assert means.loc[(name, anatomy, 5), "recall"] == pytest.approx(task["recall"]["5"])
            assert means.loc[(name, anatomy, 10), "ndcg"] == pytest.approx(task["ndcg"]["10"])


def test_nobody_is_a_candidate_of_itself_or_of_another_study_of_the_patient(run: SimpleNamespace) -> None:
    items = RetrievalSplit(run.dataset, "test")
    everyone = np.arange(len(items))
    relevance = relevance_block(items, "", everyone, everyone, PROTOCOL)
    same = items.subjects[:, None] == items.subjects[None, :]
    assert np.isnan(relevance[same]).all()
    assert np.isfinite(relevance[~same]).all()
    loose = relevance_block(items, "", everyone, everyone, Protocol(exclude_same_subject=False))
    assert np.isnan(loose).sum() == len(items)


def test_ahead_is_said_only_where_the_interval_excludes_zero(run: SimpleNamespace) -> None:
    rows = run.results["comparisons"]
    assert {(row["a"], row["b"]) for row in rows} >= {("radir", "clip"), ("clip", "random")}
    for row in rows:
        low, high = row["ci95"]
        assert row["ahead"] == (low > 0 or high < 0)
        assert row["better"] == (None if not row["ahead"] else row["a"] if low > 0 else row["b"])
    macro = next(
        r
        for r in rows
        if (r["a"], r["b"], r["task"], r["metric"]) == ("radir", "clip", "conditional_macro", "recall@3")
    )
    assert macro["ahead"]
    assert macro["difference"] > 0


def test_two_runs_are_equal_and_blocks_do_not_change_a_figure(
    run: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radir_eval.tasks._BLOCK_CELLS", 100)
    again = evaluate_models(run.dataset, "test", run.rankers, PROTOCOL, tmp_path, progress=False)
    assert again["models"].keys() == run.results["models"].keys()
    assert again["models"]["radir"] == run.results["models"]["radir"]
    assert (tmp_path / "tables.md").read_text() == (run.out / "tables.md").read_text()


def test_a_gallery_is_cut_to_max_per_anatomy_by_the_seed(run: SimpleNamespace, tmp_path: Path) -> None:
    protocol = Protocol(bootstrap_draws=10, max_per_anatomy=20)
    results = evaluate_models(run.dataset, "test", [RandomRanker()], protocol, tmp_path, progress=False)
    assert results["models"]["random"]["conditional"]["lung"]["n_candidates"] == 20
    assert results["models"]["random"]["image_to_image"]["n_candidates"] == 66


def test_image_to_report_counts_the_paired_report(run: SimpleNamespace, tmp_path: Path) -> None:
    items = RetrievalSplit(run.dataset, "test")
    ranking = RandomRanker(0).open(items)
    everyone, reports = np.arange(len(items)), items.first_of_studies()
    paired = items.study_ids[:, None] == items.study_ids[reports][None, :]
    scores = ranking.report_scores(everyone, reports)
    expected = retrieval_metrics(
        scores, items.relevance("", everyone, reports), (5,), correct=paired
    ).recall.mean()
    found = run.results["models"]["random"]["image_to_report"]
    assert found["recall"]["5"] == pytest.approx(expected)
    assert (found["n_queries"], found["n_candidates"]) == (66, 60)


class Interrupted(Exception):  # noqa: N818 - what a user's Ctrl-C looks like
    pass


def interrupt_after(monkeypatch: pytest.MonkeyPatch, target: str, calls: int) -> list[Any]:
    """Let a function work so many times, then raise; returns the list of its calls' first arguments."""
    module, _, name = target.rpartition(".")
    work = getattr(import_module(module), name)
    seen: list[Any] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        if len(seen) == calls:
            raise Interrupted
        seen.append(arguments)
        return work(*arguments, **options)

    monkeypatch.setattr(target, counted)
    return seen


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


# Calls for 4 rankers and for chance, by two relevances: of images to images, of images to reports (which two
# of the rankers can), and for each anatomy, with a third for the two that are part of another.
WHOLE, REPORTS, ANATOMY, PART = 2 * 5, 2 * 3, 2 * 5, 3 * 5


@pytest.mark.parametrize(("calls", "again"), [(0, 0), (3, 3), (WHOLE + REPORTS + 2 * ANATOMY + 1, 1)])
def test_an_interrupted_evaluation_goes_on_to_the_same_bytes(
    calls: int, again: int, run: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = interrupt_after(monkeypatch, "radir_eval.judgement.retrieval_metrics", calls)
    with pytest.raises(Interrupted):
        evaluate_models(run.dataset, "test", run.rankers, PROTOCOL, tmp_path / "out", progress=False)
    assert not any((tmp_path / "out").glob("[!.]*"))
    monkeypatch.undo()
    after = interrupt_after(monkeypatch, "radir_eval.judgement.retrieval_metrics", -1)
    evaluate_models(run.dataset, "test", run.rankers, PROTOCOL, tmp_path / "out", progress=False)
    assert content(tmp_path / "out") == content(run.out)
    total = WHOLE + REPORTS + 3 * ANATOMY + 2 * PART
    assert len(before) + len(after) == total + again  # the task that was interrupted starts again


def test_what_an_evaluation_knows_serves_the_next_one(
    run: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate_models(run.dataset, "test", run.rankers[:2], PROTOCOL, tmp_path, progress=False)
    scored = interrupt_after(monkeypatch, "radir_eval.judgement.retrieval_metrics", -1)
    evaluate_models(run.dataset, "test", run.rankers[:2], PROTOCOL, tmp_path, progress=False)
    assert scored == []
    evaluate_models(run.dataset, "test", run.rankers, PROTOCOL, tmp_path, progress=False)
    assert len(scored) == 3 * (2 * 5 + 3 * 2)  # of the two new rankers and chance: two tasks, five anatomies
    assert content(tmp_path) == content(run.out)


@pytest.mark.parametrize(
    "change", ["protocol", "dataset", "file"], ids=["another protocol", "another dataset", "another file"]
)
def test_what_has_changed_is_computed_again(
    change: str, helpers: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, protocol = helpers.FakeDataset(n_studies=30), PROTOCOL
    path = helpers.write_vectors(tmp_path / "v.parquet", dataset, *dataset.knowing_vectors(0.1))
    out, scored = tmp_path / "out", interrupt_after(monkeypatch, "radir_eval.judgement.retrieval_metrics", -1)
    evaluate_models(dataset, "test", [ParquetEmbeddings(path)], protocol, out, progress=False)
    before = len(scored)
    if change == "protocol":
        protocol = Protocol(threshold=0.8, bootstrap_draws=100, min_queries=5)
    elif change == "dataset":
        dataset.digest += " and a change"
    else:
        helpers.write_vectors(path, dataset, *dataset.knowing_vectors(0.5, seed=1))
    pieces = {path.name for path in (out / ".tasks").iterdir()}
    evaluate_models(dataset, "test", [ParquetEmbeddings(path)], protocol, out, progress=False)
    assert len(scored) == 2 * before > 0
    assert pieces.isdisjoint(path.name for path in (out / ".tasks").iterdir())


def test_a_ranker_without_a_fingerprint_leaves_nothing_behind(
    run: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RandomRanker, "fingerprint", Ranker.fingerprint)
    evaluate_models(run.dataset, "test", [RandomRanker()], PROTOCOL, tmp_path, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(content(run.out))


def test_a_damaged_piece_is_made_anew(run: SimpleNamespace, tmp_path: Path) -> None:
    evaluate_models(run.dataset, "test", run.rankers, PROTOCOL, tmp_path, progress=False)
    for path in (tmp_path / ".tasks").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    evaluate_models(run.dataset, "test", run.rankers, PROTOCOL, tmp_path, progress=False)
    assert content(tmp_path) == content(run.out)


@pytest.mark.parametrize(
    ("names", "said"), [([], "nothing to rank by"), (["a", "b", "a"], "two rankers are named 'a'")]
)
def test_rankers_need_their_own_names(
    names: list[str], said: str, run: SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        evaluate_models(
            run.dataset, "test", [RandomRanker(name=n) for n in names], PROTOCOL, tmp_path, progress=False
        )


@pytest.mark.parametrize(
    "fields",
    [
        {"threshold": 1.5},
        {"ks_conditional": (5, 3)},
        {"ks_unconditional": ()},
        {"max_per_anatomy": 1},
        {"min_queries": 0},
    ],
)
def test_the_protocol_refuses_what_makes_no_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        Protocol(**fields)


def test_a_file_sets_fields_of_the_protocol(tmp_path: Path) -> None:
    path = tmp_path / "protocol.yaml"
    path.write_text("threshold: 1\nks_conditional: [1, 20]\nstrict: false\nmax_per_anatomy: 500\n", "utf-8")
    expected = Protocol(threshold=1, ks_conditional=(1, 20), strict=False, max_per_anatomy=500)
    assert Protocol.read(path) == expected
    path.write_text("", "utf-8")
    assert Protocol.read(path) == Protocol()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("treshold: 0.8", "'threshold'"),
        ("threshold: high", "threshold: 'high'"),
        ("strict: 1", "strict: 1"),
        ("seed: true", "seed: True"),
        ("ks_conditional: [3, a]", "ks_conditional"),
        ("ks_conditional: 5", "ks_conditional: 5"),
        ("max_per_anatomy: 1.5", "max_per_anatomy"),
        ("threshold: 2", "between 0 and 1"),
        ("- 3", "pairs"),
        ("a: [", "not YAML"),
        ("!!python/object/apply:os.getcwd []", "not YAML"),
        ("[a]: 1", "not YAML"),
        ("strict: true\nstrict: false", "strict stands twice"),
        ("threshold: .nan", "between 0 and 1"),
        ("ks_conditional: [-1]", "cut-offs of 1 to"),
        ("ks_unconditional: [100000000000000000000]", "cut-offs of 1 to"),
        ("bootstrap_draws: 1000000000000", "bootstrap_draws is"),
        ("seed: -1", "seed is -1"),
    ],
)
def test_a_protocol_file_that_does_not_fit_is_refused(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "protocol.yaml"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueError, match=re.escape(said)):
        Protocol.read(path)
    with pytest.raises(ValueError, match="is no file"):
        Protocol.read(tmp_path / "other.yaml")
