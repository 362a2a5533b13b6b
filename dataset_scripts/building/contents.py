"""Which files of a folder are a built dataset's own, and the digest of what they hold."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataset_scripts.building.layout import (
    ANATOMIES,
    CARD,
    ENTITIES,
    FACTS,
    FINDINGS,
    KIND,
    LABELS,
    RELEVANCE,
    SKIPPED,
    STUDIES,
    VOLUMES,
)
from dataset_scripts.building.rows import reading
from dataset_scripts.plumbing.manifest import MANIFEST, digest, read_manifest
from dataset_scripts.relevance.store import files as store_files
from dataset_scripts.sources.base import SPLITS

_CONFIGS = (STUDIES, FINDINGS, ANATOMIES, RELEVANCE, LABELS)
_SPLIT = "|".join(SPLITS)
_TABLE = re.compile(
    rf"{STUDIES}/({_SPLIT})-\d+\.parquet|({FINDINGS}|{ANATOMIES}|{RELEVANCE}|{LABELS})/({_SPLIT})\.parquet"
)
_CONTENT = (*_CONFIGS, ENTITIES, VOLUMES)


def own_files(folder: Path) -> list[str]:
    """The files of a dataset, relative to its folder: those that its manifest lists, which must be there.

    A dataset without a manifest, of an earlier version, has what its layout names: tables, entities, the
    volumes of its `studies`, README.md, build.json and skipped.csv.

    Raises:
        ValueError: the manifest cannot be read, or a file that it lists is missing.
    """
    listed = listed_files(folder)
    if listed is None:
        return sorted({*_laid_out(folder), *_inside(folder, _images(folder))})
    missing = [name for name in listed if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{folder} lacks {', '.join(missing[:3])}{' and others' * (len(missing) > 3)}, which its "
            f"{MANIFEST} lists: copy the dataset again, or build it again"
        )
    return sorted({*listed, MANIFEST})


def listed_files(folder: Path) -> dict[str, dict[str, object]] | None:
    """The files that a dataset's manifest lists, with their bytes and sha256; None without a manifest.

    Raises:
        ValueError: the manifest cannot be read, or is of something else.
    """
    if not (folder / MANIFEST).is_file():
        return None
    listed = read_manifest(folder, KIND)
    if listed is None or not all(_is_below(PurePosixPath(name)) for name in listed):
        raise ValueError(
            f"{folder / MANIFEST} does not list the files of a built dataset: copy the dataset again, or "
            "build it again"
        )
    return listed


def content_digest(folder: Path) -> str:
    """SHA-256 of what a dataset holds: names and bytes of its tables, entities, and images inside.

    Images that stay outside count by path, size and time of change. README.md, build.json and skipped.csv
    tell about the content, and do not count.

    Raises:
        ValueError: a file is missing or cannot be read.
    """
    names = [name for name in own_files(folder) if name.split("/")[0] in _CONTENT]
    found = hashlib.sha256()
    with ThreadPoolExecutor() as pool:
        for name, content in zip(names, pool.map(lambda name: _digest(folder / name), names), strict=True):
            found.update(f"{name} {content}\n".encode())
    inside = set(names)
    for image in sorted(set(_images(folder)) - inside):
        found.update(f"{image} {_outside(folder / image)}\n".encode())
    return found.hexdigest()


def _digest(path: Path) -> str:
    with reading(path):
        return digest(path)


def _outside(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return "missing"  # who needs the image says so
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _laid_out(folder: Path) -> Iterator[str]:
    for config in _CONFIGS:
        names = (f"{config}/{path.name}" for path in (folder / config).glob("*.parquet"))
        yield from (name for name in names if _TABLE.fullmatch(name))
    for name in (*store_files.FILES, store_files.MANIFEST):
        if (folder / ENTITIES / name).is_file():
            yield f"{ENTITIES}/{name}"
    yield from (name for name in (CARD, FACTS, SKIPPED) if (folder / name).is_file())


def _inside(folder: Path, images: Iterable[str]) -> Iterator[str]:
    for image in images:
        path = PurePosixPath(image)
        if path.parts[:1] == (VOLUMES,) and _is_below(path) and (folder / path).is_file():
            yield path.as_posix()


def _is_below(path: PurePosixPath) -> bool:
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _images(folder: Path) -> Iterator[str]:
    """The paths by which the `studies` name images that they do not hold."""
    listed = listed_files(folder)
    names = _laid_out(folder) if listed is None else listed
    for name in sorted(name for name in names if name.startswith(f"{STUDIES}/")):
        with reading(folder / name):
            yield from named_images(folder / name)


def named_images(table: Path) -> Iterator[str]:
    """The paths by which one table of `studies` names images that it does not hold; "" for a row without."""
    file = pq.ParquetFile(table)
    if "image" not in file.schema_arrow.names:  # identifiers alone
        return
    kind = file.schema_arrow.field("image").type
    if not pa.types.is_struct(kind) and not pa.types.is_string(kind):
        raise ValueError(f"{table} has no column image of pictures or paths: build the dataset again")
    for group in range(file.num_row_groups):
        if pa.types.is_struct(kind) and _all_inside(file.metadata.row_group(group)):
            continue
        for batch in file.iter_batches(batch_size=128, row_groups=[group], columns=["image"]):
            images = batch.column("image")
            if pa.types.is_struct(kind):
                absent = pc.is_null(pc.struct_field(images, "bytes"))
                images = pc.struct_field(images, "path").filter(absent)
            yield from (image or "" for image in images.to_pylist())


def _all_inside(group: pq.RowGroupMetaData) -> bool:
    """Whether a row group is known to hold the bytes of all its images, without reading them."""
    columns = (group.column(place) for place in range(group.num_columns))
    found = [column.statistics for column in columns if column.path_in_schema == "image.bytes"]
    return bool(found) and found[0] is not None and found[0].has_null_count and found[0].null_count == 0
