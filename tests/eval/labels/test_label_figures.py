"""Figures by sets of labels: AUC, mAP, precision; whole and under the anatomy; with chance and intervals."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from radir_eval.labels.label_figures import score_labels
from radir_eval.protocol import Protocol
from radir_eval.rankers.vectors import ArrayRanking, RandomRanker
from radir_eval.retrieval_split import RetrievalSplit
from sklearn.metrics import roc_auc_score

PROTOCOL = Protocol(bootstrap_draws=20, randomisations=19, min_queries=5)


@pytest.fixture(scope="module")
def run(helpers: SimpleNamespace) -> SimpleNamespace:
    """Labels of two sets: the gold ones of two anatomies, and a MeSH term without an anatomy."""
    dataset = helpers.FakeDataset()
    gold = dataset.labels()
    mesh = gold[gold["anatomy"] == "heart"].assign(label="MeSH: Opacity", anatomy=None)
    dataset.labels = lambda: pd.concat([gold, mesh])
    items = RetrievalSplit(dataset, "test")
    whole, by_anatomy = dataset.knowing_vectors(0.2)
    rankings = {
        "radir": ArrayRanking(whole, by_anatomy),
        "clip": ArrayRanking(whole),
        "flat": ArrayRanking(np.ones((len(items), 2), dtype=np.float32)),
        "random": RandomRanker(0).open(items),
    }
    found = score_labels(items, rankings, PROTOCOL)
    return SimpleNamespace(items=items, rankings=rankings, gold=gold, found=found)


def test_each_set_of_labels_has_its_own_figures(run: SimpleNamespace) -> None:
    block = run.found["models"]["radir"]
    assert set(block) == {"gold", "gold_precision", "mesh", "mesh_precision"}
    assert set(block["gold_precision"]["labels"]) == {"heart abnormal", "left pleura abnormal"}
    assert set(block["mesh_precision"]["labels"]) == {"MeSH: Opacity"}
    assert set(block["gold"]) == {"origin", "whole", "conditional"}
    assert "conditional" not in block["mesh"]  # the term names no anatomy
    figures = block["gold"]["conditional"]
    for name in ("auc", "map", "precision@5"):
        low, high = figures[f"{name}_ci95"]
        assert low <= figures[name] <= high
        assert 0 < figures[f"chance_{name}"] < figures[name]
    assert figures["n_labels"] == 2
    assert figures["chance_auc"] == pytest.approx(0.5)


def test_a_model_without_conditions_is_asked_by_whole_images_everywhere(
    run: SimpleNamespace,
) -> None:
    clip = run.found["models"]["clip"]["gold"]
    assert clip["conditional"]["auc"] == pytest.approx(clip["whole"]["auc"])
    radir = run.found["models"]["radir"]["gold"]
    assert radir["conditional"]["auc"] > radir["whole"]["auc"]


def test_equal_scores_reach_chance(run: SimpleNamespace) -> None:
    figures = run.found["models"]["flat"]["gold"]["whole"]
    for name in ("auc", "map", "precision@5"):
        assert figures[name] == pytest.approx(figures[f"chance_{name}"])


def test_the_auc_is_that_of_each_querys_ranking(run: SimpleNamespace) -> None:
    items = run.items
    values = run.gold[run.gold["anatomy"] == "heart"].set_index("study_id")["value"]
    positive = np.array([values[study] for study in items.study_ids])
    everyone = np.arange(len(items))
    scores = run.rankings["clip"].scores(None, everyone, everyone)
    found = []
    for query in np.flatnonzero(positive):
        others = items.subjects != items.subjects[query]
        found.append(roc_auc_score(positive[others], scores[query, others]))
    label = run.found["models"]["clip"]["gold_precision"]["labels"]["heart abnormal"]
    assert label["holistic"]["auc"] == pytest.approx(np.mean(found))


def test_models_are_compared_by_labels(run: SimpleNamespace) -> None:
    rows = {(row["task"], row["a"], row["b"], row["metric"]): row for row in run.found["comparisons"]}
    row = rows["gold/conditional", "radir", "flat", "auc"]
    assert row["ahead"]
    assert {"p_value", "p_holm", "effect_size", "n"} <= set(row)
    assert ("mesh/whole", "radir", "clip", "map") in rows
