"""The command on a terminal: colours, the form that people read, and no stray escapes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bootc.cli.terminal import can_redraw, has_colour


def on_terminal(*words: str, **env: str) -> str:
    """What a terminal shows; both outputs go to it."""
    ours, theirs = os.openpty()
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "BOOTC_DEBUG")}
    try:
        command = [sys.executable, "-m", "bootc", *words]
        subprocess.run(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm", **env}, timeout=60
        )
        return os.read(ours, 1 << 16).decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(theirs)


def test_errors_begin_red() -> None:
    shown = on_terminal("status", "--format-version", "2")
    assert shown == "\x1b[31merror:\x1b[0m Unsupported format version: 2\n"


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_no_colour_where_none_is_wanted(env: dict[str, str]) -> None:
    assert on_terminal("status", "--format-version", "2", **env) == "error: Unsupported format version: 2\n"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"TERM": "xterm", "NO_COLOR": ""}, (True, True)),
        ({"TERM": "xterm", "NO_COLOR": "1"}, (True, False)),
        ({"TERM": "dumb", "NO_COLOR": ""}, (False, False)),
    ],
    ids=["plain", "NO_COLOR", "dumb"],
)
def test_progress_needs_no_colour(
    env: dict[str, str], expected: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    ours, theirs = os.openpty()
    try:
        with open(theirs, "w") as stream:
            assert (can_redraw(stream), has_colour(stream)) == expected
    finally:
        os.close(ours)


def test_status_is_for_people() -> None:
    assert on_terminal("status") == "System is not deployed via bootc.\n"
