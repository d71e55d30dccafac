"""What a database keeps of transfers that did not end well, or that run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dth.platforms.postgres.database import open_database
from dth.platforms.postgres.machines import DEAD_AFTER, LIVES
from dth.platforms.postgres.runs import ENDED
from dth.platforms.postgres.schema import PARTITIONED


@dataclass(frozen=True, slots=True)
class KeptTask:
    """A task. `holder`: the living machine that runs it, or ""."""

    id: str
    parameters: Mapping[str, Any]
    holder: str
    used: float  # when its last run began or ended
    size: int  # bytes
    unfinished: bool


async def kept_tasks(address: str, type: str) -> list[KeptTask]:
    """The tasks of this type, by id. Raises StateError if the database cannot be used."""
    async with open_database(address, "", "state") as database:
        rows = await database.rows(KEPT, (DEAD_AFTER, ENDED, type))
    return [KeptTask(name, json.loads(text), *more) for name, text, *more in rows]


_SIZE = " + ".join(f"pg_total_relation_size('dth.{each}_' || number)" for each in PARTITIONED)
KEPT = f"""
    SELECT id, parameters, CASE WHEN {LIVES} THEN holder ELSE '' END,
        coalesce((SELECT max(greatest(started, ended)) FROM dth.run WHERE task = number), 0),
        {_SIZE},
        EXISTS (SELECT FROM dth.run WHERE task = number AND state <> ALL(%s))
    FROM dth.task WHERE type = %s ORDER BY id
"""
