"""RadGenome-Chest CT's region reports: CT-RATE's sentences, each tied to the region that it describes.

The tables (`train_region_report.csv`, `validation_region_report.csv`) have a row a sentence: Volumename,
Anatomy, Sentence. RadGenome keeps one reconstruction of a scan, so rows are joined to CT-RATE by scan. Its
licence is CT-RATE's. Source: Zhang et al., arXiv 2404.16754.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dataset_scripts.mining.ontology import Ontology, default_ontology
from dataset_scripts.sources.base import Skipped
from dataset_scripts.sources.ctrate.tables import VolumeName
from dataset_scripts.sources.tables import read_source_table

_COLUMNS = ("volumename", "anatomy", "sentence")
_PLACES = ("", "radgenome_files", "dataset/radgenome_files")  # of the tables in a copy of the repository
_NO_REGION = ("", "nan", "none")
# A region that joins two anatomies is tied to the whole of both; mining finds which of them a sentence names.
_REGIONS = {"trachea and bronchie": "airway"}


@dataclass(frozen=True)
class RegionReports:
    """Sentences by scan and anatomy, and how many were left out.

    Attributes:
        by_scan: scan -> anatomy of the ontology -> its sentences, each once, in the table's order.
        unknown: region that is no anatomy of the ontology ("others") -> its sentences.
        untied: number of sentences without a region.
        unnamed: number of rows whose volume has no CT-RATE name.
    """

    by_scan: dict[str, dict[str, str]]
    unknown: dict[str, int] = field(default_factory=dict)
    untied: int = 0
    unnamed: int = 0

    def skipped(self) -> Iterator[Skipped]:
        """What was left out, one item a kind, with its number of sentences."""
        for region, count in self.unknown.items():
            yield Skipped(
                f"radgenome: {region}",
                f"no anatomy of the ontology: {count} sentences of the region {region!r}",
            )
        if self.untied:
            yield Skipped("radgenome", f"tied to no region: {self.untied} sentences")
        if self.unnamed:
            yield Skipped("radgenome", f"of no CT-RATE volume: {self.unnamed} sentences")


def region_tables(path: Path) -> list[Path]:
    """The tables of region reports that a file or folder stands for.

    Raises:
        ValueError: there is none.
    """
    if path.is_file():
        return [path]
    for place in _PLACES:
        found = sorted((path / place).glob("*region_report*.csv"))
        if found:
            return found
    raise ValueError(
        f"{path} holds no region reports: give a table such as train_region_report.csv, or the folder "
        "radgenome_files that holds it"
    )


def read_region_reports(path: Path, ontology: Ontology | None = None) -> RegionReports:
    """Read the region reports of RadGenome-Chest CT.

    Args:
        path: one of the tables, or a folder that holds them (RadGenome's own, or its `radgenome_files`).
        ontology: what region names resolve in; the package's own by default.

    Raises:
        ValueError: there is no such table, or a column is missing.
    """
    rows = (row for table in region_tables(path) for row in _rows(table))
    return _collect(rows, ontology or default_ontology())


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """(volume, region, sentence); the columns' names may be written in any case."""
    table = read_source_table(path)
    columns = {str(column).strip().lower(): column for column in table.columns}
    missing = [column for column in _COLUMNS if column not in columns]
    if missing:
        raise ValueError(
            f"{path} lacks the column(s) {', '.join(missing)}; region reports have Volumename, Anatomy and "
            f"Sentence, this has {', '.join(map(str, table.columns))}"
        )
    yield from table[[columns[column] for column in _COLUMNS]].itertuples(index=False, name=None)


def _collect(rows: Iterable[tuple[str, str, str]], ontology: Ontology) -> RegionReports:
    sentences: dict[str, dict[str, dict[str, None]]] = {}
    names: dict[str, VolumeName | None] = {}
    anatomies: dict[str, str | None] = {}
    unknown: Counter[str] = Counter()
    untied = unnamed = 0
    for volume, region, sentence in rows:
        region, sentence = " ".join(region.lower().split()), sentence.strip()
        if not sentence or sentence.lower() in _NO_REGION:
            continue  # a row without a sentence says nothing
        if volume not in names:
            names[volume] = VolumeName.parse(volume)
        if region not in anatomies:
            anatomies[region] = _anatomy(region, ontology)
        name, anatomy = names[volume], anatomies[region]
        if name is None:
            unnamed += 1
        elif region in _NO_REGION:
            untied += 1
        elif anatomy is None:
            unknown[region] += 1
        else:
            sentences.setdefault(name.scan, {}).setdefault(anatomy, {})[_ended(sentence)] = None
    by_scan = {
        scan: {anatomy: " ".join(texts) for anatomy, texts in tied.items()}
        for scan, tied in sentences.items()
    }
    return RegionReports(by_scan, dict(unknown), untied, unnamed)


def _anatomy(region: str, ontology: Ontology) -> str | None:
    try:
        return ontology.resolve(_REGIONS.get(region, region))
    except ValueError:
        return None


def _ended(sentence: str) -> str:
    """With a full stop, so that two sentences in a row stay two."""
    return sentence if sentence[-1] in ".!?" else sentence + "."
