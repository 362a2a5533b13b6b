"""Entities and embeddings of a large corpus, in shards that several processes write and later runs find.

Each process, on however many GPUs or machines with the folder in reach, takes its part of the sentence
splitting, then of the NER, then of the encoder. A shard is written atomically, under a name that
follows from what is in it and from the extractor; an interrupted run resumes with any number of processes.
What a killed process left half written is removed by the next one that finds itself alone with the folder.
The command is `radir.score_shards`.
"""

import hashlib
import json
import logging
import os
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dataset_scripts.plumbing.atomic import atomic_path, remove_leftovers
from dataset_scripts.plumbing.bars import progress_bar
from dataset_scripts.relevance.entities import Entity
from dataset_scripts.relevance.neural.extractor import RateScoreExtractor, unique_texts

SENTENCES, ENTITIES, EMBEDDINGS = "sentences", "entities", "embeddings"  # the folders of shards
MANIFEST = "rate-shards.json"
SHARD_SIZE = 50_000

_POLL_SECONDS = 0.5
_ENTITIES_TYPE = pa.list_(pa.struct({"text": pa.string(), "type": pa.string()}))

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Share:
    """Which part of the work this process does: every ``processes``-th shard from number ``rank`` on."""

    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.processes:
            raise ValueError(f"rank is {self.rank} of {self.processes} processes: it must be 0 to one less")


class ShardedExtractor:
    """A ``RateScoreExtractor`` whose results are kept in a folder of shards; itself an ``EntityExtractor``.

    With several processes, all call the same methods with the same texts: each computes its share, waits for
    the others' shards and reads all of them, so that all get the same result. Results do not depend on the
    number of processes. Each shard is read once in the life of this object, however many calls there are.

    Args:
        scorer: computes what no shard holds; its models are loaded only if something is missing.
        folder: of the shards; made where missing.
        share: this process's part of the work; all of it by default.
        shard_size: texts, sentences or entities in a shard.
        progress: show progress bars.

    Raises:
        ValueError: the folder holds shards of a scorer with other models or parameters.
    """

    def __init__(
        self,
        scorer: RateScoreExtractor,
        folder: Path,
        share: Share | None = None,
        shard_size: int = SHARD_SIZE,
        progress: bool = False,
    ) -> None:
        if shard_size < 1:
            raise ValueError(f"shard_size is {shard_size}: it must be 1 or more")
        self.name = scorer.name
        self._scorer = scorer
        self._folder = Path(folder)
        self._share = share or Share()
        self._shard_size = shard_size
        self._progress = progress
        self._results: dict[str, _Results] = {}
        _join_users(self, self._folder)
        _check_manifest(self._folder, {"name": scorer.name, "parameters": scorer.parameters})

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of the scorer: a store built with shards is equal to one built without."""
        return self._scorer.parameters

    def extract(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Find the entities of each text; as ``RateScoreExtractor.extract``."""
        unique = sorted(unique_texts(texts))
        sentences = dict(zip(unique, self._values(SENTENCES, unique, self._split).to_pylist(), strict=True))
        pieces = sorted({piece for of_text in sentences.values() for piece in of_text})
        values = self._values(ENTITIES, pieces, self._recognise).to_pylist()
        found = {
            piece: [Entity(**entity) for entity in of_piece]
            for piece, of_piece in zip(pieces, values, strict=True)
        }
        return [[entity for piece in sentences[text] for entity in found[piece]] for text in texts]

    def embed(self, entity_texts: Sequence[str]) -> np.ndarray:
        """Embed entity texts; as ``RateScoreExtractor.embed``."""
        unique = sorted(unique_texts(entity_texts))
        if not unique:
            return self._scorer.embed([])
        position = {text: i for i, text in enumerate(unique)}
        values = self._values(EMBEDDINGS, unique, self._embed)
        vectors = values.flatten().to_numpy().reshape(len(unique), -1)
        return vectors[[position[text] for text in entity_texts]]

    def _split(self, texts: list[str]) -> pa.Array:
        return pa.array(self._scorer.split(texts), pa.list_(pa.string()))

    def _recognise(self, sentences: list[str]) -> pa.Array:
        found = self._scorer.recognise(sentences)
        return pa.array([[vars(entity) for entity in entities] for entities in found], _ENTITIES_TYPE)

    def _embed(self, texts: list[str]) -> pa.Array:
        vectors = self._scorer.embed(texts)
        return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])

    def _values(self, kind: str, items: list[str], compute: Callable[[list[str]], pa.Array]) -> pa.Array:
        """Write this process's share of the missing shards, wait for the rest, return the items' values."""
        results = self._results.setdefault(kind, _Results())
        results.read_all(self._folder / kind)
        chunks = [items[i : i + self._shard_size] for i in range(0, len(items), self._shard_size)]
        paths = [self._path(kind, chunk) for chunk in chunks]
        missing = [i for i, path in enumerate(paths) if not path.is_file()]
        if self._share.processes == 1:
            missing = [i for i in missing if not results.hold(chunks[i])]
        else:  # which shards there will be must not depend on what a faster process has written meanwhile
            missing = [i for i in missing if i % self._share.processes == self._share.rank]
        for i in progress_bar(
            missing, f"{kind} of process {self._share.rank}", shown=bool(self._progress and missing)
        ):
            values = results.fill(chunks[i], compute)
            _write(paths[i], pa.table({"item": pa.array(chunks[i], pa.string()), "value": values}))
        for path, chunk in zip(paths, chunks, strict=True):
            if not results.hold(chunk):
                results.read(_wait(path, self._share))
        return results.take(items)

    def _path(self, kind: str, items: list[str]) -> Path:
        """The name says what is in the shard, so that no process needs to ask another."""
        digest = hashlib.sha256()
        for item in items:
            data = item.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
        return self._folder / kind / f"{digest.hexdigest()[:32]}.arrow"


class _Results:
    """What the shards of one kind hold, memory-mapped: those of this corpus, and of others before it."""

    def __init__(self) -> None:
        self._read: set[Path] = set()
        self._rows: dict[str, int] = {}  # item -> its row in the values of all shards one after another
        self._values: list[pa.Array] = []
        self._starts: list[int] = [0]

    def read_all(self, folder: Path) -> None:
        """Read the shards of a folder that were not there before."""
        for path in sorted(folder.glob("[!.]*.arrow")):
            self.read(path)

    def read(self, path: Path) -> None:
        if path in self._read:
            return
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all().combine_chunks()
            if table.column_names != ["item", "value"]:
                raise ValueError(f"it has the columns {', '.join(table.column_names)}")
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ValueError(f"{path} cannot be read ({error}): delete it and run again") from error
        self._read.add(path)
        for chunk in table["value"].chunks:
            self._values.append(chunk)
            self._starts.append(self._starts[-1] + len(chunk))
        first = self._starts[-1] - len(table)
        self._rows.update({item: first + i for i, item in enumerate(table["item"].to_pylist())})

    def hold(self, items: list[str]) -> bool:
        """Whether the values of all of them are known."""
        return all(item in self._rows for item in items)

    def take(self, items: list[str]) -> pa.Array:
        """The value of each item; all are known. From each shard at once: pyarrow would join all shards."""
        if not items:
            return pa.array([])
        rows = np.array([self._rows[item] for item in items])
        order = np.argsort(rows, kind="stable")
        cuts = np.searchsorted(rows[order], self._starts)
        parts = [
            values.take(pa.array(rows[order[low:high]] - start))
            for values, start, low, high in zip(self._values, self._starts, cuts, cuts[1:], strict=False)
            if low < high
        ]
        return pa.concat_arrays(parts).take(pa.array(np.argsort(order)))

    def fill(self, items: list[str], compute: Callable[[list[str]], pa.Array]) -> pa.Array:
        """Take what is known and compute the rest: one value for each item."""
        known = [item for item in items if item in self._rows]
        rest = [item for item in items if item not in self._rows]
        if not known:
            return compute(items)
        values = self.take(known)
        if rest:
            values = pa.concat_arrays([values, compute(rest)])
        place = {item: i for i, item in enumerate([*known, *rest])}
        return values.take(pa.array([place[item] for item in items]))


def _write(path: Path, table: pa.Table) -> None:
    """Arrow, not Parquet: it can be memory-mapped, and a shard may be read by many batches."""
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), table.schema) as writer:
        writer.write_table(table)


def _wait(path: Path, share: Share) -> Path:
    """Wait until another process has written a shard: no collective call, so nothing that times out."""
    if not path.is_file() and share.processes > 1:
        logger.info("process %d waits for %s", share.rank, path)
    while not path.is_file():
        assert share.processes > 1, "a single process writes all shards itself"
        time.sleep(_POLL_SECONDS)
    return path


def _check_manifest(folder: Path, scorer: dict[str, Any]) -> None:
    """Write what the shards are from, or compare: shards of two scorers never lie in one folder."""
    path = folder / MANIFEST
    text = json.dumps({"format_version": 2, "scorer": scorer}, indent=1, sort_keys=True) + "\n"
    if not _is_ours(folder):
        raise ValueError(f"{folder} holds something else than shards ({MANIFEST} is missing): name a new one")
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if (seen := path.read_text(encoding="utf-8")) != text:
        raise ValueError(
            f"The shards in {folder} are of {seen.strip()}, this scorer is {text.strip()}: use another "
            "folder or the same models and versions"
        )


def _is_ours(folder: Path) -> bool:
    """Whether a folder is empty, but for hidden files, or holds shards."""
    is_filled = any(not item.name.startswith(".") for item in folder.iterdir())
    return not is_filled or (folder / MANIFEST).is_file()  # in this order: others may be writing it


def _join_users(user: object, folder: Path) -> None:
    """Count as a user of a folder of shards; whoever is the only one removes what killed ones left there.

    Users share a lock on the folder as long as they live, and the lock dies with them. Where folders cannot
    be locked (some network file systems) nothing is removed; what is left there is never read.

    Raises:
        ValueError: the folder is a file, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ValueError(
            f"{folder} cannot be a folder of shards ({error.strerror or error}): name another one"
        ) from error
    weakref.finalize(user, os.close, descriptor)
    try:
        import fcntl
    except ImportError:  # not POSIX
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # others are at work, perhaps on what looks like a leftover
        else:
            if _is_ours(folder):
                remove_leftovers(folder, recursive=True)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        logger.info("%s cannot be locked (%s): leftovers stay", folder, error)
