"""Pages of the API over many tasks and many records: CPU a page."""

import asyncio
import contextlib
import resource
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from dth.hub.api import resolve
from dth.hub.api.text import cursor
from dth.hub.model import Identity, Progress, Role, ScheduleType, Task
from dth.hub.ports import HubPorts
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.keeper import Bounds, Keeper
from dth.platforms.local.platform import open_platform
from dth.platforms.local.tasks import LocalTasks

PAGES = 20
CALLER = Identity("bench", "bench", Role.VIEWER)
PARAMETERS = {
    "srcBucket": "photos",
    "destBucket": "archive",
    "srcRegion": "eu-west-1",
    "destRegion": "us-east-1",
}


def pages(tasks: int, records: int) -> dict[str, float]:
    """CPU seconds of one page of each kind, on a hub with so many tasks, one of which has so many
    records."""
    with tempfile.TemporaryDirectory() as name:
        return asyncio.run(_pages(Path(name), tasks, records))


async def _pages(folder: Path, tasks: int, records: int) -> dict[str, float]:
    with HubDatabase.open(folder / "hub.db") as database:
        store = LocalTasks(database)
        for number in range(tasks):
            await store.add(_task(number))
        keeper = Keeper(folder / "tasks", cast(Any, None), Bounds())
        _fill(keeper.state("0"), records)
        ports = cast(HubPorts, SimpleNamespace(tasks=store, engine=keeper))

        def ask(field: str, **arguments: Any) -> Callable[[], Awaitable[Any]]:
            return lambda: resolve(ports, CALLER, field, arguments)

        async with keeper.open("0"):  # as while the task works
            return {
                "tasks, first page of 20": await _cpu(ask("listTasksV2")),
                "tasks, page of 100 in the middle": await _cpu(
                    ask("listTasksV2", page=tasks // 200, count=100)
                ),
                "tasks, by text": await _cpu(ask("listTasksV2", text="number 77")),
                "records, page of 100": await _cpu(
                    ask("listRecords", id="0", nextToken=cursor(f"{records // 2:010}"))
                ),
                "records, failed ones": await _cpu(ask("listRecords", id="0", status="FAILED")),
                "failures by reason": await _cpu(ask("failureGroups", id="0")),
            }


async def _cpu(page: Callable[[], Awaitable[Any]]) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(PAGES):
        await page()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) / PAGES


def _task(number: int) -> Task:
    return Task(
        id=str(number),
        type="S3EC2",
        schedule_type=ScheduleType.FIXED_RATE,
        parameters=PARAMETERS,
        description=f"number {number}",
        progress=list(Progress)[number % len(Progress)],
        created=time.time() - number,
        source="s3://photos/",
        destination=f"s3://archive/{number}/",
    )


def _fill(state: Path, records: int) -> None:
    """Every thousandth failed, for one of three reasons."""
    open_platform(state, "bench").close()
    with contextlib.closing(sqlite3.connect(state / "task.db")) as connection, connection:
        connection.execute(
            """WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)
            INSERT INTO record (key, status, run, etag, size, proof, reason, updated)
            SELECT CAST(printf('%010d', i) AS BLOB), iif(i % 1000, 'DONE', 'FAILED'), 1, 'etag', 10240, 'crc64nvme:x',
                iif(i % 1000, '', 'Reason' || (i / 1000 % 3)), 0 FROM n""",
            (records,),
        )
