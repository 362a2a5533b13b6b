"""The reader on the shared phrasings: at least .95 of triples and links, each kind .8."""

import runpy
from pathlib import Path

import pytest

from dataset_scripts.relevance.formulas import RELEVANCES

BENCHMARK = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "report_language.py"))


@pytest.mark.parametrize("relevance", RELEVANCES)
def test_the_nearer_text_scores_higher(shared_data: Path, relevance: str) -> None:
    check(BENCHMARK["triples"](shared_data / "report-language" / "triples.csv", relevance))


def test_a_text_is_linked_to_its_anatomies_and_sides(shared_data: Path) -> None:
    check(BENCHMARK["links"](shared_data / "report-language" / "links.csv"))


def check(kinds: dict[str, list[bool]]) -> None:
    right = [right for of_kind in kinds.values() for right in of_kind]
    assert sum(right) >= 0.95 * len(right)
    for kind, of_kind in kinds.items():
        assert sum(of_kind) >= 0.8 * len(of_kind), kind
