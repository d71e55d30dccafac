"""What a hub stands on: where its tables, its key and the databases of its tasks are."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dth.compose.local import process
from dth.platforms.local.databases import FileStorage, Storage
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.secrets import StoredSecrets
from dth.platforms.local.sql import SqlDatabase
from dth.platforms.local.vault import DATABASE_FILE, Vault, open_vault

TASKS = "tasks"  # the folder of the state directories, in the data directory


@dataclass(frozen=True, slots=True)
class Ground:
    """What an open `HubBase` gives a hub. `replaced` returns when another hub has taken over."""

    database: SqlDatabase
    vault: Vault
    storage: Storage
    # Whether all this is in the data directory, so that a copy of that is a backup.
    in_data_dir: bool
    replaced: Callable[[], Awaitable[object]]


class HubBase(Protocol):
    """Used in two processes: in the nursery `run`, in the hub `open`."""

    data_dir: Path
    # Where everything is, for people.
    shown: str

    def run(self, arguments: Sequence[str]) -> int:
        """Run one process of a task, in a fork of the nursery."""
        ...

    def open(self) -> AbstractAsyncContextManager[Ground]:
        """For the life of the hub. Raises StateError if it cannot be used."""
        ...


class Files:
    """Everything is in the data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.shown = str(data_dir)
        self._secrets = StoredSecrets(data_dir)

    def run(self, arguments: Sequence[str]) -> int:
        return process.run(arguments, secrets=self._secrets)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Ground]:
        vault = open_vault(self.data_dir)
        with HubDatabase.open(self.data_dir / DATABASE_FILE) as database:
            # Nobody takes over while this process has locked the data directory.
            yield Ground(database, vault, FileStorage(), True, asyncio.Event().wait)
