"""Evaluation of image retrieval: the metric, the benchmark, statistics, tables and the report."""
