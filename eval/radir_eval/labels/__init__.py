"""Do neighbours share what people labelled? `label_sets` are the labels of a split, `metrics` what a ranking
earns by one, `precision_by_label` all of a model's, and `label_figures` the figures of all models.
"""
