"""What ranks: models, vectors from files and references, behind one small interface.

A `Ranker` is named and knows nothing of a dataset; `open(items)` gives its `Ranking` of one split's images,
which answers with blocks of scores. Rankings from embeddings only say their vectors; cosine similarity and
the blocks are shared. A model without conditions is ranked by its holistic features for every anatomy,
as the baselines of the paper are (section 5.1).
"""

import hashlib
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from radir_eval.retrieval_split import NO_CONTENT, PAPER, WHOLE, RetrievalSplit

# Cosines are computed in float64 and cut here: equal vectors tie exactly, whatever the order of summation.
_SCORE_DECIMALS = 12
_LIST_TYPES = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


class Ranking(ABC):
    """Scores between the N images (and N reports) of one `RetrievalSplit`, by position."""

    conditional: bool  # whether the scores depend on the anatomy

    def covers(self, anatomy: str) -> bool:
        """Whether all N images have a score of their own for an anatomy, with or without a text for it."""
        return self.conditional

    @abstractmethod
    def scores(self, anatomy: str | None, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Image-image scores for an anatomy (None: holistic): (Q, C) float, finite, higher is nearer."""

    @abstractmethod
    def report_scores(self, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray | None:
        """Scores of images (queries) with the reports of images (candidates): (Q, C), None if it has none."""

    def heat_map(self, position: int, anatomy: str, hit: int | None = None) -> Image.Image | None:
        """A picture of what its features conditioned on an anatomy rest on.

        Args:
            position: of the image.
            anatomy: the condition.
            hit: position of an image; the picture then shows what brings the first one near to it.

        Returns:
            RGB; None, the default, from what cannot tell.
        """
        return None


class Ranker(ABC):
    """Something that can rank the images of a split; `name` is its name in results and tables."""

    name: str
    reference = False  # a floor or ceiling to measure by, no competitor: tables never mark it as the best

    def fingerprint(self) -> str | None:
        """A text that differs wherever scores of the same items may differ: digests of files, settings.

        What is kept on disk of a ranker is found again by it. None, the default: nothing is kept.

        Raises:
            ValueError: a file that decides the scores cannot be read.
        """
        return None

    def data(self) -> dict[str, Any] | None:
        """What is known of the data that it was made from, see `provenance.known_data`; None: nothing."""
        return None

    @abstractmethod
    def open(self, items: RetrievalSplit) -> Ranking:
        """Prepare the ranking of these items (encode the images, read the file).

        Raises:
            ValueError: the ranker does not fit the items; the sentence says what to do.
        """


def check_names(rankers: Sequence[Ranker]) -> None:
    """Make sure that there is a ranker, and that results can tell all of them apart.

    Raises:
        ValueError: there is none, or two have one name.
    """
    names = [ranker.name for ranker in rankers]
    if not names:
        raise ValueError("there is nothing to rank by: give at least one ranker")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"two rankers are named {twice[0]!r}, and results could not tell them apart: models go by their "
            "folder's name, vectors by their file's"
        )


class EmbeddingRanking(Ranking):
    """A ranking by cosine similarity; implementations say `image` and `report`."""

    # What `_candidates` was last asked for: a task asks for the same candidates block after block.
    _latest: tuple[str, np.ndarray, np.ndarray] | None = None

    @abstractmethod
    def image(self, anatomy: str | None) -> np.ndarray:
        """Image vectors for an anatomy (None: holistic): (N, d) float32; rows may be NaN where the image's
        study has no text for the anatomy."""

    @abstractmethod
    def report(self) -> np.ndarray | None:
        """Report vectors, one row for each image: (N, d) float32; None if there are none."""

    def scores(self, anatomy: str | None, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        vectors = self.image(anatomy)
        right = self._candidates(f"image {anatomy or WHOLE}", vectors, candidates)
        return _rounded_product(unit_rows(vectors[queries]), right)

    def report_scores(self, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray | None:
        reports = self.report()
        if reports is None:
            return None
        return _rounded_product(
            unit_rows(self.image(None)[queries]), self._candidates("report", reports, candidates)
        )

    def _candidates(self, what: str, vectors: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Unit vectors of the candidates (C, d) float64; those of the last call are kept."""
        latest = self._latest
        if latest is None or latest[0] != what or latest[1] is not candidates:
            latest = self._latest = (what, candidates, unit_rows(vectors[candidates]))
        return latest[2]


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1: (N, d) float -> (N, d) float64.

    Raises:
        ValueError: a vector is zero or not finite.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    fine = np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)
    if not fine.all():
        row = int(np.flatnonzero(~fine)[0])
        raise ValueError(
            f"embedding {row} of {len(vectors)} has norm {norms[row, 0]}: it must be finite and not zero"
        )
    return vectors / norms


def _rounded_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.round(left @ right.T, _SCORE_DECIMALS)


class ArrayRanking(EmbeddingRanking):
    """A ranking of vectors that are already in memory.

    Args:
        holistic: (N, d) float32.
        conditional: anatomy -> (N, d') float32; under any other anatomy the holistic vectors rank.
        reports: (N, d) float32 or None.
        heat_map: draws what `Ranking.heat_map` returns.
    """

    def __init__(
        self,
        holistic: np.ndarray,
        conditional: dict[str, np.ndarray] | None = None,
        reports: np.ndarray | None = None,
        heat_map: Callable[[int, str, int | None], Image.Image | None] | None = None,
    ) -> None:
        self._holistic, self._conditional, self._reports = holistic, conditional or {}, reports
        self._heat_map = heat_map
        self.conditional = bool(self._conditional)

    def covers(self, anatomy: str) -> bool:
        return anatomy in self._conditional and bool(np.isfinite(self._conditional[anatomy]).all())

    def image(self, anatomy: str | None) -> np.ndarray:
        return self._conditional.get(anatomy or WHOLE, self._holistic)

    def report(self) -> np.ndarray | None:
        return self._reports

    def heat_map(self, position: int, anatomy: str, hit: int | None = None) -> Image.Image | None:
        return None if self._heat_map is None else self._heat_map(position, anatomy, hit)


class ParquetEmbeddings(Ranker):
    """Vectors of any model from a Parquet file: `id` (image_id), `vector` (list of floats) and, optionally,
    `anatomy` (empty or null: holistic).

    Extra ids are ignored. Under an anatomy that the file does not name, the holistic vectors rank.

    Args:
        path: the file.
        name: in results; by default the file's name without its ending.

    Raises:
        ValueError: there is no such file, or it lacks a column.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path, self.name = Path(path), name or Path(path).stem
        if not self.path.is_file():
            raise ValueError(f"{self.path} is no file; give a Parquet file with the columns id and vector")
        with self._reading():
            columns = pq.read_schema(self.path).names
        missing = [column for column in ("id", "vector") if column not in columns]
        if missing:
            raise ValueError(
                f"{self.path} lacks the column(s) {', '.join(missing)}; it has {', '.join(columns)}"
            )

    def fingerprint(self) -> str:
        with self.path.open("rb") as file:
            return f"vectors {hashlib.file_digest(file, 'sha256').hexdigest()}"

    def open(self, items: RetrievalSplit) -> ArrayRanking:
        with self._reading():
            table = pq.read_table(self.path)
            ids = np.array(self._names(table, "id"), dtype=object)
            if (ids == None).any():  # noqa: E711 - of each
                raise ValueError(f"{self.path} has a row without id: give the dataset's image_id in each")
            names = self._names(table, "anatomy") if "anatomy" in table.column_names else [WHOLE] * len(ids)
            anatomies = np.array([name or WHOLE for name in names], dtype=object)
            vectors = self._vectors(table["vector"])
        unknown = sorted(set(anatomies) - {WHOLE} - {a["name"] for a in items.anatomies})
        if unknown:
            raise ValueError(
                f"{self.path} names anatomies that {items.dataset.name} does not have: "
                f"{', '.join(unknown[:5])}; use the names of the dataset's `anatomies` config"
            )
        placed = {}
        for anatomy in (WHOLE, *sorted(set(anatomies) - {WHOLE})):
            chosen = np.flatnonzero(anatomies == anatomy)
            needed = items.members(anatomy) if anatomy else np.arange(len(items))
            placed[anatomy] = self._placed(items, ids[chosen], vectors[chosen], needed, anatomy)
        return ArrayRanking(placed.pop(WHOLE), placed)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Name the file in what a library says of it."""
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise ValueError(
                f"{self.path} cannot be read as a Parquet file of id and vector ({str(error).strip()}): "
                "write it again"
            ) from error

    def _names(self, table: pa.Table, column: str) -> list[str | None]:
        """A column of names, which may be whole numbers."""
        kind = table[column].type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
            raise ValueError(f"{self.path} holds {kind} in the column {column}, not names")
        return table[column].cast(pa.string()).to_pylist()

    def _vectors(self, column: pa.ChunkedArray) -> np.ndarray:
        """The column as (rows, d) float32."""
        kind = column.type
        numbers = any(is_list(kind) for is_list in _LIST_TYPES) and (
            pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)
        )
        if not numbers:
            raise ValueError(f"{self.path} holds {kind} in the column vector, not lists of numbers")
        if column.null_count:
            raise ValueError(f"{self.path} has {column.null_count} rows without a vector: each needs one")
        lengths = sorted(pc.unique(pc.fill_null(pc.list_value_length(column), 0)).to_pylist())
        if len(lengths) != 1 or lengths[0] == 0:
            raise ValueError(
                f"{self.path} holds vectors of {lengths[:5]} numbers: all must have the same length"
            )
        # A number that is null becomes NaN here, and is refused below.
        vectors = np.asarray(pc.list_flatten(column).cast(pa.float32())).reshape(-1, lengths[0])
        if not np.isfinite(vectors).all():
            row = np.argwhere(~np.isfinite(vectors))[0, 0]
            raise ValueError(f"{self.path} holds a vector that is not finite, in row {row}")
        return vectors

    def _placed(
        self, items: RetrievalSplit, ids: np.ndarray, vectors: np.ndarray, needed: np.ndarray, anatomy: str
    ) -> np.ndarray:
        """The vectors in the order of the items, NaN for images that are not needed and not given."""
        under = f"under anatomy {anatomy!r}" if anatomy else "as holistic vectors (anatomy empty)"
        row_of = {image_id: row for row, image_id in enumerate(ids)}
        if len(row_of) != len(ids):
            raise ValueError(
                f"{self.path} gives {len(ids)} rows for {len(row_of)} ids {under}: one each is needed"
            )
        missing = [image_id for image_id in items.image_ids[needed] if image_id not in row_of]
        if missing:
            raise ValueError(
                f"{self.path} lacks {len(missing)} of {len(needed)} image ids of {items.dataset.name}/"
                f"{items.split} {under}, among them {', '.join(missing[:3])}; "
                "`id` must be the dataset's image_id"
            )
        rows = np.array([row_of.get(image_id, -1) for image_id in items.image_ids])
        zero = ~vectors[rows].any(axis=1) & (rows >= 0)
        if zero.any():
            raise ValueError(
                f"{self.path} holds a vector of zeros {under}, of {items.image_ids[np.argmax(zero)]}: it "
                "has no direction"
            )
        return np.where((rows >= 0)[:, None], vectors[rows], np.float32(np.nan))


class RandomRanker(Ranker):
    """Random vectors, others for each anatomy: what a ranking without any knowledge reaches."""

    reference = True

    def __init__(self, seed: int = 0, dimension: int = 32, name: str = "random") -> None:
        self.seed, self.dimension, self.name = seed, dimension, name

    def fingerprint(self) -> str:
        return f"random vectors of {self.dimension} numbers, seed {self.seed}"

    def open(self, items: RetrievalSplit) -> EmbeddingRanking:
        return _RandomVectors(len(items), self.dimension, self.seed)


class _RandomVectors(EmbeddingRanking):
    conditional = True

    def __init__(self, count: int, dimension: int, seed: int) -> None:
        self._shape, self._seed = (count, dimension), seed

    def _draw(self, what: str) -> np.ndarray:
        # crc32, since hash() of a string differs from one run to the next
        rng = np.random.default_rng([self._seed, zlib.crc32(what.encode())])
        return rng.standard_normal(self._shape, dtype=np.float32)

    def image(self, anatomy: str | None) -> np.ndarray:
        return self._draw(f"image {anatomy or WHOLE}")

    def report(self) -> np.ndarray:
        return self._draw("report")


class OracleRanker(Ranker):
    """Ranks by a relevance itself. By the paper's, Recall and NDCG are 1: the ceiling of the benchmark.

    By content it is the ceiling of who knows all findings and no wording.

    Args:
        name: in results; by default "oracle", or "oracle-content".
        relevance: PAPER or CONTENT.
    """

    reference = True

    def __init__(self, name: str | None = None, relevance: str = PAPER) -> None:
        self.name = name or ("oracle" if relevance == PAPER else f"oracle-{relevance}")
        self.relevance = relevance

    def fingerprint(self) -> str:
        return "the relevance itself" if self.relevance == PAPER else f"the relevance {self.relevance}"

    def open(self, items: RetrievalSplit) -> Ranking:
        if self.relevance not in items.relevances:
            raise ValueError(f"{self.name} cannot rank {items.dataset.name}. {NO_CONTENT}")
        return _Oracle(items, self.relevance)


class _Oracle(Ranking):
    conditional = True

    def __init__(self, items: RetrievalSplit, relevance: str) -> None:
        self._items, self._relevance = items, relevance

    def scores(self, anatomy: str | None, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        relevance = self._items.relevance(anatomy or WHOLE, queries, candidates, self._relevance)
        return np.where(np.isnan(relevance), -1.0, relevance)

    def report_scores(self, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        scores = self.scores(None, queries, candidates)
        if self._relevance != PAPER:
            return scores  # which knows no wording, so the paired report is one of many
        # The paired report stands before others of equal relevance (the same words in another study).
        studies = self._items.study_numbers
        return scores + (studies[queries][:, None] == studies[candidates][None, :])
