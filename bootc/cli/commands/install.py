"""`bootc install`."""

from __future__ import annotations

from bootc.cli.lazy import LazyCommand, LazyGroup

TABLE = {
    "to-disk": LazyCommand("bootc.cli.commands.install_to_disk", "Partition and format a disk, and install to it."),
    "to-filesystem": LazyCommand("bootc.cli.commands.install_to_filesystem", "Install to a mounted filesystem."),
    "print-configuration": LazyCommand(
        "bootc.cli.commands.install_print_configuration", "Print the image's install configuration as JSON."
    ),
}

command = LazyGroup("install", table=TABLE, help="Install an image to a disk or a filesystem.")
