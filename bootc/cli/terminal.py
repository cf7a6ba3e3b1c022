"""Where text goes: results to standard output, everything else to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TextIO

from bootc.errors import BootcError
from bootc.status.text import printable

STDOUT = 1


def has_colour(stream: TextIO) -> bool:
    """Whether the stream is a terminal that wants colours (NO_COLOR, TERM)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


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
        raise BootcError("cannot write to standard output") from error


def close_output() -> None:
    """Nothing more is written to standard output: what its buffer still holds would fail again at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDOUT)
    os.close(nowhere)


def note(text: str) -> None:
    """A line for the user that is no result."""
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()
