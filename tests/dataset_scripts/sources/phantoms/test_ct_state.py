"""The latent state of CT phantoms: independence, how sick they are, and checked findings with sizes."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from dataset_scripts.sources.phantoms.ct import ANATOMIES, PhantomCTState, normal_state, sample_state
from dataset_scripts.sources.phantoms.state import subject_number

COUNT = 3000


@pytest.fixture(scope="module")
def states() -> list[PhantomCTState]:
    """The states of one seed."""
    return [sample_state(seed=7, index=i) for i in range(COUNT)]


def test_there_are_at_least_eighteen_anatomies_each_with_several_findings() -> None:
    assert len(ANATOMIES) >= 18
    assert all(len(spec.findings) >= 2 for spec in ANATOMIES.values())


def test_anatomies_are_abnormal_independently_of_each_other(states: list[PhantomCTState]) -> None:
    sick = {
        name: np.array([not state.findings[name].is_normal for state in states], float) for name in ANATOMIES
    }
    for first, second in combinations(ANATOMIES, 2):
        # 703 pairs: five standard deviations of the correlation of independent columns
        assert abs(np.corrcoef(sick[first], sick[second])[0, 1]) < 5 / np.sqrt(COUNT), (first, second)


def test_a_study_has_four_to_six_findings_on_average_and_every_one_occurs(
    states: list[PhantomCTState],
) -> None:
    found = Counter((f.anatomy, f.name, f.degree) for state in states for f in state.findings.values())
    abnormal = sum(count for (_, name, _), count in found.items() if name != "normal")
    assert 4 < abnormal / COUNT < 6
    for name, spec in ANATOMIES.items():
        for finding in spec.findings:
            for degree in finding.degrees or ("",):
                assert found[name, finding.name, degree] > 0, (name, finding.name, degree)


def test_sizes_lie_in_the_range_of_their_degree(states: list[PhantomCTState]) -> None:
    for state in states:
        for finding in state.findings.values():
            low, high = 0, 0
            if not finding.is_normal:
                low, high = ANATOMIES[finding.anatomy].finding(finding.name).size_range_mm(finding.degree)
            assert low <= finding.size_mm <= high


def test_studies_of_a_subject_share_the_build_and_have_scans_of_their_own() -> None:
    subjects = [subject_number(3, i) for i in range(1300)]
    assert len(subjects) / len(set(subjects)) == pytest.approx(1.3)
    twice = next(subject for subject, count in Counter(subjects).items() if count > 1)
    first, second = [sample_state(3, i) for i, subject in enumerate(subjects) if subject == twice][:2]
    assert first.build == second.build
    assert first.findings != second.findings and first.scan != second.scan


@pytest.mark.parametrize(
    ("finding", "message"),
    [
        (("larynx", "normal"), "no phantom anatomy"),
        (("heart", "effusion"), "no finding"),
        (("heart", "cardiomegaly", "huge"), "no degree"),
        (("left upper lobe", "nodule", "small", 40), "expected 4 to 6"),
        (("heart", "cardiomegaly", "mild", 40), "expected 0 to 0"),
    ],
)
def test_a_finding_that_the_catalog_does_not_hold_is_refused(finding: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normal_state().with_finding(*finding)
