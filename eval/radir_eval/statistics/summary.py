"""From the metrics of single queries to results.json: means, 95% intervals, averages and comparisons.

Anatomies are worked through in parts, region by region, so that the memory for bootstrap draws does not grow
with their number or that of the models.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from radir_eval.protocol import Protocol
from radir_eval.retrieval_split import RetrievalSplit
from radir_eval.statistics.bootstrap import Bootstrap, Draws
from radir_eval.statistics.comparisons import Compared, Wins, compare
from radir_eval.statistics.estimates import Average, Estimate, bounds, number, table_of
from radir_eval.statistics.randomisation import PatientParts, patient_parts
from radir_eval.tasks import CONDITIONAL, TaskScores

MACRO, REGIONS = "conditional_macro", "conditional_regions"
WEIGHTED, REGIONS_WEIGHTED = "conditional_weighted", "conditional_regions_weighted"
TASK_SCOPE, REGION_SCOPE, ANATOMY_SCOPE = "tasks", "regions", "anatomies"

__all__ = ["MACRO", "REGIONS", "REGIONS_WEIGHTED", "WEIGHTED", "bounds", "number", "summarise"]

_DRAWN_AT_ONCE = 16_000_000  # bootstrap draws x metrics: 128 MB

Anatomies = dict[str, dict[str, Any]]
Group = list[TaskScores]  # all models in one task or under one anatomy
Drawn = list[tuple[TaskScores, Draws]]


def summarise(
    items: RetrievalSplit, scored: Sequence[TaskScores], protocol: Protocol, references: Collection[str] = ()
) -> dict[str, Any]:
    """`models`, `comparisons`, `conditional_comparisons`, `wins` and `anatomies` of results.json.

    Args:
        items: the split.
        scored: from `score_tasks`.
        protocol: min_queries, the numbers of draws and the seed.
        references: models that are no competitors; they are compared, but win nothing.
    """
    anatomies = _describe_anatomies(items, scored, protocol)
    models = list(dict.fromkeys(task.model for task in scored))
    sheet = _Sheet(anatomies, models, [model for model in models if model not in references])
    together: dict[tuple[str, str], Group] = {}
    for task in scored:
        together.setdefault((task.task, task.anatomy), []).append(task)
    groups = sorted(together.values(), key=lambda group: sheet.place(group[0]))
    bootstrap = Bootstrap(int(items.subjects.max()) + 1, protocol.bootstrap_draws, protocol.seed)
    drawn = _draw(groups, items, bootstrap)
    for region, members in groupby(drawn, key=lambda group: sheet.region(group[0][0])):
        sheet.add(region, members)
    sheet.add_averages()
    parts = {task: _parts(task, groups, items, anatomies) for task in sheet.tasks}
    tasks = {
        task: {model: Compared(estimate, parts[task][model]) for model, estimate in found.items()}
        for task, found in sheet.tasks.items()
    }
    comparisons = compare(tasks, protocol.randomisations, protocol.seed)
    return {
        "models": sheet.blocks,
        "comparisons": comparisons,
        "conditional_comparisons": sheet.rows,
        "wins": sheet.wins.rows(),
        "anatomies": anatomies,
    }


def _draw(groups: Sequence[Group], items: RetrievalSplit, bootstrap: Bootstrap) -> Iterator[Drawn]:
    """Each group's draws, several groups at a time: every call draws the same patients anew."""
    width = max(sum(2 * len(task.ks) for task in group) for group in groups)
    count = max(1, _DRAWN_AT_ONCE // (bootstrap.draws * width))
    for start in range(0, len(groups), count):
        part = groups[start : start + count]
        tables = [(table_of(task), items.subjects[task.queries]) for group in part for task in group]
        draws = iter(bootstrap.sums(tables))
        for group in part:
            yield [(task, next(draws)) for task in group]


def _parts(
    name: str, groups: Sequence[Group], items: RetrievalSplit, anatomies: Anatomies
) -> dict[str, PatientParts]:
    """What each patient adds to a whole task's metrics, or to their average over anatomies, by model."""
    tables: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for task in (task for group in groups for task in group):
        averaged = task.task == CONDITIONAL and anatomies[task.anatomy]["in_average"]
        if task.task == name or (name == MACRO and averaged):
            tables.setdefault(task.model, []).append((table_of(task), items.subjects[task.queries]))
    n_subjects = int(items.subjects.max()) + 1
    return {model: patient_parts(found, n_subjects) for model, found in tables.items()}


def _describe_anatomies(items: RetrievalSplit, scored: Sequence[TaskScores], protocol: Protocol) -> Anatomies:
    """Region and counts of each anatomy that was evaluated, head (most training studies) to tail."""
    train = items.train_counts()
    regions = {anatomy["name"]: anatomy["region"] for anatomy in items.anatomies}
    found = {task.anatomy: task for task in scored if task.task == CONDITIONAL}
    return {
        name: {
            "region": regions[name],
            "n_train_studies": train[name],
            "n_queries": len(found[name].queries),
            "n_with_correct": found[name].n_with_correct,
            "in_average": found[name].n_with_correct >= protocol.min_queries,
        }
        for name in sorted(found, key=lambda name: (-train[name], name))
    }


class _Sheet:
    """The models' blocks of results.json, filled task by task and region by region.

    Args:
        anatomies: what is known of each, head to tail.
        models: names, in the order of the results.
        competitors: those of them that can win.

    Attributes:
        blocks: model -> its part of results.json.
        tasks: whole tasks, and the average over anatomies: name -> model -> its figures.
        rows: paired differences under each anatomy and in each region.
        wins: how often each competitor wins.
    """

    def __init__(self, anatomies: Anatomies, models: Sequence[str], competitors: Sequence[str]) -> None:
        self._anatomies = anatomies
        members: dict[str, list[str]] = {}  # region -> its anatomies that count in averages
        for name, about in anatomies.items():
            if about["in_average"]:
                members.setdefault(about["region"], []).append(name)
        # head to tail, by the training studies of all of a region's anatomies
        size = {
            region: sum(anatomies[n]["n_train_studies"] for n in names) for region, names in members.items()
        }
        self._members = {region: members[region] for region in sorted(members, key=lambda name: -size[name])}
        self._averages: dict[str, Average] = {}  # model -> over all anatomies
        self.blocks: dict[str, dict[str, Any]] = {
            model: {CONDITIONAL: dict.fromkeys(anatomies), REGIONS: {}, REGIONS_WEIGHTED: {}}
            for model in models
        }
        self.tasks: dict[str, dict[str, Estimate]] = {}
        self.rows: list[dict[str, Any]] = []
        self.wins = Wins(competitors)

    def region(self, task: TaskScores) -> str | None:
        """The region in whose average an anatomy counts; None for whole tasks and left out anatomies."""
        about = self._anatomies.get(task.anatomy) if task.task == CONDITIONAL else None
        return about["region"] if about and about["in_average"] else None

    def place(self, task: TaskScores) -> int:
        """When a task is taken: whole tasks, then region after region, then what is in no average."""
        region = self.region(task)
        if region is None:
            return len(self._members) if task.task == CONDITIONAL else -1
        return list(self._members).index(region)

    def add(self, region: str | None, members: Iterable[Drawn]) -> None:
        """Add whole tasks or left out anatomies (no region), or all anatomies of a region."""
        averages: dict[str, Average] = {}
        for drawn in members:
            first = drawn[0][0]
            estimates = {task.model: Estimate.of(task, draws) for task, draws in drawn}
            for task, draws in drawn:
                if first.task == CONDITIONAL:
                    self.blocks[task.model][CONDITIONAL][task.anatomy] = _task_block(task, estimates)
                else:
                    self.blocks[task.model][task.task] = _task_block(task, estimates)
                if region is not None:
                    for of in (averages, self._averages):
                        of.setdefault(task.model, Average(task.ks)).add(task, draws)
            if first.task != CONDITIONAL:
                self.tasks[first.task] = estimates
                self.wins.add(TASK_SCOPE, first.task, estimates)
            elif region is not None:
                self.rows += self.wins.add(ANATOMY_SCOPE, first.anatomy, estimates)
        if region is not None:
            macro = self._close(averages, self._members[region], (REGIONS, REGIONS_WEIGHTED), region)
            self.rows += self.wins.add(REGION_SCOPE, region, macro)

    def add_averages(self) -> None:
        """Add the averages over all anatomies that count, once they are all there."""
        names = [name for members in self._members.values() for name in members]
        for model in self.blocks:
            if model not in self._averages:
                for key in (MACRO, WEIGHTED):
                    self.blocks[model][key] = {**self._counts(names), **_empty()}
        if self._averages:
            self.tasks[MACRO] = self._close(self._averages, names, (MACRO, WEIGHTED))
            self.wins.add(TASK_SCOPE, MACRO, self.tasks[MACRO])

    def _close(
        self,
        averages: Mapping[str, Average],
        names: Sequence[str],
        keys: tuple[str, str],
        region: str | None = None,
    ) -> dict[str, Estimate]:
        """Write averages in both senses into the models' blocks; return the unweighted ones."""
        macro = {model: average.macro() for model, average in averages.items()}
        for model, average in averages.items():
            for key, estimate in zip(keys, (macro[model], average.weighted()), strict=True):
                block = {**self._counts(names), **estimate.to_dict()}
                if region is None:
                    self.blocks[model][key] = block
                else:
                    self.blocks[model][key][region] = block
        return macro

    def _counts(self, names: Sequence[str]) -> dict[str, int]:
        """What an average over anatomies rests on."""
        found = [self._anatomies[name] for name in names]
        return {
            "n_anatomies": len(found),
            "n_queries": sum(about["n_queries"] for about in found),
            "n_with_correct": sum(about["n_with_correct"] for about in found),
            "n_without_correct": sum(about["n_queries"] - about["n_with_correct"] for about in found),
            "n_train_studies": sum(about["n_train_studies"] for about in found),
        }


def _empty() -> dict[str, Any]:
    """The figures of an average over nothing."""
    kinds = ("{}", "{}_ci95", "chance_{}")
    return {kind.format(metric): {} for metric in ("recall", "ndcg") for kind in kinds}


def _task_block(task: TaskScores, estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {
        "n_queries": len(task.queries),
        "n_without_correct": len(task.queries) - task.n_with_correct,
        "n_candidates": task.n_candidates,
        **estimates[task.model].to_dict(),
    }
