"""Twice the text takes twice the work, whatever the text: counted in executed lines, not in seconds."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from dataset_scripts.mining.findings import FindingsMiner
from dataset_scripts.mining.sections import split_sections
from dataset_scripts.mining.sentences import split_sentences
from dataset_scripts.relevance.lexical.extractor import LexicalExtractor

# One unit of a text each; the texts are this many times as long.
UNITS = {
    "no full stop": "the heart is enlarged with a small left pleural effusion and possible atelectasis ",
    "commas": "left effusion, right lower lobes, no edema, which is likely stable, ",
    "one sentence": "The heart is large. ",
    "one token": "abcdefgh",
    "newlines": "\n",
    "blank lines": " \n \n",
    "digits": "1234567",
    "list numbers": "1. ",
    "list lines": "\n1. heart ",
    "white space": " \t",
    "brackets": "[** a ",
    "parentheses": "(heart (",
    "accents": "é\u0301 心 ",
    "periods without blanks": "a.",
    "negations": "no ",
    "uncertain": "effusion is likely, ",
    "sides": "left right ",
    "sides and pairs": "left lungs more right bases ",
    "conjuncts": "thoracic and lumbar spine and ",
    "headings": "A:\n x\n" + "_" * 25 + "\n y\n",
    "rules": "_" * 25 + "\n",
    "dots": ".",
    "quotes": '" ',
    "capitals": "WET ",
}
MINER = FindingsMiner(kept=0)
SCORER = LexicalExtractor()


def lines_of(work: Callable[[], Any]) -> int:
    """How many lines of Python, in the functions that it calls, some work executes."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def read(text: str) -> None:
    split_sections(text)
    MINER.mine(text)
    SCORER.embed([entity.text for entity in SCORER.extract([text])[0]])


@pytest.mark.parametrize("kind", UNITS)
def test_work_grows_with_the_text_and_no_faster(kind: str) -> None:
    unit = UNITS[kind]
    count = max(1, 1500 // len(unit))
    once, twice = (lines_of(lambda text=unit * n + " heart.": read(text)) for n in (count, 2 * count))
    assert twice < 2.4 * once + 500, f"{kind}: {once} lines for a text, {twice} for twice that"


def test_what_is_no_sentence_is_cut_at_blanks_and_nothing_is_lost() -> None:
    words = [f"word{number}" for number in range(3000)]
    pieces = split_sentences(" ".join(words))
    assert max(map(len, pieces)) <= 5000
    assert " ".join(pieces).split() == words
    token = "x" * 12_000
    assert "".join(split_sentences(token)) == token


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...!?",
        "\0\0 heart \0",
        "\u202eheart \u200f is large\u202c",
        "The heart \U0001f9e1 is large.",
        "The heart is large.\r\nNo effusion.\r\n",
        "<p>The heart is <b>large</b>.</p><script>",
        "The heart \ud800 is large.",
        "\ufeffheart",
        "x" * 20_000,
        "Large heart. " * 5_000,
    ],
)
def test_odd_texts_are_mined_and_scored(text: str) -> None:
    mined = MINER.mine(text)
    assert ("heart" in mined) == ("eart" in text)
    entities = SCORER.extract([text])[0]
    assert SCORER.embed([entity.text for entity in entities[:50]]).shape[1] == 1024
