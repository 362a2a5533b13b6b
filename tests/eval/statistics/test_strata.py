"""Beside the paper's figures: skill, strata, levels; chance has none, the oracle all."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from radir_eval.protocol import Protocol
from radir_eval.rankers.vectors import ArrayRanking, OracleRanker, RandomRanker, Ranking
from radir_eval.retrieval_split import CONTENT, PAPER, RetrievalSplit
from radir_eval.statistics.bootstrap import Bootstrap
from radir_eval.statistics.skill import conditional_skill, skill_names
from radir_eval.statistics.strata import strata_of, summarise_beside
from radir_eval.tasks import CONDITIONAL, TaskScores, score_tasks

PROTOCOL = Protocol(bootstrap_draws=50, randomisations=99, min_queries=5)


def task(model: str, values: list[float], chance: list[float], subjects: int = 4) -> TaskScores:
    """Recall alone; NDCG is the same."""
    recall, level = np.array([values]).T, np.array([chance]).T
    return TaskScores(
        model, CONDITIONAL, "heart", (3,), np.arange(len(values)), subjects, recall, recall, level, level
    )


def fake_items(n: int) -> Any:
    return SimpleNamespace(subjects=np.arange(n))


def test_skill_is_the_share_of_the_headroom_over_all_queries() -> None:
    scored = [task("m", [1.0, 0.0, np.nan, 1.0], [0.9, 0.2, np.nan, 0.5])]
    found = conditional_skill(fake_items(4), scored, Bootstrap(4, 200, 0))["m"]
    assert list(found.estimate.names) == skill_names((3,)) == ["recall@3", "ndcg@3"]
    expected = (0.1 - 0.2 + 0.5) / (0.1 + 0.8 + 0.5)
    assert found.estimate.mean[0] == pytest.approx(expected)
    # The intervals are those of the same ratio in each draw of patients.
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 4, size=(200, 4))
    gain, room = np.array([0.1, -0.2, 0, 0.5]), np.array([0.1, 0.8, 0, 0.5])
    rooms = room[drawn].sum(axis=1)
    ratios = np.divide(gain[drawn].sum(axis=1), rooms, out=np.full(200, np.nan), where=rooms > 0)
    np.testing.assert_allclose(found.estimate.draws[:, 0], ratios, atol=1e-12)


def test_what_patients_add_to_a_skill_sums_to_it() -> None:
    scored = [task("m", [1.0, 0.0, 1.0, 1.0], [0.9, 0.2, 0.1, 0.5])]
    found = conditional_skill(fake_items(4), scored, Bootstrap(4, 10, 0))["m"]
    np.testing.assert_allclose(found.parts.part.sum(axis=0), found.estimate.mean)
    np.testing.assert_allclose(found.parts.deviation.sum(axis=0), 0, atol=1e-12)


def test_a_skill_without_headroom_is_not_defined() -> None:
    found = conditional_skill(fake_items(2), [task("m", [1.0, 1.0], [1.0, 1.0])], Bootstrap(2, 10, 0))["m"]
    assert np.isnan(found.estimate.mean).all()


@pytest.fixture(scope="module")
def run(helpers: SimpleNamespace) -> SimpleNamespace:
    items = RetrievalSplit(helpers.FakeDataset(), "test")
    rankings: dict[str, Ranking] = {
        "flat": ArrayRanking(np.ones((len(items), 2), dtype=np.float32)),
        "random": RandomRanker(0).open(items),
        "oracle": OracleRanker().open(items),
        "oracle-content": OracleRanker(relevance=CONTENT).open(items),
    }
    scored = score_tasks(items, rankings, PROTOCOL, progress=False)
    return SimpleNamespace(items=items, scored=scored, found=summarise_beside(items, scored, PROTOCOL))


def test_a_ranking_of_equal_scores_has_no_skill_and_the_oracle_all(run: SimpleNamespace) -> None:
    models = run.found["models"]
    for block in (models["flat"], models["flat"]["abnormal"], models["flat"]["normal"]):
        for metric in ("recall", "ndcg", "content_ndcg"):
            assert [abs(value) < 1e-9 for value in block["skill"][metric].values()] == [True] * 3
    assert all(value == pytest.approx(1) for value in models["oracle"]["skill"]["ndcg"].values())
    content = models["oracle-content"]["abnormal"]["skill"]["content_ndcg"]
    assert all(value == pytest.approx(1) for value in content.values())
    assert models["oracle-content"]["normal"]["skill"]["ndcg"]["3"] < 0.9


def test_every_query_is_in_one_stratum(run: SimpleNamespace) -> None:
    strata = strata_of(run.scored)
    for name, of in strata.items():
        affirmed = name == "abnormal"
        assert all((one.affirms == affirmed).all() for one in of)
    heart = ("flat", "heart", PAPER)
    hearts = [one for of in strata.values() for one in of if (one.model, one.anatomy, one.relevance) == heart]
    counts = [len(one.queries) for one in hearts]
    assert len(counts) == 2
    assert sum(counts) == len(run.items.members("heart"))


def test_the_queries_that_the_threshold_drops_are_counted(run: SimpleNamespace) -> None:
    hits = dict.fromkeys(("abnormal", "normal"), 0)
    for one in run.scored:
        if (one.model, one.task, one.relevance) == ("flat", CONDITIONAL, PAPER):
            for name, wanted in (("abnormal", True), ("normal", False)):
                hits[name] += int(np.isnan(one.recall[one.affirms == wanted, 0]).sum())
    assert {name: about["n_without_correct"] for name, about in run.found["strata"].items()} == hits
    assert all(
        about["n_queries"] == about["n_with_correct"] + about["n_without_correct"]
        for about in run.found["strata"].values()
    )


def test_levels_share_their_queries_and_parents_add_to_the_hits(run: SimpleNamespace) -> None:
    levels = run.found["models"]["random"]["levels"]
    assert set(levels) == {"0", "1"}
    assert levels["0"]["exact"] == levels["0"]["with_parents"]
    for k, value in levels["1"]["exact"].items():
        assert value <= levels["1"]["with_parents"][k] <= 1
        assert levels["1"]["chance_exact"][k] <= levels["1"]["chance_with_parents"][k]
    flat = run.found["models"]["flat"]["levels"]["1"]
    assert flat["with_parents"] == pytest.approx(flat["chance_with_parents"])


def test_models_are_compared_in_pairs_by_each_figure(run: SimpleNamespace) -> None:
    rows = {(row["task"], row["a"], row["b"], row["metric"]): row for row in run.found["comparisons"]}
    for where in ("skill", "abnormal/skill", "normal/skill"):
        assert {"p_value", "p_holm", "ci95", "effect_size"} <= set(rows[where, "flat", "oracle", "ndcg@10"])
    assert rows["abnormal/skill", "flat", "oracle-content", "content ndcg@10"]["difference"] == pytest.approx(
        -1
    )
    tasks = {row["task"] for row in run.found["comparisons"]}
    assert {"content/conditional_macro", "abnormal/conditional_macro", "levels/1"} <= tasks


def test_content_is_left_out_and_said_so_where_nothing_was_counted(helpers: SimpleNamespace) -> None:
    items = RetrievalSplit(helpers.FakeDataset(counted=False), "test")
    scored = score_tasks(items, {"random": RandomRanker(0).open(items)}, PROTOCOL, progress=False)
    found = summarise_beside(items, scored, PROTOCOL)
    assert found["relevances"] == [PAPER]
    assert "content" not in found["models"]["random"]
    assert "recall" in found["models"]["random"]["abnormal"]["skill"]
    assert "Build the dataset again" in found["notes"][0]
