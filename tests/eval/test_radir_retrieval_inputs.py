"""The `evaluate` metric: equal to its function; scores or rankings, exclusion by names, its folder alone."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
from radir_retrieval import retrieval_metrics

METRIC_FOLDER = Path(__file__).resolve().parents[2] / "eval" / "radir_retrieval"


@pytest.fixture(scope="module")
def metric(tmp_path_factory: pytest.TempPathFactory) -> evaluate.Metric:
    return evaluate.load(
        str(METRIC_FOLDER), cache_dir=str(tmp_path_factory.mktemp("metric")), keep_in_memory=True
    )


def random_block(seed: int, queries: int, candidates: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(queries, candidates)), rng.random((queries, candidates))


def test_evaluate_loads_the_folder_and_agrees_with_the_function(metric: evaluate.Metric) -> None:
    scores, relevance = random_block(6, queries=5, candidates=8)
    relevance[0] = 0.5
    references = [[None if value < 0.1 else value for value in row] for row in relevance.tolist()]
    result = metric.compute(predictions=scores.tolist(), references=references, ks=[1, 3], threshold=0.8)
    direct = retrieval_metrics(scores, np.where(relevance < 0.1, np.nan, relevance), (1, 3), threshold=0.8)
    assert result["recall@3"] == pytest.approx(np.nanmean(direct.recall[:, 1]))
    assert result["ndcg@1"] == pytest.approx(np.nanmean(direct.ndcg[:, 0]))
    assert result["n_queries"] == 5
    assert result["n_without_correct"] == np.isnan(direct.recall[:, 0]).sum()


def test_the_folder_alone_is_the_metric(tmp_path: Path) -> None:
    folder = shutil.copytree(METRIC_FOLDER, tmp_path / "radir_retrieval")
    script = (
        f"import evaluate\nmetric = evaluate.load({str(folder)!r}, cache_dir={str(tmp_path / 'cache')!r})\n"
        "print(metric.compute(predictions=[[0.9, 0.1]], references=[[0.2, 0.95]], ks=[1, 2])['recall@2'])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["1.0"], done.stderr


def test_rankings_score_as_the_scores_that_they_come_from(metric: evaluate.Metric) -> None:
    scores, relevance = random_block(8, queries=6, candidates=9)
    ranked = np.argsort(-scores, axis=1)
    names = np.array([f"50{number}" for number in range(9)])  # ids that look like numbers stay names
    expected = metric.compute(predictions=scores, references=relevance, ks=[1, 5])
    by_position = metric.compute(
        predictions=ranked, references=relevance, ks=[1, 5], predictions_are="rankings"
    )
    by_name = metric.compute(
        predictions=names[ranked].tolist(),
        references=relevance,
        ks=[1, 5],
        predictions_are="rankings",
        candidate_ids=names.tolist(),
    )
    top = metric.compute(
        predictions=ranked[:, :5], references=relevance, ks=[1, 5], predictions_are="rankings"
    )
    for other in (by_position, by_name, top):
        assert other == pytest.approx(expected)


@pytest.mark.parametrize("each", [False, True])
def test_self_and_same_patient_are_excluded_by_their_names(metric: evaluate.Metric, each: bool) -> None:
    scores, relevance = random_block(9, queries=6, candidates=6)
    ids, subjects = list("abcdef"), ["p", "p", "", "q", None, ""]
    candidate_ids, patients = ([[*names] for _ in ids] if each else names for names in (ids, subjects))
    excluded = np.eye(6, dtype=bool)
    excluded[0, 1] = excluded[1, 0] = True  # the two of patient p; unknown patients are nobody's
    asked = {"predictions": scores, "references": relevance, "ks": [1, 3], "threshold": 0.5}
    named = {"query_ids": ids, "candidate_ids": candidate_ids}
    expected = metric.compute(**{**asked, "references": np.where(excluded, np.nan, relevance)})
    found = metric.compute(**asked, **named, query_subjects=subjects, candidate_subjects=patients)
    assert found == pytest.approx(expected)
    alone = metric.compute(
        **asked, **named, query_subjects=subjects, candidate_subjects=patients, exclude_same_subject=False
    )
    only_self = np.where(np.eye(6, dtype=bool), np.nan, relevance)
    assert alone == pytest.approx(metric.compute(**{**asked, "references": only_self}))
    assert metric.compute(**asked, **named, exclude_self=False) == pytest.approx(metric.compute(**asked))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"predictions_are": "ranks"}, "'scores' or 'rankings'"),
        ({"query_ids": ["a"]}, "give both"),
        ({"candidate_subjects": ["a", "b"]}, "give both"),
        ({"query_ids": ["a"], "candidate_ids": ["a"]}, "one name for each candidate"),
        ({"query_ids": ["a", "b"], "candidate_ids": ["a", "b"]}, "2 names for 1 queries"),
        ({"candidate_ids": [["a", "b"], ["a", "b"]], "query_ids": ["a"]}, "2 lists for 1 queries"),
        ({"predictions_are": "rankings", "candidate_ids": ["a", "b"]}, "which is no candidate"),
        ({"predictions_are": "rankings"}, "whole positions"),
        (
            {"query_ids": [50], "candidate_ids": ["50", "51"]},
            "query_ids are of type int, candidate_ids of type",
        ),
        (
            {"query_ids": ["50"], "candidate_ids": np.array([50, 51])},
            "of type str, candidate_ids of type int",
        ),
        ({"query_subjects": [7], "candidate_subjects": [["7", ""]]}, "query_subjects are of type int"),
        ({"query_ids": ["50"], "candidate_ids": ["50", 51]}, "candidate_ids mixes strings and whole numbers"),
        ({"query_ids": [b"50"], "candidate_ids": ["50", "51"]}, "query_ids holds b'50' of type bytes"),
        ({"query_ids": [50.0], "candidate_ids": [50, 51]}, "query_ids holds 50.0 of type float"),
        ({"query_subjects": [True], "candidate_subjects": [1, 2]}, "holds True of type bool"),
        ({"query_subjects": [1], "candidate_subjects": [1, float("nan")]}, "holds nan of type float"),
        ({"predictions_are": "rankings", "candidate_ids": ["a", "a"]}, "candidate_ids holds 'a' twice"),
    ],
)
def test_names_that_do_not_fit_are_refused(
    metric: evaluate.Metric, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        metric.compute(predictions=[[0.5, 0.1]], references=[[0.2, 0.95]], **options)


def test_the_metric_takes_queries_with_unequal_numbers_of_candidates(metric: evaluate.Metric) -> None:
    result = metric.compute(predictions=[[0.1, 0.9], [0.5]], references=[[0.95, 0.2], [0.99]], ks=[1])
    assert result["recall@1"] == 0.5
    with pytest.raises(ValueError, match="one of each"):
        metric.compute(predictions=[[0.1, 0.9]], references=[[0.95]], ks=[1])


def test_whole_numbers_are_names_like_any_other(metric: evaluate.Metric) -> None:
    asked = {"predictions": [[0.9, 0.5]], "references": [[0.99, 0.1]], "ks": [1]}
    for query, candidates in (
        (50, [50, 51]),
        (np.int64(50), np.array([50, 51])),
        ("50", np.array(["50", "51"])),
    ):
        found = metric.compute(**asked, query_ids=[query], candidate_ids=candidates)
        assert found["n_without_correct"] == 1  # the query itself is none of its candidates


def test_a_query_does_not_count_twice_in_rankings(metric: evaluate.Metric) -> None:
    with pytest.raises(ValueError, match="query_ids holds 'q' twice"):
        metric.compute(
            predictions=[["a"], ["a"]],
            references=[[1.0, 0.0], [1.0, 0.0]],
            predictions_are="rankings",
            query_ids=["q", "q"],
            candidate_ids=["a", "b"],
        )
