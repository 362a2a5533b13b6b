"""From the metrics of single queries to figures: `estimates` and `bootstrap` for means with intervals,
`randomisation` and `comparisons` for differences, and `summary`, which gathers them for results.json.
"""
