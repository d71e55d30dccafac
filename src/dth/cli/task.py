"""`dth task`: create, watch and manage tasks of a hub; task files."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from dth.cli.display import (
    INCOMPLETE,
    amount,
    clock,
    columns,
    counted,
    how_many,
    shown,
    table,
    verified_words,
    when,
)
from dth.cli.hub import hub_options
from dth.cli.lazy import LazyGroup
from dth.cli.output import Output, output_format
from dth.cli.task_ids import find
from dth.core.errors import HubError, NotFound, UsageError
from dth.core.parameters import TaskParameters
from dth.core.plugins import verifies
from dth.core.ports.runs import Counts
from dth.hub.client import HubClient
from dth.hub.progress import NOTHING_FOUND, RunActivity

KINDS = "Kind of task: S3EC2, ECR, or that of another plugin that the hub has."
FIELDS = """id description type things progress phase waitsFor scheduleType schedule scheduleTimeZone
    source destination reason createdAt stoppedAt nextRunAt createdBy parameters { ParameterKey ParameterValue }
    progressInfo { run listing objects doneObjects failed totalBytes doneBytes percent rate eta workers waiting
        state note }
    lastRun { id result endedAt seconds }"""
# Of the counts of a run: those that are shown as they are, and those that are shown in words.
COUNTED = "listed same enqueued done failed cancelled"
VERIFIED = "verified_store verified_etag verified_source verified_content incomplete"
SHORT = 8  # characters of an id in lists
ENDED = ("DONE", "STOPPED", "ERROR")
OVER = ("DONE", "STOPPED", "ERROR", "PAUSED")
TICK = 1.0  # seconds between looks of `watch`
FIRST_LOOK = 0.05  # seconds before a job that is soon done is checked
PLAIN_TICK = 5.0  # where there is no terminal

Connect = Callable[[], HubClient]


MODULES = {
    "compare": "dth.cli.comparison:compare_task",
    "failures": "dth.cli.task_look:failures",
    "logs": "dth.cli.task_look:logs",
    "parameters": "dth.cli.task_look:parameters",
    "records": "dth.cli.task_look:records",
}


@click.group(cls=LazyGroup, modules=MODULES)
def task() -> None:
    """Tasks of a hub.

    ID is an id, the beginning of one, or a description.
    """


@task.command()
@click.argument("parameters", nargs=-1, metavar="NAME=VALUE...")
@click.option("--type", "kind", default="S3EC2", show_default=True, help=KINDS)
@click.option("--description", default="", help="What it is for.")
@click.option("--once", is_flag=True, help="Run once instead of on a schedule.")
@click.option(
    "--watch",
    "--wait",
    "watch_it",
    is_flag=True,
    help="Wait for its end, or that of its first run.",
)
@hub_options
def create(
    parameters: tuple[str, ...],
    kind: str,
    description: str,
    once: bool,
    watch_it: bool,
    hub: Connect,
) -> int:
    """Create a task: dth task create srcBucket=a destBucket=b --once.

    dth task parameters lists all names.
    """
    client = hub()
    known = client.call("{ hubInfo { plugins } }")["hubInfo"]["plugins"]
    if kind not in known:
        raise UsageError(
            f"--type {kind}: the hub has no such kind of task; it has {', '.join(known)}"
        )
    made = create_task(client, _given(parameters), kind=kind, once=once, description=description)
    click.echo(made)
    return follow(client, made, before=None if once else []) if watch_it else 0


def create_task(
    client: HubClient,
    values: dict[str, str],
    *,
    once: bool,
    kind: str = "S3EC2",
    description: str = "",
) -> str:
    """Create a task; its id."""
    wanted = as_input(values, once=once, kind=kind, description=description)
    query = "mutation ($input: CreateTaskInput!) { createTask(input: $input) { id warnings } }"
    made = client.call(query, {"input": wanted})["createTask"]
    _warn(made)
    return str(made["id"])


def as_input(
    values: dict[str, str], *, once: bool, kind: str, description: str = ""
) -> dict[str, Any]:
    """A new task, as the API takes it."""
    return {
        "type": kind,
        "description": description,
        "scheduleType": "ONE_TIME" if once else "FIXED_RATE",
        "parameters": _pairs(values),
    }


def _warn(changed: dict[str, Any]) -> None:
    """Tell what the hub says of a task that was created or changed."""
    for each in changed.get("warnings", ()):
        click.echo(f"warning: {shown(each)}", err=True)


@task.command(name="list")
@click.option(
    "--status", multiple=True, help="Only tasks with this status; several times for several."
)
@click.option(
    "--text", default="", help="Only tasks with this in description, id, source or destination."
)
@click.option("--page", default=1, show_default=True, type=click.IntRange(1))
@click.option("--count", default=20, show_default=True, type=click.IntRange(1, 100))
@output_format
@hub_options
def list_(
    status: tuple[str, ...], text: str, page: int, count: int, output: Output, hub: Connect
) -> int:
    """List tasks, newest first."""
    found = hub().call(
        f"""query ($statuses: [TaskProgress!], $text: String, $page: Int, $count: Int) {{
            listTasksV2(statuses: $statuses, text: $text, page: $page, count: $count) {{ total items {{ {FIELDS} }} }}
        }}""",
        {"statuses": [each.upper() for each in status], "text": text, "page": page, "count": count},
    )["listTasksV2"]
    if not output.for_people:
        output.print(found)
        return 0
    head = (
        "ID",
        "DESCRIPTION",
        "STATUS",
        "DONE",
        "LAST RUN",
        "NEXT RUN",
        "SOURCE",
        "DESTINATION",
        "REASON",
    )
    columns(head, [_row(each) for each in found["items"]])
    click.echo(f"{len(found['items'])} of {counted(found['total'], 'task')}", err=True)
    return 0


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    last = each["lastRun"]
    why = each["reason"] or each["waitsFor"] or ""
    return (
        each["id"][:SHORT],
        shown(each["description"] or ""),
        each["phase"],
        _done(each),
        f"{when(last['endedAt'])} {last['result'].lower()}" if last else "",
        when(each["nextRunAt"]),
        shown(each["source"]),
        shown(each["destination"]),
        shown(why),
    )


def _done(each: dict[str, Any]) -> str:
    """The objects of the latest run. Without any, only a run that ended well found nothing new."""
    info, last = each["progressInfo"], each["lastRun"]
    if info["objects"]:
        failed = f" failed {info['failed']:.0f}" if info["failed"] else ""
        return f"{info['doneObjects']:.0f}/{info['objects']:.0f}{failed}"
    if not last or info["listing"]:
        return ""
    return {"DONE": "nothing new", "EMPTY": "nothing found"}.get(last["result"], "")


@task.command()
@click.argument("id")
@output_format
@hub_options
def show(id: str, output: Output, hub: Connect) -> int:
    """Show a task: its state, its parameters, its last runs, what failed."""
    client = hub()
    found = client.call(
        f"""query ($id: ID!) {{
            getTask(id: $id) {{ {FIELDS} spent }}
            listRuns(id: $id, count: 5) {{ id kind state startedAt endedAt error notes
                counts {{ {COUNTED} {VERIFIED} }} }}
            failureGroups(id: $id) {{ reason count more detail keys advice }}
        }}""",
        {"id": find(client, id)},
    )
    if not output.for_people:
        output.print(found)
        return 0
    shown_task, info = found["getTask"], found["getTask"]["progressInfo"]
    rows = [
        (name, shown(str(shown_task[name])))
        for name in (
            "id",
            "description",
            "progress",
            "phase",
            "reason",
            "source",
            "destination",
            "schedule",
            "scheduleTimeZone",
            "nextRunAt",
        )
        if shown_task[name]
    ]
    rows.append(
        (
            shown_task["things"],
            f"{info['doneObjects']:.0f} of {info['objects']:.0f}, {info['failed']:.0f} failed",
        )
    )
    rows.append(("bytes", _bytes(info)))
    if last := shown_task["lastRun"]:
        took = clock(last["seconds"])
        rows.append(
            ("last run", f"{last['id']}, {last['result'].lower()}, {last['endedAt']}, took {took}")
        )
    rows += [
        (name, shown(value))
        for name, value in (("waits for", shown_task["waitsFor"]), ("note", info["note"]))
        if value
    ]
    spent = shown_task["spent"]
    rows.append(("estimated cost", "no prices are known" if spent is None else f"${spent:.4f}"))
    table(rows)
    click.echo("parameters")
    table(
        [(pair["ParameterKey"], shown(pair["ParameterValue"])) for pair in shown_task["parameters"]]
    )
    for run in found["listRuns"]:
        counts = " ".join(f"{name} {int(run['counts'][name])}" for name in COUNTED.split())
        click.echo(f"run {run['id']} ({run['kind']}, {run['state']}, {run['startedAt']}): {counts}")
        for line in _verified(shown_task["type"], run["counts"]):
            click.echo(f"  {line}")
        for note in [*run["notes"], *([run["error"]] if run["error"] else [])]:
            click.echo(f"  {shown(note)}")
    for group in found["failureGroups"]:
        click.echo(f"failed, {how_many(group)}x {group['reason']}: {shown(group['detail'])}")
        click.echo(f"  for example {', '.join(shown(key) for key in group['keys'])}")
        click.echo(f"  {group['advice']}")
    return 0


@task.command()
@click.argument("id")
@hub_options
def watch(id: str, hub: Connect) -> int:
    """Follow a task until it is done, stopped, paused or in error. Exit code 1 if something
    failed."""
    client = hub()
    return follow(client, find(client, id))


def follow(
    client: HubClient,
    id: str,
    *,
    quiet: bool = False,
    before: Sequence[dict[str, Any]] | None = None,
) -> int:
    """Show the progress of a task until it is over, or until the run that follows the runs `before`
    has ended. Returns the exit code."""
    tick = TICK if sys.stderr.isatty() else PLAIN_TICK
    said_at, said = 0.0, ""
    while True:
        with meanwhile(id):
            found = get(client, id)
            ended = _ended(runs_of(client, id), before) if before is not None else []
        over = found["progress"] in OVER or bool(ended)
        line = _line(found, over=over)
        if quiet:
            pass
        elif sys.stderr.isatty():
            click.echo(f"\r\x1b[K{line}", nl=over, err=True)
        elif (line != said and time.monotonic() - said_at >= tick) or over:
            click.echo(line, err=True)
            said_at, said = time.monotonic(), line
        if over:
            if found["progress"] in OVER:
                return conclude(found)
            return max(_conclude_run(found, run) for run in ended)
        time.sleep(TICK)


@contextlib.contextmanager
def meanwhile(id: str) -> Iterator[None]:
    """Where a command waits for a task: an error ends the wait, and the task may continue without
    the command."""
    try:
        yield
    except NotFound:
        raise HubError(f"task {id} was deleted meanwhile") from None
    except HubError as error:
        raise HubError(f"{error}; to continue watching: dth task watch {id}") from None


def get(client: HubClient, id: str) -> dict[str, Any]:
    answer = client.call(f"query ($id: ID!) {{ getTask(id: $id) {{ {FIELDS} }} }}", {"id": id})
    return dict(answer["getTask"])


def last_run(client: HubClient, id: str) -> str:
    """What the last run did; "" for a run that did nothing, because it failed before."""
    found = client.call(
        f"""query ($id: ID!) {{ getTask(id: $id) {{ type }} listRuns(id: $id, count: 1) {{
        error notes counts {{ listed same done done_bytes failed {VERIFIED} }} }} }}""",
        {"id": id},
    )
    if not found["listRuns"]:
        return "no run"
    counts = found["listRuns"][0]["counts"]
    if found["listRuns"][0]["error"] and not counts["listed"]:
        return ""
    line = (
        f"{counts['listed']:.0f} listed, {counts['same']:.0f} same, {counts['done']:.0f} "
        f"transferred ({amount(counts['done_bytes'])}), {counts['failed']:.0f} failed"
    )
    notes = [f"note: {shown(note)}" for note in found["listRuns"][0]["notes"]]
    return "\n  ".join([line, *_verified(found["getTask"]["type"], counts), *notes])


def _verified(kind: str, counts: dict[str, float]) -> list[str]:
    """How the copies of a run were verified, and what they lack. Images are copied by digest, and
    count none of it."""
    if not verifies(kind):
        return []
    known = Counts(**{name: int(counts[name]) for name in ("done", *VERIFIED.split())})
    lines = [verified_words(known.by_verification)]
    if known.incomplete:
        lines.append(f"{known.incomplete} {INCOMPLETE}; their records say which")
    return [line for line in lines if line]


def runs_of(client: HubClient, id: str) -> list[dict[str, Any]]:
    """The newest runs that copied or tried again, not those that follow events; newest first."""
    query = (
        "query ($id: ID!) { listRuns(id: $id, count: 10) { id kind endedAt error counts { "
        "failed } } }"
    )
    runs = client.call(query, {"id": id})["listRuns"]
    return [run for run in runs if run["kind"] != "events"]


def _ended(
    runs: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The run that follows the runs `before`, and those of them that had not ended then: it counts
    their objects as pending, so its result depends on them. Empty until all have ended."""
    newest = max((run["id"] for run in before), default=0)
    first = min((run["id"] for run in runs if run["id"] > newest), default=None)
    if first is None:
        return []
    known = {run["id"] for run in before if run["endedAt"]}
    chosen = [run for run in runs if run["id"] <= first and run["id"] not in known]
    return chosen if all(run["endedAt"] for run in chosen) else []


def _conclude_run(found: dict[str, Any], run: dict[str, Any]) -> int:
    """As `conclude`, for one run of a task that continues."""
    if not run["error"] and not run["counts"]["failed"]:
        return 0
    why = (
        shown(run["error"])
        or f"{counted(run['counts']['failed'], found['things'].removesuffix('s'))} failed"
    )
    click.echo(f"dth: run {run['id']}: {why}; dth task failures {found['id']} says more", err=True)
    return 1


def conclude(found: dict[str, Any]) -> int:
    """Say why a task that is over did not end well; its exit code."""
    info, progress = found["progressInfo"], found["progress"]
    if found["reason"] or progress in ("PAUSED", "STOPPED"):
        why = f": {shown(found['reason'])}" if found["reason"] else ""
        then = f"; then: dth task resume {found['id']}" if progress != "ERROR" else ""
        click.echo(f"dth: {progress}{why}{then}", err=True)
    elif info["failed"]:
        many = counted(info["failed"], found["things"].removesuffix("s"))
        click.echo(f"dth: {many} failed; dth task failures {found['id']} says why", err=True)
    elif info["state"] == RunActivity.EMPTY and _starts(found) and progress == "DONE":
        # An empty bucket is not a mistake. A prefix without keys is one, as for a local sync.
        click.echo(f"dth: {NOTHING_FOUND} below the prefix", err=True)
        return 1
    return 0 if progress == "DONE" and not info["failed"] else 1


def _starts(found: dict[str, Any]) -> bool:
    """Whether the task copies only what begins with a prefix."""
    return any(
        each["ParameterKey"] == "srcPrefix" and each["ParameterValue"]
        for each in found["parameters"]
    )


def _line(found: dict[str, Any], *, over: bool) -> str:
    """How the task stands. Why it is `over` is said after it."""
    info = found["progressInfo"]
    words = [
        found["phase"].lower(),
        f"{info['doneObjects']:.0f}/{info['objects']:.0f} {found['things']}",
    ]
    if info["totalBytes"]:
        words.append(_bytes(info))
    if info["rate"]:
        words.append(f"{amount(info['rate'])}/s")
    if info["failed"]:
        words.append(f"failed {info['failed']:.0f}")
    if info["eta"] is not None:
        words.append(f"ETA {clock(info['eta'])}")
    why = [each for each in (found["waitsFor"] or info["note"], found["reason"]) if each]
    words += [shown(each) for each in dict.fromkeys(why) if not over]
    return ", ".join(words)


def _bytes(info: dict[str, Any]) -> str:
    """How much of how much. While a run is being listed nobody knows the whole."""
    done, whole = info["doneBytes"], info["totalBytes"]
    part = f" ({info['percent']}%)" if info["percent"] is not None and not info["listing"] else ""
    return f"{amount(done)} of {amount(whole)}{part}"


# ------------------------------------------------------------------------------------------ changes


def _simple(name: str, operation: str, help: str, *, watched: bool = False) -> None:
    """A command that calls one mutation with an id. `watched`: it may wait for the end of what it
    begins."""

    def command(id: str, hub: Connect, watch_it: bool = False) -> int:
        client = hub()
        task_id = find(client, id)
        before = runs_of(client, task_id) if watch_it else []
        change(client, operation, task_id)
        return follow(client, task_id, before=before) if watch_it else 0

    if watched:
        command = watch_option(command)
    task.command(name=name, help=help)(click.argument("id")(hub_options(command)))


def watch_option(command: Any) -> Any:
    return click.option(
        "--watch", "--wait", "watch_it", is_flag=True, help="Wait for the end of the run."
    )(command)


def change(client: HubClient, operation: str, id: str) -> None:
    """Call a mutation that takes an id and answers the task, and print how the task stands then."""
    done = client.call(
        f"mutation ($id: ID!) {{ {operation}(id: $id) {{ id progress }} }}", {"id": id}
    )[operation]
    click.echo(f"{done['id']} {done['progress']}")


_simple("pause", "pauseTask", "Pause a task: what is in progress is finished, nothing new begins.")
_simple("resume", "resumeTask", "Continue after a pause, a stop or an error.", watched=True)
_simple("run", "startRun", "Compare and copy now, whatever the schedule says.", watched=True)


@task.command()
@click.argument("id")
@click.option(
    "--wait", is_flag=True, help="Stop it first if it runs, and wait until it has stopped."
)
@hub_options
def delete(id: str, wait: bool, hub: Connect) -> int:
    """Forget a task that has ended; what it copied stays."""
    client = hub()
    task_id = find(client, id)
    if wait and get(client, task_id)["progress"] not in ENDED:
        _stop(client, task_id, wait=True)
    client.call("mutation ($id: ID!) { deleteTask(id: $id) { id } }", {"id": task_id})
    click.echo(f"{task_id} deleted")
    return 0


@task.command()
@click.argument("id")
@click.option("--wait", is_flag=True, help="Wait until it has stopped.")
@hub_options
def stop(id: str, wait: bool, hub: Connect) -> int:
    """End a task: uploads are discarded, nothing begins any more."""
    client = hub()
    _stop(client, find(client, id), wait=wait)
    return 0


def _stop(client: HubClient, id: str, *, wait: bool) -> None:
    progress = client.call("mutation ($id: String) { stopTask(id: $id) { progress } }", {"id": id})[
        "stopTask"
    ]["progress"]
    while wait and progress == "STOPPING":
        time.sleep(TICK)
        with meanwhile(id):
            progress = get(client, id)["progress"]
    click.echo(f"{id} {progress}")
    if wait and progress not in ENDED:
        raise HubError(f"task {id} was started again meanwhile")


@task.command()
@click.argument("id")
@click.option("--reason", default="", help="Only what failed for this reason.")
@click.option("--key", "keys", multiple=True, help="Only this object; several times for several.")
@watch_option
@hub_options
def retry(id: str, reason: str, keys: tuple[str, ...], watch_it: bool, hub: Connect) -> int:
    """Try again what failed."""
    client = hub()
    task_id = find(client, id)
    groups = client.call("query ($id: ID!) { failureGroups(id: $id) { reason } }", {"id": task_id})[
        "failureGroups"
    ]
    if not groups or (reason and reason not in {each["reason"] for each in groups}):
        what = f" for the reason {reason!r}" if reason else ""
        click.echo(
            f"no object has failed{what}, so there is nothing to retry; to run the whole task "
            "again: dth task run",
            err=True,
        )
        return 0
    before = runs_of(client, task_id) if watch_it else []
    done = client.call(
        """mutation ($id: ID!, $keys: [String!], $reason: String) {
            retryFailed(id: $id, keys: $keys, reason: $reason) { id progress } }""",
        {"id": task_id, "keys": list(keys) or None, "reason": reason or None},
    )["retryFailed"]
    click.echo(f"{done['id']} {done['progress']}")
    return follow(client, task_id, before=before) if watch_it else 0


@task.command()
@click.argument("id")
@click.argument("parameters", nargs=-1, metavar="NAME=VALUE...")
@click.option("--description", default=None)
@hub_options
def edit(id: str, parameters: tuple[str, ...], description: str | None, hub: Connect) -> int:
    """Change parameters of a task; NAME= takes one away."""
    if not parameters and description is None:
        raise UsageError("nothing to change: give NAME=VALUE or --description")
    changes = {"parameters": _pairs(_given(parameters)), "description": description}
    client = hub()
    done = client.call(
        (
            "mutation ($id: ID!, $input: EditTaskInput!) { editTask(id: $id, input: $input) { id "
            "progress warnings } }"
        ),
        {"id": find(client, id), "input": changes},
    )["editTask"]
    _warn(done)
    click.echo(f"{done['id']} {done['progress']}")
    return 0


@task.command()
@click.argument("id")
@click.argument("parameters", nargs=-1, metavar="NAME=VALUE...")
@click.option("--description", default=None)
@hub_options
def clone(id: str, parameters: tuple[str, ...], description: str | None, hub: Connect) -> int:
    """Create a task like another one, with changes."""
    changes = {"parameters": _pairs(_given(parameters)), "description": description}
    client = hub()
    made = client.call(
        (
            "mutation ($id: ID!, $input: EditTaskInput) { cloneTask(id: $id, input: $input) { id "
            "warnings } }"
        ),
        {"id": find(client, id), "input": changes},
    )["cloneTask"]
    _warn(made)
    click.echo(made["id"])
    return 0


@task.command()
@click.argument("id")
@click.argument("run", type=int)
@hub_options
def certificate(id: str, run: int, hub: Connect) -> int:
    """Print the signed certificate of a run that is done, for dth verify-certificate."""
    client = hub()
    task_id = find(client, id)
    begun = client.call(
        "mutation ($id: ID!, $run: Int!) { certify(id: $id, run: $run) { id } }",
        {"id": task_id, "run": run},
    )["certify"]
    asking = (
        "query ($id: ID!) { getJob(id: $id) { state error result } hubInfo { certificateKey } }"
    )
    pause = FIRST_LOOK
    while (found := client.call(asking, {"id": begun["id"]}))["getJob"]["state"] == "RUNNING":
        time.sleep(pause)
        pause = min(TICK, 2 * pause)
    if found["getJob"]["state"] == "FAILED":
        raise HubError(found["getJob"]["error"])
    click.echo(json.dumps(json.loads(found["getJob"]["result"])["certificate"]))
    click.echo(f"public key: {found['hubInfo']['certificateKey']}", err=True)
    return 0


# --------------------------------------------------------------------------------------- task files


@task.command()
@click.argument("id")
@hub_options
def export(id: str, hub: Connect) -> int:
    """Print a task as a file for dth task apply."""
    client = hub()
    task_id = find(client, id)
    text = client.call("query ($id: ID!) { exportTask(id: $id) }", {"id": task_id})["exportTask"]
    click.echo(
        yaml.safe_dump({"id": task_id, **json.loads(text)}, sort_keys=False, allow_unicode=True),
        nl=False,
    )
    return 0


@task.command()
@click.option(
    "-f", "--file", "path", required=True, metavar="FILE", help="YAML or JSON; - reads stdin."
)
@hub_options
def apply(path: str, hub: Connect) -> int:
    """Create or update tasks from a file: one task, a list of them, or several YAML documents.

    A task with an id that the hub knows is updated, one with another id is created under it.
    """
    client = hub()
    for wanted in read_tasks(_text(path), path):
        before = _existing(client, wanted.get("id", ""))
        if before is None:
            made = client.call(
                "mutation ($input: CreateTaskInput!) { createTask(input: $input) { id warnings } }",
                {"input": wanted},
            )["createTask"]
            _warn(made)
            click.echo(f"{made['id']} created")
            continue
        gone = {
            name: ""
            for name in before
            if name not in {p["ParameterKey"] for p in wanted["parameters"]}
        }
        changes: dict[str, Any] = {"parameters": [*_pairs(gone), *wanted["parameters"]]}
        changes |= {
            name: wanted[name] for name in ("description", "scheduleType") if name in wanted
        }
        edited = client.call(
            (
                "mutation ($id: ID!, $input: EditTaskInput!) { editTask(id: $id, input: $input) { "
                "warnings } }"
            ),
            {"id": wanted["id"], "input": changes},
        )["editTask"]
        _warn(edited)
        click.echo(f"{wanted['id']} updated")
    return 0


def _text(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read: {getattr(error, 'strerror', '') or error}"
        ) from None


def read_tasks(text: str, name: str) -> list[dict[str, Any]]:
    """The tasks of a file, as `CreateTaskInput`. Raises UsageError that names the file and what is
    wrong."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise UsageError(
            f"{name} is neither YAML nor JSON: {' '.join(str(error).split())}"
        ) from None
    found = [
        each
        for document in documents
        for each in (document if isinstance(document, list) else [document])
    ]
    if not found:
        raise UsageError(f"{name} holds no task")
    return [_read_task(each, f"{name}, task {number}") for number, each in enumerate(found, 1)]


def _read_task(each: Any, where: str) -> dict[str, Any]:
    if not isinstance(each, dict) or not isinstance(each.get("parameters"), dict):
        raise UsageError(f"{where}: a task has a type and parameters (NAME: VALUE)")
    unknown = set(each) - {"id", "type", "description", "scheduleType", "parameters"}
    if unknown:
        raise UsageError(f"{where}: there is no {min(map(str, unknown))!r}")
    values = {str(name): as_text(value) for name, value in each["parameters"].items()}
    return {"type": "S3EC2", **each, "parameters": _pairs(values)}


def of_command(parameters: TaskParameters, **more: object) -> dict[str, str]:
    """The parameters of a command, as a task of a hub has them. `more`: those that are said even
    where they are the default."""
    values = parameters.model_dump(mode="json", by_alias=True, exclude_defaults=True) | more
    return {name: as_text(value) for name, value in values.items() if value is not None}


def as_text(value: Any) -> str:
    """A parameter's value as tasks have it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return json.dumps(value)
    return "" if value is None else str(value)


def _existing(client: HubClient, id: str) -> dict[str, str] | None:
    """The parameters of a task that the hub knows."""
    if not id:
        return None
    try:
        found = get(client, id)
    except NotFound:
        return None
    return {pair["ParameterKey"]: pair["ParameterValue"] for pair in found["parameters"]}


def _given(words: tuple[str, ...]) -> dict[str, str]:
    values = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{word!r}: write NAME=VALUE, such as srcBucket=photos")
        values[name] = value
    return values


def _pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]
