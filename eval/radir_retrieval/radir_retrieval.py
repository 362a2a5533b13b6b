"""The metrics of `metrics.py` as an `evaluate` metric: `evaluate.load("./eval/radir_retrieval")`.

It takes lists of each query: scores or rankings, relevances, and the names that tell what is excluded.
"""

# `evaluate` copies what this very file imports from its folder, hence the kernel; a comment behind an import
# would be taken for an address.
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from .inputs import Names, blocks, check_distinct, exclude, read_names, scores_of
from .kernel import rank_queries
from .metrics import PerQuery, metrics_in_blocks

__all__ = ["RadIRRetrieval", "rank_queries"]

_DESCRIPTION = (
    "Recall@k (a hit if any of the top k is correct) and NDCG@k (linear gain) of graded retrieval; "
    "correct: relevance above a threshold; exact ties are taken in expectation."
)

_INPUTS_DESCRIPTION = """
Args:
    predictions: for each query, the scores of its candidates (higher is nearer); or its ranking, nearest
        first: the positions of candidates in its references, or, with candidate_ids, their ids.
    references: for each query, the relevance of its candidates; None or NaN where it is no candidate.
    ks: the cut-offs, by default (3, 5, 10).
    threshold: a candidate is correct if its relevance is above this, by default 0.9.
    strict: above (default), or at or above.
    predictions_are: "scores" (default) or "rankings". A score of -inf, and a candidate that a ranking leaves
        out, was not retrieved: it earns nothing and stays in the ideal ranking.
    query_ids, candidate_ids: names of the queries and of the candidates, the latter one list for all queries
        or one for each. Strings, or whole numbers, the same kind in both; in rankings no name twice.
    query_subjects, candidate_subjects: their patients, likewise; None or "" is an unknown patient.
    exclude_self: a candidate with the query's id is none (default); needs the ids.
    exclude_same_subject: a candidate of the query's patient is none (default); needs the subjects.
Returns:
    recall@k and ndcg@k for each k, n_queries, n_without_correct: queries that Recall leaves out, and
    n_without_gain: queries that NDCG leaves out.
Examples:
    >>> metric = evaluate.load("./eval/radir_retrieval")
    >>> result = metric.compute(predictions=[[0.9, 0.1, 0.5]], references=[[0.2, 0.95, 0.4]], ks=[1, 3])
    >>> result["recall@1"], result["recall@3"]
    (0.0, 1.0)
"""

_CITATION = """
@inproceedings{zhang2025radir,
  title = {RadIR: A Scalable Framework for Multi-Grained Medical Image Retrieval via Radiology Report Mining},
  author = {Zhang, Tengfei and Zhao, Ziheng and Wu, Chaoyi and Zhou, Xiao and Zhang, Ya and Wang, Yanfeng
            and Xie, Weidi},
  year = {2025},
  note = {arXiv 2503.04653}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS_DESCRIPTION)
class RadIRRetrieval(evaluate.Metric):
    """The metrics as an `evaluate` metric; call `compute`, or `add_batch` for query after query."""

    def _info(self) -> evaluate.MetricInfo:
        numbers = datasets.Sequence(datasets.Value("float64"))
        names = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=[
                # Strings first: an id such as "50414267" would also pass as a number.
                datasets.Features({"predictions": names, "references": numbers}),
                datasets.Features({"predictions": numbers, "references": numbers}),
            ],
            reference_urls=["https://arxiv.org/abs/2503.04653"],
        )

    def _compute(
        self,
        predictions: Sequence[Sequence[Any]],
        references: Sequence[Sequence[float | None]],
        ks: Sequence[int] = (3, 5, 10),
        threshold: float = 0.9,
        strict: bool = True,
        predictions_are: str = "scores",
        query_ids: Sequence[Any] | None = None,
        candidate_ids: Sequence[Any] | None = None,
        query_subjects: Sequence[Any] | None = None,
        candidate_subjects: Sequence[Any] | None = None,
        exclude_self: bool = True,
        exclude_same_subject: bool = True,
    ) -> dict[str, Any]:
        if predictions_are not in ("scores", "rankings"):
            raise ValueError(f"predictions_are is {predictions_are!r}: it must be 'scores' or 'rankings'")
        ranked = predictions_are == "rankings"
        relevance = [np.asarray(row, dtype=np.float64) for row in references]
        lengths = [len(row) for row in relevance]
        ids = Names("candidate_ids", candidate_ids, lengths) if candidate_ids is not None else None
        subjects = None
        if candidate_subjects is not None:
            subjects = Names("candidate_subjects", candidate_subjects, lengths)
        if ranked and ids is not None:
            ids.check_distinct()
        if ranked and query_ids is not None:
            check_distinct("query_ids", read_names("query_ids", query_ids)[0])
        if exclude_self:
            exclude(relevance, query_ids, ids, "ids", alone=ranked)
        if exclude_same_subject:
            exclude(relevance, query_subjects, subjects, "subjects")
        rows = scores_of(predictions, lengths, ranked, ids)
        found = metrics_in_blocks(blocks(rows, relevance), ks, threshold, strict)
        return _summary(found, ks)


def _summary(found: PerQuery, ks: Sequence[int]) -> dict[str, Any]:
    """Means over the queries that have the metric, and how many do not."""
    result = {f"recall@{k}": _mean(found.recall[:, column]) for column, k in enumerate(ks)}
    result |= {f"ndcg@{k}": _mean(found.ndcg[:, column]) for column, k in enumerate(ks)}
    return {
        **result,
        "n_queries": len(found.recall),
        "n_without_correct": int(np.isnan(found.recall[:, 0]).sum()),
        "n_without_gain": int(np.isnan(found.ndcg[:, 0]).sum()),
    }


def _mean(values: np.ndarray) -> float:
    """Mean of what is defined; NaN if nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
