"""Plots: everything at a place that can be worked out by hand, head to tail, the largest gain first."""

from itertools import pairwise
from typing import Any

import pytest
from radir_eval.report.plots import Tick, gains, head_to_tail, looks


def made_up(
    counts: dict[str, int], recalls: dict[str, list[float | None]], references: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Results of models (name -> Recall@3 in each anatomy) over anatomies (name -> training studies)."""
    models = {
        name: {
            "reference": name in references,
            "conditional": {
                anatomy: {"recall": {"3": value}} for anatomy, value in zip(counts, values, strict=True)
            },
        }
        for name, values in recalls.items()
    }
    anatomies = {
        name: {"region": "Lung", "n_train_studies": count, "in_average": name != "rare"}
        for name, count in counts.items()
    }
    return {
        "models": models,
        "anatomies": anatomies,
        "protocol": {"ks_conditional": [3, 5]},
        "conditional_comparisons": [],
    }


def compared(a: str, b: str, name: str, values: tuple[float, float, float], **changes: Any) -> dict[str, Any]:
    difference, low, high = values
    better = a if low > 0 else b if high < 0 else None
    row = {"scope": "anatomies", "name": name, "a": a, "b": b, "metric": "recall@3"}
    return {**row, "difference": difference, "ci95": [low, high], "better": better, **changes}


def test_points_lie_at_recall_and_at_the_logarithm_of_the_training_studies() -> None:
    plot = head_to_tail(made_up({"lung": 1000, "heart": 100, "vein": 10}, {"a": [0.25, 1.0, 0.0]}))
    assert plot is not None
    assert plot.k == 3
    (series,) = plot.series
    assert [point.x for point in series.points] == pytest.approx([3, 50, 97])
    assert [point.y for point in series.points] == pytest.approx([75, 0, 100])
    assert series.points[0].text == "lung: 25.00, 1,000 training studies"
    assert plot.y_ticks[0] == Tick(100.0, "0")
    assert plot.y_ticks[-1] == Tick(0.0, "100")


def test_anatomies_outside_the_averages_and_undefined_recalls_are_not_drawn() -> None:
    results = made_up({"lung": 90, "heart": 20, "rare": 1}, {"a": [0.5, None, 0.5], "b": [0.1, 0.2, 0.3]})
    plot = head_to_tail(results)
    assert plot is not None
    assert [len(series.points) for series in plot.series] == [1, 2]
    assert head_to_tail(made_up({"lung": 90, "rare": 1}, {"a": [0.5, 0.5]})) is None


@pytest.mark.parametrize(
    ("counts", "ticks"),
    [
        ((1000, 10), ["1,000", "500", "200", "100", "50", "20", "10"]),
        ((97, 56), ["97", "80", "70", "56"]),
        ((20, 0), ["20", "10", "5", "2", "1", "0"]),
        ((7, 7), ["7"]),
    ],
)
def test_ticks_name_both_ends_and_round_numbers_that_are_apart(
    counts: tuple[int, int], ticks: list[str]
) -> None:
    plot = head_to_tail(made_up(dict(zip(("lung", "heart"), counts, strict=True)), {"a": [0.5, 0.5]}))
    assert plot is not None
    assert [tick.text for tick in plot.x_ticks] == ticks
    places = [tick.at for tick in plot.x_ticks]
    assert all(right - left >= 14 for left, right in pairwise(places))


def test_the_line_joins_the_means_of_groups_of_neighbours() -> None:
    counts = {f"anatomy {number}": 10 ** (9 - number) for number in range(10)}
    plot = head_to_tail(made_up(counts, {"a": [0.1] * 5 + [0.6, 0.7, 0.8, 0.9, 1.0]}))
    assert plot is not None
    # Ten decades over 94 percent: the third and the eighth point are the means of their fives.
    step = 94 / 9
    ((x1, y1, x2, y2),) = plot.series[0].line
    assert (x1, y1, x2, y2) == pytest.approx((3 + 2 * step, 90, 3 + 7 * step, 20))
    few = head_to_tail(made_up({"lung": 90, "heart": 20}, {"a": [0.1, 0.2]}))
    assert few is not None
    assert few.series[0].line == ()


def test_gains_are_sorted_and_placed_on_one_axis() -> None:
    results = made_up({"lung": 90, "heart": 20}, {"a": [0.5, 0.5], "b": [0.6, 0.2]})
    results["conditional_comparisons"] = [
        compared("a", "b", "lung", (-0.1, -0.2, 0.0)),
        compared("a", "b", "heart", (0.3, 0.1, 0.6)),
        compared("a", "b", "heart", (0.4, 0.1, 0.6), metric="recall@5"),
        compared("a", "b", "Lung", (0.2, 0.1, 0.6), scope="regions"),
    ]
    (pair,) = gains(results)
    assert (pair.a, pair.b, pair.k) == ("a", "b", 3)
    assert [row.anatomy for row in pair.rows] == ["heart", "lung"]
    # From -20 to +60 points over 94 percent.
    assert pair.zero == pytest.approx(3 + 20 / 80 * 94)
    heart = pair.rows[0]
    assert (heart.low, heart.at, heart.high) == pytest.approx((3 + 30 / 80 * 94, 3 + 50 / 80 * 94, 97))
    assert (heart.difference, heart.ci95) == (pytest.approx(30), pytest.approx((10, 60)))
    assert [tick.text for tick in pair.ticks] == ["-20", "0", "+20", "+40", "+60"]
    assert [pair.count(who) for who in ("a", "b", None)] == [1, 0, 1]


def test_the_first_competing_model_is_compared_with_each_other_one() -> None:
    recalls: dict[str, list[float | None]] = {name: [0.5, 0.5] for name in ("random", "a", "b", "c")}
    results = made_up({"lung": 90, "heart": 20}, recalls, references=("random",))
    results["conditional_comparisons"] = [
        compared(one, other, "lung", (0.1, 0.0, 0.2)) for one, other in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    results["conditional_comparisons"].append(compared("a", "c", "heart", (0, 0, 0), difference=None))
    pairs = gains(results)
    assert [(pair.a, pair.b, len(pair.rows)) for pair in pairs] == [("a", "b", 1), ("a", "c", 1)]
    assert gains(made_up({"lung": 90, "heart": 20}, {"a": [0.5, 0.5]})) == []


def test_equal_models_have_an_axis_too() -> None:
    results = made_up({"lung": 90, "heart": 20}, {"a": [0.5, 0.5], "b": [0.5, 0.5]})
    results["conditional_comparisons"] = [compared("a", "b", "lung", (0.0, 0.0, 0.0))]
    (pair,) = gains(results)
    assert (pair.zero, pair.rows[0].at, pair.ticks) == (50, 50, (Tick(50, "0"),))


def test_thirty_six_models_look_different_and_references_are_apart() -> None:
    names = [f"model {number}" for number in range(36)]
    results = made_up({}, {name: [] for name in ("random", *names)}, references=("random",))
    found = looks(results)
    assert len({(found[name].colour, found[name].marker) for name in names}) == 36
    assert len({found[name].marker for name in names[:6]}) == 6
    assert found["random"].colour == "reference"
