"""`dth s3`: the group of commands for objects; sync."""

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from dth.cli import start
from dth.cli.database import database_option
from dth.cli.display import (
    INCOMPLETE,
    amount,
    counted,
    failure_lines,
    result,
    shown,
    table,
    verified_words,
)
from dth.cli.filter_rules import OrderedPatterns, filter_rules_option, read_filters
from dth.cli.lazy import LazyGroup
from dth.cli.manifest import STDIN, keep_stdin
from dth.cli.options import task_options
from dth.cli.output import Output
from dth.cli.report import Row, check_report, write_report
from dth.cli.running import (
    Telling,
    interrupted,
    interrupted_shared,
    output_options,
    run_on_hub,
    run_work,
    telling_options,
    watch,
)
from dth.cli.s3_aim import aimed, aimed_by_hub
from dth.cli.s3_options import PLACE, build_parameters, key_file_options, parse_url
from dth.cli.state import default_state, state_commands
from dth.compose.local import process
from dth.core.config import secrets_directory
from dth.core.errors import HubError, UsageError
from dth.core.ports.records import Record
from dth.core.ports.runs import Counts
from dth.core.ports.status import Status
from dth.core.transport import Transport
from dth.objects import processes
from dth.objects.compare.comparison import NOT_FOUND, Comparison
from dth.objects.finder import refuse_deletes
from dth.objects.listing.filters import contradiction
from dth.objects.listing.lookup import NOTHING_BELOW
from dth.objects.parameters import DeleteMode, S3Parameters
from dth.objects.plugin import PLUGIN
from dth.objects.store.credentials import KEY_FILE, FileSecrets
from dth.objects.store.folders.paths import is_folder
from dth.objects.task import object_filter, shared_rates
from dth.objects.transfer.relay import ObjectRoute
from dth.platforms.local.foreground import Foreground, open_foreground
from dth.platforms.local.fork_server import ForkServer
from dth.platforms.local.supervisor import Snapshot

SHOWN_FAILURES = 100
IDENTITY = ("srcBucket", "srcPrefix", "srcEndpoint", "destBucket", "destPrefix", "destEndpoint")


COMMANDS = {
    "compare": "dth.cli.s3_compare:compare",
    "cp": "dth.cli.s3_cp:cp",
    "diff": "dth.cli.s3_diff:diff",
    "du": "dth.cli.s3_look:du",
    "limits": "dth.cli.limits:limits",
    "ls": "dth.cli.s3_look:list_",
    "mb": "dth.cli.s3_change:make_bucket",
    "rm": "dth.cli.s3_change:remove",
    "stat": "dth.cli.s3_look:stat",
}


@click.group(cls=LazyGroup, modules=COMMANDS)
def s3() -> None:
    """Objects between S3-compatible stores."""


# --------------------------------------------------------------------------------------------- sync


@s3.command(cls=OrderedPatterns)
@click.argument("src", type=PLACE)
@click.argument("dst", type=PLACE)
@task_options(S3Parameters)
@filter_rules_option
@key_file_options("src", "dst")
@output_options
@telling_options(sides=True)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="Keep the state here: resumable, and records for later runs.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done; write nothing.")
@click.option(
    "--hub",
    "hub_url",
    metavar="URL",
    help="Let this hub do it, as a one-time task, and watch it to the end.",
)
@database_option("Keep the state in this PostgreSQL; machines with dth worker help.")
def sync(
    src: str,
    dst: str,
    output: Output,
    report: Path | None,
    telling: Telling,
    state: Path | None,
    dry_run: bool,
    hub_url: str | None,
    database: str | None,
    **given: Any,
) -> int:
    """Copy what is missing or different from SRC to DST.

    Each is s3://bucket/prefix or a folder of this machine (./folder, /folder, ~/folder). Where SRC
    is the key of an object or a file, that one is copied into DST. An interrupted sync resumes
    where it was when the same command is given again.

    With --database, any number of machines share the work: start dth worker on them.
    """
    parameters = pair(src, dst, given)
    if report:
        check_report(report)
    if dry_run and (report or state):
        raise UsageError(
            "--dry-run writes nothing: leave out --report and --state, or use dth s3 diff --report"
        )
    if database:
        _check_shared(parameters, state, hub_url)
    if hub_url:
        if KEY_FILE in (parameters.src_sse_customer_key[:5], parameters.dest_sse_customer_key[:5]):
            raise UsageError(
                "--hub takes customer keys from its secrets: give --src-sse-c-secret, "
                "--dst-sse-c-secret"
            )
        if dry_run or state:
            raise UsageError("--hub keeps its own state: leave out --dry-run and --state")
        if parameters.src_manifest == STDIN:
            raise UsageError(
                "--manifest -: a hub cannot read what this command is given; put it into a bucket"
            )
        from dth.cli.hub import connect

        parameters = aimed_by_hub(
            parameters, src, connect(hub_url, None), quiet=not output.for_people or telling.quiet
        )
        return run_on_hub(
            hub_url,
            PLUGIN.type,
            parameters,
            "dth s3 sync",
            output=output,
            report=report,
            destKeepsSrcPrefix=False,
        )
    with keep_stdin(parameters) as parameters:
        parameters = start.settled(parameters, verbose=telling.sides)
        if dry_run:
            return run_work(_dry_run(parameters, src, output))
        processes.load(parameters, FileSecrets(secrets_directory()))
        directory = state or default_state(PLUGIN.type, parameters, given)
        telling = telling.without_progress() if not output.for_people else telling
        with contextlib.ExitStack() as stack:
            if database:
                place = _in_database(stack, database, directory.name)
            else:
                place = _in_directory(stack, directory, asked_for=state is not None)
            return run_work(_sync(parameters, src, place, report, output=output, telling=telling))


@dataclass(frozen=True, slots=True)
class _SyncSide:
    """Where the state of a sync is. `asked_for`: the user named it, and it is kept."""

    shown: str
    opening: Callable[[S3Parameters], AbstractAsyncContextManager[Foreground]]
    interrupted: Callable[[], int]
    asked_for: bool = False


def _in_directory(stack: contextlib.ExitStack, state: Path, *, asked_for: bool) -> _SyncSide:
    fork_server = stack.enter_context(ForkServer(partial(process.run, find=process.only(PLUGIN))))

    def opening(parameters: S3Parameters) -> AbstractAsyncContextManager[Foreground]:
        task = _as_task(parameters)
        return open_foreground(
            task,
            {name: task[name] for name in IDENTITY},
            state,
            parameters.max_capacity,
            fork_server,
            shared_rates(parameters),
            asked_for=asked_for,
        )

    return _SyncSide(str(state), opening, partial(interrupted, state), asked_for)


def _in_database(stack: contextlib.ExitStack, address: str, task: str) -> _SyncSide:
    from dth.compose.postgres import start_fork_server
    from dth.compose.postgres.foreground import Place, open_shared
    from dth.platforms.postgres.address import shown as shown_address
    from dth.platforms.postgres.machines import new_name

    machine, where = new_name(), shown_address(address)
    fork_server = stack.enter_context(start_fork_server(address, machine, process.only(PLUGIN)))

    def opening(parameters: S3Parameters) -> AbstractAsyncContextManager[Foreground]:
        return open_shared(
            Place(address, task, machine),
            PLUGIN.type,
            _as_task(parameters),
            parameters.max_capacity,
            fork_server,
            shared_rates(parameters),
        )

    return _SyncSide(where, opening, partial(interrupted_shared, where))


def _as_task(parameters: S3Parameters) -> dict[str, Any]:
    """The parameters as processes read them. The command gives every value it means, so defaults
    made for tasks (storage class, ACL) must not come back."""
    return parameters.model_dump(mode="json", by_alias=True)


def _check_shared(parameters: S3Parameters, state: Path | None, hub_url: str | None) -> None:
    """Raises UsageError for what cannot be shared with other machines."""
    if state or hub_url:
        raise UsageError("--database keeps the state itself: leave out --state and --hub")
    for bucket in (parameters.src_bucket, parameters.dest_bucket):
        if is_folder(bucket):
            raise UsageError(f"--database: other machines do not have the folder {bucket}")


async def _sync(
    parameters: S3Parameters,
    src: str,
    place: _SyncSide,
    report: Path | None,
    *,
    output: Output,
    telling: Telling,
) -> int:
    await _check(parameters)
    parameters = await aimed(parameters, src, quiet=telling.quiet)
    try:
        async with place.opening(parameters) as foreground:
            if foreground.resumed and not telling.quiet:
                click.echo(f"resuming run {foreground.run} ({place.shown})", err=True)
            snapshot = await watch(foreground, telling)
            code = await _conclude(foreground, snapshot, report, parameters, output=output)
            # Of a mistyped prefix there is nothing to resume.
            begun = snapshot.run.counts.listed or foreground.resumed or foreground.unsettled
            foreground.keep = place.asked_for or bool(code and begun)
    except asyncio.CancelledError:
        return place.interrupted()
    return code


async def _conclude(
    foreground: Foreground,
    snapshot: Snapshot,
    report: Path | None,
    parameters: S3Parameters,
    *,
    output: Output,
) -> int:
    """Say what became of the run, and whether it is a success."""
    run = snapshot.run
    late = await _late_failures(foreground)
    counts = replace(run.counts, failed=run.counts.failed + len(late))
    seconds = time.monotonic() - foreground.started
    not_found = await _not_found(foreground, parameters)
    error = run.error or (f"stopped: {snapshot.paused}" if snapshot.paused else "")
    error = error or _nothing(counts.listed, not_found, run.notes)
    failures = [*late, *await _failures(foreground, run.id)][:SHOWN_FAILURES]
    if report:
        try:
            await write_report(report, _record_rows(foreground, run.id))
        except HubError as problem:
            error = error or str(problem)
    guarded = (
        parameters.delete_mode is DeleteMode.MIRROR
        and counts.extra > 0
        and counts.delete_enqueued == 0
    )
    good = (
        snapshot.finished
        and not counts.failed
        and not counts.delete_failed
        and not error
        and not guarded
    )
    if not output.for_people:
        listed = [
            {"key": r.key, "class": r.status.value, "code": r.reason, "reason": r.detail}
            for r in failures
        ]
        more = {
            "notes": run.notes,
            "error": error,
            "failures": listed,
            "resumed": foreground.resumed,
            "not_found": not_found,
            "verified": counts.by_verification,
            "incomplete": counts.incomplete,
        }
        output.print(result(counts, seconds, more))
        return 0 if good else 1
    click.echo(
        f"{counts.listed} listed, {counts.same} same, {counts.done} transferred "
        f"({amount(counts.done_bytes)}), {counts.failed} failed in {seconds:.1f} s "
        f"({counts.done / seconds:.0f} objects/s, {amount(counts.done_bytes / seconds)}/s)"
    )
    if verified := verified_words(counts.by_verification):
        click.echo(f"  {verified}")
    for name, value in _remarkable(replace(counts, cancelled=counts.cancelled - not_found)):
        click.echo(f"  {value} {name}")
    for note in run.notes:
        click.echo(f"  note: {note}")
    for line in failure_lines(failures):
        click.echo(line)
    if counts.failed > len(failures):
        click.echo(f"  and {counts.failed - len(failures)} more; --report FILE.csv writes all")
    if error:
        click.echo(f"dth: {error}", err=True)
    if snapshot.paused:
        click.echo(
            "dth: nothing is lost; mend this and run the same command again to resume", err=True
        )
    return 0 if good else 1


def _nothing(listed: int, not_found: int, notes: list[str]) -> str:
    """Why the run is not a success though nothing failed: there was nothing, where something must
    have been meant."""
    if 0 < listed == not_found:
        return f"not found: none of the {listed} keys that the list names exists at the source"
    # A bucket may be empty; a prefix that no key has is a mistake.
    missing = [
        note for note in notes if note.startswith(NOTHING_BELOW) and not note.endswith("is empty")
    ]
    return "nothing was found at the source" if not listed and missing else ""


async def _not_found(foreground: Foreground, parameters: S3Parameters) -> int:
    """How many objects the list names that the source has not."""
    if not (parameters.src_manifest or parameters.src_inventory):
        return 0
    gone = foreground.platform.records.scan(run=foreground.run, status=Status.CANCELLED)
    return sum([record.reason == NOT_FOUND async for record in gone])


def _remarkable(counts: Counts) -> list[tuple[str, int]]:
    rows = [
        (f"{INCOMPLETE}; --report names them", counts.incomplete),
        ("filtered", counts.filtered),
        ("same by time only, because their ETags cannot be compared", counts.unproven),
        ("archived; --restore asks for readable copies", counts.archived - counts.restores),
        ("restore requests accepted; run again when they are done", counts.restores),
        ("gone at the source before they were copied", counts.cancelled),
        ("still in flight from an earlier run", counts.pending),
        ("deleted", counts.deleted),
        ("not deleted: they exist at the source again", counts.delete_kept),
        ("could not be deleted", counts.delete_failed),
    ]
    return [(name, value) for name, value in rows if value > 0]


async def _late_failures(foreground: Foreground) -> list[Record]:
    """What failed only now of earlier runs that were broken off: no other command will tell of
    it."""
    return [
        record
        for run in foreground.unsettled
        async for record in foreground.platform.records.scan(run=run, status=Status.FAILED)
        if record.updated >= foreground.began
    ]


async def _failures(foreground: Foreground, run: int) -> list[Record]:
    failures: list[Record] = []
    async for record in foreground.platform.records.scan(run=run, status=Status.FAILED):
        failures.append(record)
        if len(failures) == SHOWN_FAILURES:
            break
    return failures


async def _record_rows(foreground: Foreground, run: int) -> AsyncIterator[Row]:
    async for r in foreground.platform.records.scan(run=run):
        yield (
            r.key,
            r.status.value,
            r.size,
            r.etag,
            r.dest_etag,
            r.proof,
            r.verified.value,
            r.attempts,
            r.reason,
            r.detail,
        )


s3.add_command(state_commands(PLUGIN.type, "dth s3 sync", shared=True))


# --------------------------------------------------------------------------------- dry run and diff


async def _dry_run(parameters: S3Parameters, src: str, output: Output) -> int:
    """What sync would do, with its requests and cost."""
    from dth.objects.forecast.estimate import estimate

    counts, size, biggest = Counts(), 0, 0
    parts = not_found = 0
    started = time.monotonic()
    parameters = await aimed(parameters, src, quiet=not output.for_people)
    async with compared(parameters) as (route, comparison):
        async for decided in comparison:
            add_counts(counts, decided.counts)
            not_found += len(decided.absent)
            counts.enqueued += len(decided.transfer)
            counts.failed += len(decided.refused)
            for pick in decided.transfer:
                size += max(0, pick.source.size)
                biggest += pick.source.size > parameters.multipart_threshold
                parts += max(0, pick.source.size) // parameters.part_size
                if output.for_people:
                    click.echo(
                        f"copy    {shown(pick.source.key)}  ({pick.verdict}, "
                        f"{amount(max(0, pick.source.size))})"
                    )
            for refused in decided.refused:
                click.echo(
                    f"refuse  {shown(refused.source.key)}  ({refused.detail})",
                    err=not output.for_people,
                )
            if parameters.delete_mode is DeleteMode.MIRROR and output.for_people:
                for entry in decided.extra:
                    click.echo(f"delete  {shown(entry.key)}")
        notes = list(comparison.notes)
        deletes = counts.extra if parameters.delete_mode is DeleteMode.MIRROR else 0
        if deletes and (refusal := refuse_deletes(counts, parameters.delete_max_percent)):
            notes.append(refusal)
            deletes = 0
        cost = estimate(
            route.source.endpoint, route.dest.endpoint, counts, size, biggest, parts, deletes
        )
    seconds = time.monotonic() - started
    error = _nothing(counts.listed, not_found, notes)
    if counts.failed and not error:
        error = f"{counted(counts.failed, 'object')} cannot be copied; a run would fail with them"
    if not output.for_people:
        more = {
            "dry_run": True,
            "not_found": not_found,
            "error": error,
            "would_transfer": counts.enqueued,
            "would_delete": deletes,
            "would_refuse": counts.failed,
            "would_move_bytes": size,
        }
        output.print(result(counts, seconds, more | {"notes": notes, "estimate": cost.as_dict()}))
        return 1 if error else 0
    click.echo(
        f"{counts.listed} listed, {counts.same} same, {counts.filtered} filtered, "
        f"{counts.archived} archived; would copy {counts.enqueued} ({amount(size)})"
        f"{f', refuse {counts.failed}' if counts.failed else ''} and delete {deletes}"
    )
    for note in notes:
        click.echo(f"  note: {note}")
    table(cost.rows())
    if error:
        click.echo(f"dth: {error}", err=True)
    return 1 if error else 0


# ------------------------------------------------------------------------------------------- common


def pair(src: str, dst: str, given: dict[str, Any]) -> S3Parameters:
    read_filters(given)
    src_bucket, src_prefix = parse_url(src, "SRC")
    dest_bucket, dest_prefix = parse_url(dst, "DST")
    parameters = build_parameters(
        given,
        src_bucket=src_bucket,
        src_prefix=src_prefix,
        dest_bucket=dest_bucket,
        dest_prefix=dest_prefix,
        dest_keeps_src_prefix=False,
    )
    if problem := contradiction(object_filter(parameters)):
        raise UsageError(problem)
    return parameters


async def _check(parameters: S3Parameters) -> None:
    """Open both sides once, so that what cannot be is said before any process starts."""
    async with _route(parameters) as route:
        if route.dest.endpoint.is_folder:
            _make_folder(parameters.dest_bucket)


def _make_folder(path: str) -> None:
    """Raises UsageError for a folder that nothing can be copied into."""
    try:
        os.makedirs(path, exist_ok=True)  # noqa: PTH103 - as the path was given
        # As a copy is written: only the attempt tells for all kinds of file systems and users.
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UsageError(
            f"destination: the folder {path} cannot be written: {error.strerror}"
        ) from None


@contextlib.asynccontextmanager
async def _route(parameters: S3Parameters) -> AsyncIterator[ObjectRoute]:
    with Transport() as transport:
        yield await start.open_route(parameters, transport, FileSecrets(secrets_directory()))


@contextlib.asynccontextmanager
async def compared(
    parameters: S3Parameters, sample: float = 100.0, *, names_same: bool = False
) -> AsyncIterator[tuple[ObjectRoute, Comparison]]:
    with tempfile.TemporaryDirectory(prefix="dth-") as workdir:
        async with _route(parameters) as route:
            yield (
                route,
                Comparison(route, Path(workdir), sample=sample, names_same=names_same),
            )


def add_counts(total: Counts, more: Counts) -> None:
    for name in Counts.__dataclass_fields__:
        setattr(total, name, getattr(total, name) + getattr(more, name))
