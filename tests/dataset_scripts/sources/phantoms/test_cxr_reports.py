"""Phantom reports: they say what the state holds, in many wordings, and leave out little."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from dataset_scripts.sources.phantoms.cxr import (
    ANATOMIES,
    key_words,
    normal_state,
    sample_state,
    write_report,
)
from dataset_scripts.sources.phantoms.cxr.report import phrases

STATES = [sample_state(11, i) for i in range(150)]
REPORTS = [write_report(state, np.random.default_rng(i)) for i, state in enumerate(STATES)]


def test_every_abnormal_finding_is_named_unless_listed_as_omitted() -> None:
    for state, report in zip(STATES, REPORTS, strict=True):
        told = {name: sentence for names, sentence in report.sentences for name in names}
        for name, finding in state.findings.items():
            if finding.is_normal:
                continue
            assert (name in report.omitted) == (name not in told)
            if name in told:
                assert any(word.lower() in told[name].lower() for word in key_words(finding)), told[name]
                assert told[name] in report.findings


def test_lateral_findings_name_their_side() -> None:
    for state, report in zip(STATES, REPORTS, strict=True):
        for names, sentence in report.sentences:
            if len(names) == 1 and ANATOMIES[names[0]].side:
                side = ANATOMIES[names[0]].side
                other = {"left": "right", "right": "left"}[side]
                assert side in sentence.lower() and other not in sentence.lower(), (
                    sentence,
                    state.findings[names[0]],
                )


def test_about_five_percent_of_the_abnormal_findings_are_omitted() -> None:
    abnormal = sum(not f.is_normal for state in STATES for f in state.findings.values())
    omitted = sum(len(report.omitted) for report in REPORTS)
    assert 0.02 < omitted / abnormal < 0.09


def test_normal_anatomies_are_often_left_unsaid_but_not_always() -> None:
    said = total = 0
    for state, report in zip(STATES, REPORTS, strict=True):
        told = {name for names, _ in report.sentences for name in names}
        normal = {name for name, finding in state.findings.items() if finding.is_normal}
        said, total = said + len(told & normal), total + len(normal)
    assert 0.25 < said / total < 0.75


def test_a_normal_study_has_a_normal_impression_and_names_no_finding() -> None:
    for seed in range(20):
        report = write_report(normal_state(), np.random.default_rng(seed))
        assert report.impression in phrases()["no_impression"]
        assert report.omitted == ()
        assert not re.search(r"there (is|are) (?!no )", report.findings.lower())


def test_one_state_is_worded_in_many_ways() -> None:
    texts = {write_report(STATES[0], np.random.default_rng(seed)).findings for seed in range(30)}
    assert len(texts) == 30


@pytest.mark.parametrize("section", ["findings", "impression"])
def test_text_is_filled_in_capitalised_and_ends_with_a_full_stop(section: str) -> None:
    for report in REPORTS:
        text = getattr(report, section)
        assert not re.search(r"[{}]|  |\ba [aeiou]", text), text
        assert text.endswith(".")
        assert all(part[0].isupper() or part[0].isdigit() for part in text.split(". ")), text


def test_every_finding_of_the_catalog_has_several_wordings() -> None:
    groups = phrases()["groups"]
    for spec in ANATOMIES.values():
        for finding in spec.findings:
            entry = groups[spec.group][finding.name]
            for part in entry.get("by_degree", {"": entry}).values():
                assert len(part["findings"]) >= 3 and part["impression"], (spec.name, finding.name)
            assert set(entry.get("degrees", ())) == set(finding.degrees), (spec.name, finding.name)
            templates = entry.get("by_degree", {"": entry}).values()
            for text in (text for part in templates for text in (*part["findings"], *part.get("hedged", ()))):
                assert any(word.lower() in text.lower() for word in entry["words"]), text


def test_reports_do_not_depend_on_the_process() -> None:
    code = "from dataset_scripts.sources.phantoms.cxr import make_study; print(make_study(3, 0, 64).findings)"
    reports = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(reports) == 1
