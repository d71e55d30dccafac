"""A hub whose tables and tasks are in a database, so that a hub elsewhere can take over."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from secrets import token_urlsafe

from dth.compose.local import process
from dth.compose.local.base import TASKS, Door, Ground
from dth.compose.postgres.forwarding import Leading, StandBy
from dth.core.errors import UsageError
from dth.core.ports.platform import Platform
from dth.platforms.local import hub_migrations
from dth.platforms.local.secrets import StoredSecrets
from dth.platforms.local.vault import DATABASE_FILE, encrypted_values, open_vault
from dth.platforms.postgres.address import shown
from dth.platforms.postgres.hub_database import PostgresHubDatabase, find_secret
from dth.platforms.postgres.leader import Leader, lead, replaced
from dth.platforms.postgres.machines import join, new_name
from dth.platforms.postgres.platform import open_platform
from dth.platforms.postgres.storage import PostgresStorage


class SharedBase:
    """`compose.local.base.HubBase`. The data directory has the settings, the key unless DTH_KEY has
    it, and what belongs to this machine alone: logs, and what comparisons found."""

    def __init__(self, data_dir: Path, address: str) -> None:
        """Raises UsageError for a data directory whose hub has its tables there."""
        if (data_dir / DATABASE_FILE).exists():
            raise UsageError(
                f"the data directory {data_dir} has a hub of its own ({DATABASE_FILE}); name "
                "another one for the database (--data-dir), or leave out --database and "
                "DTH_DATABASE"
            )
        self.data_dir = data_dir
        self.shown = f"{shown(address)}, and {data_dir}"
        self._address = address
        self._name = new_name()
        self._secrets = StoredSecrets(data_dir, find=partial(find_secret, address))

    def run(self, arguments: Sequence[str]) -> int:
        return process.run(
            arguments, secrets=self._secrets, opens=self._opens, within=f"{self._name}/"
        )

    @asynccontextmanager
    async def _opens(self, state: Path, name: str) -> AsyncIterator[Platform]:
        """Tasks are in the database. Preflights, forecasts and comparisons last no longer than this
        hub, so they have a file."""
        if state.parent.name != TASKS:
            async with process.in_state(state, name) as platform:
                yield platform
            return
        async with open_platform(self._address, state.name, name, self._name) as shared:
            yield shared

    @asynccontextmanager
    async def open(self, door: Door) -> AsyncIterator[Ground]:
        me = Leader(self._name, door.advertised, token_urlsafe(), door.certificate)
        stand_by = StandBy(door.headers)

        def follow(leader: Leader | None) -> None:
            stand_by.follow(leader)
            name = leader.name if leader else "no hub"
            door.stand_by(stand_by, f"stands by at {door.url}: {name} leads")

        async with join(self._address, self._name) as machine:
            database = await asyncio.to_thread(
                PostgresHubDatabase.open, self._address, hub_migrations.prepare
            )
            try:
                # A hub without the key cannot lead.
                if values := await database.read(encrypted_values):
                    open_vault(self.data_dir, values)
                # Before there is a key: two hubs must not both make one.
                await lead(database, me, follow)
                stand_by.follow(None)
                vault = open_vault(self.data_dir, await database.read(encrypted_values))
                storage = PostgresStorage(self._address, machine)
                yield Ground(
                    database,
                    vault,
                    storage,
                    False,
                    partial(replaced, database),
                    partial(Leading, token=me.token),
                )
            finally:
                await asyncio.to_thread(database.close)
