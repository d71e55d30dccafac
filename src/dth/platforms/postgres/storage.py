"""The tasks of a hub in a database."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from dth.core import confinement
from dth.core.errors import NotFound
from dth.core.ports.platform import SupervisedPlatform
from dth.platforms.postgres import machines
from dth.platforms.postgres.database import PostgresDatabase, drop_task, open_database
from dth.platforms.postgres.machines import GuestTerms, JoinedMachine
from dth.platforms.postgres.platform import open_platform


class PostgresStorage:
    """`local.databases.Storage`. A state directory has only the files of this machine."""

    def __init__(self, address: str, machine: JoinedMachine) -> None:
        self._address = address
        self._machine = machine
        self.within = f"{machine.name}/"

    async def exists(self, state: Path) -> bool:
        async with open_database(self._address, "", self.within) as database:
            return bool(await database.rows(FIND, (state.name,)))

    @asynccontextmanager
    async def open(self, state: Path) -> AsyncIterator[SupervisedPlatform]:
        async with open_platform(self._address, state.name, f"{self.within}hub") as platform:
            yield platform

    async def claim(self, state: Path) -> None:
        async with self._task(state) as database:
            if not await self._machine.claim(database):
                raise NotFound(f"there is no task {state.name!r}")

    async def offer(self, state: Path, text: str, most: int) -> None:
        network = confinement.network()
        if network is None:
            return  # nobody has said where its tasks may connect
        parameters = json.loads(text)
        terms = GuestTerms(network.allowed(), most)
        async with self._task(state) as task:
            await machines.offer(
                task, self._machine.name, parameters.pop("type"), parameters, terms
            )

    async def withdraw(self, state: Path) -> None:
        async with self._task(state) as task:
            await machines.withdraw(task, self._machine.name)

    async def settle(self, state: Path) -> None:
        async with self._task(state) as task:
            await machines.settle(task)

    def _task(self, state: Path) -> AbstractAsyncContextManager[PostgresDatabase]:
        return open_database(self._address, state.name, f"{self.within}hub")

    async def drop(self, state: Path) -> None:
        if await self.exists(state):
            await self.claim(state)
            await drop_task(self._address, state.name, self._machine.name)


FIND = "SELECT FROM dth.task WHERE id = %s"
