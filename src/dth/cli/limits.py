"""`dth s3 limits`: shows and changes the limits of a sync that runs."""

import json
from pathlib import Path

import click

from dth.cli.display import amount, table
from dth.cli.output import Output, output_format
from dth.cli.running import run_work
from dth.cli.s3_options import build_parameters
from dth.core.errors import UsageError
from dth.objects.task import shared_rates
from dth.platforms.local.filesystem import is_locked
from dth.platforms.local.foreground import TASK_FILE, running
from dth.platforms.local.platform import open_platform

NONE = "none"
HELP = f"A new limit; {NONE} takes it away."


@click.command()
@click.option("--state", type=click.Path(path_type=Path), help="The state directory of the sync.")
@click.option("--max-bytes-per-second", "sent", metavar="N", help=HELP)
@click.option("--max-requests-per-second", "requests", metavar="N", help=HELP)
@output_format
def limits(state: Path | None, sent: str | None, requests: str | None, output: Output) -> int:
    """Show or change the limits of a sync while it runs.

    A change acts within five seconds, also on objects in progress. It ends with the command.
    Without --state there must be exactly one sync that runs on this machine for this user.
    """
    given = {"max_bytes_per_second": sent, "max_requests_per_second": requests}
    values = {
        name: None if text == NONE else text for name, text in given.items() if text is not None
    }
    wanted = shared_rates(build_parameters(values))
    named = {
        "bytes": "max_bytes_per_second" in values,
        "requests": "max_requests_per_second" in values,
    }
    changes = {name: rate for name, rate in wanted.items() if named[name.partition(".")[2]]}
    directory = _checked(state) if state else _only_one()
    return run_work(_limits(directory, changes, output))


async def _limits(state: Path, changes: dict[str, float], output: Output) -> int:
    with open_platform(state, "limits") as platform:
        if changes:
            await platform.limits.set_rates(changes)
        rates = await platform.limits.rates()
    # Both sides have the same.
    sent, requests = rates.get("source.bytes", 0.0), rates.get("source.requests", 0.0)
    if not output.for_people:
        shown = {"maxBytesPerSecond": sent or None, "maxRequestsPerSecond": requests or None}
        output.print({"state": str(state), **shown})
        return 0
    click.echo(f"{state}:")
    table(
        [
            ("max-bytes-per-second", f"{amount(sent)}" if sent else NONE),
            ("max-requests-per-second", f"{requests:g}" if requests else NONE),
        ]
    )
    return 0


def _checked(state: Path) -> Path:
    if not (state / TASK_FILE).exists():
        raise UsageError(f"--state: {state} is not the state of a sync")
    if not is_locked(state):
        raise UsageError(
            f"--state: no sync runs with {state}; give the limits to the next one as options"
        )
    return state


def _only_one() -> Path:
    found = [state for state in running() if _is_sync(state)]
    if not found:
        raise UsageError("no sync runs here; if it is another user's, name its state: --state DIR")
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} syncs run; choose one with --state: {', '.join(map(str, found))}"
        )
    return found[0]


def _is_sync(state: Path) -> bool:
    return "type" not in json.loads((state / TASK_FILE).read_text("utf-8"))
