"""Entities and embeddings of a large corpus, in shards that several processes write and later runs find.

    accelerate launch -m dataset_scripts.rate_shards DATASET SHARDS [--ner ID_OR_DIR] [--encoder ID_OR_DIR]

DATASET is a built dataset (by any scorer), or a text file with one text a line. Each process, on however many
GPUs or machines with the folder SHARDS in reach, takes its part of the sentence splitting, then of the NER,
then of the encoder. A shard appears whole or not at all, under a name that follows from what is in it and
from the scorer; the same command goes on where an interrupted one stopped, with any number of processes.
"""

import argparse
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from dataset_scripts.atomic import atomic_path
from dataset_scripts.entities import Entity
from dataset_scripts.folder import FINDINGS, studies_shards, table_path
from dataset_scripts.rate_scorer import ENCODER, NER, RateScorer, unique_texts
from dataset_scripts.records import SPLITS

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


class ShardedScorer:
    """A ``RateScorer`` whose results are kept in a folder of shards; a ``store.Scorer`` itself.

    With several processes, all call the same methods with the same texts: each computes its share, waits for
    the others' shards and reads all of them, so that all get the same result. Results do not depend on the
    number of processes.

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
        scorer: RateScorer,
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
        _check_manifest(self._folder, {"name": scorer.name, "parameters": scorer.parameters})

    @property
    def parameters(self) -> dict[str, Any]:
        """Those of the scorer: a store built with shards is equal to one built without."""
        return self._scorer.parameters

    def extract(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Find the entities of each text; as ``RateScorer.extract``."""
        unique = sorted(unique_texts(texts))
        sentences: dict[str, list[str]] = {}
        for shard in self._shards(SENTENCES, unique, self._split):
            sentences.update(zip(shard["item"].to_pylist(), shard["value"].to_pylist(), strict=True))
        pieces = sorted({piece for of_text in sentences.values() for piece in of_text})
        found: dict[str, list[Entity]] = {}
        for shard in self._shards(ENTITIES, pieces, self._recognise):
            entities = [[Entity(**e) for e in of_piece] for of_piece in shard["value"].to_pylist()]
            found.update(zip(shard["item"].to_pylist(), entities, strict=True))
        return [[entity for piece in sentences[text] for entity in found[piece]] for text in texts]

    def embed(self, entity_texts: Sequence[str]) -> np.ndarray:
        """Embed entity texts; as ``RateScorer.embed``."""
        unique = sorted(unique_texts(entity_texts))
        if not unique:
            return self._scorer.embed([])
        position = {text: i for i, text in enumerate(unique)}
        parts = [_vectors(shard["value"]) for shard in self._shards(EMBEDDINGS, unique, self._embed)]
        return np.concatenate(parts)[[position[text] for text in entity_texts]]

    def _split(self, texts: list[str]) -> pa.Array:
        return pa.array(self._scorer.split(texts), pa.list_(pa.string()))

    def _recognise(self, sentences: list[str]) -> pa.Array:
        found = self._scorer.recognise(sentences)
        return pa.array([[vars(entity) for entity in entities] for entities in found], _ENTITIES_TYPE)

    def _embed(self, texts: list[str]) -> pa.Array:
        vectors = self._scorer.embed(texts)
        return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])

    def _shards(
        self, kind: str, items: list[str], compute: Callable[[list[str]], pa.Array]
    ) -> Iterator[pa.Table]:
        """Write this process's share of the missing shards, wait for the rest, and yield all in order."""
        chunks = [items[i : i + self._shard_size] for i in range(0, len(items), self._shard_size)]
        paths = [self._path(kind, chunk) for chunk in chunks]
        own = range(self._share.rank, len(chunks), self._share.processes)
        missing = [i for i in own if not paths[i].is_file()]
        known = self._known(kind, set(paths)) if missing else _Known({}, [])
        for i in tqdm(missing, f"{kind} of process {self._share.rank}", disable=not self._progress):
            values = known.fill(chunks[i], compute)
            table = pa.table({"item": pa.array(chunks[i], pa.string()), "value": values})
            with atomic_path(paths[i]) as temporary:
                pq.write_table(table, temporary, compression="zstd")
        for path in paths:
            yield _read(_wait(path, self._share))

    def _path(self, kind: str, items: list[str]) -> Path:
        """The name says what is in the shard, so that no process needs to ask another."""
        digest = hashlib.sha256()
        for item in items:
            data = item.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
        return self._folder / kind / f"{digest.hexdigest()[:32]}.parquet"

    def _known(self, kind: str, of_this_run: set[Path]) -> "_Known":
        """What shards of another corpus hold: a changed corpus shares most of its sentences with the last."""
        known = _Known({}, [])
        for path in sorted((self._folder / kind).glob("[!.]*.parquet")):
            if path not in of_this_run:
                table = _read(path)
                first = sum(map(len, known.values))
                known.rows.update({item: first + i for i, item in enumerate(table["item"].to_pylist())})
                known.values.extend(table["value"].chunks)
        return known


@dataclass(frozen=True)
class _Known:
    """Results of earlier runs: item -> its row in the concatenated values."""

    rows: dict[str, int]
    values: list[pa.Array]

    def fill(self, items: list[str], compute: Callable[[list[str]], pa.Array]) -> pa.Array:
        """Take what is known and compute the rest: one value for each item."""
        rest = [item for item in items if item not in self.rows]
        if len(rest) == len(items):
            return compute(items)
        old = pa.chunked_array(self.values).take(
            pa.array([self.rows[item] for item in items if item in self.rows])
        )
        values = pa.concat_arrays([*old.chunks, *([compute(rest)] if rest else [])])
        fresh, kept = iter(range(len(old), len(items))), iter(range(len(old)))
        return values.take(pa.array([next(kept if item in self.rows else fresh) for item in items]))


def _vectors(column: pa.ChunkedArray) -> np.ndarray:
    width = column.type.list_size
    return np.concatenate([chunk.flatten().to_numpy().reshape(-1, width) for chunk in column.chunks])


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read ({error}): delete it and run again") from error


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
    text = json.dumps({"format_version": 1, "scorer": scorer}, indent=1, sort_keys=True) + "\n"
    if not path.is_file():
        if folder.is_dir() and any(
            not item.name.startswith(".") for item in folder.iterdir() if item != path
        ):
            raise ValueError(
                f"{folder} holds something else than shards ({MANIFEST} is missing): name a new one"
            )
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if (seen := path.read_text(encoding="utf-8")) != text:
        raise ValueError(
            f"The shards in {folder} are of {seen.strip()}, this scorer is {text.strip()}: use another "
            "folder or the same models and versions"
        )


def corpus(path: Path) -> list[str]:
    """Return all texts that a built dataset scores, or the lines of a text file.

    Raises:
        ValueError: there is neither.
    """
    if path.is_file():
        return path.read_text(encoding="utf-8").splitlines()
    texts: list[str] = []
    for split in SPLITS:
        for shard in studies_shards(path, split):
            texts += pq.read_table(shard, columns=["findings"])["findings"].to_pylist()
        findings = table_path(path, FINDINGS, split)
        if findings.is_file():
            texts += pq.read_table(findings, columns=["text"])["text"].to_pylist()
    if not texts:
        raise ValueError(f"{path} is neither a built dataset nor a text file: `radir build` writes a dataset")
    return list(dict.fromkeys(text or "" for text in texts))


def _launched() -> Any:
    """This process among those that `accelerate launch` started; alone if it was not launched so."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=timedelta(days=30))
    if int(os.environ.get("WORLD_SIZE", "1")) != state.num_processes:
        raise ValueError(
            f"{os.environ['WORLD_SIZE']} processes were launched and accelerate sees {state.num_processes}: "
            "without GPUs set ACCELERATE_USE_CPU=true"
        )
    return state


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command: write the shards of a corpus, as one process or as one of many."""
    parser = argparse.ArgumentParser(prog="dataset_scripts.rate_shards", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("corpus", type=Path, help="a built dataset, or a text file with one text a line")
    parser.add_argument("shards", type=Path, help="folder of the shards, in reach of all processes")
    parser.add_argument("--ner", default=NER, help="NER: folder or Hub id")
    parser.add_argument("--encoder", default=ENCODER, help="entity encoder: folder or Hub id")
    parser.add_argument("--batch-size", type=int, default=64, help="sentences in a batch")
    parser.add_argument("--shard-size", type=int, default=SHARD_SIZE, help="texts in a shard")
    options = parser.parse_args(arguments)
    try:
        state = _launched()
        scorer = RateScorer(options.ner, options.encoder, state.device, options.batch_size)
        share = Share(state.process_index, state.num_processes)
        sharded = ShardedScorer(scorer, options.shards, share, options.shard_size, progress=True)
        entities = sharded.extract(corpus(options.corpus))
        sharded.embed([entity.text for found in entities for entity in found])
        state.destroy_process_group()
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
