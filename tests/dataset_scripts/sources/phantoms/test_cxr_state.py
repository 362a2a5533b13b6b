"""The latent state of phantom studies: independence, shares, subjects and the checks on made states."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from dataset_scripts.sources.phantoms.cxr import ANATOMIES, normal_state, sample_state
from dataset_scripts.sources.phantoms.cxr.state import subject_number

COUNT = 3000


@pytest.fixture(scope="module")
def codes() -> dict[str, np.ndarray]:
    """Anatomy -> finding and degree of every sampled state, as numbers."""
    states = [sample_state(seed=7, index=i) for i in range(COUNT)]
    columns = {}
    for name in ANATOMIES:
        texts = [f"{s.findings[name].name}|{s.findings[name].degree}" for s in states]
        columns[name] = np.unique(texts, return_inverse=True)[1]
    return columns


def test_there_are_at_least_fourteen_anatomies_each_with_several_findings() -> None:
    assert len(ANATOMIES) >= 14
    assert all(len(spec.findings) >= 2 for spec in ANATOMIES.values())


def test_anatomies_vary_independently_of_each_other(codes: dict[str, np.ndarray]) -> None:
    for first, second in combinations(codes, 2):
        table = np.zeros((codes[first].max() + 1, codes[second].max() + 1))
        np.add.at(table, (codes[first], codes[second]), 1)
        expected = table.sum(1, keepdims=True) * table.sum(0) / COUNT
        freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
        chi2 = ((table - expected) ** 2 / expected).sum()
        # 171 pairs: five standard deviations of chi-square around its mean
        assert chi2 < freedom + 5 * np.sqrt(2 * freedom), (first, second)


def test_every_anatomy_is_normal_in_35_to_55_percent() -> None:
    states = [sample_state(7, i) for i in range(COUNT)]
    for name in ANATOMIES:
        share = np.mean([state.findings[name].is_normal for state in states])
        assert 0.35 <= share <= 0.55, name


def test_every_finding_and_degree_occurs(codes: dict[str, np.ndarray]) -> None:
    for name, spec in ANATOMIES.items():
        kinds = 1 + sum(max(1, len(finding.degrees)) for finding in spec.findings)
        assert codes[name].max() + 1 == kinds, name


def test_a_subject_has_1_3_studies_on_average_and_one_habitus() -> None:
    subjects = [subject_number(3, i) for i in range(1300)]
    counts = Counter(subjects)
    assert len(subjects) / len(counts) == pytest.approx(1.3)
    twice = next(subject for subject, count in counts.items() if count > 1)
    first, second = [sample_state(3, i) for i, subject in enumerate(subjects) if subject == twice][:2]
    assert first.habitus == second.habitus
    assert first.findings != second.findings


@pytest.mark.parametrize(
    ("finding", "message"),
    [
        (("liver", "normal", ""), "no phantom anatomy"),
        (("heart", "effusion", ""), "no finding"),
        (("heart", "cardiomegaly", "huge"), "no degree"),
        (("heart", "cardiomegaly", ""), "no degree"),
    ],
)
def test_a_finding_that_the_catalog_does_not_hold_is_refused(
    finding: tuple[str, str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        normal_state().with_finding(*finding)


def test_with_finding_changes_one_anatomy_alone() -> None:
    normal = normal_state()
    changed = normal.with_finding("left pleura", "effusion", "large")
    assert [name for name in ANATOMIES if changed.findings[name] != normal.findings[name]] == ["left pleura"]
    assert normal.findings["left pleura"].is_normal
