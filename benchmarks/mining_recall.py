"""How much of what people annotated mining finds: Open-i's MeSH terms and the labels of CT reports as gold.

    python benchmarks/mining_recall.py --source DIR [--ct reports.csv] [--misses FILE]

DIR holds Open-i's indiana_reports.csv. Its column MeSH was written by people who read the report, in terms
such as "Opacity/lung/base/left"; mining never sees it. Findings and impression are mined, as the annotators
read both. mining_recall.yaml says which anatomy each term means, and which words of a report count as
speaking of the term at all; it is written from the terms, not from the ontology.

A recall says little of an anatomy that is mined in every report ("no acute cardiopulmonary abnormality"), so
two controls stand beside it: the recall of the anatomies that are mined in under half of all reports, and the
share of the reports *without* the annotation in which the anatomy is mined too. The latter is no error rate:
a report that says that the pleura is normal speaks of it and bears no annotation. Their ratio is the lift.
"""

import argparse
import csv
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset_scripts.mining.findings import FindingsMiner
from dataset_scripts.mining.sentences import split_sentences

MEANINGS = Path(__file__).with_suffix(".yaml")
SIDE_WORDS = {
    "left": "left|lt|lul|lll|bilat|both|bibas|biapic|bihil",
    "right": "right|rt|rul|rml|rll|bilat|both|bibas|biapic|bihil",
}


# Term -> its anatomy, and the words by which a report speaks of it ("a|b c", beginnings of words).
Meanings = dict[str, tuple[str, str]]


@dataclass
class Report:
    """One report: its text, what people annotated (term, anatomy) and on which side, and what is mined."""

    uid: str
    text: str
    gold: list[tuple[str, str]]
    sided: list[tuple[str, str, str]] = field(default_factory=list)  # term, side, the side's anatomy
    mined: frozenset[str] = frozenset()


@dataclass
class Tally:
    """Counts of one term: annotated, of these in reports that speak of the term, and found in each."""

    annotated: int = 0
    found: int = 0
    mentioned: int = 0
    found_mentioned: int = 0

    def add(self, found: bool, mentioned: bool) -> None:
        """Count one annotation."""
        self.annotated += 1
        self.found += found
        self.mentioned += mentioned
        self.found_mentioned += found and mentioned

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, name) + getattr(other, name) for name in vars(self)))

    def cells(self) -> str:
        """The counts and the two recalls as cells of a Markdown table."""
        recalls = (share(self.found, self.annotated), share(self.found_mentioned, self.mentioned))
        return f"{self.annotated} | {self.found} | {recalls[0]} | {self.mentioned} | {recalls[1]}"


def share(part: int, whole: int) -> str:
    """A fraction with three digits, or a dash for none of none."""
    return f"{part / whole:.3f}" if whole else "-"


def read_csv(path: Path, columns: set[str]) -> list[dict[str, str]]:
    """The rows of a CSV file that has at least these columns."""
    if not path.is_file():
        raise SystemExit(f"{path} is no file: name the place of the reports, see --help")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    missing = columns - set(rows[0] if rows else ())
    if missing:
        raise SystemExit(f"{path} lacks the columns {', '.join(sorted(missing))}")
    return rows


def read_open_i(path: Path, meanings: Meanings, miner: FindingsMiner, places: set[str]) -> list[Report]:
    """The reports that have a text and are indexed, with their annotations and what is mined from them."""
    reports = []
    for row in read_csv(path, {"uid", "MeSH", "findings", "impression"}):
        text = f"{row['findings']}\n\n{row['impression']}"
        if not text.strip() or "no indexing" in row["MeSH"].lower():
            continue
        report = Report(row["uid"], text, [], mined=frozenset(miner.mine(text)))
        gold: set[tuple[str, str]] = set()
        sided: set[tuple[str, str, str]] = set()
        for entry in row["MeSH"].lower().split(";"):
            parts = [" ".join(part.split()) for part in entry.split("/")]
            terms = [part for part in parts if part in meanings]
            gold.update((term, meanings[term][0]) for term in terms)
            sided.update(_sides(parts, terms, meanings, miner, places))
        report.gold, report.sided = sorted(gold), sorted(sided)
        reports.append(report)
    return reports


def _sides(
    parts: list[str],
    terms: list[str],
    meanings: Meanings,
    miner: FindingsMiner,
    places: set[str],
) -> Iterator[tuple[str, str, str]]:
    """(term, side, the side's anatomy) of one entry; the base takes the side, not the lung it is part of."""
    named = [term for term in terms if term in places and term != "lung"] or terms
    for side in ("left", "right"):
        if side in parts or "bilateral" in parts:
            for term in named:
                anatomy = getattr(miner.ontology[meanings[term][0]], side)
                if anatomy is not None:
                    yield term, side, anatomy


def mentions(text: str, words: str) -> bool:
    """Whether a word of the text begins with one of the words ("a|b c"); hyphens count as blanks."""
    return re.search(rf"\b(?:{words})", re.sub(r"[\s-]+", " ", text.lower())) is not None


def tally(reports: Iterable[Report], meanings: Meanings) -> dict[str, Tally]:
    """Term -> its counts over the reports."""
    found: dict[str, Tally] = {}
    for report in reports:
        for term, anatomy in report.gold:
            spoken = mentions(report.text, meanings[term][1])
            found.setdefault(term, Tally()).add(anatomy in report.mined, spoken)
    return found


def tally_sides(reports: Iterable[Report], meanings: Meanings) -> dict[str, Tally]:
    """Side -> counts; a report speaks of it if it has the term's words and a word for the side."""
    found: dict[str, Tally] = {}
    for report in reports:
        for term, side, anatomy in report.sided:
            spoken = mentions(report.text, meanings[term][1]) and mentions(report.text, SIDE_WORDS[side])
            found.setdefault(side, Tally()).add(anatomy in report.mined, spoken)
    return found


def half(uid: str) -> int:
    """0 or 1, by a hash of the report's number."""
    return hashlib.sha256(uid.encode()).digest()[0] % 2


def total(tallies: Iterable[Tally]) -> Tally:
    """The sum of counts."""
    return sum(tallies, Tally())


def summary(reports: list[Report], meanings: Meanings, places: set[str]) -> list[str]:
    """The table of recalls by group of annotations."""
    terms = tally(reports, meanings)
    rate = Counter(anatomy for report in reports for anatomy in report.mined)
    rows = {
        "places": total(t for term, t in terms.items() if term in places),
        "findings that imply a place": total(t for term, t in terms.items() if term not in places),
        "sides": total(tally_sides(reports, meanings).values()),
    }
    for limit in (0.5, 0.25):
        rare = [t for term, t in terms.items() if rate[meanings[term][0]] < limit * len(reports)]
        rows[f"anatomies mined in under {limit:.0%} of reports"] = total(rare)
    for number in (0, 1):
        part = [report for report in reports if half(report.uid) == number]
        rows[f"all, half {number + 1} by hash of the uid"] = total(tally(part, meanings).values())
    rows["all"] = total(terms.values())
    return [
        "| annotations | annotated | found | recall | where mentioned | recall there |",
        "|---|---|---|---|---|---|",
        *(f"| {name} | {row.cells()} |" for name, row in rows.items()),
    ]


def by_term(reports: list[Report], meanings: Meanings) -> list[str]:
    """The table of terms, most frequent first, with the controls."""
    lines = [
        "| term | anatomy | annotated | found | recall | where mentioned | recall there "
        "| mined without the annotation | lift |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for term, row in sorted(tally(reports, meanings).items(), key=lambda item: (-item[1].annotated, item[0])):
        anatomy = meanings[term][0]
        without = [report for report in reports if (term, anatomy) not in report.gold]
        rate = sum(anatomy in report.mined for report in without) / len(without)
        lift = f"{row.found / row.annotated / rate:.1f}" if rate else "inf"
        lines.append(f"| {term} | {anatomy} | {row.cells()} | {rate:.3f} | {lift} |")
    return lines


def ct_table(path: Path, labels: dict[str, str], miner: FindingsMiner) -> list[str]:
    """Label -> recall of its anatomy in positive reports, and how often it is mined in negative ones."""
    rows = read_csv(path, {"findings", *labels})
    mined = [frozenset(miner.mine(row["findings"])) for row in rows]
    lines = [
        "| label | anatomy | positive | found | recall | mined in negatives |",
        "|---|---|---|---|---|---|",
    ]
    sums = [0, 0]
    for label, anatomy in labels.items():
        positive = [anatomy in m for m, row in zip(mined, rows, strict=True) if float(row[label])]
        negative = [anatomy in m for m, row in zip(mined, rows, strict=True) if not float(row[label])]
        sums = [sums[0] + len(positive), sums[1] + sum(positive)]
        cells = f"{len(positive)} | {sum(positive)} | {share(sum(positive), len(positive))}"
        lines.append(f"| {label} | {anatomy} | {cells} | {share(sum(negative), len(negative))} |")
    lines.append(f"| all | | {sums[0]} | {sums[1]} | {share(sums[1], sums[0])} | |")
    return [coverage((row["findings"] for row in rows), miner), "", *lines]


def coverage(texts: Iterable[str], miner: FindingsMiner) -> str:
    """A sentence on the share of sentences that are linked to any anatomy."""
    sentences = [sentence for text in texts for sentence in split_sentences(text)]
    linked = sum(bool(miner.link(sentence)) for sentence in sentences)
    return f"{share(linked, len(sentences))} of {len(sentences)} sentences are linked to an anatomy."


def write_misses(path: Path, reports: list[Report], meanings: Meanings) -> None:
    """Every annotation that mining did not find, for reading. It holds reports: not to be published."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["uid", "term", "anatomy", "mentioned", "text"])
        for report in reports:
            asked = [*report.gold, *((f"{term}/{side}", a) for term, side, a in report.sided)]
            for term, anatomy in asked:
                if anatomy not in report.mined:
                    spoken = mentions(report.text, meanings[term.split("/")[0]][1])
                    text = " ".join(report.text.split())
                    writer.writerow([report.uid, term, anatomy, int(spoken), text])


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, required=True, help="folder with Open-i's indiana_reports.csv")
    parser.add_argument("--ct", type=Path, help="CSV of CT reports: findings, and a column for each label")
    parser.add_argument("--misses", type=Path, help="write what was not found to this CSV, with the reports")
    args = parser.parse_args()
    table = yaml.safe_load(MEANINGS.read_text(encoding="utf-8"))
    meanings = {
        term: (anatomy, words)
        for kind in ("places", "findings")
        for term, (anatomy, words) in table[kind].items()
    }
    miner = FindingsMiner()
    reports = read_open_i(args.source / "indiana_reports.csv", meanings, miner, set(table["places"]))
    lines = [
        f"{len(reports)} indexed Open-i reports with a text. "
        + coverage((text for report in reports for text in report.text.split("\n\n")), miner),
        "",
        *summary(reports, meanings, set(table["places"])),
        "",
        *by_term(reports, meanings),
    ]
    if args.ct:
        lines += ["", "CT reports:", "", *ct_table(args.ct, table["labels"], miner)]
    if args.misses:
        write_misses(args.misses, reports, meanings)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
