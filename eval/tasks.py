"""Scores of every query in every task: images to images, to reports, and to images under each anatomy.

Relevance is computed once for each task and block of queries, and shared by all models; a whole N x N matrix
never exists.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from eval.embeddings import Ranking
from eval.items import WHOLE, Items
from eval.protocol import Protocol
from eval.radir_retrieval import PerQuery, retrieval_metrics

IMAGE_TO_IMAGE, IMAGE_TO_REPORT, CONDITIONAL = "image_to_image", "image_to_report", "conditional"
_BLOCK_CELLS = 2_000_000  # query x candidate cells at a time, about 100 MB of working memory


@dataclass(frozen=True, eq=False)
class TaskScores:
    """Every query's metrics of one model in one task.

    Attributes:
        model: the source's name.
        task: IMAGE_TO_IMAGE, IMAGE_TO_REPORT or CONDITIONAL.
        anatomy: the condition; WHOLE where there is none.
        ks: the K cut-offs.
        queries: (Q,) int64, positions in the items.
        n_candidates: the size of the gallery, before exclusions.
        recall, ndcg: (Q, K) float64, NaN where not defined.
    """

    model: str
    task: str
    anatomy: str
    ks: tuple[int, ...]
    queries: np.ndarray
    n_candidates: int
    recall: np.ndarray
    ndcg: np.ndarray

    @property
    def n_with_correct(self) -> int:
        """Queries that have a correct candidate, hence a Recall."""
        return int((~np.isnan(self.recall[:, 0])).sum())


def score_tasks(
    items: Items, rankings: Mapping[str, Ranking], protocol: Protocol, progress: bool = True
) -> list[TaskScores]:
    """All tasks of all models: images to images, images to reports, then each anatomy that two images have.

    Args:
        items: the split.
        rankings: model name -> its ranking of these items.
        protocol: the choices.
        progress: show a progress bar over the tasks.
    """
    anatomies = [a["name"] for a in items.anatomies if len(items.members(a["name"])) > 1]
    scored = []
    for anatomy in tqdm([WHOLE, *anatomies], desc="evaluate", unit="task", disable=not progress):
        scored += _score_images(items, rankings, protocol, anatomy)
        if anatomy == WHOLE:
            scored += _score_reports(items, rankings, protocol)
    return scored


def gallery_of(items: Items, anatomy: str, protocol: Protocol) -> np.ndarray:
    """The images that are queries and candidates under an anatomy (WHOLE: all with a report), by position."""
    members = items.members(anatomy)
    limit = protocol.max_per_anatomy
    if anatomy == WHOLE or limit is None or len(members) <= limit:
        return members
    rng = np.random.default_rng([protocol.seed, zlib.crc32(anatomy.encode())])
    return np.sort(rng.choice(members, size=limit, replace=False))


def relevance_block(
    items: Items, anatomy: str, queries: np.ndarray, candidates: np.ndarray, protocol: Protocol
) -> np.ndarray:
    """Relevance between images, NaN also where the protocol excludes the pair: (Q, C) float32."""
    relevance = items.relevance(anatomy, queries, candidates)
    excluded = items.excluded(queries, candidates, protocol.exclude_self, protocol.exclude_same_subject)
    return np.where(excluded, np.float32(np.nan), relevance)


def blocks_of(queries: np.ndarray, width: int) -> Iterator[np.ndarray]:
    """The queries in parts such that a part x width block stays small."""
    height = max(1, _BLOCK_CELLS // max(1, width))
    for start in range(0, len(queries), height):
        yield queries[start : start + height]


def _score_images(
    items: Items, rankings: Mapping[str, Ranking], protocol: Protocol, anatomy: str
) -> list[TaskScores]:
    gallery = gallery_of(items, anatomy, protocol)
    if len(gallery) < 2:
        return []
    ks = protocol.ks_conditional if anatomy else protocol.ks_unconditional
    parts: dict[str, list[PerQuery]] = {name: [] for name in rankings}
    for queries in blocks_of(gallery, len(gallery)):
        relevance = relevance_block(items, anatomy, queries, gallery, protocol)
        for name, ranking in rankings.items():
            scores = ranking.scores(anatomy or None, queries, gallery)
            parts[name].append(retrieval_metrics(scores, relevance, ks, protocol.threshold, protocol.strict))
    task = CONDITIONAL if anatomy else IMAGE_TO_IMAGE
    return [_joined(name, task, anatomy, ks, gallery, len(gallery), part) for name, part in parts.items()]


def _score_reports(items: Items, rankings: Mapping[str, Ranking], protocol: Protocol) -> list[TaskScores]:
    """Images to reports; the paired report is the correct item, so nobody is excluded (section 5.2)."""
    images, reports = items.members(WHOLE), items.first_of_studies()
    if len(reports) < 2:
        return []
    parts: dict[str, list[PerQuery]] = {name: [] for name in rankings}
    for queries in blocks_of(images, len(reports)):
        relevance = items.relevance(WHOLE, queries, reports)
        paired = items.study_numbers[queries][:, None] == items.study_numbers[reports][None, :]
        for name, ranking in rankings.items():
            scores = ranking.report_scores(queries, reports)
            if scores is not None:
                parts[name].append(
                    retrieval_metrics(scores, relevance, protocol.ks_unconditional, correct=paired)
                )
    return [
        _joined(name, IMAGE_TO_REPORT, WHOLE, protocol.ks_unconditional, images, len(reports), part)
        for name, part in parts.items()
        if part
    ]


def _joined(
    model: str,
    task: str,
    anatomy: str,
    ks: tuple[int, ...],
    queries: np.ndarray,
    n_candidates: int,
    parts: list[PerQuery],
) -> TaskScores:
    recall = np.concatenate([part.recall for part in parts])
    ndcg = np.concatenate([part.ndcg for part in parts])
    return TaskScores(model, task, anatomy, ks, queries, n_candidates, recall, ndcg)
