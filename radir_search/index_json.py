"""What the text files of an index must hold: index.json, and items.jsonl with one item a line."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FORMAT = "radir-retrieval-index"
VERSION = 2
POINTER, ITEMS, EMBEDDINGS = "index.json", "items.jsonl", "embeddings"
GENERATION = re.compile(r"generation-[0-9a-f]{16}")
# Names of files are read from index.json, and must not lead out of the index.
_FILE = re.compile(r"[a-z0-9-]+\.safetensors")
_STALE = re.compile(rf"{re.escape(ITEMS)}|{EMBEDDINGS}/{_FILE.pattern}")


def read_about(folder: Path) -> dict[str, Any]:
    """The index.json of an index.

    Raises:
        ValueError: there is none, it is damaged or describes something else, or a newer version wrote it.
    """
    path = folder / POINTER
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"{folder} is no index: it has no readable {POINTER}; build one with `radir index`"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): remove it and build the index again") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"{path} does not describe a RadIR index: is this the right folder?")
    version = about.get("version")
    if isinstance(version, bool) or version not in (1, VERSION):
        raise ValueError(
            f"the index in {folder} has the format version {version} and this program reads {VERSION} and "
            "earlier: build it again, or use the version that wrote it"
        )
    expected = _EXPECTED if version == 1 else _EXPECTED | _EXPECTED_SINCE_2
    for key, (what, is_right) in expected.items():
        if not is_right(about.get(key)):
            raise ValueError(
                f"{path} is damaged: its {key} is {str(about.get(key))[:80]!r}, and {what} is expected; "
                "build the index again"
            )
    return about


def read_items(path: Path, count: int) -> list[dict[str, Any]]:
    """The items of an index.

    Raises:
        ValueError: there are not `count` of them, or a line is no item; the sentence names file and line.
    """
    items: list[dict[str, Any]] = []
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                items.append(_item(line, f"line {number} of {path}"))
    except OSError as error:
        raise ValueError(
            f"the index is damaged: {path} cannot be read ({error.strerror}); build it again"
        ) from error
    if len(items) != count:
        raise ValueError(
            f"the index is damaged: {path} has {len(items)} lines, and {POINTER} says {count} images; build "
            "it again"
        )
    return items


def _item(line: bytes, where: str) -> dict[str, Any]:
    try:
        item = json.loads(line)
        check_item(item, where)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the index is damaged: {where} is no item ({error}); build it again") from error
    return item


def check_item(item: object, what: str) -> None:
    """Make sure that an item says which image it is, and that what is shown of it is text.

    Raises:
        ValueError: it does not.
    """
    if not isinstance(item, Mapping):
        raise ValueError(f"{what} is {type(item).__name__}, not an object with an image_id")
    if not isinstance(item.get("image_id"), str | int):
        raise ValueError(f"{what} has no image_id; each item needs one")
    for key in ("study_id", "text"):
        if not isinstance(item.get(key, ""), str):
            raise ValueError(f"{what} has a {key} that is no text: {str(item[key])[:80]!r}")
    if not _is_texts(item.get("findings", {})):
        raise ValueError(f"{what} has findings that are no object of anatomy to text")


def _is_texts(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(text, str) for pair in value.items() for text in pair
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_anatomies(value: object) -> bool:
    """A list of at least one name and file, each name and each file once."""
    if not isinstance(value, list) or not all(_is_texts(entry) for entry in value):
        return False
    names, files = ([entry.get(key) for entry in value] for key in ("name", "file"))
    named = len(set(names)) == len(value) > 0 and None not in names
    return named and len(set(files)) == len(value) and all(_FILE.fullmatch(name or "") for name in files)


def _is_stale(value: object) -> bool:
    return value is None or (
        isinstance(value, list) and all(isinstance(name, str) and _STALE.fullmatch(name) for name in value)
    )


_Expected = dict[str, tuple[str, Callable[[Any], bool]]]
_EXPECTED: _Expected = {
    "model": ("a text", lambda value: isinstance(value, str)),
    "count": ("a whole number above 0", _is_count),
    "dimension": ("a whole number above 0", _is_count),
    "anatomies": ("a list of names, each with a file name.safetensors of its own", _is_anatomies),
}
_EXPECTED_SINCE_2: _Expected = {
    "generation": (
        "generation- and 16 hex digits",
        lambda v: isinstance(v, str) and bool(GENERATION.fullmatch(v)),
    ),
    "model_digests": ("an object of texts", _is_texts),
    "data": ("an object", lambda value: isinstance(value, Mapping)),
    "dataset": ("an object of texts", _is_texts),
    "replaces": ("a list of the files of version 1", _is_stale),
}
