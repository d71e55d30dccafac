"""What the keeper must do, and when. All of it comes from `hub.db`: a waiting task costs one row
and nothing else.

For each task there is the time of its next look (`look_at`), in addition to its schedule
(`next_run`). Every change of a task sets `look_at` to now, in the same transaction; only a look
that finds nothing to do postpones it. So nothing is forgotten, whenever the hub is killed.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from dth.core import clock
from dth.hub.model import Progress, Task
from dth.platforms.local.hub_schema import task
from dth.platforms.local.sql import POSTGRES, SQLITE, SqlDatabase, run, spell
from dth.platforms.local.tasks import task_of

# Tasks of one kind that are checked, work or wait for a place at the same time; the others follow.
CROWD = 500
# The most seconds for which a task may be held.
LONGEST = 86_400.0


@dataclass(frozen=True, slots=True)
class Rest:
    """Until when a task has nothing to do, in this version of it; None: until it changes. `held`:
    its schedule does not matter until then, because its window is closed."""

    version: int
    until: float | None = None
    held: bool = False


class DueTasks:
    """The times of the next looks, in the hub's database."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def due(self, now: float) -> list[str]:
        """The tasks that have something to do, those that have waited longest first."""
        return await self._database.read(_due, now)

    async def next(self, now: float) -> float | None:
        """The time after `now` at which the next task is due, as far as is known."""
        return await self._database.read(_next, now)

    async def mark(self, id: str) -> None:
        """Look at this task now."""
        await self._database.write(run, MARK, {"id": id})

    async def rest(self, id: str, rest: Rest) -> bool:
        """Leave a task alone. Returns False if it has changed since it was read: read it again."""
        return await self._database.write(_rest, id, rest)

    async def scheduled(self, after: str, limit: int) -> list[Task]:
        """Tasks that wait for their schedule, in pages ordered by id."""
        return await self._database.read(_scheduled, after, limit)

    async def set_back(self) -> None:
        """End holds that exceed the limit: the clock was ahead when they began."""
        await self._database.write(run, SET_BACK, {"latest": clock.now() + LONGEST})


def _due(connection: Connection, now: float) -> list[str]:
    values = {"now": now, "most": CROWD}
    found = [row.id for query in DUE for row in run(connection, query, values)]
    return list(dict.fromkeys(found))


# One query per kind, so that many tasks of one kind do not keep the others out. The values of
# `progress` are literals, not parameters: SQLite must see which index matches.
# What is due at the same moment comes in the order in which it was added.
LOOK = (
    "SELECT id FROM task WHERE progress = '{progress}' AND look_at <= :now "
    "ORDER BY look_at, {added} LIMIT :most"
)
ADDED = {SQLITE: "rowid", POSTGRES: "created"}


def _look(progress: str) -> dict[str, str]:
    return spell(LOOK, added=ADDED, progress=dict.fromkeys(ADDED, progress))


DUE = (
    _look("STOPPING"),
    _look("STARTING"),
    spell(
        "SELECT id FROM task WHERE progress = 'IN_PROGRESS' AND held = 0 AND next_run > 0 "
        "AND next_run <= :now ORDER BY next_run LIMIT :most"
    ),
    _look("IN_PROGRESS"),
)


def _next(connection: Connection, now: float) -> float | None:
    found = [run(connection, query, {"now": now}).scalar() for query in NEXT]
    return min((moment for moment in found if moment is not None), default=None)


NEXT_LOOK = "SELECT min(look_at) FROM task WHERE progress = '{}' AND look_at > :now"
NEXT = (
    *(spell(NEXT_LOOK.format(progress)) for progress in ("STOPPING", "STARTING", "IN_PROGRESS")),
    spell(
        "SELECT min(next_run) FROM task WHERE progress = 'IN_PROGRESS' AND held = 0 AND next_run > "
        ":now"
    ),
)
MARK = spell("UPDATE task SET look_at = 0, held = 0 WHERE id = :id")
SET_BACK = spell(
    "UPDATE task SET look_at = 0, held = 0 WHERE progress = 'IN_PROGRESS' AND held = 1 AND "
    "look_at > :latest"
)


def _rest(connection: Connection, id: str, rest: Rest) -> bool:
    this = (task.c.id == id) & (task.c.version == rest.version)
    values = {"look_at": rest.until, "held": int(rest.held)}
    return connection.execute(update(task).where(this).values(values)).rowcount == 1


def _scheduled(connection: Connection, after: str, limit: int) -> list[Task]:
    waiting = (task.c.progress == Progress.IN_PROGRESS.value) & (
        task.c.schedule_type == "FIXED_RATE"
    )
    rows = connection.execute(
        select(task).where(waiting, task.c.id > after).order_by(task.c.id).limit(limit)
    )
    return [task_of(row) for row in rows]
