"""Comparisons: each is a process with a folder of its own, in which what it finds stays."""

import asyncio
import contextlib
import json
import logging
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from dth.core import clock
from dth.core.errors import Conflict, DatabaseAway, HubError, NotFound, full_disk
from dth.core.ports.findings import Finding, FolderTally, State, StateTally
from dth.hub.ports import ComparisonJob
from dth.platforms.local.findings import FINDINGS_FILE, LocalFindings
from dth.platforms.local.foreground import ASKED
from dth.platforms.local.fork_server import ForkServer
from dth.platforms.local.hub_schema import comparison
from dth.platforms.local.job_process import JobProcess
from dth.platforms.local.sql import SqlDatabase, write_patiently

log = logging.getLogger(__name__)

KIND = "compare"
AT_ONCE = 2
KEPT = 30 * 86_400.0  # seconds
MOST_KEPT = 100
OPEN = 4  # files of findings that are read at once
INTERRUPTED = "the hub ended while this was running, and it saw only a part; start it again"


class LocalComparisons:
    """`hub.ports.Comparisons`. A comparison that runs when the hub ends is INTERRUPTED."""

    def __init__(self, database: SqlDatabase, folder: Path, fork_server: ForkServer) -> None:
        self._database = database
        self._folder = folder
        self._fork_server = fork_server
        # By id: the process, and what follows when it has ended, which nothing interrupts.
        self._running: dict[str, tuple[asyncio.Task[dict[str, Any]], asyncio.Task[None]]] = {}
        self._closing = False
        # Two that start at once must not both be the last of AT_ONCE.
        self._starting = asyncio.Lock()
        self._reading = asyncio.Semaphore(OPEN)

    async def start(self, started: ComparisonJob, parameters: Mapping[str, Any]) -> None:
        async with self._starting:
            if len(self._running) >= AT_ONCE:
                raise Conflict(
                    f"{AT_ONCE} comparisons are running already; wait for one, or cancel one"
                )
            await self._prune()
            await self._database.write(_add, started)
            process = JobProcess(self._fork_server, self._folder / started.id, KIND, KIND, {})
            work = asyncio.create_task(process.result({**parameters, ASKED: started.asked}))
            ending = asyncio.create_task(self._follow(started, work))
            self._running[started.id] = work, ending
        ending.add_done_callback(lambda _: self._running.pop(started.id, None))

    async def get(self, id: str) -> ComparisonJob:
        found = await self._database.read(_get, id)
        if found is None:
            raise NotFound(f"there is no comparison {id!r}; they are kept for 30 days")
        return found

    async def find(self, task: str = "", count: int = 20) -> list[ComparisonJob]:
        return await self._database.read(_find, task, count)

    async def cancel(self, id: str) -> None:
        await self.get(id)
        if id in self._running:
            work, ending = self._running[id]
            work.cancel()
            await asyncio.shield(ending)

    async def remove(self, id: str) -> None:
        await self.cancel(id)
        await asyncio.to_thread(shutil.rmtree, self._folder / id, ignore_errors=True)
        await self._database.write(_remove, id)

    async def tally(self, id: str) -> StateTally:
        async with self._findings(id) as findings:
            return await findings.tally() if findings else StateTally()

    async def folders(self, id: str, parent: str, limit: int) -> list[FolderTally]:
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
        self._closing = True
        running = list(self._running.values())
        for work, _ in running:
            work.cancel()
        await asyncio.gather(*(ending for _, ending in running))

    @asynccontextmanager
    async def _findings(self, id: str) -> AsyncIterator[LocalFindings | None]:
        """What a comparison found; None if it has written nothing. Raises NotFound if it is
        lost: a missing file must not look as if nothing was found."""
        comparison = await self.get(id)
        folder = self._folder / id
        async with self._reading:
            if not (folder / FINDINGS_FILE).exists():
                if comparison.state == "DONE":
                    raise NotFound(
                        f"what comparison {id} found is not in the data directory of this hub: "
                        "another machine may have it; compare again"
                    )
                yield None
                return
            findings = await asyncio.to_thread(LocalFindings.open, folder)
            try:
                yield findings
            finally:
                await asyncio.to_thread(findings.close)

    async def _follow(self, started: ComparisonJob, work: asyncio.Task[dict[str, Any]]) -> None:
        """Keep what becomes of a comparison."""
        try:
            started.result = await work
            started.state = "DONE"
        except asyncio.CancelledError:
            started.state = "INTERRUPTED" if self._closing else "CANCELLED"
            started.error = INTERRUPTED if self._closing else ""
        except HubError as error:
            started.state, started.error = "FAILED", str(error)
        except Exception as error:
            started.state, started.error = "FAILED", full_disk(error)
            if not started.error:
                log.exception("comparison %s failed by a defect", started.id)
                name = type(error).__name__
                started.error = f"internal error: {name}; see the hub's log"
        await asyncio.to_thread(_keep_findings, self._folder / started.id)
        started.ended = clock.now()
        if self._closing:
            # If the database is away, the next hub says that it was interrupted.
            with contextlib.suppress(DatabaseAway):
                await self._database.write(_end, started)
        else:
            await write_patiently(self._database, _end, started)

    async def _prune(self) -> None:
        for old in await self._database.read(_old, clock.now() - KEPT):
            await self.remove(old)


def _keep_findings(state: Path) -> None:
    """Delete everything else that the process wrote."""
    for path in state.glob("*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif not path.name.startswith(FINDINGS_FILE):
            path.unlink(missing_ok=True)


def _add(connection: Connection, started: ComparisonJob) -> None:
    connection.execute(insert(comparison).values(_row(started)))


def _end(connection: Connection, ended: ComparisonJob) -> None:
    connection.execute(update(comparison).where(comparison.c.id == ended.id).values(_row(ended)))


def _get(connection: Connection, id: str) -> ComparisonJob | None:
    row = connection.execute(select(comparison).where(comparison.c.id == id)).first()
    return _comparison(row) if row else None


def _find(connection: Connection, task: str, count: int) -> list[ComparisonJob]:
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
    values = {"state": "INTERRUPTED", "ended": clock.now(), "error": INTERRUPTED}
    connection.execute(update(comparison).where(comparison.c.state == "RUNNING").values(values))


def _row(of: ComparisonJob) -> dict[str, Any]:
    jsons = {name: json.dumps(getattr(of, name)) for name in ("parameters", "asked", "result")}
    return asdict(of) | jsons


def _comparison(row: Any) -> ComparisonJob:
    values = dict(row._mapping)
    jsons = {name: json.loads(values[name]) for name in ("parameters", "asked", "result")}
    return ComparisonJob(**values | jsons)
