"""Discovery of anatomies that the ontology lacks, from RadGraph's annotations (paper section 3.2).

The paper took its 90 anatomies from the frequent anatomical terms that RadGraph-XL marks in reports. Given
such annotations, this lists the terms by frequency, each with the anatomy that already covers it.

The forms of annotations that are read stand in `radgraph_json.py`.
"""

import contextlib
import importlib
import sys
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dataset_scripts.mining.findings import FindingsMiner
from dataset_scripts.mining.ontology import Ontology, default_ontology
from dataset_scripts.mining.radgraph import Entity, entities_of, flatten, read_entities, terms_of
from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.plumbing.bars import progress_bar

_SUFFIXES = (".json", ".jsonl", ".ndjson")
_BATCH = 32  # reports annotated in one call; bounds memory


@dataclass(frozen=True)
class TermCoverage:
    """An anatomical term of a corpus.

    Attributes:
        term: lower case, without hyphens.
        count: how often it is mentioned.
        share_of_all: count over all mentions of anatomical terms in the corpus.
        anatomy: the ontology's anatomy that it is linked to; several are joined by "; ". None if the ontology
            lacks it.
    """

    term: str
    count: int
    share_of_all: float
    anatomy: str | None


@dataclass(frozen=True)
class Discovery:
    """The anatomical terms of a corpus, and how many of their mentions the ontology covers.

    Attributes:
        documents: reports read.
        without_entities: reports in which RadGraph marked nothing at all.
        mentions: mentions of anatomical terms, rare ones included.
        covered_share: share of these mentions that the ontology covers; 0 without any.
        rare_terms: terms left out of `terms` because they are rarer than asked for.
        terms: most frequent first.
    """

    documents: int
    without_entities: int
    mentions: int
    covered_share: float
    rare_terms: int
    terms: list[TermCoverage]


def discover(
    paths: Iterable[Path], ontology: Ontology | None = None, min_count: int = 1, progress: bool = True
) -> Discovery:
    """List the anatomical terms of files with RadGraph's output.

    One file at a time is held in memory.

    Args:
        paths: files, or folders that are searched for *.json, *.jsonl and *.ndjson.
        ontology: what may cover a term; the packaged one by default.
        min_count: terms with fewer mentions are counted, not listed.
        progress: show a progress bar.

    Raises:
        ValueError: if there is no file, or one is not RadGraph output; the message names it.
    """
    files = progress_bar(_files(paths), desc="RadGraph output", unit="file", shown=progress)
    return _survey((entities for path in files for entities in read_entities(path)), ontology, min_count)


def survey(
    documents: Iterable[dict[str, Any]], ontology: Ontology | None = None, min_count: int = 1
) -> Discovery:
    """List the anatomical terms of annotated reports; see `discover`.

    Example:
        >>> lung = {"tokens": "lungs", "label": "ANAT-DP", "start_ix": 0, "end_ix": 0, "relations": []}
        >>> survey([{"text": "lungs", "entities": {"1": lung}}]).terms
        [TermCoverage(term='lungs', count=1, share_of_all=1.0, anatomy='lungs')]
    """
    return _survey(map(entities_of, flatten(documents)), ontology, min_count)


def _survey(
    reports: Iterable[dict[Hashable, Entity]], ontology: Ontology | None, min_count: int
) -> Discovery:
    if min_count < 1:
        raise ValueError(f"the smallest count to list must be 1 or more, but is {min_count}")
    read = empty = 0
    counts: Counter[str] = Counter()
    for entities in reports:
        read += 1
        empty += not entities
        counts.update(terms_of(entities))
    terms = coverage(counts, ontology or default_ontology())
    listed = [item for item in terms if item.count >= min_count]
    covered = sum(item.count for item in terms if item.anatomy is not None)
    return Discovery(
        documents=read,
        without_entities=empty,
        mentions=counts.total(),
        covered_share=covered / max(counts.total(), 1),
        rare_terms=len(terms) - len(listed),
        terms=listed,
    )


def coverage(terms: Counter[str], ontology: Ontology) -> list[TermCoverage]:
    """Find the anatomy behind each term, as report mining links it; most frequent terms first."""
    miner = FindingsMiner(ontology)
    total = max(terms.total(), 1)
    ordered = sorted(terms.items(), key=lambda item: (-item[1], item[0]))
    return [TermCoverage(term, count, count / total, _anatomy(term, miner)) for term, count in ordered]


def write_terms(terms: Sequence[TermCoverage], out: Path) -> None:
    """Write terms as CSV, whole or not at all: term, count, share, cumulative_share, anatomy.

    Raises:
        ValueError: if `out` is a folder.
    """
    if out.is_dir():
        raise ValueError(f"{out} is a folder: give the name of the CSV file to write")
    table = pd.DataFrame(
        [(item.term, item.count, item.share_of_all, item.anatomy) for item in terms],
        columns=["term", "count", "share", "anatomy"],
    )
    table.insert(3, "cumulative_share", table["share"].cumsum())
    with atomic_path(out) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6f")


def read_reports(path: Path) -> list[str]:
    """Reports to annotate: a CSV file's column findings, report or text, or the lines of a text file.

    Raises:
        ValueError: if there is no such file, column or line.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file: give a CSV file with a column of reports, or one report a line")
    try:
        if path.suffix.lower() != ".csv":
            reports = path.read_text(encoding="utf-8").splitlines()
        else:
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:  # pandas' errors are ValueErrors
        raise ValueError(f"{path} cannot be read as {path.suffix or 'text'} in UTF-8: {error}") from error
    if path.suffix.lower() == ".csv":
        column = next((name for name in ("findings", "report", "text") if name in table), None)
        if column is None:
            raise ValueError(
                f"{path} has no column findings, report or text; it has {', '.join(map(str, table.columns))}"
            )
        reports = table[column].tolist()
    if not any(map(str.strip, reports)):
        raise ValueError(f"{path} holds no report")
    return reports


def annotate(
    texts: Sequence[str], model_type: str = "radgraph-xl", progress: bool = True
) -> Iterator[dict[str, Any]]:
    """Annotate reports with the `radgraph` package, which fetches its model from the Hub on first use.

    Args:
        texts: the reports; blank ones give documents without entities.
        model_type: radgraph-xl, modern-radgraph-xl or radgraph.
        progress: show a progress bar.

    Returns:
        The documents, in order, as they are computed.

    Raises:
        ValueError: if the package is not installed or its model cannot be loaded.
    """
    try:
        package = importlib.import_module("radgraph")
    except ImportError as error:
        raise ValueError(
            f"annotating reports needs the radgraph package ({error}): pip install 'radir[radgraph]', "
            "or give RadGraph's output as JSON files"
        ) from error
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the package prints
            model = package.RadGraph(model_type=model_type)
    except Exception as error:  # the package raises bare Exception where the download fails
        raise ValueError(f"RadGraph's model {model_type!r} cannot be loaded: {error}") from error
    return _annotate(model, texts, progress)


def _annotate(model: Any, texts: Sequence[str], progress: bool) -> Iterator[dict[str, Any]]:
    with progress_bar(total=len(texts), desc="RadGraph", unit="report", shown=progress) as bar:
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            filled = [text for text in batch if text.strip()]  # the package would annotate "None" for ""
            with contextlib.redirect_stdout(sys.stderr):
                output = model(filled) if filled else {}
            documents = iter([output[str(number)] for number in range(len(filled))])
            for text in batch:
                yield next(documents) if text.strip() else {"text": text, "entities": {}}
            bar.update(len(batch))


def _files(paths: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(item for item in path.rglob("*") if item.suffix.lower() in _SUFFIXES)
            if not found:
                raise ValueError(f"{path} holds no RadGraph output: no file ends in {', '.join(_SUFFIXES)}")
            files.extend(found)
        elif path.is_file():
            files.append(path)
        else:
            raise ValueError(f"{path} is neither a file nor a folder: give RadGraph's output as JSON files")
    if not files:
        raise ValueError("no RadGraph output is given: name JSON files, or folders with such files")
    return files


def _anatomy(term: str, miner: FindingsMiner) -> str | None:
    """The most specific of the linked anatomies; "lungs" links both sides too, and stays their whole."""
    linked = miner.link(term)
    hidden: set[str] = set()
    for whole in linked:
        parts = [name for name in linked if whole in miner.ontology.ancestors(name)]
        hidden.update([whole] if len(parts) == 1 else parts)
    return "; ".join(name for name in linked if name not in hidden) or None
