"""Paired randomisation over patients: equal to all swaps, never 0, patients whole; effect sizes; Holm."""

import itertools

import numpy as np
import pytest
from radir_eval.statistics.bootstrap import Bootstrap
from radir_eval.statistics.randomisation import effect_sizes, holm, p_values, patient_parts


def test_the_p_value_is_the_share_of_all_swaps() -> None:
    parts = np.random.default_rng(0).normal(0.5, 1.0, size=(8, 3))
    signs = np.array(list(itertools.product([1, -1], repeat=8)))
    exact = (np.abs(signs @ parts) >= np.abs(parts.sum(axis=0)) - 1e-12).mean(axis=0)
    np.testing.assert_allclose(p_values(parts, draws=40_000), exact, atol=0.01)


def test_no_p_value_is_zero_and_no_difference_has_one() -> None:
    same_sign = np.random.default_rng(1).random((60, 1)) + 0.5
    assert p_values(same_sign, draws=999)[0] == pytest.approx(1 / 1000)
    assert p_values(np.zeros((60, 1)), draws=999)[0] == 1.0
    # the swaps of one patient leave the size as it is, in spite of rounding
    assert p_values(np.array([[0.1 + 0.2]]), draws=99)[0] == 1.0
    assert np.isnan(p_values(np.full((5, 1), np.nan), draws=9)[0])


def test_between_equal_models_small_p_values_are_as_rare_as_they_say() -> None:
    parts = np.random.default_rng(2).normal(size=(40, 400))
    share = (p_values(parts, draws=500) <= 0.05).mean()
    assert 0.02 <= share <= 0.09


def test_blocks_of_swaps_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = np.random.default_rng(3).normal(0.3, 1.0, size=(20, 4))
    whole = p_values(parts, draws=200, seed=5)
    monkeypatch.setattr("radir_eval.statistics.randomisation._SIGNS_PER_BLOCK", 20 * 8)
    np.testing.assert_array_equal(p_values(parts, draws=200, seed=5), whole)


def test_more_queries_of_the_same_patients_give_no_smaller_p_value() -> None:
    values = np.random.default_rng(4).normal(0.2, 1.0, size=(30, 1))
    once = patient_parts([(values, np.arange(30))], 30)
    often = patient_parts([(np.repeat(values, 9, axis=0), np.repeat(np.arange(30), 9))], 30)
    np.testing.assert_allclose(once.part, often.part, atol=1e-12)
    np.testing.assert_allclose(effect_sizes(once), effect_sizes(often))


def test_parts_add_up_to_the_average_over_groups() -> None:
    rng = np.random.default_rng(5)
    groups = [(rng.random((size, 2)), rng.integers(0, 9, size=size)) for size in (12, 40)]
    groups[0][0][rng.random((12, 2)) < 0.3] = np.nan
    groups.append((np.full((3, 2), np.nan), np.array([9, 9, 9])))  # nothing defined: counts in no average
    parts = patient_parts(groups, 11)
    expected = np.mean([np.nanmean(values, axis=0) for values, _ in groups[:2]], axis=0)
    np.testing.assert_allclose(parts.part.sum(axis=0), expected)
    np.testing.assert_allclose(parts.deviation.sum(axis=0), 0, atol=1e-12)
    assert not parts.present[9:].any()
    of_first = sum(
        np.nansum(values[subjects == 0], axis=0) / (~np.isnan(values)).sum(axis=0)
        for values, subjects in groups[:2]
    )
    np.testing.assert_allclose(parts.part[0], of_first / 2)


def test_the_effect_of_one_query_a_patient_is_the_mean_over_the_deviation() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.random((2, 25, 3))
    subjects = np.arange(25)
    found = effect_sizes(patient_parts([(a, subjects)], 30).minus(patient_parts([(b, subjects)], 30)))
    np.testing.assert_allclose(found, (a - b).mean(axis=0) / (a - b).std(axis=0, ddof=1))


def test_the_effect_follows_the_standard_error_of_resampled_patients() -> None:
    rng = np.random.default_rng(7)
    subjects = rng.choice(150, p=np.arange(1, 151) / np.arange(1, 151).sum(), size=900)
    values = 0.1 + rng.normal(size=150)[subjects] + rng.normal(size=900)
    parts = patient_parts([(values[:, None], subjects)], 150)
    (draws,) = Bootstrap(150, draws=4000).means([(values[:, None], subjects)])
    error = values.mean() / (effect_sizes(parts)[0] * np.sqrt(parts.present.sum()))
    assert error == pytest.approx(draws.std(), rel=0.08)


def test_a_difference_that_all_patients_share_has_no_effect_size() -> None:
    subjects = np.repeat(np.arange(5), [1, 2, 3, 4, 5])
    found = effect_sizes(patient_parts([(np.full((15, 1), 0.1), subjects)], 5))
    assert np.isnan(found[0])
    assert np.isnan(effect_sizes(patient_parts([(np.array([[0.3]]), np.array([0]))], 1))[0])


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    adjusted = holm(np.array([0.04, 0.01, np.nan, 0.03, 0.9]))
    np.testing.assert_allclose(adjusted, [0.09, 0.04, np.nan, 0.09, 0.9])
    assert holm(np.array([0.6, 0.7])).tolist() == [1.0, 1.0]
    assert np.isnan(holm(np.array([np.nan]))).all()


def test_a_test_without_patients_or_swaps_is_refused() -> None:
    with pytest.raises(ValueError, match="patients and swaps"):
        p_values(np.zeros((0, 1)))
    with pytest.raises(ValueError, match="patients and swaps"):
        p_values(np.zeros((3, 1)), draws=0)
