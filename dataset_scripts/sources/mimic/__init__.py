"""MIMIC-IR: a source for MIMIC-CXR-JPG and MIMIC-CXR, from tables and report files to records."""
