"""The metric: equal to scikit-learn, to brute force, to the release's right values; ties in expectation."""

import itertools
import json
import math
from pathlib import Path

import evaluate
import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import ndcg_score

from eval.radir_retrieval import precision_at, retrieval_metrics

KS = (1, 3, 5, 10)
METRIC_FOLDER = Path(__file__).resolve().parents[2] / "eval" / "radir_retrieval"


def random_block(
    seed: int, queries: int = 40, candidates: int = 30, levels: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and relevances; with `levels`, few distinct scores, hence many ties."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(queries, candidates))
    if levels:
        scores = np.floor(rng.random(scores.shape) * levels)
    return scores, rng.random(scores.shape)


@pytest.mark.parametrize("levels", [None, 1, 3, 12])
def test_ndcg_equals_scikit_learn_with_and_without_ties(levels: int | None) -> None:
    scores, relevance = random_block(0, levels=levels)
    ours = retrieval_metrics(scores, relevance, KS).ndcg
    for column, k in enumerate(KS):
        theirs = [ndcg_score(relevance[q : q + 1], scores[q : q + 1], k=k) for q in range(len(scores))]
        np.testing.assert_allclose(ours[:, column], theirs, atol=1e-9)


def test_recall_equals_brute_force() -> None:
    scores, relevance = random_block(1)
    ours = retrieval_metrics(scores, relevance, KS).recall
    for query in range(len(scores)):
        ranked = relevance[query][np.argsort(-scores[query])] > 0.9
        expected = [float(ranked[:k].any()) if ranked.any() else math.nan for k in KS]
        np.testing.assert_array_equal(ours[query], expected)


@pytest.mark.parametrize("seed", range(4))
def test_ties_are_the_mean_over_all_orders(seed: int) -> None:
    scores, relevance = random_block(seed, queries=1, candidates=6, levels=2)
    relevance[0, :2] = (0.95, 0.99)
    ks = (1, 2, 3, 4)
    together = retrieval_metrics(scores, relevance, ks)
    single = []
    for order in itertools.permutations(range(6)):  # break the ties in every possible way
        untied = scores + np.asarray(order) * 1e-6
        result = retrieval_metrics(untied, relevance, ks)
        single.append((result.recall[0], result.ndcg[0], precision_at(untied, relevance, 3)[0]))
    recall, ndcg, precision = (np.mean(part, axis=0) for part in zip(*single, strict=True))
    np.testing.assert_allclose(together.recall[0], recall, atol=1e-12)
    np.testing.assert_allclose(together.ndcg[0], ndcg, atol=1e-12)
    np.testing.assert_allclose(precision_at(scores, relevance, 3)[0], precision, atol=1e-12)


def test_a_constant_model_gets_the_hypergeometric_chance() -> None:
    relevance = np.zeros((1, 20))
    relevance[0, :4] = 1.0
    recall = retrieval_metrics(np.zeros((1, 20)), relevance, (1, 5, 17)).recall[0]
    chance = [1 - math.comb(16, k) / math.comb(20, k) for k in (1, 5, 17)]
    np.testing.assert_allclose(recall, chance, atol=1e-12)


def test_the_order_of_candidates_does_not_matter() -> None:
    scores, relevance = random_block(2, levels=4)
    order = np.random.default_rng(0).permutation(scores.shape[1])
    first = retrieval_metrics(scores, relevance, KS)
    second = retrieval_metrics(scores[:, order], relevance[:, order], KS)
    np.testing.assert_allclose(first.recall, second.recall, atol=1e-12)
    np.testing.assert_allclose(first.ndcg, second.ndcg, atol=1e-12)


def test_a_perfect_ranking_scores_one_and_the_reverse_less() -> None:
    _, relevance = random_block(3)
    relevance[:, 0] = 0.95
    best = retrieval_metrics(relevance, relevance, KS)
    assert (best.recall == 1).all()
    np.testing.assert_allclose(best.ndcg, 1.0, atol=1e-12)
    assert (retrieval_metrics(-relevance, relevance, KS).ndcg < 1).all()


def test_nan_relevance_is_no_candidate_whatever_its_score() -> None:
    scores, relevance = random_block(4, candidates=12, levels=3)
    masked = relevance.copy()
    masked[:, 8:] = np.nan
    scores[:, 8:] = 99.0
    alone = retrieval_metrics(scores[:, :8], relevance[:, :8], KS)
    among = retrieval_metrics(scores, masked, KS)
    np.testing.assert_array_equal(alone.recall, among.recall)
    np.testing.assert_allclose(alone.ndcg, among.ndcg, atol=1e-12)
    np.testing.assert_allclose(
        precision_at(scores, masked, 10), precision_at(scores[:, :8], relevance[:, :8], 10), atol=1e-12
    )


def test_queries_without_candidates_or_correct_ones_are_nan() -> None:
    relevance = np.array([[np.nan, np.nan], [0.3, 0.2], [0.0, 0.0]])
    result = retrieval_metrics(np.array([[1.0, 2.0]] * 3), relevance, (1,))
    assert np.isnan(result.recall).all()
    assert np.isnan(result.ndcg[:, 0]).tolist() == [True, False, True]
    assert result.n_correct.tolist() == [0, 0, 0]


def test_the_threshold_is_compared_in_the_precision_of_the_relevance() -> None:
    scores = np.array([[1.0, 0.0]])
    at_limit = np.array([[0.9, 0.1]], dtype=np.float32)
    assert retrieval_metrics(scores, at_limit, (1,)).n_correct[0] == 0
    assert retrieval_metrics(scores, at_limit, (1,), strict=False).n_correct[0] == 1


def test_paired_reports_replace_the_threshold() -> None:
    scores, relevance = random_block(5, queries=6, candidates=6)
    result = retrieval_metrics(scores, relevance, (1, 6), correct=np.eye(6, dtype=bool))
    np.testing.assert_array_equal(result.recall[:, 0], scores.argmax(axis=1) == np.arange(6))
    assert (result.recall[:, 1] == 1).all()


@pytest.mark.parametrize(
    ("scores", "relevance", "ks", "message"),
    [
        (np.zeros((2, 3)), np.zeros((2, 2)), (1,), "must be"),
        (np.array([[np.nan, 1.0]]), np.zeros((1, 2)), (1,), "must be finite"),
        (np.zeros((1, 2)), np.zeros((1, 2)), (0,), "at least 1"),
        (np.zeros((1, 2)), np.zeros((1, 2)), (), "at least 1"),
    ],
)
def test_bad_input_is_named(
    scores: np.ndarray, relevance: np.ndarray, ks: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(scores, relevance, ks)


def test_the_right_values_of_the_release_are_reproduced(shared_data: Path) -> None:
    vectors = shared_data.parent / "reference" / "released-checkpoint" / "vectors"
    if not vectors.is_dir():
        pytest.skip("the reference vectors are not beside the shared data")
    stored, expected = (
        load_file(vectors / "metrics.safetensors"),
        json.loads((vectors / "metrics.json").read_text()),
    )
    ks, relevance = expected["ks"], stored["gt"].astype(np.float64)
    others = np.where(np.eye(len(relevance), dtype=bool), np.nan, stored["gt"])
    paired = np.eye(len(relevance), dtype=bool)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.nanmean(values, axis=0)

    image = retrieval_metrics(stored["i2i"], others, ks)
    assert np.flatnonzero(image.n_correct).tolist() == expected["rows with a positive (>0.9, self excluded)"]
    report = retrieval_metrics(stored["i2t"], stored["gt"], ks)
    right = {
        "soft_retrieval_exclude_self(i2i, gt)": mean(image.recall),
        "hard_retrieval_exclude_self(i2i, gt)": mean(image.recall),
        "compute_ndcg_exclude_self(i2i, gt)": mean(image.ndcg),
        "soft_retrieval_exclude_self(i2t, gt)": mean(retrieval_metrics(stored["i2t"], others, ks).recall),
        "soft_retrieval_uncon(i2t, gt)": report.recall.sum(axis=0) / len(relevance),
        "compute_ndcg_uncon(i2t, gt)": mean(report.ndcg),
        "CORRECT recall for i2t_negative_pairs (not official)": mean(
            retrieval_metrics(stored["i2t_negative_pairs"], stored["gt"], ks, correct=paired).recall
        ),
    }
    for name, value in right.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6, err_msg=name)


def test_evaluate_loads_the_folder_and_agrees_with_the_function(tmp_path: Path) -> None:
    metric = evaluate.load(str(METRIC_FOLDER), cache_dir=str(tmp_path))
    scores, relevance = random_block(6, queries=5, candidates=8)
    relevance[0] = 0.5
    references = [[None if value < 0.1 else value for value in row] for row in relevance.tolist()]
    result = metric.compute(predictions=scores.tolist(), references=references, ks=[1, 3], threshold=0.8)
    direct = retrieval_metrics(scores, np.where(relevance < 0.1, np.nan, relevance), (1, 3), threshold=0.8)
    assert result["recall@3"] == pytest.approx(np.nanmean(direct.recall[:, 1]))
    assert result["ndcg@1"] == pytest.approx(np.nanmean(direct.ndcg[:, 0]))
    assert result["n_queries"] == 5
    assert result["n_without_correct"] == np.isnan(direct.recall[:, 0]).sum()


def test_the_metric_takes_queries_with_unequal_numbers_of_candidates(tmp_path: Path) -> None:
    metric = evaluate.load(str(METRIC_FOLDER), cache_dir=str(tmp_path))
    result = metric.compute(predictions=[[0.1, 0.9], [0.5]], references=[[0.95, 0.2], [0.99]], ks=[1])
    assert result["recall@1"] == 0.5
    with pytest.raises(ValueError, match="one of each"):
        metric.compute(predictions=[[0.1, 0.9]], references=[[0.95]], ks=[1])
