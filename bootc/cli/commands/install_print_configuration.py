"""`bootc install print-configuration`."""

from __future__ import annotations

from pathlib import Path

import attrs
import click

from bootc.cli.options import GlobalOptions
from bootc.cli.terminal import out
from bootc.config import Config
from bootc.status.text import printable_json

_APPLIED_BY_INSTALL = ("kargs", "karg-deletes")


@click.command("print-configuration")
@click.option(
    "--all", "is_all", is_flag=True, help="Also kargs and karg-deletes, which `to-filesystem` applies itself."
)
@click.pass_obj
def command(options: GlobalOptions, is_all: bool) -> None:
    """Print the image's install configuration as JSON, for programs that prepare disks themselves."""
    settings = Config.load(options.sysroot or Path("/"), options.config).install
    document = _document(settings)
    hidden = () if is_all else _APPLIED_BY_INSTALL
    out(printable_json({key: value for key, value in document.items() if key not in hidden}))


def _document(settings: attrs.AttrsInstance) -> dict[str, object]:
    """Keys as in the files; what is not set is null."""
    values = attrs.asdict(settings, recurse=False)
    return {
        name.replace("_", "-"): _document(value) if attrs.has(type(value)) else value for name, value in values.items()
    }
