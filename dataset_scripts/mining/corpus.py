"""Mining a corpus: raw reports -> findings, on all cores, as a stream.

Reports are read a chunk at a time and only a few chunks are under way at once, so that memory does not grow
with the corpus.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dataset_scripts.mining.findings import FindingsMiner
from dataset_scripts.mining.ontology import Ontology
from dataset_scripts.mining.sections import split_sections
from dataset_scripts.plumbing.bars import progress_bar
from dataset_scripts.plumbing.processes import map_in_order

Report = tuple[str, str]  # (id, text)
Findings = tuple[str, dict[str, str]]  # (id, anatomy -> sentences)


def mine_reports(
    texts: Iterable[Report],
    ontology: Ontology | None = None,
    sections: Sequence[str] | None = ("findings",),
    processes: int | None = None,
    chunk: int = 256,
    progress: bool = False,
) -> Iterator[Findings]:
    """Mine raw reports, in order; every report that goes in comes out.

    Args:
        texts: (id, raw report), as many as there are; read at most `parallel.AHEAD` chunks a process ahead.
        ontology: the anatomies to mine; the packaged one by default.
        sections: which section to mine: the first of these that a report has. ("findings", "impression",
            "last_paragraph") falls back where there is no findings section; None takes a text as it is.
        processes: how many; all cores by default, 1 stays in this process, and so does a single chunk. A
            script that asks for several needs the `if __name__ == "__main__":` of `multiprocessing`.
        chunk: reports that a process takes at a time.
        progress: show a progress bar.

    Yields:
        (id, anatomy -> its sentences as `FindingsMiner.mine` gives them); no anatomy where a report has none
        of the sections, or where these mention none.

    Raises:
        ValueError: if a report is not a string, or a number is below 1.

    >>> reports = [("s1", " FINDINGS: The heart is large.\\n IMPRESSION: Cardiomegaly.")]
    >>> [(name, found["heart"]) for name, found in mine_reports(reports, processes=1)]
    [('s1', 'The heart is large.')]
    """
    if chunk < 1 or (processes is not None and processes < 1):
        raise ValueError(f"processes and chunk must be 1 or more, got {processes} and {chunk}")
    worker = _Worker(FindingsMiner(ontology), None if sections is None else (*sections,))
    return _stream(worker, _chunks(texts, chunk), processes, progress)


def _stream(
    worker: "_Worker", chunks: Iterator[list[Report]], processes: int | None, progress: bool
) -> Iterator[Findings]:
    with progress_bar(desc="reports", unit="report", shown=progress) as bar:
        for findings in map_in_order(worker, chunks, processes):
            yield from findings
            bar.update(len(findings))


@dataclass
class _Worker:
    """Mines a chunk; what a process is given when it starts."""

    miner: FindingsMiner
    sections: tuple[str, ...] | None

    def __call__(self, reports: list[Report]) -> list[Findings]:
        return [(name, self.miner.mine(self._section(name, text))) for name, text in reports]

    def _section(self, name: str, text: str) -> str:
        if not isinstance(text, str):
            raise ValueError(
                f"the report {name!r} must be a string, but is {type(text).__name__}: give the report's text"
            )
        if self.sections is None:
            return text
        found = split_sections(text)
        return next((found[section] for section in self.sections if section in found), "")


def _chunks(texts: Iterable[Report], size: int) -> Iterator[list[Report]]:
    reports = iter(texts)
    while chunk := list(itertools.islice(reports, size)):
        yield chunk
