"""A corpus is mined in order, on any number of processes alike, without being held in memory."""

import itertools
from collections.abc import Iterator

import pytest

from dataset_scripts.mining.corpus import mine_reports
from dataset_scripts.mining.findings import FindingsMiner
from dataset_scripts.mining.ontology import Anatomy, Ontology, default_ontology
from dataset_scripts.plumbing.processes import AHEAD

ORGANS = ("heart", "liver", "trachea", "spleen", "stomach")


def report(number: int) -> str:
    return (
        "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n FINDINGS:\n \n"
        f" The {ORGANS[number % 5]} measures {number}.5 cm, compared to the film of ___ by\n Dr. ___.  "
        "There is\n no effusion.\n \n IMPRESSION:\n \n Stable kidney.\n"
    )


def corpus(count: int) -> list[tuple[str, str]]:
    return [(f"s{number}", report(number)) for number in range(count)]


def test_several_processes_give_what_one_gives_in_the_order_of_the_reports() -> None:
    reports = corpus(90)
    serial = list(mine_reports(reports, processes=1, chunk=8))
    assert [name for name, _ in serial] == [name for name, _ in reports]
    assert list(mine_reports(reports, processes=2, chunk=8)) == serial
    for number, (_, found) in enumerate(serial):
        first = f"The {ORGANS[number % 5]} measures {number}.5 cm, compared to the film of ___ by Dr. ___."
        assert found[ORGANS[number % 5]].startswith(first)
        assert "kidney" not in found


class Counting(Iterator[tuple[str, str]]):
    """Endless reports that remember how many of them were read."""

    def __init__(self) -> None:
        self.read = 0

    def __next__(self) -> tuple[str, str]:
        self.read += 1
        return f"s{self.read}", report(self.read)


def test_the_corpus_is_read_only_a_few_chunks_ahead_and_may_be_left_early() -> None:
    endless, processes, chunk = Counting(), 2, 4
    mined = mine_reports(endless, processes=processes, chunk=chunk)
    for number, (name, _) in enumerate(itertools.islice(mined, 60), start=1):
        assert name == f"s{number}"
        assert endless.read <= number + AHEAD * processes * chunk
    mined.close()  # type: ignore[attr-defined]  # ends the processes, or this test would never end
    assert endless.read <= 60 + AHEAD * processes * chunk


def test_one_process_reads_no_more_than_a_chunk_ahead_and_nothing_before_it_is_asked() -> None:
    endless = Counting()
    mined = mine_reports(endless, processes=1, chunk=4)
    assert endless.read == 0
    for number, _ in enumerate(itertools.islice(mined, 30), start=1):
        assert number <= endless.read <= number + 2 * 4


def test_a_report_without_the_section_comes_out_empty_unless_another_section_is_asked_for() -> None:
    only_impression = " FINDINGS:\n \n IMPRESSION:\n The heart is large."
    reports = [("a", only_impression), ("b", report(0)), ("c", ""), ("d", " Heart large.\n\n Clear lungs.")]
    assert [bool(found) for _, found in mine_reports(reports, processes=1)] == [False, True, False, False]
    fallback = ("findings", "impression", "last_paragraph")
    mined = dict(mine_reports(reports, sections=fallback, processes=1))
    assert mined["a"]["heart"] == "The heart is large."
    assert "kidney" not in mined["b"]
    assert mined["d"]["lungs"] == "Clear lungs."


def test_texts_without_sections_are_mined_as_they_are_with_the_given_ontology() -> None:
    ontology = Ontology([Anatomy("thorax", (), "thorax"), Anatomy("heart", ("thorax",), "heart")])
    mined = mine_reports([("x", "FINDINGS: Large heart. Clear lungs.")], ontology, sections=None, processes=1)
    assert list(mined) == [("x", dict.fromkeys(("thorax", "heart"), "FINDINGS: Large heart."))]
    same = FindingsMiner(default_ontology()).mine("Large heart. Clear lungs.")
    assert dict(mine_reports([("x", "Large heart. Clear lungs.")], sections=None))["x"] == same


@pytest.mark.parametrize("count", [0, 1, 4])
def test_one_chunk_or_none_comes_out_complete(count: int) -> None:
    names = [name for name, _ in mine_reports(corpus(count), processes=2, chunk=4)]
    assert names == [f"s{number}" for number in range(count)]


@pytest.mark.parametrize("processes", [1, 2])
def test_something_else_than_text_is_refused_by_its_id(processes: int) -> None:
    reports = [*corpus(5), ("s50", None)]
    with pytest.raises(ValueError, match="'s50' must be a string, but is NoneType"):
        list(mine_reports(reports, processes=processes, chunk=2))  # type: ignore[arg-type]


@pytest.mark.parametrize(("processes", "chunk"), [(0, 1), (1, 0)])
def test_no_process_and_empty_chunks_are_refused_at_once(processes: int, chunk: int) -> None:
    with pytest.raises(ValueError, match="must be 1 or more"):
        mine_reports([], processes=processes, chunk=chunk)
