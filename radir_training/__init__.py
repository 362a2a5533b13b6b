"""What surrounds the training loop: the run's folder, signals, and several processes that agree.

`run_folder` keeps checkpoints and the finished model, `stopping` ends a run in good order, `together` lets
the main process decide for all.
"""
