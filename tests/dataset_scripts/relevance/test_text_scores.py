"""Promises of the scoring functions: the formula's scores, whatever the batches; lines stay lines."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_scripts.relevance.entities import Entity
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.relevance.ratescore import (
    ENTITY_TYPES,
    EntityEmbeddings,
    RateScoreWeights,
    rate_score,
)
from dataset_scripts.relevance.text_scores import read_lines, score_all_pairs, score_files, score_texts

LEXICAL = LexicalExtractor()
A = ["Mild cardiomegaly.", "", "No pleural effusion or pneumothorax.", "Mild cardiomegaly.", "Clear lungs."]
B = ["The heart is mildly enlarged.", "Small effusion.", "Small effusion.", "Severe edema.", "???"]


def one_by_one(a: Sequence[str], b: Sequence[str], scorer: Any, weights: RateScoreWeights) -> list[float]:
    """The reference: each text read by itself, each pair by the plain formula."""
    scores = []
    for pair in zip(a, b, strict=True):
        sides = []
        for found in (scorer.extract([text])[0] for text in pair):
            types = np.array([ENTITY_TYPES.index(entity.type) for entity in found], int)
            sides.append(EntityEmbeddings(scorer.embed([entity.text for entity in found]), types))
        scores.append(rate_score(*sides, weights))
    return scores


@pytest.fixture(scope="module")
def reports(shared_data: Path) -> list[str]:
    with (shared_data / "open-i" / "indiana_reports.csv").open(newline="", encoding="utf-8") as file:
        texts = [row["findings"] for row in csv.DictReader(file) if row["findings"]]
    return texts[:60]


@pytest.mark.parametrize("neg_weight", [0.3612, None])
@pytest.mark.parametrize("affinity", ["long", "short"])
def test_line_by_line_equals_the_formula(reports: list[str], affinity: str, neg_weight: float | None) -> None:
    weights = RateScoreWeights.named(affinity, neg_weight)
    a, b = [*A, *reports], [*B, *reports[7:], *reports[:7]]
    scores = score_texts(a, b, LEXICAL, weights)
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(scores, one_by_one(a, b, LEXICAL, weights))


def test_repeated_lines_have_the_score_of_one(reports: list[str]) -> None:
    a, b = [text for text in reports[:12] for _ in range(60)], reports * 12
    found = score_texts(a, b, LEXICAL)
    np.testing.assert_array_equal(found[::37], score_texts(a[::37], b[::37], LEXICAL))


def test_the_default_is_that_of_the_package_and_the_papers_is_a_choice() -> None:
    default = score_texts(A, B, LEXICAL)
    package, paper = (one_by_one(A, B, LEXICAL, RateScoreWeights.named("long", n)) for n in (None, 0.3612))
    np.testing.assert_array_equal(default, package)
    assert np.abs(default - paper).max() > 0.05


def tied(a: str, b: str, scorer: Any) -> bool:
    """Whether an entity of either text has two nearest matches of different types: the package may choose."""
    vectors, types = [], []
    for found in scorer.extract([a, b]):
        vectors.append(scorer.embed([entity.text for entity in found]).astype(float))
        types.append(np.array([entity.type for entity in found]))
    cosines = vectors[0] @ vectors[1].T
    for nearness, others in ((cosines, types[1]), (cosines.T, types[0])):
        near = nearness > nearness.max(axis=1, keepdims=True, initial=-1) - 1e-5
        if any(len(set(others[row])) > 1 for row in near):
            return True
    return False


@pytest.mark.parametrize("affinity", ["long", "short"])
def test_it_is_the_package_with_the_same_models(affinity: str, reports: list[str], tmp_path: Path) -> None:
    logger = pytest.importorskip("loguru").logger
    logger.disable("PyRuSH")
    package = pytest.importorskip("RaTEScore").RaTEScore
    rate_scorer = pytest.importorskip("dataset_scripts.relevance.neural.extractor")
    models = pytest.importorskip("tests.made_up.rate_models")
    safetensors = pytest.importorskip("safetensors.torch")
    ner, encoder = (str(path) for path in (tmp_path / "ner", tmp_path / "encoder"))
    words = sorted({word for report in reports for word in re.findall("[A-Za-z]+", report)})
    models.save_ner(tmp_path / "ner", 1, words=words, layers=1)
    models.save_encoder(tmp_path / "encoder", 2, words=words)
    # Without attention a word has the same label everywhere, so that equal entities of two types are rare.
    weights_file = tmp_path / "ner" / "model.safetensors"
    tensors = safetensors.load_file(weights_file)
    for name in (name for name in tensors if "attention.output.dense.weight" in name):
        tensors[name].zero_()
    safetensors.save_file(tensors, weights_file, metadata={"format": "pt"})
    theirs = package(bert_model=ner, eval_model=encoder, use_gpu=False, affinity_matrix=affinity)
    scorer = rate_scorer.RateScoreExtractor(ner=ner, encoder=encoder, device="cpu")
    a, b = reports[:30], reports[30:]
    expected = np.array(theirs.compute_score(a, b))
    weights = RateScoreWeights.named(affinity, None)
    # Line 7 is blank in ours, and must not shift the rest, as it would in the package.
    ours = score_texts([*a[:6], "", *a[6:]], [*b[:6], "No edema.", *b[6:]], scorer, weights)
    assert ours[6] == 0.5
    sound = np.array([not tied(*pair, scorer) for pair in zip(a, b, strict=True)])
    assert sound.sum() >= 20
    np.testing.assert_allclose(np.delete(ours, 6)[sound], expected[sound], atol=1e-5)


def test_all_pairs_are_the_lines_of_every_combination() -> None:
    table = score_all_pairs(A, B[:3], LEXICAL)
    assert table.shape == (5, 3)
    expected = [score_texts(A, [text] * 5, LEXICAL) for text in B[:3]]
    np.testing.assert_allclose(table, np.transpose(expected), atol=1e-5)


def test_it_is_symmetric_one_for_equals_and_one_half_without_entities(reports: list[str]) -> None:
    np.testing.assert_array_equal(score_texts(A, B, LEXICAL), score_texts(B, A, LEXICAL))
    told = [text for text, found in zip(reports, LEXICAL.extract(reports), strict=True) if found]
    np.testing.assert_allclose(score_texts(told, told, LEXICAL), 1.0, atol=1e-12)
    np.testing.assert_array_equal(score_texts(["", " ", "--"], ["No edema.", "", "??"], LEXICAL), 0.5)


def test_an_empty_text_does_not_shift_the_rest() -> None:
    full = score_texts([A[0], A[2]], [B[0], B[2]], LEXICAL)
    np.testing.assert_array_equal(score_texts([A[0], "", A[2]], [B[0], "", B[2]], LEXICAL)[[0, 2]], full)


class CountingExtractor:
    """The lexical scorer, counting what it is asked."""

    name, parameters = LEXICAL.name, LEXICAL.parameters

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.entities: list[str] = []

    def extract(self, texts: Sequence[str]) -> list[list[Entity]]:
        self.texts += texts
        return LEXICAL.extract(texts)

    def embed(self, entity_texts: Sequence[str]) -> np.ndarray:
        self.entities += entity_texts
        return LEXICAL.embed(entity_texts)


@pytest.mark.parametrize("score", [score_texts, score_all_pairs])
def test_each_text_is_read_once_and_each_entity_embedded_once(score: Any) -> None:
    counting = CountingExtractor()
    score(A * 3, B * 3, counting)
    assert sorted(counting.texts) == sorted(set(A + B))
    assert len(counting.entities) == len(set(counting.entities))


def test_equally_near_entities_prefer_their_own_type() -> None:
    both = ["Effusion. No effusion.", "No effusion. Effusion."]
    a, b = [*both, *both, *both], [*both[::-1], "Effusion.", "No effusion.", *both]
    scores = score_texts(a, b, LEXICAL)
    np.testing.assert_array_equal(scores, one_by_one(a, b, LEXICAL, RateScoreWeights.named("long", None)))
    np.testing.assert_array_equal(scores[4:], 1.0)


def test_no_texts_give_no_scores() -> None:
    assert score_texts([], [], LEXICAL).shape == (0,)
    assert score_all_pairs([], ["No edema."], LEXICAL).shape == (0, 1)


@pytest.mark.parametrize("score", [score_texts, score_all_pairs])
def test_what_is_no_list_of_texts_is_refused(score: Any) -> None:
    with pytest.raises(ValueError, match="give a list of texts"):
        score("No edema.", ["No edema."], LEXICAL)
    with pytest.raises(ValueError, match=r"references\[1\] is NoneType"):
        score(["a", "b"], ["a", None], LEXICAL)
    with pytest.raises(ValueError, match=r"candidates\[0\] holds half a surrogate pair"):
        score(["\ud800"], ["a"], LEXICAL)


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"5 candidates and 2 references.*--all-pairs"):
        score_texts(A, B[:2], LEXICAL)


def written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"one\n\ntwo", ["one", "", "two"]),
        (b"\n\n", ["", ""]),
        (b"", []),
        (b"\xef\xbb\xbfone\n", ["one"]),
        ("é\u2028ü\x0bx\x85y\n".encode(), ["é\u2028ü\x0bx\x85y"]),  # only line feeds end a line
    ],
)
def test_lines(content: bytes, lines: list[str], tmp_path: Path) -> None:
    assert read_lines(written(tmp_path, "a.txt", content)) == lines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("gut\nnormal größe\n".encode("latin-1"), r"line 2, is not UTF-8 \(byte 0xf6 at column 10\).*iconv"),
        ("gut\n".encode("utf-16"), r"line 1, .*iconv"),
        ("gut\n".encode("utf-16-le"), r"line 1, holds a NUL byte.*iconv"),
    ],
)
def test_other_encodings_are_refused_with_the_line(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_lines(written(tmp_path, "a.txt", content))


def test_files_are_scored_line_by_line_or_all_with_all(tmp_path: Path) -> None:
    a = written(tmp_path, "a.txt", "\n".join(A).encode())
    b = written(tmp_path, "b.txt", "\r\n".join(B).encode())
    np.testing.assert_array_equal(score_files(a, b, LEXICAL), score_texts(A, B, LEXICAL))
    table = np.array(score_files(a, b, LEXICAL, all_pairs=True))
    np.testing.assert_allclose(table, score_all_pairs(A, B, LEXICAL))
    paper = score_files(a, b, LEXICAL, affinity="short", neg_weight=0.3612)
    weights = RateScoreWeights.named("short", 0.3612)
    np.testing.assert_array_equal(paper, score_texts(A, B, LEXICAL, weights))
    assert all(isinstance(score, float) for score in paper)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    a, b = written(tmp_path, "a.txt", b"x\ny\n"), written(tmp_path, "b.txt", b"x\n")
    with pytest.raises(ValueError, match=r"a.txt has 2 lines and .*b.txt has 1.*--all-pairs"):
        score_files(a, b, LEXICAL)
    assert np.shape(score_files(a, b, LEXICAL, all_pairs=True)) == (2, 1)
    with pytest.raises(ValueError, match=r"empty\.txt is empty"):
        score_files(a, written(tmp_path, "empty.txt", b""), LEXICAL)
    with pytest.raises(ValueError, match="not a file"):
        score_files(a, tmp_path / "none.txt", LEXICAL)
    with pytest.raises(ValueError, match="'long' or 'short'"):
        score_files(a, a, LEXICAL, affinity="medium")
