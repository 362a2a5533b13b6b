"""MIMIC-IR: a source for MIMIC-CXR-JPG and MIMIC-CXR, from tables and report files to records.

`tables` lists the studies, `reports` and `overrides` read the texts, `images` the pictures, `source` yields
records.
"""
