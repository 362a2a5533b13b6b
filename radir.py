"""The front door: the `radir` command, gathered from `radir_cli`."""

import logging
import sys

import typer

from radir_cli import build
from radir_cli.demo import demo
from radir_cli.ending import Commands, end
from radir_cli.evaluate import evaluate, export_run
from radir_cli.models import convert_checkpoint, export
from radir_cli.search import heat_map, index, search
from radir_cli.share import push
from radir_cli.texts import discover, score

app = typer.Typer(
    cls=Commands,
    help="Radiology image retrieval by anatomy: build, evaluate, index, search.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(build.app, name="build", help="Build a dataset folder: mining, entities, relevance, Parquet.")
for command in (
    evaluate, index, search, heat_map, convert_checkpoint, export, export_run, push, demo, score, discover
):  # fmt: skip
    app.command()(command)


def main() -> None:
    """The console script: every error ends with a sentence and an exit code (`radir_cli.ending`)."""
    logging.basicConfig(format="%(message)s")
    try:
        app()
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(end(error))


if __name__ == "__main__":
    main()
