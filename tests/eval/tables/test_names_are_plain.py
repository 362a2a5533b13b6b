"""Names that people chose never become markup: in tables, cards and pages."""

import re
from pathlib import Path

import pytest
from radir_eval.benchmark import Protocol, evaluate_models
from radir_eval.rankers.vectors import ParquetEmbeddings

from dataset_scripts.plumbing.markdown import code, fenced, plain
from radir.publishing.model_card import model_card
from radir.publishing.model_results import ModelResults
from tests.eval.conftest import FakeDataset
from tests.made_up.model import model_folder, results_file

HOSTILE = "<img src=x onerror=y>|`a` [x](javascript:alert(1)) **b**\n# c &lt; _d_ \\end{table}%$"


@pytest.mark.parametrize("text", ["left lung", "radir_cxr-2", "51.20 [48.00, 54.10]", "R@5 & a", "-", "0.5"])
def test_plain_names_stay_as_they_are(text: str) -> None:
    assert plain(text) == text


def test_markup_is_shown_and_not_read() -> None:
    shown = plain(HOSTILE)
    assert "<" not in shown and "\n" not in shown and "](" not in shown.replace("\\](", "")
    assert not re.search(r"(?<!\\)[|`*]", shown)
    assert "&amp;lt;" in shown
    assert code("a`b|c\nd") == "`a'b\\|c d`"
    assert fenced("a\n```\nb", "yaml") == "````yaml\na\n```\nb\n````"


def test_tables_hold_no_markup_of_a_model_s_or_a_dataset_s_name(
    vectors_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = FakeDataset()
    monkeypatch.setattr(dataset, "name", HOSTILE, raising=False)
    protocol = Protocol(bootstrap_draws=10, randomisations=10, ks_unconditional=(5,), ks_conditional=(3,))
    evaluate_models(
        dataset, "test", [ParquetEmbeddings(vectors_file, HOSTILE)], protocol, tmp_path, progress=False
    )
    markdown = (tmp_path / "tables.md").read_text()
    assert "<img" not in markdown and "\n# c" not in markdown and " [x](" not in markdown
    widths = {
        line.replace("\\|", "").count("|") for line in markdown.split("## ")[1].splitlines() if "|" in line
    }
    assert len(widths) == 1  # a row has as many cells as its heads
    latex = (tmp_path / "tables.tex").read_text()
    assert "\\end{table}\\%" not in latex and "\\textbackslash{}end\\{table\\}\\%\\$" in latex
    assert not any(line.startswith("#") for line in latex.splitlines())


def test_a_card_holds_no_markup_of_a_training_s_names(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "a`b<img>", licence=HOSTILE, note="a\n\n```\n<img src=x>")
    results = results_file(tmp_path / "results.json", folder.name, dataset=HOSTILE)
    card = model_card(folder, ModelResults.read(results, folder.name), "user/a`b<img>")
    body = card.split("---\n", 2)[2]
    outside = re.sub(r"(?s)(`{3,})\w*\n.*?\n\1\n", "", body)
    assert "<img" not in outside
    assert " [x](" not in outside
