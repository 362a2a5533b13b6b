"""The relevance engine's speed on realistic texts, beside the package and per-pair NumPy; its bounds.

    python benchmarks/relevance.py --open-i DIR --ct CSV > benchmarks/results/relevance.md

Texts are the mined findings of Open-i and of the CT reports, entities those of the lexical scorer. Every
rate is the best of several runs, in this process; a thread more than one shares the machine with whatever
else runs on it, so the load is printed too.
"""

import argparse
import csv
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from machine import machine

from dataset_scripts.building.relevance_tables import TRAIN_CANDIDATES
from dataset_scripts.mining.findings import FindingsMiner
from dataset_scripts.relevance.engine.engine import RelevanceEngine
from dataset_scripts.relevance.engine.pair_scores import Texts
from dataset_scripts.relevance.entities import ENTITY_TYPES
from dataset_scripts.relevance.formulas import RELEVANCES, named_formula
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.relevance.ratescore import RateScoreWeights, rate_score
from dataset_scripts.relevance.store.store import EntityStore

PAPER_PAIRS = 132e9
SIDE = 8192
MIMIC = {"texts": 2_600_000, "reports": 220_000, "entities": 300_000, "dimension": 768}


def records(open_i: Path, ct: Path) -> list[tuple[str, str, str]]:
    """(study, anatomy, text) of all mined findings, the whole report under the anatomy ""."""
    miner, found = FindingsMiner(), []
    for name, path in (("open-i", open_i / "indiana_reports.csv"), ("ct", ct)):
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file)):
                if row["findings"].strip():
                    found.append((f"{name} {number}", "", row["findings"]))
                    mined = miner.mine(row["findings"]).items()
                    found.extend((f"{name} {number}", anatomy, text) for anatomy, text in mined)
    return found


def best_seconds(run: Callable[[], Any], repeats: int = 5) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def sample(store: EntityStore, count: int) -> np.ndarray:
    """Different texts with 1 to 12 entities."""
    lengths = np.diff(store.indptr)
    rows = np.flatnonzero((lengths >= 1) & (lengths <= 12))
    return np.random.default_rng(0).choice(rows, min(count, len(rows)), replace=False)


def package_rate(store: EntityStore, rows: np.ndarray, weights: RateScoreWeights) -> float | None:
    """Pairs a second of the package's own arithmetic on embeddings that are there; None without it."""
    try:
        import torch
        from loguru import logger

        logger.disable("PyRuSH")
        from RaTEScore.scorer import DEFAULT_MATRIX_LONG
        from RaTEScore.utils import compute
    except ImportError:
        return None
    matrix = {tuple(key.upper().split("_")): value for key, value in DEFAULT_MATRIX_LONG.items()}
    both = [store.entity_embeddings(row) for row in rows]
    texts = [(torch.from_numpy(s.vectors), [ENTITY_TYPES[t] for t in s.types]) for s in both]

    def run() -> None:
        for (a, a_types), (b, b_types) in zip(texts[::2], texts[1::2], strict=True):
            compute(a, b, a_types, b_types, matrix)
            compute(b, a, b_types, a_types, matrix)

    return len(texts[::2]) / best_seconds(run, 3)


def numpy_rate(store: EntityStore, rows: np.ndarray, weights: RateScoreWeights) -> float:
    both = [store.entity_embeddings(row) for row in rows]

    def run() -> None:
        for a, b in zip(both[::2], both[1::2], strict=True):
            rate_score(a, b, weights)

    return len(both[::2]) / best_seconds(run, 3)


def engine_rate(store: EntityStore, rows: np.ndarray, relevance: str, threads: int, repeats: int) -> float:
    """Unordered pairs a second of the stream of all blocks, of texts whose pairs no convention settles."""
    engine = RelevanceEngine.named(store, relevance, threads=threads)
    formula = named_formula(store, relevance)
    groups = formula.groups(rows)
    rows = rows[groups == groups.max()]
    engine.prepare()

    def run() -> None:
        for _ in engine._scores.stream(texts, texts):
            pass

    texts = Texts.of(store, rows, formula)
    return len(rows) * (len(rows) - 1) / 2 / best_seconds(run, repeats)


def speed(store: EntityStore, repeats: int) -> str:
    weights, rows = RateScoreWeights.named(), sample(store, SIDE)
    lengths = np.diff(store.indptr)[rows]
    rates = {
        "RaTEScore 0.6.0, its arithmetic alone, embeddings given": package_rate(store, rows[:1000], weights),
        "NumPy for each pair, all cached": numpy_rate(store, rows[:1000], weights),
    } | {
        f"this engine, `{relevance}`, {t} thread{'s' * (t > 1)}": engine_rate(
            store, rows, relevance, t, repeats
        )
        for relevance in RELEVANCES
        for t in (1, 2)
    }
    numpy = rates["NumPy for each pair, all cached"] or 1
    lines = [
        f"{len(rows):,} texts, {lengths.mean():.1f} entities each (1 to 12), all pairs; of "
        "`content` those of texts that affirm a finding, whose scores are computed\n",
        "| | Pairs a second | Of NumPy's | 132 billion |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, rate in rates.items():
        if rate is None:
            lines.append(f"| {name} | not installed | | |")
        else:
            lines.append(f"| {name} | {rate:,.0f} | {rate / numpy:,.1f} | {duration(PAPER_PAIRS / rate)} |")
    return "\n".join(lines) + "\n\n" + bound(lengths.mean(), rates["this engine, `paper`, 1 thread"] or 1)


def duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds > 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} s"


def bound(length: float, rate: float) -> str:
    """What a thread can do at best: 32 bytes of the tiles a pair and entity pair, three divisions."""
    data = np.zeros(2**17)  # 1 MB: second-level cache
    read = data.nbytes * 20 / best_seconds(lambda: [data.max() for _ in range(20)], 20)
    ones = np.ones(2**12)
    divide = len(ones) * 20 / best_seconds(lambda: [np.divide(ones, ones, out=ones) for _ in range(20)], 20)
    loads, divisions = 2 * length * 16 / read, 3 / divide
    return (
        f"Bound of one thread: a pair adds {2 * length:.1f} entities of 2 float64 ({32 * length:.0f} bytes) "
        f"from the second-level cache, read by NumPy at {read / 1e9:.0f} GB/s: {loads * 1e9:.1f} ns; and "
        f"three divisions at {divide / 1e9:.1f} billion/s: {divisions * 1e9:.1f} ns. Together "
        f"{1 / (loads + divisions) / 1e6:,.0f} million pairs a second; reached: {rate / 1e6:,.0f} million, "
        f"{rate * (loads + divisions):.0%}. The rest goes to building tiles, to turning one direction's tile "
        "over, and to writing the first direction to memory and reading it back."
    )


def repeats_and_open_i(store: EntityStore) -> str:
    """What de-duplication gives, and all of Open-i: each text's best of every anatomy, and every pair."""
    keys = store.keys.to_pandas()
    keys = keys[keys["study_id"].str.startswith("open-i")]
    of = {anatomy: part["row"].to_numpy() for anatomy, part in keys.groupby("anatomy")}
    pairs = sum(len(rows) * (len(rows) - 1) // 2 for rows in of.values())
    unique = sum(n * (n - 1) // 2 for n in (len(np.unique(rows)) for rows in of.values()))
    engine = RelevanceEngine(store, threads=2)

    def top() -> None:
        for rows in of.values():
            engine.top_k(rows, rows, min(TRAIN_CANDIDATES + 1, len(rows)))

    cold, warm = best_seconds(top, 1), best_seconds(top, 3)
    blocks = best_seconds(lambda: [engine.block(rows, rows) for rows in of.values()], 3)
    return (
        f"Open-i has {len(keys):,} findings texts, {keys['row'].nunique():,} different ones, over {len(of)} "
        f"anatomies (whole report included); of the {pairs:,} pairs within an anatomy {unique:,} "
        f"({unique / pairs:.0%}) are of different texts. The {TRAIN_CANDIDATES} best of every text of every "
        f"anatomy (`top_k`, as a build stores them for training; for each text among all others, equal ones "
        f"included) take {cold:.2f} s with a cold engine, {warm:.2f} s with a warm one: "
        f"{pairs / warm / 1e6:,.0f} million pairs a second. The whole matrix of every anatomy (`block`) "
        f"takes {blocks:.2f} s."
    )


def mined_odds(store: EntityStore, entities: int) -> np.ndarray:
    """Odds of ``entities`` entities by rank: the store's own counts, then their last half's power law."""
    counts = np.sort(np.bincount(store.entity_ids))[::-1]
    counts = counts[counts > 1].astype(np.float64)
    ranks = np.arange(1, entities + 1, dtype=np.float64)
    half = slice(len(counts) // 2, len(counts))
    exponent, scale = np.polyfit(np.log(ranks[half]), np.log(counts[half]), 1)
    return np.concatenate([counts, np.exp(scale) * ranks[len(counts) :] ** exponent])


def mimic_store(store: EntityStore, odds: np.ndarray) -> EntityStore:
    """Synthetic, of MIMIC's size: text lengths of the real store, entities by their (E,) odds."""
    rng = np.random.default_rng(0)
    entities = len(odds)
    lengths = rng.choice(np.diff(store.indptr)[store.keys["row"].to_numpy()], MIMIC["texts"])
    ids = np.searchsorted(np.cumsum(odds) / odds.sum(), rng.random(lengths.sum()))
    vectors = rng.standard_normal((entities, MIMIC["dimension"]), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return EntityStore(
        entity_texts=[""] * entities,
        entity_types=rng.integers(0, 5, entities).astype(np.int8),
        embeddings=vectors,
        texts=pa.chunked_array([pa.array([""] * len(lengths))]),
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        entity_ids=rng.permutation(entities).astype(np.int32)[np.minimum(ids, entities - 1)],
        keys=store.keys.slice(0, 0),
        scorer={"name": "synthetic", "parameters": {}},
        document_frequencies=np.minimum(np.bincount(ids, minlength=entities), MIMIC["reports"]).astype(
            np.int32
        ),
        training_reports=MIMIC["reports"],
    )


def batches(store: EntityStore, repeats: int) -> str:
    """T and T_Q of a batch: whole reports, and the texts of one anatomy."""
    real = np.diff(store.indptr)[store.keys["row"].to_numpy()]
    whole = store.keys["anatomy"].to_numpy() == ""
    cuts = [int(np.median(real[mask])) for mask in (whole, ~whole)]
    lines = [
        "| Frequencies | Relevance | Table | Filled in | T: entities, ms | T_Q: entities, ms | Together "
        "| Rare of T |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    ranks = np.arange(1, MIMIC["entities"] + 1, dtype=np.float64)
    kinds_of_odds = {"as mined": mined_odds(store, MIMIC["entities"])}
    kinds_of_odds |= {f"Zipf {exponent}": ranks**-exponent for exponent in (1.2, 1.6)}
    for name, odds in kinds_of_odds.items():
        big = mimic_store(store, odds)
        lengths = np.diff(big.indptr)
        rng = np.random.default_rng(1)
        kinds = [rng.choice(np.flatnonzero(np.abs(lengths - cut) <= cut // 2), 256) for cut in cuts]
        for table, relevance in product((256 * 2**20, 2**30), RELEVANCES):
            engine = RelevanceEngine.named(big, relevance, threads=2, table_bytes=table)
            started = time.perf_counter()
            engine.prepare()
            filled = time.perf_counter() - started
            cells, total = [], 0.0
            for rows in kinds:
                seconds = best_seconds(partial(engine.block, rows, rows), repeats)
                vocabulary = Texts.of(big, rows).entities(slice(0, 256)).vocabulary
                cells.append(f"{len(vocabulary):,}, {1e3 * seconds:.2f}")
                total += seconds
            vocabulary = Texts.of(big, kinds[0]).entities(slice(0, 256)).vocabulary
            rare = (engine._scores.similarities._slots[vocabulary] < 0).sum()
            lines.append(
                f"| {name} | {relevance} | {table // 2**20} MB | {filled:.0f} s | {' | '.join(cells)} "
                f"| {1e3 * total:.2f} ms | {rare} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--open-i", type=Path, required=True)
    parser.add_argument("--ct", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    before = os.getloadavg()[0]
    found = records(arguments.open_i, arguments.ct)
    store = EntityStore.build(found, LexicalExtractor(), training={study for study, _, _ in found})
    parts = [
        f"# The relevance engine, {machine()}",
        speed(store, arguments.repeats),
        "## Repeated texts, and all of Open-i",
        repeats_and_open_i(store),
        f"## A batch of 256 from a store of MIMIC's size ({MIMIC['texts']:,} texts, {MIMIC['entities']:,} "
        f"entities of {MIMIC['dimension']} dimensions, synthetic), 2 threads",
        batches(store, 5 * arguments.repeats),
        f"Load of the machine before and after: {before:.1f}, {os.getloadavg()[0]:.1f}.",
    ]
    sys.stdout.write("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
