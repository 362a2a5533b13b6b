"""results.json from single queries: averages in both senses, comparisons, wins, all as worked out by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from radir_eval.protocol import Protocol
from radir_eval.statistics.summary import summarise
from radir_eval.tasks import CONDITIONAL, IMAGE_TO_IMAGE, WHOLE, TaskScores

PROTOCOL = Protocol(bootstrap_draws=200, randomisations=99, min_queries=2, ks_conditional=(3,))
SIZES = {"lung": 30, "heart": 12, "left pleura": 6, "trachea": 1}
REGION = {"lung": "Chest", "heart": "Heart", "left pleura": "Chest", "trachea": "Airway"}
TRAIN = {"heart": 500, "lung": 300, "left pleura": 20, "trachea": 900}


def items(patients: int = 15) -> Any:
    """30 images, two of each patient."""
    return SimpleNamespace(
        subjects=np.arange(30) % patients,
        anatomies=[{"name": name, "region": region} for name, region in REGION.items()],
        train_counts=lambda: TRAIN,
    )


def task(model: str, name: str, recall: np.ndarray, ndcg: np.ndarray) -> TaskScores:
    kind = CONDITIONAL if name else IMAGE_TO_IMAGE
    queries = np.arange(len(recall))
    return TaskScores(model, kind, name, (3,), queries, len(recall), recall[:, None], ndcg[:, None])


def scored(gain: float = 0.2, seed: int = 0) -> list[TaskScores]:
    """`good` is `base` plus a gain, but under the heart they are equal; `random` is worse than both."""
    rng = np.random.default_rng(seed)
    tasks = []
    for name in (WHOLE, *SIZES):
        size = SIZES.get(name, 30)
        base = rng.random(size) * 0.5
        recall = base.copy()
        if size > 4:
            recall[:2] = np.nan  # without a correct candidate
        better = gain + 0.1 * rng.random(size) if name != "heart" else np.zeros(size)
        tasks += [
            task("base", name, recall, base),
            task("good", name, recall + better, base + better),
            task("random", name, np.where(np.isnan(recall), np.nan, 0.01), np.full(size, 0.01)),
        ]
    return tasks


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return summarise(items(), scored(), PROTOCOL, references=["random"])


def mean_of(model: str, *names: str, metric: str = "recall") -> list[float]:
    of = {t.anatomy: t for t in scored() if t.model == model}
    return [float(np.nanmean(getattr(of[name], metric))) for name in names]


def test_the_macro_counts_anatomies_alike_and_the_weighted_average_queries(results: dict[str, Any]) -> None:
    block = results["models"]["good"]
    averaged = ("lung", "heart", "left pleura")  # the trachea has too few queries
    for metric in ("recall", "ndcg"):
        macro = np.mean(mean_of("good", *averaged, metric=metric))
        assert block["conditional_macro"][metric]["3"] == pytest.approx(macro)
        chest = np.mean(mean_of("good", "lung", "left pleura", metric=metric))
        assert block["conditional_regions"]["Chest"][metric]["3"] == pytest.approx(chest)
        for key, names in (("conditional_weighted", averaged), ("Chest", ("lung", "left pleura"))):
            found = block[key] if key in block else block["conditional_regions_weighted"][key]
            queries = np.concatenate(
                [getattr(t, metric) for t in scored() if t.model == "good" and t.anatomy in names]
            )
            assert found[metric]["3"] == pytest.approx(np.nanmean(queries))
            low, high = found[f"{metric}_ci95"]["3"]
            assert low < found[metric]["3"] < high
    counts = {
        key: block["conditional_weighted"][key] for key in block["conditional_weighted"] if key[0] == "n"
    }
    assert counts.pop("ndcg")
    assert counts.pop("ndcg_ci95")
    assert counts == {
        "n_anatomies": 3,
        "n_queries": 48,
        "n_with_correct": 42,
        "n_without_correct": 6,
        "n_train_studies": 820,
    }


def test_anatomies_and_regions_go_from_head_to_tail(results: dict[str, Any]) -> None:
    assert list(results["anatomies"]) == ["trachea", "heart", "lung", "left pleura"]
    assert list(results["models"]["good"]["conditional"]) == ["trachea", "heart", "lung", "left pleura"]
    for key in ("conditional_regions", "conditional_regions_weighted"):
        assert list(results["models"]["good"][key]) == ["Heart", "Chest"]


def test_parts_of_the_anatomies_change_no_figure(
    results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radir_eval.statistics.summary._DRAWN_AT_ONCE", 1)
    again = summarise(items(), scored(), PROTOCOL, references=["random"])
    assert flat(again) == pytest.approx(flat(results), abs=1e-12)


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """The numbers of nested results by their path."""
    if isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for name, part in pairs for key, leaf in flat(part, f"{path}/{name}").items()}
    return {path: value} if isinstance(value, (int, float)) else {}


def test_comparisons_tell_interval_probability_effect_and_patients(results: dict[str, Any]) -> None:
    rows = {(r["a"], r["b"], r["task"], r["metric"]): r for r in results["comparisons"]}
    assert len(rows) == len(results["comparisons"]) == 3 * 2 * 2
    clear = rows["base", "good", "conditional_macro", "ndcg@3"]
    assert clear["better"] == "good"
    assert clear["p_value"] == pytest.approx(1 / 100)
    assert clear["p_holm"] == pytest.approx(4 / 100)  # the least of the pair's four tests
    assert clear["effect_size"] < -1
    assert clear["n"] == 15
    difference = mean_of("base", WHOLE)[0] - mean_of("good", WHOLE)[0]
    assert rows["base", "good", IMAGE_TO_IMAGE, "recall@3"]["difference"] == pytest.approx(difference)
    for row in rows.values():
        assert row["ahead"] == (row["better"] is not None) == (row["ci95"][0] > 0 or row["ci95"][1] < 0)
        assert row["p_holm"] >= row["p_value"] > 0


def test_equal_models_are_never_ahead(results: dict[str, Any]) -> None:
    heart = [r for r in results["conditional_comparisons"] if r["name"] in ("heart", "Heart")]
    assert [(r["scope"], r["difference"], r["better"]) for r in heart] == [
        ("anatomies", 0.0, None),
        ("regions", 0.0, None),
    ]
    alone = summarise(items(), scored()[::3], PROTOCOL)
    assert alone["comparisons"] == alone["wins"] == alone["conditional_comparisons"] == []


def test_wins_are_counted_for_competitors_by_value_and_by_interval(results: dict[str, Any]) -> None:
    wins = {(row["scope"], row["metric"]): row for row in results["wins"]}
    assert set(wins) == {(s, m) for s in ("tasks", "regions", "anatomies") for m in ("recall", "ndcg")}
    for metric in ("recall", "ndcg"):
        expected = {"tasks": (2, 0, 0, 2, 2), "regions": (2, 1, 0, 2, 1), "anatomies": (3, 1, 0, 3, 2)}
        for scope, numbers in expected.items():
            row = wins[scope, metric]
            best, ahead = row["best"], row["ahead"]
            found = (row["n"], best["base"], ahead["base"], best["good"], ahead["good"])
            assert found == numbers, (scope, metric)
            assert set(best) == {"base", "good"}


def test_without_any_anatomy_in_the_averages_there_are_none() -> None:
    protocol = Protocol(bootstrap_draws=20, randomisations=9, min_queries=1000, ks_conditional=(3,))
    results = summarise(items(), scored(), protocol)
    for key in ("conditional_macro", "conditional_weighted"):
        assert results["models"]["good"][key]["recall"] == {}
    assert {row["task"] for row in results["comparisons"]} == {IMAGE_TO_IMAGE}
    assert results["models"]["good"]["conditional"]["lung"]["recall"]["3"] > 0
