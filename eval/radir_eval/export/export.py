"""The benchmark for other tools: TREC runs and qrels, and a folder of corpus, queries and gains."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.building.built_dataset import BuiltDataset
from dataset_scripts.plumbing.atomic import atomic_path, remove_leftovers
from dataset_scripts.plumbing.manifest import MANIFEST, check_replaceable, files_below, write_manifest
from dataset_scripts.plumbing.outputs import claim
from radir_eval.export.judged_tasks import GAIN_SCALE, judged_tasks
from radir_eval.export.mteb_folder import export_gains_folder
from radir_eval.export.trec import EXPORT, export_trec
from radir_eval.protocol import Protocol
from radir_eval.rankers.encoder import open_all
from radir_eval.rankers.vectors import Ranker, check_names
from radir_eval.retrieval_split import RetrievalSplit, unreadable

TREC, GAINS = "trec", "gains"
KIND = "radir-export"  # of the manifests
# Files of an export without a manifest.
_EARLIER = re.compile(
    r"README\.md|export\.json|(corpus|gains|candidates)/[^/]+\.parquet|(.+/)?[^/]+\.(qrels|run)\.trec"
)


@dataclass(frozen=True)
class ExportOptions:
    """What goes into an export.

    Raises:
        ValueError: a depth or scale below 1.
    """

    anatomies: Sequence[str] | None = (
        None  # conditional tasks of these alone; qrels grow as galleries squared
    )
    depth: int | None = None  # candidates of a query in a run; by default the protocol's largest cut-off
    scale: int = GAIN_SCALE  # the gain of relevance 1, since these formats know integers alone
    include_text: bool | None = (
        None  # put texts into the gains folder; None: if the dataset's sharing is open
    )
    include_images: bool | None = None  # and the images, as well

    def __post_init__(self) -> None:
        for name in ("depth", "scale"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")


@dataclass(frozen=True)
class Exported:
    """Where an export lies, how many tasks it has, and which images it leaves out: image_id -> why."""

    trec: Path
    gains: Path
    tasks: int
    left_out: dict[str, str]


def export_run(
    dataset: BuiltDataset,
    split: str,
    rankers: Sequence[Ranker],
    protocol: Protocol,
    out: Path,
    progress: bool = True,
    options: ExportOptions | None = None,
    cache: Path | None = None,
    skip_unreadable: bool = False,
) -> Exported:
    """Export the benchmark's tasks and the rankers' rankings: `out`/trec and `out`/gains, each whole or not.

    Args:
        dataset, split, rankers, protocol: as of `evaluate_models`; the figures are of the same pairs.
        out: a folder; earlier exports in it are replaced.
        progress: show progress bars.
        options: by default all tasks, and no more than the dataset's sharing allows.
        cache: folder for the vectors of models, such as an evaluation's; None keeps them in memory.
        skip_unreadable: as of `evaluate_models`.

    Raises:
        ValueError: as of `evaluate_models`; or what lies in the place of an export is not all of one.
    """
    check_names(rankers)
    with claim(Path(out)) as folder:
        for name in (TREC, GAINS):
            _check_replaceable(folder / name)
        remove_leftovers(folder)
        left_out = unreadable(dataset, split, progress) if skip_unreadable else None
        items = RetrievalSplit(dataset, split, left_out)
        return _export(items, rankers, protocol, folder, progress, options or ExportOptions(), cache)


def _export(
    items: RetrievalSplit,
    rankers: Sequence[Ranker],
    protocol: Protocol,
    out: Path,
    progress: bool,
    options: ExportOptions,
    cache: Path | None,
) -> Exported:
    trec, gains = out / TREC, out / GAINS
    tasks = judged_tasks(items, protocol, options.anatomies)
    rankings = open_all(rankers, items, cache)
    depth = options.depth or max(*protocol.ks_unconditional, *protocol.ks_conditional)
    with atomic_path(trec) as folder:
        export_trec(tasks, rankings, folder, depth, options.scale, progress)
        write_manifest(folder, KIND)
    with atomic_path(gains) as folder:
        export_gains_folder(
            tasks, folder, options.scale, options.include_text, options.include_images, progress
        )
        write_manifest(folder, KIND)
    return Exported(trec, gains, len(tasks), items.left_out)


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace what holds anything but an export; one of an earlier version has no manifest."""
    is_earlier = (folder / EXPORT).is_file() and not (folder / MANIFEST).exists()
    if not is_earlier:
        check_replaceable(folder, KIND, "an export")
        return
    foreign = [name for name in files_below(folder) if not _EARLIER.fullmatch(name)]
    if foreign:
        raise ValueError(
            f"{folder} holds {len(foreign)} files beside those of an export ({', '.join(foreign[:3])}): move "
            "them away, or give another output"
        )
