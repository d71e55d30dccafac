"""Writes a manual page for each command, from the text of `--help`: `python -m docs.man FOLDER`."""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from docs.generate import commands
from dth.cli.main import cli


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, command in [("dth", cli), *commands()]:
        (folder / f"{name.replace(' ', '-')}.1").write_text(page(name, command), "utf-8")


def page(name: str, command: click.Command) -> str:
    """The page of one command, in the format of man(7)."""
    context = click.Context(command)
    short, *rest = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
    lines = [
        f'.TH "{name.replace(" ", "-").upper()}" 1 "" "Data Transfer Hub"',
        ".SH NAME",
        f"{_text(name)} \\- {_text(short)}",
        ".SH SYNOPSIS",
        _text(" ".join([name, *command.collect_usage_pieces(context)])),
    ]
    if rest:
        lines.append(".SH DESCRIPTION")
        lines += [f".PP\n{_paragraph(each)}" for each in rest]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            lines += _entry(f"{name} {inner}", found.get_short_help_str(200) if found else "")
    options = [
        option
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]
    if options:
        lines.append(".SH OPTIONS")
        for option in options:
            names, text = option.get_help_record(context) or ("", "")
            lines += _entry(names, text)
    return "\n".join(lines) + "\n"


def _entry(head: str, text: str) -> Iterator[str]:
    yield f".TP\n.B {_text(head)}\n{_text(text)}"


def _paragraph(text: str) -> str:
    if text.startswith("\b\n"):  # lines that stay as they are
        return f".nf\n{_text(text.removeprefix(chr(8) + chr(10)), joined=False)}\n.fi"
    return _text(text)


def _text(text: str, *, joined: bool = True) -> str:
    """Text in which nothing is taken for a request of the formatter."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    lines = [re.sub(r"^(['.])", r"\\&\1", line) for line in text.splitlines()]
    return (" " if joined else "\n").join(lines)


if __name__ == "__main__":
    main()
