"""Writes docs/man from the command line's own help: `python docs/generate_man.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from bootc.cli.main import root

FOLDER = Path(__file__).parent / "man"
INTERNAL = ("internals",)


def pages() -> dict[str, str]:
    """Every manual page: file name and text."""
    with root.make_context("bootc", [], resilient_parsing=True) as context:
        return {
            f"{'-'.join(path)}.8": page(path, command, inner)
            for path, command, inner in walk(("bootc",), root, context)
        }


def walk(
    path: tuple[str, ...], command: click.Command, context: click.Context
) -> Iterator[tuple[tuple[str, ...], click.Command, click.Context]]:
    """A command, then its subcommands; not the internal ones."""
    yield path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and name not in INTERNAL:
                inner = click.Context(found, info_name=name, parent=context)
                yield from walk((*path, name), found, inner)


def page(path: tuple[str, ...], command: click.Command, context: click.Context) -> str:
    """One page in the man(7) macros."""
    first, _, rest = (command.help or "").strip().partition("\n")
    lines = [
        f'.TH {"-".join(path).upper()} 8 "" bootc "System administration"',
        ".SH NAME",
        f"{escape('-'.join(path))} \\- {escape(first.rstrip('.'))}",
        ".SH SYNOPSIS",
        f"\\fB{escape(' '.join(path))}\\fR {escape(' '.join(command.collect_usage_pieces(context)))}",
    ]
    if rest.strip():
        lines += [".SH DESCRIPTION", *paragraphs(rest)]
    parameters = [parameter for parameter in command.get_params(context) if isinstance(parameter, click.Option)]
    options = [record for option in parameters if (record := option.get_help_record(context))]
    lines += section("OPTIONS", options)
    if isinstance(command, click.Group):
        lines += section("COMMANDS", list(subcommands(path, command, context)))
    lines += [".SH EXIT STATUS", "0 on success, 1 on an error, 2 for wrong usage.", *see_also(path, command, context)]
    return "\n".join(lines) + "\n"


def subcommands(path: tuple[str, ...], group: click.Group, context: click.Context) -> Iterator[tuple[str, str]]:
    """Names and what they do."""
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if found is not None and name not in INTERNAL:
            yield f"{'-'.join((*path, name))}(8)", (found.help or "").partition("\n")[0]


def see_also(path: tuple[str, ...], command: click.Command, context: click.Context) -> list[str]:
    """The page above."""
    return [".SH SEE ALSO", f"{escape('-'.join(path[:-1]))}(8)"] if len(path) > 1 else []


def section(title: str, records: list[tuple[str, str]]) -> list[str]:
    """A list of terms and what they mean."""
    lines = [f".SH {title}"] if records else []
    for term, text in records:
        lines += [".TP", f"\\fB{escape(term)}\\fR", escape(text)]
    return lines


def paragraphs(text: str) -> list[str]:
    """Paragraphs of help, as they are separated by empty lines."""
    blocks = [" ".join(block.split()) for block in text.split("\n\n")]
    return [line for block in blocks if block for line in (".PP", escape(block))]


def escape(text: str) -> str:
    """Text that roff leaves alone."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def main() -> None:
    """Write all pages, remove others."""
    FOLDER.mkdir(exist_ok=True)
    written = pages()
    for old in FOLDER.glob("*.8"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
