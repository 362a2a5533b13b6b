"""Training, in the order of the work; `train_accelerate.py` holds the loop.

`settings` says what a run may set, `tokenizer` and `assemble` make the model, `batches` and `targets` what it
learns from, `volume_cache` keeps volumes ready, and `run_folder` holds checkpoints and the finished model.
"""
