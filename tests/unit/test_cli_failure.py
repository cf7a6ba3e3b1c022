"""Failures as one line: the chain of causes, the hint, what cannot be printed, and the exit code."""

from __future__ import annotations

import os
from itertools import pairwise

import click
import pytest

from bootc.cli.failure import report
from bootc.errors import BootcError, CancelledError, FetchError, UsageError


def chained(*errors: BaseException) -> BaseException:
    """The first is raised from the second, and so on."""
    for outer, inner in pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


DEFECT = "this is a defect of bootc or of a plugin; BOOTC_DEBUG=1 shows where, please report that"

CASES = {
    "message": (BootcError("no luck"), 1, "no luck"),
    "hint": (BootcError("no luck", "try again"), 1, "no luck (try again)"),
    "causes, outer to inner": (
        chained(BootcError("no luck"), FetchError("reg/os", "refused"), OSError(111, "Connection refused")),
        1,
        "no luck: reg/os: refused: Connection refused",
    ),
    "said once": (
        chained(FetchError("reg/os", "no route to host"), OSError(113, "no route to host")),
        1,
        "reg/os: no route to host",
    ),
    "said once, of another file": (
        chained(FetchError("/x", "read-only file system"), OSError(30, "Read-only file system", "/x.new")),
        1,
        "/x: read-only file system",
    ),
    "a sentence before a cause": (chained(BootcError("No luck."), BootcError("Really.")), 1, "No luck: Really."),
    "the outermost hint": (
        chained(BootcError("a"), BootcError("b", "hint b"), BootcError("c", "hint c")),
        1,
        "a: b: c (hint b)",
    ),
    "a file": (
        chained(BootcError("cannot read"), FileNotFoundError(2, "No such file", "/x")),
        1,
        "cannot read: /x: No such file",
    ),
    "a library's own words, which may hold secrets": (
        chained(FetchError("reg/os", "refused"), ValueError("https://s3.example/?Signature=x"), BootcError("at once")),
        1,
        "reg/os: refused: at once",
    ),
    "control characters": (BootcError("bad\x1b[2J\nname"), 1, "bad\\x1b[2J\\nname"),
    "usage of ours": (UsageError("--a and --b", "drop one"), 2, "--a and --b (drop one)"),
    "usage": (click.UsageError("no such thing"), 2, "no such thing (see `bootc --help`)"),
    "other failures of the command line": (click.ClickException("odd"), 1, "odd"),
    "keyboard": (
        KeyboardInterrupt(),
        1,
        "cancelled: interrupted (run the command again; what was fetched is kept for it)",
    ),
    "signal": (
        CancelledError("SIGTERM"),
        1,
        "cancelled: SIGTERM (run the command again; what was fetched is kept for it)",
    ),
    "defect": (
        KeyError("x"),
        1,
        f"internal error: KeyError: 'x' ({DEFECT})",
    ),
    "a file of somebody else": (
        PermissionError(13, "Permission denied", "/root/.config/containers/registries.conf"),
        1,
        "/root/.config/containers/registries.conf: Permission denied"
        + ("" if os.geteuid() == 0 else " (try it as root)"),
    ),
    "a pipe of somebody else": (
        BrokenPipeError(32, "Broken pipe"),
        1,
        f"internal error: BrokenPipeError: Broken pipe ({DEFECT})",
    ),
}


@pytest.mark.parametrize(("error", "code", "line"), CASES.values(), ids=CASES)
def test_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(error) == code
    assert capsys.readouterr() == ("", f"error: {line}\n")


@pytest.mark.parametrize(("user", "hint"), [(0, ""), (1000, " (try it as root)")], ids=["root", "another"])
def test_who_may_not_read_a_file_is_told_who_may(
    user: int, hint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    cause = PermissionError(13, "Permission denied", "/x/image.json")
    report(chained(BootcError("/x/image.json: permission denied"), cause))
    report(chained(BootcError("no luck", "look there"), cause))
    assert capsys.readouterr().err.splitlines() == [
        f"error: /x/image.json: permission denied{hint}",
        "error: no luck: /x/image.json: Permission denied (look there)",
    ]


def test_a_circle_of_causes_ends(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = BootcError("a"), BootcError("b")
    first.__cause__, second.__cause__ = second, first
    report(first)
    assert capsys.readouterr().err == "error: a: b\n"


def test_the_traceback_comes_on_request(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTC_DEBUG", "1")
    report(BootcError("no luck"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == ["bootc.errors.base.BootcError: no luck", "error: no luck"]
