"""What commands that move data share: their options for output, and how they run and are
interrupted."""

import asyncio
import contextlib
import functools
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import uvloop

from dth.cli.display import ProgressView
from dth.cli.options import Number
from dth.cli.output import Output, output_format
from dth.core import interrupts
from dth.core.errors import UsageError
from dth.core.parameters import TaskParameters
from dth.core.plugins import plugin
from dth.hub.progress import Meter
from dth.platforms.local.foreground import Foreground
from dth.platforms.local.supervisor import Snapshot

if TYPE_CHECKING:
    from dth.hub.client import HubClient


def output_options(command: Any) -> Any:
    """`--output` with its short form `--json`, and `--report`."""
    return output_format(
        click.option(
            "--report",
            type=click.Path(path_type=Path),
            help="Write one row per object or image: .csv, .json or .parquet.",
        )(command)
    )


def verbose_option(command: Any) -> Any:
    return click.option(
        "-v",
        "--verbose",
        is_flag=True,
        help="Show on standard error how each side is reached, and what says so.",
    )(command)


@dataclass(frozen=True, slots=True)
class Telling:
    """What a command tells while it runs."""

    quiet: bool = False
    # How each side is reached.
    sides: bool = False
    # The logs of its processes: on standard error, and in this file.
    logs: bool = False
    log_file: Path | None = None
    json_seconds: float = 0.0

    def without_progress(self) -> "Telling":
        return replace(self, quiet=True)


def telling_options(*, sides: bool) -> Callable[[Any], Any]:
    """The options of what a command tells while it runs, which arrive together as `telling`.
    `sides`: it can say how each side is reached."""

    def decorate(command: Any) -> Any:
        @functools.wraps(command)
        def wrapped(
            *args: Any,
            quiet: bool,
            verbose: int,
            log_file: Path | None,
            progress_json: float | None,
            **kwargs: Any,
        ) -> Any:
            telling = Telling(quiet, verbose > 0, verbose > sides, log_file, progress_json or 0.0)
            if log_file:
                from dth.cli.log_lines import open_log

                open_log(log_file).close()
            return command(*args, telling=telling, **kwargs)

        wrapped = click.option("--quiet", is_flag=True, help="No progress.")(wrapped)
        wrapped = click.option(
            "--progress-json",
            type=Number(0, min_open=True),
            metavar="SECONDS",
            help=(
                "Print a JSON object with the progress at this interval in seconds, on "
                "standard error."
            ),
        )(wrapped)
        wrapped = click.option(
            "--log-file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Append the logs of the run's processes to this file.",
        )(wrapped)
        more = "how each side is reached, and what says so; -vv: also " if sides else ""
        return click.option(
            "-v", "--verbose", count=True, help=f"Show on standard error {more}the logs of the run."
        )(wrapped)

    return decorate


def run_work(work: Coroutine[Any, Any, int]) -> int:
    """Run on an event loop where SIGINT and SIGTERM end the work in order. A second one does not
    wait for that; one that comes when the work has ended changes nothing."""

    async def main() -> int:
        task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
        interrupts.handle(lambda: loop.call_soon_threadsafe(task.cancel))
        try:
            code = await task
        except asyncio.CancelledError:
            click.echo(interrupts.WORDS, err=True)
            code = 1
        except BaseException:
            # The error has not been reported yet.
            interrupts.handle(interrupts.leave)
            raise
        interrupts.handle(lambda: os._exit(code))
        return code

    return uvloop.run(main())


def interrupted(state: Path) -> int:
    """Say that a run was interrupted; the exit code."""
    where = f" (state: {state})" if state.exists() else ""
    click.echo(f"{interrupts.WORDS}; run the same command again to resume{where}", err=True)
    return 1


def interrupted_shared(database: str) -> int:
    """As `interrupted`, for a run whose state is in a database, as messages show it."""
    click.echo(
        f"{interrupts.WORDS}; run the same command again, on any machine, to resume ({database})",
        err=True,
    )
    return 1


async def watch(foreground: Foreground, telling: Telling, *, things: str = "objects") -> Snapshot:
    """Show the progress of the run until it is over, and then its state."""
    meter, limits = Meter(), foreground.platform.limits
    view = ProgressView(
        quiet=telling.quiet, things=things, plain=telling.logs, json_seconds=telling.json_seconds
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(view)
        lines = None
        if telling.logs or telling.log_file:
            from dth.cli.log_lines import LogLines

            lines = await stack.enter_async_context(
                LogLines(foreground.state, telling.log_file, on_stderr=telling.logs)
            )
        closing = contextlib.aclosing(foreground.supervisor.watch())  # type: ignore[type-var]
        watching = await stack.enter_async_context(closing)
        async for snapshot in watching:
            if lines:
                await lines.write()
            if not telling.quiet or telling.json_seconds:
                meter.cap = (await limits.rates()).get("dest.bytes", 0.0)
                meter.update(snapshot.reading())
                view.update(meter.standing(snapshot.run), snapshot.run.counts, snapshot.workers)
    return snapshot


def run_on_hub(
    url: str,
    kind: str,
    parameters: TaskParameters,
    command: str,
    *,
    output: Output,
    report: Path | None = None,
    images: bool = False,
    **more: object,
) -> int:
    """Create the task on a hub, and follow it. The hub's own credentials and secrets are used.
    `images`: the report is one of images.
    `more`: parameters that are said even where they are the default."""
    from dth.cli import task, task_look
    from dth.cli.hub import connect

    client = connect(url, None)
    _check_secrets(client, url, kind, parameters)
    given = task.of_command(parameters, **more)
    made = task.create_task(client, given, once=True, kind=kind, description=command)
    click.echo(f"task {made}", err=True)
    code = task.follow(client, made, quiet=not output.for_people)
    if report and images:
        task_look.save_images(report, task_look.read_images(client, made))
    elif report:
        task_look.save_report(report, task_look.read_records(client, made, {}))
    if not output.for_people:
        output.print(task.get(client, made))
    elif line := task.last_run(client, made):
        click.echo(line)
    return code


def _check_secrets(client: "HubClient", url: str, kind: str, parameters: TaskParameters) -> None:
    """Raises UsageError for a secret that the hub does not have: its task could only fail."""
    uses = plugin(kind).secret_uses(parameters)
    if not uses:
        return
    known = {each["name"] for each in client.call("{ listSecrets { name } }")["listSecrets"]}
    for use in uses:
        if use.name not in known:
            raise UsageError(
                f"{use.side}: there is no secret {use.name!r} in the hub; run: dth secret create "
                f"{use.name} --hub {url}, or name another one"
            )
