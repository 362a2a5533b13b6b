"""The benchmark's tasks as judged queries and candidates with names, for the formats of other tools.

A task is what `radir_eval.tasks` scores: the same queries, candidates, exclusions and relevance. Its
relevance becomes integer gains, since those tools know no others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
from radir_retrieval import correct_candidates

from radir_eval.protocol import Protocol
from radir_eval.rankers.vectors import Ranking
from radir_eval.retrieval_split import WHOLE, RetrievalSplit
from radir_eval.tasks import (
    CONDITIONAL,
    IMAGE_TO_IMAGE,
    IMAGE_TO_REPORT,
    blocks_of,
    gallery_of,
    paired_reports,
    relevance_block,
    report_task,
    task_anatomies,
)

GAIN_SCALE = 1000  # gain of relevance 1
# Before the study_id in a report's name: where it was the image_id too, tools that leave out what has the
# query's own name would leave out the one correct report.
REPORT_PREFIX = "report-"


@dataclass(frozen=True, eq=False)
class JudgedBlock:
    """Some queries of a task with the judgements of all its candidates.

    Attributes:
        queries: (Q,) int64, positions in the items.
        query_ids: (Q,) of their names.
        allowed: (Q, C) bool; what is not allowed is no candidate of the query.
        gains: (Q, C) int32, the scaled relevance; 0 where not allowed.
        correct: (Q, C) bool, what Recall counts.
    """

    queries: np.ndarray
    query_ids: np.ndarray
    allowed: np.ndarray
    gains: np.ndarray
    correct: np.ndarray


@dataclass(frozen=True, eq=False)
class JudgedTask:
    """One task: images to images (for an anatomy or none), or images to reports.

    Attributes:
        items, protocol: as everywhere.
        task: IMAGE_TO_IMAGE, IMAGE_TO_REPORT or CONDITIONAL.
        anatomy: the condition; WHOLE where there is none.
        queries: (Q,) int64, positions of the images that ask.
        candidates: (C,) int64, positions of the images, or of one image of each report.
        candidate_ids: (C,) str, image_id of images, REPORT_PREFIX + study_id of reports.
    """

    items: RetrievalSplit
    protocol: Protocol
    task: str
    anatomy: str
    queries: np.ndarray
    candidates: np.ndarray
    candidate_ids: np.ndarray

    @property
    def name(self) -> str:
        """`image_to_image`, `image_to_report`, or the anatomy of a conditional task."""
        return self.anatomy or self.task

    def scores(self, ranking: Ranking, queries: np.ndarray) -> np.ndarray | None:
        """A ranking's scores of the candidates: (Q, C) float, None where it does not rank reports."""
        if self.task == IMAGE_TO_REPORT:
            return ranking.report_scores(queries, self.candidates)
        return ranking.scores(self.anatomy or None, queries, self.candidates)

    def blocks(self, scale: int = GAIN_SCALE) -> Iterator[JudgedBlock]:
        """All queries in parts of bounded size.

        Args:
            scale: the gain of relevance 1; gains are rounded to the nearest integer.
        """
        for queries in blocks_of(self.queries, len(self.candidates)):
            if self.task == IMAGE_TO_REPORT:
                relevance = self.items.relevance(WHOLE, queries, self.candidates)
                correct = paired_reports(self.items, queries, self.candidates)
            else:
                relevance = relevance_block(self.items, self.anatomy, queries, self.candidates, self.protocol)
                correct = correct_candidates(relevance, self.protocol.threshold, self.protocol.strict)
            allowed = ~np.isnan(relevance)
            gains = np.rint(scale * np.where(allowed, relevance, 0).astype(np.float64)).astype(np.int32)
            yield JudgedBlock(queries, self.items.image_ids[queries], allowed, gains, correct & allowed)


def judged_tasks(
    items: RetrievalSplit, protocol: Protocol, anatomies: Sequence[str] | None = None
) -> list[JudgedTask]:
    """All tasks that the benchmark scores: images to images, images to reports, then the anatomies'.

    Args:
        items: the split.
        protocol: galleries, exclusions, threshold.
        anatomies: conditional tasks of these alone; by default of all that two images have.

    Raises:
        ValueError: an anatomy has no task in this split.
    """
    possible = task_anatomies(items)
    wanted = possible if anatomies is None else list(anatomies)
    if unknown := [name for name in wanted if name not in possible]:
        raise ValueError(
            f"{items.dataset.name}/{items.split} has no task for {', '.join(unknown)}: fewer than two images "
            f"have a text for it; there are {', '.join(possible)}"
        )
    galleries = {name: gallery_of(items, name, protocol) for name in (WHOLE, *wanted)}
    tasks = [
        JudgedTask(
            items,
            protocol,
            CONDITIONAL if name else IMAGE_TO_IMAGE,
            name,
            gallery,
            gallery,
            items.image_ids[gallery],
        )
        for name, gallery in galleries.items()
    ]
    images, reports = report_task(items)
    names = REPORT_PREFIX + items.study_ids[reports]
    by_report = JudgedTask(items, protocol, IMAGE_TO_REPORT, WHOLE, images, reports, names)
    tasks = [task for task in (tasks[0], by_report, *tasks[1:]) if len(task.candidates) > 1]
    if not tasks:
        raise ValueError(f"{items.dataset.name}/{items.split} has no two images with a report: no task")
    return tasks


def escape(name: str) -> str:
    """A name without blanks, for files and fields of other tools; `urllib.parse.unquote` gives it back.

    >>> escape("left pleura/2")
    'left%20pleura%2F2'
    """
    return quote(name, safe="")
