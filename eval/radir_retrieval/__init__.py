"""The RadIR retrieval metrics, importable and loadable with `evaluate.load("./eval/radir_retrieval")`."""

from .metrics import (
    PerQuery,
    correct_candidates,
    metrics_in_blocks,
    retrieval_metrics,
    scores_of_ranking,
)
from .radir_retrieval import RadIRRetrieval

__all__ = [
    "PerQuery",
    "RadIRRetrieval",
    "correct_candidates",
    "metrics_in_blocks",
    "retrieval_metrics",
    "scores_of_ranking",
]
