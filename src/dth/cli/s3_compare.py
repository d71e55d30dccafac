"""`dth s3 compare`: how two sides differ, in numbers, here or on a hub."""

import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click

from dth.cli import start
from dth.cli.compared import CODES, print_summary
from dth.cli.display import PLAIN_INTERVAL
from dth.cli.filter_rules import OrderedPatterns, filter_rules_option
from dth.cli.manifest import STDIN, keep_stdin
from dth.cli.options import task_options
from dth.cli.output import Output
from dth.cli.report import COMPARISON_COLUMNS, Row, check_report, write_report
from dth.cli.running import output_options, run_work, verbose_option
from dth.cli.s3 import compared, pair
from dth.cli.s3_aim import aimed
from dth.cli.s3_options import PLACE, key_file_options, sample_option
from dth.core.errors import HubError, UsageError
from dth.core.ports.findings import Finding
from dth.objects.compare.findings import FolderSummary, findings_of, leave_unjudged
from dth.objects.compare.job import comparable, how
from dth.objects.parameters import S3Parameters
from dth.objects.plugin import PLUGIN


@click.command(cls=OrderedPatterns)
@click.argument("src", type=PLACE)
@click.argument("dst", type=PLACE)
@task_options(S3Parameters)
@filter_rules_option
@sample_option
@key_file_options("src", "dst")
@output_options
@verbose_option
@click.option("--hub", "hub_url", metavar="URL", help="Let this hub compare, with its own secrets.")
def compare(
    src: str,
    dst: str,
    sample: float | None,
    output: Output,
    report: Path | None,
    verbose: bool,
    hub_url: str | None,
    **given: Any,
) -> int:
    """Count what is the same and what differs in SRC and DST, by folder. Nothing is written.

    --report names each object that is not the same. dth s3 diff prints them as it finds them. Exit
    code 0: the same; 1: different; 2: could not tell.
    """
    parameters = pair(src, dst, given)
    asked = how(parameters, parameters.compare_policy.value, sample)
    if report:
        check_report(report)
    if hub_url:
        if parameters.src_manifest == STDIN:
            raise UsageError(
                "--manifest -: a hub cannot read what this command is given; put it into a bucket"
            )
        from dth.cli.comparison import compare_on_hub, given_to_hub
        from dth.cli.hub import connect

        wanted = given_to_hub(PLUGIN.type, parameters, destKeepsSrcPrefix=False)
        variables = {"input": wanted, "sample": sample}
        return compare_on_hub(connect(hub_url, None), variables, report, output=output)
    parameters = start.settled(parameters, verbose=verbose)
    parameters = comparable(parameters, asked)
    try:
        with keep_stdin(parameters) as parameters:
            return run_work(_compare(parameters, src, asked, report, output=output))
    except HubError as error:
        click.echo(f"dth: {error}", err=True)
        return 2


async def _compare(
    parameters: S3Parameters,
    src: str,
    asked: dict[str, str],
    report: Path | None,
    *,
    output: Output,
) -> int:
    summary, notes, filtered = FolderSummary(parameters.compare_policy), list[str](), 0
    parameters = await aimed(parameters, src, quiet=not output.for_people)
    progress = _Progress(quiet=not output.for_people)

    async def rows() -> AsyncIterator[Row]:
        nonlocal filtered
        sample = float(asked["sample"])
        async with compared(parameters, sample, names_same=True) as (route, comparison):
            async for decided in comparison:
                leave_unjudged(decided)
                found = list(findings_of(decided, route.keys))
                summary.add(decided, found)
                filtered += decided.counts.filtered
                progress.update(summary.total.total)
                for each in found:
                    yield row_of(each)
            notes.extend(comparison.notes)

    if report:
        await write_report(report, rows(), COMPARISON_COLUMNS)
    else:
        async for _ in rows():
            pass
    progress.end()
    tally, folders = summary.total, summary.folders()
    if not output.for_people:
        output.print(
            {
                "verdict": tally.verdict,
                "policy": asked["policy"],
                "objects": tally.items,
                "bytes": tally.bytes,
                "filtered": filtered,
                "notes": notes,
            }
        )
        return CODES[tally.verdict]
    return print_summary(
        tally, filtered, notes, asked["policy"], lambda path: folders.get(path, [])
    )


def row_of(finding: Finding) -> Row:
    """A finding in a report."""
    return (
        finding.key,
        finding.state.value,
        finding.size,
        finding.dest_size,
        finding.etag,
        finding.why,
    )


class _Progress:
    """How many objects were compared, on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._began = self._told = time.monotonic()

    def update(self, number: int) -> None:
        now = time.monotonic()
        if self._quiet or now - self._told < (0.5 if self._terminal else PLAIN_INTERVAL):
            return
        self._told = now
        line = f"compared {number:,} objects, {number / (now - self._began):,.0f}/s"
        click.echo(f"\r\x1b[K{line}" if self._terminal else line, nl=not self._terminal, err=True)

    def end(self) -> None:
        if self._terminal and not self._quiet:
            click.echo("\r\x1b[K", nl=False, err=True)
