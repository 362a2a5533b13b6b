"""The labels that people or programs gave the studies of a split, by who gave them.

A label's name tells its set: "MeSH: Cardiomegaly" is of MESH_SET, one without such a beginning of GOLD_SET.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from radir_eval.labels.metrics import POSITIVE, UNKNOWN
from radir_eval.protocol import Protocol
from radir_eval.retrieval_split import RetrievalSplit

GOLD_SET, MESH_SET = "gold", "mesh"
_BEGINNINGS = {"MeSH: ": MESH_SET}


@dataclass(frozen=True, eq=False)
class Label:
    """A label over the items: (N,) int8 POSITIVE, NEGATIVE or UNKNOWN; its anatomy, if any."""

    name: str
    values: np.ndarray
    anatomy: str | None

    @property
    def of(self) -> str:
        """The set that it belongs to."""
        return next((of for start, of in _BEGINNINGS.items() if self.name.startswith(start)), GOLD_SET)

    @property
    def queries(self) -> np.ndarray:
        """Positions of the positive images: (Q,) int64."""
        return np.flatnonzero(self.values == POSITIVE)


def read_labels(items: RetrievalSplit, protocol: Protocol) -> list[Label]:
    """The labels with at least min_queries positive images, by name.

    Args:
        items: the split; its dataset's `labels()` gives study_id, label, value and, optionally, anatomy.
        protocol: min_queries.

    Raises:
        ValueError: the labels name an anatomy that the dataset does not have, are no labels, or stand twice.
    """
    table = items.dataset.labels()
    if table is None:
        return []
    _check_labels(table)
    known = {anatomy["name"] for anatomy in items.anatomies}
    labels = []
    for name, rows in table.groupby("label", sort=True):
        values = rows.set_index(rows["study_id"].astype(str))["value"].astype(float)
        own = pd.Series(items.study_ids).map(values[values.isin([0, 1])]).fillna(UNKNOWN)
        label = Label(str(name), own.to_numpy(dtype=np.int8), _anatomy_of(rows, str(name), known))
        if len(label.queries) >= max(2, protocol.min_queries):
            labels.append(label)
    return labels


def _check_labels(table: pd.DataFrame) -> None:
    """One label of a study has one value, which says yes, no or that it is not certain."""
    values = pd.to_numeric(table["value"], errors="coerce")
    odd = table[~(values.isin([-1, 0, 1]) | table["value"].isna())]
    if len(odd):
        row = odd.iloc[0]
        raise ValueError(
            f"{len(odd)} gold labels are none of 1 (yes), 0 (no) and -1 (uncertain), the first is "
            f"{row['value']!r} of {row['label']!r} for study {row['study_id']}: correct the source"
        )
    twice = table[table.duplicated(["study_id", "label"])]
    if len(twice):
        row = twice.iloc[0]
        raise ValueError(
            f"{len(twice)} gold labels stand twice, the first is {row['label']!r} for study "
            f"{row['study_id']}: keep one value of each"
        )


def _anatomy_of(rows: pd.DataFrame, label: str, known: set[str]) -> str | None:
    """The anatomy that a label's rows name, if they do."""
    if "anatomy" not in rows.columns:
        return None
    names = sorted({str(name) for name in rows["anatomy"].dropna() if str(name)})
    if not names:
        return None
    if len(names) > 1 or names[0] not in known:
        raise ValueError(
            f"label {label!r} names the anatomy {', '.join(names)}: it must be one of the dataset's anatomies"
        )
    return names[0]


def by_set(labels: list[Label]) -> Mapping[str, list[Label]]:
    """The labels of each set, that of GOLD_SET first."""
    names = sorted({label.of for label in labels}, key=lambda name: (name != GOLD_SET, name))
    return {name: [label for label in labels if label.of == name] for name in names}
