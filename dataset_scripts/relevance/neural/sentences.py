"""Sentences as RaTEScore 0.6.0 sees them: PyRuSH with medspacy's English rules on spaCy's English tokens.

medspacy itself is not imported: only its rule file is read. The rule engine of PyRuSH takes some 40
microseconds a character, more than a GPU needs for the NER; what it finds at a place in a text depends on the
next characters alone, so it is kept and found again wherever they recur. The splits are the same.
"""

import hashlib
import importlib.util
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

SHORTEST = 3  # characters; shorter sentences are dropped

_RULES = Path("resources", "en", "rush_rules.tsv")  # beside the medspacy package, where its wheel puts it
# A window decides what is found at a place if the rules read no further there; the shortest one is kept.
_WINDOWS = (3, 5, 8, 12, 18, 30)  # characters
_KEPT = 2_000_000  # windows kept, about 150 bytes each


class SentenceSplitter:
    """Splits texts into the sentences that the RaTEScore package would feed to its NER.

    Raises:
        ValueError: medspacy or PyRuSH is not installed.

    Example:
        >>> SentenceSplitter()("The heart is normal. No effusion.")
        ['The heart is normal.', 'No effusion.']
    """

    def __init__(self) -> None:
        rules = rules_path()
        try:
            import spacy
            from loguru import logger
            from PyRuSH import PyRuSHSentencizer
        except ImportError as error:
            raise ValueError(_missing(str(error))) from error
        logger.disable("PyRuSH")  # it logs every token at DEBUG
        self._tokenize = spacy.blank("en").tokenizer
        self._mark = PyRuSHSentencizer(None, rules_path=str(rules))
        remember_matches(self._mark.rush, str(rules))

    def __call__(self, text: str) -> list[str]:
        """Return the sentences of a text in order, stripped; those without a word or too short are dropped.

        Newlines inside a sentence stay. An empty list for a text without sentences.
        """
        if not text.strip():
            return []
        sentences = (str(sentence).strip() for sentence in self._mark(self._tokenize(text)).sents)
        return [sentence for sentence in sentences if len(sentence) >= SHORTEST]


@cache
def default_splitter() -> SentenceSplitter:
    """Return the splitter of this process; making one takes a second."""
    return SentenceSplitter()


def split_texts(texts: Iterable[str]) -> list[list[str]]:
    """Return the sentences of each text."""
    split = default_splitter()
    return [split(text) for text in texts]


def splitter_parameters() -> dict[str, str]:
    """Return what the splits depend on: the version of PyRuSH and the rules' SHA-256.

    Raises:
        ValueError: medspacy or PyRuSH is not installed.
    """
    rules = rules_path()
    return {"pyrush": version("PyRuSH"), "rules": hashlib.sha256(rules.read_bytes()).hexdigest()}


def rules_path() -> Path:
    """Return the path of medspacy's English sentence rules.

    Raises:
        ValueError: medspacy or PyRuSH is not installed.
    """
    found = importlib.util.find_spec("medspacy")
    if found is None or not found.submodule_search_locations:
        raise ValueError(_missing("no module named 'medspacy'"))
    if importlib.util.find_spec("PyRuSH") is None:
        raise ValueError(_missing("no module named 'PyRuSH'"))
    path = Path(next(iter(found.submodule_search_locations))).resolve().parent / _RULES
    if not path.is_file():
        raise ValueError(_missing(f"{path} is not there"))
    return path


def _missing(seen: str) -> str:
    return (
        "The ratescore scorer splits sentences with PyRuSH and the rules of medspacy, and one of them is not "
        f"installed ({seen}): run pip install 'radir[ratescore]', or use the lexical scorer"
    )


def remember_matches(rush: Any, rules: str) -> None:
    """Give a RuSH splitter a rule engine that remembers what it found for each window of characters.

    Args:
        rush: a ``PyRuSH.RuSH``; its results stay the same.
        rules: path of its rules.
    """
    from PyFastNER import FastCNER

    engine = type("RememberingNER", (_Remembering, FastCNER), {})(rules, rush.fastner.max_repeat)
    engine.span_compare_method = rush.fastner.span_compare_method
    rush.fastner = engine
    if not engine.full_definition:
        rush.backCompatableParseRule()


class _Remembering:
    """Over ``PyFastNER.FastCNER``: walks the rules once for each window, and replays what they found.

    Its methods have the names and arguments of those that they stand before.
    """

    def __init__(self, rules: str, max_repeat: int) -> None:
        self._known: dict[str, tuple] = {}
        self._furthest = 0  # position in the text that the rules have read
        self._found: list[tuple] = []
        super().__init__(rules, max_repeat)  # type: ignore[call-arg]

    def process(self: Any, text: str, offset: int = 0, matches: dict | None = None) -> dict:
        matches = {} if matches is None else matches
        self.offset = offset
        self.overlap_checkers.clear()
        for i in range(len(text)):
            # At 0 the rules see the start of the text, and 0 is their "no end yet": never remembered.
            events = self._recall(text, i) if i else None
            if events is None:
                self._furthest, self._found = i, []
                previous = text[i - 1] if i else " "
                self.processRules(text, self.rule_map, i, 0, i, matches, previous, False, " ")
                if i:
                    self._remember(text, i)
            else:
                for leaf, begin, end, at in events:
                    self.addDeterminants(
                        text, leaf, matches, begin + i, 0 if end is None else end + i, at + i
                    )
        self.removePseudo(matches)
        return matches

    def processRules(  # noqa: N802
        self, text: str, rule_map: dict, begin: int, end: int, at: int, *rest: Any
    ) -> None:
        self._furthest = max(self._furthest, at)
        super().processRules(text, rule_map, begin, end, at, *rest)  # type: ignore[misc]

    def addDeterminants(  # noqa: N802
        self, text: str, leaf: dict, matches: dict, begin: int, end: int, at: int
    ) -> None:
        self._found.append((leaf, begin, end, at))
        super().addDeterminants(text, leaf, matches, begin, end, at)  # type: ignore[misc]

    def _recall(self, text: str, i: int) -> tuple | None:
        for size in _WINDOWS:
            events = self._known.get(text[i : i + size])
            if events is not None:
                return events
        return None

    def _remember(self, text: str, i: int) -> None:
        for size in _WINDOWS:
            if self._furthest < i + size <= len(text):
                if len(self._known) < _KEPT:
                    self._known[text[i : i + size]] = tuple(
                        (leaf, begin - i, end - i if end else None, at - i)
                        for leaf, begin, end, at in self._found
                    )
                return
