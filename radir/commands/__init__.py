"""The subcommands of `radir`, one module for each thing that users do; `radir.cli` gathers them.

`build` (one subcommand for each source, found by `sources`), `adapt`, `calibrate`, `evaluate`, `search`,
`convert`, `push`, `score`, `read` and `demo`; `options` is what they share, and `ending` how each ends.
"""

import os
import sys

# Bars of libraries, where they go into a log file: a line every 30 s at most, as `plumbing.bars` for
# ours. tqdm looks at the environment once, when it is imported, which this precedes.
if sys.stderr is not None and not sys.stderr.isatty():
    os.environ.setdefault("TQDM_MININTERVAL", "30")
    os.environ.setdefault("TQDM_MAXINTERVAL", "30")
