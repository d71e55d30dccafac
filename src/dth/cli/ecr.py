"""`dth ecr`: copy, sync, plan, diff."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from dth.cli.display import amount, shown
from dth.cli.options import task_options, validated
from dth.cli.output import Output, output_format
from dth.cli.report import IMAGE_COLUMNS, Row, check_report, write_report
from dth.cli.running import (
    Telling,
    interrupted,
    output_options,
    run_on_hub,
    run_work,
    telling_options,
    watch,
)
from dth.cli.state import default_state, state_commands
from dth.compose.local import process
from dth.core.config import secrets_directory
from dth.core.errors import HubError, TransferError, UsageError
from dth.core.ports.images import ImageRecord
from dth.core.ports.runs import Counts
from dth.core.ports.status import Status
from dth.core.transport import Transport
from dth.images.arguments import one, several
from dth.images.finder import known_images, list_and_plan
from dth.images.items import ImageAction, ImageItem, Plan
from dth.images.listing import Listed
from dth.images.parameters import EcrParameters
from dth.images.plugin import PLUGIN
from dth.images.registry.pace import LONG_PATIENCE, paces_of
from dth.images.task import open_route
from dth.images.trouble import told
from dth.objects.store.credentials import FileSecrets
from dth.platforms.local.foreground import Foreground, open_foreground
from dth.platforms.local.fork_server import ForkServer
from dth.platforms.local.platform import open_platform
from dth.platforms.local.supervisor import Snapshot

SHOWN = 100  # images
PAGE = 1000
IDENTITY = (
    "srcRegistry",
    "srcRegion",
    "srcAccountId",
    "destRegistry",
    "destRegion",
    "destAccountId",
    "destPrefix",
)
SIGNS = {
    ImageAction.COPY: "+",
    ImageAction.CONFLICT: "!",
    ImageAction.MISSING: "!",
    ImageAction.REFUSED: "!",
    ImageAction.UNLISTED: "!",
}
DIFFERENCES = {"missing": "+", "different": "*", "damaged": "~", "unknown": "!"}
options = task_options(EcrParameters)


@click.group()
def ecr() -> None:
    """Container images between registries: Amazon ECR and any other.

    A registry is named by its host, such as quay.io or
    123456789012.dkr.ecr.eu-west-1.amazonaws.com; ecr:REGION is the Amazon ECR of the credentials'
    own account.
    """


def _run_options(command: Any) -> Any:
    command = telling_options(sides=False)(command)
    return click.option(
        "--hub",
        "hub_url",
        metavar="URL",
        help="Let this hub do it, as a one-time task, and watch it to the end.",
    )(command)


@ecr.command()
@click.argument("src")
@click.argument("dst")
@options
@output_options
@_run_options
def copy(
    src: str,
    dst: str,
    output: Output,
    report: Path | None,
    telling: Telling,
    hub_url: str | None,
    **given: Any,
) -> int:
    """Copy the image SRC, with all its platforms and signatures, to DST.

    DST is a registry, or what the image is called there: REGISTRY/REPOSITORY[:TAG].
    """
    return _start(
        one(src, dst), given, "dth ecr copy", output, report, None, telling, hub_url, keep=False
    )


@ecr.command()
@click.argument("src")
@click.argument("dst")
@options
@output_options
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="Keep the state here: resumable, and known images.",
)
@click.option(
    "--dry-run", is_flag=True, help="Show what would be done, as dth ecr plan does; write nothing."
)
@_run_options
def sync(
    src: str,
    dst: str,
    output: Output,
    report: Path | None,
    state: Path | None,
    dry_run: bool,
    telling: Telling,
    hub_url: str | None,
    **given: Any,
) -> int:
    """Copy what is missing or different from SRC to DST.

    SRC is a registry (all its images), a repository (all its tags), a pattern such as
    quay.io/team/*, or one image. DST is a registry, and what is put before the names there:
    REGISTRY[/PREFIX].
    """
    if dry_run:
        if report or hub_url:
            raise UsageError("--dry-run writes nothing: leave out --report and --hub")
        return _planned(src, dst, given, state, output=output)
    return _start(
        several(src, dst),
        given,
        "dth ecr sync",
        output,
        report,
        state,
        telling,
        hub_url,
        keep=True,
    )


@ecr.command()
@click.argument("src")
@click.argument("dst")
@options
@click.option(
    "--state", type=click.Path(path_type=Path), help="That of dth ecr sync, if it was given one."
)
@output_format
def plan(src: str, dst: str, state: Path | None, output: Output, **given: Any) -> int:
    """Show what dth ecr sync would do from SRC to DST, with the bytes that would move; write
    nothing.

    Prints + for images that would be copied, ! for those that cannot be. Exit code 1 if there are
    any of the latter.
    """
    return _planned(src, dst, given, state, output=output)


@ecr.command()
@click.argument("src")
@click.argument("dst")
@options
@click.option(
    "--state", type=click.Path(path_type=Path), help="That of dth ecr sync, if it was given one."
)
@output_format
def diff(src: str, dst: str, state: Path | None, output: Output, **given: Any) -> int:
    """Compare the images of SRC with those of DST, down to the layers that DST has; write nothing.

    Prints + for images missing in DST, * for different ones, ~ for those of which DST has lost a
    part, ! for those that could not be checked. Exit code 0: equal; 1: different; 2: could not
    tell.
    """
    parameters = _parameters(several(src, dst), {**given, "repair": True})
    try:
        return run_work(
            _diff(parameters, state or default_state(PLUGIN.type, parameters, given), output=output)
        )
    except HubError as error:
        click.echo(f"dth: {error}", err=True)
        return 2


def _parameters(said: dict[str, Any], given: dict[str, Any]) -> EcrParameters:
    values = {name: value for name, value in given.items() if value is not None and value != ()}
    if "rename_rules" in said and "rename_rules" in values:
        raise UsageError("--rename: what the image is called is said by DST")
    parameters = validated(EcrParameters, said | values)
    try:
        PLUGIN.check(parameters)
    except UsageError as error:
        # What tasks call it says nothing here.
        raise UsageError(
            str(error).replace("destPrefix: ", "").replace("destRegion: ", "")
        ) from None
    return parameters


def _start(
    said: dict[str, Any],
    given: dict[str, Any],
    command: str,
    output: Output,
    report: Path | None,
    state: Path | None,
    telling: Telling,
    hub_url: str | None,
    *,
    keep: bool,
) -> int:
    parameters = _parameters(said, given)
    if report:
        check_report(report)
    if hub_url:
        if state:
            raise UsageError("--hub keeps its own state: leave out --state")
        return run_on_hub(
            hub_url,
            PLUGIN.type,
            parameters,
            command,
            output=output,
            report=report,
            images=True,
            ec2CronExpression="",
        )
    process.load(PLUGIN)
    with ForkServer(partial(process.run, find=process.only(PLUGIN))) as fork_server:
        directory = state or default_state(PLUGIN.type, parameters, given)
        return run_work(
            _run(
                parameters,
                fork_server,
                directory,
                report,
                output=output,
                telling=telling.without_progress() if not output.for_people else telling,
                asked_for=state is not None,
                keep=keep,
            )
        )


async def _run(
    parameters: EcrParameters,
    fork_server: ForkServer,
    state: Path,
    report: Path | None,
    *,
    output: Output,
    telling: Telling,
    asked_for: bool,
    keep: bool,
) -> int:
    """`asked_for`: the user named the state. `keep`: it is kept after a success, for what later
    runs can learn from it."""
    task = _task(parameters)
    identity = {name: task[name] for name in IDENTITY}
    try:
        async with open_foreground(
            task, identity, state, 1, fork_server, {}, asked_for=asked_for
        ) as foreground:
            if foreground.resumed and not telling.quiet:
                click.echo(f"resuming run {foreground.run} ({state})", err=True)
            snapshot = await watch(foreground, telling, things="images")
            code = await _conclude(foreground, snapshot, report, output=output)
            foreground.keep = keep or code != 0
    except asyncio.CancelledError:
        return interrupted(state)
    return code


def _task(parameters: EcrParameters) -> dict[str, Any]:
    return {"type": PLUGIN.type, **parameters.model_dump(mode="json", by_alias=True)}


async def _conclude(
    foreground: Foreground, snapshot: Snapshot, report: Path | None, *, output: Output
) -> int:
    """Say what became of the run, and whether it is a success."""
    run, counts = snapshot.run, snapshot.run.counts
    seconds = time.monotonic() - foreground.started
    error = run.error or (f"stopped: {snapshot.paused}" if snapshot.paused else "")
    images = foreground.platform.images
    failures = await images.page(run.id, status=Status.FAILED, limit=SHOWN)
    gone = await images.page(run.id, status=Status.CANCELLED, limit=SHOWN)
    skipped = attached = 0
    async for each in _images(foreground, run.id):
        attached += bool(each.about)
        skipped += max(0, each.size - each.moved) if each.status is Status.DONE else 0
    if report:
        try:
            await write_report(report, _rows(foreground, run.id), IMAGE_COLUMNS)
        except HubError as problem:
            error = error or str(problem)
    good = snapshot.finished and not counts.failed and not error
    if not output.for_people:
        output.print(
            _result(
                counts,
                seconds,
                skipped,
                attached,
                run.notes,
                error,
                [*failures, *gone],
                foreground,
            )
        )
        return 0 if good else 1
    if error and not counts.listed:
        click.echo(f"dth: {error}", err=True)
        return 1
    click.echo(
        f"{counts.listed} listed, {counts.same} same, {counts.done} copied "
        f"({amount(counts.done_bytes)} moved, {amount(skipped)} there already), {counts.failed} "
        f"failed in {seconds:.1f} s"
    )
    _say_attached(attached)
    if counts.filtered:
        click.echo(f"  {counts.filtered} left out")
    for note in run.notes:
        click.echo(f"  note: {note}")
    for each in (*failures, *gone):
        click.echo(
            f"  {each.status.lower()}: {shown(each.key)}: {each.reason}: {shown(each.detail)}"
        )
    if counts.failed > len(failures):
        click.echo(f"  and {counts.failed - len(failures)} more; --report FILE.csv writes all")
    if error:
        click.echo(f"dth: {error}", err=True)
    return 0 if good else 1


def _result(
    counts: Counts,
    seconds: float,
    skipped: int,
    attached: int,
    notes: list[str],
    error: str,
    failures: list[ImageRecord],
    foreground: Foreground,
) -> dict[str, Any]:
    """The one object of `--json`."""
    return {
        "listed": counts.listed,
        "filtered": counts.filtered,
        "same": counts.same,
        "enqueued": counts.enqueued,
        "copied": counts.done,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "attached": attached,
        "bytes": counts.done_bytes,
        "bytes_skipped": skipped,
        "seconds": round(seconds, 3),
        "notes": notes,
        "error": error,
        "failures": [
            {
                "image": each.key,
                "source": each.source,
                "class": each.status.value,
                "code": each.reason,
                "reason": each.detail,
            }
            for each in failures
        ],
        "resumed": foreground.resumed,
    }


async def _images(foreground: Foreground, run: int) -> AsyncIterator[ImageRecord]:
    after = ""
    while page := await foreground.platform.images.page(run, after=after, limit=PAGE):
        for each in page:
            yield each
        after = page[-1].key


async def _rows(foreground: Foreground, run: int) -> AsyncIterator[Row]:
    async for each in _images(foreground, run):
        digests = each.source_digest, each.dest_digest
        sizes = each.size, each.moved, each.seconds, each.attempts
        yield (
            each.key,
            each.status.value,
            each.source,
            *digests,
            *sizes,
            each.about,
            each.reason,
            each.detail,
        )


ecr.add_command(state_commands(PLUGIN.type, "dth ecr sync"))


# --------------------------------------------------------------------------------------------- plan


def _planned(
    src: str, dst: str, given: dict[str, Any], state: Path | None, *, output: Output
) -> int:
    parameters = _parameters(several(src, dst), given)
    return run_work(
        _plan(parameters, state or default_state(PLUGIN.type, parameters, given), output=output)
    )


async def _plan(parameters: EcrParameters, state: Path, *, output: Output) -> int:
    started = time.monotonic()
    listed, made, requests = await _made(parameters, state)
    notes = [*listed.notes, *made.notes]
    if not output.for_people:
        more = {"left_out": listed.left_out, "notes": notes, "requests": requests}
        output.print({**made.as_dict(), **more, "seconds": round(time.monotonic() - started, 3)})
    else:
        _show(made, listed, notes)
    return 1 if made.impossible else 0


async def _made(parameters: EcrParameters, state: Path) -> tuple[Listed, Plan, int]:
    """The plan, with what earlier runs determined; and how many requests it took."""
    with Transport() as transport:
        paces = paces_of(transport)
        paces.patience = LONG_PATIENCE
        paces.tell = _tell
        route = await open_route(parameters, transport, FileSecrets(secrets_directory()))
        known = {}
        if (state / "task.db").exists():
            with open_platform(state, "plan") as platform:
                known = await known_images(platform.images, route.dest.registry.host)
        try:
            return *await list_and_plan(route, known), route.requests
        except TransferError as error:
            raise HubError(told(error, route)) from None


async def _tell(note: str) -> None:
    click.echo(note, err=True)


def _show(made: Plan, listed: Listed, notes: list[str]) -> None:
    for item in made.items:
        if item.action in SIGNS:
            size = (
                f"{amount(item.moves)} of {amount(item.size)}"
                if made.looked_inside
                else item.digest[:19]
            )
            why = (
                f"{size}{f'; {item.reason}' if item.reason else ''}"
                if item.action is ImageAction.COPY
                else item.reason
            )
            click.echo(
                f"{SIGNS[item.action]} {shown(str(item.source))} -> {shown(str(item.dest))}  "
                f"({shown(why)})"
            )
    for name in made.repositories:
        click.echo(f"repository {name} would be made")
    counts = made.counts()
    bytes_ = amount(made.bytes) if made.looked_inside else "bytes not known"
    click.echo(
        f"{len(made.items)} images, {counts[ImageAction.SAME] + counts[ImageAction.ALONG]} same; "
        f"would copy {counts[ImageAction.COPY]} ({bytes_}), {made.impossible} cannot be copied"
    )
    _say_attached(made.attached)
    if listed.left_out:
        click.echo(f"  {listed.left_out} left out")
    for note in notes:
        click.echo(f"  note: {note}")


def _say_attached(number: int) -> None:
    if number:
        click.echo(f"  {number} of them attached to images (signatures, attestations, SBOMs)")


# --------------------------------------------------------------------------------------------- diff


async def _diff(parameters: EcrParameters, state: Path, *, output: Output) -> int:
    started = time.monotonic()
    listed, made, requests = await _made(parameters, state)
    found = [(_difference(item), item) for item in made.items]
    counts = {kind: sum(each == kind for each, _ in found) for kind in ("same", *DIFFERENCES)}
    different = counts["missing"] + counts["different"] + counts["damaged"]
    code = 1 if different else 2 if counts["unknown"] or not found else 0
    notes = [*listed.notes, *made.notes]
    if not output.for_people:
        images = [
            {
                "source": str(item.source),
                "destination": str(item.dest),
                "class": kind,
                "reason": item.reason,
            }
            for kind, item in found
            if kind != "same"
        ]
        more = {
            "attached": made.attached,
            "left_out": listed.left_out,
            "notes": notes,
            "requests": requests,
        }
        seconds = round(time.monotonic() - started, 3)
        output.print({**counts, "equal": code == 0, "images": images, **more, "seconds": seconds})
        return code
    for kind, item in found:
        if kind != "same":
            why = f"  ({shown(item.reason)})" if item.reason else ""
            click.echo(
                f"{DIFFERENCES[kind]} {shown(str(item.source))} -> {shown(str(item.dest))}{why}"
            )
    click.echo(
        f"{len(found)} images: " + ", ".join(f"{number} {kind}" for kind, number in counts.items())
    )
    _say_attached(made.attached)
    if listed.left_out:
        click.echo(f"  {listed.left_out} left out")
    for note in notes:
        click.echo(f"  note: {note}")
    return code


def _difference(item: ImageItem) -> str:
    """What a comparison says of an image."""
    if item.action in (ImageAction.SAME, ImageAction.ALONG):
        return "same"
    if item.damaged:
        return "damaged"
    if item.action is ImageAction.CONFLICT or (item.action is ImageAction.COPY and item.found):
        return "different"
    return "missing" if item.action is ImageAction.COPY and not item.code else "unknown"
