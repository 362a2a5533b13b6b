"""`radir push`: datasets and models to the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from radir.commands.options import AsJson, print_json


def push(
    repo: Annotated[str, typer.Option(help="The repository on the Hub: user/name.")],
    dataset: Annotated[Path | None, typer.Option(help="A built dataset's folder.")] = None,
    model: Annotated[Path | None, typer.Option(help="A model's folder.")] = None,
    results: Annotated[
        Path | None, typer.Option(help="With --model: what `radir evaluate` wrote, for the card.")
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            help="With --results: the Hub id (user/name) of the dataset, if it was read as a folder."
        ),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    i_may_share: Annotated[
        bool,
        typer.Option(
            "--i-may-share",
            help="You may hand on restricted content, or what was learnt from it, to who can read there.",
        ),
    ] = False,
    identifiers_only: Annotated[
        bool,
        typer.Option(
            "--identifiers-only", help="With --dataset: identifiers and relevances, no text, no images."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a built dataset or a model to the Hub; what may not be shared is refused."""
    from radir.publishing.push_dataset import push_dataset
    from radir.publishing.push_model import push_model

    if (dataset is None) == (model is None):
        raise ValueError("give either --dataset DIR or --model DIR")
    progress = not as_json
    if dataset is not None:
        if results is not None or benchmark is not None:
            raise ValueError("--results and --benchmark belong to --model: a dataset's card holds no results")
        url = push_dataset(
            dataset, repo, private=private, i_may_share=i_may_share,
            identifiers_only=identifiers_only, progress=progress,
        )  # fmt: skip
    else:
        assert model is not None
        if identifiers_only:
            raise ValueError("--identifiers-only belongs to --dataset: a model holds no identifiers")
        if benchmark is not None and results is None:
            raise ValueError("--benchmark says of which dataset --results are: give both")
        url = push_model(
            model, repo, private=private, i_may_share=i_may_share, results=results, benchmark=benchmark,
            progress=progress,
        )  # fmt: skip
    print_json({"url": url}) if as_json else typer.echo(url)
