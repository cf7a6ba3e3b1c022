"""Groups whose commands are imported when they are called, so that `bootc status` pays for nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import click
from attrs import frozen


@frozen
class LazyCommand:
    """A command of ours: the module that has it as `command`, and what help says without importing it."""

    module: str
    summary: str
    is_hidden: bool = False
    alias_of: str | None = None

    def load(self) -> click.Command:
        """Import it."""
        command: click.Command = import_module(self.module).command
        return command


class LazyGroup(click.Group):
    """A group that knows its commands by a table; names that are not in it are looked up by `fallback`."""

    def __init__(
        self,
        *args: Any,
        table: Mapping[str, LazyCommand],
        fallback: Callable[[str], click.Command | None] | None = None,
        **attributes: Any,
    ) -> None:
        attributes.setdefault("no_args_is_help", False)
        super().__init__(*args, **attributes)
        self.table, self._fallback = table, fallback

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names as help shows them; aliases are left out."""
        return [name for name, lazy in self.table.items() if lazy.alias_of is None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command of ours, else ask the fallback."""
        if cmd_name in self.table:
            return self.table[cmd_name].load()
        return self._fallback(cmd_name) if self._fallback else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table alone."""
        shown = [(name, self.table[name]) for name in self.list_commands(ctx)]
        rows = [(name, lazy.summary) for name, lazy in shown if not lazy.is_hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
