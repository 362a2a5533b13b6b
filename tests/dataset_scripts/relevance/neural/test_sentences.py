"""Promises of the sentence splitter: the package's sentences, on real and on odd texts."""

import csv
import random
from pathlib import Path

import pytest

from dataset_scripts.relevance.neural import sentences as rate_sentences
from dataset_scripts.relevance.neural.sentences import SentenceSplitter, split_texts, splitter_parameters

pytest.importorskip("medspacy")

ODD = [
    "",
    " \n\t ",
    "No.",
    "No",
    "a",
    "...",
    "?! ) ]",
    "The heart is normal.No effusion.Lungs\nare clear",
    "FINDINGS:\n\n1. Heart normal.\n2. No effusion\n\n\n   3) Dr. Smith was told at 3.15 p.m. by phone.",
    "El corazón es normal. No hay derrame. Die Lunge ist frei. 心臓は正常です。胸水なし。",
    "心臓は正常です。",
    "Сердце не увеличено. Плевральный выпот не определяется.",
    "The heart is\u00a0normal.\u2003No effusion. \U0001fac1 Lungs clear \\ (see above).",
]


@pytest.fixture(scope="module")
def package():
    pytest.importorskip("loguru").logger.disable("PyRuSH")
    return pytest.importorskip("RaTEScore.utils").sentence_split


def real_texts(shared_data: Path) -> list[str]:
    with (shared_data / "open-i" / "indiana_reports.csv").open(encoding="utf-8") as file:
        open_i = [row[name] for row in csv.DictReader(file) for name in ("findings", "impression")]
    with (shared_data / "ct-reports" / "reports.csv").open(encoding="utf-8") as file:
        ct = [row["findings"] for row in csv.DictReader(file)]
    texts = list(dict.fromkeys([*open_i, *ct]))
    assert len(texts) > 3000
    return texts


def assert_equal(texts: list[str], package) -> None:
    for text, ours in zip(texts, split_texts(texts), strict=True):
        assert ours == package([text])[0], text


def test_equals_the_package_on_odd_texts(package) -> None:
    assert_equal(ODD, package)


def test_equals_the_package_on_random_characters(package) -> None:
    draw = random.Random(0)
    characters = 'abNo A.1!?:,;-\n\n\t )(]"é中。\u00a0'
    assert_equal(["".join(draw.choices(characters, k=draw.randint(0, 40))) for _ in range(1500)], package)


def test_equals_the_package_on_some_real_texts(package, shared_data: Path) -> None:
    texts = real_texts(shared_data)
    assert_equal([*texts[:120], *(text[:600] for text in texts[-20:])], package)


@pytest.mark.slow
def test_equals_the_package_on_all_real_texts(package, shared_data: Path) -> None:
    assert_equal(real_texts(shared_data), package)


def test_what_is_remembered_does_not_change_the_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text for text in ODD if text.strip()]
    warm = SentenceSplitter()
    first = [warm(text) for text in texts]
    assert [warm(text) for text in texts] == first  # now from memory
    monkeypatch.setattr(rate_sentences, "_KEPT", 0)
    cold = SentenceSplitter()
    assert [cold(text) for text in texts] == first


def test_a_text_of_ten_thousand_words_splits() -> None:
    sentences = SentenceSplitter()("The heart is normal in size. No pleural effusion. " * 1112)
    assert len(sentences) == 2224


def test_the_rules_and_the_version_are_recorded() -> None:
    parameters = splitter_parameters()
    assert sorted(parameters) == ["pyrush", "rules"]
    assert len(parameters["rules"]) == 64


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_sentences.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"radir\[ratescore\]"):
        SentenceSplitter()
