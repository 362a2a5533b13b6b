"""The subcommands of `radir build`, found when asked for: sources import much, `radir --help` nothing."""

from typing import Any

import typer
from typer.core import TyperGroup


class SourceCommands(TyperGroup):
    """One subcommand for each source, of `radir.commands.build`."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self._found())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return self._found().get(cmd_name)

    def _found(self) -> dict[str, Any]:
        from radir.commands.build import app

        return dict(typer.main.get_group(app).commands)
