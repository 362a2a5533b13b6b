"""From a source to a built dataset, in the order of the work.

`layout` says where everything lies, `working_folder` where a build works, `study_blocks` reads and mines,
`relevance_tables` ranks, `build_info` and `card` describe, and `build` is all of it. `built_dataset` reads
the result with `contents` (which files are its own) and `rows` (random access to its tables), and
`provenance` says what is owed to its data.
"""
