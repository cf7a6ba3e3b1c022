"""`bootc plugins`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from attrs import asdict

from bootc.cli.options import GlobalOptions
from bootc.cli.terminal import note, out, out_lines
from bootc.config import Config
from bootc.errors import ConfigError
from bootc.plugins import Description, PluginFailure, Plugins


@click.command("plugins")
@click.option("--json", "is_json", is_flag=True, help="Print an object with the lists `plugins` and `failures`.")
@click.pass_obj
def command(options: GlobalOptions, is_json: bool) -> None:
    """List plugins, what they can do, and which failed to load.

    Plugins are storage backends, fetchers, bootloaders and commands of any installed distribution with an entry point
    in the group `bootc`. What some can do depends on their options: shown is what holds as they are configured."""
    plugins = Plugins.load()
    found = plugins.describe(_config(options))
    if is_json:
        lists = {"plugins": [asdict(item) for item in found], "failures": [asdict(item) for item in plugins.failures]}
        out(json.dumps(lists))
    else:
        out_lines(_lines(found, plugins.failures))


def _config(options: GlobalOptions) -> Config | None:
    """The configuration; plugins are listed even if it is wrong."""
    try:
        return Config.load(options.sysroot or Path("/"), options.config, options.selection.overrides)
    except ConfigError as error:
        note(f"warning: {error.message}")
        return None


def _lines(found: Sequence[Description], failures: Sequence[PluginFailure]) -> Iterator[str]:
    kinds, names = (max((len(text) for text in texts), default=0) for texts in zip(*_heads(found), strict=True))
    for item in found:
        yield f"{item.kind:<{kinds}}  {item.name:<{names}}  {item.summary} ({item.distribution} {item.version})"
        if item.capabilities:
            yield f"{'':<{kinds}}  {'':<{names}}  can: {', '.join(item.capabilities)}"
        if item.unavailable:
            yield f"{'':<{kinds}}  {'':<{names}}  not available: {item.unavailable}"
    for failure in failures:
        yield f"failed: {failure}"


def _heads(found: Sequence[Description]) -> list[tuple[str, str]]:
    return [(item.kind, item.name) for item in found] or [("", "")]
