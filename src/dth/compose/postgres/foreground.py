"""Runs a task in the foreground of one machine, while others help: everything but logs is in the
database."""

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dth.platforms.local.filesystem import lock_state_directory
from dth.platforms.local.foreground import Foreground, begin, has_begun, write_task
from dth.platforms.local.fork_server import ForkServer
from dth.platforms.local.supervisor import Supervisor, one_by_one
from dth.platforms.postgres.database import drop_task
from dth.platforms.postgres.machines import JoinedMachine, join
from dth.platforms.postgres.platform import PostgresPlatform, open_platform


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task is: the database and its id there; and the name of this machine."""

    address: str
    task: str
    machine: str


@asynccontextmanager
async def open_shared(
    place: Place,
    type: str,
    task: Mapping[str, Any],
    max_workers: int,
    fork_server: ForkServer,
    rates: Mapping[str, float],
) -> AsyncIterator[Foreground]:
    """Become the one command that runs the task, and begin its run or resume the interrupted one.

    `task`: the parameters as the processes read them. `max_workers`: on this machine. `rates`: the
    rates over all machines. The task is deleted from the database if nothing is left to do.
    """
    with tempfile.TemporaryDirectory(prefix="dth-") as folder:
        state = Path(folder) / place.task
        with lock_state_directory(state) as lock:
            write_task(state, {**task, "type": type})
            async with (
                join(place.address, place.machine) as machine,
                _claimed(place, machine, type, task) as platform,
            ):
                supervisor = Supervisor(
                    state,
                    platform,
                    lock,
                    fork_server,
                    one_by_one(max_workers),
                    # A machine is done with an object only when its message is gone.
                    to_the_last_message=True,
                    within=f"{place.machine}/",
                )
                foreground = await begin(supervisor, rates)
                yield foreground
                if not (foreground.keep and await has_begun(platform)):
                    await drop_task(place.address, place.task, place.machine)


@asynccontextmanager
async def _claimed(
    place: Place, machine: JoinedMachine, type: str, task: Mapping[str, Any]
) -> AsyncIterator[PostgresPlatform]:
    """The task, once this machine is the one that runs it."""
    process = f"{place.machine}/supervisor"
    while True:
        async with open_platform(place.address, place.task, process) as platform:
            if await machine.claim(platform.database, type, task):
                yield platform
                return
