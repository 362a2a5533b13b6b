"""The README.md of a built dataset: YAML that `load_dataset` reads, and what the numbers are."""

import hashlib
import re
from pathlib import Path
from typing import Any

import yaml

from dataset_scripts.building.build_info import BuildInfo
from dataset_scripts.building.layout import (
    ANATOMIES,
    CARD,
    FINDINGS,
    LABELS,
    RELEVANCE,
    STUDIES,
    studies_shards,
    table_path,
)
from dataset_scripts.mining.ontology import Ontology
from dataset_scripts.plumbing.atomic import atomic_path
from dataset_scripts.plumbing.markdown import code, plain
from dataset_scripts.sources.base import SPLITS, Sharing

_CONFIGS = (STUDIES, FINDINGS, ANATOMIES, RELEVANCE, LABELS)
_HUB_LICENCES = ("apache-2.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0")
_SHARING = {
    Sharing.OPEN: "Free to share under its licence.",
    Sharing.RESTRICTED: "The licence of the source does not let you hand it on: keep it where it is.",
    Sharing.CREDENTIALED: (
        "**Credentialed.** Everything in this folder derives from data that only people with signed access "
        "may hold: reports, images and whatever quotes them stay where they are."
    ),
}


def write_card(folder: Path, facts: BuildInfo, ontology: Ontology) -> None:
    """Write README.md into a folder whose tables are complete."""
    text = f"---\n{header(folder, facts)}---\n\n{_body(facts, ontology)}"
    with atomic_path(folder / CARD) as path:
        path.write_text(text, encoding="utf-8")


def header(folder: Path, facts: BuildInfo) -> str:
    """The card's YAML for the tables that a folder has.

    `credentialed` and `sharing` are RadIR's own fields; the Hub keeps them.
    """
    fields = {
        "pretty_name": facts.name,
        **licence_fields(facts.licence),
        "task_categories": ["image-feature-extraction"],
        "tags": ["radiology", "image-retrieval", "radir"],
        "credentialed": facts.sharing == Sharing.CREDENTIALED,
        "sharing": facts.sharing.value,
        "configs": [_config(folder, config) for config in _CONFIGS if (folder / config).is_dir()],
    }
    return yaml.safe_dump(fields, sort_keys=False)


def licence_fields(licence: str) -> dict[str, str]:
    """The Hub's fields for a licence: one that it knows, or `other` with an identifier made of its name.

    Example:
        >>> licence_fields("Data License 1.5.0")
        {'license': 'other', 'license_name': 'data-license-1.5.0'}
    """
    if licence in _HUB_LICENCES:
        return {"license": licence}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-")}


def _config(folder: Path, config: str) -> dict[str, Any]:
    """One entry of `configs`.

    `datasets` keys its cache by the folder's base name and this YAML alone, so the content's digest
    stands in the description: a rewritten folder is then never answered from an older one's cache.
    """
    files = {split: _files(folder, config, split) for split in SPLITS}
    digest = hashlib.sha256()
    for paths in files.values():
        for path in paths:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    sharded = f"{STUDIES}/{{}}-*.parquet" if config == STUDIES else f"{config}/{{}}.parquet"
    return {
        "config_name": config,
        "description": f"sha256 {digest.hexdigest()}",
        **({"default": True} if config == STUDIES else {}),
        "data_files": [{"split": split, "path": sharded.format(split)} for split in SPLITS if files[split]],
    }


def _files(folder: Path, config: str, split: str) -> list[Path]:
    if config == STUDIES:
        return studies_shards(folder, split)
    path = table_path(folder, config, split)
    return [path] if path.is_file() else []


def _body(facts: BuildInfo, ontology: Ontology) -> str:
    return f"""# {plain(facts.name)}, for retrieval by anatomy

{_SHARING[facts.sharing]} Source: {plain(facts.homepage)}. Licence of the source: {plain(facts.licence)}.

Built by RadIR {facts.version}: {code(facts.command)} (ontology {facts.ontology[:12]}).

{_table(("split", "patients", "studies", "images"), _split_rows(facts))}

{sum(facts.findings.values()):,} findings over {len(facts.findings)} anatomies; \
{facts.unique_entities:,} unique entities.
Relevance is RaTEScore's formula over the entities of the `{facts.scorer["name"]}` scorer, between studies
of one split: complete for validation and test, the best candidates for train. `anatomy` is empty for the
whole report. Sub-anatomies are merged into their parents.

The relevance by content is not stored pair by pair. `entities/` holds what it needs, with the number of
training reports that hold each entity; `BuiltDataset(folder).engine_for("content")` of
`dataset_scripts.building.built_dataset` gives it for any texts of the dataset.

{plain(facts.label_origin)}

## Left out
{sum(facts.skipped.values()):,} records, listed in skipped.csv:

{_table(("reason", "records"), [*facts.skipped.items()] or [("nothing", 0)])}

## Anatomies
{_anatomies(facts, ontology)}
"""


def _split_rows(facts: BuildInfo) -> list[tuple[Any, ...]]:
    return [
        (split, facts.subjects[split], facts.studies[split], count) for split, count in facts.images.items()
    ]


def _anatomies(facts: BuildInfo, ontology: Ontology) -> str:
    if not facts.findings:
        return "No text names an anatomy of the ontology: retrieval by anatomy has nothing to compare here."
    return _table(("anatomy", "region", "studies with findings"), _anatomy_rows(facts, ontology))


def _anatomy_rows(facts: BuildInfo, ontology: Ontology) -> list[tuple[Any, ...]]:
    frequent = sorted(facts.findings.items(), key=lambda item: (-item[1], item[0]))
    return [(name, ontology[name].region, count) for name, count in frequent]


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """A Markdown table; numbers with separators, to the right."""
    numeric = [isinstance(cell, int) for cell in rows[0]]
    lines = [columns, ["---:" if is_number else "---" for is_number in numeric], *rows]
    return "\n".join(
        "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else plain(str(cell)) for cell in line) + " |"
        for line in lines
    )
