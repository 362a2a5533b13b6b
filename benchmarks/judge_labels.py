"""Labels that people set, for `judges.py`: does a measure put those that share one first?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from judge_measures import Measure
from radir_eval.labels.metrics import UNKNOWN, RankedBlock
from radir_eval.statistics.bootstrap import Bootstrap, interval, macro_draws
from scipy import stats

from dataset_scripts.building.built_dataset import BuiltDataset

WHOLE = ""
GOLD, MESH = "gold", "MeSH"
K = 5  # of precision
LEAST_POSITIVE = 10  # studies with a label, among those that are judged
_NORMAL = "normal"  # a gold label, of no abnormality

Scores = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Anatomy -> positions of the n studies that have a text about it, and all pairs of these texts, (n, n)."""


@dataclass(frozen=True, eq=False)
class Studies:
    """Some studies.

    Attributes:
        subjects: (N,) int64, the patient of each, numbered.
        texts: anatomy -> the text of each, None where it has none; of the whole report under WHOLE.
        labels: set -> studies x labels: 1, 0 or UNKNOWN; those with enough positive studies.
        anatomies: label -> where it shows; "" where the label does not say.
    """

    subjects: np.ndarray
    texts: dict[str, list[str | None]]
    labels: dict[str, pd.DataFrame]
    anatomies: dict[str, str]


def read_studies(dataset: BuiltDataset, splits: Sequence[str], most: int | None = None) -> Studies:
    """Read the studies of some splits, at most so many of each."""
    patients: dict[str, str] = {}
    texts: dict[str, dict[str, str]] = {WHOLE: {}}
    for split in splits:
        columns = (dataset.studies(split)[name] for name in ("study_id", "subject_id", "findings"))
        own = {study: (patient, text) for study, patient, text in zip(*columns, strict=True)}
        regional = dataset.findings(split)
        for study in list(own)[:most]:
            patients[study], texts[WHOLE][study] = own[study]
            for anatomy, text in regional.get(study, {}).items():
                texts.setdefault(anatomy, {})[study] = text
    labels, anatomies = _labels(dataset, list(patients))
    return Studies(
        np.unique(list(patients.values()), return_inverse=True)[1],
        {anatomy: [of.get(study) for study in patients] for anatomy, of in texts.items()},
        labels,
        anatomies,
    )


def _labels(dataset: BuiltDataset, studies: list[str]) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    table = dataset.labels()
    if table is None:
        raise ValueError(f"{dataset.name} has no labels: its source must hold gold_labels.csv")
    table = table[table["label"] != _NORMAL]
    values = table.pivot(index="study_id", columns="label", values="value").reindex(studies)
    values = values.where(values.isin([0, 1]), UNKNOWN).astype(np.int64)
    values = values.loc[:, (values == 1).sum() >= LEAST_POSITIVE]
    of_mesh = values.columns.str.startswith(f"{MESH}: ")
    anatomies = dict(zip(table["label"], table["anatomy"].fillna("").astype(str), strict=True))
    return {GOLD: values.loc[:, ~of_mesh], MESH: values.loc[:, of_mesh]}, anatomies


def score_all(measure: Measure, studies: Studies) -> Scores:
    """Return all pairs of the whole reports, and of the texts under each label's anatomy."""
    named = {studies.anatomies[name] for labels in studies.labels.values() for name in labels}
    found = {}
    for anatomy in sorted({WHOLE} | named & studies.texts.keys()):
        texts = dict(enumerate(studies.texts[anatomy]))
        known = {place: text for place, text in texts.items() if text is not None}
        found[anatomy] = np.array(list(known)), measure(list(known.values()))
    return found


def query_values(scores: np.ndarray, label: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """Return AUC, average precision and precision@5 of each study with a label as a query: (Q, 3) float64.

    Args:
        scores: (N, N) float.
        label: (N,) int, 1, 0 or UNKNOWN; who is unknown is no candidate.
        subjects: (N,) int; the query's own patient is no candidate.
    """
    queries = np.flatnonzero(label == 1)
    excluded = subjects[queries][:, None] == subjects
    found = RankedBlock(scores[queries], excluded).scores(np.arange(len(queries)), label, K)
    return np.stack([found.auc, found.average_precision, found.precision], axis=1)


def label_means(
    scores: Scores, studies: Studies, label_set: str, whole: bool, bootstrap: Bootstrap
) -> list[tuple[float, float, float]]:
    """Return AUC, mAP and precision@5, means over labels of means over queries, each with its 95% interval.

    Args:
        scores: of all conditions, see `score_all`.
        studies, label_set: the labels.
        whole: compare whole reports; otherwise the texts under each label's anatomy, and labels that name
            none are left out.
        bootstrap: of the patients.
    """
    groups = []
    for name, values in studies.labels[label_set].items():
        anatomy = WHOLE if whole else studies.anatomies[str(name)]
        if anatomy not in scores or (not whole and not anatomy):
            continue
        places, pairs = scores[anatomy]
        label, subjects = values.to_numpy()[places], studies.subjects[places]
        if (label == 1).sum() > 1:
            groups.append((query_values(pairs, label, subjects), subjects[label == 1]))
    means = np.mean([np.nanmean(values, axis=0) for values, _ in groups], axis=0)
    draws = macro_draws(bootstrap.means(groups))
    bounds = [interval(column) for column in draws.T]
    return [(float(mean), of.low, of.high) for mean, of in zip(means, bounds, strict=True)]


def rank_correlation(
    scores: np.ndarray, labels: np.ndarray, subjects: np.ndarray, bootstrap: Bootstrap
) -> tuple[float, float, float]:
    """Return the mean over labelled studies of Spearman's correlation with shared labels, and its interval.

    Args:
        scores: (N, N) float.
        labels: (N, L) bool; two studies share the Jaccard index of their labels, none if they have none.
        subjects: (N,) int; a study's own patient is left out.
        bootstrap: of the patients.
    """
    both = labels.astype(np.float64) @ labels.T
    counts = labels.sum(axis=1)
    shared = both / np.maximum(counts[:, None] + counts - both, 1)
    queries = np.flatnonzero(counts)
    found = np.full((len(queries), 1), np.nan)
    for row, i in enumerate(queries):
        others = subjects != subjects[i]
        if np.ptp(scores[i, others]) > 0 and np.ptp(shared[i, others]) > 0:
            found[row] = stats.spearmanr(scores[i, others], shared[i, others]).statistic
    of = interval(bootstrap.means([(found, subjects[queries])])[0][:, 0])
    return float(np.nanmean(found)), of.low, of.high
