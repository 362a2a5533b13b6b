"""Scores of every query in every task: images to images, to reports, and to images for each anatomy.

Relevance is computed once for each task and block of queries, and shared by all models; a whole N x N matrix
never exists. What the queries are judged by is told in `judgement`.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dataset_scripts.plumbing.bars import progress_bar
from radir_eval.judgement import CHANCE, CREDIT, Judgement, judge_images
from radir_eval.protocol import Protocol
from radir_eval.rankers.vectors import Ranking
from radir_eval.retrieval_split import PAPER, WHOLE, RetrievalSplit
from radir_eval.task_cache import TaskCache

IMAGE_TO_IMAGE, IMAGE_TO_REPORT, CONDITIONAL = "image_to_image", "image_to_report", "conditional"
_BLOCK_CELLS = 2_000_000  # query x candidate cells at a time, about 100 MB of working memory

_Part = dict[str, np.ndarray]  # what is kept of a model in a task


@dataclass(frozen=True, eq=False)
class TaskScores:
    """Every query's metrics of one model in one task, by one relevance.

    Attributes:
        model: the ranker's name.
        task: IMAGE_TO_IMAGE, IMAGE_TO_REPORT or CONDITIONAL.
        anatomy: the condition; WHOLE where there is none.
        ks: the K cut-offs.
        queries: (Q,) int64, positions in the items.
        n_candidates: the size of the gallery, before exclusions.
        recall, ndcg: (Q, K) float64, NaN where not defined.
        chance_recall, chance_ndcg: (Q, K) float64, what a random order reaches; None if not known.
        affirms: (Q,) bool, whether the query's text affirms a finding; None if not known.
        relevance: the name of the relevance.
        credit, chance_credit: (Q, K) float64, hits with those at a parent in part, see `judgement`; None
            where the anatomy has no parent.
    """

    model: str
    task: str
    anatomy: str
    ks: tuple[int, ...]
    queries: np.ndarray
    n_candidates: int
    recall: np.ndarray
    ndcg: np.ndarray
    chance_recall: np.ndarray | None = None
    chance_ndcg: np.ndarray | None = None
    affirms: np.ndarray | None = None
    relevance: str = PAPER
    credit: np.ndarray | None = None
    chance_credit: np.ndarray | None = None

    @classmethod
    def of(
        cls, part: _Part, relevance: str, model: str, task: str, anatomy: str, ks: tuple[int, ...]
    ) -> "TaskScores":
        """From what is kept of a model in a task."""
        return cls(
            model,
            task,
            anatomy,
            ks,
            part["queries"],
            int(part["n_candidates"]),
            part[f"{relevance}_recall"],
            part[f"{relevance}_ndcg"],
            part[f"{CHANCE}{relevance}_recall"],
            part[f"{CHANCE}{relevance}_ndcg"],
            part["affirms"],
            relevance,
            part.get(CREDIT) if relevance == PAPER else None,
            part.get(f"{CHANCE}{CREDIT}") if relevance == PAPER else None,
        )

    def only(self, wanted: np.ndarray) -> "TaskScores":
        """The same of some of the queries: wanted (Q,) bool."""
        names = (
            "queries",
            "recall",
            "ndcg",
            "chance_recall",
            "chance_ndcg",
            "affirms",
            "credit",
            "chance_credit",
        )
        found = {name: getattr(self, name) for name in names}
        return replace(self, **{name: value[wanted] for name, value in found.items() if value is not None})

    @property
    def n_with_correct(self) -> int:
        """Queries that have a correct candidate, hence a Recall."""
        return int((~np.isnan(self.recall[:, 0])).sum())


def score_tasks(
    items: RetrievalSplit,
    rankings: Mapping[str, Ranking],
    protocol: Protocol,
    progress: bool = True,
    parts: TaskCache | None = None,
) -> list[TaskScores]:
    """All tasks of all models by each relevance: images to images, to reports, then to images for each
    anatomy that two images have.

    Args:
        items: the split.
        rankings: model name -> its ranking of these items.
        protocol: the choices.
        progress: show a progress bar over the tasks.
        parts: what an earlier run has finished is taken from here, and what this one finishes kept.

    Raises:
        ValueError: no two images have a text.
    """
    scored = []
    names = task_anatomies(items)
    for anatomy in progress_bar([WHOLE, *names], desc="evaluate", unit="task", shown=progress):
        scored += _score(
            items, rankings, protocol, CONDITIONAL if anatomy else IMAGE_TO_IMAGE, anatomy, parts
        )
        if anatomy == WHOLE:
            scored += _score(items, rankings, protocol, IMAGE_TO_REPORT, WHOLE, parts)
    if not scored:
        raise ValueError(
            f"{items.dataset.name}/{items.split} has no two images with a text, whole or of an anatomy: "
            "there is nothing to rank"
        )
    return scored


def by_paper(scored: Iterable[TaskScores]) -> list[TaskScores]:
    """Those by the paper's relevance."""
    return [task for task in scored if task.relevance == PAPER]


def task_anatomies(items: RetrievalSplit) -> list[str]:
    """The anatomies that at least two images have a text for: those with a conditional task."""
    return [a["name"] for a in items.anatomies if len(items.members(a["name"])) > 1]


def gallery_of(items: RetrievalSplit, anatomy: str, protocol: Protocol) -> np.ndarray:
    """The images that are queries and candidates for an anatomy (WHOLE: all with a report), by position."""
    members = items.members(anatomy)
    limit = protocol.max_per_anatomy
    if anatomy == WHOLE or limit is None or len(members) <= limit:
        return members
    rng = np.random.default_rng([protocol.seed, zlib.crc32(anatomy.encode())])
    return np.sort(rng.choice(members, size=limit, replace=False))


def relevance_block(
    items: RetrievalSplit, anatomy: str, queries: np.ndarray, candidates: np.ndarray, protocol: Protocol
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


def report_task(items: RetrievalSplit) -> tuple[np.ndarray, np.ndarray]:
    """Queries and gallery of images to reports: images with a report, and one image of each study."""
    return items.members(WHOLE), items.first_of_studies()


def paired_reports(items: RetrievalSplit, queries: np.ndarray, reports: np.ndarray) -> np.ndarray:
    """Which report is the image's own, the correct item of images to reports: (Q, R) bool."""
    return items.study_numbers[queries][:, None] == items.study_numbers[reports][None, :]


def _score(
    items: RetrievalSplit,
    rankings: Mapping[str, Ranking],
    protocol: Protocol,
    task: str,
    anatomy: str,
    parts: TaskCache | None,
) -> list[TaskScores]:
    """All models in one task; what `parts` has is not computed again."""
    found: dict[str, _Part] = {}
    for name in rankings:
        part = None if parts is None else parts.load(name, task, anatomy)
        if part is not None:
            found[name] = part
    missing = {name: ranking for name, ranking in rankings.items() if name not in found}
    if missing:
        score = _score_reports if task == IMAGE_TO_REPORT else _score_images
        for name, part in score(items, missing, protocol, anatomy).items():
            found[name] = part
            if parts is not None:
                parts.save(part, name, task, anatomy)
    ks = protocol.ks_conditional if task == CONDITIONAL else protocol.ks_unconditional
    return [
        TaskScores.of(found[name], relevance, name, task, anatomy, ks)
        for relevance in items.relevances
        for name in rankings
        if name in found
    ]


def _score_images(
    items: RetrievalSplit, rankings: Mapping[str, Ranking], protocol: Protocol, anatomy: str
) -> dict[str, _Part]:
    """Images to images."""
    gallery = gallery_of(items, anatomy, protocol)
    if len(gallery) < 2:
        return {}
    blocks = _Blocks(list(rankings))
    for queries in blocks_of(gallery, len(gallery)):
        judgement = judge_images(items, anatomy, queries, gallery, protocol)
        scores = (
            (name, ranking.scores(anatomy or None, queries, gallery)) for name, ranking in rankings.items()
        )
        blocks.add(judgement, scores)
    return blocks.parts(gallery, len(gallery), items.affirms(anatomy)[gallery])


def _score_reports(
    items: RetrievalSplit, rankings: Mapping[str, Ranking], protocol: Protocol, anatomy: str
) -> dict[str, _Part]:
    """Images to reports; the paired report is the correct item, so nobody is excluded (section 5.2)."""
    images, reports = report_task(items)
    if len(reports) < 2:
        return {}
    able = [name for name, r in rankings.items() if r.report_scores(images[:1], reports) is not None]
    blocks = _Blocks(able)
    for queries in blocks_of(images, len(reports)) if able else ():
        relevance = {name: items.relevance(anatomy, queries, reports, name) for name in items.relevances}
        paired = paired_reports(items, queries, reports)
        judgement = Judgement(relevance, protocol.ks_unconditional, protocol, paired)
        blocks.add(judgement, ((name, _report_scores(rankings[name], queries, reports)) for name in able))
    return blocks.parts(images, len(reports), items.affirms(anatomy)[images])


def _report_scores(ranking: Ranking, queries: np.ndarray, reports: np.ndarray) -> np.ndarray:
    scores = ranking.report_scores(queries, reports)
    assert scores is not None
    return scores


class _Blocks:
    """The metrics of models, gathered block of queries by block; those of chance are all models'."""

    def __init__(self, models: list[str]) -> None:
        self._models: dict[str, dict[str, list[np.ndarray]]] = {name: defaultdict(list) for name in models}
        self._shared: dict[str, list[np.ndarray]] = defaultdict(list)

    def add(self, judgement: Judgement, scores: Iterable[tuple[str, np.ndarray]]) -> None:
        """Judge a block: of each model its scores (Q, C), taken one by one."""
        for what, values in judgement.chance().items():
            self._shared[what].append(values)
        for name, of_model in scores:
            for what, values in judgement.measure(of_model).items():
                self._models[name][what].append(values)

    def parts(self, queries: np.ndarray, n_candidates: int, affirms: np.ndarray) -> dict[str, _Part]:
        """By model all that is kept of it in the task, in one order of memory: sums depend on it."""
        about = {"queries": queries, "n_candidates": np.array(n_candidates), "affirms": affirms}
        return {
            name: about
            | {
                what: np.ascontiguousarray(np.concatenate(blocks))
                for what, blocks in {**self._shared, **own}.items()
            }
            for name, own in self._models.items()
        }
