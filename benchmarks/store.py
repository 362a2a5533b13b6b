"""The entity store at MIMIC's size: bytes, time to build, to open and to look up, beside loading all of it.

    python benchmarks/store.py > benchmarks/results/store.md

Made-up texts in MIMIC's numbers: 222,758 studies, 2.6 million texts about one of 90 anatomies and a whole
report for each study, some 1.2 million of them unique, 300,000 entities of 768 dimensions. Each figure comes
from a new process. "Parquet into lists" reads the same tables whole into Python lists.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from machine import machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset_scripts.relevance.entities import ENTITY_TYPES, Entity
from dataset_scripts.relevance.store.store import FILES, EntityStore, build_store

STUDIES, FINDINGS, UNIQUE, ENTITIES, DIMENSION = 222_758, 2_600_000, 980_000, 300_000, 768
ANATOMIES = [f"anatomy {i}" for i in range(90)]
BATCH = 256  # studies of a training step
RECORDS = pa.schema({"study_id": pa.string(), "anatomy": pa.string(), "text": pa.string()})


class MadeUpExtractor:
    """What stands between semicolons is an entity; embeddings are random unit vectors."""

    name = "made-up"
    parameters: ClassVar[dict[str, Any]] = {}

    def extract(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Split each text."""
        return [[Entity(e, ENTITY_TYPES[len(e) % 5]) for e in text.split("; ")] for text in texts]

    def embed(self, entity_texts: Sequence[str]) -> np.ndarray:
        """Draw (n, DIMENSION) float32."""
        rng = np.random.default_rng(len(entity_texts[0]))
        vectors = rng.standard_normal((len(entity_texts), DIMENSION), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def zipf(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Draw ``size`` of ``count`` numbers, the n-th with a probability proportional to about 1 / n."""
    return np.minimum(count ** rng.random(size), count - 1).astype(np.int64)


def texts(rng: np.random.Generator, names: list[str], lengths: np.ndarray) -> list[str]:
    """Texts of some entities each: frequent ones, and one that makes sure that all occur."""
    drawn = np.split(zipf(rng, len(names), int(lengths.sum())), np.cumsum(lengths)[:-1])
    return ["; ".join([names[i % len(names)], *(names[j] for j in row)]) for i, row in enumerate(drawn)]


def write_records(path: Path) -> None:
    """Write the records of all studies, study after study."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghiklmnoprstuvy"))
    words = ["".join(rng.choice(letters, size=n)) for n in rng.integers(4, 11, size=5_000)]
    drawn = (" ".join(words[j] for j in zipf(rng, 5_000, 3)) for _ in iter(int, 1))
    names: dict[str, None] = {}
    while len(names) < ENTITIES:
        names[next(drawn)] = None
    entities = list(names)
    pool = texts(rng, entities, rng.integers(0, 6, size=UNIQUE))
    reports = texts(rng, entities, rng.integers(5, 20, size=STUDIES))
    of = rng.permutation(np.concatenate([np.arange(UNIQUE), zipf(rng, UNIQUE, FINDINGS - UNIQUE)]))
    ids = rng.permutation(np.arange(50_000_000, 50_000_000 + 40 * STUDIES, 40)) + rng.integers(0, 40, STUDIES)
    base, more = divmod(FINDINGS, STUDIES)
    weights = 1 / np.arange(1, len(ANATOMIES) + 1)
    place = 0
    with pa.ipc.new_file(str(path), RECORDS) as writer:
        for start in range(0, STUDIES, 5_000):
            rows: list[tuple[str, str, str]] = []
            for study in range(start, min(start + 5_000, STUDIES)):
                rows.append((f"s{ids[study]}", "", reports[study]))
                count = base + (study < more)
                order = np.argsort(rng.exponential(size=len(weights)) / weights)[:count]
                found = zip(order, of[place : place + count], strict=True)
                rows += [(f"s{ids[study]}", ANATOMIES[a], pool[t]) for a, t in found]
                place += count
            writer.write_batch(
                pa.record_batch([pa.array(c) for c in zip(*rows, strict=True)], schema=RECORDS)
            )


def read_records(path: Path) -> Iterator[tuple[str, str, str]]:
    """The records again, one batch in memory."""
    with pa.ipc.open_file(str(path)) as file:
        for i in range(file.num_record_batches):
            yield from zip(*file.get_batch(i).to_pydict().values(), strict=True)


def write_parquet(folder: Path, out: Path) -> None:
    """Write a store's tables as Parquet; its numbers stay the same files."""
    out.mkdir()
    store = EntityStore.load(folder)
    types = [ENTITY_TYPES[t] for t in store.entity_types]
    pq.write_table(pa.table({"text": list(store.entity_texts), "type": types}), out / "entities.parquet")
    pq.write_table(pa.table({"text": store.texts}), out / "texts.parquet")
    names = {name: store.keys[name].cast(pa.string()) for name in ("study_id", "anatomy")}
    pq.write_table(pa.table({**names, "row": store.keys["row"]}), out / "keys.parquet")
    for name in ("embeddings.safetensors", "rows.safetensors"):
        (out / name).symlink_to(folder / name)


class ParquetIntoLists:
    """A store whose tables are read whole into lists, with a dictionary for each anatomy."""

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file

        entities = pq.read_table(folder / "entities.parquet")
        self.rows_of: dict[str, dict[str, int]] = {}
        self.entity_texts = entities["text"].to_pylist()
        types = [ENTITY_TYPES.index(t) for t in entities["type"].to_pylist()]
        self.entity_types = np.array(types, dtype=np.int8)
        self.numbers = load_file(folder / "embeddings.safetensors") | load_file(folder / "rows.safetensors")
        self.texts = pq.read_table(folder / "texts.parquet")["text"]
        self.keys = pq.read_table(folder / "keys.parquet")

    def rows(self, study_ids: Sequence[str], anatomy: str) -> np.ndarray:
        """Scan the keys for the anatomy once, then look up."""
        if anatomy not in self.rows_of:
            part = self.keys.filter(pc.equal(self.keys["anatomy"], anatomy))
            columns = part["study_id"].to_pylist(), part["row"].to_pylist()
            self.rows_of[anatomy] = dict(zip(*columns, strict=True))
        known = self.rows_of[anatomy]
        return np.array([known.get(study_id, -1) for study_id in study_ids], dtype=np.int64)


class PandasKeys:
    """Keys alone, as one would look them up without this package: a data frame into a dictionary."""

    def __init__(self, folder: Path) -> None:
        import pandas as pd

        frame = pd.read_parquet(folder / "keys.parquet")
        self.known = dict(
            zip(zip(frame["study_id"], frame["anatomy"], strict=True), frame["row"], strict=True)
        )

    def rows(self, study_ids: Sequence[str], anatomy: str) -> np.ndarray:
        """Look up."""
        return np.array([self.known.get((study_id, anatomy), -1) for study_id in study_ids], dtype=np.int64)


READERS: dict[str, Callable[[Path], Any]] = {
    "mapped": EntityStore.load,
    "parquet": ParquetIntoLists,
    "pandas": PandasKeys,
}


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def resident() -> dict[str, float]:
    """Resident memory of this process in MB: all of it, and what is not a file's pages."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) / 1e3 for name in ("VmRSS", "RssAnon")}


class Watch:
    """The highest RssAnon that a process reaches, in MB, seen ten times a second."""

    def __init__(self) -> None:
        self._highest, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._done.wait(0.1):
            self._highest = max(self._highest, resident()["RssAnon"])

    def stop(self) -> float:
        """Stop looking; return it."""
        self._done.set()
        self._thread.join()
        return self._highest


def measure(reader: str, folder: Path, ids: list[str]) -> dict[str, float]:
    """Open a store in this process and look rows up."""
    before = resident()
    opened: list[Any] = []
    result = {"open": timed(lambda: opened.append(READERS[reader](folder)))}
    after = resident()
    store = opened[0]
    result |= {name: after[name] - before[name] for name in after}
    result["first lookup"] = timed(lambda: store.rows(ids, ANATOMIES[0]))
    result["next anatomy"] = timed(lambda: store.rows(ids, ANATOMIES[40]))
    result["again"] = min(timed(lambda: store.rows(ids, ANATOMIES[40])) for _ in range(50))
    if isinstance(store, EntityStore):
        names = ["", *ANATOMIES]
        result["table"] = min(timed(lambda: store.row_table(ids, names)) for _ in range(20))
    return result


def in_new_process(*arguments: object) -> dict[str, Any]:
    """Run a step of this script in a new process; return what it prints."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def forget(folder: Path) -> None:
    """Drop a folder's files from the page cache."""
    os.sync()
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def step(name: str, folder: Path, more: list[str]) -> dict[str, Any]:
    """One step, in a process of its own."""
    if name == "records":
        return {"seconds": timed(lambda: write_records(folder / "records.arrow"))}
    if name == "build":
        watch, records = Watch(), read_records(folder / "records.arrow")
        seconds = timed(lambda: build_store(records, MadeUpExtractor(), folder / "mapped"))
        return {"seconds": seconds, "anonymous": watch.stop()}
    if name == "half":
        store = EntityStore.load(folder / "mapped")
        return {"seconds": timed(lambda: store.save(folder / "half", dtype="float16"))}
    if name == "parquet":
        return {"seconds": timed(lambda: write_parquet(folder / "mapped", folder / "parquet"))}
    if name == "ids":
        known = EntityStore.load(folder / "mapped").keys["study_id"].chunk(0).dictionary
        return {"ids": known.take(np.random.default_rng(1).integers(0, len(known), BATCH)).to_pylist()}
    return measure(more[0], folder / more[1], json.loads((folder / "ids.json").read_text())["ids"])


def opened(folder: Path, reader: str, where: str, repeats: int, cold: bool = False) -> dict[str, float]:
    """The medians of a measurement over new processes."""
    runs = []
    for _ in range(repeats):
        if cold:
            forget(folder / where)
        runs.append(in_new_process("--step", "measure", "--folder", folder, reader, where))
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def size(folder: Path, names: Sequence[str]) -> float:
    """MB of some files."""
    return sum((folder / name).stat().st_size for name in names) / 1e6


def report(folder: Path, repeats: int) -> list[str]:
    """Do all steps and return the lines of the result."""
    steps = {name: in_new_process("--step", name, "--folder", folder) for name in ("records", "build")}
    (folder / "ids.json").write_text(json.dumps(in_new_process("--step", "ids", "--folder", folder)))
    steps |= {n: in_new_process("--step", n, "--folder", folder) for n in ("half", "parquet")}
    counts = json.loads((folder / "mapped" / "manifest.json").read_text())["counts"]
    parquet = (
        "entities.parquet",
        "texts.parquet",
        "keys.parquet",
        "embeddings.safetensors",
        "rows.safetensors",
    )
    numbers = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in counts.items())
    lines = [
        f"# The entity store at MIMIC's size, {machine()}",
        "",
        *__doc__.split("\n\n")[2].splitlines(),
        "",
    ]
    lines += [f"The store: {numbers}.", "", "| files | MB |", "|---|---:|"]
    lines += [f"| {name} | {size(folder / 'mapped', [name]):,.0f} |" for name in FILES]
    lines += [f"| all, float32 | {size(folder / 'mapped', FILES):,.0f} |"]
    lines += [f"| all, float16 | {size(folder / 'half', FILES):,.0f} |"]
    lines += [f"| Parquet, float32 | {size(folder / 'parquet', parquet):,.0f} |", ""]
    lines += [
        f"Building from {counts['keys']:,} records with a scorer that costs next to nothing: "
        f"{steps['build']['seconds']:.0f} s, {steps['build']['anonymous']:,.0f} MB of memory at its peak, "
        f"beside the pages of its files; converting to float16 {steps['half']['seconds']:.1f} s.",
        "",
        f"| reader | open | memory, MB | not shared, MB | {BATCH} studies, first | next anatomy | again |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for title, reader, where, cold in (
        ("mapped, float32", "mapped", "mapped", False),
        ("mapped, float32, nothing in the page cache", "mapped", "mapped", True),
        ("mapped, float16", "mapped", "half", False),
        ("Parquet into lists", "parquet", "parquet", False),
        ("pandas and a dictionary, keys alone", "pandas", "parquet", False),
    ):
        found = opened(folder, reader, where, repeats, cold)
        spans = [f"{found[n] * 1e3:,.2f} ms" for n in ("first lookup", "next anatomy", "again")]
        memory = f"{found['VmRSS']:,.0f} | {found['RssAnon']:,.0f}"
        lines.append(f"| {title} | {found['open'] * 1e3:,.1f} ms | {memory} | {' | '.join(spans)} |")
        if title == "mapped, float32":
            table = found["table"] * 1e3
    lines += ["", f"`row_table`, {BATCH} studies x {len(ANATOMIES) + 1} anatomies: {table:.2f} ms."]
    return [*lines, f"Medians of {repeats} new processes; imports are not counted."]


def main() -> None:
    """Print the result, or do one step of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, help="where to work (3 GB, deleted in the end); a temporary folder"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        lines = [json.dumps(step(arguments.step, arguments.folder, arguments.more))]
    else:
        with tempfile.TemporaryDirectory(dir=arguments.out) as temporary:
            lines = report(Path(temporary), arguments.repeats)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
