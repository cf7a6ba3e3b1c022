"""Types and options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., object])

TRANSPORTS = ("registry", "oci", "oci-archive", "docker-archive", "docker-daemon", "containers-storage", "dir")

_UNITS = {"": 20, "M": 20, "MiB": 20, "G": 30, "GiB": 30, "T": 40, "TiB": 40}


def descriptor(text: str) -> int:
    """A file descriptor that was inherited: 3 or more. Whether it is a pipe is checked when it is opened."""
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or int(text) < 3:
        raise click.BadParameter(f"Cannot use fd {text} for progress JSON")
    return int(text)


def size(text: str) -> int:
    """A size in bytes, from a whole number with a binary unit: `20G`, `512M`, `1TiB`; a bare number is MiB."""
    found = re.fullmatch(r"(\d{1,9})(\w*)", text, re.ASCII)
    if found is None or found[2] not in _UNITS or not int(found[1]):
        raise click.BadParameter(f"{text!r} is no size; write a whole number and M, G or T")
    return int(found[1]) << _UNITS[found[2]]


def kernel_text(text: str) -> str:
    """What stands on the kernel's command line, and so in a line of a boot entry."""
    if not text.isprintable():
        raise click.BadParameter(f"{text!r} has characters that cannot stand in a kernel argument")
    return text


def stateroot(text: str) -> str:
    """The name of a directory."""
    if not re.fullmatch(r"\w[\w.+-]{0,127}", text, re.ASCII):
        raise click.BadParameter(f"{text!r} is no name for a stateroot; use letters, digits and _ . + -")
    return text


def progress_options(function: Function) -> Function:
    """`--quiet` and `--progress-fd`."""
    quiet = click.option("--quiet", is_flag=True, help="Show no progress.")
    progress = click.option(
        "--progress-fd", type=descriptor, hidden=True, metavar="N", help="Write progress as JSON lines to this pipe."
    )
    return quiet(progress(function))


def json_option(function: Function) -> Function:
    """`--json`."""
    text = "Print one JSON object instead: what changed, and what it cost."
    return click.option("--json", "is_json", is_flag=True, help=text)(function)


def authfile_option(function: Function) -> Function:
    """`--authfile`."""
    return click.option(
        "--authfile",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        metavar="FILE",
        help="Credentials for registries (containers-auth.json(5)); default: $REGISTRY_AUTH_FILE.",
    )(function)


def apply_option(function: Function) -> Function:
    """`--apply`."""
    return click.option("--apply", is_flag=True, help="Reboot into the new deployment at once.")(function)


def downgrade_option(function: Function) -> Function:
    """`--allow-downgrade`."""
    return click.option(
        "--allow-downgrade", is_flag=True, help="Accept an older image although [trust] downgrade-guard is on."
    )(function)


def retry_option(function: Function) -> Function:
    """`--retry-failed`."""
    return click.option("--retry-failed", is_flag=True, help="Stage an image that failed to boot here before, too.")(
        function
    )
