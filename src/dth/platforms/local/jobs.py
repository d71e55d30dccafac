"""Work that takes longer than a request. Each preflight, forecast or probe is a process like those
of a task, with its own directory while it runs.
"""

import asyncio
import json
import logging
import shutil
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from dth.core import clock
from dth.core.cancelling import stays_cancelled
from dth.core.errors import Conflict, HubError, NotFound
from dth.core.prices import Prices
from dth.hub.ports import CERTIFICATE, Job
from dth.platforms.local.foreground import ASKED
from dth.platforms.local.fork_server import ForkServer
from dth.platforms.local.hub_schema import job
from dth.platforms.local.job_process import JobProcess
from dth.platforms.local.sql import SqlDatabase, write_patiently

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[dict[str, Any]]]

AT_ONCE = 4
# Seconds. A forecast of billions of objects samples, and takes no longer.
LONGEST = 600.0
KEPT = 86_400.0  # seconds that a result is kept


class LocalJobs:
    """`hub.ports.Jobs`. Jobs that are in progress when the hub ends have failed; users can request
    them again."""

    def __init__(
        self,
        database: SqlDatabase,
        folder: Path,
        fork_server: ForkServer,
        prices: Prices | None = None,
    ) -> None:
        """`prices`: for forecasts."""
        self._database = database
        self._folder = folder
        self._fork_server = fork_server
        self._prices = prices or {}
        # Two that start at once must not both be the last of AT_ONCE.
        self._starting = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    async def start(
        self,
        kind: str,
        parameters: Mapping[str, Any],
        side: str = "",
        asked: Mapping[str, str] | None = None,
    ) -> Job:
        job = Job(id=str(uuid.uuid4()), kind=kind, started=clock.now())
        given = {**parameters, ASKED: dict(asked or {})}
        state = self._folder / job.id
        process = JobProcess(self._fork_server, state, kind, side or kind, self._prices)
        return await self._begin(job, partial(process.result, given, LONGEST))

    async def certify(self, task: str, run: int, work: Work) -> Job:
        return await self._begin(
            Job(id=str(uuid.uuid4()), kind=CERTIFICATE, started=clock.now()), work
        )

    async def _begin(self, started: Job, work: Work) -> Job:
        async with self._starting:
            if len(self._running) >= AT_ONCE:
                raise Conflict(
                    f"{AT_ONCE} preflights, forecasts, tests of connections and certificates are "
                    "being made already; try again in a moment"
                )
            await self._database.write(_begin, started)
            running = asyncio.create_task(self._run(started, work))
            self._running.add(running)
        running.add_done_callback(self._running.discard)
        return started

    async def get(self, id: str) -> Job:
        found = await self._database.read(_get, id)
        if found is None:
            raise NotFound(f"there is no job {id!r}")
        return found

    async def fail_unfinished(self) -> None:
        """Fail the jobs of the previous life of the hub. Call it when the hub starts."""
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        await self._database.write(_fail_unfinished)

    async def close(self) -> None:
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, started: Job, work: Work) -> None:
        state = self._folder / started.id
        try:
            with stays_cancelled():
                started.result = await work()
            started.state = "DONE"
        except HubError as error:
            started.state, started.error = "FAILED", str(error)
        except OSError as error:
            started.state, started.error = "FAILED", f"{state} cannot be written: {error.strerror}"
        except Exception as error:
            log.exception("job %s failed by a defect", started.id)
            started.state, started.error = (
                "FAILED",
                f"internal error: {type(error).__name__}; see the hub's log",
            )
        finally:
            await asyncio.to_thread(shutil.rmtree, state, ignore_errors=True)
        started.ended = clock.now()
        await write_patiently(self._database, _end, started)


def _begin(connection: Connection, started: Job) -> None:
    connection.execute(delete(job).where(job.c.started < started.started - KEPT))
    connection.execute(insert(job).values({**asdict(started), "result": "{}"}))


def _end(connection: Connection, ended: Job) -> None:
    values = {**asdict(ended), "result": json.dumps(ended.result)}
    connection.execute(update(job).where(job.c.id == ended.id).values(values))


def _get(connection: Connection, id: str) -> Job | None:
    row = connection.execute(select(job).where(job.c.id == id)).first()
    return Job(**{**row._mapping, "result": json.loads(row.result)}) if row else None


def _fail_unfinished(connection: Connection) -> None:
    values = {
        "state": "FAILED",
        "ended": clock.now(),
        "error": "the hub was started again meanwhile; ask again",
    }
    connection.execute(update(job).where(job.c.state == "RUNNING").values(values))
