"""The vocabulary of findings: what reports call them, how grave they are, and the words that qualify them.

The data lies in `vocabulary.yaml` beside this file. Anatomies are the ontology's; both together are all the
words that the reader knows, so that a synonym is added in one place.
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dataset_scripts.mining.tokens import fold, inflections

VOCABULARY_FILE = Path(__file__).with_name("vocabulary.yaml")
NORMAL = "normal"
SIZE_WORDS = frozenset({"large", "massive", "huge"})
"""Degrees that, said of an organ alone, mean that it is enlarged ("the heart is large")."""

_SEVERITY = {"urgent": 1.0, "actionable": 0.5, "minor": 0.25}


@dataclass(frozen=True)
class Sense:
    """What a form of the vocabulary says.

    Attributes:
        role: "disease", "abnormality" or "device" (a finding), "attribute" (a finding whose name depends on
            what it is said of), "degree", "quality", "normal", "generic" (abnormal, and no more), "structure"
            (a part of the body, no finding), "removed" (a device that is no longer there).
        name: the concept, or the word that the entity text holds.
    """

    role: str
    name: str

    @property
    def is_finding(self) -> bool:
        """Whether it can be affirmed and denied: a finding, a device or an attribute."""
        return self.role in FINDING_ROLES


FINDING_ROLES = frozenset({"disease", "abnormality", "device", "attribute"})


@dataclass(frozen=True)
class Vocabulary:
    """Forms, as folded words, and what is known about concepts.

    Attributes:
        senses: form -> what it says.
        kinds: concept -> "disease", "abnormality" or "device".
        groups: concept -> its group of near meanings.
        severities: concept -> 1 urgent, 0.5 actionable, 0.25 minor (the grades of CRIMSON).
        special: (attribute, anatomy) -> concept: an enlarged heart is cardiomegaly.
        denied_by_normal: anatomy -> the finding that is denied where the anatomy is called normal.
        suggested: (finding, anatomy) -> the finding that it suggests there.
        levels: degree word -> level, 1 (minimal) to 4 (severe).
        qualities: canonical qualities of findings, such as "patchy".
        ignored: words that are no finding where nothing else in a sentence is known.
        digest: SHA-256 of the file, which identifies the version.
    """

    senses: Mapping[tuple[str, ...], Sense]
    kinds: Mapping[str, str]
    groups: Mapping[str, str]
    severities: Mapping[str, float]
    special: Mapping[tuple[str, str], str]
    denied_by_normal: Mapping[str, str]
    suggested: Mapping[tuple[str, str], str]
    levels: Mapping[str, int]
    qualities: frozenset[str]
    ignored: frozenset[str]
    digest: str

    def forms_of(self, concept: str) -> Iterator[tuple[str, ...]]:
        """All folded forms that stand for a concept."""
        return iter(self._forms.get(concept, ()))

    @functools.cached_property
    def _forms(self) -> dict[str, list[tuple[str, ...]]]:
        forms: dict[str, list[tuple[str, ...]]] = {}
        for form, sense in self.senses.items():
            if sense.is_finding:
                forms.setdefault(sense.name, []).append(form)
        return forms


@functools.cache
def default_vocabulary() -> Vocabulary:
    """The vocabulary that comes with the package."""
    return load_vocabulary(VOCABULARY_FILE)


def load_vocabulary(path: Path) -> Vocabulary:
    """Read a vocabulary file of the form of the packaged one.

    Raises:
        ValueError: a form is given two meanings, is no text, or a grade or concept is unknown.
    """
    content = path.read_bytes()
    raw = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    senses: dict[tuple[str, ...], Sense] = {}
    groups: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for section, kind in (("diseases", "disease"), ("abnormalities", "abnormality")):
        for group, concepts in raw[section].items():
            for name, forms in concepts.items():
                groups[name], kinds[name] = group, kind
                _add(senses, [name, *forms], Sense(kind, name))
    for name, forms in raw["devices"].items():
        groups[name], kinds[name] = "devices", "device"
        _add(senses, [name, *forms], Sense("device", name))
    for name, attribute in raw["attributes"].items():
        kinds.setdefault(name, "abnormality")
        _add(senses, [name, *attribute["forms"]], Sense("attribute", name))
    _add_qualifiers(senses, raw)
    return Vocabulary(
        senses=senses,
        kinds=kinds,
        groups=groups,
        severities=_severities(raw["severity"], kinds, path),
        special={(n, at): to for n, a in raw["attributes"].items() for at, to in a["at"].items()},
        denied_by_normal=raw["denied_by_normal"],
        suggested={(n, at): to for n, places in raw["suggests"].items() for at, to in places.items()},
        levels={form: level for level, forms in raw["degrees"].items() for form in forms},
        qualities=frozenset(raw["qualities"]),
        ignored=frozenset(word for form in raw["ignored"] for word in fold(form)),
        digest=hashlib.sha256(content).hexdigest(),
    )


def _add_qualifiers(senses: dict[tuple[str, ...], Sense], raw: Mapping[str, Any]) -> None:
    """Add the words that qualify findings or stand for none; what a finding claims stays the finding's."""
    for forms in raw["degrees"].values():
        for form in forms:
            _add(senses, [form], Sense("degree", _adjective(form, forms)), overwrite=False)
    for name, forms in raw["qualities"].items():
        _add(senses, [name, *forms], Sense("quality", name), overwrite=False)
    _add(senses, raw["normal"], Sense("normal", NORMAL))
    _add(senses, raw["generic"], Sense("generic", NORMAL))
    _add(senses, raw["structures"], Sense("structure", ""))
    _add(senses, raw["removed"], Sense("removed", ""))


def _severities(graded: Mapping[str, list[str]], kinds: Mapping[str, str], path: Path) -> dict[str, float]:
    """Each concept's severity; those that no grade lists are actionable, devices minor."""
    found = {name: _SEVERITY["minor" if kind == "device" else "actionable"] for name, kind in kinds.items()}
    for grade, names in graded.items():
        unknown = [name for name in names if name not in kinds]
        if grade not in _SEVERITY or unknown:
            raise ValueError(
                f"{path}: severity lists {unknown or grade!r}, which is no concept or grade: the grades are "
                f"{', '.join(_SEVERITY)}, the concepts those of the file"
            )
        found.update(dict.fromkeys(names, _SEVERITY[grade]))
    return found


def _adjective(form: str, forms: Iterable[str]) -> str:
    """The degree word itself, adverbs as their adjective: "mildly" -> "mild"."""
    stem = form.removesuffix("ly")
    return stem if stem in forms else form


def _add(
    senses: dict[tuple[str, ...], Sense], forms: Iterable[Any], sense: Sense, overwrite: bool = True
) -> None:
    for form in forms:
        if not isinstance(form, str):
            raise ValueError(
                f"The vocabulary has the form {form!r}, which YAML does not read as text: put it in quotes"
            )
        words = fold(form)
        for variant in inflections(words, singular=False):
            known = senses.get(variant)
            if known is None or known == sense:
                senses[variant] = sense
            elif overwrite and variant == words:
                raise ValueError(
                    f"The vocabulary gives {' '.join(words)!r} two meanings: {known} and {sense}"
                )
