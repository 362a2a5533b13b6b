"""`radir read` shows what was understood of a text."""

import io
import json
import sys

import pytest

from radir import cli

REPORT = """\
INDICATION: Rule out pneumonia.
FINDINGS:
LUNGS: Clear.
PLEURA: Previously large left effusion, now small.
IMPRESSION: No PTX.
"""


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
    monkeypatch.setattr(sys, "argv", ["radir", "read", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert (stopped.value.code or 0) == code


def test_a_sentence_is_shown_as_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("Possible new RUL pneumonia. No effusion.", monkeypatch=monkeypatch)
    header, first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header == ["concept", "kind", "anatomies", "side", "status", "change"]
    assert first == ["pneumonia", "disease", "right", "upper", "lobe", "right", "possible", "new"]
    assert second == ["effusion", "disease", "pleura", "absent"]


def test_of_a_report_the_findings_and_the_impression_are_read_and_the_others_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(REPORT.encode())))
    run("-", "--json", monkeypatch=monkeypatch)
    answer = json.loads(capsys.readouterr().out)
    assert answer["sentences"] == [
        "LUNGS: Clear.",
        "PLEURA: Previously large left effusion, now small.",
        "No PTX.",
    ]
    told = [(m["section"], m["concept"], m["status"], m["degree"]) for m in answer["mentions"]]
    assert told == [
        ("findings", "consolidation", "absent", ""),
        ("findings", "effusion", "present", "mild"),
        ("impression", "pneumothorax", "absent", ""),
    ]
    assert answer["not_read"] == ["indication"]


@pytest.mark.parametrize("text", ["", " \n", "..."])
def test_a_text_without_words_ends_with_a_sentence(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(text, monkeypatch=monkeypatch, code=2)
    assert "the text is empty" in capsys.readouterr().err


def test_a_text_without_findings_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("Thank you.", monkeypatch=monkeypatch)
    assert "No finding, anatomy or device was found" in capsys.readouterr().out
