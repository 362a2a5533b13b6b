"""RaTEScore of two lists of texts, line by line or all with all, for evaluating generated reports.

The scores are those of the package RaTEScore 0.6.0, batched: each different text is read once, each
different entity is embedded once, each different pair is scored once. Three things differ, on purpose: a text
from which no sentence survives scores 0.5 (the package loses its row and shifts all later pairs), entities
that are equally near are told apart by ``ratescore.tie_rank`` (the package leaves them to ``torch.topk``),
and cosines are rounded to 2^-20.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dataset_scripts.entities import ENTITY_TYPES
from dataset_scripts.ratescore import (
    NO_ENTITIES_SCORE,
    OPPOSED,
    SIMILARITY_STEPS,
    RateScoreWeights,
    similarity,
    tie_rank,
)
from dataset_scripts.relevance import RelevanceEngine
from dataset_scripts.store import EntityStore, Scorer

_RANKS = len(ENTITY_TYPES) + 1  # of a tie
_TIE_RANKS = np.array([[tie_rank(q, m) for m in range(5)] for q in range(5)], dtype=np.int32)
_BUDGET_BYTES = 64 * 2**20  # working memory for a batch of pairs
_TABLE_MAX_BYTES = 256 * 2**20  # an entity x entity table may take this much: 8,192 entities


def score_texts(
    candidates: Sequence[str],
    references: Sequence[str],
    scorer: Scorer,
    weights: RateScoreWeights | None = None,
) -> np.ndarray:
    """Score each candidate against the reference at the same place.

    Args:
        candidates, references: n texts each. A text without entities, such as a blank one, scores 0.5.
        scorer: finds and embeds entities; `RateScorer` for the package's scores, `LexicalScorer` for its
            arithmetic without models.
        weights: by default the package 0.6.0's, ``RateScoreWeights.named("long", None)``, as this replaces
            the package. Note that a built dataset's relevance has the paper's neg_weight, 0.3612.

    Returns:
        (n,) float64.

    Raises:
        ValueError: the lists differ in length, or are not lists of strings.

    Example:
        >>> from dataset_scripts.entities import LexicalScorer
        >>> texts = ["Mild cardiomegaly.", "No effusion."]
        >>> score_texts(texts, ["The heart is mildly enlarged.", "Small effusion."], LexicalScorer()).round(2)
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
    store, rows, columns = _store(candidates, references, scorer)
    return _score_pairs(store, rows, columns, weights or RateScoreWeights.named("long", None))


def score_all_pairs(
    candidates: Sequence[str],
    references: Sequence[str],
    scorer: Scorer,
    weights: RateScoreWeights | None = None,
) -> np.ndarray:
    """Score each candidate against each reference.

    Args:
        candidates, references: n and m texts; else as of `score_texts`.
        scorer, weights: as of `score_texts`.

    Returns:
        (n, m) float32.

    Raises:
        ValueError: the arguments are not lists of strings.
    """
    _check_texts(candidates, "candidates")
    _check_texts(references, "references")
    store, rows, columns = _store(candidates, references, scorer)
    engine = RelevanceEngine(store, weights or RateScoreWeights.named("long", None))
    return engine.block(rows, columns)


def score_files(
    candidates: Path,
    references: Path,
    scorer: Scorer,
    affinity: str = "long",
    neg_weight: float | None = None,
    all_pairs: bool = False,
) -> list[float] | list[list[float]]:
    """Score two files of one text a line; what `radir score` prints as ``{"scores": [...]}``.

    Args:
        candidates, references: UTF-8 files, see `read_lines`.
        scorer: finds and embeds entities.
        affinity: "long" (reports) or "short" (sentences).
        neg_weight: factor on the similarity of what contradicts; None takes the matrix's own, as the package
            0.6.0 does; 0.3612 is the paper's, and the package's up to 0.5.0.
        all_pairs: a matrix, a row a candidate, instead of line by line.

    Raises:
        ValueError: a file is missing, empty or not UTF-8, the numbers of lines differ, or a weight is wrong.
    """
    weights = RateScoreWeights.named(affinity, neg_weight)
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
    return score(a, b, scorer, weights).tolist()


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


def _store(
    candidates: Sequence[str], references: Sequence[str], scorer: Scorer
) -> tuple[EntityStore, np.ndarray, np.ndarray]:
    """Return the entities of all texts, and the store's rows of the candidates and of the references."""
    unique = {text: str(number) for number, text in enumerate(dict.fromkeys([*candidates, *references]))}
    store = EntityStore.build(((key, "", text) for text, key in unique.items()), scorer)
    return (
        store,
        store.rows([unique[text] for text in candidates], ""),
        store.rows([unique[text] for text in references], ""),
    )


def _score_pairs(
    store: EntityStore, rows: np.ndarray, columns: np.ndarray, weights: RateScoreWeights
) -> np.ndarray:
    """Return the RaTEScore of text rows[i] with text columns[i]: (n,) float64.

    Equal to ``ratescore.rate_score``; different pairs are scored once, in batches of one shape.
    """
    # The score is symmetric: one number stands for the pair whichever way round.
    codes = np.minimum(rows, columns) * len(store) + np.maximum(rows, columns)
    unique, inverse = np.unique(codes, return_inverse=True)
    left, right = np.divmod(unique, max(1, len(store)))
    lengths = np.diff(store.indptr)
    shapes = np.stack([lengths[left], lengths[right]])  # (2, P): entities on either side
    scores = np.full(len(unique), NO_ENTITIES_SCORE)
    similarities = _Similarities(store, float((shapes[0] * shapes[1]).sum()))
    for batch in _batches(shapes, store.embeddings.shape[1]):
        sides = (_ids(store, left[batch]), _ids(store, right[batch]))
        types = [np.asarray(store.entity_types)[ids].astype(np.int64) for ids in sides]
        steps = similarities(*sides)  # (b, n, m)
        forward = _directed(steps, types[0], types[1], weights)
        backward = _directed(steps.transpose(0, 2, 1), types[1], types[0], weights)
        total = forward + backward
        scores[batch] = np.divide(2.0 * forward * backward, total, out=np.zeros_like(total), where=total != 0)
    return scores[inverse.reshape(-1)]


def _batches(shapes: np.ndarray, dimension: int) -> Iterator[np.ndarray]:
    """Cut the pairs into batches of one shape within the budget; those without entities are left out.

    Args:
        shapes: (2, P) int, numbers of entities.
        dimension: of an embedding.

    Yields:
        Positions of pairs, (b,) int64.
    """
    order = np.lexsort(shapes)
    order = order[(shapes[:, order] > 0).all(axis=0)]
    if not len(order):
        return
    edges = np.flatnonzero(np.diff(shapes[:, order], axis=1).any(axis=0)) + 1
    for group in np.split(order, edges):
        n, m = (int(count) for count in shapes[:, group[0]])
        # float64 vectors of both sides, then for each pair of entities cosine, steps, key and a copy
        size = max(1, _BUDGET_BYTES // (8 * (n + m) * dimension + 40 * n * m))
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _ids(store: EntityStore, rows: np.ndarray) -> np.ndarray:
    """Return the entity ids of texts that have equally many: (b, n) int64."""
    start = np.asarray(store.indptr)[rows]
    count = int(store.indptr[rows[0] + 1] - start[0])
    return np.asarray(store.entity_ids)[start[:, None] + np.arange(count)].astype(np.int64)


class _Similarities:
    """Similarities of entities in whole steps of 2^-20: from a table of all if that is the lesser work.

    Args:
        store: the entities.
        wanted: how many will be asked for, counted with repetitions.
    """

    def __init__(self, store: EntityStore, wanted: float) -> None:
        self._embeddings = store.embeddings
        count = len(store.entity_texts)
        self._table: np.ndarray | None = None
        if count**2 <= wanted and 4 * count**2 <= _TABLE_MAX_BYTES:
            self._table = np.empty((count, count), dtype=np.int32)
            for start in range(0, count, 512):
                part = slice(start, start + 512)
                self._table[part] = _steps(similarity(self._embeddings[part], self._embeddings))

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return (b, n, m) int32 for entity ids (b, n) and (b, m)."""
        if self._table is not None:
            return self._table[left[:, :, None], right[:, None, :]]
        vectors = [np.asarray(self._embeddings)[ids].astype(np.float64) for ids in (left, right)]
        return _steps(vectors[0] @ vectors[1].transpose(0, 2, 1))


def _steps(cosines: np.ndarray) -> np.ndarray:
    return np.rint(cosines * SIMILARITY_STEPS).astype(np.int32)


def _directed(
    steps: np.ndarray, query_types: np.ndarray, match_types: np.ndarray, weights: RateScoreWeights
) -> np.ndarray:
    """Return how well each match covers its query, as ``ratescore.directed_score``: (b,) float64.

    Args:
        steps: (b, n, m) int32 similarities, n entities of the query, m of the match.
        query_types, match_types: (b, n) and (b, m) int.
        weights: of the types.
    """
    ranks = _TIE_RANKS[query_types[:, :, None], match_types[:, None, :]]
    best = (steps * _RANKS + ranks).argmax(axis=2)  # (b, n)
    matched = np.take_along_axis(match_types, best, axis=1)
    cosines = np.take_along_axis(steps, best[:, :, None], axis=2)[:, :, 0] / SIMILARITY_STEPS
    weight = weights.affinity[query_types, matched]
    signs = np.where(OPPOSED[query_types, matched], weights.neg_weight, 1.0)
    earned, total = (cosines * weight * signs).sum(axis=1), weight.sum(axis=1)
    return np.divide(earned, total, out=np.zeros_like(total), where=total != 0)
