"""Phantom CT reports: every sentence tells of the state in words that mining links to the right anatomy."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from dataset_scripts.mining.findings import FindingsMiner
from dataset_scripts.sources.phantoms.ct import (
    ANATOMIES,
    normal_state,
    sample_state,
    write_report,
    writer,
)
from dataset_scripts.sources.phantoms.state import Finding, make_finding

MINER = FindingsMiner()
PHRASES = writer().phrases
STATES = [sample_state(11, i) for i in range(150)]
REPORTS = [write_report(state, np.random.default_rng(i)) for i, state in enumerate(STATES)]
OTHER_SIDE = {"left": "right", "right": "left"}
# normal sentences about the whole of several anatomies ("the lungs are clear") say it without naming them
WHOLES = {"lobe": "lungs"}


def mined_name(anatomy: str, finding: str) -> str:
    """The ontology's name for where a finding must be mined."""
    side = finding.split()[0]
    if anatomy == "ribs" and side in OTHER_SIDE:
        return f"{side} ribs"
    return anatomy if anatomy in MINER.ontology.names else anatomy.split(" ", 1)[1]


def wordings() -> Iterator[tuple[str, Finding, str]]:
    """Every template of the findings and impression with every word of every degree: kind, finding, text."""
    for name, spec in ANATOMIES.items():
        yield from _filled(make_finding(ANATOMIES, name))
        for finding in spec.findings:
            for degree in finding.degrees or ("",):
                yield from _filled(make_finding(ANATOMIES, name, finding.name, degree))


def _filled(finding: Finding) -> Iterator[tuple[str, Finding, str]]:
    spec = ANATOMIES[finding.anatomy]
    entry = PHRASES["groups"][spec.group][finding.name]
    templates = entry.get("by_degree", {}).get(finding.degree, entry)
    words = entry["degrees"][finding.degree] if finding.degree else [""]
    for kind in ("findings", "hedged", "impression"):
        for template in templates.get(kind, ()):
            for word in words:
                text = template.format(
                    side=spec.side, degree=word, place=finding.anatomy, size=f"{finding.size_mm} mm"
                )
                yield kind, finding, text


def test_every_wording_is_mined_for_its_anatomy_and_never_for_the_other_side() -> None:
    count = 0
    for _, finding, text in wordings():
        mined = MINER.mine(text)
        name = mined_name(finding.anatomy, finding.name)
        assert name in mined, (name, text, MINER.link(text))
        assert mined[name] == text  # one sentence, not cut
        if name.split()[0] in OTHER_SIDE:
            other = OTHER_SIDE[name.split()[0]]
            assert not [a for a in mined if a.startswith(other + " ")], text
        count += 1
    assert count > 1000


def test_whole_reports_are_mined_for_every_anatomy_that_they_speak_of() -> None:
    for state, report in zip(STATES, REPORTS, strict=True):
        mined = MINER.mine(report.findings)
        for names, sentence in report.sentences:
            for name in names:
                finding = state.findings[name]
                found = mined_name(name, finding.name)
                if len(names) > 2 and finding.is_normal:
                    found = WHOLES.get(ANATOMIES[name].group, found)
                assert sentence in mined[found], (found, sentence)


def test_every_abnormal_finding_is_named_with_its_size_unless_listed_as_omitted() -> None:
    sizes = 0
    for state, report in zip(STATES, REPORTS, strict=True):
        told = {name: sentence for names, sentence in report.sentences for name in names}
        for name, finding in state.findings.items():
            if finding.is_normal:
                continue
            assert (name in report.omitted) == (name not in told)
            if name in told:
                assert any(word.lower() in told[name].lower() for word in writer().key_words(finding)), told[
                    name
                ]
            found = re.search(r"([\d.]+) (mm|cm)", told.get(name, ""))
            if found:
                assert float(found[1]) * {"mm": 1, "cm": 10}[found[2]] == pytest.approx(finding.size_mm)
                sizes += 1
    assert sizes > 100


def test_lateral_findings_name_their_side() -> None:
    for report in REPORTS:
        for names, sentence in report.sentences:
            side = ANATOMIES[names[0]].side
            if len(names) == 1 and side:
                assert side in sentence.lower() and OTHER_SIDE[side] not in sentence.lower(), sentence


def test_a_normal_study_names_no_finding() -> None:
    for seed in range(20):
        report = write_report(normal_state(), np.random.default_rng(seed))
        assert report.impression in PHRASES["no_impression"]
        assert not re.search(r"there (is|are) (?!no )|\d (mm|cm)", report.findings.lower())


def test_reports_of_many_studies_are_all_different() -> None:
    assert len({report.findings for report in REPORTS}) == len(REPORTS)


@pytest.mark.parametrize("section", ["findings", "impression"])
def test_text_is_filled_in_capitalised_and_ends_with_a_full_stop(section: str) -> None:
    for report in REPORTS:
        text = getattr(report, section)
        assert not re.search(r"[{}]|  |\b[Aa] [aeiou8]|\b[Aa] 1[18] ", text), text
        assert text.endswith(".")
        assert all(part[0].isupper() or part[0].isdigit() for part in text.split(". ")), text


def test_every_finding_has_several_wordings_that_hold_its_words() -> None:
    for kind, finding, text in wordings():
        if kind != "impression" and not finding.is_normal:
            assert any(word.lower() in text.lower() for word in writer().key_words(finding)), text
    for spec in ANATOMIES.values():
        for found in spec.findings:
            entry = PHRASES["groups"][spec.group][found.name]
            assert set(entry.get("degrees", ())) == set(found.degrees), (spec.name, found.name)
            for part in entry.get("by_degree", {"": entry}).values():
                assert len(part["findings"]) >= 3 and part["impression"], (spec.name, found.name)


def test_reports_do_not_depend_on_the_process() -> None:
    code = (
        "from dataset_scripts.sources.phantoms.ct import make_study\n"
        "s = make_study(3, 0, (16, 32, 32)); print(s.findings, s.impression, s.volume.sum())"
    )
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
