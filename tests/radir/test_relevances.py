"""`radir score`, `search` and a build, as a user asks for the relevance by content."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.relevance.formulas import Corpus
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.relevance.text_scores import score_texts
from radir import cli
from tests.made_up.old_store import as_version_2
from tests.made_up.open_i import built_open_i

TEXTS = ("Mild cardiomegaly.", "Heart size is normal.", "Small left effusion. No pneumothorax.")
OTHERS = ("The heart is mildly enlarged. No effusion.", "No cardiomegaly.", "No effusion.")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_open_i(tmp_path_factory.mktemp("data"))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    (tmp_path / "b.txt").write_text("\n".join(OTHERS))
    return tmp_path / "a.txt", tmp_path / "b.txt"


def run(*arguments: object, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
    monkeypatch.setattr(sys, "argv", ["radir", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert (stopped.value.code or 0) == code


def test_score_by_content_follows_what_is_affirmed(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("score", *files, "--relevance", "content", "--json", monkeypatch=monkeypatch)
    answer = json.loads(capsys.readouterr().out)
    expected = score_texts(TEXTS, OTHERS, LexicalExtractor(), relevance="content")
    assert answer == {"relevance": "content", "scores": expected.tolist()}
    assert answer["scores"][0] > 0.9
    assert answer["scores"][1:] == [1.0, 0.0]
    run("score", *files, monkeypatch=monkeypatch)
    paper = [float(line) for line in capsys.readouterr().out.split()]
    np.testing.assert_allclose(paper, score_texts(TEXTS, OTHERS, LexicalExtractor()), atol=1e-6)


def test_a_corpus_says_what_is_rare(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts, others = ["Mild cardiomegaly. Left effusion."], ["Mild cardiomegaly. Scoliosis."]
    files = tmp_path / "a.txt", tmp_path / "b.txt"
    files[0].write_text(texts[0])
    files[1].write_text(others[0])
    store = BuiltDataset(dataset).entities()
    corpus = Corpus.of(store)
    assert corpus.total == len(BuiltDataset(dataset).studies("train").unique("study_id"))
    assert 0 < max(corpus.reports.values()) <= corpus.total
    run("score", *files, "--relevance", "content", "--corpus", dataset, "--json", monkeypatch=monkeypatch)
    found = json.loads(capsys.readouterr().out)["scores"]
    expected = score_texts(texts, others, LexicalExtractor(), relevance="content", corpus=corpus)
    assert found == expected.tolist()
    assert found != score_texts(texts, others, LexicalExtractor(), relevance="content").tolist()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--corpus", "{data}"), "--corpus belongs to --relevance content"),
        (("--relevance", "content", "--affinity", "short"), "belong to the relevance `paper`"),
        (("--relevance", "content", "--neg-weight", "0.5"), "belong to the relevance `paper`"),
        (("--relevance", "content", "--corpus", "/nowhere"), "/nowhere"),
        (("--relevance", "wording"), "'paper', 'content'"),
    ],
)
def test_options_that_do_not_go_together_end_with_a_sentence(
    options: tuple[str, ...],
    said: str,
    dataset: Path,
    files: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [option.format(data=dataset) for option in options]
    run("score", *files, *words, monkeypatch=monkeypatch, code=2)
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert said in error


def test_a_search_without_findings_has_nothing_to_compare(
    dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("search", "--index", dataset, "--image", dataset, "--relevance", "content", code=2,
        monkeypatch=monkeypatch)  # fmt: skip
    assert "--findings TEXT" in capsys.readouterr().err


def test_a_built_dataset_holds_both_relevances_over_one_table(dataset: Path) -> None:
    data = BuiltDataset(dataset)
    paper, content = data.engine_for("paper"), data.engine_for("content")
    assert paper is data.engine
    assert content is data.engine_for("content")
    assert (paper.relevance, content.relevance) == ("paper", "content")
    rows = np.arange(len(paper.store))
    pairs = content.pairs(rows, rows[::-1])
    expected = [content.pair(int(row), int(column)) for row, column in zip(rows, rows[::-1], strict=True)]
    np.testing.assert_array_equal(pairs, expected)
    assert content.store is paper.store
    with pytest.raises(ValueError, match="There is no relevance 'bleu'"):
        data.engine_for("bleu")


def test_a_dataset_of_the_version_before_serves_the_papers_relevance_alone(tmp_path: Path) -> None:
    folder = built_open_i(tmp_path)
    as_version_2(folder / "entities")
    data = BuiltDataset(folder)
    assert data.engine_for("paper").relevance == "paper"
    with pytest.raises(ValueError, match="build the dataset again"):
        data.engine_for("content")


def test_the_card_says_how_the_content_relevance_is_had(dataset: Path) -> None:
    assert 'engine_for("content")' in (dataset / "README.md").read_text()
