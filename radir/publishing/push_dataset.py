"""Publishing a built dataset on the Hub: as it is where its licence allows, else without text and images.

What is not open goes to private repositories alone, and only if the user says that the agreement allows it.
"""

import dataclasses
import logging
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from dataset_scripts.building.build_info import BuildInfo
from dataset_scripts.building.card import header
from dataset_scripts.building.contents import listed_files, named_images, own_files
from dataset_scripts.building.layout import (
    ANATOMIES,
    CARD,
    ENTITIES,
    FACTS,
    FINDINGS,
    LABELS,
    RELEVANCE,
    SKIPPED,
    STUDIES,
    VOLUMES,
    studies_shard,
    studies_shards,
    table_path,
)
from dataset_scripts.building.rows import reading
from dataset_scripts.mining.sentences import split_sentences
from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.plumbing.manifest import MANIFEST, digest, files_below
from dataset_scripts.plumbing.markdown import code, plain
from dataset_scripts.sources.base import SPLITS, Sharing
from radir.publishing.hub import (
    Operation,
    RepoInfo,
    check_own,
    files_of,
    progress_bars,
    push_in_one_commit,
)

logger = logging.getLogger(__name__)

# The publishable form, column by column: what is not named here is left out.
_PUBLISHED = {
    STUDIES: ("study_id", "subject_id", "image_id", "view"),
    FINDINGS: ("study_id", "anatomy"),
    ANATOMIES: ("name", "parent", "region", "synonyms"),
    RELEVANCE: ("query_id", "anatomy", "candidate_ids", "relevance"),
}
_TEXTS = {STUDIES: ("report", "findings", "impression"), FINDINGS: ("text",)}
# What a push owns in a repository.
_PLACES = (*_PUBLISHED, LABELS, ENTITIES, VOLUMES, SKIPPED, FACTS, CARD, MANIFEST)
_LOCAL_PATH = re.compile(r"[/\\]|[A-Za-z]:[/\\]|file:")
_MIN_WORDS = 4  # of a sentence that cannot be an identifier or the name of an anatomy by chance
_SAMPLE_FILES, _SAMPLE_TEXTS = 16, 64  # of each config: how many files, and how many texts of each

T = TypeVar("T")


def push_dataset(
    folder: Path,
    repo: str,
    *,
    private: bool = False,
    i_may_share: bool = False,
    identifiers_only: bool = False,
    progress: bool = True,
    api: HfApi | None = None,
) -> str:
    """Push a built dataset to a dataset repository on the Hub, in one commit.

    The files that the build wrote go up and nothing else that lies in the folder, such as an evaluation or an
    index; each must be as it was written, but for README.md, and none may be a link to somewhere else. What
    stays is counted in a warning.

    An earlier push is replaced, its card too, even where someone edited it: README.md holds the `configs` by
    which the tables are read. Other files in the repository stay.

    Args:
        folder: a folder that `radir build` wrote.
        repo: user/name; created if it is not there.
        private: create it private, and refuse one that is not.
        i_may_share: the user's word that the source's licence lets them put this into a private repository.
        identifiers_only: push the form that `publishable` makes.
        progress: show progress bars.
        api: how to reach the Hub; by default its usual address, with the user's login.

    Returns:
        The repository's address.

    Raises:
        ValueError: if the folder is not a built dataset, a file of it is missing, changed or a link, its
            licence does not allow the push, its images stay elsewhere on this machine, or the Hub refuses.
    """
    facts = BuildInfo.read(folder)
    api = api or HfApi()
    with progress_bars(progress):
        if identifiers_only:
            with tempfile.TemporaryDirectory() as scratch:
                form = publishable(folder, Path(scratch) / "publishable")
                return _push(api, form, _files(form), repo, private, identifiers_only=True)
        _check_sharing(folder, facts, private and i_may_share)
        files = _files(folder)
        _check_images(files)
        return _push(api, folder, files, repo, private, identifiers_only=False)


def _check_sharing(folder: Path, facts: BuildInfo, allowed: bool) -> None:
    if facts.sharing != Sharing.OPEN and not allowed:
        raise ValueError(
            f"{folder} holds {facts.sharing} data of {facts.name} under the licence {facts.licence}: it "
            "may only go to a private repository, and only if that licence lets you put it there: then "
            "give --private and --i-may-share; or publish identifiers and relevance, without text and "
            "images, with --identifiers-only"
        )


def publishable(folder: Path, out: Path) -> Path:
    """Write the form of a dataset that holds neither text nor images: identifiers, relevance and anatomies.

    Args:
        folder: a folder that `radir build` wrote.
        out: the folder to make, atomically.

    Returns:
        `out`.

    Raises:
        ValueError: if `folder` is not a built dataset, `out` exists, or a text is found in what was written.
    """
    facts = BuildInfo.read(folder)
    if out.exists():
        raise ValueError(f"{out} exists: give a new folder for the publishable form")
    own = {folder / name for name in own_files(folder)}
    with atomic_path(out) as form:
        form.mkdir()
        for split in SPLITS:
            shards = [path for path in studies_shards(folder, split) if path in own]
            _project(shards, studies_shard(form, split, 0), _PUBLISHED[STUDIES])
            for config in (FINDINGS, ANATOMIES, RELEVANCE):
                source = table_path(folder, config, split)
                if source in own:
                    _project([source], table_path(form, config, split), _PUBLISHED[config])
        # Reasons for skipping quote paths or text of the source; their number stays.
        skipped = {"listed in the local build alone": sum(facts.skipped.values())} if facts.skipped else {}
        published = dataclasses.replace(facts, skipped=skipped)
        published.write(form)
        (form / CARD).write_text(f"---\n{header(form, published)}---\n\n{_body(published)}", encoding="utf-8")
        _check_no_text(folder, form)
    return out


def _project(sources: Sequence[Path], target: Path, columns: tuple[str, ...]) -> None:
    """Copy columns of Parquet files into one, by row group, without the metadata about other columns."""
    if not sources:
        return
    target.parent.mkdir(exist_ok=True)
    writer: pq.ParquetWriter | None = None
    try:
        for source in sources:
            file = pq.ParquetFile(source)
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise ValueError(f"{source} has no column {', '.join(missing)}: build the dataset again")
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=list(columns)).select(columns)
                schema = pa.schema([pa.field(name, table.schema.field(name).type) for name in columns])
                writer = writer or pq.ParquetWriter(target, schema)
                writer.write_table(table.cast(schema))
    finally:
        if writer is not None:
            writer.close()


def _body(facts: BuildInfo) -> str:
    tables = "\n".join(f"| {config} | {', '.join(columns)} |" for config, columns in _PUBLISHED.items())
    counts = ", ".join(f"{count:,} {split}" for split, count in facts.images.items())
    name, homepage, licence = map(plain, (facts.name, facts.homepage, facts.licence))
    return f"""# {name}: identifiers and relevance

Which images of {name} ({homepage}) show similar findings, anatomy by anatomy, without a report,
a sentence or an image. Licence of the source: {licence}. The identifiers are its own: what they lead to
is had from there alone, on its terms.

Images: {counts}.

| config | columns |
|---|---|
{tables}

## What is left out
The columns image, report, findings and impression of `studies` and text of `findings`; the labels, the
entities behind the relevance, volumes, and the list of skipped records.

## Back to text and images
With your own copy of the source, RadIR {facts.version} builds the full dataset
({code(facts.command)}), with the same identifiers:

```python
from datasets import load_dataset

relevance = load_dataset("THIS REPOSITORY", "relevance", split="test")
studies = load_dataset("YOUR FOLDER", "studies", split="test")
row_of = {{study: row for row, study in enumerate(studies["study_id"])}}
best = [studies[row_of[study]] for study in relevance[0]["candidate_ids"][:5]]
```

`relevance.query_id` and `candidate_ids` are study_id; an empty `anatomy` stands for the whole report.
"""


def _check_no_text(folder: Path, form: Path) -> None:
    """Search what was written for a sample of the source's sentences, and for paths and binary columns."""
    sentences = _sampled_sentences(folder)
    for path in sorted(path for path in form.rglob("*") if path.is_file()):
        is_table = path.suffix == ".parquet"
        strings = _strings(path) if is_table else [path.read_text(encoding="utf-8")]
        # Identifiers have no blanks: what can hold a sentence at all is little, so that the search is quick.
        wordy = "\n".join(" ".join(s.casefold().split()) for s in strings if s.count(" ") >= _MIN_WORDS - 1)
        for sentence in sentences:
            if sentence in wordy:
                raise ValueError(
                    f"a sentence of the reports stands in {path.relative_to(form)} of the publishable form "
                    "(its words are not repeated here): nothing was written; look into the identifiers of "
                    f"{folder}"
                )
        if is_table and any(_LOCAL_PATH.match(string) for string in strings):
            raise ValueError(
                f"{path.relative_to(form)} of the publishable form holds a path of this machine: nothing was "
                f"written; look into the identifiers of {folder}"
            )


def _sampled_sentences(folder: Path) -> list[str]:
    """Sentences of the input, evenly picked, without those that are the name of an anatomy."""
    names = {name.casefold() for name in _strings(table_path(folder, ANATOMIES))}
    found: dict[str, None] = {}
    own = own_files(folder)
    for config, columns in _TEXTS.items():
        tables = [folder / name for name in own if name.startswith(f"{config}/")]
        for path in _spread(tables, _SAMPLE_FILES):
            file = pq.ParquetFile(path)
            present = [name for name in columns if name in file.schema_arrow.names]
            if not present or not file.num_row_groups:
                continue
            for column in file.read_row_group(file.num_row_groups // 2, columns=present).columns:
                for text in _spread(column.drop_null().to_pylist(), _SAMPLE_TEXTS):
                    for sentence in split_sentences(text):
                        found[" ".join(sentence.casefold().rstrip(".").split())] = None
    return [text for text in found if text.count(" ") >= _MIN_WORDS - 1 and text not in names]


def _strings(path: Path) -> list[str]:
    """The distinct strings of a table that holds identifiers, names and numbers alone."""
    found: dict[str, None] = {}
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        for name, column in zip(file.schema_arrow.names, file.read_row_group(group).columns, strict=True):
            values = pc.list_flatten(column) if pa.types.is_list(column.type) else column
            if pa.types.is_string(values.type):
                found.update(dict.fromkeys(pc.unique(values).drop_null().to_pylist()))
            elif not pa.types.is_floating(values.type):
                raise ValueError(
                    f"the column {name} of {path.name} holds {values.type}, not identifiers or relevance"
                )
    return list(found)


def _spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` items, evenly spaced."""
    step = max(1, -(-len(items) // count))
    return list(items[::step])


def _check_images(files: Mapping[str, Path]) -> None:
    """Refuse a dataset whose images stay elsewhere on this machine: for others it would be broken."""
    for name in sorted(name for name in files if name.startswith(f"{STUDIES}/")):
        with reading(files[name]):
            for image in named_images(files[name]):
                if image not in files:
                    raise ValueError(
                        f"the images of the dataset stay outside of it ({image or 'none'} in {files[name]}), "
                        "so that others would get a dataset without images: build it with the images inside "
                        "(--size N), or publish identifiers and relevance alone with --identifiers-only"
                    )


def _push(
    api: HfApi, folder: Path, files: Mapping[str, Path], repo: str, private: bool, identifiers_only: bool
) -> str:
    def plan(info: RepoInfo) -> list[Operation]:
        remote = files_of(info)
        if identifiers_only and any(name.startswith((f"{ENTITIES}/", f"{VOLUMES}/")) for name in remote):
            raise ValueError(
                f"{repo} holds the full dataset, and its history keeps it even where files are replaced: "
                "push identifiers to another --repo"
            )
        stale = [name for name in remote if name.split("/")[0] in _PLACES and name not in files]
        additions = (CommitOperationAdd(name, path) for name, path in files.items())
        return [*map(CommitOperationDelete, stale), *additions]

    what = ": identifiers and relevance" if identifiers_only else ""
    message = f"Push {BuildInfo.read(folder).name}{what}"
    return push_in_one_commit(api, repo, "dataset", private, plan, message)


def _files(folder: Path) -> dict[str, Path]:
    """Path in the repository -> file, of the dataset's own files; what else lies there is counted aloud.

    Raises:
        ValueError: one is missing, has changed since the build, or is a link to somewhere else.
    """
    listed = listed_files(folder) or {}
    names = [name for name in own_files(folder) if name.split("/")[0] in _PLACES]
    for name in names:
        check_own(folder, name)
        if name in listed and name != CARD and digest(folder / name) != listed[name].get("sha256"):
            raise ValueError(
                f"{folder / name} is not what the build wrote (SHA-256): only a dataset as it was built is "
                "pushed; build it again"
            )
    left = sorted(set(files_below(folder)) - set(names))
    if left:
        logger.warning(
            "%d files in %s are not the dataset's and stay here: %s",
            len(left), folder, ", ".join(left[:3]) + (", ..." if len(left) > 3 else ""),
        )  # fmt: skip
    return {name: folder / name for name in names}
