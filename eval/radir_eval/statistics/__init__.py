"""From the metrics of single queries to figures.

`estimates` and `bootstrap` make means with intervals, `macros` means over groups, `skill` figures without
chance, `randomisation` and `comparisons` differences; `summary` gathers them for results.json, and `strata`
what stands beside the paper's figures.
"""
