"""Do neighbours share what people labelled? `metrics`, and `precision_by_label` for a dataset with gold
labels.
"""
