"""`--filter-rules`: --include and --exclude as another tool reads them."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from dth.core.errors import UsageError
from dth.objects.listing.filters import aws_rules, rclone_rules

F = Callable[..., Any]

ORDER = "dth.filters"
PATTERNS = {"--include": True, "--exclude": False}


class OrderedPatterns(click.Command):
    """A command that remembers in which order its patterns were given. Click keeps the order of one
    option only."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ORDER] = _patterns(args)
        return super().parse_args(ctx, args)


def _patterns(args: Sequence[str]) -> list[tuple[bool, str]]:
    found = []
    for position, word in enumerate(args):
        name, equals, value = word.partition("=")
        if name in PATTERNS and (equals or position + 1 < len(args)):
            found.append((PATTERNS[name], value if equals else args[position + 1]))
    return found


def filter_rules_option(command: F) -> F:
    return click.option(
        "--filter-rules",
        "read_as",
        type=click.Choice(["rclone", "aws"]),
        help="Read --include and --exclude as this tool does, in its order and with its wildcards.",
    )(command)


def read_filters(given: dict[str, Any]) -> None:
    """Put rules in place of the patterns that are to be read as another tool does."""
    tool = given.pop("read_as", None)
    if not tool:
        return
    include, exclude = given.pop("include_patterns"), given.pop("exclude_patterns")
    if given["filter_rules"]:
        raise UsageError(
            "--filter-rules says how to read --include and --exclude: leave out --filter"
        )
    if not (include or exclude):
        raise UsageError(
            "--filter-rules says how to read --include and --exclude: give one of them"
        )
    order = click.get_current_context().meta[ORDER]
    given["filter_rules"] = rclone_rules(include, exclude) if tool == "rclone" else aws_rules(order)
