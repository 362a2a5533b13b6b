"""The benchmark as a folder of corpus, queries and gains that MTEB-style tools read, by `load_dataset` alone.

<out>/
    README.md                   YAML `configs`; what the columns are, and what may be done with them
    export.json                 the protocol and the scale
    corpus/images.parquet       _id (image_id), study_id and, where they are included, image
    corpus/reports.parquet      _id ("report-" + study_id), study_id and, where it is included, text
    gains/<task>.parquet        query-id, corpus-id, score: integer gains of the pairs that have one
    candidates/<task>.parquet   query-id, corpus-ids: what a query is compared with, all else is excluded

The names of the configs are those of MTEB's retrieval loader: images to images are `corpus`, `queries`,
`default` (the gains) and `top_ranked` (the candidates); other tasks have their name before them,
`left pleura-corpus`, `-queries`, `-qrels`, `-top_ranked`. All tasks share the files of images, so that a task
is only told whole by its candidates: those with a text for the anatomy, and not the query's own patient.

Text and images go along only where the dataset's licence lets everyone have them, or the caller says so.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from datasets.table import embed_table_storage

from dataset_scripts.building.card import licence_fields
from dataset_scripts.plumbing.bars import progress_bar
from dataset_scripts.plumbing.markdown import plain
from dataset_scripts.sources.base import Sharing
from radir_eval.export.judged_tasks import GAIN_SCALE, REPORT_PREFIX, JudgedBlock, JudgedTask
from radir_eval.retrieval_split import WHOLE, RetrievalSplit
from radir_eval.tasks import IMAGE_TO_IMAGE, IMAGE_TO_REPORT

EXPORT = "export.json"
IMAGES, REPORTS = Path("corpus", "images.parquet"), Path("corpus", "reports.parquet")
_GAINS = pa.schema({"query-id": pa.string(), "corpus-id": pa.string(), "score": pa.int32()})
_CANDIDATES = pa.schema({"query-id": pa.string(), "corpus-ids": pa.list_(pa.string())})
_IMAGES_AT_A_TIME = 64


def export_gains_folder(
    tasks: Sequence[JudgedTask],
    out: Path,
    scale: int = GAIN_SCALE,
    include_text: bool | None = None,
    include_images: bool | None = None,
    progress: bool = True,
) -> None:
    """Write the tasks into a folder.

    Args:
        tasks: from `judged_tasks`.
        out: a folder that holds no export yet; made if missing.
        scale: the gain of relevance 1.
        include_text: put the reports' texts into the folder. None: if the dataset's sharing is open.
        include_images: put the images into the folder, volumes never. None: if the dataset's sharing is open.
        progress: show a progress bar over the tasks.
    """
    items = tasks[0].items
    is_open = items.dataset.facts.sharing == Sharing.OPEN
    with_text = is_open if include_text is None else include_text
    with_images = (is_open if include_images is None else include_images) and not items.dataset.holds_volumes
    for folder in ("corpus", "gains", "candidates"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    _write_images(items, out / IMAGES, with_images)
    if any(task.task == IMAGE_TO_REPORT for task in tasks):
        _write_reports(items, out / REPORTS, with_text)
    files = dict(zip(_file_names(tasks), tasks, strict=True))
    for name, task in progress_bar(files.items(), desc="gains folder", unit="task", shown=progress):
        _write_task(task, out, name, scale)
    about = {
        "dataset": items.dataset.name,
        "split": items.split,
        "gain_scale": scale,
        "text": with_text,
        "images": with_images,
        "left_out": items.left_out,
        "protocol": tasks[0].protocol.to_dict(),
    }
    (out / EXPORT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    _write_card(items, files, about, out)


def _write_images(items: RetrievalSplit, path: Path, included: bool) -> None:
    """The images of the split, their files as they are; or their names alone."""
    columns = ["image_id", "study_id", *(["image"] if included else [])]
    studies = items.studies.select_columns(columns).rename_column("image_id", "_id")
    if included:
        studies = studies.cast_column("image", datasets.Image())  # whoever loads it gets pictures
    schema = studies.features.arrow_schema
    with pq.ParquetWriter(path, schema) as writer:
        for part in studies.with_format("arrow").iter(batch_size=_IMAGES_AT_A_TIME):
            table = part.cast(schema)
            writer.write_table(_embedded(table, items) if included else table)


def _embedded(table: pa.Table, items: RetrievalSplit) -> pa.Table:
    """The rows with the bytes of their images, those too that the dataset names by paths alone."""
    try:
        return embed_table_storage(table)
    except OSError as error:
        raise ValueError(
            f"an image of {items.dataset.name} cannot be read ({error}): --skip-unreadable leaves it out"
        ) from error


def _write_reports(items: RetrievalSplit, path: Path, included: bool) -> None:
    positions = items.first_of_studies()
    studies = items.study_ids[positions]
    columns = {"_id": (REPORT_PREFIX + studies).tolist(), "study_id": studies.tolist()}
    if included:
        columns["text"] = [items.text(int(position), WHOLE) for position in positions]
    pq.write_table(pa.table(columns), path)


def _write_task(task: JudgedTask, out: Path, name: str, scale: int) -> None:
    ids = pa.array(task.candidate_ids.astype(str))
    with (
        pq.ParquetWriter(out / "gains" / f"{name}.parquet", _GAINS) as gains,
        pq.ParquetWriter(out / "candidates" / f"{name}.parquet", _CANDIDATES) as candidates,
    ):
        for block in task.blocks(scale):
            gains.write_table(_gains(block, ids))
            candidates.write_table(_candidates(block, ids))


def _gains(block: JudgedBlock, ids: pa.Array) -> pa.Table:
    rows, columns = np.nonzero(block.gains)
    return pa.table(
        [
            pa.array(block.query_ids.astype(str)).take(pa.array(rows)),
            ids.take(pa.array(columns)),
            pa.array(block.gains[rows, columns], pa.int32()),
        ],
        schema=_GAINS,
    )


def _candidates(block: JudgedBlock, ids: pa.Array) -> pa.Table:
    _, columns = np.nonzero(block.allowed)
    offsets = np.concatenate([[0], np.cumsum(block.allowed.sum(axis=1))])
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), ids.take(pa.array(columns)))
    return pa.table([pa.array(block.query_ids.astype(str)), lists], schema=_CANDIDATES)


def _file_names(tasks: Sequence[JudgedTask]) -> list[str]:
    """A file name for each task, of letters, digits and underscores."""
    names = [re.sub(r"\W+", "_", task.name, flags=re.ASCII) for task in tasks]
    return [f"{name}_{place}" if names.count(name) > 1 else name for place, name in enumerate(names)]


def _configs(files: Mapping[str, JudgedTask], out: Path) -> list[dict[str, Any]]:
    """`configs` of the card, named as MTEB's retrieval loader asks for them.

    `datasets` keys its cache by the folder's base name and this YAML: the digests tell exports apart.
    """
    digests: dict[Path, str] = {}
    configs: list[dict[str, Any]] = []
    for name, task in files.items():
        before = "" if task.task == IMAGE_TO_IMAGE else f"{task.name}-"
        paths = {
            "corpus": REPORTS if task.task == IMAGE_TO_REPORT else IMAGES,
            "queries": IMAGES,
            "qrels" if before else "default": Path("gains", f"{name}.parquet"),
            "top_ranked": Path("candidates", f"{name}.parquet"),
        }
        for kind, path in paths.items():
            if path not in digests:
                with (out / path).open("rb") as file:
                    digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
            configs.append(
                {
                    "config_name": f"{before}{kind}",
                    "description": f"sha256 {digests[path]}",
                    "data_files": [{"split": task.items.split, "path": path.as_posix()}],
                }
            )
    return configs


def _write_card(
    items: RetrievalSplit, files: Mapping[str, JudgedTask], about: dict[str, Any], out: Path
) -> None:
    fields = {**licence_fields(items.dataset.facts.licence), "configs": _configs(files, out)}
    header = yaml.safe_dump(fields, sort_keys=False)
    (out / "README.md").write_text(f"---\n{header}---\n\n{_readme(items, about)}", encoding="utf-8")


def _readme(items: RetrievalSplit, about: dict[str, Any]) -> str:
    facts = items.dataset.facts
    held = [what for what in ("text", "images") if about[what]]
    lacks = [what for what in ("text", "images") if not about[what]]
    content = f"It holds {' and '.join(held)}." if held else "It holds identifiers and gains."
    if lacks:
        content += (
            f" It does not hold {' or '.join(lacks)}: join them by `_id` from your own copy of the dataset."
        )
    if facts.sharing != Sharing.OPEN:
        content += (
            f" The source is {facts.sharing.value} under {facts.licence}: what is in here stays where that "
            "licence lets it be."
        )
    return f"""# {plain(about["dataset"])}, {plain(about["split"])}: corpus, queries and gains

{content}

| config | columns |
|---|---|
| `corpus`, `TASK-corpus` | _id, study_id, image; for reports _id, study_id, text |
| `queries`, `TASK-queries` | _id, study_id, image |
| `default`, `TASK-qrels` | query-id, corpus-id, score: {about["gain_scale"]} x relevance; 0 is left out |
| `top_ranked`, `TASK-top_ranked` | query-id, corpus-ids: the candidates that a query is compared with |

Without a TASK: images to images. `image_to_report`: images to reports. Any other TASK is an anatomy: images
to images as far as that anatomy goes; a model with conditions takes the name for queries and corpus alike.
Rank a query's candidates alone: the rest of the corpus is the query's own patient, or has no text for the
anatomy. The protocol stands in {EXPORT}.
"""
