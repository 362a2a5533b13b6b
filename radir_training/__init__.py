"""Training, in the order of the work; `train_accelerate.py` holds the loop.

`settings` says what a run may set, `tokenizer` and `assemble` make the model, `batches` (with
`volume_cache`) and `targets` what it learns from, `optimisation` says what learns and how fast.
`adapt/` fits an encoder in closed form instead, to `finding_vectors`, whose products are the relevance.
`validation` tells how a training goes, by the `content_skill` that `adapt/` chooses by as well.
`calibrate` gives a model the means of its features; `feature_geometry` says how these lie.
`accelerators`, `stopping` and `together` run it on whatever there is, `journal` tells what happens, and
`run_folder` (with `earlier_versions`) holds checkpoints and the finished model.
"""
