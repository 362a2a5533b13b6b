"""Candidate reports that radiologists rated or ranked, for `judges.py`: does a measure order them alike?"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

SAME = 1e-6  # two scores that differ by less are one
NEARLY = 0.05


@dataclass(frozen=True)
class Rated:
    """Candidates with their references: their case, texts and mean rating."""

    cases: list[str]
    references: list[str]
    texts: list[str]
    ratings: np.ndarray  # (n,) float64


@dataclass(frozen=True)
class Ranked:
    """An expert's order of candidates, "C3 > C2 = C1"."""

    reference: str
    candidates: dict[str, str]
    expected: str


def read_rated(path: Path) -> Rated:
    """Read ratings.csv: case, reference, text, rating."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = ([row[name] for row in rows] for name in ("case", "reference", "text"))
    return Rated(*columns, np.array([float(row["rating"]) for row in rows]))


def read_ranked(path: Path) -> list[Ranked]:
    """Read rankings.json: reference, candidates by name, expected order."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Ranked(row["reference"], row["candidates"], row["expected"]) for row in rows]


def kendall(scores: np.ndarray, ratings: np.ndarray) -> float:
    """Return Kendall's tau-b of two (n,) vectors."""
    return float(stats.kendalltau(scores, ratings).statistic)


def ordered(cases: Sequence[str], scores: np.ndarray, ratings: np.ndarray) -> tuple[int, int]:
    """Return how many pairs of one case are ordered right, and how many have unequal ratings.

    A pair of equal scores is not ordered right.

    Example:
        >>> ordered(["a", "a", "b", "b"], np.array([0.2, 0.1, 0.5, 0.5]), np.array([5, 1, 2, 3]))
        (1, 2)
    """
    right = unequal = 0
    for i in range(len(cases)):
        for j in range(i):
            if cases[i] == cases[j] and ratings[i] != ratings[j]:
                unequal += 1
                right += int((scores[i] - scores[j]) * (ratings[i] - ratings[j]) > 0)
    return right, unequal


def follows(expected: str, scores: Mapping[str, float], equal: float = SAME) -> bool:
    """Whether scores have the expected order; those that differ by no more than `equal` are equal.

    Raises:
        ValueError: the order is not names with > or = between them.

    Example:
        >>> follows("C1 > C2 = C3", {"C1": 0.9, "C2": 0.4, "C3": 0.4})
        True
    """
    parts = re.split(r"\s*([>=])\s*", expected.strip())
    if len(parts) < 3 or not set(parts[::2]) <= scores.keys():
        raise ValueError(f"the order {expected!r} must be of {', '.join(scores)}, with > or = between them")
    for better, sign, worse in zip(parts[::2], parts[1::2], parts[2::2], strict=False):
        difference = scores[better] - scores[worse]
        if not (difference > equal if sign == ">" else abs(difference) <= equal):
            return False
    return True


def tau_interval(cases: Sequence[str], scores: np.ndarray, ratings: np.ndarray, draws: int) -> np.ndarray:
    """Return the 95% interval of tau over draws of whole cases: (2,) float64."""
    names = np.unique(cases)
    places = [np.flatnonzero(np.array(cases) == name) for name in names]
    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        drawn = np.concatenate([places[case] for case in rng.integers(0, len(names), len(names))])
        found.append(kendall(scores[drawn], ratings[drawn]))
    return np.nanpercentile(found, [2.5, 97.5])
