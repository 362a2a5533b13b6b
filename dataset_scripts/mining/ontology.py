"""The anatomy terminology set (paper section 3.2): names, synonyms and the hierarchy that findings merge
along.

The data lies in `ontology.yaml` beside this file and is checked when it is read.
"""

import difflib
import functools
import hashlib
import importlib.resources
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from dataset_scripts.mining.tokens import fold, inflections

MODALITIES = ("cxr", "ct")
SIDE_WORD_KEYS = ("left", "right", "both")
# Of the fields of an anatomy in a file; all others are lists of words.
_FIELD_TYPES: Mapping[str, type[Any]] = {"name": str, "region": str, "left": str, "right": str, "pair": bool}


@dataclass(frozen=True)
class Anatomy:
    """One anatomical structure and the words by which reports speak of it.

    Attributes:
        name: the preferred name, lower case.
        parents: the structures it is part of; its sentences count for them too.
        region: the row under which results are averaged (paper Table 2).
        synonyms: other names; each belongs to one anatomy alone.
        adjectives: forms that mention it beside a noun or as a predicate ("pleural"); may be shared.
        implied_by: findings that are always findings of it ("pneumothorax"); may be shared.
        modality: in which images it is read, "cxr" and / or "ct".
        suggested_by: findings that are findings of it unless their clause names another place ("nodule").
        left: the anatomy that a mention beside the word "left" also is, or None.
        right: the same for "right".
        pair: whether left and right are one each, so that the bare plural means both; ribs are many.
    """

    name: str
    parents: tuple[str, ...]
    region: str
    synonyms: tuple[str, ...] = ()
    adjectives: tuple[str, ...] = ()
    implied_by: tuple[str, ...] = ()
    modality: tuple[str, ...] = MODALITIES
    suggested_by: tuple[str, ...] = ()
    left: str | None = None
    right: str | None = None
    pair: bool = True


class Ontology:
    """An immutable, checked set of anatomies: a directed acyclic graph from parts to wholes.

    Args:
        anatomies: every anatomy; their order is the order of all output.
        not_anatomy: phrases that hold an anatomy's word without speaking of it ("chest x-ray").
        side_words: "left", "right", "both" -> the words for that side.

    Raises:
        ValueError: for an unknown parent or side, a cycle, or a name or synonym that two anatomies claim.
    """

    def __init__(
        self,
        anatomies: Iterable[Anatomy],
        not_anatomy: Iterable[str] = (),
        side_words: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self._anatomies: dict[str, Anatomy] = {}
        for anatomy in anatomies:
            if anatomy.name in self._anatomies:
                raise ValueError(f"the anatomy {anatomy.name!r} is listed twice: merge the two entries")
            self._anatomies[anatomy.name] = anatomy
        self.names: tuple[str, ...] = tuple(self._anatomies)
        self.not_anatomy: tuple[str, ...] = tuple(not_anatomy)
        self.side_words: dict[str, tuple[str, ...]] = {
            key: tuple((side_words or {}).get(key, ())) for key in SIDE_WORD_KEYS
        }
        self._check_references()
        self._ancestors = {name: self._walk_up(name) for name in self.names}
        self._names_by_form = self._claim_forms()

    def __getitem__(self, name: str) -> Anatomy:
        return self._anatomies[name]

    def __iter__(self) -> Iterator[Anatomy]:
        return iter(self._anatomies.values())

    def __len__(self) -> int:
        return len(self._anatomies)

    def __contains__(self, name: object) -> bool:
        return name in self._anatomies

    def ancestors(self, name: str) -> tuple[str, ...]:
        """All anatomies that `name` is part of, nearest first, without itself."""
        return self._ancestors[name]

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of its anatomies and words, which identifies the version."""
        content = repr((tuple(self), self.not_anatomy, tuple(sorted(self.side_words.items()))))
        return hashlib.sha256(content.encode()).hexdigest()

    def regions(self) -> dict[str, tuple[str, ...]]:
        """Region -> its anatomies, both in file order."""
        found: dict[str, list[str]] = {}
        for anatomy in self:
            found.setdefault(anatomy.region, []).append(anatomy.name)
        return {region: tuple(names) for region, names in found.items()}

    def resolve(self, term: str) -> str:
        """The anatomy that a name, a synonym or an adjective of one anatomy alone stands for.

        Case, hyphens and the number of the last word do not matter.

        Raises:
            ValueError: if no anatomy goes by that term; the message names the nearest ones.
        """
        name = self._names_by_form.get(fold(term))
        if name is not None:
            return name
        known = [" ".join(form) for form in self._names_by_form]
        near = difflib.get_close_matches(" ".join(fold(term)), known, n=5, cutoff=0.5)
        names = list(dict.fromkeys(self._names_by_form[fold(form)] for form in near))
        hint = (
            f"did you mean {', '.join(map(repr, names))}?" if names else "see Ontology.names for all of them"
        )
        raise ValueError(f"no anatomy is called {term!r}: {hint}")

    def _check_references(self) -> None:
        for anatomy in self:
            for role, other in [
                *(("parent", parent) for parent in anatomy.parents),
                ("left", anatomy.left),
                ("right", anatomy.right),
            ]:
                if other is not None and other not in self:
                    raise ValueError(
                        f"{anatomy.name!r} has the {role} {other!r}, which is no anatomy: add it"
                    )

    def _walk_up(self, name: str) -> tuple[str, ...]:
        """Breadth first, so that nearer ancestors come first."""
        found: dict[str, None] = {}
        level = list(self[name].parents)
        while level:
            if name in level:
                raise ValueError(f"{name!r} is part of itself through its parents: break the cycle")
            found.update(dict.fromkeys(level))
            level = [p for n in dict.fromkeys(level) for p in self[n].parents if p not in found or p == name]
        return tuple(found)

    def _claim_forms(self) -> dict[tuple[str, ...], str]:
        """Folded form -> the one anatomy of that name, synonym or unshared adjective."""
        claims: dict[tuple[str, ...], str] = {}
        for anatomy in self:
            for term in (anatomy.name, *anatomy.synonyms):
                for form in inflections(fold(term)):
                    owner = claims.setdefault(form, anatomy.name)
                    if owner != anatomy.name:
                        raise ValueError(
                            f"{' '.join(form)!r} is claimed by {owner!r} and {anatomy.name!r}: "
                            "a name or synonym belongs to one anatomy, make it an adjective to share it"
                        )
        owners: dict[tuple[str, ...], set[str]] = {}
        for anatomy in self:
            for term in anatomy.adjectives:
                owners.setdefault(fold(term), set()).add(anatomy.name)
        for form, names in owners.items():
            if len(names) == 1:
                claims.setdefault(form, *names)
        return claims


def load_ontology(path: Path) -> Ontology:
    """Read an ontology from a YAML file of the same form as the packaged one.

    Raises:
        ValueError: if the file is not of that form, or its content fails the checks of `Ontology`.
    """
    return _parse(path.read_text(encoding="utf-8"), str(path))


@functools.cache
def default_ontology() -> Ontology:
    """The packaged ontology for chest X-ray and chest CT."""
    resource = importlib.resources.files(__package__) / "ontology.yaml"
    return _parse(resource.read_text(encoding="utf-8"), "ontology.yaml")


def _parse(text: str, source: str) -> Ontology:
    content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    if not isinstance(content, dict) or not isinstance(content.get("anatomies"), list):
        raise ValueError(f"{source} is no ontology: it must be a mapping with a list under 'anatomies'")
    unknown = set(content) - {"anatomies", "not_anatomy", "side_words"}
    if unknown:
        raise ValueError(f"{source} has the unknown keys {sorted(unknown)}: see the packaged ontology.yaml")
    anatomies = [_anatomy(entry, source) for entry in content["anatomies"]]
    return Ontology(anatomies, content.get("not_anatomy", ()), content.get("side_words"))


def _anatomy(entry: Any, source: str) -> Anatomy:
    if not isinstance(entry, dict) or not {"name", "parents", "region"} <= set(entry):
        raise ValueError(f"{source}: an anatomy needs name, parents and region, but one is {entry!r}")
    name = entry["name"]
    unknown = set(entry) - {field.name for field in fields(Anatomy)}
    if unknown:
        raise ValueError(
            f"{source}: the anatomy {name!r} has the unknown fields {sorted(unknown)}: remove them"
        )
    values: dict[str, Any] = {}
    for key, value in entry.items():
        wanted = _FIELD_TYPES.get(key, list)
        if not isinstance(value, wanted):
            raise ValueError(f"{source}: {key} of {name!r} must be a {wanted.__name__}, but is {value!r}")
        if wanted is list and not all(isinstance(term, str) and fold(term) for term in value):
            raise ValueError(
                f"{source}: {key} of {name!r} must hold words only, but is {value!r}: quote them"
            )
        values[key] = tuple(value) if wanted is list else value
    if not set(values.get("modality", MODALITIES)) <= set(MODALITIES):
        raise ValueError(
            f"{source}: modality of {name!r} must be among {MODALITIES}, but is {values['modality']}"
        )
    return Anatomy(**values)
