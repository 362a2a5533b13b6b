"""CTRATE-IR: a source for CT-RATE, from tables, volumes and region reports to records."""
