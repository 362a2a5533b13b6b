"""Evaluation of image retrieval, in the order of the work.

`retrieval_split` and `protocol` say what is compared and how; `rankers/` and `baselines/` rank;
`judgement` says what hits, and `tasks` scores every query; `statistics/`, `labels/` and `tables/` make
figures of the scores; `report/` and `export/` write them; and `benchmark` is all of it. `fingerprint` and
`task_cache` let an evaluation resume, `results_folder` says which files are its own.
"""
