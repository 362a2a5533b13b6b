"""The RadIR retrieval metrics, importable and loadable with `evaluate.load("./eval/radir_retrieval")`.

`metrics` has the functions with `kernel` for their loops; `inputs` and `radir_retrieval` make a metric of
`evaluate` of them.
"""

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
