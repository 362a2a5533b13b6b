"""The README.md of a built dataset: YAML that `load_dataset` reads, and what the numbers are."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dataset_scripts.entities import LexicalScorer
from dataset_scripts.folder import ANATOMIES, CARD, FINDINGS, LABELS, RELEVANCE, STUDIES, table_path
from dataset_scripts.records import SPLITS

if TYPE_CHECKING:
    from dataset_scripts.build import BuildSummary


def write_card(folder: Path, name: str, licence: str, summary: "BuildSummary", scorer: LexicalScorer) -> None:
    """Write README.md into a folder whose tables are complete."""
    header = {
        "pretty_name": name,
        "license": licence if licence in _HUB_LICENCES else "other",
        "task_categories": ["image-feature-extraction"],
        "tags": ["radiology", "image-retrieval", "radir"],
        "configs": [_config(folder, config) for config in _CONFIGS if (folder / config).is_dir()],
    }
    (folder / CARD).write_text(
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n{_body(name, licence, summary, scorer)}",
        encoding="utf-8",
    )


_CONFIGS = (STUDIES, FINDINGS, ANATOMIES, RELEVANCE, LABELS)
_HUB_LICENCES = ("apache-2.0", "cc-by-nc-nd-4.0")


def _config(folder: Path, config: str) -> dict[str, Any]:
    """One entry of `configs`.

    `datasets` keys its cache by the folder's base name and this YAML alone, so the content's digest
    stands in the description: a rewritten folder is then never answered from an older one's cache.
    """
    files = {split: table_path(folder, config, split) for split in SPLITS}
    present = {split: path for split, path in files.items() if path.is_file()}
    digest = hashlib.sha256()
    for path in present.values():
        digest.update(path.read_bytes())
    return {
        "config_name": config,
        "description": f"sha256 {digest.hexdigest()}",
        **({"default": True} if config == STUDIES else {}),
        "data_files": [
            {"split": split, "path": str(path.relative_to(folder))} for split, path in present.items()
        ],
    }


def _body(name: str, licence: str, summary: "BuildSummary", scorer: LexicalScorer) -> str:
    images = "\n".join(f"| {split} | {count:,} |" for split, count in summary.images.items())
    skipped = "\n".join(f"| {reason} | {count:,} |" for reason, count in summary.skipped.items())
    return f"""# {name}, for retrieval by anatomy

Built by `radir build {name}`. Licence of the source: {licence}.

| split | images |
|---|---|
{images}

{summary.findings:,} findings over {summary.anatomies} anatomies; {summary.unique_entities:,} unique entities.
Relevance is RaTEScore's formula over the entities of the `{scorer.name}` scorer, between studies of one
split: complete for validation and test, the best candidates for train. `anatomy` is empty for the
whole report. Sub-anatomies are merged into their parents.

Left out ({sum(summary.skipped.values()):,} records, listed in skipped.csv):

| reason | records |
|---|---|
{skipped or "| nothing | 0 |"}
"""
