"""`dth s3 diff`: compares two sides and writes nothing."""

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
from dth.cli.output import Output
from dth.cli.report import Row, check_report, write_report
from dth.cli.running import output_options, run_work, verbose_option
from dth.cli.s3 import add_counts, compared, pair
from dth.cli.s3_aim import aimed
from dth.cli.s3_options import PLACE, key_file_options, sample_option
from dth.core.errors import HubError, UsageError
from dth.core.ports.findings import State
from dth.core.ports.runs import Counts
from dth.objects.compare.findings import findings_of, leave_unjudged
from dth.objects.compare.merge import Policy
from dth.objects.parameters import S3Parameters

SIGNS = {
    State.MISSING: ("+", "missing"),
    State.DIFFERENT: ("*", "different"),
    State.EXTRA: ("-", "extra"),
    State.UNVERIFIED: ("?", "unjudged"),
    State.UNREADABLE: ("!", "unknown"),
}


@click.command(cls=OrderedPatterns)
@click.argument("src", type=PLACE)
@click.argument("dst", type=PLACE)
@task_options(S3Parameters)
@filter_rules_option
@sample_option
@key_file_options("src", "dst")
@output_options
@verbose_option
def diff(
    src: str,
    dst: str,
    sample: float | None,
    output: Output,
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
            return run_work(_diff(parameters, src, report, output, share))
    except HubError as error:
        click.echo(f"dth: {error}", err=True)
        return 2


async def _diff(
    parameters: S3Parameters, src: str, report: Path | None, output: Output, sample: float
) -> int:
    counts = Counts()
    found = {"missing": 0, "different": 0, "extra": 0, "unknown": 0, "unjudged": 0}
    reasons: Counter[str] = Counter()
    started = time.monotonic()
    parameters = await aimed(parameters, src, quiet=not output.for_people)

    async def rows() -> AsyncIterator[Row]:
        async with compared(parameters, sample) as (route, comparison):
            async for decided in comparison:
                leave_unjudged(decided)
                reasons.update(why for _, why in decided.unjudged)
                add_counts(counts, decided.counts)
                for each in findings_of(decided, route.keys):
                    if each.state is State.ARCHIVED:
                        continue  # only counted
                    sign, kind = SIGNS[each.state]
                    found[kind] += 1
                    extra = each.state is State.EXTRA
                    key = route.keys.to_dest(each.key) if extra else each.key
                    if output.for_people:
                        click.echo(f"{sign} {shown(key)}" + (f"  ({each.why})" * bool(each.why)))
                    size = 0 if extra else max(each.size, 0)
                    yield (key, kind, size, each.etag, "", "", "", 0, each.why, "")
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
    if not output.for_people:
        output.print(
            result(
                counts,
                time.monotonic() - started,
                {"notes": notes, "error": nothing, **found, "equal": code == 0},
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


def _nothing_compared(counts: Counts) -> str:
    if counts.filtered:
        return "nothing was compared: no object passes the filters"
    return "nothing was compared: there is no object on either side"
