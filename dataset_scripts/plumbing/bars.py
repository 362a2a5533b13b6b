"""Progress bars that do not flood a log file."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm

EVERY_S = 30.0  # between two prints where nobody watches


def progress_bar(
    items: Iterable[Any] | None = None, desc: str | None = None, *, shown: bool = True, **options: Any
) -> Any:
    """A bar of `tqdm`; where it goes to a file instead of a terminal, it prints every EVERY_S s at most.

    Args:
        items: what to go through, if anything.
        desc: what stands before the bar.
        shown: False for none at all.
        options: of `tqdm`.
    """
    rare = {} if sys.stderr.isatty() else {"mininterval": EVERY_S, "maxinterval": EVERY_S}
    return tqdm(items, desc, disable=not shown, **rare | options)
