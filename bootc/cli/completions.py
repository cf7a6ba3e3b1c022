"""Completion scripts for shells."""

from __future__ import annotations

import click

VARIABLE = "_BOOTC_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


def script(shell: str, root: click.Command) -> str:
    """The script that makes this shell ask `bootc` for completions; the shell itself need not be installed."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    complete = found(root, {}, "bootc", VARIABLE)
    return complete.source_template % complete.source_vars()
