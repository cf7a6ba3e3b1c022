"""Where text goes: results to standard output, everything else to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TextIO

from bootc.errors import BootcError
from bootc.status.text import printable

STDIN, STDOUT, STDERR = 0, 1, 2
UNWRITABLE = "cannot write to standard output"


def open_streams() -> None:
    """Whoever called us may have closed them (`>&-`, a careless daemon): then files would get their numbers, and what
    libraries print would be written into these. Input is empty then, results cannot be written, all else is lost."""
    for number, mode in ((STDIN, os.O_RDONLY), (STDOUT, os.O_RDONLY), (STDERR, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest number that is free
    sys.stdin = sys.stdin or os.fdopen(STDIN, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(STDOUT, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(STDERR, "w", closefd=False, errors="backslashreplace")


def has_colour(stream: TextIO) -> bool:
    """Whether the stream is a terminal that wants colours (NO_COLOR)."""
    return can_redraw(stream) and not os.environ.get("NO_COLOR")


def can_redraw(stream: TextIO) -> bool:
    """Whether the stream is a terminal on which lines can be drawn anew (TERM); with or without colours."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def out(text: str) -> None:
    """A result that is safe to print as it is, with a newline."""
    write(text + "\n")


def out_lines(lines: Iterable[str]) -> None:
    """Lines of a result; what could steer the terminal is escaped."""
    write("".join(f"{printable(line)}\n" for line in lines))


def write(text: str) -> None:
    """A result to the letter. BrokenPipeError passes: nobody reads on."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        close_output()
        raise BootcError(UNWRITABLE) from error


def close_output(number: int = STDOUT) -> None:
    """Nothing more is written there: what the stream's buffer still holds would fail again at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def note(text: str) -> None:
    """A line for the user that is no result."""
    write_error(f"{printable(text)}\n")


def write_error(text: str) -> None:
    """To standard error, to the letter. Where it cannot be written, nothing is to be stopped for it."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        close_output(STDERR)
