"""Which of the hubs that use a database works with it: one leads, and the others are refused.

A hub is a machine with heartbeats (`machines`), under a name that is never used again. It leads
until it is silent for so long that it counts as dead, by the clock of the database. Each write of
the leader checks that it still leads, so a hub that was paused and replaced changes nothing.
"""

import asyncio
import time

from sqlalchemy import Connection

from dth.core.errors import StateError
from dth.platforms.postgres.address import shown
from dth.platforms.postgres.database import NOW
from dth.platforms.postgres.hub_database import LEADER, PostgresHubDatabase
from dth.platforms.postgres.machines import BEAT, CLAIM_WAIT, DEAD

LIVES = f"SELECT EXISTS (SELECT FROM dth.machine WHERE name = %s AND seen > {NOW} - {DEAD})"


async def lead(database: PostgresHubDatabase, name: str) -> None:
    """Become the one hub that works with the database. One that was killed leads until it counts as
    dead, so this waits. Raises StateError if another one works."""
    deadline = time.monotonic() + CLAIM_WAIT
    while other := await database.write(_lead, name):
        if time.monotonic() > deadline:
            raise StateError(
                f"another hub works with the database {shown(database.address)}: {other}; end it "
                "first. If it dies, a hub that is started takes over after "
                f"{DEAD:.0f} seconds"
            )
        await asyncio.sleep(BEAT / 4)
    database.leader = name


async def replaced(database: PostgresHubDatabase) -> None:
    """Return when another hub leads."""
    while True:
        await asyncio.sleep(BEAT)
        try:
            leader = await database.read(_leader)
        except StateError:  # the database is away; nobody leads without it
            continue
        if leader != database.leader:
            return


def _leader(connection: Connection) -> str:
    return str(connection.exec_driver_sql(LEADER).scalar() or "")


def _lead(connection: Connection, name: str) -> str:
    """The living hub that leads; "" if it is this one from now on."""
    leader = _leader(connection)
    if leader and connection.exec_driver_sql(LIVES, (leader,)).scalar():
        return leader
    connection.exec_driver_sql("DELETE FROM leader")
    connection.exec_driver_sql("INSERT INTO leader VALUES (%s)", (name,))
    return ""
