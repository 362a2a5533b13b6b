"""The words of chest reports (``lexicon.yaml``), loaded and indexed for longest match."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

LEXICON_FILE = Path(__file__).with_name("lexicon.yaml")
NORMAL = "normal"


@dataclass(frozen=True)
class Term:
    """What one form in a text stands for.

    Attributes:
        kind: "anatomy", "disease", "abnormality", "attribute", "normal", "generic", "side", "modifier",
        "ignored". names: the canonical terms; several for a compound such as "cardiomediastinal".
        side: the side that the form itself states ("bibasilar"), or "".
    """

    kind: str
    names: tuple[str, ...]
    side: str = ""


@dataclass(frozen=True)
class Lexicon:
    """Forms, as tuples of lower-case words, and what is known about canonical terms.

    Attributes:
        terms: form -> its meaning.
        groups: canonical term -> its group of near meanings.
        kinds: canonical term -> "anatomy", "disease" or "abnormality".
        sites: finding -> anatomy it lies in if the text names none.
        special: (attribute, anatomy) -> finding.
        qualities: canonical qualities of findings, such as "patchy".
        levels: degree word -> level, 1 (minimal) to 4 (severe).
        longest: words in the longest form.
        digest: SHA-256 of the file, which identifies the version.
    """

    terms: Mapping[tuple[str, ...], Term]
    groups: Mapping[str, str]
    kinds: Mapping[str, str]
    sites: Mapping[str, str]
    special: Mapping[tuple[str, str], str]
    qualities: frozenset[str]
    levels: Mapping[str, int]
    longest: int
    digest: str

    def match(self, words: Sequence[str], start: int) -> tuple[Term, int] | None:
        """Return the longest form that starts at a word, and its number of words; None if there is none."""
        for length in range(min(self.longest, len(words) - start), 0, -1):
            term = self.terms.get(tuple(words[start : start + length]))
            if term is not None:
                return term, length
        return None


@cache
def default_lexicon() -> Lexicon:
    """Return the lexicon that comes with the package."""
    return load_lexicon(LEXICON_FILE)


def load_lexicon(path: Path) -> Lexicon:
    """Read a lexicon file.

    Raises:
        ValueError: one form is given two meanings.
    """
    content = path.read_bytes()
    raw = yaml.safe_load(content)
    terms: dict[tuple[str, ...], Term] = {}
    groups: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for section, kind in (("anatomy", "anatomy"), ("diseases", "disease"), ("abnormalities", "abnormality")):
        for group, entries in raw[section].items():
            for name, forms in entries.items():
                groups[name], kinds[name] = group, kind
                _add(terms, [name, *forms], Term(kind, (name,)))
    for name, attribute in raw["attributes"].items():
        kinds.setdefault(name, "abnormality")
        _add(terms, [name, *attribute["forms"]], Term("attribute", (name,)))
    for compound in raw["compounds"]:
        _add(terms, compound["forms"], Term("anatomy", tuple(compound["parts"])))
    for sided in raw["sided"]:
        names = (sided["anatomy"],) if sided["anatomy"] else ()
        _add(terms, sided["forms"], Term("anatomy" if names else "side", names, sided["side"]))
    levels = {form: level for level, forms in raw["degrees"].items() for form in forms}
    for form in levels:
        _add(
            terms,
            [form],
            Term("modifier", (_adjective(form, raw["degrees"][levels[form]]),)),
            overwrite=False,
        )
    for name, forms in raw["qualities"].items():
        _add(terms, [name, *forms], Term("modifier", (name,)), overwrite=False)
    _add(terms, raw["normal"], Term("normal", (NORMAL,)))
    _add(terms, raw["generic"], Term("generic", (NORMAL,)))
    _add(terms, raw["ignored"], Term("ignored", ()), overwrite=False)
    return Lexicon(
        terms=terms,
        groups=groups,
        kinds=kinds,
        sites=raw["sites"],
        special={(n, where): to for n, a in raw["attributes"].items() for where, to in a["at"].items()},
        qualities=frozenset(raw["qualities"]),
        levels=levels,
        longest=max(map(len, terms)),
        digest=hashlib.sha256(content).hexdigest(),
    )


def split_form(form: str) -> tuple[str, ...]:
    """Return a form's words as texts are tokenised: lower case, hyphens and slashes read as blanks."""
    return tuple(form.lower().replace("-", " ").replace("/", " ").split())


def _adjective(form: str, forms: Sequence[str]) -> str:
    """Return the degree word itself, adverbs as their adjective: "mildly" -> "mild"."""
    stem = form.removesuffix("ly")
    return stem if stem in forms else form


def _add(
    terms: dict[tuple[str, ...], Term], forms: Iterable[Any], term: Term, overwrite: bool = True
) -> None:
    for form in forms:
        if not isinstance(form, str):
            raise ValueError(
                f"The lexicon has the form {form!r}, which YAML does not read as text: put it in quotes"
            )
        words = split_form(form)
        for variant in (words, *_plurals(words)):
            known = terms.get(variant)
            if known is None or known == term:
                terms[variant] = term
            elif overwrite and variant == words and known.kind != "ignored":
                raise ValueError(f"The lexicon gives {' '.join(words)!r} two meanings: {known} and {term}")


def _plurals(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the plural of the last word, where the rule of thumb gives one."""
    last = words[-1]
    if last.endswith(("s", "x", "z", "ch", "sh")):
        plural = last + "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        plural = last[:-1] + "ies"
    else:
        plural = last + "s"
    return [(*words[:-1], plural)]
