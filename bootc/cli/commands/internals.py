"""`bootc internals`: what our own units and recipes for images call."""

from __future__ import annotations

from pathlib import Path

import click

from bootc.cli.changing import opened, prepared
from bootc.cli.completions import SHELLS, script
from bootc.cli.options import GlobalOptions
from bootc.cli.terminal import out, out_lines
from bootc.deployment import Slots
from bootc.host.boots import last_words, waited_for
from bootc.status import size_text
from bootc.system import files


@click.group("internals", hidden=True, no_args_is_help=False)
def command() -> None:
    """What our own system units call; no promises to others."""


@command.command("finalize-staged")
@click.pass_obj
def finalize_staged(options: GlobalOptions) -> None:
    """At shutdown: make the staged deployment the default one."""
    with prepared(options) as session:
        system = session.reader()
        if system is not None and Slots.of(system.deployments).staged is not None:
            with session.writer() as transaction:
                transaction.finalize()


@command.command("publish")
@click.pass_obj
def publish(options: GlobalOptions) -> None:
    """At boot: write the boot menu that follows from the deployments."""
    with opened(options) as (_, transaction):
        transaction.publish()


@command.command("boot-completed")
@click.pass_obj
def boot_completed(options: GlobalOptions) -> None:
    """When the boot is complete: what runs is good, and after a fall-back it becomes the default for good."""
    with opened(options) as (_, transaction):
        transaction.complete_boot(last_words())


@command.command("boot-late")
@click.pass_obj
def boot_late(options: GlobalOptions) -> None:
    """Before a reboot for the next try: keep what this boot waits for."""
    text = waited_for()
    out(f"The boot is not complete: {text}")
    with opened(options) as (_, transaction):
        transaction.note_late_boot(text)


@command.command("cleanup")
@click.pass_obj
def cleanup(options: GlobalOptions) -> None:
    """Remove images and deployments that nothing names any more."""
    with opened(options) as (_, transaction):
        freed = transaction.collect_garbage()
    out(f"Freed: {size_text(freed)}")


@command.command("install-system-files")
@click.argument("root", type=click.Path(path_type=Path))
@click.pass_context
def install_system_files(context: click.Context, root: Path) -> None:
    """Put units, presets and completions below ROOT, where a distribution has them."""
    top = context.find_root().command
    written = files.install(root, {shell: script(shell, top) for shell in SHELLS})
    out_lines(f"/{path}" for path in written)
