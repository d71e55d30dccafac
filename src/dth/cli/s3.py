"""`dth s3`: sync, diff, ls."""

import asyncio
import contextlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from dth.cli import start
from dth.cli.display import INCOMPLETE, amount, failure_lines, result, shown, table, verified_words
from dth.cli.limits import limits
from dth.cli.manifest import STDIN, keep_stdin
from dth.cli.options import task_options
from dth.cli.report import Row, check_report, write_report
from dth.cli.running import interrupted, output_options, run_on_hub, run_work, verbose_option, watch
from dth.cli.s3_options import build_parameters, key_file_options, parse_url
from dth.cli.state import default_state, state_commands
from dth.compose.local import process
from dth.core.config import secrets_directory
from dth.core.errors import HubError, UsageError
from dth.core.ports.records import Record
from dth.core.ports.runs import Counts
from dth.core.ports.status import Status
from dth.core.transport import Transport
from dth.objects import processes
from dth.objects.compare.comparison import NOT_FOUND, Comparison, Decided
from dth.objects.compare.merge import Policy
from dth.objects.finder import refuse_deletes
from dth.objects.listing.filters import contradiction, escaped
from dth.objects.listing.lookup import NOTHING_BELOW, is_only_an_object
from dth.objects.listing.pages import PrefixListing, pages
from dth.objects.parameters import DeleteMode, S3Parameters
from dth.objects.plugin import PLUGIN
from dth.objects.store.credentials import KEY_FILE, FileSecrets
from dth.objects.task import object_filter, open_source, shared_rates
from dth.objects.transfer.relay import Route
from dth.platforms.local.foreground import Foreground, open_foreground
from dth.platforms.local.nursery import Nursery
from dth.platforms.local.supervisor import Snapshot

SHOWN_FAILURES = 100
IDENTITY = ("srcBucket", "srcPrefix", "srcEndpoint", "destBucket", "destPrefix", "destEndpoint")


@click.group()
def s3() -> None:
    """Objects between S3-compatible stores."""


s3.add_command(limits)


# ------------------------------------------------------------------------------------------------------- sync


@s3.command()
@click.argument("src")
@click.argument("dst")
@task_options(S3Parameters)
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

    Both name folders. Where SRC is the key of an object, that object is copied into DST. An interrupted sync resumes
    where it was when the same command is given again.
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
        if parameters.src_manifest == STDIN:
            raise UsageError(
                "--manifest -: a hub cannot read what this command is given; put it into a bucket"
            )
        return run_on_hub(
            hub_url, PLUGIN.type, parameters, "dth s3 sync", as_json=as_json, destKeepsSrcPrefix=False
        )
    if report:
        check_report(report)
    with keep_stdin(parameters) as parameters:
        parameters = start.settled(parameters, verbose=verbose)
        if dry_run:
            return run_work(_dry_run(parameters, src, as_json))
        processes.load(parameters, FileSecrets(secrets_directory()))
        with Nursery(partial(process.run, find=process.only(PLUGIN))) as nursery:
            directory = state or default_state(PLUGIN.type, parameters, given)
            return run_work(
                _sync(
                    parameters,
                    src,
                    nursery,
                    directory,
                    report,
                    as_json=as_json,
                    quiet=quiet or as_json,
                    asked_for=state is not None,
                )
            )


async def _sync(
    parameters: S3Parameters,
    src: str,
    nursery: Nursery,
    state: Path,
    report: Path | None,
    *,
    as_json: bool,
    quiet: bool,
    asked_for: bool,
) -> int:
    """`asked_for`: the user named the state, and it is kept."""
    await _check(parameters)
    parameters = await _aimed(parameters, src, quiet=quiet)
    # The command gives every value it means, so defaults made for tasks (storage class, ACL) must not come back.
    task = parameters.model_dump(mode="json", by_alias=True)
    identity = {name: task[name] for name in IDENTITY}
    try:
        async with open_foreground(
            task,
            identity,
            state,
            parameters.max_capacity,
            nursery,
            shared_rates(parameters),
            asked_for=asked_for,
        ) as foreground:
            if foreground.resumed and not quiet:
                click.echo(f"resuming run {foreground.run} ({state})", err=True)
            snapshot = await watch(foreground, quiet=quiet)
            code = await _conclude(foreground, snapshot, report, parameters, as_json=as_json)
            foreground.keep = asked_for or code != 0
    except asyncio.CancelledError:
        return interrupted(state)
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
    not_found = await _not_found(foreground, parameters)
    error = run.error or (f"stopped: {snapshot.paused}" if snapshot.paused else "")
    error = error or _nothing(counts.listed, not_found, run.notes)
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
        more = {
            "notes": run.notes,
            "error": error,
            "failures": listed,
            "resumed": foreground.resumed,
            "not_found": not_found,
            "verified": counts.by_verification,
            "incomplete": counts.incomplete,
        }
        click.echo(json.dumps(result(counts, seconds, more)))
        return 0 if good else 1
    click.echo(
        f"{counts.listed} listed, {counts.same} same, {counts.done} transferred ({amount(counts.done_bytes)}), "
        f"{counts.failed} failed in {seconds:.1f} s"
        f" ({counts.done / seconds:.0f} objects/s, {amount(counts.done_bytes / seconds)}/s)"
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
        click.echo("dth: nothing is lost; mend this and run the same command again to resume", err=True)
    return 0 if good else 1


def _nothing(listed: int, not_found: int, notes: list[str]) -> str:
    """Why the run is not a success though nothing failed: there was nothing, where something must have been meant."""
    if 0 < listed == not_found:
        return f"not found: none of the {listed} keys that the list names exists at the source"
    # A bucket may be empty; a prefix that no key has is a mistake.
    missing = [note for note in notes if note.startswith(NOTHING_BELOW) and not note.endswith("is empty")]
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


s3.add_command(state_commands(PLUGIN.type, "dth s3 sync"))


# ------------------------------------------------------------------------------------------ dry run and diff


async def _dry_run(parameters: S3Parameters, src: str, as_json: bool) -> int:
    """What sync would do, with its requests and cost."""
    from dth.objects.forecast.estimate import estimate

    counts, size, biggest = Counts(), 0, 0
    parts = not_found = 0
    started = time.monotonic()
    parameters = await _aimed(parameters, src, quiet=as_json)
    async with _compared(parameters) as (route, comparison):
        async for decided in comparison:
            _add(counts, decided.counts)
            not_found += len(decided.absent)
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
        cost = estimate(route.source.endpoint, route.dest.endpoint, counts, size, biggest, parts, deletes)
    seconds = time.monotonic() - started
    error = _nothing(counts.listed, not_found, notes)
    if as_json:
        more = {
            "dry_run": True,
            "not_found": not_found,
            "error": error,
            "would_transfer": counts.enqueued,
            "would_delete": deletes,
            "would_move_bytes": size,
        }
        click.echo(json.dumps(result(counts, seconds, more | {"notes": notes, "estimate": cost.as_dict()})))
        return 1 if error else 0
    click.echo(
        f"{counts.listed} listed, {counts.same} same, {counts.filtered} filtered, {counts.archived} archived; "
        f"would copy {counts.enqueued} ({amount(size)}) and delete {deletes}"
    )
    for note in notes:
        click.echo(f"  note: {note}")
    table(cost.rows())
    if error:
        click.echo(f"dth: {error}", err=True)
    return 1 if error else 0


@s3.command()
@click.argument("src")
@click.argument("dst")
@task_options(S3Parameters)
@click.option(
    "--sample",
    type=click.FloatRange(0, 100, min_open=True),
    metavar="PERCENT",
    help="With --compare content: read this part of the objects, always the same ones. The others count as the same if "
    "their sizes are.",
)
@key_file_options("src", "dst")
@output_options
@verbose_option
def diff(
    src: str,
    dst: str,
    sample: float | None,
    as_json: bool,
    report: Path | None,
    verbose: bool,
    **given: Any,
) -> int:
    """Compare SRC with DST and write nothing.

    Prints + for objects missing in DST, * for different ones, - for those only in DST, ? for those that could not be
    verified, ! for those that could not be read. Exit code 0: equal; 1: different; 2: could not tell.
    """
    parameters = _pair(src, dst, given)
    if sample is not None and parameters.compare_policy is not Policy.CONTENT:
        raise UsageError("--sample needs --compare content: nothing else reads objects")
    if report:
        check_report(report)
    parameters = start.settled(parameters, verbose=verbose)
    try:
        with keep_stdin(parameters) as parameters:
            share = 100.0 if sample is None else sample
            return run_work(_diff(parameters, src, report, as_json, share))
    except HubError as error:
        click.echo(f"dth: {error}", err=True)
        return 2


async def _diff(parameters: S3Parameters, src: str, report: Path | None, as_json: bool, sample: float) -> int:
    counts = Counts()
    found = {"missing": 0, "different": 0, "extra": 0, "unknown": 0, "unjudged": 0}
    reasons: Counter[str] = Counter()
    started = time.monotonic()
    parameters = await _aimed(parameters, src, quiet=as_json)

    async def rows() -> AsyncIterator[Row]:
        async with _compared(parameters, sample) as (_, comparison):
            async for decided in comparison:
                _leave_unjudged(decided)
                reasons.update(why for _, why in decided.unjudged)
                _add(counts, decided.counts)
                for sign, kind, key, size, etag, why in _differences(decided):
                    found[kind] += 1
                    if not as_json:
                        click.echo(f"{sign} {shown(key)}" + (f"  ({why})" if why else ""))
                    yield (key, kind, size, etag, "", "", "", 0, why, "")
            notes.extend(comparison.notes)

    notes: list[str] = []
    if report:
        await write_report(report, rows())
    else:
        async for _ in rows():
            pass
    different = found["missing"] + found["different"] + found["extra"]
    undecided = found["unknown"] or found["unjudged"] or counts.archived
    compared = counts.listed > counts.filtered or different or undecided
    nothing = "" if compared else _nothing_compared(counts)
    code = 1 if different else 2 if undecided or nothing else 0
    if as_json:
        click.echo(
            json.dumps(
                result(
                    counts,
                    time.monotonic() - started,
                    {"notes": notes, "error": nothing, **found, "equal": code == 0},
                )
            )
        )
        return code
    click.echo(
        f"{counts.listed} listed, {counts.same} same, {found['missing']} missing, {found['different']} different, "
        f"{found['extra']} only in the destination"
    )
    for line in _remarks(counts, reasons, parameters.compare_policy, sample):
        click.echo(f"  {line}")
    for note in notes:
        click.echo(f"  note: {note}")
    if nothing:
        click.echo(f"dth: {nothing}", err=True)
    return code


def _remarks(counts: Counts, reasons: Counter[str], policy: Policy, sample: float) -> Iterator[str]:
    """What the numbers of a comparison leave open."""
    if counts.unproven and sample < 100:
        yield f"{counts.unproven} of the same by size only: they are not in the sample"
    elif counts.unproven:
        yield f"{counts.unproven} of the same were compared by time only; --compare checksum or content compares more"
    if counts.archived:
        yield f"{counts.archived} archived at the source and missing or different in the destination"
    for why, number in reasons.most_common():
        yield f"{number} could not be verified: {why}"
    if reasons and policy is Policy.CHECKSUM:
        yield "--compare content reads and compares the bytes"


def _leave_unjudged(decided: Decided) -> None:
    """Take what could not be judged out of what is the same or different by other signs."""
    keys = {pick.source.key for pick, _ in decided.unjudged}
    decided.transfer = [pick for pick in decided.transfer if pick.source.key not in keys]
    taken = sum(not pick.verdict.transfers for pick, _ in decided.unjudged)
    decided.counts.same -= taken
    decided.counts.unproven -= taken


def _nothing_compared(counts: Counts) -> str:
    if counts.filtered:
        return "nothing was compared: no object passes the filters"
    return "nothing was compared: there is no object on either side"


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
    found += [
        ("?", "unjudged", pick.source.key, pick.source.size, pick.source.etag, why)
        for pick, why in decided.unjudged
    ]
    found += [("!", "unknown", entry.key, 0, "", "not found at the source") for entry in decided.absent]
    found += [("-", "extra", key, 0, "", "") for key in decided.extra]
    return found


# --------------------------------------------------------------------------------------------------------- ls


@s3.command(name="ls")
@click.argument("url")
@task_options(S3Parameters, ("source",))
@key_file_options("src")
@verbose_option
@click.option("-r", "--recursive", is_flag=True, help="All keys below the prefix instead of one level.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_(url: str, recursive: bool, as_json: bool, verbose: bool, **given: Any) -> int:
    """List the objects of s3://bucket/prefix."""
    bucket, prefix = parse_url(url, "URL", folder=False)
    parameters = build_parameters(given, src_bucket=bucket, src_prefix=prefix)
    parameters = start.settled(parameters, ("source",), verbose=verbose)
    return run_work(_ls(parameters, recursive, as_json))


async def _ls(parameters: S3Parameters, recursive: bool, as_json: bool) -> int:
    objects = size = 0
    with Transport() as transport:
        source = await start.open_source(parameters, transport, FileSecrets(secrets_directory()))
        name, delimiter = f"s3://{parameters.src_bucket}", "" if recursive else "/"
        listing = PrefixListing(
            source,
            parameters.src_prefix,
            name=name,
            delimiter=delimiter,
            first_version=source.first_version,
        )
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


async def _aimed(parameters: S3Parameters, src: str, *, quiet: bool) -> S3Parameters:
    """The parameters that copy one object, if that is what SRC names."""
    p = parameters
    chosen = p.src_manifest or p.src_inventory or p.src_prefixs_list_file or p.include_patterns
    if src.endswith("/") or not p.src_prefix or chosen:
        return parameters
    key = p.src_prefix.removesuffix("/")
    try:
        with Transport() as transport:
            source = await open_source(parameters, transport, FileSecrets(secrets_directory()))
            if not await is_only_an_object(source, key):
                return parameters
    except HubError:
        # What cannot be read is reported where it is needed.
        return parameters
    folder, slash, name = key.rpartition("/")
    if not quiet:
        click.echo(
            f"s3://{p.src_bucket}/{key} is an object: it is copied to s3://{p.dest_bucket}/{p.dest_prefix}{name}",
            err=True,
        )
    return parameters.model_copy(
        update={"src_prefix": folder + slash, "include_patterns": ("/" + escaped(name),)}
    )


async def _check(parameters: S3Parameters) -> None:
    """Open both sides once, so that what cannot be is said before any process starts."""
    async with _route(parameters):
        pass


@contextlib.asynccontextmanager
async def _route(parameters: S3Parameters) -> AsyncIterator[Route]:
    with Transport() as transport:
        yield await start.open_route(parameters, transport, FileSecrets(secrets_directory()))


@contextlib.asynccontextmanager
async def _compared(
    parameters: S3Parameters, sample: float = 100.0
) -> AsyncIterator[tuple[Route, Comparison]]:
    with tempfile.TemporaryDirectory(prefix="dth-") as workdir:
        async with _route(parameters) as route:
            yield route, Comparison(route, Path(workdir), sample=sample)


def _add(total: Counts, more: Counts) -> None:
    for name in Counts.__dataclass_fields__:
        setattr(total, name, getattr(total, name) + getattr(more, name))
