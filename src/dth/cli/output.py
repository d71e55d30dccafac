"""`--output`: what a command shows as a table for people, or as JSON or YAML for programs."""

import functools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import click

F = Callable[..., Any]


class Output(StrEnum):
    """How a command shows what it found."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"

    @property
    def for_people(self) -> bool:
        return self is Output.TABLE

    def print(self, data: Any) -> None:
        """Print data, as JSON in one line or as YAML."""
        if self is Output.YAML:
            import yaml

            plain = json.loads(json.dumps(data))
            click.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), nl=False)
        else:
            click.echo(json.dumps(data))

    def print_item(self, data: Any) -> None:
        """Print one of many: JSON has one object per line, YAML one list."""
        self.print([data] if self is Output.YAML else data)


def iso(at: float) -> str | None:
    """A time as programs read it; None for never."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None


def output_format(command: F) -> F:
    """`--output` and its short form `--json`, which arrive together as `output`."""

    @functools.wraps(command)
    def wrapped(*args: Any, output_name: str, as_json: bool, **kwargs: Any) -> Any:
        return command(*args, output=Output.JSON if as_json else Output(output_name), **kwargs)

    wrapped = click.option("--json", "as_json", is_flag=True, help="The same as --output json.")(
        wrapped
    )
    return click.option(
        "--output",
        "output_name",
        type=click.Choice([each.value for each in Output]),
        default=Output.TABLE.value,
        show_default=True,
        help="How to show it.",
    )(wrapped)
