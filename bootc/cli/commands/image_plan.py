"""`bootc image plan`."""

from __future__ import annotations

from pathlib import Path

import click
from attrs import evolve

from bootc import platform
from bootc.cli.options import GlobalOptions
from bootc.cli.parameters import authfile_option
from bootc.cli.progress import listening
from bootc.cli.summary import show
from bootc.image import ImageReference
from bootc.session import Session


@click.command("plan")
@click.argument("old", metavar="OLD", type=ImageReference.parse)
@click.argument("new", metavar="NEW", type=ImageReference.parse)
@authfile_option
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object instead.")
@click.pass_obj
def command(
    options: GlobalOptions, old: ImageReference, new: ImageReference, authfile: Path | None, is_json: bool
) -> None:
    """Predict what an update from OLD to NEW would fetch.

    OLD and NEW are references with their transport, e.g. docker://NAME:TAG, oci:DIRECTORY:TAG or oci-archive:FILE. Told
    are the bytes of layers, as they are served, by each method: the whole image; the layers that OLD lacks; and of
    these only the parts that OLD lacks (zstd:chunked). No layer is fetched, and no installed system is needed.
    """
    from bootc.cli.planning import plan_document, plan_lines, plan_update

    machine = platform.current()
    with listening(is_verbose=options.is_verbose) as report:
        session = Session(evolve(options, authfile=authfile).selection, report)
        with (
            session.fetcher(old) as before,
            session.fetcher(new) as after,
            before.resolve(old, machine) as source,
            after.resolve(new, machine) as target,
        ):
            plan = plan_update(source, target)
    show(plan_document(plan), plan_lines(plan), is_json=is_json)
