"""The RadIR retrieval metrics, importable and loadable with `evaluate.load("eval/radir_retrieval")`."""

from .radir_retrieval import PerQuery, RadIRRetrieval, precision_at, retrieval_metrics

__all__ = ["PerQuery", "RadIRRetrieval", "precision_at", "retrieval_metrics"]
