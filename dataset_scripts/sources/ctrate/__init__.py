"""CTRATE-IR: a source for CT-RATE, from tables, volumes and region reports to records.

`tables` lists the scans, `radgenome` reads the reports of regions, `source` yields records.
"""
