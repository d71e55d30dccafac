"""`--output` of what a command shows."""

import json

import click
import yaml
from click.testing import CliRunner

from dth.cli.output import Output, iso, output_format

DATA = {"name": "ü", "numbers": [1, 2]}


@click.command()
@output_format
def shows(output: Output) -> None:
    if output.for_people:
        click.echo("a table")
    else:
        output.print_item(DATA)
        output.print_item(DATA)


def run(*words: str) -> str:
    done = CliRunner().invoke(shows, words)
    assert done.exit_code == 0, done
    return done.output


def test_people_see_a_table_unless_another_format_is_asked_for() -> None:
    assert run() == run("--output", "table") == "a table\n"


def test_json_has_an_object_per_line() -> None:
    assert run("--json") == run("--output", "json")
    assert [json.loads(line) for line in run("--json").splitlines()] == [DATA, DATA]


def test_yaml_has_one_list() -> None:
    assert yaml.safe_load(run("--output", "yaml")) == [DATA, DATA]


def test_times_for_programs() -> None:
    assert (iso(0), iso(86400.0)) == (None, "1970-01-02T00:00:00Z")
