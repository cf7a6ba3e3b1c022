"""`bootc install to-filesystem`."""

from __future__ import annotations

from pathlib import Path

import click

from bootc.cli.installing import announce, install_options, prepared
from bootc.cli.options import GlobalOptions
from bootc.cli.parameters import kernel_text
from bootc.installer import FilesystemOptions, InstallOptions, to_filesystem
from bootc.targets import Replace


@click.command("to-filesystem")
@click.argument("root", type=click.Path(path_type=Path))
@click.option(
    "--root-mount-spec",
    type=kernel_text,
    metavar="SPEC",
    help="For root=, e.g. UUID=… or LABEL=…; empty: no such argument.",
)
@click.option("--boot-mount-spec", type=kernel_text, metavar="SPEC", help="For a separate /boot, UUID=…; empty: none.")
@click.option("--replace", type=click.Choice(("wipe", "alongside")), help="What to do with files that are there.")
@click.option("--acknowledge-destructive", is_flag=True, help="Do not wait before the host's own root is replaced.")
@click.option("--skip-finalize", is_flag=True, help="Do not trim and freeze the filesystem at the end.")
@install_options
def command(
    options: GlobalOptions,
    chosen: InstallOptions,
    is_checked: bool,
    root: Path,
    root_mount_spec: str | None,
    boot_mount_spec: str | None,
    replace: str | None,
    acknowledge_destructive: bool,
    skip_finalize: bool,
) -> None:
    """Install an image to the filesystem that is mounted at ROOT.

    A separate /boot and the EFI system partition are mounted below it, at boot and boot/efi.
    """
    target = FilesystemOptions(
        replace=Replace(replace) if replace else Replace.NONE,
        root_spec=root_mount_spec,
        boot_spec=boot_mount_spec,
        skip_finalize=skip_finalize,
        acknowledge_destructive=acknowledge_destructive,
    )
    with prepared(options, chosen, is_checked) as opened:
        installed = to_filesystem(opened, root, chosen, target)
    announce(installed)
