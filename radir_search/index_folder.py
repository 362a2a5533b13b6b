"""The folder of an index: generations of files that never change, and index.json, which says which counts.

index.json                      what the index holds and was made from, and its generation
generation-<16 hex digits>/     named by its content
    items.jsonl                 one item a line, in the order of the rows
    embeddings/<name>.safetensors   the features of one anatomy, (n, d) float32
    manifest.json               the files of the generation

A new index is a new generation, written whole; then index.json is replaced in one step, and the old
generation is removed. So the index is never gone from its name, and a reader gets the files of one
generation, whatever writers do. Version 1 had items.jsonl and embeddings/ at the top: it can be read, and is
replaced in the same way.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dataset_scripts.building.provenance import joined
from dataset_scripts.plumbing.atomic import (
    atomic_path,
    is_leftover,
    remove,
    remove_leftovers,
    sync_folder,
)
from dataset_scripts.plumbing.manifest import (
    MANIFEST,
    digest,
    files_below,
    read_manifest,
    write_manifest,
)
from dataset_scripts.sources.base import Sharing
from radir_search.index_json import (
    EMBEDDINGS,
    FORMAT,
    GENERATION,
    ITEMS,
    POINTER,
    VERSION,
    read_about,
    read_items,
)

_KIND = "radir-retrieval-index-generation"  # of a generation's manifest
_TRIES = 100  # of a reader, while writers replace the index


@dataclass(frozen=True)
class Origin:
    """What an index was made from.

    Attributes:
        model: name, folder or Hub id of the model that made the features; "" where that is not known.
        model_digests: of `model_identity.model_digests`; empty where they are not known.
        data: the terms of the data, of `provenance.joined`; what nobody knows anything of is restricted.
        dataset: name and digest of the dataset that the images are of; empty for other images.
    """

    model: str = ""
    model_digests: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=lambda: joined({"images": None}))
    dataset: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether everybody may have the index."""
        return self.data.get("sharing") == Sharing.OPEN


@dataclass(frozen=True)
class Contents:
    """What a folder holds: features (n, d) float32 by anatomy, n items, and their origin."""

    embeddings: Mapping[str, Tensor]
    items: Sequence[Mapping[str, Any]]
    origin: Origin


def check_output(folder: Path) -> None:
    """Make sure that an index may be written to a folder, and remove what a killed writer left in it.

    Args:
        folder: missing, empty, or an index of ours; other files beside an index stay what they are.

    Raises:
        ValueError: it is a file, cannot be written, or holds something else.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file, and an index is a folder: give another output")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{folder} cannot be written: give another output, or make it writable")
    generations = _generations(folder)
    for generation in generations:
        _check_generation(generation)
    if os.path.lexists(folder / POINTER):
        about = _own_about(folder)
    else:
        ours = {*generations, folder / f".{folder.name}.lock"}
        foreign = sorted(p.name for p in folder.iterdir() if p not in ours and not is_leftover(p))
        if foreign:
            raise ValueError(
                f"{folder} holds something that is no index ({', '.join(foreign[:3])}): give a new or empty "
                "folder"
            )
        about = {}
    _clean(folder, about)


def write(folder: Path, contents: Contents) -> None:
    """Write an index, or replace the one that is there; for who holds the claim on the folder.

    A kill at any moment leaves the old index or the new one, and the next call of this or of `check_output`
    removes the rest. Folders of data that are not open are made for their owner alone (mode 0700).

    Raises:
        ValueError: `check_output` refuses the folder, or the disk does; the old index is still there then.
    """
    check_output(folder)
    made = not folder.exists()
    mode = 0o777 if contents.origin.is_open else 0o700
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        if not contents.origin.is_open:
            folder.chmod(mode)
        _write(folder, contents, mode)
    except OSError as error:
        raise ValueError(
            f"{error.filename or folder} could not be written ({error.strerror or error})"
        ) from error
    finally:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # which only an empty one lets happen


def _write(folder: Path, contents: Contents, mode: int) -> None:
    """A generation, then the pointer to it, then away with what it replaces."""
    files = file_names(list(contents.embeddings))
    lines = [json.dumps(item, ensure_ascii=False, allow_nan=False) + "\n" for item in contents.items]
    name = _name(contents.embeddings, lines)
    _write_generation(folder / name, contents.embeddings, files, lines, mode)
    origin, rows = contents.origin, next(iter(contents.embeddings.values()))
    about = {
        "format": FORMAT,
        "version": VERSION,
        "generation": name,
        "model": origin.model,
        "model_digests": dict(origin.model_digests),
        "data": dict(origin.data),
        "dataset": dict(origin.dataset),
        "count": rows.shape[0],
        "dimension": rows.shape[1],
        "anatomies": [{"name": anatomy, "file": files[anatomy]} for anatomy in contents.embeddings],
    }
    if replaces := _at_the_top(
        folder
    ):  # named in the pointer until they are gone: nothing else says they are ours
        about["replaces"] = replaces
    _point(folder, about)
    _clean(folder, about)


def _write_generation(
    place: Path, embeddings: Mapping[str, Tensor], files: Mapping[str, str], lines: Sequence[str], mode: int
) -> None:
    if _is_whole(place):
        return
    with atomic_path(place) as temporary:
        temporary.mkdir(mode=mode)
        (temporary / EMBEDDINGS).mkdir()
        for anatomy, rows in embeddings.items():
            _save_rows(rows, temporary / EMBEDDINGS / files[anatomy], place)
        with open(temporary / ITEMS, "w", encoding="utf-8") as file:
            file.writelines(lines)
        write_manifest(temporary, _KIND)


def _save_rows(rows: Tensor, path: Path, place: Path) -> None:
    try:
        save_file({"embeddings": rows}, path)
    except SafetensorError as error:  # its name for an error of the disk
        raise ValueError(f"{place / EMBEDDINGS / path.name} could not be written ({error})") from error


def _point(folder: Path, about: Mapping[str, Any]) -> None:
    with atomic_path(folder / POINTER) as temporary:
        temporary.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _clean(folder: Path, about: Mapping[str, Any]) -> None:
    """Remove what killed writers left, and every file of ours that the pointer's index does not need."""
    remove_leftovers(folder)
    for generation in _generations(folder):
        if generation.name != about.get("generation"):
            remove(generation)
    if replaces := about.get("replaces"):
        for name in replaces:
            (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (folder / EMBEDDINGS).rmdir()  # unless others keep files there
        sync_folder(folder)
        _point(folder, {key: value for key, value in about.items() if key != "replaces"})


def _own_about(folder: Path) -> dict[str, Any]:
    try:
        return read_about(folder)
    except ValueError as error:
        raise ValueError(
            f"{folder / POINTER} would be replaced, and is not what this version writes ({error}): give "
            "another output, or move it away"
        ) from error


def _at_the_top(folder: Path) -> list[str]:
    """The files of an index of version 1; none in a folder of another version, or without an index."""
    if not (folder / POINTER).exists():
        return []
    about = _own_about(folder)
    if about["version"] > 1:
        return []
    return [ITEMS, *(f"{EMBEDDINGS}/{entry['file']}" for entry in about["anatomies"])]


def _generations(folder: Path) -> list[Path]:
    entries = (path for path in folder.iterdir() if GENERATION.fullmatch(path.name))
    return sorted(path for path in entries if path.is_dir() and not path.is_symlink())


def _check_generation(place: Path) -> None:
    """Refuse to replace or remove a generation in which somebody keeps files."""
    foreign = sorted(set(files_below(place)) - set(read_manifest(place, _KIND) or {}) - {MANIFEST})
    if foreign:
        raise ValueError(
            f"{place} holds {', '.join(foreign[:3])}{' and others' * (len(foreign) > 3)}, which the index "
            "did not write and replacing it would delete: move that away, or give another output"
        )


def _is_whole(place: Path) -> bool:
    """Whether a generation is there with all of its files as they were written."""
    listed = read_manifest(place, _KIND)
    if not listed or set(files_below(place)) != {*listed, MANIFEST}:
        return False
    return all(digest(place / name) == entry["sha256"] for name, entry in listed.items())


def _name(embeddings: Mapping[str, Tensor], lines: Sequence[str]) -> str:
    found = hashlib.sha256(f"{FORMAT} {VERSION}\n".encode())
    for anatomy, rows in embeddings.items():
        found.update(json.dumps([anatomy, list(rows.shape)]).encode())
        found.update(rows.numpy().data)
    for line in lines:
        found.update(line.encode())
    return f"generation-{found.hexdigest()[:16]}"


def file_names(anatomies: Sequence[str]) -> dict[str, str]:
    """A file name for each anatomy, readable and different from all others."""
    files: dict[str, str] = {}
    taken: set[str] = set()
    for anatomy in anatomies:
        slug = re.sub(r"[^a-z0-9]+", "-", anatomy.lower()).strip("-") or "whole-image"
        count = 2
        name = f"{slug}.safetensors"
        while name in taken:
            name = f"{slug}-{count}.safetensors"
            count += 1
        taken.add(name)
        files[anatomy] = name
    return files


def read(folder: Path) -> Contents:
    """Open an index: its items, and its features as memory maps, all of one generation.

    Raises:
        ValueError: the folder holds no index, a damaged one, or one of a newer version.
    """
    for _ in range(_TRIES):
        before = _state(folder)
        try:
            return _open(folder, read_about(folder))
        except ValueError:
            if _state(folder) == before:
                raise
            # a writer has replaced the index and removed the old files meanwhile
    raise ValueError(f"{folder} is replaced again and again: stop who writes it, and try again")


def read_origin(folder: Path) -> Origin:
    """What an index was made from.

    Raises:
        ValueError: as `read`.
    """
    return _origin(read_about(folder))


def _origin(about: Mapping[str, Any]) -> Origin:
    """Of version 1 only the model is known."""
    known = {key: about[key] for key in ("model_digests", "data", "dataset") if key in about}
    return Origin(about["model"], **known)


def _state(folder: Path) -> tuple[int, int, int] | None:
    """What changes whenever the pointer does."""
    try:
        stat = (folder / POINTER).stat()
        return stat.st_ino, stat.st_mtime_ns, stat.st_size
    except OSError:
        return None


def _open(folder: Path, about: Mapping[str, Any]) -> Contents:
    place = folder / about.get("generation", "")  # version 1 has its files at the top
    if not place.is_dir():
        raise ValueError(
            f"the index in {folder} is damaged ({place} is missing): copy it whole, or build it again"
        )
    items = read_items(place / ITEMS, about["count"])
    shape = about["count"], about["dimension"]
    embeddings = {
        entry["name"]: _map_rows(place / EMBEDDINGS / entry["file"], shape) for entry in about["anatomies"]
    }
    return Contents(embeddings, items, _origin(about))


def _map_rows(path: Path, shape: tuple[int, int]) -> Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            rows = file.get_tensor("embeddings")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"the index is damaged: {path} cannot be read ({error}); build it again") from error
    if tuple(rows.shape) != shape or rows.dtype != torch.float32:
        raise ValueError(
            f"the index is damaged: {path} holds {tuple(rows.shape)} {rows.dtype}, and index.json says "
            f"{shape} torch.float32; build it again"
        )
    return rows
