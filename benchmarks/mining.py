"""Mining speed: sections to findings, on one and two processes, beside what one would pick instead.

    python benchmarks/mining.py --open-i DIR --ct CSV > benchmarks/results/mining.md

Reports repeat their sentences and the miner keeps the anatomies of the most recent, so a benchmark that feeds
the same reports again and again would measure that store alone. Here every rate says what repeats:

- distinct: each report of the collection once, nothing kept from before;
- no repeats: a number of its own ends each sentence of each report, so that none occurs twice.

Every rate is the median of several runs. Stages and spaCy's competitors read private attributes of the miner:
the stages of one sentence and the spelled-out terms have no public interface.
"""

import argparse
import csv
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from machine import machine

from dataset_scripts.mining.abbreviations import expand
from dataset_scripts.mining.corpus import mine_reports
from dataset_scripts.mining.findings import FindingsMiner
from dataset_scripts.mining.laterality import SideFinder
from dataset_scripts.mining.mentions import MentionFinder
from dataset_scripts.mining.ontology import default_ontology
from dataset_scripts.mining.sections import split_sections
from dataset_scripts.mining.sentences import split_sentences
from dataset_scripts.mining.tokens import tokenize
from dataset_scripts.plumbing.processes import AHEAD

MIMIC_REPORTS = 227_835
CT_REPORTS = 25_692  # of CT-RATE
CHUNK = 256
COPIES = {"cxr": 8, "ct": 32}  # of the collection, for the rates of several processes
SAMPLE = 200
MEMORY_REPORTS = 40_000  # fills the store of sentences of two processes

NOTES = """Reports repeat their sentences, and the miner keeps the anatomies of the 65,536 most recent.
So *distinct* mines each report of the collection once with nothing kept from before, and *no repeats* ends
each sentence with a number of its own, so that no sentence occurs twice: the slowest case. Feeding the
same reports again would be the fastest, and is not shown. CXR reports are raw (sections to findings; those
without a findings section count too), CT reports are findings sections. Medians of {repeats} runs, in CPU
seconds for one process and in seconds by the clock for two.
Load of the machine before and after: {0:.1f}, {1:.1f}."""

_PERIOD = re.compile(r"(?<=[a-z])\.(?=\s|$)")
_HEAD = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old ___ with cough, evaluate for pneumonia.

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  Chest radiograph dated ___.
"""


def raw_reports(open_i: Path) -> list[str]:
    """Open-i's reports in the shape of MIMIC-CXR: title, headings, lines of 79 characters, underscores."""
    with (open_i / "indiana_reports.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    reports = []
    for row in rows:
        text = _HEAD
        for name in ("findings", "impression"):
            lines = textwrap.wrap(re.sub("X{3,}", "___", row[name]), 78)
            text += f"\n {name.upper()}:\n\n" + "".join(f" {line}\n" for line in lines)
        reports.append(text)
    return reports


def ct_reports(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["findings"] for row in csv.DictReader(file)]


def without_repeats(reports: Iterable[str], start: int = 0) -> Iterator[str]:
    """The reports with a number at the end of each sentence that no other report has."""
    for number, report in enumerate(reports, start):
        yield _PERIOD.sub(f" {100_000 + number}.", report)


def median_seconds(run: Callable[[], Any], repeats: int) -> float:
    """CPU seconds of this process, which others on the machine disturb less than the clock's."""
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        run()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds)


def serial_rate(reports: Sequence[str], raw: bool, repeats: int) -> float:
    """Reports a second in this process; each run starts with nothing kept."""
    miners = iter([FindingsMiner() for _ in range(repeats)])

    def run() -> None:
        miner = next(miners)
        for report in reports:
            miner.mine(split_sections(report).get("findings", "") if raw else report)

    return len(reports) / median_seconds(run, repeats)


def parallel_rate(reports: Sequence[str], raw: bool, processes: int, repeats: int) -> tuple[float, float]:
    """Medians of (seconds until the processes run, reports a second from then on)."""
    ahead = AHEAD * processes * CHUNK
    starts, rates = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        sections = ("findings",) if raw else None
        mined = mine_reports(
            ((str(number), report) for number, report in enumerate(reports)),
            sections=sections, processes=processes, chunk=CHUNK,
        )  # fmt: skip
        for number, _ in enumerate(mined):
            if number == 0:
                starts.append(time.perf_counter() - started)
            if number == ahead:
                steady = time.perf_counter()
            if number == len(reports) - 1:
                rates.append((number - ahead) / (time.perf_counter() - steady))
    return statistics.median(starts), statistics.median(rates)


def speed_table(corpora: dict[str, list[str]], repeats: int) -> str:
    titles = ("Reports", "Characters a report", "1 process, distinct", "1 process, no repeats",
              "2 processes, no repeats", "Start-up of 2 processes", "Whole set on 2 processes")  # fmt: skip
    lines = [f"| {' | '.join(titles)} |", "| --- |" + " ---: |" * (len(titles) - 1)]
    for name, reports in corpora.items():
        raw = name == "cxr"
        fresh = list(without_repeats(reports * COPIES[name]))
        distinct = serial_rate(reports, raw, repeats)
        none = serial_rate(fresh[: len(reports)], raw, repeats)
        start, both = parallel_rate(fresh, raw, 2, max(3, repeats // 2))
        total, of = (MIMIC_REPORTS, "MIMIC-CXR") if raw else (CT_REPORTS, "CT-RATE")
        title = "raw, MIMIC-shaped (Open-i)" if raw else "chest CT findings"
        characters = sum(map(len, reports)) / len(reports)
        lines.append(
            f"| {title}, {len(reports):,} | {characters:,.0f} | {distinct:,.0f}/s | {none:,.0f}/s "
            f"| {both:,.0f}/s | {start:.1f} s | {start + total / both:,.0f} s ({of}: {total:,}) |"
        )
    return "\n".join(lines)


def repeats_table(corpora: dict[str, list[str]]) -> str:
    lines = ["| Reports | Sentences | Different | Seen before |", "| --- | ---: | ---: | ---: |"]
    for name, reports in corpora.items():
        sentences = [s for report in reports for s in split_sentences(findings_of(name, report))]
        different = len(set(sentences))
        seen = 1 - different / len(sentences)
        lines.append(f"| {name} | {len(sentences):,} | {different:,} | {seen:.0%} |")
    return "\n".join(lines)


def findings_of(name: str, report: str) -> str:
    return split_sections(report).get("findings", "") if name == "cxr" else report


def profile_table(corpora: dict[str, list[str]], repeats: int) -> str:
    """The share of each stage, run on its own; what is left of the whole is assembly."""
    stages = ("sections", "sentences", "tokenising", "matching", "sides", "assembly")
    lines = [f"| Reports | {' | '.join(stages)} | µs a report |", "| --- |" + " ---: |" * (len(stages) + 1)]
    for name, reports in corpora.items():
        fresh = list(without_repeats(reports))
        seconds = _stage_seconds(name, fresh, repeats)
        total = len(fresh) / serial_rate(fresh, name == "cxr", repeats)
        shares = [*seconds, max(0.0, total - sum(seconds))]
        lines.append(
            f"| {name} | " + " | ".join(f"{share / sum(shares):.0%}" for share in shares)
            + f" | {1e6 * total / len(fresh):,.0f} |"
        )  # fmt: skip
    return "\n".join(lines)


def _stage_seconds(name: str, reports: list[str], repeats: int) -> list[float]:
    ontology = default_ontology()
    mentions, sides = MentionFinder(ontology), SideFinder(ontology)
    texts = [findings_of(name, report) for report in reports]
    sentences = [sentence for text in texts for sentence in split_sentences(text)]
    tokens = [expand(tokenize(sentence)) for sentence in sentences]
    found = [mentions.find(words) for words in tokens]
    sided = [(t, m) for t, m in zip(tokens, found, strict=True) if m and sides.has_side(t)]
    runs: list[Callable[[], Any]] = [
        lambda: [findings_of(name, report) for report in reports],
        lambda: [split_sentences(text) for text in texts],
        lambda: [expand(tokenize(sentence)) for sentence in sentences],
        lambda: [mentions.find(words) for words in tokens],
        lambda: [sides.find(words, those) for words, those in sided],
    ]
    return [median_seconds(run, repeats) for run in runs]


def memory_child(open_i: Path, count: int) -> None:
    """In a process of its own: mine `count` reports without repeats as a stream, print peak memory in MB."""
    distinct = raw_reports(open_i)
    stream = without_repeats(distinct[number % len(distinct)] for number in range(count))
    numbered = ((str(number), report) for number, report in enumerate(stream))
    mined = sum(bool(found) for _, found in mine_reports(numbered, processes=2, chunk=CHUNK))
    parent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"mined": mined, "parent": parent, "worker": worker}))


def memory_table(open_i: Path) -> str:
    lines = ["| Reports | Peak memory, parent | Peak memory, largest worker |", "| ---: | ---: | ---: |"]
    for count in (MEMORY_REPORTS, 4 * MEMORY_REPORTS):
        command = [sys.executable, __file__, "--open-i", str(open_i), "--memory-of", str(count)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        peak = json.loads(done.stdout)
        lines.append(f"| {count:,} | {peak['parent']:.0f} MB | {peak['worker']:.0f} MB |")
    return "\n".join(lines)


def spacy_miners(miner: FindingsMiner) -> dict[str, Callable[[str], dict[str, str]]]:
    """Sentence splitter + PhraseMatcher over the ontology's terms; sentences merge into the same wholes."""
    import medspacy.sentence_splitting  # noqa: F401 - registers medspacy_pyrush
    import spacy
    from loguru import logger
    from spacy.matcher import PhraseMatcher

    logger.disable("PyRuSH")  # it logs every token
    names, ontology = miner.ontology.names, miner.ontology
    made: dict[str, Callable[[str], dict[str, str]]] = {}
    for splitter in ("sentencizer", "medspacy_pyrush"):
        nlp = spacy.blank("en")
        nlp.add_pipe(splitter)
        matcher = PhraseMatcher(nlp.vocab, attr="LOWER")
        for form, term in MentionFinder(ontology)._forms.items():
            for number, _ in term.owners:
                matcher.add(names[number], [nlp.make_doc(" ".join(form))])

        def mine(text: str, nlp: Any = nlp, matcher: Any = matcher) -> dict[str, str]:
            doc = nlp(text)
            found: dict[str, list[str]] = {}
            for sentence in doc.sents:
                linked = {nlp.vocab.strings[match] for match, _, _ in matcher(sentence)}
                for name in linked.union(*(ontology.ancestors(name) for name in linked)):
                    found.setdefault(name, []).append(sentence.text)
            return {name: " ".join(sentences) for name, sentences in found.items()}

        made[f"spaCy {splitter} + PhraseMatcher"] = mine
    return made


def _mine_all(mine: Callable[[str], dict[str, str]], texts: list[str]) -> None:
    for text in texts:
        mine(text)


def comparison_table(corpora: dict[str, list[str]], repeats: int) -> str:
    """One sample of findings texts without repeats, on one core, each way in the same run."""
    miner = FindingsMiner(kept=0)
    ways = {"RadIR": miner.mine, **spacy_miners(miner)}
    lines = [
        "| Way | " + " | ".join(f"{name}, reports | anatomies a report" for name in corpora) + " |",
        "| --- |" + " ---: |" * 2 * len(corpora),
    ]
    cells: dict[str, list[str]] = {way: [] for way in ways}
    for name, reports in corpora.items():
        texts = [findings_of(name, report) for report in without_repeats(reports)]
        texts = [text for text in texts if text][:SAMPLE]
        base = None
        for way, mine in ways.items():
            seconds = median_seconds(partial(_mine_all, mine, texts), repeats)
            base = base or seconds
            anatomies = sum(len(mine(text)) for text in texts) / len(texts)
            slower = "" if seconds == base else f" (1 / {seconds / base:.0f})"
            cells[way] += [f"{len(texts) / seconds:,.0f}/s{slower}", f"{anatomies:.1f}"]
    return "\n".join(lines + [f"| {way} | {' | '.join(row)} |" for way, row in cells.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--open-i", type=Path, required=True, help="folder with indiana_reports.csv")
    parser.add_argument("--ct", type=Path, help="CSV with a column `findings`")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        memory_child(arguments.open_i, arguments.memory_of)
        return
    corpora = {"cxr": raw_reports(arguments.open_i), "ct": ct_reports(arguments.ct)}
    repeats = arguments.repeats
    loads = [os.getloadavg()[0]]
    parts = [
        ("Sections to findings", speed_table(corpora, repeats)),
        ("What repeats in a collection taken once", repeats_table(corpora)),
        ("Where the time goes (no repeats, one process)", profile_table(corpora, repeats)),
        ("Memory (MIMIC-shaped, no repeats, streamed, 2 processes)", memory_table(arguments.open_i)),
        (f"What one would pick instead ({SAMPLE} reports, one process)", comparison_table(corpora, 3)),
    ]
    loads.append(os.getloadavg()[0])
    sys.stdout.write(f"# Report mining, {machine()}\n\n{NOTES.format(*loads, repeats=repeats)}\n")
    for title, table in parts:
        sys.stdout.write(f"\n## {title}\n\n{table}\n")


if __name__ == "__main__":
    main()
