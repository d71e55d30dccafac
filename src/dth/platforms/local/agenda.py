"""What the keeper is to do, and when. It is decided from `hub.db` alone: a task that waits costs a row, nothing else.

Of each task there is when it is to be looked at (`look_at`), besides its schedule (`next_run`). Whatever changes a task
sets that to now, in the same transaction; only a look that found nothing to do moves it on. So nothing is forgotten,
whenever the hub is killed.
"""

import time
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from dth.hub.model import Progress, Task
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.hub_schema import task
from dth.platforms.local.tasks import task_of

CROWD = 500  # tasks of one kind that are looked at, work or wait for a place at once: the others follow
LONGEST = 86_400.0  # seconds for which a task may be held


@dataclass(frozen=True, slots=True)
class Rest:
    """Until when there is nothing to do for a task as it was in this version; None: until it is changed. `held`: its
    schedule does not matter until then, as its window is closed."""

    version: int
    until: float | None = None
    held: bool = False


class Agenda:
    def __init__(self, database: HubDatabase) -> None:
        self._database = database

    async def due(self, now: float) -> list[str]:
        """The tasks that there is something to do for, those that have waited for longest first."""
        return await self._database.read(_due, now)

    async def next(self, now: float) -> float | None:
        """When the next one comes after `now`, as far as is known."""
        return await self._database.read(_next, now)

    async def mark(self, id: str) -> None:
        """Look at this task now."""
        await self._database.write(Connection.exec_driver_sql, MARK, (id,))

    async def rest(self, id: str, rest: Rest) -> bool:
        """Leave a task alone. False: it is not any more as it was when it was looked at; look again."""
        return await self._database.write(_rest, id, rest)

    async def scheduled(self, after: str, limit: int) -> list[Task]:
        """Tasks that wait for their schedule, by pages in the order of their ids."""
        return await self._database.read(_scheduled, after, limit)

    async def set_back(self) -> None:
        """Nobody is held for longer than can be, as if the clock had been ahead."""
        await self._database.write(Connection.exec_driver_sql, SET_BACK, (time.time() + LONGEST,))


def _due(connection: Connection, now: float) -> list[str]:
    values = {"now": now, "most": CROWD}
    found = [row.id for query in DUE for row in connection.exec_driver_sql(query, values)]
    return list(dict.fromkeys(found))


# A query for each kind: many tasks of one kind do not keep the others out. The words of `progress` are no parameters:
# SQLite must see which index fits.
LOOK = "SELECT id FROM task WHERE progress = '{}' AND look_at <= :now ORDER BY look_at, rowid LIMIT :most"
DUE = (
    LOOK.format("STOPPING"),
    LOOK.format("STARTING"),
    """SELECT id FROM task WHERE progress = 'IN_PROGRESS' AND held = 0 AND next_run > 0 AND next_run <= :now
    ORDER BY next_run LIMIT :most""",
    LOOK.format("IN_PROGRESS"),
)


def _next(connection: Connection, now: float) -> float | None:
    found = [connection.exec_driver_sql(query, {"now": now}).scalar() for query in NEXT]
    return min((moment for moment in found if moment is not None), default=None)


NEXT_LOOK = "SELECT min(look_at) FROM task WHERE progress = '{}' AND look_at > :now"
NEXT = (
    *(NEXT_LOOK.format(progress) for progress in ("STOPPING", "STARTING", "IN_PROGRESS")),
    "SELECT min(next_run) FROM task WHERE progress = 'IN_PROGRESS' AND held = 0 AND next_run > :now",
)
MARK = "UPDATE task SET look_at = 0, held = 0 WHERE id = ?"
SET_BACK = "UPDATE task SET look_at = 0, held = 0 WHERE progress = 'IN_PROGRESS' AND held = 1 AND look_at > ?"


def _rest(connection: Connection, id: str, rest: Rest) -> bool:
    this = (task.c.id == id) & (task.c.version == rest.version)
    values = {"look_at": rest.until, "held": int(rest.held)}
    return connection.execute(update(task).where(this).values(values)).rowcount == 1


def _scheduled(connection: Connection, after: str, limit: int) -> list[Task]:
    waiting = (task.c.progress == Progress.IN_PROGRESS.value) & (task.c.schedule_type == "FIXED_RATE")
    rows = connection.execute(select(task).where(waiting, task.c.id > after).order_by(task.c.id).limit(limit))
    return [task_of(row) for row in rows]
