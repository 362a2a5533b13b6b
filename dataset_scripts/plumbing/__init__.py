"""Files and processes: what writes whole or not at all, who may write, and work on all cores.

In the order of use: `outputs` claims what a command writes, `manifest` says which files are ours, `atomic`
writes them, `parquet_writer` writes tables row by row, `processes` maps a function over a stream.
"""
