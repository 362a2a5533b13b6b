"""The report of a phantom's state: findings and impression, in many wordings, with hedges and omissions.

The wording is data (a `templates.yaml` for each phantom); this file chooses, fills in, orders and joins.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset_scripts.sources.phantoms.state import NORMAL, Catalog, Finding

_OMISSION_CHANCE = 0.05
_HEDGE_CHANCE = 0.14
_IMPRESSION_LIMIT = 5
_CM_CHANCE = 0.2  # a size of 10 mm or more in cm instead of mm
_A_TO_AN = re.compile(r"\b([Aa]) (?=[aeiou]|8|11 |18 )")  # "an 8 mm", "an 11 mm", "an 18 mm"

Sentences = list[tuple[tuple[str, ...], str]]  # anatomies that a sentence speaks of, and the sentence


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


class ReportWriter:
    """Writes the reports of one phantom.

    Args:
        catalog: its anatomies.
        phrases: its wording. `groups`: phrase group -> finding -> `words` (at least one is in every
            sentence), `degrees` (words for each), `findings`, `hedged` and `impression` templates;
            `by_degree` where templates differ by degree; `mention`: the chance that normal is said.
            `joint`: one sentence for several anatomies that share a finding. `no_impression`: what is
            concluded from nothing. Templates may hold {side}, {degree}, {place} (the anatomy) and {size}.
    """

    def __init__(self, catalog: Catalog, phrases: Mapping[str, Any]) -> None:
        self.catalog = catalog
        self.phrases = phrases

    def key_words(self, finding: Finding) -> tuple[str, ...]:
        """Words of which at least one is in every sentence about an abnormal finding."""
        return tuple(self._entry(finding)["words"])

    def write(self, findings: Mapping[str, Finding], rng: np.random.Generator) -> Report:
        """Writes the report of a state.

        Args:
            findings: what the study shows.
            rng: chooses the wording, the order and what is left out.

        Returns:
            The report; every abnormal finding is in its findings section unless listed in `omitted`.
        """
        abnormal = [finding for finding in findings.values() if not finding.is_normal]
        omitted = tuple(f.anatomy for f in abnormal if rng.random() < _OMISSION_CHANCE)
        open_ = {name: finding for name, finding in findings.items() if name not in omitted}
        sentences, conclusions = self._joint_sentences(open_, rng)
        for finding in open_.values():
            sentence = self._sentence(finding, rng)
            if sentence:
                sentences.append(((finding.anatomy,), sentence))
            if not finding.is_normal:
                conclusions.append(self._fill(finding, self._choices(finding, "impression"), rng))
        ordered = self._in_order(sentences, rng)
        text = " ".join(sentence for _, sentence in ordered)
        return Report(text, self._impression(conclusions, rng), omitted, tuple(ordered))

    def _joint_sentences(
        self, open_: dict[str, Finding], rng: np.random.Generator
    ) -> tuple[Sentences, list[str]]:
        """Sentences over several anatomies, which are taken out of `open_`, and their conclusions."""
        sentences: Sentences = []
        conclusions: list[str] = []
        for rule in self.phrases["joint"]:
            together = [open_.get(name) for name in rule["anatomies"]]
            agreed = all(finding is not None and finding.name == rule["finding"] for finding in together)
            if agreed and rule.get("same_degree"):
                agreed = len({finding.degree for finding in together}) == 1  # type: ignore[union-attr]
            if not agreed or rng.random() >= rule["chance"]:
                continue
            first = together[0]
            assert first is not None
            sentences.append((tuple(rule["anatomies"]), self._fill(first, rule["findings"], rng)))
            if "impression" in rule:
                conclusions.append(self._fill(first, rule["impression"], rng))
            for name in rule["anatomies"]:
                del open_[name]
        return sentences, conclusions

    def _sentence(self, finding: Finding, rng: np.random.Generator) -> str:
        """The sentence about one anatomy; "" where a normal one is left unsaid."""
        if finding.is_normal and rng.random() >= self._group(finding)["mention"]:
            return ""
        hedged = self._choices(finding, "hedged")
        if hedged and rng.random() < _HEDGE_CHANCE:
            return self._fill(finding, hedged, rng)
        return self._fill(finding, self._choices(finding, "findings"), rng)

    def _group(self, finding: Finding) -> Mapping[str, Any]:
        return self.phrases["groups"][self.catalog[finding.anatomy].group]

    def _entry(self, finding: Finding) -> Mapping[str, Any]:
        return self._group(finding)[finding.name]

    def _choices(self, finding: Finding, kind: str) -> Sequence[str]:
        entry = self._entry(finding)
        return entry.get("by_degree", {}).get(finding.degree, entry).get(kind, ())

    def _fill(self, finding: Finding, templates: Sequence[str], rng: np.random.Generator) -> str:
        """One template with its placeholders filled in, "a" made "an" where needed, capitalised."""
        template = _usual(templates, rng)
        degree = ""
        if finding.degree and finding.name != NORMAL:
            degree = _usual(self._entry(finding)["degrees"][finding.degree], rng)
        text = template.format(
            side=self.catalog[finding.anatomy].side,
            degree=degree,
            place=finding.anatomy,
            size=_size(finding.size_mm, rng),
        )
        text = _A_TO_AN.sub(r"\1n ", text)
        return text[0].upper() + text[1:]

    def _in_order(self, sentences: Sentences, rng: np.random.Generator) -> Sentences:
        """Sentences in a reader's own order: groups of organs shuffled, related sentences kept together."""
        # not a set: its order changes by process
        groups = dict.fromkeys(spec.group for spec in self.catalog.values())
        places = {group: float(rng.random()) for group in groups}
        keys = [places[self.catalog[names[0]].group] + 0.01 * float(rng.random()) for names, _ in sentences]
        return [sentences[k] for k in np.argsort(keys, kind="stable")]

    def _impression(self, conclusions: list[str], rng: np.random.Generator) -> str:
        """At most five conclusions, in any order, numbered now and then; a normal phrase without any."""
        if not conclusions:
            normal = self.phrases["no_impression"]
            return normal[int(rng.integers(len(normal)))]
        chosen = [conclusions[k] for k in rng.permutation(len(conclusions))[:_IMPRESSION_LIMIT]]
        if len(chosen) > 1 and rng.random() < 0.4:
            return " ".join(f"{number}. {text}" for number, text in enumerate(chosen, 1))
        return " ".join(chosen)


def _usual(wordings: Sequence[str], rng: np.random.Generator) -> str:
    """One of the wordings; as in a real department the first are usual and the last are rare (Zipf's law)."""
    weights = np.arange(1, len(wordings) + 1) ** -1.5
    return wordings[int(rng.choice(len(wordings), p=weights / weights.sum()))]


def _size(size_mm: int, rng: np.random.Generator) -> str:
    """A size in words, mostly in mm; "" and no draw for a finding that is not measured."""
    if not size_mm:
        return ""
    in_cm = size_mm >= 10 and rng.random() < _CM_CHANCE
    return f"{size_mm / 10:g} cm" if in_cm else f"{size_mm} mm"
