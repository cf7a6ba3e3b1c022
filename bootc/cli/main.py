"""`bootc`: its global options, its commands, and the one place where the program ends."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

import click

from bootc import __version__
from bootc.cli import failure
from bootc.cli.completions import VARIABLE
from bootc.cli.lazy import LazyCommand, LazyGroup
from bootc.cli.options import GlobalOptions
from bootc.cli.terminal import open_streams

COMMANDS = {
    "upgrade": LazyCommand("bootc.cli.commands.upgrade", "Fetch a newer image and stage it for the next boot."),
    "update": LazyCommand("bootc.cli.commands.upgrade", "The same as upgrade.", alias_of="upgrade"),
    "switch": LazyCommand(
        "bootc.cli.commands.switch", "Follow another image: fetch it and stage it for the next boot."
    ),
    "rollback": LazyCommand(
        "bootc.cli.commands.rollback", "Boot the previous deployment next time; a second call undoes that."
    ),
    "status": LazyCommand("bootc.cli.commands.status", "Show what is booted, staged and kept."),
    "install": LazyCommand("bootc.cli.commands.install", "Install an image to a disk or a filesystem."),
    "image": LazyCommand("bootc.cli.commands.image", "Look at images, wherever they are."),
    "config": LazyCommand("bootc.cli.commands.config", "Show the configuration and where each value comes from."),
    "plugins": LazyCommand("bootc.cli.commands.plugins", "List plugins, what they can do, and which failed to load."),
    "completion": LazyCommand("bootc.cli.commands.completion", "Print the completion script for a shell."),
    "internals": LazyCommand(
        "bootc.cli.commands.internals", "What our own system units call; no promises to others.", is_hidden=True
    ),
}


def _plugin_command(name: str) -> click.Command | None:
    from bootc.cli.offers import find_command

    return find_command(name)


@click.group(
    "bootc",
    cls=LazyGroup,
    table=COMMANDS,
    fallback=_plugin_command,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`bootc plugins` also lists the commands that plugins add.",
)
@click.option(
    "--sysroot",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Work on the system below this directory instead of the running one.",
)
@click.option("--backend", metavar="NAME", help="Storage backend; an installed system has one already.")
@click.option("--fetcher", metavar="NAME", help="Fetcher to use instead of the configured one.")
@click.option("--bootloader", metavar="NAME", help="Bootloader to use instead of the recorded one.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Read this configuration file in place of those of the system.",
)
@click.option(
    "-v", "--verbose", is_flag=True, help="Tell on standard error how long each phase took, and what each layer cost."
)
@click.version_option(__version__, "-V", "--version", prog_name="bootc", message="%(prog)s %(version)s")
@click.pass_context
def root(
    context: click.Context,
    sysroot: Path | None,
    backend: str | None,
    fetcher: str | None,
    bootloader: str | None,
    config: Path | None,
    verbose: bool,
) -> None:
    """Update an operating system in place from container images, and roll it back."""
    context.obj = GlobalOptions(sysroot, backend, fetcher, bootloader, config, verbose)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: `sys.argv`); returns the exit code."""
    atexit.register(gc.freeze)  # at its end Python would look for cycles in all of its memory, which goes anyway
    open_streams()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _told_of_the_end():
            return _run(list(sys.argv[1:] if arguments is None else arguments))
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        return failure.report(error)


@contextmanager
def _told_of_the_end() -> Iterator[None]:
    """SIGTERM ends a command with an error line, as SIGINT does, while nothing is going on that needs more care.

    An operation that succeeded leaves it ignored (see `Signals.active`), and so it stays until the process ends.
    """
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is signal.default_int_handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(arguments: list[str]) -> int:
    if VARIABLE in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(root, {}, "bootc", VARIABLE, os.environ[VARIABLE])
    try:
        with root.make_context("bootc", arguments) as context:
            root.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    return 0
