"""`bootc completion`."""

from __future__ import annotations

import click

from bootc.cli.completions import SHELLS, script
from bootc.cli.terminal import out


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    Distributions install it where the shell looks for it; for one session: source <(bootc completion bash).
    """
    out(script(shell, context.find_root().command).rstrip("\n"))
