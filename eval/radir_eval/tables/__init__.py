"""Figures as tables: `table` is one, `strata_tables`, `paper_tables`, `comparison_tables` and `label_tables`
fill them, `latex` sets them.
"""
