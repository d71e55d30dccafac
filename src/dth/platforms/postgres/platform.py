"""All ports of one task in a database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from dth.core.ports.platform import Platform
from dth.platforms.postgres.database import Database, open_database
from dth.platforms.postgres.gauges import PostgresGauges
from dth.platforms.postgres.images import PostgresImages
from dth.platforms.postgres.limits import PostgresLimits
from dth.platforms.postgres.queue import PostgresQueue
from dth.platforms.postgres.records import PostgresRecords
from dth.platforms.postgres.uploads import PostgresUploads


@dataclass(frozen=True, slots=True)
class PostgresPlatform(Platform):
    """The ports, and what a supervisor needs in addition (`release_owner`, `prune`)."""

    queue: PostgresQueue
    records: PostgresRecords
    images: PostgresImages
    uploads: PostgresUploads
    database: Database

    async def release_owner(self, owner: str) -> None:
        """Release at once what the dead process `owner` had taken: messages, and uploads to
        complete."""
        await self.queue.release_owner(owner)
        await self.uploads.release_owner(owner)

    async def prune(self, keep_runs: int) -> None:
        """Delete all ended runs except the newest `keep_runs`. Records stay, and for each image its
        newest record and the one of its last copy."""
        if await self.records.prune(keep_runs):
            await self.images.prune()


@asynccontextmanager
async def open_platform(address: str, task: str, process: str) -> AsyncIterator[PostgresPlatform]:
    """Open the task with the id `task` in the database at `address` (postgresql://...), as the
    process named `process`. No two processes that work at the same time have the same name."""
    async with open_database(address, task, process) as database:
        queue = PostgresQueue(database)
        try:
            yield PostgresPlatform(
                queue=queue,
                records=PostgresRecords(database),
                images=PostgresImages(database),
                uploads=PostgresUploads(database),
                limits=PostgresLimits(database),
                gauges=PostgresGauges(database),
                database=database,
            )
        finally:
            await queue.close()
