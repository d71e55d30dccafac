"""`dth demo`: a transfer between two stores on this machine, and the proof that every byte
arrived."""

import contextlib
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from dth.cli.display import amount, shown, table
from dth.demo import run
from dth.demo.hub import DemoHub, demo_hub
from dth.demo.objects import ODD_KEYS, samples
from dth.demo.stores import check_installed, two_stores

SHOWN_PROBLEMS = 20
YOUR_TURN = """
The same with buckets of your own (credentials: environment, profiles, or --src-secret and --dst-secret):
  dth s3 sync s3://SOURCE/folder s3://DESTINATION/folder --dry-run
  dth s3 sync s3://SOURCE/folder s3://DESTINATION/folder
Add --src-endpoint-url or --dst-endpoint-url for a store that is not on AWS."""


@click.command()
@click.option(
    "--objects",
    default=3000,
    show_default=True,
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Small objects to copy, besides the odd and the large ones.",
)
@click.option(
    "--keep/--no-keep",
    default=None,
    help="Leave hub and stores running until Enter is pressed. [default: on a terminal]",
)
def demo(objects: int, keep: bool | None) -> int:
    """Copy objects between two stores on this machine, and verify every byte.

    Starts two S3 servers and a hub, fills one store with thousands of objects, strange names and
    large files, lets the hub copy them by a task, and reads everything back from both. Needs no
    account, about 1.5 GiB of memory and a minute.
    """
    check_installed()
    with _ending_in_order(), tempfile.TemporaryDirectory(prefix="dth-demo-") as name:
        folder = Path(name)
        run.use_own_settings(folder)
        click.echo("Starting two S3 stores and a hub on this machine.")
        with two_stores(folder) as urls, demo_hub(folder / "hub") as hub:
            good = _demonstrate(urls, hub, objects)
            if sys.stdin.isatty() and sys.stdout.isatty() if keep is None else keep:
                _keep(urls, hub)
    return 0 if good else 1


def _demonstrate(urls: Sequence[str], hub: DemoHub, small: int) -> bool:
    objects = samples(small)
    size = sum(sample.size for sample in objects)
    large = len(objects) - small - len(ODD_KEYS)
    click.echo(
        f"Filling the source with {amount(size)}: {small:,} small objects, {len(ODD_KEYS)} with "
        f"odd names, {large} large."
    )
    with _bar("filling", size) as tick:
        digests = run.fill(urls, objects, tick)

    command = run.sync_arguments(urls, hub.url)
    click.echo(f"\n$ {_lines(['dth', *command])}")
    started = time.monotonic()
    code = run.sync(command, hub)
    seconds = time.monotonic() - started
    task = run.the_task(hub)
    if not task:
        return False
    first = run.last_run(hub, task)
    click.echo("The same task once more.")
    second = run.run_again(hub, task)

    click.echo("Reading every object from both stores.")
    with _bar("verifying", 2 * size) as tick:
        verified = run.verify(urls, objects, digests, tick)

    click.echo()
    table(
        [
            ("objects", f"{len(objects):,}"),
            ("bytes", f"{size:,} ({amount(size)})"),
            ("seconds", f"{seconds:.1f}"),
            ("objects/s", f"{first.done / seconds:,.0f}"),
            ("MiB/s", f"{size / seconds / 1024**2:,.1f}"),
            ("failures", str(first.failed)),
            ("copied by the second run", str(second.done)),
            ("verified in both stores", f"{verified.objects:,} of {len(objects):,}"),
        ]
    )
    for problem in verified.problems[:SHOWN_PROBLEMS]:
        click.echo(f"  wrong: {shown(problem)}")
    good = (
        (code, first.done, second.done, second.failed) == (0, len(objects), 0, 0)
        and verified.objects == len(objects)
        and not verified.problems
    )
    click.echo(YOUR_TURN if good else "\nNot everything is as it should be.")
    return good


def _keep(urls: Sequence[str], hub: DemoHub) -> None:
    click.echo(
        f"\nThe hub runs at {hub.url} until you press Enter; sign in as admin, password "
        f"{hub.password}"
    )
    click.echo("To look at its task from another terminal:")
    click.echo(f"  export DTH_HUB={hub.url} DTH_TOKEN={hub.token}")
    click.echo("  dth task list")
    click.echo("and at the stores:")
    click.echo("  export AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo")
    for bucket, url in zip(run.BUCKETS, urls, strict=True):
        click.echo(f"  dth s3 ls s3://{bucket}/ --src-endpoint-url {url}")
    sys.stdin.readline()


def _lines(command: Sequence[str]) -> str:
    """The command as a shell takes it, one option per line."""
    text = ""
    for word in command:
        text += f" \\\n    {word}" if word.startswith("--") else f" {shlex.quote(word)}"
    return text.strip()


@contextlib.contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error while this lasts, if that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """What would end this process at once interrupts it instead, so that the stores and files go
    with it."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in signals}
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored in background jobs of scripts
    for number in signals[1:]:
        signal.signal(number, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
