"""All ports of one task over its `task.db`."""

from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Self

from dth.core.ports.platform import Look, SupervisedPlatform
from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.gauges import LocalGauges, read_gauges
from dth.platforms.local.images import LocalImages
from dth.platforms.local.limits import LocalLimits
from dth.platforms.local.queue import LocalQueue, read_depth
from dth.platforms.local.records import LocalRecords, newest_runs, why_paused
from dth.platforms.local.uploads import LocalUploads, live_uploads

DATABASE_FILE = "task.db"


@dataclass(frozen=True, slots=True)
class LocalPlatform(SupervisedPlatform):
    """The ports over the database of the task."""

    queue: LocalQueue
    records: LocalRecords
    images: LocalImages
    uploads: LocalUploads
    database: TaskDatabase

    async def look(self, runs: int = 20) -> Look:
        return await self.database.read(_look, runs)

    async def release_owner(self, owner: str | None) -> None:
        await self.queue.release_owner(owner)
        await self.uploads.release_owner(owner)

    async def set_back(self) -> None:
        await self.queue.wake()
        await self.uploads.set_back()

    async def prune(self, keep_runs: int) -> None:
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
