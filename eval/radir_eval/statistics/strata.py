"""What stands beside the paper's figures: relevance by content, strata of queries, skill, ontology levels.

Queries fall into two strata: *abnormal*, whose text (under the query's anatomy) affirms a finding, and
*normal*, whose text affirms none. Each stratum has all figures of the whole, and its skill, see `skill`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from radir_eval.judgement import PARENT_CREDIT
from radir_eval.protocol import Protocol
from radir_eval.retrieval_split import CONTENT, NO_CONTENT, RetrievalSplit
from radir_eval.statistics.bootstrap import Bootstrap
from radir_eval.statistics.comparisons import Compared, compare
from radir_eval.statistics.estimates import column_means, number
from radir_eval.statistics.macros import macro_of
from radir_eval.statistics.skill import conditional_skill
from radir_eval.statistics.summary import summarise
from radir_eval.tasks import CONDITIONAL, TaskScores, by_paper

ABNORMAL, NORMAL = "abnormal", "normal"
SKILL, LEVELS, STRATA = "skill", "levels", "strata"
FURTHER = "further_comparisons"  # in results.json: as "comparisons", of these figures
EXACT, WITH_PARENTS = "exact", "with_parents"  # a hit at the parent counts nothing, or in part

Models = dict[str, dict[str, Any]]


def strata_of(scored: Sequence[TaskScores]) -> dict[str, list[TaskScores]]:
    """The tasks with the queries of each stratum alone; tasks that it has no query of are left out.

    Args:
        scored: tasks that know what their queries affirm; others are left out.
    """
    known = [(task, task.affirms) for task in scored if task.affirms is not None]
    return {
        name: [task.only(affirms == wanted) for task, affirms in known if (affirms == wanted).any()]
        for name, wanted in ((ABNORMAL, True), (NORMAL, False))
    }


def summarise_beside(
    items: RetrievalSplit, scored: Sequence[TaskScores], protocol: Protocol, references: Collection[str] = ()
) -> dict[str, Any]:
    """All figures beside the paper's.

    Args:
        items: the split.
        scored: from `score_tasks`, by each relevance.
        protocol: min_queries, the numbers of draws and the seed.
        references: models that are no competitors.

    Returns:
        "models": model -> {"content", "abnormal", "normal", "skill", "levels"}; "comparisons": rows as of
        `compare`, whose task starts with what it is of ("abnormal/skill"); "strata": stratum -> its
        anatomies and its numbers of queries; "relevances", and "notes": sentences on what could not be told.
    """
    models: Models = {name: {} for name in dict.fromkeys(task.model for task in scored)}
    bootstrap = Bootstrap(int(items.subjects.max()) + 1, protocol.bootstrap_draws, protocol.seed)
    rows: list[dict[str, Any]] = []
    if by_content := [task for task in scored if task.relevance == CONTENT]:
        summary = summarise(items, by_content, protocol, references)
        rows += _take(models, summary, CONTENT)
    strata: dict[str, Any] = {}
    for name, tasks in strata_of(scored).items():
        paper = by_paper(tasks)
        if not paper:
            continue
        summary = summarise(items, paper, protocol, references)
        rows += _take(models, summary, name)
        strata[name] = {**_numbers(paper), "anatomies": summary["anatomies"]}
        rows += _skills(models, items, tasks, bootstrap, protocol, name)
    rows += _skills(models, items, scored, bootstrap, protocol)
    rows += _levels(models, items, by_paper(scored), bootstrap, protocol)
    notes = [] if CONTENT in items.relevances else [NO_CONTENT]
    return {
        "models": models,
        "comparisons": rows,
        STRATA: strata,
        "relevances": list(items.relevances),
        "notes": notes,
    }


def _take(models: Models, summary: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Write a summary's blocks under a key; return its comparisons, named after it."""
    for model, block in summary["models"].items():
        models[model][key] = block
    return [{**row, "task": f"{key}/{row['task']}"} for row in summary["comparisons"]]


def _numbers(tasks: Sequence[TaskScores]) -> dict[str, int]:
    """Queries under all anatomies, and those that leave Recall since no candidate is correct."""
    first = {task.anatomy: task for task in tasks if task.task == CONDITIONAL}.values()
    total = sum(len(task.queries) for task in first)
    correct = sum(task.n_with_correct for task in first)
    return {"n_queries": total, "n_with_correct": correct, "n_without_correct": total - correct}


def _skills(
    models: Models,
    items: RetrievalSplit,
    tasks: Sequence[TaskScores],
    bootstrap: Bootstrap,
    protocol: Protocol,
    stratum: str | None = None,
) -> list[dict[str, Any]]:
    """Write each model's skill, of all queries or of a stratum; return the comparisons."""
    found = conditional_skill(items, tasks, bootstrap)
    for model, compared in found.items():
        block = models[model] if stratum is None else models[model].setdefault(stratum, {})
        block[SKILL] = by_cutoff(compared.estimate.to_dict())
    name = SKILL if stratum is None else f"{stratum}/{SKILL}"
    return compare({name: found}, protocol.randomisations, protocol.seed) if found else []


def by_cutoff(figures: Mapping[str, Any]) -> dict[str, Any]:
    """{"recall@3": x, "recall@3_ci95": y} as {"recall": {"3": x}, "recall_ci95": {"3": y}}."""
    nested: dict[str, Any] = {}
    for name, value in figures.items():
        metric, _, rest = name.replace(" ", "_").partition("@")
        k, _, suffix = rest.partition("_")
        nested.setdefault(f"{metric}_{suffix}" if suffix else metric, {})[k] = value
    return nested


def _levels(
    models: Models,
    items: RetrievalSplit,
    tasks: Sequence[TaskScores],
    bootstrap: Bootstrap,
    protocol: Protocol,
) -> list[dict[str, Any]]:
    """Write each model's figures by level of the ontology; return the comparisons."""
    by_level: dict[str, dict[str, Compared]] = {}
    for level, model, of in _by_level_and_model(items, tasks, protocol):
        groups = [(_with_credit(task), items.subjects[task.queries]) for task in of]
        names = [f"{kind}@{k}" for kind in (EXACT, WITH_PARENTS) for k in of[0].ks]
        compared = macro_of(names, groups, bootstrap)
        by_level.setdefault(f"{LEVELS}/{level}", {})[model] = compared
        block = {"n_anatomies": len(of), "n_queries": sum(map(_counted, of)), "parent_credit": PARENT_CREDIT}
        chance = column_means(np.stack([column_means(_with_credit(task, by_chance=True)) for task in of]))
        by_chance = {f"chance_{name}": number(value) for name, value in zip(names, chance, strict=True)}
        models[model].setdefault(LEVELS, {})[str(level)] = {
            **block,
            **by_cutoff({**compared.estimate.to_dict(), **by_chance}),
        }
    return compare(by_level, protocol.randomisations, protocol.seed)


def _by_level_and_model(
    items: RetrievalSplit, tasks: Sequence[TaskScores], protocol: Protocol
) -> Iterator[tuple[int, str, list[TaskScores]]]:
    """The conditional tasks of anatomies with enough queries, level by level."""
    found: dict[tuple[int, str], list[TaskScores]] = {}
    for task in tasks:
        known = task.task == CONDITIONAL and task.chance_recall is not None
        if known and _counted(task) >= protocol.min_queries:
            found.setdefault((items.level(task.anatomy), task.model), []).append(task)
    for level, model in sorted(found, key=lambda key: key[0]):
        yield level, model, found[level, model]


def _counted(task: TaskScores) -> int:
    """Queries with a candidate that is correct under the anatomy or one of its parents."""
    credit = task.recall if task.credit is None else task.credit
    return int((~np.isnan(credit[:, 0])).sum())


def _with_credit(task: TaskScores, by_chance: bool = False) -> np.ndarray:
    """Recall and Recall with parents in part, over the same queries: (Q, 2K) float64."""
    exact, credit = (task.chance_recall, task.chance_credit) if by_chance else (task.recall, task.credit)
    assert exact is not None
    credit = exact if credit is None else credit
    return np.concatenate([np.where(np.isnan(credit), np.nan, np.nan_to_num(exact)), credit], axis=1)
