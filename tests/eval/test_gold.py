"""Precision by gold label: equal to a loop, unknown labels no candidates, conditions where they exist."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from eval.embeddings import ArrayRanking, RandomRanking
from eval.gold import gold_precision
from eval.items import Items
from eval.protocol import Protocol

PROTOCOL = Protocol(bootstrap_draws=20, min_queries=5)


def test_precision_equals_a_loop_over_the_positive_images(helpers: SimpleNamespace) -> None:
    dataset = helpers.FakeDataset()
    items = Items(dataset, "test")
    whole, by_anatomy = dataset.knowing_vectors(0.3)
    rankings = {"radir": ArrayRanking(whole, by_anatomy), "clip": ArrayRanking(whole)}
    found = gold_precision(items, rankings, PROTOCOL)
    values = np.array([dataset.severity[study, "heart"] >= 2 for study in items.study_ids])
    for mode, anatomy in (("holistic", None), ("conditioned", "heart")):
        shares = []
        for query in np.flatnonzero(values):
            others = np.flatnonzero(items.subjects != items.subjects[query])
            scores = rankings["radir"].scores(anatomy, np.array([query]), others)[0]
            shares.append(values[others[np.argsort(-scores)[:5]]].mean())
        block = found["radir"]["labels"]["heart abnormal"]
        assert block[mode]["precision"] == pytest.approx(np.mean(shares))
    assert "conditioned" not in found["clip"]["labels"]["heart abnormal"]
    assert (
        found["radir"]["macro"]["conditioned"]["precision"] > found["radir"]["macro"]["holistic"]["precision"]
    )


def test_uncertain_labels_are_neither_queries_nor_candidates(helpers: SimpleNamespace, monkeypatch) -> None:
    dataset = helpers.FakeDataset()
    ids = [f"s{number:04d}" for number in range(60)]
    values = [1] * 20 + [-1] * 40  # all that is certain is positive
    table = pd.DataFrame({"study_id": ids, "label": "sure", "value": values})
    monkeypatch.setattr(dataset, "labels", lambda: table)
    found = gold_precision(
        Items(dataset, "test"), {"random": RandomRanking().open(Items(dataset, "test"))}, PROTOCOL
    )
    block = found["random"]["labels"]["sure"]
    assert block["chance"] == block["holistic"]["precision"] == 1.0
    assert block["n_queries"] == 22


def test_without_labels_there_is_nothing(helpers: SimpleNamespace) -> None:
    dataset = helpers.FakeDataset(labelled=False)
    items = Items(dataset, "test")
    assert gold_precision(items, {"random": RandomRanking().open(items)}, PROTOCOL) == {}


def test_a_label_of_an_unknown_anatomy_is_refused(helpers: SimpleNamespace, monkeypatch) -> None:
    dataset = helpers.FakeDataset()
    table = dataset.labels().assign(anatomy="tail")
    monkeypatch.setattr(dataset, "labels", lambda: table)
    with pytest.raises(ValueError, match="tail"):
        gold_precision(Items(dataset, "test"), {}, PROTOCOL)
