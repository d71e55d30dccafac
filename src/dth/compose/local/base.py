"""What a hub stands on: where its tables, its key and the databases of its tasks are."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from dth.compose.local import process
from dth.platforms.local.databases import FileStorage, Storage
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.secrets import StoredSecrets
from dth.platforms.local.sql import SqlDatabase
from dth.platforms.local.vault import DATABASE_FILE, Vault, open_vault

TASKS = "tasks"  # the folder of the state directories, in the data directory


class Door:
    """What answers at the hub's address: one application after the other, and the first one opens
    it. `advertised`: the address for other hubs; "" if they cannot know it. `certificate`: the
    hub's own, as PEM. `headers`: of every answer."""

    def __init__(
        self,
        url: str,
        advertised: str,
        certificate: str,
        headers: Mapping[str, str],
        open: Callable[[], asyncio.Task[None]],
        say: Callable[[str], None],
    ) -> None:
        self.url = url
        self.advertised = advertised
        self.certificate = certificate
        self.headers = headers
        self.stands_by = False
        self._open = open
        self._say = say
        self._serving: asyncio.Task[None] | None = None
        self._app: ASGIApp | None = None

    def answer(self, app: ASGIApp) -> asyncio.Task[None]:
        """From now on, this application answers. Returns what serves it."""
        self._app, self.stands_by = app, False
        if self._serving is None:
            self._serving = self._open()
        return self._serving

    def stand_by(self, app: ASGIApp, why: str) -> None:
        """As `answer`, while another hub works. `why`: what the hub does, for people."""
        self.answer(app)
        self.stands_by = True
        self._say(why)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._app is not None, "nobody can come in before the door is open"
        await self._app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Ground:
    """What an open `HubBase` gives a hub. `replaced` returns when another hub has taken over.
    `among_others`: the hub's application, as other hubs may use it."""

    database: SqlDatabase
    vault: Vault
    storage: Storage
    # Whether all this is in the data directory, so that a copy of that is a backup.
    in_data_dir: bool
    replaced: Callable[[], Awaitable[object]]
    among_others: Callable[[ASGIApp], ASGIApp]


class HubBase(Protocol):
    """Used in two processes: in the fork server `run`, in the hub `open`."""

    data_dir: Path
    # Where everything is, for people.
    shown: str

    def run(self, arguments: Sequence[str]) -> int:
        """Run one process of a task, in a fork of the fork server."""
        ...

    def open(self, door: Door) -> AbstractAsyncContextManager[Ground]:
        """For the life of the hub. While another hub works, waits, and lets the door answer. Raises
        StateError if it cannot be used."""
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
    async def open(self, door: Door) -> AsyncIterator[Ground]:
        vault = open_vault(self.data_dir)
        with HubDatabase.open(self.data_dir / DATABASE_FILE) as database:
            # Nobody takes over while this process has locked the data directory.
            yield Ground(
                database, vault, FileStorage(), True, asyncio.Event().wait, lambda app: app
            )
