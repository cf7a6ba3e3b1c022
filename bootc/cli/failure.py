"""Failures as users see them: one line on standard error, and an exit code."""

from __future__ import annotations

import os
import select
import sys
import traceback
from collections.abc import Iterator

import click

from bootc.cli.terminal import STDOUT, UNWRITABLE, close_output, has_colour, write_error
from bootc.errors import BootcError, CancelledError
from bootc.status.text import printable

DEBUG = "BOOTC_DEBUG"


def report(error: BaseException) -> int:
    """Print `error: …` for an exception; returns the exit code: 1, or 2 for wrong usage."""
    if isinstance(error, BrokenPipeError) and _is_reader_gone():
        return 1
    if os.environ.get(DEBUG) == "1":
        traceback.print_exception(error)
    code, line = _explained(error)
    prefix = "\x1b[31merror:\x1b[0m" if has_colour(sys.stderr) else "error:"
    write_error(f"{prefix} {printable(line)}\n")
    return code


def _explained(error: BaseException) -> tuple[int, str]:
    match error:
        case KeyboardInterrupt() | click.Abort():
            return _explained(CancelledError())
        case BootcError():
            return error.exit_code, describe(error)
        case click.UsageError():
            help = f"see `{error.ctx.command_path} --help`" if error.ctx else "see `bootc --help`"
            text = error.format_message()
            if isinstance(error, click.MissingParameter):  # lists what can be chosen in lines
                text = " ".join(text.split())
            return error.exit_code, f"{text.rstrip('.')} ({help})"
        case click.ClickException():
            return error.exit_code, error.format_message()
        case OSError() if _is_unwritten(error):
            close_output()
            return 1, f"{UNWRITABLE}: {_text(error)}"
        case PermissionError() if error.filename:
            return 1, describe(error)
        case _:
            hint = f"this is a defect of bootc or of a plugin; {DEBUG}=1 shows where, please report that"
            return 1, f"internal error: {type(error).__name__}: {describe(error)} ({hint})"


def describe(error: BaseException) -> str:
    """The chain of causes, outer to inner, joined by `: `; what was said before is not said again. Then the hint.

    Causes that are exceptions of libraries are left out: what they say is for developers, and may hold secrets.
    """
    parts: list[str] = []
    hint, is_forbidden = None, False
    for link in _chain(error):
        text = _text(link)
        if not parts or (_is_for_users(link) and not any(_essence(link) in part.casefold() for part in parts)):
            parts.append(text)
        hint = hint or (link.hint if isinstance(link, BootcError) else None)
        is_forbidden = is_forbidden or isinstance(link, PermissionError)
    if is_forbidden and os.geteuid():
        hint = hint or "try it as root"
    return ": ".join((*(part.rstrip(".") for part in parts[:-1]), parts[-1])) + (f" ({hint})" if hint else "")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__


def _is_for_users(error: BaseException) -> bool:
    return isinstance(error, BootcError) or (isinstance(error, OSError) and bool(error.strerror))


def _essence(error: BaseException) -> str:
    """What makes a link worth showing: of a failed system call, what failed rather than on which file."""
    text = error.strerror if isinstance(error, OSError) else None
    return (text or _text(error)).casefold()


def _text(error: BaseException) -> str:
    if isinstance(error, BootcError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _is_unwritten(error: OSError) -> bool:
    """Whether help, or the text of a plugin's command, could not be written: click does that itself."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code is click.echo.__code__


def _is_reader_gone() -> bool:
    """Whether it is our own standard output that nobody reads any more; then nothing more is written to it."""
    poll = select.poll()
    poll.register(STDOUT, 0)
    if not poll.poll(0):
        return False
    close_output()
    return True
