"""Phrasings: which of two texts scores nearer to a query, and which anatomies a text is linked to.

    python benchmarks/report_language.py ../shared/data/report-language

triples.csv (kind, query, nearer, farther): right where the nearer text scores strictly higher, by the lexical
scorer under each relevance (content: by type and severity alone). links.csv (kind, text, must_link,
must_not_link; anatomies parted by ";"): right where the findings section, or a text without one, is linked to
all of the first and none of the second.
"""

import argparse
import csv
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataset_scripts.mining.findings import FindingsMiner
from dataset_scripts.mining.sections import split_sections
from dataset_scripts.relevance.formulas import RELEVANCES
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor
from dataset_scripts.relevance.text_scores import score_texts


def triples(path: Path, relevance: str) -> dict[str, list[bool]]:
    """Return, by kind, whether each query's nearer text scores higher."""
    rows = _rows(path)
    queries = [row["query"] for row in rows]
    nearer, farther = (
        score_texts(queries, [row[name] for row in rows], LexicalExtractor(), relevance=relevance)
        for name in ("nearer", "farther")
    )
    return _by_kind(rows, (nearer > farther).tolist())


def links(path: Path) -> dict[str, list[bool]]:
    """Return, by kind, whether each text is linked to what it must be, and to nothing that it must not be."""
    rows, miner = _rows(path), FindingsMiner()
    right = []
    for row in rows:
        found = set(miner.mine(split_sections(row["text"]).get("findings", row["text"])))
        must, must_not = (_listed(row[name]) for name in ("must_link", "must_not_link"))
        right.append(must <= found and not must_not & found)
    return _by_kind(rows, right)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _listed(cell: str) -> set[str]:
    return {name.strip() for name in cell.split(";") if name.strip()}


def _by_kind(rows: list[dict[str, str]], right: list[bool]) -> dict[str, list[bool]]:
    found: dict[str, list[bool]] = {}
    for row, is_right in zip(rows, right, strict=True):
        found.setdefault(row["kind"], []).append(is_right)
    return found


def main() -> None:
    """Print the shares that are right, by kind and in all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder with triples.csv and links.csv")
    folder = parser.parse_args().folder
    for name in ("triples.csv", "links.csv"):
        if not (folder / name).is_file():
            raise SystemExit(f"{folder} lacks {name}: give a folder with triples.csv and links.csv")
    tables = {f"triples, {name}": triples(folder / "triples.csv", name) for name in RELEVANCES}
    tables["links"] = links(folder / "links.csv")
    for title, kinds in tables.items():
        total = Counter(right for of_kind in kinds.values() for right in of_kind)
        sys.stdout.write(f"{title + ', all':58}{total[True]:4} of {total.total():3}\n")
        for kind, right in kinds.items():
            sys.stdout.write(f"    {kind:54}{sum(right):4} of {len(right):3}\n")


if __name__ == "__main__":
    main()
