"""The front door: the `radir` command, gathered from `radir.commands`."""

import logging
import sys

import typer

from radir.commands.adapt import adapt
from radir.commands.calibrate import calibrate
from radir.commands.convert import convert_checkpoint, export
from radir.commands.demo import demo
from radir.commands.ending import Commands, end
from radir.commands.evaluate import evaluate, export_run
from radir.commands.push import push
from radir.commands.read import read
from radir.commands.score import discover, score
from radir.commands.search import heat_map, index, search
from radir.commands.sources import SourceCommands

app = typer.Typer(
    cls=Commands,
    help="Radiology image retrieval by anatomy: build, evaluate, index, search.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(
    typer.Typer(cls=SourceCommands, no_args_is_help=True),
    name="build",
    help="Build a dataset folder: mining, entities, relevance, Parquet.",
)
for command in (
    adapt, calibrate, evaluate, index, search, heat_map, convert_checkpoint, export, export_run, push, demo,
    score, discover, read
):  # fmt: skip
    app.command()(command)


def main() -> None:
    """The console script: every error ends with a sentence and an exit code (`radir.commands.ending`)."""
    logging.basicConfig(format="%(message)s")
    try:
        app()
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(end(error))


if __name__ == "__main__":
    main()
