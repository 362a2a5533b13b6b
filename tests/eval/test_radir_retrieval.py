"""The metric: equal to scikit-learn, ranx, pytrec_eval, brute force and the release's right values; ties."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from radir_retrieval import (
    correct_candidates,
    metrics_in_blocks,
    retrieval_metrics,
    scores_of_ranking,
)
from safetensors.numpy import load_file
from sklearn.metrics import ndcg_score

KS = (1, 3, 5, 10)


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


def graded_block(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores without ties and gains 0 to 4, at least one above 0: what the integer tools take."""
    rng = np.random.default_rng(seed)
    gains = rng.integers(0, 5, size=(25, 40))
    gains[:, 0] = np.maximum(gains[:, 0], 1)
    return rng.permuted(np.tile(np.arange(40.0), (25, 1)), axis=1), gains


def test_integer_gains_score_as_in_ranx() -> None:
    ranx = pytest.importorskip("ranx")
    scores, gains = graded_block(10)
    ours = retrieval_metrics(scores, gains, KS, threshold=3, strict=False)
    # ranx reads rows of (id, value), sorted; its dictionaries take minutes to compile.
    run, qrels = (
        np.stack([order, np.take_along_axis(values, order, axis=1)], axis=2).astype(np.float64)
        for values in (scores, gains)
        for order in [np.argsort(-values, axis=1, kind="stable")]
    )
    names = [f"{metric}@{k}{level}" for metric, level in (("ndcg", ""), ("hit_rate", "-l3")) for k in KS]
    theirs = ranx.evaluate(qrels, run, names, return_mean=False)
    expected = np.stack([theirs[name] for name in names], axis=1)
    np.testing.assert_allclose(ours.ndcg, expected[:, : len(KS)], atol=1e-6)
    np.testing.assert_allclose(np.nan_to_num(ours.recall), expected[:, len(KS) :], atol=1e-6)


def test_integer_gains_score_as_in_pytrec_eval() -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    scores, gains = graded_block(11)
    ours = retrieval_metrics(scores, gains, KS, threshold=3, strict=False)
    run, qrels = (
        {f"q{query}": {f"d{c}": value for c, value in enumerate(row)} for query, row in enumerate(values)}
        for values in (scores.tolist(), gains.tolist())
    )
    cuts = ",".join(map(str, KS))
    judge = pytrec_eval.RelevanceEvaluator(qrels, {f"ndcg_cut.{cuts}", f"success.{cuts}"}, relevance_level=3)
    theirs = judge.evaluate(run)
    for column, k in enumerate(KS):
        ndcg, hit = (
            [theirs[f"q{query}"][f"{metric}_{k}"] for query in range(len(scores))]
            for metric in ("ndcg_cut", "success")
        )
        np.testing.assert_allclose(ours.ndcg[:, column], ndcg, atol=1e-6)
        np.testing.assert_allclose(np.nan_to_num(ours.recall[:, column]), hit, atol=1e-6)


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
        single.append((result.recall[0], result.ndcg[0]))
    recall, ndcg = (np.mean(part, axis=0) for part in zip(*single, strict=True))
    np.testing.assert_allclose(together.recall[0], recall, atol=1e-12)
    np.testing.assert_allclose(together.ndcg[0], ndcg, atol=1e-12)


def plain_expectation(scores: np.ndarray, gains: np.ndarray, correct: np.ndarray, k: int) -> tuple[Any, Any]:
    """Expected DCG@k and probability of a hit of one query, a group of equal scores after the other."""
    dcg, hit, place = 0.0, 0.0, 0
    for score in sorted(set(scores), reverse=True):
        group = scores == score
        size, right = int(group.sum()), int(correct[group].sum())
        taken = max(0, min(size, k - place))
        discounts = sum(1 / math.log2(place + r + 2) for r in range(taken))
        dcg += gains[group].mean() * discounts
        hit += (1 - hit) * (1 - math.comb(size - right, taken) / math.comb(size, taken))
        place += size
    return dcg, hit


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 150),
    st.integers(1, 40),
    st.sampled_from([1, 2, 5, 40, 10**6]),
    st.booleans(),
)
def test_any_row_equals_a_loop_over_its_groups(
    seed: int, width: int, k: int, levels: int, single: bool
) -> None:
    rng = np.random.default_rng(seed)
    dtype = np.float32 if single else np.float64
    scores, relevance = (
        rng.integers(0, levels, (3, width)).astype(dtype),
        rng.random((3, width)).astype(dtype),
    )
    relevance[rng.random(relevance.shape) < 0.2] = np.nan
    relevance[rng.random(relevance.shape) < 0.2] = 0.0
    ours = retrieval_metrics(scores, relevance, (k,), threshold=0.6)
    for query in range(3):
        kept = ~np.isnan(relevance[query])
        gains = relevance[query][kept].astype(np.float64)
        correct = gains > float(dtype(0.6))
        dcg, hit = plain_expectation(scores[query][kept], gains, correct, k)
        ideal = plain_expectation(gains + np.arange(len(gains)) * 1e-12, gains, correct, k)[0]
        assert ours.n_correct[query] == correct.sum()
        assert ours.recall[query, 0] == pytest.approx(hit if correct.any() else math.nan, nan_ok=True)
        wanted = dcg / ideal if ideal > 0 else math.nan
        assert ours.ndcg[query, 0] == pytest.approx(wanted, nan_ok=True, abs=1e-9)


def test_threads_and_blocks_do_not_change_a_figure() -> None:
    scores, relevance = random_block(7, queries=500, candidates=4100, levels=300)
    alone = retrieval_metrics(scores, relevance, KS, threads=1)
    shared = retrieval_metrics(scores, relevance, KS, threads=3)
    parts = metrics_in_blocks(
        ((scores[start : start + 7], relevance[start : start + 7]) for start in range(0, 500, 7)), KS
    )
    for one, two, three in zip(alone, shared, parts, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


def test_what_was_not_retrieved_earns_nothing_and_stays_ideal() -> None:
    relevance = np.array([[1.0, 0.5, 0.95, 0.2]])
    given = retrieval_metrics(np.array([[-np.inf, 2.0, -np.inf, 1.0]]), relevance, (1, 4))
    assert given.recall.tolist() == [[0.0, 0.0]]
    dcg = 0.5 + 0.2 / math.log2(3)
    ideal = 1.0 + 0.95 / math.log2(3) + 0.5 / 2 + 0.2 / math.log2(5)
    np.testing.assert_allclose(given.ndcg, [[0.5, dcg / ideal]])


def test_scores_of_a_ranking_put_its_candidates_into_its_order() -> None:
    assert np.argsort(-scores_of_ranking([3, 0, 2, 1], 4)).tolist() == [3, 0, 2, 1]
    for ranking, message in (([4], "candidate 4 of 4"), ([0.5], "whole positions"), ([1, 1], "twice")):
        with pytest.raises(ValueError, match=message):
            scores_of_ranking(ranking, 4)


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
    assert correct_candidates(at_limit).tolist() == [[False, False]]
    assert correct_candidates(at_limit, strict=False).tolist() == [[True, False]]


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
        (np.array([[0.0, np.inf]]), np.zeros((1, 2)), (1,), "query 0 for candidate 1 is inf"),
        (np.zeros((1, 2)), np.array([[0.5, -0.1]]), (1,), "gains of 0 or more"),
        (np.zeros((1, 2)), np.array([[np.inf, 0.1]]), (1,), "gains of 0 or more"),
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


def test_the_release_takes_another_column_where_a_paired_cosine_is_negative(shared_data: Path) -> None:
    vectors = shared_data.parent / "reference" / "released-checkpoint" / "vectors"
    if not vectors.is_dir():
        pytest.skip("the reference vectors are not beside the shared data")
    stored, told = (
        load_file(vectors / "metrics.safetensors"),
        json.loads((vectors / "metrics.json").read_text()),
    )
    for name in ("i2t", "i2t_negative_pairs"):
        chosen = (stored[name] * np.eye(9)).argmax(axis=1)  # what it counts as the paired report
        as_released = np.arange(9)[None, :] == chosen[:, None]
        found = retrieval_metrics(stored[name], stored["gt"], told["ks"], correct=as_released)
        np.testing.assert_allclose(found.recall.mean(axis=0), told[f"hard_retrieval({name}, eye)"], atol=1e-6)
