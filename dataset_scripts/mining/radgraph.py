"""RadGraph's annotations as files: which documents they hold, and which anatomical terms these mention.

Read are JSON files, and files with one JSON value a line, of these forms:

- the output of the `radgraph` package: {"0": {"text", "entities": {"1": {"tokens", "label", "start_ix",
  "end_ix", "relations": [[kind, "2"]]}}}}, or a list of such outputs; labels "Anatomy::definitely present"
- RadGraph 1.0 on PhysioNet: {path of the report: the same}, labels "ANAT-DP"; in its test.json the entities
  lie a level deeper, under each annotator. The first one is taken, so that a report counts once
- DyGIE++ documents: {"sentences", "ner", "relations"}, spans as token numbers of the whole document
"""

import json
import re
from collections.abc import Generator, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dataset_scripts.mining.tokens import fold

_DOCUMENT_KEYS = ("entities", "sentences", "ner")  # a JSON object with one of these is a document
_BLANK = re.compile(r"\s*")


@dataclass(frozen=True)
class Entity:
    """A marked span, tokens[start..end] of its document, both included; `modifies` are keys of others."""

    text: str
    label: str
    start: int
    end: int
    modifies: tuple[Hashable, ...]

    @property
    def is_anatomy(self) -> bool:
        """Whether it names a structure; "2 cm above" is marked as Anatomy::measurement and names none."""
        return self.label.upper().startswith("ANAT") and "measurement" not in self.label.lower()


def read_entities(path: Path) -> Iterator[dict[Hashable, Entity]]:
    """The marked spans of each report of one file, by their key.

    The file's text is held in memory, its reports are decoded one by one.

    Raises:
        ValueError: if the file is not JSON or not RadGraph output.
    """
    try:
        for document in flatten(_json_values(path.read_text(encoding="utf-8"))):
            yield entities_of(document)
    except RecursionError as error:
        raise ValueError(f"{path} cannot be read as RadGraph output: it is nested too deep") from error
    except (OSError, ValueError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise ValueError(f"{path} cannot be read as RadGraph output: {error}") from error


def _json_values(text: str) -> Iterator[Any]:
    """The members of each object or array in a text, each decoded on its own; documents whole."""
    decoder = json.JSONDecoder()
    position = _skip(text, 0)
    while position < len(text):
        if text[position] in "{[":
            position = yield from _members(text, position, decoder)
        else:
            value, position = decoder.raw_decode(text, position)
            yield value
        position = _skip(text, position)


def _members(text: str, start: int, decoder: json.JSONDecoder) -> Generator[Any, None, int]:
    """Decode a container member by member and return where it ends."""
    is_object, closing = text[start] == "{", "}" if text[start] == "{" else "]"
    position = _skip(text, start + 1)
    if text[position : position + 1] == closing:
        return position + 1
    while True:
        key = None
        if is_object:
            key, position = decoder.raw_decode(text, position)
            position = _skip(text, _expect(text, _skip(text, position), ":"))
        value, position = decoder.raw_decode(text, position)
        if is_object and (key in _DOCUMENT_KEYS or not isinstance(value, dict | list)):
            whole, end = decoder.raw_decode(text, start)  # a document, not a container of documents
            yield whole
            return end
        yield value
        position = _skip(text, position)
        if text[position : position + 1] == closing:
            return position + 1
        position = _skip(text, _expect(text, position, ","))


def _skip(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    assert match is not None
    return match.end()


def _expect(text: str, position: int, mark: str) -> int:
    if text[position : position + 1] != mark:
        raise json.JSONDecodeError(f"Expecting {mark!r}", text, position)
    return position + 1


def flatten(values: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """The documents that containers hold, however deep.

    Raises:
        ValueError: if something in them is no document.
    """
    for value in values:
        if isinstance(value, list):
            yield from flatten(value)
        elif not isinstance(value, dict):
            raise ValueError(
                f"a report's annotations must be an object with 'entities', but are {value!r:.60}"
            )
        elif any(key in value for key in _DOCUMENT_KEYS):
            yield value
        elif annotators := sorted(key for key in value if key.startswith("labeler")):
            yield from flatten([value[annotators[0]]])
        else:
            yield from flatten(value.values())


def entities_of(document: dict[str, Any]) -> dict[Hashable, Entity]:
    """The marked spans of one document by their key.

    Raises:
        ValueError: if the document lacks RadGraph's form.
    """
    try:
        if "entities" in document:
            return {key: _radgraph_entity(entity) for key, entity in document["entities"].items()}
        return _dygie_entities(document)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(
            "a report's annotations lack RadGraph's form (tokens, label, start_ix, end_ix and relations of "
            f"each entity, or sentences, ner and relations): {type(error).__name__} {error}"
        ) from error


def _radgraph_entity(entity: dict[str, Any]) -> Entity:
    return Entity(
        text=str(entity["tokens"]),
        label=str(entity["label"]),
        start=int(entity["start_ix"]),
        end=int(entity["end_ix"]),
        modifies=tuple(other for kind, other in entity["relations"] if kind == "modify"),
    )


def _dygie_entities(document: dict[str, Any]) -> dict[Hashable, Entity]:
    tokens = [token for sentence in document["sentences"] for token in sentence]
    modifies: dict[Hashable, list[Hashable]] = {}
    for relations in document.get("relations", []):
        for start, end, other_start, other_end, kind, *_ in relations:  # scores may follow
            if kind == "modify":
                modifies.setdefault((start, end), []).append((other_start, other_end))
    return {
        (start, end): Entity(
            " ".join(tokens[start : end + 1]), str(label), start, end, tuple(modifies.get((start, end), ()))
        )
        for spans in document["ner"]
        for start, end, label, *_ in spans
    }


def terms_of(entities: dict[Hashable, Entity]) -> list[str]:
    """The anatomical terms that one document mentions.

    RadGraph marks "left", "lower" and "lobe" apart, the first two as modifiers of the third. A structure and
    its modifiers make one term, in text order; modifiers beyond a gap make a further term with the structure,
    so that "left upper and lower lobes" counts as "lower lobes" and "left upper lobes". A side or a position
    that modifies no anatomy is a term of its own. Measurements ("2 cm above") are none.

    Args:
        entities: from `entities_of`.

    Returns:
        One item a mention: lower case, without hyphens and other marks inside words.
    """
    anatomies = {key: entity for key, entity in entities.items() if entity.is_anatomy}
    modifiers: dict[Hashable, list[Hashable]] = {}
    heads: list[Hashable] = []
    others: list[Hashable] = []
    for key, entity in anatomies.items():
        modified = [other for other in entity.modifies if other in anatomies and other != key]
        for other in modified:
            modifiers.setdefault(other, []).append(key)
        (others if modified else heads).append(key)
    terms: list[str] = []
    reached: set[Hashable] = set()
    for head in [*heads, *others]:  # others follow for two that modify each other and so have no head
        if head not in reached:
            group = _with_modifiers(head, modifiers)
            reached |= group
            terms.extend(_join(anatomies[head], [anatomies[key] for key in group]))
    return terms


def _with_modifiers(head: Hashable, modifiers: dict[Hashable, list[Hashable]]) -> set[Hashable]:
    group, waiting = {head}, [head]
    while waiting:
        fresh = [key for key in modifiers.get(waiting.pop(), ()) if key not in group]
        group.update(fresh)
        waiting.extend(fresh)
    return group


def _join(head: Entity, group: list[Entity]) -> list[str]:
    """One term for the run of words around the head, and one with the head for each run beyond a gap."""
    ordered = sorted(group, key=lambda entity: (entity.start, entity.end))
    runs = [[ordered[0]]]
    for before, entity in pairwise(ordered):
        if entity.start > before.end + 1:
            runs.append([])
        runs[-1].append(entity)
    terms = []
    for run in runs:
        words = run if head in run else sorted([*run, head], key=lambda entity: entity.start)
        text = " ".join(entity.text for entity in words)
        terms.append(" ".join(fold(text)) or text.lower())
    return terms
