"""Bootstrap over patients: equal to a plain loop, clusters respected, differences paired."""

import numpy as np
import pytest
from radir_eval.protocol import Protocol
from radir_eval.statistics.bootstrap import Bootstrap, interval, intervals, macro_draws


def test_draws_equal_a_plain_loop_over_resampled_patients() -> None:
    rng = np.random.default_rng(0)
    subjects = rng.integers(0, 7, size=30)
    values = rng.random((30, 2))
    values[rng.random(values.shape) < 0.2] = np.nan
    bootstrap = Bootstrap(7, draws=50, seed=3)
    drawn = np.random.default_rng(3).integers(0, 7, size=(50, 7))
    (means,) = bootstrap.means([(values, subjects)])
    for row, chosen in enumerate(drawn):
        resampled = np.concatenate([values[subjects == subject] for subject in chosen])
        np.testing.assert_allclose(means[row], np.nanmean(resampled, axis=0), atol=1e-12)


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        (means,) = Bootstrap(80, draws=200, seed=trial).means([(rng.normal(size=(80, 1)), np.arange(80))])
        found = interval(means[:, 0])
        covered += found.low <= 0 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_queries_of_one_patient_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(2)
    one_each = rng.normal(size=(40, 1))
    copied = np.repeat(one_each, 10, axis=0)
    bootstrap = Bootstrap(40, draws=400)
    single, repeated = bootstrap.means([(one_each, np.arange(40)), (copied, np.repeat(np.arange(40), 10))])
    np.testing.assert_allclose(single, repeated, atol=1e-12)


def test_a_constant_difference_has_an_interval_of_no_width() -> None:
    rng = np.random.default_rng(3)
    values, subjects = rng.random((60, 1)), rng.integers(0, 20, size=60)
    ours, theirs = Bootstrap(20, draws=100).means([(values + 0.1, subjects), (values, subjects)])
    found = interval((ours - theirs)[:, 0])
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)


def test_the_macro_leaves_out_groups_that_a_draw_does_not_hold() -> None:
    first, second = np.array([[1.0], [np.nan]]), np.array([[0.0], [0.5]])
    np.testing.assert_array_equal(macro_draws([first, second])[:, 0], [0.5, 0.5])


def test_the_same_seed_gives_the_same_draws_in_any_number_of_groups() -> None:
    values, subjects = np.random.default_rng(4).random((30, 2)), np.arange(30)
    (alone,) = Bootstrap(30, draws=20, seed=5).means([(values, subjects)])
    _, among = Bootstrap(30, draws=20, seed=5).means([(1 - values, subjects), (values, subjects)])
    np.testing.assert_allclose(alone, among, atol=1e-12)


def test_blocks_of_draws_and_parts_of_groups_give_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    groups = [(rng.random((40, 3)), rng.integers(0, 11, size=40)) for _ in range(4)]
    for values, _ in groups[:2]:
        values[rng.random(values.shape) < 0.3] = np.nan
    together = Bootstrap(11, draws=70, seed=1).means(groups)
    monkeypatch.setattr("radir_eval.statistics.bootstrap._WEIGHTS_PER_BLOCK", 11 * 9)
    bootstrap = Bootstrap(11, draws=70, seed=1)
    apart = [*bootstrap.means(groups[:1]), *bootstrap.means(groups[1:])]
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_sums_and_numbers_weigh_every_query_of_a_draw() -> None:
    values, subjects = np.array([[1.0], [2.0], [np.nan], [4.0]]), np.array([0, 0, 1, 2])
    (drawn,) = Bootstrap(3, draws=30, seed=2).sums([(values, subjects)])
    chosen = np.random.default_rng(2).integers(0, 3, size=(30, 3))
    np.testing.assert_allclose(drawn.total[:, 0], np.array([3.0, 0.0, 4.0])[chosen].sum(axis=1))
    np.testing.assert_allclose(drawn.number[:, 0], np.array([2, 0, 1])[chosen].sum(axis=1))


def test_intervals_leave_out_draws_that_lack_the_metric() -> None:
    draws = np.random.default_rng(7).random((500, 3))
    draws[:100, 1], draws[:, 2] = np.nan, np.nan
    found = intervals(draws)
    np.testing.assert_allclose(found[0], np.percentile(draws[:, 0], [2.5, 97.5]))
    np.testing.assert_allclose(found[1], np.percentile(draws[100:, 1], [2.5, 97.5]))
    assert np.isnan(found[2]).all()


def test_ten_thousand_draws_are_the_default() -> None:
    assert Protocol().bootstrap_draws == Protocol().randomisations == Bootstrap(2).draws == 10_000


def test_nothing_to_resample_is_refused() -> None:
    with pytest.raises(ValueError, match="subjects and draws"):
        Bootstrap(0)
    assert np.isnan(interval(np.full(3, np.nan)).low)
