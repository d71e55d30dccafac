"""`dth worker`: a machine that helps with the transfers of a database."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import click
from pydantic import ValidationError

from dth.cli import start
from dth.cli.database import database_option
from dth.cli.running import run_work
from dth.cli.s3_options import default_workers
from dth.compose.local import process
from dth.core.config import secrets_directory
from dth.core.errors import HubError, StateError
from dth.core.transport import Transport
from dth.objects.parameters import S3Parameters
from dth.objects.plugin import PLUGIN
from dth.objects.store.credentials import FileSecrets
from dth.platforms.local.filesystem import lock_state_directory
from dth.platforms.local.nursery import Nursery


@click.command()
@database_option("The database with the transfers.", required=True)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="The most worker processes. [default: one per processor, up to 4]",
)
def worker(database: str, workers: int | None) -> int:
    """Help with the transfers that dth s3 sync --database runs, until Ctrl-C or SIGTERM.

    This machine reaches the stores by itself: it needs the profiles, secrets and files that the
    command of a transfer names. It waits for transfers, and helps with all of the database. On
    SIGTERM it finishes the objects in progress first.
    """
    from dth.compose.postgres import start_nursery
    from dth.platforms.postgres.machines import new_name

    most = workers or default_workers()
    process.load(PLUGIN)
    name = new_name()
    with start_nursery(database, name, process.only(PLUGIN), holds=False) as nursery:
        return run_work(_help(database, name, nursery, most))


async def _help(database: str, name: str, nursery: Nursery, most: int) -> int:
    from dth.compose.postgres.worker import Helper
    from dth.platforms.postgres.address import shown
    from dth.platforms.postgres.machines import OpenTask, join

    def parameters(task: OpenTask) -> S3Parameters:
        """Raises StateError for those of a version with other parameters."""
        try:
            return S3Parameters.model_validate(task.parameters)
        except ValidationError:
            raise StateError("another version of Data Transfer Hub runs it") from None

    def show(task: OpenTask) -> str:
        try:
            ends = PLUGIN.ends(parameters(task))
        except HubError:
            return task.id
        return f"{ends.source} -> {ends.destination}"

    async def check(task: OpenTask) -> str:
        """Reach both sides once, as the command of the transfer did on its machine."""
        try:
            with Transport() as transport:
                secrets = FileSecrets(secrets_directory())
                await start.open_route(parameters(task), transport, secrets)
        except HubError as error:
            return str(error)
        return ""

    def tell(line: str) -> None:
        click.echo(f"dth worker: {line}", err=True)

    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dth-worker-")))
        lock = stack.enter_context(lock_state_directory(folder))
        machine = await stack.enter_async_context(join(database, name))
        helper = Helper(machine, nursery, lock, folder, most, check=check, show=show, tell=tell)
        tell(f"{name} waits for transfers in {shown(database)}, with up to {most} workers")
        try:
            await helper.run()
        except asyncio.CancelledError:
            tell("ends: what was in progress is finished or given back")
    return 0
