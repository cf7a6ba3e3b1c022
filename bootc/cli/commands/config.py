"""`bootc config`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bootc.cli.options import GlobalOptions
from bootc.cli.terminal import note, out, out_lines
from bootc.config import Config, ConfigValue
from bootc.plugins import Plugins


@click.command("config")
@click.option("--json", "is_json", is_flag=True, help="Print a list of objects with key, value and source.")
@click.pass_obj
def command(options: GlobalOptions, is_json: bool) -> None:
    """Show the configuration and where each value comes from.

    That is a file, the command line or the default. Later files win key by key."""
    config = Config.load(options.sysroot or Path("/"), options.config, options.selection.overrides)
    for warning in config.warnings:
        note(f"warning: {warning}")
    plugins = Plugins.load()
    plugins.check_configuration(config)
    values = config.values(plugins.configurable())
    if is_json:
        out(json.dumps([{"key": item.key, "value": item.value, "source": item.source} for item in values], default=str))
    else:
        out_lines(_text(item) for item in values)


def _text(item: ConfigValue) -> str:
    value = "(not set)" if item.value is None else json.dumps(item.value, ensure_ascii=False, default=str)
    return f"{item.key} = {value}  # {item.source}"
