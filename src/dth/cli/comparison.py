"""`dth comparison`: comparisons of a hub; `dth task compare` starts one."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import click

from dth.cli.compared import CODES, print_summary
from dth.cli.display import columns, counted, shown, when
from dth.cli.hub import hub_options
from dth.cli.output import Output, output_format
from dth.cli.report import COMPARISON_COLUMNS, Row, check_report, write_report
from dth.cli.s3_options import sample_option
from dth.cli.task import as_text, follow, watch_option
from dth.cli.task_ids import find
from dth.core.errors import NotFound, UsageError
from dth.core.parameters import TaskParameters
from dth.core.ports.findings import COPYABLE, ComparisonVerdict, FolderTally, State, StateTally
from dth.hub.client import HubClient

Connect = Callable[[], HubClient]

FIELDS = """id task source destination policy sample createdBy state verdict startedAt endedAt error
    notes filtered counts { state objects bytes }"""
COMPARE = f"""mutation ($task: ID, $input: CreateTaskInput, $policy: String, $sample: Float) {{
    compare(task: $task, input: $input, policy: $policy, sample: $sample) {{ {FIELDS} }} }}"""
TICK = 1.0  # seconds between looks
FIRST = 0.05
PAGE = 1000
SHORT = 8  # characters of an id in lists
POLICIES = ("size", "size+time", "etag", "checksum", "content")

report_option = click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Write one row per object that is not the same: .csv, .json or .parquet.",
)
certificate_option = click.option(
    "--certificate",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.json",
    help="Write the signed certificate of the comparison.",
)


# ---------------------------------------------------------------------------------------- start one


@click.command(name="compare")
@click.argument("id")
@click.option(
    "--compare",
    "policy",
    default="",
    type=click.Choice(["", *POLICIES]),
    help="What makes two objects the same. [default: as the task compares]",
)
@sample_option
@report_option
@certificate_option
@output_format
@hub_options
def compare_task(
    id: str,
    policy: str,
    sample: float | None,
    report: Path | None,
    certificate: Path | None,
    output: Output,
    hub: Connect,
) -> int:
    """Compare the source and the destination of a task, and write nothing there.

    Exit code 0: the same; 1: different; 2: could not tell.
    """
    if report:
        check_report(report)
    client = hub()
    variables = {"task": find(client, id), "policy": policy, "sample": sample}
    return compare_on_hub(client, variables, report, certificate, output=output)


def given_to_hub(kind: str, parameters: TaskParameters, **more: object) -> dict[str, Any]:
    """The two sides of a command, as the hub takes them. `more`: parameters that are said even
    where they are the default."""
    values = parameters.model_dump(mode="json", by_alias=True, exclude_defaults=True) | more
    given = {name: as_text(value) for name, value in values.items() if value is not None}
    return {
        "type": kind,
        "scheduleType": "ONE_TIME",
        "parameters": [
            {"ParameterKey": name, "ParameterValue": value} for name, value in given.items()
        ],
    }


def compare_on_hub(
    client: HubClient,
    variables: Mapping[str, Any],
    report: Path | None,
    certificate: Path | None = None,
    *,
    output: Output,
) -> int:
    """Start a comparison, wait for its end, and show it. Returns the exit code."""
    started = client.call(COMPARE, variables)["compare"]["id"]
    click.echo(f"comparison {started}; dth comparison cancel {started[:SHORT]} ends it", err=True)
    return _show(
        client, _wait(client, started, quiet=not output.for_people), report, certificate, output
    )


def _wait(client: HubClient, id: str, *, quiet: bool) -> dict[str, Any]:
    pause, told = FIRST, 0.0
    while (found := _get(client, id))["state"] == "RUNNING":
        terminal = sys.stderr.isatty()
        if not quiet and time.monotonic() - told >= (TICK if terminal else 5 * TICK):
            told = time.monotonic()
            line = f"compared {_tally(found).total:,} objects"
            click.echo(f"\r\x1b[K{line}" if terminal else line, nl=not terminal, err=True)
        time.sleep(pause)
        pause = min(2 * pause, TICK)
    if not quiet and sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    return found


def _show(
    client: HubClient,
    found: dict[str, Any],
    report: Path | None,
    certificate: Path | None,
    output: Output,
) -> int:
    if report:
        asyncio.run(write_report(report, _rows(client, found["id"]), COMPARISON_COLUMNS))
    if not output.for_people:
        output.print(found)
    if found["state"] != "DONE":
        # Whatever was found: what was not seen may differ.
        click.echo(f"dth: {_why_not(found)}", err=True)
        return 2
    if certificate:
        _write_certificate(client, found["id"], certificate)
    if not output.for_people:
        return CODES[ComparisonVerdict(found["verdict"])]
    return print_summary(
        _tally(found),
        int(found["filtered"]),
        found["notes"],
        found["policy"],
        lambda path: _folders(client, found["id"], path),
    )


def _why_not(found: dict[str, Any]) -> str:
    words = {
        "RUNNING": "the comparison is still running",
        "FAILED": "the comparison failed",
        "CANCELLED": "the comparison was cancelled, and saw only a part",
        "INTERRUPTED": "the comparison was interrupted",
    }
    error = shown(found["error"])
    return words[found["state"]] + (f": {error}" if error else "")


def _write_certificate(client: HubClient, id: str, path: Path) -> None:
    query = "query ($id: ID!) { getComparisonCertificate(id: $id) }"
    document = json.loads(client.call(query, {"id": id})["getComparisonCertificate"])
    try:
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise UsageError(f"--certificate {path}: {error.strerror}") from None


# ------------------------------------------------------------------------------------ look at them


@click.group()
def comparison() -> None:
    """Comparisons of a hub: dth task compare starts one.

    ID is an id, or the beginning of one.
    """


@comparison.command(name="list")
@click.option("--task", default="", help="Only those of this task.")
@click.option("--count", default=20, show_default=True, type=click.IntRange(1, 100))
@output_format
@hub_options
def list_(task: str, count: int, output: Output, hub: Connect) -> int:
    """List comparisons, newest first."""
    client = hub()
    found = client.call(
        f"query ($task: ID, $count: Int) {{ listComparisons(task: $task, count: $count) {{ {FIELDS} }} }}",
        {"task": find(client, task) if task else None, "count": count},
    )["listComparisons"]
    if not output.for_people:
        output.print(found)
        return 0
    columns(
        ("ID", "STATE", "RESULT", "BY", "OBJECTS", "BEGAN", "SOURCE", "DESTINATION"),
        [
            (
                each["id"][:SHORT],
                each["state"],
                (each["verdict"] or "").lower(),
                each["policy"],
                f"{_tally(each).total:,}",
                when(each["startedAt"]),
                shown(each["source"]),
                shown(each["destination"]),
            )
            for each in found
        ],
    )
    return 0


@comparison.command()
@click.argument("id")
@report_option
@certificate_option
@output_format
@hub_options
def show(
    id: str, report: Path | None, certificate: Path | None, output: Output, hub: Connect
) -> int:
    """Show what a comparison found.

    Exit code 0: the same; 1: different; 2: could not tell.
    """
    if report:
        check_report(report)
    client = hub()
    return _show(client, _get(client, _find(client, id)), report, certificate, output)


@comparison.command()
@click.argument("id")
@hub_options
def cancel(id: str, hub: Connect) -> int:
    """End a comparison. What it found so far stays."""
    return _change(hub(), "cancelComparison", id)


@comparison.command()
@click.argument("id")
@hub_options
def delete(id: str, hub: Connect) -> int:
    """Delete a comparison with what it found."""
    return _change(hub(), "deleteComparison", id)


@comparison.command()
@click.argument("id")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value.lower() for state in COPYABLE]),
    help="Only these; several times for several. [default: all of them]",
)
@click.option("--prefix", default="", help="Only keys that begin with this.")
@watch_option
@hub_options
def copy(id: str, states: tuple[str, ...], prefix: str, watch_it: bool, hub: Connect) -> int:
    """Copy what a comparison found, in a run of its task, or in a new task that runs once."""
    client = hub()
    made = client.call(
        """mutation ($id: ID!, $states: [FindingState!], $prefix: String) {
            copyFindings(id: $id, states: $states, prefix: $prefix) { id } }""",
        {
            "id": _find(client, id),
            "states": [state.upper() for state in states] or None,
            "prefix": prefix,
        },
    )["copyFindings"]["id"]
    click.echo(made)
    return follow(client, made) if watch_it else 0


def _change(client: HubClient, operation: str, id: str) -> int:
    query = f"mutation ($id: ID!) {{ {operation}(id: $id) {{ id state }} }}"
    done = client.call(query, {"id": _find(client, id)})[operation]
    click.echo(f"{done['id']} {done['state']}")
    return 0


def _find(client: HubClient, id: str) -> str:
    """The id that begins like this."""
    query = "query { listComparisons(count: 100) { id } }"
    known = [each["id"] for each in client.call(query)["listComparisons"]]
    found = [each for each in known if id and each.startswith(id)]
    if not found:
        raise NotFound(f"there is no comparison {id!r}; dth comparison list shows them")
    if len(found) > 1:
        raise UsageError(f"{id!r} begins {counted(len(found), 'comparison')}; give more of the id")
    return str(found[0])


def _get(client: HubClient, id: str) -> dict[str, Any]:
    query = f"query ($id: ID!) {{ getComparison(id: $id) {{ {FIELDS} }} }}"
    return dict(client.call(query, {"id": id})["getComparison"])


def _tally(found: Mapping[str, Any]) -> StateTally:
    tally = StateTally()
    for each in found["counts"]:
        tally.add(State(each["state"]), int(each["objects"]), int(each["bytes"]))
    return tally


def _folders(client: HubClient, id: str, path: str) -> list[FolderTally]:
    query = """query ($id: ID!, $path: String) { listComparedFolders(id: $id, path: $path) {
        path folders counts { state objects bytes } } }"""
    found = client.call(query, {"id": id, "path": path})["listComparedFolders"]
    return [FolderTally(each["path"], _tally(each), each["folders"]) for each in found]


async def _rows(client: HubClient, id: str) -> AsyncIterator[Row]:
    query = """query ($id: ID!, $limit: Int, $nextToken: String) {
        listFindings(id: $id, limit: $limit, nextToken: $nextToken) {
            nextToken items { key state size destSize etag reason } } }"""
    token: str | None = None
    while True:
        given = {"id": id, "limit": PAGE, "nextToken": token}
        page = client.call(query, given)["listFindings"]
        for each in page["items"]:
            yield (
                each["key"],
                each["state"],
                -1 if each["size"] is None else int(each["size"]),
                -1 if each["destSize"] is None else int(each["destSize"]),
                each["etag"],
                each["reason"],
            )
        token = page["nextToken"]
        if not token:
            return
