"""The report of a state: findings and impression, in many wordings, with negations, hedges and omissions.

The wording is data (`phrases.yaml`); this file chooses, fills in, orders and joins.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import yaml

from .catalog import ANATOMIES, NORMAL
from .state import Finding, PhantomState

_OMISSION_CHANCE = 0.05
_HEDGE_CHANCE = 0.14
_IMPRESSION_LIMIT = 5


@dataclass(frozen=True)
class Report:
    """A report's two sections and what it leaves out.

    Attributes:
        findings, impression: the text.
        omitted: abnormal anatomies that neither section speaks of.
        sentences: anatomies that a findings sentence speaks of -> that sentence, in text order.
    """

    findings: str
    impression: str
    omitted: tuple[str, ...]
    sentences: tuple[tuple[tuple[str, ...], str], ...]


@cache
def phrases() -> dict[str, Any]:
    """The wording, as in `phrases.yaml`."""
    text = resources.files(__package__).joinpath("phrases.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def key_words(finding: Finding) -> tuple[str, ...]:
    """Words of which at least one is in every sentence about an abnormal finding."""
    return tuple(phrases()["groups"][ANATOMIES[finding.anatomy].group][finding.name]["words"])


def write_report(state: PhantomState, rng: np.random.Generator) -> Report:
    """Writes the report of a state.

    Args:
        state: what the study shows.
        rng: chooses the wording, the order and what is left out.

    Returns:
        The report; every abnormal finding is in its findings section unless listed in `omitted`.
    """
    abnormal = [finding for finding in state.findings.values() if not finding.is_normal]
    omitted = tuple(f.anatomy for f in abnormal if rng.random() < _OMISSION_CHANCE)
    open_ = {name: finding for name, finding in state.findings.items() if name not in omitted}
    sentences, conclusions = _joint_sentences(open_, rng)
    for finding in open_.values():
        sentence = _sentence(finding, rng)
        if sentence:
            sentences.append(((finding.anatomy,), sentence))
        if not finding.is_normal:
            conclusions.append(_fill(finding, _choices(finding, "impression"), rng))
    ordered = _in_order(sentences, rng)
    return Report(" ".join(s for _, s in ordered), _impression(conclusions, rng), omitted, tuple(ordered))


def _joint_sentences(
    open_: dict[str, Finding], rng: np.random.Generator
) -> tuple[list[tuple[tuple[str, ...], str]], list[str]]:
    """Sentences over several anatomies, which are taken out of `open_`, and their conclusions."""
    sentences, conclusions = [], []
    for rule in phrases()["joint"]:
        together = [open_.get(name) for name in rule["anatomies"]]
        agreed = all(finding is not None and finding.name == rule["finding"] for finding in together)
        if agreed and rule.get("same_degree"):
            agreed = len({finding.degree for finding in together}) == 1  # type: ignore[union-attr]
        if not agreed or rng.random() >= rule["chance"]:
            continue
        first = together[0]
        assert first is not None
        sentences.append((tuple(rule["anatomies"]), _fill(first, rule["findings"], rng)))
        if "impression" in rule:
            conclusions.append(_fill(first, rule["impression"], rng))
        for name in rule["anatomies"]:
            del open_[name]
    return sentences, conclusions


def _sentence(finding: Finding, rng: np.random.Generator) -> str:
    """The sentence about one anatomy; "" where a normal one is left unsaid."""
    if finding.is_normal and rng.random() >= phrases()["groups"][ANATOMIES[finding.anatomy].group]["mention"]:
        return ""
    hedged = _choices(finding, "hedged")
    if hedged and rng.random() < _HEDGE_CHANCE:
        return _fill(finding, hedged, rng)
    return _fill(finding, _choices(finding, "findings"), rng)


def _entry(finding: Finding) -> Mapping[str, Any]:
    return phrases()["groups"][ANATOMIES[finding.anatomy].group][finding.name]


def _choices(finding: Finding, kind: str) -> Sequence[str]:
    entry = _entry(finding)
    return entry.get("by_degree", {}).get(finding.degree, entry).get(kind, ())


def _fill(finding: Finding, templates: Sequence[str], rng: np.random.Generator) -> str:
    """One template with side and degree filled in, "a" made "an" where needed, capitalised."""
    template = _usual(templates, rng)
    degree = ""
    if finding.degree and finding.name != NORMAL:
        words = _entry(finding)["degrees"][finding.degree]
        degree = _usual(words, rng)
    text = template.format(side=ANATOMIES[finding.anatomy].side, degree=degree)
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return text[0].upper() + text[1:]


def _usual(wordings: Sequence[str], rng: np.random.Generator) -> str:
    """One of the wordings; as in a real department the first are usual and the last are rare (Zipf's law)."""
    weights = np.arange(1, len(wordings) + 1) ** -1.5
    return wordings[int(rng.choice(len(wordings), p=weights / weights.sum()))]


def _in_order(
    sentences: list[tuple[tuple[str, ...], str]], rng: np.random.Generator
) -> list[tuple[tuple[str, ...], str]]:
    """Sentences in a reader's own order: groups of organs shuffled, related sentences kept together."""
    groups = dict.fromkeys(
        spec.group for spec in ANATOMIES.values()
    )  # not a set: its order changes by process
    places = {group: float(rng.random()) for group in groups}
    keys = [places[ANATOMIES[names[0]].group] + 0.01 * float(rng.random()) for names, _ in sentences]
    return [sentences[k] for k in np.argsort(keys, kind="stable")]


def _impression(conclusions: list[str], rng: np.random.Generator) -> str:
    """At most five conclusions, in any order, numbered now and then; a normal phrase without any."""
    if not conclusions:
        normal = phrases()["no_impression"]
        return normal[int(rng.integers(len(normal)))]
    chosen = [conclusions[k] for k in rng.permutation(len(conclusions))[:_IMPRESSION_LIMIT]]
    if len(chosen) > 1 and rng.random() < 0.4:
        return " ".join(f"{number}. {text}" for number, text in enumerate(chosen, 1))
    return " ".join(chosen)
