"""All ports of one task over its `task.db`."""

from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Self

from dth.core.ports.gauges import Gauge
from dth.core.ports.platform import Platform
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Run
from dth.core.ports.uploads import GiantUpload
from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.gauges import LocalGauges, read_gauges
from dth.platforms.local.images import LocalImages
from dth.platforms.local.limits import LocalLimits
from dth.platforms.local.queue import LocalQueue, read_depth
from dth.platforms.local.records import LocalRecords, newest_runs, why_paused
from dth.platforms.local.uploads import LocalUploads, live_uploads

DATABASE_FILE = "task.db"


@dataclass(frozen=True, slots=True)
class Look:
    """The state of a task at one moment."""

    gauges: list[Gauge]
    uploads: list[GiantUpload]  # the live ones
    runs: list[Run]  # the newest ones
    depth: Depth
    paused: str


@dataclass(frozen=True, slots=True)
class LocalPlatform(Platform):
    """The ports, and what the supervisor needs in addition (`look`, `release_owner`, `set_back`,
    `prune`)."""

    queue: LocalQueue
    records: LocalRecords
    images: LocalImages
    uploads: LocalUploads
    database: TaskDatabase

    async def look(self, runs: int = 20) -> Look:
        """The state of the task, with its newest `runs` runs."""
        return await self.database.read(_look, runs)

    async def release_owner(self, owner: str | None) -> None:
        """Release at once what the dead process `owner` had taken: messages, and uploads to
        complete. None: all processes have died."""
        await self.queue.release_owner(owner)
        await self.uploads.release_owner(owner)

    async def set_back(self) -> None:
        """Correct times that were written while the clock was ahead, so that nothing waits for
        them."""
        await self.queue.wake()
        await self.uploads.set_back()

    async def prune(self, keep_runs: int) -> None:
        """Delete all ended runs except the newest `keep_runs`. Records stay, and for each image its
        newest record and the one of its last copy."""
        if await self.records.prune(keep_runs):
            await self.images.prune()

    def close(self) -> None:
        """Finish the work that was begun, and close the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _look(connection: Connection, runs: int) -> Look:
    return Look(
        read_gauges(connection),
        live_uploads(connection),
        newest_runs(connection, runs),
        read_depth(connection),
        why_paused(connection),
    )


def open_platform(state_dir: Path, owner: str) -> LocalPlatform:
    """Open the task whose state is in `state_dir`, as the process named `owner`.

    Each process opens it separately: a SQLite connection does not survive a fork.
    """
    database = TaskDatabase.open(state_dir / DATABASE_FILE)
    return LocalPlatform(
        queue=LocalQueue(database, owner),
        records=LocalRecords(database),
        images=LocalImages(database),
        uploads=LocalUploads(database),
        limits=LocalLimits(database),
        gauges=LocalGauges(database),
        database=database,
    )
