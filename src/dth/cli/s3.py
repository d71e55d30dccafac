"""`dth s3`: sync, diff, ls."""

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from dth.cli import start
from dth.cli.display import amount, failure_lines, result, shown, table
from dth.cli.options import build_parameters, key_file_options, parse_url, task_options
from dth.cli.report import Row, check_report, write_report
from dth.cli.running import output_options, run_on_hub, run_work, verbose_option, watch
from dth.config import secrets_directory
from dth.errors import HubError, UsageError
from dth.platforms.local import process, s3_roles
from dth.platforms.local.foreground import Foreground, default_state, discard, open_foreground
from dth.platforms.local.nursery import Nursery
from dth.platforms.local.supervisor import Snapshot
from dth.platforms.ports import Counts, Record, Status
from dth.s3.comparison import Comparison, Decided
from dth.s3.credentials import KEY_FILE, FileSecrets
from dth.s3.estimate import estimate
from dth.s3.finder import refuse_deletes
from dth.s3.listing import PrefixListing, pages
from dth.s3.parameters import DeleteMode, S3Parameters
from dth.s3.relay import Route
from dth.s3.transport import Transport

SHOWN_FAILURES = 100
NO_ACLS = "takes no ACLs"  # in the note of a run that had to write without
IDENTITY = ("srcBucket", "srcPrefix", "srcEndpoint", "destBucket", "destPrefix", "destEndpoint")


@click.group()
def s3() -> None:
    """Objects between S3-compatible stores."""


# ------------------------------------------------------------------------------------------------------- sync


@s3.command()
@click.argument("src")
@click.argument("dst")
@task_options()
@key_file_options("src", "dst")
@output_options
@verbose_option
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="Keep the state here: resumable, and records for later runs.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done; write nothing.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option(
    "--hub", "hub_url", metavar="URL", help="Let this hub do it, as a one-time task, and watch it to the end."
)
def sync(
    src: str,
    dst: str,
    as_json: bool,
    report: Path | None,
    verbose: bool,
    state: Path | None,
    dry_run: bool,
    quiet: bool,
    hub_url: str | None,
    **given: Any,
) -> int:
    """Copy what is missing or different from SRC to DST (s3://bucket/prefix).

    An interrupted sync goes on where it was when the same command is given again.
    """
    parameters = _pair(src, dst, given)
    if dry_run and (report or state):
        raise UsageError(
            "--dry-run writes nothing: leave out --report and --state, or use dth s3 diff --report"
        )
    if hub_url:
        if KEY_FILE in (parameters.src_sse_customer_key[:5], parameters.dest_sse_customer_key[:5]):
            raise UsageError(
                "--hub takes customer keys from its secrets: give --src-sse-c-secret, --dst-sse-c-secret"
            )
        if dry_run or report or state:
            raise UsageError(
                "--hub keeps state and records itself: leave out --dry-run, --report and --state"
            )
        return run_on_hub(
            hub_url, "S3EC2", parameters, "dth s3 sync", as_json=as_json, destKeepsSrcPrefix=False
        )
    if report:
        check_report(report)
    parameters = start.settled(parameters, verbose=verbose)
    if dry_run:
        return run_work(_dry_run(parameters, as_json))
    s3_roles.load(parameters)
    with Nursery(process.run) as nursery:
        return run_work(_sync(parameters, nursery, state, report, as_json=as_json, quiet=quiet or as_json))


async def _sync(
    parameters: S3Parameters,
    nursery: Nursery,
    state: Path | None,
    report: Path | None,
    *,
    as_json: bool,
    quiet: bool,
) -> int:
    await _check(parameters)
    # The command gives every value it means, so defaults made for tasks (storage class, ACL) must not come back.
    task = parameters.model_dump(mode="json", by_alias=True)
    identity = {name: task[name] for name in IDENTITY}
    directory = state or default_state(task)
    try:
        async with open_foreground(task, identity, directory, parameters.max_capacity, nursery) as foreground:
            if foreground.resumed and not quiet:
                click.echo(f"resuming run {foreground.run} ({directory})", err=True)
            snapshot = await watch(foreground, quiet=quiet)
            code = await _conclude(foreground, snapshot, report, parameters, as_json=as_json)
    except asyncio.CancelledError:
        click.echo(f"dth: interrupted; give the same command again to go on (state: {directory})", err=True)
        return 1
    if code == 0 and state is None:
        discard(directory)
    return code


async def _conclude(
    foreground: Foreground,
    snapshot: Snapshot,
    report: Path | None,
    parameters: S3Parameters,
    *,
    as_json: bool,
) -> int:
    """Say what became of the run, and whether it is a success."""
    run = snapshot.run
    late = await _late_failures(foreground)
    counts = replace(run.counts, failed=run.counts.failed + len(late))
    seconds = time.monotonic() - foreground.started
    error = run.error or (f"stopped: {snapshot.paused}" if snapshot.paused else "")
    if parameters.dest_acl and not error and (refusal := next((n for n in run.notes if NO_ACLS in n), "")):
        error = (
            f"the ACL that was asked for was not set: {refusal}"  # who asks for it must not find out later
        )
    failures = [*late, *await _failures(foreground, run.id)][:SHOWN_FAILURES]
    if report:
        try:
            await write_report(report, _record_rows(foreground, run.id))
        except HubError as problem:
            error = error or str(problem)
    guarded = parameters.delete_mode is DeleteMode.MIRROR and counts.extra > 0 and counts.delete_enqueued == 0
    good = snapshot.finished and not counts.failed and not counts.delete_failed and not error and not guarded
    if as_json:
        listed = [
            {"key": r.key, "class": r.status.value, "code": r.reason, "reason": r.detail} for r in failures
        ]
        more = {"notes": run.notes, "error": error, "failures": listed, "resumed": foreground.resumed}
        click.echo(json.dumps(result(counts, seconds, more)))
        return 0 if good else 1
    click.echo(
        f"{counts.listed} listed, {counts.same} same, {counts.done} transferred ({amount(counts.done_bytes)}), "
        f"{counts.failed} failed in {seconds:.1f} s"
        f" ({counts.done / seconds:.0f} objects/s, {amount(counts.done_bytes / seconds)}/s)"
    )
    for name, value in _remarkable(counts):
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
        click.echo("dth: nothing is lost; mend this and give the same command again to go on", err=True)
    return 0 if good else 1


def _remarkable(counts: Counts) -> list[tuple[str, int]]:
    rows = [
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
    """What failed only now of earlier runs that were broken off: no other command will tell of it."""
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
        yield (r.key, r.status.value, r.size, r.etag, r.dest_etag, r.proof, r.attempts, r.reason, r.detail)


# ------------------------------------------------------------------------------------------ dry run and diff


async def _dry_run(parameters: S3Parameters, as_json: bool) -> int:
    """What sync would do, with its requests and cost."""
    counts, size, biggest = Counts(), 0, 0
    parts = 0
    started = time.monotonic()
    async with _compared(parameters) as (_, comparison):
        async for decided in comparison:
            _add(counts, decided.counts)
            counts.enqueued += len(decided.transfer)
            counts.failed += len(decided.refused)
            for pick in decided.transfer:
                size += max(0, pick.source.size)
                biggest += pick.source.size > parameters.multipart_threshold
                parts += max(0, pick.source.size) // parameters.part_size
                if not as_json:
                    click.echo(
                        f"copy    {shown(pick.source.key)}  ({pick.verdict}, {amount(max(0, pick.source.size))})"
                    )
            for refused in decided.refused:
                click.echo(f"refuse  {shown(refused.source.key)}  ({refused.detail})", err=as_json)
            if parameters.delete_mode is DeleteMode.MIRROR and not as_json:
                for key in decided.extra:
                    click.echo(f"delete  {shown(key)}")
        notes = list(comparison.notes)
        deletes = counts.extra if parameters.delete_mode is DeleteMode.MIRROR else 0
        if deletes and (refusal := refuse_deletes(counts, parameters.delete_max_percent)):
            notes.append(refusal)
            deletes = 0
        cost = estimate(counts, size, biggest, parts, deletes)
    seconds = time.monotonic() - started
    if as_json:
        more = {
            "dry_run": True,
            "would_transfer": counts.enqueued,
            "would_delete": deletes,
            "would_move_bytes": size,
        }
        click.echo(json.dumps(result(counts, seconds, more | {"notes": notes, "estimate": cost.as_dict()})))
        return 0
    click.echo(
        f"{counts.listed} listed, {counts.same} same, {counts.filtered} filtered, {counts.archived} archived; "
        f"would copy {counts.enqueued} ({amount(size)}) and delete {deletes}"
    )
    for note in notes:
        click.echo(f"  note: {note}")
    table(cost.rows())
    return 0


@s3.command()
@click.argument("src")
@click.argument("dst")
@task_options()
@key_file_options("src", "dst")
@output_options
@verbose_option
def diff(src: str, dst: str, as_json: bool, report: Path | None, verbose: bool, **given: Any) -> int:
    """Compare SRC with DST and write nothing.

    Prints + for objects missing in DST, * for different ones, - for those only in DST, ! for those that could not be
    judged. Exit code 0: equal; 1: different; 2: could not tell.
    """
    parameters = _pair(src, dst, given)
    if report:
        check_report(report)
    parameters = start.settled(parameters, verbose=verbose)
    try:
        return run_work(_diff(parameters, report, as_json))
    except HubError as error:
        click.echo(f"dth: {error}", err=True)
        return 2


async def _diff(parameters: S3Parameters, report: Path | None, as_json: bool) -> int:
    counts = Counts()
    found = {"missing": 0, "different": 0, "extra": 0, "unknown": 0}
    started = time.monotonic()

    async def rows() -> AsyncIterator[Row]:
        async with _compared(parameters) as (_, comparison):
            async for decided in comparison:
                _add(counts, decided.counts)
                for sign, kind, key, size, etag, why in _differences(decided):
                    found[kind] += 1
                    if not as_json:
                        click.echo(f"{sign} {shown(key)}" + (f"  ({why})" if why else ""))
                    yield (key, kind, size, etag, "", "", 0, why, "")
            notes.extend(comparison.notes)

    notes: list[str] = []
    if report:
        await write_report(report, rows())
    else:
        async for _ in rows():
            pass
    different = found["missing"] + found["different"] + found["extra"]
    code = 1 if different else 2 if found["unknown"] or counts.archived else 0
    if as_json:
        click.echo(
            json.dumps(
                result(counts, time.monotonic() - started, {"notes": notes, **found, "equal": code == 0})
            )
        )
        return code
    click.echo(
        f"{counts.listed} listed, {counts.same} same, {found['missing']} missing, {found['different']} different, "
        f"{found['extra']} only in the destination"
    )
    if counts.unproven:
        click.echo(f"  {counts.unproven} of the same by time only; --compare checksum looks closer")
    if counts.archived:
        click.echo(f"  {counts.archived} archived at the source and missing or different in the destination")
    for note in notes:
        click.echo(f"  note: {note}")
    return code


def _differences(decided: Decided) -> list[tuple[str, str, str, int, str, str]]:
    found = []
    for pick in decided.transfer:
        missing = pick.dest is None
        sign, kind = ("+", "missing") if missing else ("*", "different")
        why = "" if missing else str(pick.verdict)
        found.append((sign, kind, pick.source.key, pick.source.size, pick.source.etag, why))
    found += [
        ("!", "unknown", refused.source.key, refused.source.size, "", refused.detail)
        for refused in decided.refused
    ]
    found += [("-", "extra", key, 0, "", "") for key in decided.extra]
    return found


# --------------------------------------------------------------------------------------------------------- ls


@s3.command(name="ls")
@click.argument("url")
@task_options(("source",))
@key_file_options("src")
@verbose_option
@click.option("-r", "--recursive", is_flag=True, help="All keys below the prefix instead of one level.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(url: str, recursive: bool, as_json: bool, verbose: bool, **given: Any) -> int:
    """List the objects of s3://bucket/prefix."""
    bucket, prefix = parse_url(url, "URL", folder=False)
    parameters = build_parameters(given, src_bucket=bucket, src_prefix=prefix)
    parameters = start.settled(parameters, ("source",), verbose=verbose)
    return run_work(_ls(parameters, recursive, as_json))


async def _ls(parameters: S3Parameters, recursive: bool, as_json: bool) -> int:
    objects = size = 0
    async with _transport() as transport:
        source = await start.open_source(parameters, transport, FileSecrets(secrets_directory()))
        name, delimiter = f"s3://{parameters.src_bucket}", "" if recursive else "/"
        listing = PrefixListing(source, parameters.src_prefix, name=name, delimiter=delimiter)
        async for page in pages(listing):
            for folder in page.prefixes:
                click.echo(json.dumps({"prefix": folder}) if as_json else f"{'PRE':>34}  {shown(folder)}")
            for entry in page.entries:
                objects, size = objects + 1, size + entry.size
                row = f"{entry.modified:19} {entry.size:>14}  {shown(entry.key)}"
                click.echo(json.dumps(entry._asdict()) if as_json else row)
    if not as_json:
        click.echo(f"{objects} objects, {amount(size)}", err=True)
    return 0


# ----------------------------------------------------------------------------------------------------- common


def _pair(src: str, dst: str, given: dict[str, Any]) -> S3Parameters:
    src_bucket, src_prefix = parse_url(src, "SRC")
    dest_bucket, dest_prefix = parse_url(dst, "DST")
    return build_parameters(
        given,
        src_bucket=src_bucket,
        src_prefix=src_prefix,
        dest_bucket=dest_bucket,
        dest_prefix=dest_prefix,
        dest_keeps_src_prefix=False,
    )


async def _check(parameters: S3Parameters) -> None:
    """Open both sides once, so that what cannot be is said before any process starts."""
    async with _route(parameters):
        pass


@contextlib.asynccontextmanager
async def _transport() -> AsyncIterator[Transport]:
    transport = Transport()
    try:
        yield transport
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def _route(parameters: S3Parameters) -> AsyncIterator[Route]:
    async with _transport() as transport:
        yield await start.open_route(parameters, transport, FileSecrets(secrets_directory()))


@contextlib.asynccontextmanager
async def _compared(parameters: S3Parameters) -> AsyncIterator[tuple[Route, Comparison]]:
    with tempfile.TemporaryDirectory(prefix="dth-") as workdir:
        async with _route(parameters) as route:
            yield route, Comparison(route, Path(workdir))


def _add(total: Counts, more: Counts) -> None:
    for name in Counts.__dataclass_fields__:
        setattr(total, name, getattr(total, name) + getattr(more, name))
