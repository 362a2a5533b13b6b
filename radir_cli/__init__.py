"""The subcommands of `radir`, one module for each thing that users do; `radir.py` gathers them."""
