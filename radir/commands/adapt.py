"""`radir adapt`: any image encoder, conditional on anatomies in minutes."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from radir.commands.options import AsJson, Out, print_json


def adapt(
    encoder: Annotated[
        str,
        typer.Option(help="The image encoder: a folder or Hub id of transformers, timm, or a RadIR model."),
    ],
    dataset: Annotated[str, typer.Option(help="A built dataset: folder or Hub id.")],
    out: Out,
    text: Annotated[
        str, typer.Option(help="A BERT-like text tower, folder or Hub id; by default the words alone.")
    ] = "",
    image_size: Annotated[int, typer.Option(help="Pixels, square; 0: what the encoder was trained on.")] = 0,
    level: Annotated[
        list[int] | None, typer.Option(help="A feature map for the tokens; may be repeated; two by default.")
    ] = None,
    basis_size: Annotated[int, typer.Option(help="Numbers that an image is shortened to.")] = 1024,
    seed: Annotated[int, typer.Option(help="Of what is drawn at random.")] = 0,
    cache: Annotated[
        Path | None, typer.Option(help="A folder that keeps the tokens for the next run.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images at a time.")] = 32,
    as_json: AsJson = False,
) -> None:
    """Make any image encoder conditional on anatomies: linear heads on its tokens, in closed form."""
    from radir_training.adapt.adapt import AdaptSettings
    from radir_training.adapt.adapt import adapt as fit

    if batch_size < 1:
        raise ValueError(f"--batch-size is {batch_size}: give a whole number above 0")
    settings = AdaptSettings(
        encoder, text, image_size, tuple(sorted(set(level or ()))), basis_size=basis_size, seed=seed
    )
    done = fit(settings, dataset, out, cache, batch_size, progress=not as_json)
    if as_json:
        print_json(dataclasses.asdict(done))
        return
    typer.echo(
        f"{done.folder}: {done.images:,} training images, {done.conditions} anatomies with heads of their own"
    )
    for penalty, skill in done.skills.items():
        chosen = ", chosen" * (penalty == done.penalty)
        typer.echo(f"  penalty {penalty:g}: content skill {100 * skill:.2f}% on the validation split{chosen}")
