"""All ports of one task in a database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from dth.core.ports.platform import Look, SupervisedPlatform
from dth.core.ports.queue import Depth
from dth.platforms.postgres import runs as ledgers
from dth.platforms.postgres.database import PostgresDatabase, Work, open_database
from dth.platforms.postgres.gauges import PostgresGauges, read_gauges
from dth.platforms.postgres.images import PostgresImages
from dth.platforms.postgres.limits import PostgresLimits
from dth.platforms.postgres.machines import free_here
from dth.platforms.postgres.queue import DEPTH, PostgresQueue
from dth.platforms.postgres.records import PostgresRecords
from dth.platforms.postgres.uploads import LIVE, PostgresUploads, read_uploads


@dataclass(frozen=True, slots=True)
class PostgresPlatform(SupervisedPlatform):
    """The ports over a database that several machines use. The name of a process is
    MACHINE/PROCESS."""

    queue: PostgresQueue
    records: PostgresRecords
    images: PostgresImages
    uploads: PostgresUploads
    database: PostgresDatabase

    async def look(self, runs: int = 20) -> Look:
        """Raises StateError if another command has taken the task over."""
        return await self.database.write(_look, runs)

    async def release_owner(self, owner: str | None) -> None:
        if owner is None:
            machine = self.database.process.partition("/")[0]
            await self.database.write(free_here, machine)
            return
        await self.queue.release_owner(owner)
        await self.uploads.release_owner(owner)

    async def set_back(self) -> None:
        """Nothing has to be corrected: all times are those of the database."""

    async def prune(self, keep_runs: int) -> None:
        if await self.records.prune(keep_runs):
            await self.images.prune()


async def _look(work: Work, runs: int) -> Look:
    await work.check_holder()
    [depth] = await work.rows(DEPTH)
    [[paused]] = await work.rows(ledgers.PAUSED)
    return Look(
        await read_gauges(work),
        await read_uploads(work, LIVE),
        await ledgers.newest_runs(work, runs),
        Depth(*depth),
        str(paused),
    )


@asynccontextmanager
async def open_platform(
    address: str, task: str, process: str, holder: str = ""
) -> AsyncIterator[PostgresPlatform]:
    """Open the task with the id `task` in the database at `address` (postgresql://...), as the
    process named `process`. No two processes that work at the same time have the same name.
    `holder`: the machine that holds the task, for processes that must not work without that."""
    async with open_database(address, task, process) as database:
        database.holder = holder
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
