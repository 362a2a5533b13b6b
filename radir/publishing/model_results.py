"""One model's figures of results.json, as tables for its card and in the two forms that the Hub reads."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml
from radir_eval.results_folder import RESULTS
from radir_eval.statistics.summary import MACRO, REGIONS
from radir_eval.tables.paper_tables import TASK_TITLES, percent, with_interval

from dataset_scripts.plumbing.markdown import code, plain
from radir.publishing.model_info import read_json

_METRICS = {"recall": "Recall", "ndcg": "NDCG"}
# A type of task that the Hub knows; what is retrieved by what is the dataset's configuration.
TASK = "image-feature-extraction"


class Figure(NamedTuple):
    """One defined figure: a fraction of 1 with its 95% interval, where that is defined."""

    task: str
    metric: str
    k: str
    value: float
    interval: list[float] | None


@dataclass(frozen=True)
class ModelResults:
    """The part of results.json that is about one model.

    Attributes:
        dataset, split: what the model was evaluated on.
        benchmark: the dataset's Hub id, by which the Hub gathers figures; its name where it has none.
        n_images, n_subjects: their numbers.
        limit: the relevance of a correct candidate, "above 0.9".
        block: the model's entry.
    """

    dataset: str
    split: str
    benchmark: str
    n_images: int
    n_subjects: int
    limit: str
    block: dict[str, Any]

    @classmethod
    def read(cls, path: Path, model: str, benchmark: str | None = None) -> "ModelResults":
        """Read one model's figures.

        Args:
            path: results.json, or the folder that `radir evaluate` wrote.
            model: its name there, which is that of its folder.
            benchmark: the dataset's Hub id (user/name); by default the one that was evaluated by, if any.

        Raises:
            ValueError: there is no such file, or no such model in it, or that is no Hub id.
        """
        if benchmark is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", benchmark):
            raise ValueError(f"{benchmark!r} is no Hub id of a dataset: give user/name")
        path = path / RESULTS if path.is_dir() else path
        if not path.is_file():
            raise ValueError(f"there is no {path}: give the results.json that `radir evaluate` wrote")
        results = read_json(path)
        if model not in results.get("models", {}):
            known = ", ".join(results.get("models", {})) or "none"
            raise ValueError(
                f"{path} holds no results of {model} (it holds {known}): models go by the name of their "
                "folder; evaluate this folder, or give its own results"
            )
        protocol = results["protocol"]
        return cls(
            dataset=results["dataset"],
            split=results["split"],
            benchmark=benchmark or results.get("hub_dataset") or results["dataset"],
            n_images=results["n_images"],
            n_subjects=results["n_subjects"],
            limit=f"{'above' if protocol['strict'] else 'at least'} {protocol['threshold']:g}",
            block=results["models"][model],
        )

    def figures(self) -> Iterator[Figure]:
        """All defined figures over whole tasks, conditional ones as the average over anatomies."""
        for task in TASK_TITLES:
            for metric in _METRICS:
                for k, value in self.block.get(task, {}).get(metric, {}).items():
                    bounds = self.block[task].get(f"{metric}_ci95", {}).get(k, [None, None])
                    if isinstance(value, int | float):  # nothing but figures goes into a card
                        yield Figure(task, metric, k, value, None if None in bounds else bounds)

    def eval_results(self) -> list[EvalResult]:
        """The figures as the entries of a model card's model-index."""
        return [
            EvalResult(
                task_type=TASK,
                task_name=TASK_TITLES[figure.task],
                dataset_type=self.benchmark,
                dataset_name=self.dataset,
                dataset_config=figure.task,
                dataset_split=self.split,
                metric_type=figure.metric,
                metric_name=f"{_METRICS[figure.metric]}@{figure.k}",
                metric_value=figure.value,
                metric_args={"k": int(figure.k)} | ({"ci95": figure.interval} if figure.interval else {}),
            )
            for figure in self.figures()
        ]

    def entries(self) -> list[dict[str, Any]]:
        """The figures as the content of a file in .eval_results/."""
        entries = []
        for figure in self.figures():
            notes = f"{TASK_TITLES[figure.task]}, {_METRICS[figure.metric]}@{figure.k}, split {self.split}"
            if figure.interval:
                notes += f", 95% interval {figure.interval[0]:.4f} to {figure.interval[1]:.4f}"
            task = f"{figure.task}_{figure.metric}_at_{figure.k}"
            entries.append(EvalResultEntry(self.benchmark, task, figure.value, notes=notes))
        return eval_result_entries_to_yaml(entries)

    @property
    def file_name(self) -> str:
        """A name for that file, one for each dataset and split."""
        return re.sub(r"[^a-z0-9.]+", "-", f"radir-{self.dataset}-{self.split}".lower()).strip("-") + ".yaml"

    def markdown(self) -> str:
        """Tables of the whole tasks and of the regions, in percent with 95% intervals."""
        rows = [
            f"| {TASK_TITLES[task]} | {name}@{k} | {self._cell(self.block[task], metric, k)} | "
            f"{self.block[task]['n_queries']:,} |"
            for task in TASK_TITLES
            if task in self.block
            for metric, name in _METRICS.items()
            for k in self.block[task][metric]
        ]
        about = (
            f"Split {code(self.split)} of {plain(self.dataset)}: {self.n_images:,} images of "
            f"{self.n_subjects:,} patients. Percents with 95% intervals (bootstrap over patients). A "
            f"candidate is correct if its relevance is {self.limit}; queries without a correct one are left "
            "out of Recall. A dash stands for what is not defined."
        )
        heads = ["| Task | Metric | Value [95% interval] | Queries |", "| --- | --- | ---: | ---: |"]
        return "\n\n".join([about, "\n".join([*heads, *rows]), *self._regions()])

    def _regions(self) -> Iterator[str]:
        """Conditional Recall by region of the body."""
        regions = self.block.get(REGIONS, {})
        ks = list(self.block.get(MACRO, {}).get("recall", {}))
        if not regions or not ks:
            return
        heads = ["Region", "Anatomies", "Queries", *(f"Recall@{k}" for k in ks)]
        yield "Conditional retrieval by region, each the mean of its anatomies:"
        lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
        for region, about in regions.items():
            counts = (f"{about['n_anatomies']:,}", f"{about['n_queries']:,}")
            lines.append([plain(region), *counts, *(self._cell(about, "recall", k) for k in ks)])
        yield "\n".join("| " + " | ".join(line) + " |" for line in lines)

    @staticmethod
    def _cell(block: dict[str, Any], metric: str, k: str) -> str:
        value = block[metric].get(k)
        bounds = block.get(f"{metric}_ci95", {}).get(k, [None, None])
        return percent(value) if value is None or None in bounds else with_interval(value, bounds)
