"""What a hub says of its tasks: `dth runs`, and `dth task` logs, failures, records and
parameters."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import click

from dth.cli.display import amount, clock, columns, how_many, shown, when
from dth.cli.hub import hub_options
from dth.cli.output import Output, iso, output_format
from dth.cli.report import IMAGE_COLUMNS, Row, check_report, write_report
from dth.cli.task_ids import find
from dth.core.errors import UsageError
from dth.hub.client import HubClient

Connect = Callable[[], HubClient]

TICK = 1.0  # seconds between looks at a log
STREAMS = 100
PAGE = 1000  # lines or records per request
RECORD = "key status run etag size destEtag proof verified attempts reason detail updatedAt"
IMAGE = "key status source sourceDigest destDigest size moved seconds attempts about reason detail"
STATUSES = ("PENDING", "DONE", "FAILED", "CANCELLED")


# --------------------------------------------------------------------------------------------- runs


@click.command()
@click.argument("task", required=False, default="")
@click.option(
    "--count", default=20, show_default=True, type=click.IntRange(1, 100), help="How many."
)
@output_format
@hub_options
def runs(task: str, count: int, output: Output, hub: Connect) -> int:
    """List the runs of a task, newest first; without a task, the last run of each.

    TASK is an id, its beginning, or a description.
    """
    client = hub()
    if not task:
        return _last_runs(client, count, output)
    found = client.call(
        """query ($id: ID!, $count: Int) { listRuns(id: $id, count: $count) { id kind state startedAt endedAt
            error notes counts { listed same enqueued done failed cancelled done_bytes deleted } } }""",
        {"id": find(client, task), "count": count},
    )["listRuns"]
    if not output.for_people:
        output.print(found)
        return 0
    columns(
        ("RUN", "KIND", "STATE", "BEGAN", "ENDED", "LISTED", "COPIED", "FAILED", "BYTES", "ERROR"),
        [
            (
                str(each["id"]),
                each["kind"],
                each["state"],
                when(each["startedAt"]),
                when(each["endedAt"]),
                f"{each['counts']['listed']:.0f}",
                f"{each['counts']['done']:.0f}",
                f"{each['counts']['failed']:.0f}",
                amount(each["counts"]["done_bytes"]),
                shown(each["error"]),
            )
            for each in found
        ],
    )
    return 0


def _last_runs(client: HubClient, count: int, output: Output) -> int:
    found = client.call(
        """query ($count: Int) { listTasksV2(count: $count, orderBy: updated) { items { id description source
            destination lastRun { id result endedAt seconds } } } }""",
        {"count": count},
    )["listTasksV2"]["items"]
    ended = sorted(
        (each for each in found if each["lastRun"]),
        key=lambda each: each["lastRun"]["endedAt"],
        reverse=True,
    )
    if not output.for_people:
        output.print(ended)
        return 0
    columns(
        ("TASK", "DESCRIPTION", "RUN", "RESULT", "ENDED", "TOOK", "SOURCE", "DESTINATION"),
        [
            (
                each["id"][:8],
                shown(each["description"] or ""),
                str(each["lastRun"]["id"]),
                each["lastRun"]["result"].lower(),
                when(each["lastRun"]["endedAt"]),
                clock(each["lastRun"]["seconds"]),
                shown(each["source"]),
                shown(each["destination"]),
            )
            for each in ended
        ],
    )
    return 0


# --------------------------------------------------------------------------------------------- logs


@click.command()
@click.argument("id")
@click.option("-f", "--follow", is_flag=True, help="Continue with new ones, until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    default=100,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="How many.",
)
@click.option("--process", default="", help="Only this process, such as finder or worker-1.")
@click.option("--search", default="", help="Only lines with this text.")
@output_format
@hub_options
def logs(
    id: str, follow: bool, lines: int, process: str, search: str, output: Output, hub: Connect
) -> int:
    """Show the last lines of the logs of a task's processes, in the order of time."""
    client = hub()
    log = _TaskLog(client, find(client, id), process, search, output)
    log.print_last(lines)
    while follow:
        time.sleep(TICK)
        log.print_new()
    return 0


class _TaskLog:
    """The logs of all processes of a task, as one."""

    def __init__(
        self, client: HubClient, task: str, process: str, search: str, output: Output
    ) -> None:
        self._client = client
        self._output = output
        self._process = process
        self._search = search
        answer = client.call("query ($id: ID!) { getTask(id: $id) { logGroupName } }", {"id": task})
        self._group = answer["getTask"]["logGroupName"]
        # By stream: where its next lines begin.
        self._next: dict[str, str] = {}

    def print_last(self, lines: int) -> None:
        events = [event for stream in self._streams() for event in self._page(stream, lines)]
        self._print(_in_time(events)[-lines:])

    def print_new(self) -> None:
        events = []
        for stream in self._streams():
            while page := self._page(stream, PAGE):
                events += page
                if len(page) < PAGE:
                    break
        self._print(_in_time(events))

    def _streams(self) -> list[str]:
        found = self._client.call(
            """query ($group: String, $prefix: String, $count: Int) { listLogStreams(logGroupName: $group,
                logStreamNamePrefix: $prefix, count: $count) { logStreams { logStreamName } } }""",
            {"group": self._group, "prefix": self._process, "count": STREAMS},
        )["listLogStreams"]["logStreams"]
        return [each["logStreamName"] for each in found]

    def _page(self, stream: str, limit: int) -> list[tuple[int, str, str]]:
        """The next lines of a process, or its last ones: time, process and text of each."""
        found = self._client.call(
            """query ($group: String, $stream: String, $token: String, $limit: Int, $search: String) {
                getLogEvents(logGroupName: $group, logStreamName: $stream, nextToken: $token, limit: $limit,
                    search: $search) { logEvents { timestamp message } nextForwardToken } }""",
            {
                "group": self._group,
                "stream": stream,
                "token": self._next.get(stream),
                "limit": limit,
                "search": self._search or None,
            },
        )["getLogEvents"]
        self._next[stream] = found["nextForwardToken"]
        return [(int(each["timestamp"]), stream, each["message"]) for each in found["logEvents"]]

    def _print(self, events: list[tuple[int, str, str]]) -> None:
        for at, stream, message in events:
            if not self._output.for_people:
                self._output.print_item(
                    {"time": iso(at / 1000), "process": stream, "message": message}
                )
                continue
            moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at / 1000))
            click.echo(f"{moment}  {shown(stream):<12}  {shown(message)}")


def _in_time(events: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """In the order of time; lines of one process stay as they are."""
    return sorted(events, key=lambda event: event[0])


# ----------------------------------------------------------------------------- failures and records


@click.command()
@click.argument("id")
@output_format
@hub_options
def failures(id: str, output: Output, hub: Connect) -> int:
    """Show what failed, by reason, with what to do about it."""
    client = hub()
    answer = client.call(
        """query ($id: ID!) { failureGroups(id: $id) { reason count more detail keys advice }
            listRuns(id: $id, count: 1) { id state error } }""",
        {"id": find(client, id)},
    )
    found = answer["failureGroups"]
    if not output.for_people:
        output.print(found)
        return 0
    failed = [run for run in answer["listRuns"] if run["state"] == "FAILED"]
    for run in failed:
        click.echo(f"run {run['id']:.0f} failed: {shown(run['error'] or '')}")
    for group in found:
        click.echo(f"{how_many(group)}x {group['reason']}: {shown(group['detail'])}")
        click.echo(f"  for example {', '.join(shown(key) for key in group['keys'])}")
        click.echo(f"  {group['advice']}")
    if not found:
        click.echo("no object has failed" if failed else "nothing has failed")
    return 0


@click.command()
@click.argument("id")
@click.option("--run", type=click.IntRange(1), help="Only of this run. [default: all]")
@click.option(
    "--status", type=click.Choice(STATUSES, case_sensitive=False), help="Only with this status."
)
@click.option("--prefix", default="", help="Only keys that begin with this.")
@click.option("--reason", default="", help="Only what failed for this reason.")
@click.option("--count", default=100, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--all", "all_", is_flag=True, help="All of them.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Write all of them to this file: .csv or .parquet.",
)
@output_format
@hub_options
def records(
    id: str,
    run: int | None,
    status: str | None,
    prefix: str,
    reason: str,
    count: int,
    all_: bool,
    report: Path | None,
    output: Output,
    hub: Connect,
) -> int:
    """Show what became of each object of a task."""
    client = hub()
    wanted = {"run": run, "status": status, "prefix": prefix or None, "reason": reason or None}
    if report:
        check_report(report)
    found = read_records(client, find(client, id), wanted)
    if report:
        save_report(report, found)
        return 0
    left = -1 if all_ else count
    rows = []
    for record in found:
        if left == 0:
            break
        left -= 1
        if output.for_people:
            rows.append(record)
        else:
            output.print_item(record)
    if output.for_people:
        columns(
            ("STATUS", "RUN", "BYTES", "KEY", "VERIFIED", "REASON"),
            [
                (
                    each["status"],
                    str(each["run"]),
                    f"{each['size']:.0f}",
                    shown(each["key"]),
                    each["verified"],
                    shown(f"{each['reason']} {each['detail']}".strip()),
                )
                for each in rows
            ],
        )
    return 0


def read_records(client: HubClient, id: str, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The records of a task, page by page. `wanted`: the arguments of `listRecords`."""
    token = None
    query = f"""query ($id: ID!, $status: RecordStatus, $prefix: String, $reason: String, $run: Int, $limit: Int,
            $token: String) {{
        listRecords(id: $id, status: $status, prefix: $prefix, reason: $reason, run: $run, limit: $limit,
            nextToken: $token) {{ items {{ {RECORD} }} nextToken }} }}"""
    while True:
        page = client.call(query, {"id": id, **wanted, "limit": PAGE, "token": token})[
            "listRecords"
        ]
        yield from page["items"]
        token = page["nextToken"]
        if not token:
            return


def save_report(path: Path, found: Iterator[dict[str, Any]]) -> None:
    """Write the records of a hub as `dth s3 sync --report` writes them."""

    async def rows() -> AsyncIterator[Row]:
        for each in found:
            yield (
                each["key"],
                each["status"],
                int(each["size"]),
                each["etag"],
                each["destEtag"],
                each["proof"],
                each["verified"],
                each["attempts"],
                each["reason"],
                each["detail"],
            )

    asyncio.run(write_report(path, rows()))


def read_images(client: HubClient, id: str) -> Iterator[dict[str, Any]]:
    """What the last run of a task did with each image, page by page."""
    runs = client.call("query ($id: ID!) { listRuns(id: $id, count: 1) { id } }", {"id": id})
    query = f"""query ($id: ID!, $run: Int, $limit: Int, $token: String) {{
        listImages(id: $id, run: $run, limit: $limit, nextToken: $token) {{
            items {{ {IMAGE} }} nextToken }} }}"""
    for run in runs["listRuns"]:
        token = None
        while True:
            given = {"id": id, "run": run["id"], "limit": PAGE, "token": token}
            page = client.call(query, given)["listImages"]
            yield from page["items"]
            token = page["nextToken"]
            if not token:
                break


def save_images(path: Path, found: Iterator[dict[str, Any]]) -> None:
    """Write the images of a hub as `dth ecr sync --report` writes them."""

    async def rows() -> AsyncIterator[Row]:
        for each in found:
            sizes = int(each["size"]), int(each["moved"])
            yield (
                each["key"],
                each["status"],
                each["source"],
                each["sourceDigest"],
                each["destDigest"],
                *sizes,
                each["seconds"],
                each["attempts"],
                each["about"],
                each["reason"],
                each["detail"],
            )

    asyncio.run(write_report(path, rows(), IMAGE_COLUMNS))


# --------------------------------------------------------------------------------------- parameters


@click.command()
@click.argument("words", nargs=-1)
@click.option(
    "--type", "kind", default="S3EC2", show_default=True, help="Kind of task, such as S3EC2 or ECR."
)
@output_format
@hub_options
def parameters(words: tuple[str, ...], kind: str, output: Output, hub: Connect) -> int:
    """List the parameters of a kind of task. WORDS: only those whose name or help has all of these
    words."""
    found = hub().call(
        """query ($type: TaskType!) { listTaskParameters(type: $type) { name label group help kind default allowed
            option minimum maximum size required } }""",
        {"type": kind},
    )["listTaskParameters"]
    found = [each for each in found if all(word.lower() in _text(each) for word in words)]
    if not found:
        raise UsageError(f"no parameter of {kind} has {' '.join(words)!r} in its name or help")
    if not output.for_people:
        output.print(found)
        return 0
    columns(
        ("NAME", "DEFAULT", "HELP"),
        [(each["name"], shown(each["default"]), _help(each)) for each in found],
    )
    return 0


def _text(each: dict[str, Any]) -> str:
    return json.dumps([each["name"], each["label"], each["help"], each["option"]]).lower()


def _help(each: dict[str, Any]) -> str:
    allowed = f" One of {', '.join(each['allowed'])}." if each["allowed"] else ""
    return f"{each['help']}{allowed}{' Required.' if each['required'] else ''}"
