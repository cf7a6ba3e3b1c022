"""`bootc status`."""

from __future__ import annotations

import sys

import click

from bootc.cli.options import GlobalOptions
from bootc.cli.progress import listening
from bootc.cli.terminal import out, write
from bootc.errors import BootcError
from bootc.events import Report
from bootc.status import Host, dump_host, status_text, sysroot_text, to_json, to_yaml

FORMATS = ("humanreadable", "yaml", "json")


@click.command("status")
@click.option("--format", type=click.Choice(FORMATS), help="Default: humanreadable on a terminal, else yaml.")
@click.option("--json", "is_json", is_flag=True, hidden=True, help="The same as --format json.")
@click.option("--format-version", type=int, default=1, metavar="N", help="Version of the document; 1 is the only one.")
@click.option("--booted", is_flag=True, help="Leave out the staged deployment and the rollback.")
@click.option(
    "-v", "--verbose", is_flag=True, help="More of each deployment, and how upgrades are fetched; for people."
)
@click.pass_obj
def command(
    options: GlobalOptions, format: str | None, is_json: bool, format_version: int, booted: bool, verbose: bool
) -> None:
    """Show what is booted, staged and kept.

    The document in YAML and JSON is `org.containers.bootc/v1`, as other tools know it.
    """
    if format_version not in (0, 1):
        raise BootcError(f"Unsupported format version: {format_version}")
    chosen = "json" if is_json else format or ("humanreadable" if sys.stdout.isatty() else "yaml")
    with listening(is_verbose=options.is_verbose) as report:
        host = _host(options, report, is_verbose=chosen == "humanreadable" and (verbose or options.is_verbose))
    host = host.without_other_slots() if booted else host
    match chosen:
        case "json":
            write(to_json(dump_host(host)))
        case "yaml":
            out(to_yaml(dump_host(host)))
        case _:
            text = sysroot_text if options.sysroot else status_text
            out(text(host, is_verbose=verbose or options.is_verbose))


def _host(options: GlobalOptions, report: Report, is_verbose: bool) -> Host:
    from bootc.cli.reading import read_host

    return read_host(options, report, is_verbose=is_verbose)
