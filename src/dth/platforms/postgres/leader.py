"""Which of the hubs that use a database works with it: one leads, and the others stand by.

A hub is a machine with heartbeats (`machines`), under a name that is never used again. It leads
until it is silent for so long that it counts as dead, by the clock of the database. Each write of
the leader checks that it still leads, so a hub that was paused and replaced changes nothing.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from dth.core.errors import StateError
from dth.platforms.postgres.database import NOW
from dth.platforms.postgres.hub_database import LEADER, PostgresHubDatabase
from dth.platforms.postgres.machines import BEAT, DEAD_AFTER

LIVING = f"""
    SELECT name, url, token, certificate FROM leader
    WHERE EXISTS (SELECT FROM dth.machine WHERE machine.name = leader.name AND seen > {NOW} - {DEAD_AFTER})
"""
INSERT = "INSERT INTO leader (name, url, token, certificate) VALUES (%s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class Leader:
    """The hub that leads, as others see it. `url`: where they reach it; "" if it did not say.
    `token`: proves that another hub has forwarded a request. `certificate`: the one that it has for
    TLS, as PEM."""

    name: str
    url: str = ""
    token: str = ""
    certificate: str = ""


async def lead(
    database: PostgresHubDatabase, me: Leader, follow: Callable[[Leader | None], None]
) -> None:
    """Become the one hub that works with the database: at once, or when the one that leads ends or
    dies. Until then, calls `follow` with the one that leads whenever it changes; None: nobody does.
    Raises StateError if the database cannot be used from the start."""
    known: Leader | None = await database.write(_lead, me)
    if known:
        follow(known)
    # Since when the database answers. After a while without it everybody was silent: the hub that
    # led gets the time to say that it lives.
    steady = -math.inf
    while known or time.monotonic() < steady + DEAD_AFTER:
        await asyncio.sleep(BEAT / 4)
        try:
            leader = await database.read(_living)
            if steady == math.inf:
                steady = time.monotonic()
            if leader is None and time.monotonic() >= steady + DEAD_AFTER:
                leader = await database.write(_lead, me)
        except StateError:
            steady = math.inf
            continue
        if _is_new(leader, known):
            known = leader
            follow(known)
    database.leader = me.name


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


def _is_new(leader: Leader | None, known: Leader | None) -> bool:
    return (leader and leader.name) != (known and known.name)


def living_hub(connection: Connection) -> str:
    """The hub that works with the database; "" if there is none."""
    if not connection.exec_driver_sql("SELECT to_regclass('dth.machine')").scalar():
        return ""
    leader = _living(connection)
    return leader.name if leader else ""


def _leader(connection: Connection) -> str:
    return str(connection.exec_driver_sql(LEADER).scalar() or "")


def _living(connection: Connection) -> Leader | None:
    row = connection.exec_driver_sql(LIVING).one_or_none()
    return Leader(*row) if row else None


def _lead(connection: Connection, me: Leader) -> Leader | None:
    """The living hub that leads; None if it is this one from now on."""
    if leader := _living(connection):
        return leader
    connection.exec_driver_sql("DELETE FROM leader")
    connection.exec_driver_sql(INSERT, (me.name, me.url, me.token, me.certificate))
    return None
