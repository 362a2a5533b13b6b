"""The metrics' speed on an evaluation of the paper's size, beside ranx and pytrec_eval; the statistics' too.

    python benchmarks/metrics.py > benchmarks/results/metrics.md

Every anatomy has as many queries, each against as many candidates; scores and relevance are made for one
anatomy after the other, and their making is not timed. The others take integer gains alone, and ranked lists
instead of matrices; they are measured on a part and scaled to the whole, which the page says. All compiled
code is compiled before the clock runs. Seconds are those of the clock, so the load is printed too.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from machine import machine
from radir_eval.protocol import Protocol
from radir_eval.statistics.summary import summarise
from radir_eval.tasks import CONDITIONAL, TaskScores
from radir_retrieval import PerQuery, retrieval_metrics

KS = (3, 5, 10)
LEVELS = 5  # integer gains 0 to 4
CORRECT = 4

PAGE = """# The metrics, {machine}

`python benchmarks/metrics.py`

{anatomies} anatomies x {queries:,} queries x {candidates:,} candidates, {cells:,.0f} million pairs:
Recall (a hit) and NDCG at {ks}. Load of the machine before and after: {before:.1f}, {after:.1f}.

| | measured on | seconds for all | of RadIR's |
| --- | --- | ---: | ---: |
{table}

RadIR reads matrices of scores and of float gains, and takes exact ties in expectation. ranx and pytrec_eval
take integer gains, 0 to {most} here, and leave ties in some order. "Arrays" is ranx's fastest way in: pairs
of id and value that the caller has sorted, so a user pays for the sort as well. "Dictionaries" is the
documented way in; making the dictionaries counts. All compiled code was compiled before.

ranx from arrays takes {ratio:.0f} times as long as RadIR, and {sorted_ratio:.0f} times where the caller has
sorted. RadIR takes {seconds:.1f} s for all anatomies.
Largest difference of a query's figure on the same integer gains: {ranx_worst:.0e} from ranx,
{pytrec_worst:.0e} from pytrec_eval.

## With statistics

The same anatomies through `radir_eval.statistics.summary.summarise`: means, averages and their 95% intervals
from 10,000 draws of {patients:,} patients, and for more than one model also paired differences, 10,000 random
swaps, effect sizes and wins.

| Models | metrics, s | statistics, s | together, s | peak memory, MB |
| ---: | ---: | ---: | ---: | ---: |
{statistics}

The peak is that of the whole process, libraries included ({idle:,.0f} MB before the first anatomy); the
scores and relevance of one anatomy are {block:,.0f} MB of it.
"""


class Size(NamedTuple):
    anatomies: int
    queries: int
    candidates: int


def block(size: Size, anatomy: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores that know a little of the relevance: two (Q, C) float32, the relevance between 0 and 1."""
    rng = np.random.default_rng(anatomy)
    shape = size.queries, size.candidates
    relevance = rng.random(shape, dtype=np.float32)
    return rng.standard_normal(shape, dtype=np.float32) + relevance, relevance


def graded(size: Size, anatomy: int) -> tuple[np.ndarray, np.ndarray]:
    """The same with integer gains."""
    scores, relevance = block(size, anatomy)
    return scores, np.minimum(relevance * LEVELS, LEVELS - 1).astype(np.int64)


def seconds_of(run: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = run()
    return time.perf_counter() - started, result


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def radir(size: Size, threads: int | None) -> tuple[float, list[PerQuery]]:
    """Seconds for all anatomies, and the figures of each query."""
    retrieval_metrics(*block(Size(1, 8, 64), 0), KS)
    total, found = 0.0, []
    for anatomy in range(size.anatomies):
        scores, relevance = block(size, anatomy)
        seconds, result = seconds_of(partial(retrieval_metrics, scores, relevance, KS, threads=threads))
        total += seconds
        found.append(result)
    return total, found


def sorted_pairs(values: np.ndarray) -> np.ndarray:
    """(Q, C, 2) float64 of (id, value), descending: what ranx reads without dictionaries."""
    order = np.argsort(-values, axis=1)
    return np.stack([order, np.take_along_axis(values, order, axis=1)], axis=2).astype(np.float64)


def named(values: np.ndarray) -> dict[str, dict[str, Any]]:
    """query -> candidate -> value."""
    names = [f"d{column:05d}" for column in range(values.shape[1])]
    return {f"q{row:05d}": dict(zip(names, of, strict=True)) for row, of in enumerate(values.tolist())}


def ranx_seconds(size: Size, others: int, few: int) -> tuple[dict[str, float], float]:
    """Seconds for all anatomies by each way in, and the largest difference from RadIR."""
    import ranx

    names = [f"{name}@{k}{level}" for name, level in (("ndcg", ""), ("hit_rate", f"-l{CORRECT}")) for k in KS]
    found = dict.fromkeys(("sort", "arrays", "dictionaries"), 0.0)

    def from_dictionaries(scores: np.ndarray, gains: np.ndarray) -> Any:
        return ranx.evaluate(ranx.Qrels(named(gains)), ranx.Run(named(scores)), names, return_mean=False)

    small = graded(Size(1, 16, 64), 0)
    ranx.evaluate(sorted_pairs(small[1]), sorted_pairs(small[0]), names)
    from_dictionaries(*small)
    worst = 0.0
    for anatomy in range(others):
        scores, gains = graded(size, anatomy)
        seconds, pairs = seconds_of(lambda: (sorted_pairs(gains), sorted_pairs(scores)))  # noqa: B023
        found["sort"] += seconds * size.anatomies / others
        seconds, theirs = seconds_of(lambda: ranx.evaluate(*pairs, names, return_mean=False))  # noqa: B023
        found["arrays"] += seconds * size.anatomies / others
        mine = retrieval_metrics(scores, gains, KS, threshold=CORRECT, strict=False)
        expected = np.stack([theirs[name] for name in names], axis=1)
        worst = max(worst, float(np.abs(np.hstack([mine.ndcg, np.nan_to_num(mine.recall)]) - expected).max()))
    scores, gains = graded(size._replace(queries=few), 0)
    seconds, _ = seconds_of(partial(from_dictionaries, scores, gains))
    found["dictionaries"] = seconds * size.queries / few * size.anatomies
    return found, worst


def pytrec_seconds(size: Size, few: int) -> tuple[float, float]:
    """Seconds for all anatomies from dictionaries that are made in them, and the largest difference."""
    import pytrec_eval

    scores, gains = graded(size._replace(queries=few), 0)
    cuts = ",".join(map(str, KS))

    def run() -> Any:
        wanted = {f"ndcg_cut.{cuts}", f"success.{cuts}"}
        judge = pytrec_eval.RelevanceEvaluator(named(gains), wanted, relevance_level=CORRECT)
        return judge.evaluate(named(scores))

    seconds, theirs = seconds_of(run)
    mine = retrieval_metrics(scores, gains, KS, threshold=CORRECT, strict=False)
    rows = [
        [theirs[f"q{query:05d}"][f"{name}_{k}"] for name in ("ndcg_cut", "success") for k in KS]
        for query in range(few)
    ]
    worst = np.abs(np.hstack([mine.ndcg, np.nan_to_num(mine.recall)]) - np.array(rows)).max()
    return seconds * size.queries / few * size.anatomies, float(worst)


def statistics_seconds(size: Size, found: list[PerQuery], patients: int, models: int) -> float:
    """Seconds of everything between the figures of each query and results.json."""
    names = [f"anatomy {number}" for number in range(len(found))]
    rng = np.random.default_rng(0)
    items: Any = SimpleNamespace(
        subjects=rng.permutation(np.arange(size.queries) % patients),
        anatomies=[{"name": name, "region": f"region {number % 10}"} for number, name in enumerate(names)],
        train_counts=lambda: dict.fromkeys(names, 1),
    )
    scored = [
        TaskScores(
            model=f"model {model}",
            task=CONDITIONAL,
            anatomy=name,
            ks=KS,
            queries=np.arange(size.queries),
            n_candidates=size.candidates,
            recall=np.roll(result.recall, model, axis=0),
            ndcg=np.roll(result.ndcg, model, axis=0),
        )
        for name, result in zip(names, found, strict=True)
        for model in range(models)
    ]
    return seconds_of(partial(summarise, items, scored, Protocol()))[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--anatomies", type=int, default=90)
    parser.add_argument("--queries", type=int, default=3000)
    parser.add_argument("--candidates", type=int, default=3000)
    parser.add_argument("--patients", type=int, default=1500)
    parser.add_argument("--others", type=int, default=2, help="anatomies for ranx from arrays")
    parser.add_argument("--few", type=int, default=300, help="queries of one anatomy for dictionaries")
    parser.add_argument("--models", type=int, nargs="+", default=[1, 2, 5])
    arguments = parser.parse_args()
    sys.stdout.write(page(arguments))


def statistics_rows(
    size: Size, found: list[PerQuery], seconds: float, arguments: argparse.Namespace
) -> list[str]:
    """Numbers of models ascending, as the peak of a process never falls."""
    rows = []
    for models in sorted(arguments.models):
        spent = statistics_seconds(size, found, arguments.patients, models)
        cells = f"{models * seconds:.1f} | {spent:.1f} | {models * seconds + spent:.1f} | {peak_mb():,.0f}"
        rows.append(f"| {models} | {cells} |")
    return rows


def page(arguments: argparse.Namespace) -> str:
    size = Size(arguments.anatomies, arguments.queries, arguments.candidates)
    few, others = min(arguments.few, size.queries), min(arguments.others, size.anatomies)
    facts: dict[str, Any] = {"before": os.getloadavg()[0], "idle": peak_mb(), **size._asdict()}
    alone, _ = radir(size, 1)
    seconds, found = radir(size, None)
    facts["statistics"] = "\n".join(statistics_rows(size, found, seconds, arguments))
    ranx, facts["ranx_worst"] = ranx_seconds(size, others, few)
    pytrec, facts["pytrec_worst"] = pytrec_seconds(size, few)
    part = f"{others} of {size.anatomies} anatomies, scaled"
    queries = f"{few} queries of one anatomy, scaled"
    rows = [
        ("RadIR, float gains, 1 thread", "all", alone),
        ("RadIR, float gains, all cores", "all", seconds),
        ("sorting both sides with NumPy", part, ranx["sort"]),
        (f"ranx {version('ranx')}, arrays, sorted beforehand", part, ranx["arrays"]),
        ("ranx, arrays, the sort included", part, ranx["sort"] + ranx["arrays"]),
        ("ranx, dictionaries", queries, ranx["dictionaries"]),
        (f"pytrec_eval-terrier {version('pytrec_eval-terrier')}, dictionaries", queries, pytrec),
    ]
    facts["table"] = "\n".join(f"| {name} | {on} | {t:,.1f} | {t / seconds:,.1f} |" for name, on, t in rows)
    facts["ratio"] = (ranx["sort"] + ranx["arrays"]) / seconds
    facts["sorted_ratio"] = ranx["arrays"] / seconds
    return filled(size, arguments, facts | {"seconds": seconds, "after": os.getloadavg()[0]})


def filled(size: Size, arguments: argparse.Namespace, facts: dict[str, Any]) -> str:
    return PAGE.format(
        machine=machine(),
        ks=", ".join(map(str, KS)),
        cells=size.anatomies * size.queries * size.candidates / 1e6,
        most=LEVELS - 1,
        patients=arguments.patients,
        block=2 * 4 * size.queries * size.candidates / 2**20,
        **facts,
    )


if __name__ == "__main__":
    main()
