"""`dth man`: a manual page for each command, from the text of `--help`."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from dth.core.errors import UsageError


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.pass_context
def man(context: click.Context, directory: Path) -> None:
    """Write the manual pages of all commands into DIRECTORY.

    They are what --help shows. For this user alone, `man dth-s3-sync` finds them here:

    \b
    dth man ~/.local/share/man/man1
    """
    root = context.find_root().command
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name, command in [("dth", root), *_inside(root, "dth")]:
            file = directory / f"{name.replace(' ', '-')}.1"
            file.write_text(page(name, command), "utf-8")
            # Everybody may read them, whatever the umask is.
            file.chmod(0o644)
    except OSError as error:
        raise UsageError(
            f"{error.filename} cannot be written: {error.strerror}; name another directory"
        ) from None


def _inside(group: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """The commands of a group with their full names."""
    if not isinstance(group, click.Group):
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        if command := group.get_command(context, name):
            yield f"{path} {name}", command
            yield from _inside(command, f"{path} {name}")


def page(name: str, command: click.Command) -> str:
    """The page of one command, in the format of man(7)."""
    context = click.Context(command)
    short, *rest = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
    lines = [
        f'.TH "{name.replace(" ", "-").upper()}" 1 "" "Data Transfer Hub"',
        # Long words of code cannot be spread over a line.
        ".ad l",
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
    text = re.sub(r"[^\x00-\x7f]", lambda found: f"\\[u{ord(found[0]):04X}]", text)
    lines = [re.sub(r"^(['.])", r"\\&\1", line) for line in text.splitlines()]
    return (" " if joined else "\n").join(lines)
