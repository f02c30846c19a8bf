"""Commands that are imported when they are run, so that no command waits for what only another one uses."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click


class LazyCommand(click.Command):
    """Stands for a command of a module that is not imported yet. Help lists it by its own first sentence."""

    def __init__(self, name: str, target: str, first_sentence: str) -> None:
        super().__init__(name, help=first_sentence)
        self._module, _, self._attribute = target.partition(":")

    def load(self) -> click.Command:
        """Import the module and return the command."""
        command: click.Command = getattr(importlib.import_module(self._module), self._attribute)
        return command


class LazyGroup(click.Group):
    """A group that may hold :class:`LazyCommand`: running one, or asking for its help, loads it."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name, loaded. Raises UsageError where there is none."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest


def lazy_group(name: str, help_text: str, members: Mapping[str, tuple[str, str]]) -> LazyGroup:
    """A group of commands: name → where the command stands (``module:attribute``), and its first sentence."""
    return LazyGroup(
        name,
        help=help_text,
        commands={member: LazyCommand(member, *described) for member, described in members.items()},
    )
