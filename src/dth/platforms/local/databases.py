"""The tasks' databases, open while somebody uses them. Within the hub, all users share one open
database per task."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dth.core.errors import BeingSetUp, NotFound
from dth.core.ports.platform import SupervisedPlatform
from dth.platforms.local.platform import open_platform


class Storage(Protocol):
    """Where the databases of tasks are. A task is named by its state directory, whose name is its
    id."""

    # Comes before the names of the hub's processes, if others use the same databases.
    within: str

    async def exists(self, state: Path) -> bool:
        """Whether the task has a database, or may have one."""
        ...

    def open(self, state: Path) -> AbstractAsyncContextManager[SupervisedPlatform]:
        """The task's platform; made where it is missing."""
        ...

    async def claim(self, state: Path) -> None:
        """Become the one hub that lets the task work. Raises StateError if it is another one."""
        ...

    async def offer(self, state: Path, text: str, most: int) -> None:
        """Let other machines help with a task that works. `text`: the parameters, as its processes
        read them. `most`: workers of all these machines together."""
        ...

    async def withdraw(self, state: Path) -> None:
        """Let other machines no longer help. They finish what they have begun."""
        ...

    async def settle(self, state: Path) -> None:
        """Delete the messages of a task that stops, and wait for other machines that work on
        some."""
        ...

    async def drop(self, state: Path) -> None:
        """Delete what the database has about the task."""
        ...


class FileStorage:
    """A file in the state directory of each task."""

    within = ""

    async def exists(self, state: Path) -> bool:
        return state.exists()

    @asynccontextmanager
    async def open(self, state: Path) -> AsyncIterator[SupervisedPlatform]:
        platform = await asyncio.to_thread(open_platform, state, "hub")
        try:
            yield platform
        finally:
            await asyncio.to_thread(platform.close)

    async def claim(self, state: Path) -> None:
        """The lock of the state directory is enough."""

    async def offer(self, state: Path, text: str, most: int) -> None:
        """No other machine has the file."""

    async def withdraw(self, state: Path) -> None:
        """Nobody helps."""

    async def settle(self, state: Path) -> None:
        """The lock of the state directory says that nobody works."""

    async def drop(self, state: Path) -> None:
        """It goes with the state directory."""


@dataclass(slots=True)
class Shared:
    """A task's platform. Only the holder of the lock opens or closes it, or removes its directory,
    so a task whose database is busy does not block other tasks."""

    platform: SupervisedPlatform | None = None
    opened: AsyncExitStack = field(default_factory=AsyncExitStack)
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Databases:
    """`folder`: parent of the tasks' state directories."""

    def __init__(self, folder: Path, storage: Storage) -> None:
        self._folder = folder
        self._storage = storage
        self._open: dict[str, Shared] = {}

    def state(self, id: str) -> Path:
        """A task's state directory. Ids are UUIDs; nothing else is accepted as a directory name."""
        if not id.replace("-", "").isalnum():
            raise NotFound(f"there is no task {id!r}")
        return self._folder / id

    def in_use(self, id: str) -> bool:
        """Whether somebody has the task's platform open."""
        return id in self._open

    @asynccontextmanager
    async def shared(self, id: str, *, make: bool = True) -> AsyncIterator[SupervisedPlatform]:
        """A task's platform, shared by all who use it at the same time and closed by the last one.
        Raises BeingSetUp if it does not exist yet, unless it may `make` it."""
        state = self.state(id)
        async with self._used(id) as shared:
            async with shared.lock:
                if shared.platform is None:
                    if not make and not await self._storage.exists(state):
                        raise BeingSetUp(f"task {id} is being set up; try again in a moment")
                    shared.platform = await shared.opened.enter_async_context(
                        self._storage.open(state)
                    )
                platform = shared.platform
            yield platform

    @asynccontextmanager
    async def alone(self, id: str) -> AsyncIterator[None]:
        """Hold off everybody who would open the task's platform."""
        async with self._used(id) as shared, shared.lock:
            yield

    @asynccontextmanager
    async def _used(self, id: str) -> AsyncIterator[Shared]:
        shared = self._open.setdefault(id, Shared())
        shared.users += 1
        try:
            yield shared
        finally:
            shared.users -= 1
            await asyncio.shield(self._close_unused(id, shared))

    async def _close_unused(self, id: str, shared: Shared) -> None:
        async with shared.lock:
            if not shared.users and shared.platform:
                shared.platform = None
                await shared.opened.aclose()
            # Somebody may have come while it was being closed.
            if not shared.users and self._open.get(id) is shared:
                del self._open[id]
