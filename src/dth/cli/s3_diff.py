"""`dth s3 diff`: compares two sides and writes nothing."""

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import click

from dth.cli import start
from dth.cli.display import result, shown
from dth.cli.filter_rules import OrderedPatterns, filter_rules_option
from dth.cli.manifest import keep_stdin
from dth.cli.options import task_options
from dth.cli.report import Row, check_report, write_report
from dth.cli.running import output_options, run_work, verbose_option
from dth.cli.s3 import add_counts, aimed, compared, pair
from dth.cli.s3_options import key_file_options
from dth.core.errors import HubError, UsageError
from dth.core.ports.runs import Counts
from dth.objects.compare.comparison import Decided
from dth.objects.compare.merge import Policy
from dth.objects.parameters import S3Parameters


@click.command(cls=OrderedPatterns)
@click.argument("src")
@click.argument("dst")
@task_options(S3Parameters)
@filter_rules_option
@click.option(
    "--sample",
    type=click.FloatRange(0, 100, min_open=True),
    metavar="PERCENT",
    help="With --compare content: read this part of the objects, always the same ones. The "
    "others count as the same if their sizes are.",
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

    Prints + for objects missing in DST, * for different ones, - for those only in DST, ? for those
    that could not be verified, ! for those that could not be read. Exit code 0: equal; 1:
    different; 2: could not tell.
    """
    parameters = pair(src, dst, given)
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


async def _diff(
    parameters: S3Parameters, src: str, report: Path | None, as_json: bool, sample: float
) -> int:
    counts = Counts()
    found = {"missing": 0, "different": 0, "extra": 0, "unknown": 0, "unjudged": 0}
    reasons: Counter[str] = Counter()
    started = time.monotonic()
    parameters = await aimed(parameters, src, quiet=as_json)

    async def rows() -> AsyncIterator[Row]:
        async with compared(parameters, sample) as (_, comparison):
            async for decided in comparison:
                _leave_unjudged(decided)
                reasons.update(why for _, why in decided.unjudged)
                add_counts(counts, decided.counts)
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
    judged = counts.listed > counts.filtered or different or undecided
    nothing = "" if judged else _nothing_compared(counts)
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
        f"{counts.listed} listed, {counts.same} same, {found['missing']} missing, "
        f"{found['different']} different, {found['extra']} only in the destination"
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
        yield (
            f"{counts.unproven} of the same were compared by time only; --compare checksum or "
            "content compares more"
        )
    if counts.archived:
        yield (
            f"{counts.archived} archived at the source and missing or different in the destination"
        )
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
    found += [
        ("!", "unknown", entry.key, 0, "", "not found at the source") for entry in decided.absent
    ]
    found += [("-", "extra", key, 0, "", "") for key in decided.extra]
    return found
