"""`radir calibrate`: the means of a model's features, into the model."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from radir.commands.options import AsJson, print_json


def calibrate(
    model: Annotated[str, typer.Argument(help="A model folder or Hub id.")],
    dataset: Annotated[str, typer.Option(help="A built dataset, folder or Hub id: its training split.")],
    out: Annotated[
        Path | None, typer.Option(help="The folder to write; by default the model's own is replaced.")
    ] = None,
    images: Annotated[int, typer.Option(help="Training images at most, drawn at random.")] = 5000,
    seed: Annotated[int, typer.Option(help="Of their draw.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Keep the means of a model's features in the model, and compare images by what differs from them."""
    from radir_training.calibrate import WHOLE
    from radir_training.calibrate import calibrate as measure

    if out is None and not Path(model).is_dir():
        raise ValueError(f"{model} is no folder here, to be replaced: give --out DIR")
    done = measure(model, dataset, out or Path(model), images, seed, progress=not as_json)
    if as_json:
        print_json(dataclasses.asdict(done))
        return
    typer.echo(f"{done.folder}: means of {done.images:,} training images, for {len(done.after):,} conditions")
    for title, found in (("raw", done.before), ("centred", done.after)):
        whole, own = found[WHOLE], [value for name, value in found.items() if name != WHOLE]
        line = f"  {title}: whole images mean cosine {whole.mean_cosine:.3f}, rank {whole.effective_rank:.1f}"
        if own:
            cosine = sum(value.mean_cosine for value in own) / len(own)
            rank = sum(value.effective_rank for value in own) / len(own)
            line += f"; anatomies on average {cosine:.3f}, {rank:.1f}"
        typer.echo(line)
    if done.without_own:
        typer.echo(f"  {len(done.without_own)} anatomies of few images share one mean")
    if collapsed := [name or "whole images" for name, value in done.after.items() if value.is_collapsed]:
        typer.echo(f"  collapsed, telling hardly any images apart: {', '.join(collapsed)}")
