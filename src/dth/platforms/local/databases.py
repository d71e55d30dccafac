"""The tasks' databases, open while somebody uses them. Within the hub, all users share one open
database per task."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dth.core.errors import BeingSetUp, NotFound
from dth.platforms.local.platform import LocalPlatform, open_platform


@dataclass(slots=True)
class Shared:
    """A task's platform. Only the holder of the lock opens or closes it, or removes its directory,
    so a task whose database is busy does not block other tasks."""

    platform: LocalPlatform | None = None
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Databases:
    """`folder`: parent of the tasks' state directories."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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
    async def shared(self, id: str, *, make: bool = True) -> AsyncIterator[LocalPlatform]:
        """A task's platform, shared by all who use it at the same time and closed by the last one.
        Raises BeingSetUp if it does not exist yet, unless it may `make` it."""
        state = self.state(id)
        async with self._used(id) as shared:
            async with shared.lock:
                if shared.platform is None:
                    if not make and not state.exists():
                        raise BeingSetUp(f"task {id} is being set up; try again in a moment")
                    shared.platform = await asyncio.to_thread(open_platform, state, "hub")
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
                unused, shared.platform = shared.platform, None
                await asyncio.to_thread(unused.close)
            # Somebody may have come while it was being closed.
            if not shared.users and self._open.get(id) is shared:
                del self._open[id]
