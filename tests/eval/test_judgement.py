"""What hits, and what chance reaches: exact for each query, by each relevance, with parents in part."""

from itertools import permutations
from math import comb
from types import SimpleNamespace

import numpy as np
import pytest
from radir_eval.judgement import PARENT_CREDIT, Judgement, judge_images
from radir_eval.protocol import Protocol
from radir_eval.rankers.vectors import OracleRanker
from radir_eval.retrieval_split import CONTENT, PAPER, RetrievalSplit
from radir_retrieval import retrieval_metrics

PROTOCOL = Protocol()


def test_chance_of_recall_is_the_hypergeometric_one() -> None:
    relevance = np.array([[0.95, 0.2, 0.1, 0.92, 0.3, np.nan, 0.0, 0.5]], dtype=np.float32)  # c = 2 of n = 7
    chance = Judgement({PAPER: relevance}, (1, 3, 5, 7), PROTOCOL).chance()
    expected = [1 - comb(7 - 2, k) / comb(7, k) for k in (1, 3, 5, 7)]
    np.testing.assert_allclose(chance["chance_paper_recall"][0], expected)


def test_chance_is_the_mean_over_all_orders() -> None:
    relevance = np.array([[1.0, 0.4, 0.7, 0.0, 0.95]], dtype=np.float32)
    judgement = Judgement({PAPER: relevance, CONTENT: 1 - relevance}, (1, 2, 4), PROTOCOL)
    orders = [judgement.measure(np.array([order], dtype=float)) for order in permutations(range(5))]
    for name, values in judgement.chance().items():
        mean = np.mean([found[name.removeprefix("chance_")] for found in orders], axis=0)
        np.testing.assert_allclose(values, mean, rtol=1e-6)


def test_a_query_without_a_correct_candidate_has_no_chance_of_recall_and_has_one_of_ndcg() -> None:
    chance = Judgement({PAPER: np.array([[0.5, 0.2]], dtype=np.float32)}, (1,), PROTOCOL).chance()
    assert np.isnan(chance["chance_paper_recall"]).all()
    assert chance["chance_paper_ndcg"][0, 0] == pytest.approx(0.35 / 0.5)


def test_a_hit_at_the_parent_counts_in_part() -> None:
    relevance = np.array([[0.1, 0.95, 0.2], [0.1, 0.2, 0.3]], dtype=np.float32)
    near = np.array([[True, True, False], [False, False, True]])
    judgement = Judgement({PAPER: relevance}, (1, 2), PROTOCOL, near=near)
    scores = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    # First query: near first, correct second. Second: the near one is third.
    np.testing.assert_allclose(judgement.measure(scores)["credit"], [[PARENT_CREDIT, 1.0], [0.0, 0.0]])


def test_the_credit_of_an_anatomy_equals_a_loop_over_its_queries(helpers: SimpleNamespace) -> None:
    dataset = helpers.FakeDataset()
    items = RetrievalSplit(dataset, "test")
    members = items.members("left pleura")
    judgement = judge_images(items, "left pleura", members, members, PROTOCOL)
    scores = np.random.default_rng(0).normal(size=(len(members), len(members)))
    found = judgement.measure(scores)["credit"][:, 0]
    for row, query in enumerate(members):
        others = [c for c, m in enumerate(members) if items.subjects[m] != items.subjects[query]]
        rest = members[others]
        exact = items.relevance("left pleura", members[[row]], rest)[0] > 0.9
        above = np.nan_to_num(items.relevance("lung", members[[row]], rest)[0]) > 0.9
        credit = np.where(exact, 1.0, np.where(above, PARENT_CREDIT, 0.0))
        if not credit.any():
            assert np.isnan(found[row])
            continue
        top = np.argsort(-scores[row, others])[:3]
        assert found[row] == pytest.approx(credit[top].max())


def test_an_anatomy_without_a_parent_has_no_credit(helpers: SimpleNamespace) -> None:
    items = RetrievalSplit(helpers.FakeDataset(), "test")
    members = items.members("heart")
    assert "credit" not in judge_images(items, "heart", members, members, PROTOCOL).measure(
        np.zeros((len(members), len(members)))
    )
    assert [items.level(name) for name in ("heart", "lung", "left pleura")] == [0, 0, 1]


def test_the_oracle_of_content_has_all_content_and_not_all_wording(helpers: SimpleNamespace) -> None:
    items = RetrievalSplit(helpers.FakeDataset(), "test")
    oracle = OracleRanker(relevance=CONTENT)
    assert oracle.name == "oracle-content"
    members = items.members("heart")
    scores = oracle.open(items).scores("heart", members, members)
    judgement = judge_images(items, "heart", members, members, PROTOCOL)
    found = judgement.measure(scores)
    np.testing.assert_allclose(found["content_ndcg"][~np.isnan(found["content_ndcg"])], 1.0)
    paper = retrieval_metrics(scores, judgement.relevance[PAPER], (3,)).ndcg
    normal = ~items.affirms("heart")[members]
    assert np.nanmean(paper[normal]) < 0.999


def test_without_counts_there_is_no_content(helpers: SimpleNamespace) -> None:
    items = RetrievalSplit(helpers.FakeDataset(counted=False), "test")
    assert items.relevances == (PAPER,)
    with pytest.raises(ValueError, match="Build the dataset again"):
        OracleRanker(relevance=CONTENT).open(items)
    with pytest.raises(ValueError, match="there is no relevance 'wording'"):
        items.relevance("heart", np.arange(2), np.arange(2), "wording")
