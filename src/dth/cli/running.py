"""What commands that move data share: their options for output, and how they run and are interrupted."""

import asyncio
import contextlib
import json
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click
import uvloop

from dth.cli.display import ProgressView
from dth.core import interrupts
from dth.core.parameters import TaskParameters
from dth.hub.progress import Meter
from dth.platforms.local.foreground import Foreground
from dth.platforms.local.supervisor import Snapshot


def output_options(command: Any) -> Any:
    command = click.option(
        "--report",
        type=click.Path(path_type=Path),
        help="Write one row per object or image: .csv or .parquet.",
    )(command)
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else, to stdout."
    )(command)


def verbose_option(command: Any) -> Any:
    return click.option(
        "-v",
        "--verbose",
        is_flag=True,
        help="Show on standard error how each side is reached, and what says so.",
    )(command)


def run_work(work: Coroutine[Any, Any, int]) -> int:
    """Run on an event loop where SIGINT and SIGTERM end the work in order. A second one does not wait for that; one
    that comes when the work has ended changes nothing."""

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


async def watch(foreground: Foreground, *, quiet: bool, things: str = "objects") -> Snapshot:
    """Show the progress of the run until it is over, and then its state."""
    meter, limits = Meter(), foreground.platform.limits
    with ProgressView(quiet=quiet, things=things) as view:
        watching = foreground.supervisor.watch()
        async with contextlib.aclosing(watching):  # type: ignore[type-var]
            async for snapshot in watching:
                if not quiet:
                    meter.cap = (await limits.rates()).get("dest.bytes", 0.0)
                    meter.update(snapshot.reading())
                    view.update(meter.standing(snapshot.run), snapshot.run.counts, snapshot.workers)
    return snapshot


def run_on_hub(
    url: str, kind: str, parameters: TaskParameters, command: str, *, as_json: bool, **more: object
) -> int:
    """Create the task on a hub, and follow it. The hub's own credentials and secrets are used. `more`: parameters that
    are said even where they are the default."""
    from dth.cli import task
    from dth.cli.hub import connect

    client = connect(url, None)
    values = parameters.model_dump(mode="json", by_alias=True, exclude_defaults=True) | more
    given = {name: task.as_text(value) for name, value in values.items() if value is not None}
    made = task.create_task(client, given, once=True, kind=kind, description=command)
    click.echo(f"task {made}", err=True)
    code = task.follow(client, made, quiet=as_json)
    if as_json:
        click.echo(json.dumps(task.get(client, made)))
    else:
        click.echo(task.last_run(client, made))
    return code
