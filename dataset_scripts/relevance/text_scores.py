"""Relevance of two lists of texts, line by line or all with all, for evaluating generated reports.

Each different text is read once, each different entity is embedded once, each different pair is scored
once. The scores of `paper` are those of the package RaTEScore 0.6.0. Three things differ, on purpose: a text
from which no sentence survives scores 0.5 (the package loses its row and shifts all later pairs), entities
that are equally near are told apart by ``ratescore.tie_rank`` (the package leaves them to ``torch.topk``),
and cosines are rounded to 2^-20.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.relevance.engine.engine import RelevanceEngine
from dataset_scripts.relevance.entities import EntityExtractor
from dataset_scripts.relevance.formulas import Corpus, text_options
from dataset_scripts.relevance.ratescore import RateScoreWeights
from dataset_scripts.relevance.store.store import EntityStore


def score_texts(
    candidates: Sequence[str],
    references: Sequence[str],
    scorer: EntityExtractor,
    weights: RateScoreWeights | None = None,
    relevance: str = "paper",
    corpus: Corpus | None = None,
) -> np.ndarray:
    """Score each candidate against the reference at the same place.

    Args:
        candidates, references: n texts each. A text without entities, such as a blank one, scores 0.5.
        scorer: finds and embeds entities; `RateScoreExtractor` for the package's scores, `LexicalExtractor`
            for its arithmetic without models.
        weights: of "paper"; by default the package 0.6.0's, ``RateScoreWeights.named("long", None)``, as this
            replaces the package. Note that a built dataset's relevance has the paper's neg_weight, 0.3612.
        relevance: "paper", RaTEScore, or "content", see ``content``.
        corpus: in how many training reports each entity is, for "content"; without one entities count by type
            and severity alone.

    Returns:
        (n,) float64.

    Raises:
        ValueError: the lists differ in length, or are not lists of strings; there is no such relevance, or
            weights or a corpus are given for the other one.

    Example:
        >>> from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
        >>> texts = ["Mild cardiomegaly.", "No effusion."]
        >>> others = ["The heart is mildly enlarged.", "Small effusion."]
        >>> score_texts(texts, others, LexicalExtractor()).round(2)
        array([1.  , 0.72])
    """
    _check_texts(candidates, "candidates")
    _check_texts(references, "references")
    if len(candidates) != len(references):
        raise ValueError(
            f"there are {len(candidates):,} candidates and {len(references):,} references: line by line, "
            "each candidate needs its reference; for every candidate with every reference use "
            "score_all_pairs (--all-pairs)"
        )
    options = text_options(relevance, weights, corpus)
    engine, rows, columns = _engine(candidates, references, scorer, relevance, options)
    return engine.pairs(rows, columns)


def score_all_pairs(
    candidates: Sequence[str],
    references: Sequence[str],
    scorer: EntityExtractor,
    weights: RateScoreWeights | None = None,
    relevance: str = "paper",
    corpus: Corpus | None = None,
) -> np.ndarray:
    """Score each candidate against each reference.

    Args:
        candidates, references: n and m texts; else as of `score_texts`.
        scorer, weights, relevance, corpus: as of `score_texts`.

    Returns:
        (n, m) float32.

    Raises:
        ValueError: as of `score_texts`, whatever the lengths.
    """
    _check_texts(candidates, "candidates")
    _check_texts(references, "references")
    options = text_options(relevance, weights, corpus)
    engine, rows, columns = _engine(candidates, references, scorer, relevance, options)
    return engine.block(rows, columns)


def score_files(
    candidates: Path,
    references: Path,
    scorer: EntityExtractor,
    affinity: str | None = None,
    neg_weight: float | None = None,
    all_pairs: bool = False,
    relevance: str = "paper",
    corpus: Corpus | None = None,
) -> list[float] | list[list[float]]:
    """Score two files of one text a line; what `radir score` prints as ``{"scores": [...]}``.

    Args:
        candidates, references: UTF-8 files, see `read_lines`.
        scorer: finds and embeds entities.
        affinity: "long" (reports, the default) or "short" (sentences), of "paper".
        neg_weight: of "paper": factor on the similarity of what contradicts; None takes the matrix's own, as
            the package 0.6.0 does; 0.3612 is the paper's, and the package's up to 0.5.0.
        all_pairs: a matrix, a row a candidate, instead of line by line.
        relevance, corpus: as of `score_texts`.

    Raises:
        ValueError: a file is missing, empty or not UTF-8, the numbers of lines differ, a weight is wrong, or
            an option belongs to the other relevance.
    """
    chosen = affinity is not None or neg_weight is not None
    weights = RateScoreWeights.named(affinity or "long", neg_weight) if chosen else None
    text_options(relevance, weights, corpus)  # refuses what does not go together before files are read
    a, b = read_lines(candidates), read_lines(references)
    for path, lines in ((candidates, a), (references, b)):
        if not lines:
            raise ValueError(f"{path} is empty: it must hold one text a line")
    if not all_pairs and len(a) != len(b):
        raise ValueError(
            f"{candidates} has {len(a):,} lines and {references} has {len(b):,}: line by line, "
            "both must have as many; for every line with every line give --all-pairs"
        )
    score = score_all_pairs if all_pairs else score_texts
    return score(a, b, scorer, weights, relevance, corpus).tolist()


def read_lines(path: Path) -> list[str]:
    """Read one text a line; lines end with LF or CRLF, and by nothing else.

    A blank line is a text without entities, which scores 0.5 against everything, so that line n of one file
    stays with line n of the other. The end of line behind the last text opens no further text.

    Args:
        path: a UTF-8 file, with or without a byte order mark.

    Raises:
        ValueError: the file is missing, or not UTF-8; the sentence names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is not a file: give a text file with one text a line")
    content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return [_decoded(line.removesuffix(b"\r"), number, path) for number, line in enumerate(lines, start=1)]


def _decoded(line: bytes, number: int, path: Path) -> str:
    advice = "save the file as UTF-8, for example: iconv -f ENCODING -t UTF-8"
    if b"\0" in line:  # UTF-16 without its mark would pass as UTF-8, a letter and a NUL by turns
        raise ValueError(f"{path}, line {number}, holds a NUL byte, as UTF-16 text does: {advice}")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}, line {number}, is not UTF-8 (byte 0x{line[error.start]:02x} at column "
            f"{error.start + 1}): {advice}"
        ) from error


def _check_texts(texts: Sequence[str], name: str) -> None:
    if isinstance(texts, str):
        raise ValueError(f"{name} is one text: give a list of texts, [text] for one")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"{name}[{place}] is {type(text).__name__}, not a string: give texts, '' for a missing one"
            )
        if not _is_unicode(text):
            raise ValueError(f"{name}[{place}] holds half a surrogate pair: decode it with errors='replace'")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _engine(
    candidates: Sequence[str],
    references: Sequence[str],
    scorer: EntityExtractor,
    relevance: str,
    options: dict[str, Any],
) -> tuple[RelevanceEngine, np.ndarray, np.ndarray]:
    """Return an engine for all texts, and the store's rows of the candidates and of the references."""
    unique = {text: str(number) for number, text in enumerate(dict.fromkeys([*candidates, *references]))}
    store = EntityStore.build(((key, "", text) for text, key in unique.items()), scorer)
    rows, columns = (store.rows([unique[text] for text in side], "") for side in (candidates, references))
    if relevance == "paper":
        options = {"weights": options["weights"] or RateScoreWeights.named("long", None)}
    return RelevanceEngine.named(store, relevance, **options), rows, columns
