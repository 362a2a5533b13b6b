"""Files and processes: what writes whole or not at all, who may write, and work on all cores.

In the order of use: `outputs` claims what a command writes, `manifest` says which files are ours, `atomic`
writes them, `parquet_writer` writes tables row by row, `steps` remembers what is finished, `private` keeps
what nobody else may read, `processes` maps a function over a stream, `bars` shows progress, `markdown` shows
names as they are.
"""
