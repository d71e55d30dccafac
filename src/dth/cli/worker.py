"""`dth worker`: a machine that helps with the transfers and the tasks of a database."""

import asyncio
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import ValidationError

from dth.cli import start
from dth.cli.database import database_option
from dth.cli.running import run_work
from dth.cli.s3_options import default_workers
from dth.compose.local import process
from dth.core.config import data_directory
from dth.core.confinement import Confinement
from dth.core.errors import HubError, TransferError, UsageError
from dth.core.network import Network
from dth.core.plugin import Plugin
from dth.core.secrets import SecretStore
from dth.core.transport import Transport
from dth.images import plugin as images
from dth.images.parameters import EcrParameters
from dth.images.skopeo import command as skopeo
from dth.images.task import open_route
from dth.objects import plugin as objects
from dth.objects.parameters import S3Parameters
from dth.platforms.local.filesystem import lock_state_directory
from dth.platforms.local.fork_server import ForkServer

if TYPE_CHECKING:
    from dth.compose.postgres.guest import Reach

SETTINGS_FILE = "hub.yaml"
# Where the tasks of a hub may connect from here, unless the settings say it. What listens on this
# machine alone is another thing here than on the hub's machine.
NETWORK = Network(private=True, whose="worker")


@click.command()
@database_option("The database with the transfers, or of a hub.", required=True)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="The most worker processes. [default: one per processor, up to 4]",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="For the tasks of a hub: where hub.yaml says what they may use here, and where the file "
    "key may be. [default: DTH_DATA_DIR, or ~/.local/share/dth]",
)
def worker(database: str, workers: int | None, data_dir: Path | None) -> int:
    """Help with the transfers that dth s3 sync --database runs, and with the tasks of the hub that
    dth up --database runs, until Ctrl-C or SIGTERM.

    This machine reaches the stores by itself. For a transfer, it needs the profiles, secrets and
    files that the command names. For tasks of a hub, it needs the hub's key (DTH_KEY). It waits for
    work, and helps with all of the database. On SIGTERM it finishes the objects in progress first.
    For tasks for images, it needs skopeo.
    """
    from dth.compose.postgres.guest import Guest
    from dth.platforms.postgres.machines import new_name

    most = workers or default_workers()
    plugins: dict[str, Plugin] = {objects.PLUGIN.type: objects.PLUGIN}
    if lacks := skopeo.lacking():
        _tell(f"helps only with objects, not with images: {lacks}")
    else:
        plugins[images.PLUGIN.type] = images.PLUGIN
    for each in plugins.values():
        process.load(each)
    name, folder = new_name(), data_dir or data_directory()
    guest = Guest(database, name, folder, _confinement(folder), plugins, REACH)
    with ForkServer(guest.run) as fork_server:
        return run_work(_help(database, name, fork_server, most, plugins))


def _confinement(folder: Path) -> Confinement:
    """What the users of a hub may use of this machine. Raises UsageError."""
    file = folder / SETTINGS_FILE
    if not file.exists():
        return Confinement(network=NETWORK)
    from dth.compose.local.server import Settings

    found = Settings.read(file, NETWORK).confinement
    return replace(found, network=replace(found.network, whose=NETWORK.whose))


async def _reach_stores(parameters: S3Parameters, secrets: SecretStore) -> None:
    """Reach both sides once, as the command of the transfer did on its machine."""
    with Transport() as transport:
        await start.open_route(parameters, transport, secrets)


async def _reach_registries(parameters: EcrParameters, secrets: SecretStore) -> None:
    """Sign in at both registries. Public ones are asked only for images."""
    with Transport() as transport:
        route = await open_route(parameters, transport, secrets)
        for side, front in (("source", route.origin.front), ("destination", route.dest)):
            if front is None:
                continue
            if obstacle := skopeo.obstacle(front.registry.host):
                raise UsageError(f"{side}: {obstacle}")
            try:
                await front.registry.ping()
            except TransferError as error:
                raise UsageError(f"{side}: {error}") from None


REACH: "Mapping[str, Reach]" = {
    objects.PLUGIN.type: _reach_stores,
    images.PLUGIN.type: _reach_registries,
}


def _tell(line: str) -> None:
    click.echo(f"dth worker: {line}", err=True)


async def _help(
    database: str, name: str, fork_server: ForkServer, most: int, plugins: Mapping[str, Plugin]
) -> int:
    from dth.compose.postgres.worker import Helper
    from dth.platforms.postgres.address import shown
    from dth.platforms.postgres.machines import OpenTask, join

    def show(task: OpenTask) -> str:
        plugin = plugins[task.type]
        try:
            ends = plugin.ends(plugin.parameters.model_validate(task.parameters))
        except (HubError, ValidationError):
            return task.id
        route = f"{ends.source} -> {ends.destination}"
        return f"task {task.id} of the hub ({route})" if task.terms else route

    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dth-worker-")))
        lock = stack.enter_context(lock_state_directory(folder))
        machine = await stack.enter_async_context(join(database, name))
        helper = Helper(
            machine, fork_server, lock, folder, most, plugins=plugins, show=show, tell=_tell
        )
        _tell(f"{name} waits for transfers in {shown(database)}, with up to {most} workers")
        try:
            await helper.run()
        except asyncio.CancelledError:
            _tell("ends: what was in progress is finished or given back")
    return 0
