"""Commands that are imported when they are run, so that no command waits for what only another one uses."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import click


class LazyCommand(click.Command):
    """Stands for a command of a module that is not imported yet (``module:attribute``)."""

    def __init__(self, name: str, target: str) -> None:
        super().__init__(name)
        self._module, _, self._attribute = target.partition(":")

    def load(self) -> click.Command:
        """Import the module and return the command."""
        command: click.Command = getattr(importlib.import_module(self._module), self._attribute)
        return command

    def get_short_help_str(self, limit: int = 45) -> str:
        """What the command's docstring begins with; it is read from the source, for lists of commands."""
        found = importlib.util.find_spec(self._module)
        if found is None or found.origin is None:
            return ""
        source = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
        texts = {one.name: ast.get_docstring(one) for one in source.body if isinstance(one, ast.FunctionDef)}
        return click.Command(self.name, help=texts[self._attribute]).get_short_help_str(limit)


class LazyGroup(click.Group):
    """A group that may hold :class:`LazyCommand`: running one, or asking for its help, loads it."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name, loaded. Raises UsageError where there is none."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest


def lazy_group(name: str, help_text: str, members: Mapping[str, str]) -> LazyGroup:
    """A group of commands: name → where the command stands."""
    return LazyGroup(name, help=help_text, commands=[LazyCommand(member, target) for member, target in members.items()])
