"""`radir demo`: everything at once, on phantoms."""

import time
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from radir.commands.evaluate import print_summary, run_evaluation
from radir.commands.options import Out
from radir.commands.search import index, search


def demo(
    out: Out = Path("runs/demo"),
    count: Annotated[int, typer.Option(help="Number of phantom studies.")] = 2000,
    config: Annotated[
        Path | None, typer.Option(help="Training settings; radir/commands/demo.yaml by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
) -> None:
    """Phantoms, both training stages, a plain CLIP of the same budget, evaluation, index, search, report."""
    from radir_eval.protocol import Protocol

    from dataset_scripts.sources.phantoms.cxr_source import PhantomCXRSource
    from radir.commands.build import run_build
    from radir.publishing.model_card import write_model_card
    from radir_training.settings import load_config
    from train_accelerate import train

    settings = str(config or files("radir.commands") / "demo.yaml")
    data, models = out / "phantom-cxr", [out / "radir-cxr-phantom", out / "clip-cxr-phantom"]
    clock = _Clock()
    source = PhantomCXRSource(count=count, seed=seed)
    run_build(source, data)
    clock.lap("build")
    for method, folder in zip(("radir", "clip"), models, strict=True):
        arguments = ["--dataset", data, "--output_dir", folder, "--method", method, "--seed", seed]
        train(load_config([settings, *map(str, arguments)]))
        clock.lap(f"training {method}")
    names, floor_and_ceiling = [str(path) for path in models], ["random", "oracle"]
    evaluation = out / "evaluation"
    results = run_evaluation(
        names, floor_and_ceiling, [], str(data), "test", evaluation, Protocol(seed=seed), progress=True
    )
    for folder in models:
        write_model_card(folder, evaluation)
    clock.lap("evaluation")
    index(str(models[0]), out / "index", dataset=str(data), split=["train"])
    query = _first_image(data, out / "query.png")
    search(out / "index", query, anatomy="left pleura", k=5)
    clock.lap("index and search")
    typer.echo(clock.summary())
    print_summary(results, evaluation)


def _first_image(data: Path, path: Path) -> Path:
    """Save the first held-out image as a file, to be searched with."""
    from dataset_scripts.building.built_dataset import BuiltDataset
    from dataset_scripts.plumbing.atomic import atomic_path

    dataset = BuiltDataset.open(data)
    with atomic_path(path) as temporary:
        dataset.image(dataset.studies("test")[0]).save(temporary)
    return path


class _Clock:
    """Wall time of the demo's parts."""

    def __init__(self) -> None:
        self._last, self._laps = time.perf_counter(), list[str]()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps.append(f"{name} {now - self._last:.0f} s")
        self._last = now

    def summary(self) -> str:
        return "time: " + ", ".join(self._laps)
