"""Figures that chance is taken out of, over all queries together.

    skill = sum(x - chance) / sum(best - chance)

over the queries that have the metric: 0 is a random order, 1 the best that can be reached, below 0 is worse
than chance. Chance is each query's own and exact, the best Recall and NDCG are 1 for each of them. So queries
of which nearly every candidate is correct, whose headroom is small, do not drown the others, as they do in a
mean over queries.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from radir_eval.retrieval_split import PAPER, RetrievalSplit
from radir_eval.statistics.bootstrap import Bootstrap, subject_sums
from radir_eval.statistics.comparisons import Compared
from radir_eval.statistics.estimates import Figures, chance_of, metric_names, table_of
from radir_eval.statistics.randomisation import PatientParts
from radir_eval.tasks import CONDITIONAL, TaskScores

BEST = 1.0  # of Recall, where a candidate is correct, and of NDCG


def skill_names(ks: Sequence[int], relevance: str = PAPER) -> list[str]:
    """recall@k of each cut-off, then ndcg@k; those by another relevance start with its name."""
    start = "" if relevance == PAPER else f"{relevance} "
    return [f"{start}{name}" for name in metric_names(tuple(ks))]


def conditional_skill(
    items: RetrievalSplit, scored: Sequence[TaskScores], bootstrap: Bootstrap
) -> dict[str, Compared]:
    """Each model's skill under conditions, by each relevance.

    Args:
        items: the split.
        scored: the metrics with their chance levels; the queries of all anatomies count, those of small ones
            too. All models must have the same queries.
        bootstrap: the draws.

    Returns:
        model -> figures named by `skill_names` and what each patient adds to them; NaN where no query has
        headroom.
    """
    together: dict[str, dict[str, list[TaskScores]]] = {}
    for task in scored:
        if task.task == CONDITIONAL:
            together.setdefault(task.model, {}).setdefault(task.relevance, []).append(task)
    return {model: _skill(items, tasks, bootstrap) for model, tasks in together.items()}


def _skill(
    items: RetrievalSplit, tasks: Mapping[str, Sequence[TaskScores]], bootstrap: Bootstrap
) -> Compared:
    """One model's, by each relevance."""
    names: list[str] = []
    groups, sums = [], []
    for relevance, of in tasks.items():
        names += skill_names(of[0].ks, relevance)
        subjects = np.concatenate([items.subjects[task.queries] for task in of])
        chance = np.concatenate([chance_of(task) for task in of])
        values = np.concatenate([table_of(task) for task in of])
        gain, room = values - chance, np.where(np.isnan(values), np.nan, BEST - chance)
        groups += [(gain, subjects), (room, subjects)]
        sums += [subject_sums(part, subjects, bootstrap.n_subjects)[0] for part in (gain, room)]
    drawn = [part.total for part in bootstrap.sums(groups)]
    draws = _share(np.concatenate(drawn[::2], axis=1), np.concatenate(drawn[1::2], axis=1))
    gains, rooms = (np.concatenate(sums[at::2], axis=1) for at in (0, 1))  # (S, M)
    total = rooms.sum(axis=0)
    mean = _share(gains.sum(axis=0), total)
    parts = PatientParts(
        _share(gains, np.broadcast_to(total, gains.shape)),
        _share(gains - mean * rooms, np.broadcast_to(total, gains.shape)),
        rooms.any(axis=1),
    )
    return Compared(Figures(names, mean, draws), parts)


def _share(gain: np.ndarray, room: np.ndarray) -> np.ndarray:
    return np.divide(gain, room, out=np.full(gain.shape, np.nan), where=room > 1e-12)
