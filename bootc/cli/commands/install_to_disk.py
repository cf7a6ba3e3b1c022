"""`bootc install to-disk`."""

from __future__ import annotations

from pathlib import Path

import click

from bootc.cli.installing import announce, install_options, prepared
from bootc.cli.options import GlobalOptions
from bootc.cli.parameters import size
from bootc.installer import DiskOptions, InstallOptions, to_disk
from bootc.targets import FILESYSTEMS


@click.command("to-disk")
@click.argument("device", type=click.Path(path_type=Path))
@click.option("--wipe", is_flag=True, help="Overwrite what is on the disk.")
@click.option(
    "--filesystem",
    type=click.Choice(FILESYSTEMS),
    help="Of the root partition; default: that of the install configuration.",
)
@click.option(
    "--block-setup",
    type=click.Choice(("direct",)),
    expose_value=False,
    help="How the root filesystem lies on the disk.",
)
@click.option(
    "--root-size", type=size, metavar="SIZE", help="Of the root partition, e.g. 20G; default: all that is left."
)
@click.option("--via-loopback", is_flag=True, help="DEVICE is an image file.")
@install_options
def command(
    options: GlobalOptions,
    chosen: InstallOptions,
    is_checked: bool,
    device: Path,
    wipe: bool,
    filesystem: str | None,
    root_size: int | None,
    via_loopback: bool,
) -> None:
    """Partition and format DEVICE, and install an image to it.

    Without --source-imgref the image is that of the privileged podman container in which this runs.
    """
    disk = DiskOptions(is_file=via_loopback, filesystem=filesystem, root_size=root_size, wipe=wipe)
    with prepared(options, chosen, is_checked) as opened:
        installed = to_disk(opened, device, chosen, disk)
    announce(installed)
