"""`radir push`: datasets and models to the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from radir_cli.options import AsJson, print_json


def push(
    dataset: Annotated[Path, typer.Option(help="A built dataset's folder.")],
    repo: Annotated[str, typer.Option(help="The repository on the Hub: user/name.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    i_may_share: Annotated[
        bool, typer.Option("--i-may-share", help="You may hand on restricted content to who can read there.")
    ] = False,
    identifiers_only: Annotated[
        bool, typer.Option("--identifiers-only", help="Identifiers and relevances, no text, no images.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a built dataset to the Hub; what may not be shared is refused."""
    from dataset_scripts.publish import push_dataset

    url = push_dataset(
        dataset,
        repo,
        private=private,
        i_may_share=i_may_share,
        identifiers_only=identifiers_only,
        progress=not as_json,
    )
    print_json({"url": url}) if as_json else typer.echo(url)
