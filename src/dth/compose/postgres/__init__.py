"""Several machines that share a database: the command that runs a task, and those that help."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from dth.compose.local import process
from dth.core.plugin import Plugin
from dth.core.ports.platform import Platform
from dth.platforms.local.fork_server import ForkServer
from dth.platforms.postgres.platform import open_platform


def start_fork_server(address: str, machine: str, find: Callable[[str], Plugin]) -> ForkServer:
    """A fork server for processes whose tasks are in the database. `machine`: the name of this one.
    Its processes may work only while it holds the task. The folder of a task has the id of the task
    as its name."""

    @asynccontextmanager
    async def opens(state: Path, name: str) -> AsyncIterator[Platform]:
        async with open_platform(address, state.name, name, machine) as platform:
            yield platform

    return ForkServer(partial(process.run, find=find, opens=opens, within=f"{machine}/"))
