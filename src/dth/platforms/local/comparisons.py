"""Comparisons: each is a process with a folder of its own, in which what it finds stays."""

import asyncio
import json
import logging
import shutil
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from dth.core.errors import Conflict, HubError, NotFound, full_disk
from dth.core.ports.findings import Finding, Folder, State, Tally
from dth.hub.ports import Comparison
from dth.platforms.local.findings import FINDINGS_FILE, LocalFindings
from dth.platforms.local.foreground import ASKED
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.hub_schema import comparison
from dth.platforms.local.job_process import JobProcess
from dth.platforms.local.nursery import Nursery

log = logging.getLogger(__name__)

KIND = "compare"
AT_ONCE = 2
KEPT = 30 * 86_400.0  # seconds
MOST_KEPT = 100
OPEN = 4  # files of findings that are read at once
INTERRUPTED = "the hub ended while this was running, and it saw only a part; start it again"


class LocalComparisons:
    """`hub.ports.Comparisons`. A comparison that runs when the hub ends is INTERRUPTED."""

    def __init__(self, database: HubDatabase, folder: Path, nursery: Nursery) -> None:
        self._database = database
        self._folder = folder
        self._nursery = nursery
        self._running: dict[str, asyncio.Task[None]] = {}
        self._reading = asyncio.Semaphore(OPEN)

    async def start(self, started: Comparison, parameters: Mapping[str, Any]) -> None:
        if len(self._running) >= AT_ONCE:
            raise Conflict(
                f"{AT_ONCE} comparisons are running already; wait for one, or cancel one"
            )
        await self._prune()
        await self._database.write(_add, started)
        given = {**parameters, ASKED: started.asked}
        running = asyncio.create_task(self._run(started, given), name=f"comparison {started.id}")
        self._running[started.id] = running
        running.add_done_callback(lambda _: self._running.pop(started.id, None))

    async def get(self, id: str) -> Comparison:
        found = await self._database.read(_get, id)
        if found is None:
            raise NotFound(f"there is no comparison {id!r}; they are kept for 30 days")
        return found

    async def find(self, task: str = "", count: int = 20) -> list[Comparison]:
        return await self._database.read(_find, task, count)

    async def cancel(self, id: str) -> None:
        await self.get(id)
        if running := self._running.get(id):
            running.cancel("cancelled")
            await asyncio.gather(running, return_exceptions=True)

    async def remove(self, id: str) -> None:
        await self.cancel(id)
        await asyncio.to_thread(shutil.rmtree, self._folder / id, ignore_errors=True)
        await self._database.write(_remove, id)

    async def tally(self, id: str) -> Tally:
        async with self._findings(id) as findings:
            return await findings.tally() if findings else Tally()

    async def folders(self, id: str, parent: str, limit: int) -> list[Folder]:
        async with self._findings(id) as findings:
            return await findings.folders(parent, limit) if findings else []

    async def page(
        self,
        id: str,
        *,
        states: Sequence[State] = (),
        prefix: str = "",
        keys: Sequence[str] = (),
        after: str = "",
        limit: int = 100,
    ) -> list[Finding]:
        async with self._findings(id) as findings:
            if not findings:
                return []
            return await findings.page(
                states=states, prefix=prefix, keys=keys, after=after, limit=limit
            )

    async def end_unfinished(self) -> None:
        """End the comparisons of the previous life of the hub. Call it when the hub starts."""
        await self._database.write(_interrupt)

    async def close(self) -> None:
        running = list(self._running.values())
        for each in running:
            each.cancel("closed")
        await asyncio.gather(*running, return_exceptions=True)

    @asynccontextmanager
    async def _findings(self, id: str) -> AsyncIterator[LocalFindings | None]:
        """What a comparison found; None if it has written nothing."""
        await self.get(id)
        folder = self._folder / id
        async with self._reading:
            if not (folder / FINDINGS_FILE).exists():
                yield None
                return
            findings = await asyncio.to_thread(LocalFindings.open, folder)
            try:
                yield findings
            finally:
                await asyncio.to_thread(findings.close)

    async def _run(self, started: Comparison, parameters: Mapping[str, Any]) -> None:
        state = self._folder / started.id
        process = JobProcess(self._nursery, state, KIND, KIND, {})
        try:
            started.result = await process.result(parameters)
            started.state = "DONE"
        except asyncio.CancelledError as ended:
            if ended.args == ("closed",):
                started.state, started.error = "INTERRUPTED", INTERRUPTED
            else:
                started.state = "CANCELLED"
        except HubError as error:
            started.state, started.error = "FAILED", str(error)
        except Exception as error:
            started.state, started.error = "FAILED", full_disk(error)
            if not started.error:
                log.exception("comparison %s failed by a defect", started.id)
                name = type(error).__name__
                started.error = f"internal error: {name}; see the hub's log"
        await asyncio.to_thread(_keep_findings, state)
        started.ended = time.time()
        await self._database.write(_end, started)

    async def _prune(self) -> None:
        for old in await self._database.read(_old, time.time() - KEPT):
            await self.remove(old)


def _keep_findings(state: Path) -> None:
    """Delete everything else that the process wrote."""
    for path in state.glob("*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif not path.name.startswith(FINDINGS_FILE):
            path.unlink(missing_ok=True)


def _add(connection: Connection, started: Comparison) -> None:
    connection.execute(insert(comparison).values(_row(started)))


def _end(connection: Connection, ended: Comparison) -> None:
    connection.execute(update(comparison).where(comparison.c.id == ended.id).values(_row(ended)))


def _get(connection: Connection, id: str) -> Comparison | None:
    row = connection.execute(select(comparison).where(comparison.c.id == id)).first()
    return _comparison(row) if row else None


def _find(connection: Connection, task: str, count: int) -> list[Comparison]:
    query = select(comparison).order_by(comparison.c.started.desc()).limit(count)
    if task:
        query = query.where(comparison.c.task == task)
    return [_comparison(row) for row in connection.execute(query)]


def _old(connection: Connection, before: float) -> list[str]:
    """The comparisons to delete: before this time, or too many. Running ones stay."""
    query = select(comparison.c.id, comparison.c.started).where(comparison.c.state != "RUNNING")
    rows = connection.execute(query.order_by(comparison.c.started.desc())).all()
    return [row.id for place, row in enumerate(rows) if row.started < before or place >= MOST_KEPT]


def _remove(connection: Connection, id: str) -> None:
    connection.execute(delete(comparison).where(comparison.c.id == id))


def _interrupt(connection: Connection) -> None:
    values = {"state": "INTERRUPTED", "ended": time.time(), "error": INTERRUPTED}
    connection.execute(update(comparison).where(comparison.c.state == "RUNNING").values(values))


def _row(of: Comparison) -> dict[str, Any]:
    jsons = {name: json.dumps(getattr(of, name)) for name in ("parameters", "asked", "result")}
    return asdict(of) | jsons


def _comparison(row: Any) -> Comparison:
    values = dict(row._mapping)
    jsons = {name: json.loads(values[name]) for name in ("parameters", "asked", "result")}
    return Comparison(**values | jsons)
