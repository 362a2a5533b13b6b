"""Unweighted means over groups of queries (labels, anatomies), with their draws and patients' parts."""

from collections.abc import Sequence

from radir_eval.statistics.bootstrap import Bootstrap, Group, macro_draws
from radir_eval.statistics.comparisons import Compared
from radir_eval.statistics.estimates import Figures
from radir_eval.statistics.randomisation import patient_parts


def macro_of(names: Sequence[str], groups: Sequence[Group], bootstrap: Bootstrap) -> Compared:
    """The mean over G groups of each group's mean.

    Args:
        names: of the M metrics.
        groups: values (Q, M) float, NaN = not defined, and subjects (Q,) int64, for each group.
        bootstrap: the draws; a group without a query in a draw is left out of that draw's mean.
    """
    parts = patient_parts(groups, bootstrap.n_subjects)
    draws = macro_draws(bootstrap.means(groups))
    return Compared(Figures(list(names), parts.part.sum(axis=0), draws), parts)
