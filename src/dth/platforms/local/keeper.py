"""Runs the tasks of the hub on this machine: one runner for each task that has something to do.

A waiting task has no runner: `due_tasks` knows from `hub.db` when there will be something to do.
"""

import asyncio
import contextlib
import logging
import os
import random
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dth.core import clock
from dth.core.cancelling import stays_cancelled
from dth.core.errors import Conflict, DatabaseAway, HubError, NotFound, UsageError, full_disk
from dth.core.ports.platform import Platform
from dth.hub import tasks
from dth.hub.monitoring import Totals
from dth.hub.ports import HubPorts
from dth.hub.steward import is_unset
from dth.platforms.local.databases import Databases, FileStorage, Storage
from dth.platforms.local.due_tasks import DueTasks
from dth.platforms.local.fork_server import ForkServer
from dth.platforms.local.places import Places, Workers
from dth.platforms.local.runner import MOMENT, Runner
from dth.platforms.local.sql import AWAY
from dth.platforms.local.task_state import remove_state, run_once

log = logging.getLogger(__name__)

# Seconds between looks at what is due, even without a hint.
LOOK = 5.0
# Tasks whose databases are opened at the same time to see whether work is left.
LOOKS = 8
ENDINGS = 8  # tasks that are stopped at once
# File descriptors of the process for each database that requests may have open.
A_DATABASE = 16
# Seconds. A clock set back by more than this was not just adjusted slowly.
JUMP = 2.0
CHECKED = 100  # tasks per check of schedules
# Seconds before a runner that failed because of a defect or a full disk tries again.
RETRY = 30.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What all tasks together may use."""

    # Tasks that work at the same time, a quarter of them reserved for scheduled runs; the others
    # wait.
    tasks: int = 20
    workers: int = field(default_factory=lambda: 2 * len(os.sched_getaffinity(0)))


class Keeper:
    """`hub.ports.Engine` on one machine. Set `ports` and `due_tasks` after all of them are
    created."""

    ports: HubPorts
    due_tasks: DueTasks

    def __init__(
        self, folder: Path, fork_server: ForkServer, bounds: Bounds, storage: Storage | None = None
    ) -> None:
        """`storage`: where the databases of tasks are; by default, in their state directories."""
        self.storage = storage or FileStorage()
        self.databases = Databases(folder, self.storage)
        self.fork_server = fork_server
        self.bounds = bounds
        self.began = clock.now()
        # Tasks that have worked since then.
        self.worked: set[str] = set()
        self.places = Places(bounds.tasks)
        self.workers = Workers(bounds.workers)
        # Totals of the tasks since the hub started.
        self.totals = Totals()
        # Held while a database is open: each database uses five descriptors and a thread.
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._requests = asyncio.Semaphore(max(4, min(64, descriptors // A_DATABASE // 4)))
        self.looks = asyncio.Semaphore(LOOKS)
        self.endings = asyncio.Semaphore(ENDINGS)
        self._runners: dict[str, Runner] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._woken = asyncio.Event()

    # ----------------------------------------------------------------------------- hub.ports.Engine

    async def changed(self, id: str) -> None:
        """In this order, a runner that is about to rest either sees the change, or its rest is
        undone."""
        if id in self._runners:
            self._runners[id].wake()
        await self.due_tasks.mark(id)
        self._woken.set()

    @asynccontextmanager
    async def open(self, id: str, *, make: bool = False) -> AsyncIterator[Platform]:
        async with self._requests, self.databases.shared(id, make=make) as platform:
            yield platform

    async def read_digest(self, id: str, run: int) -> None:
        """Runs in a separate process, because it uses the CPU for a while."""
        async with self.open(id) as platform:
            if (await platform.records.digest(run)).complete:
                return
            if code := await run_once(self.fork_server, self.state(id), "digester", run):
                raise HubError(
                    f"the records of run {run} could not be read: their process ended with "
                    f"code {code}"
                )

    async def stack(self, id: str) -> None:
        """Nothing needs to be deployed here."""

    async def discard(self, id: str) -> None:
        async with self.databases.alone(id):
            await self.storage.drop(self.state(id))
            await asyncio.to_thread(remove_state, self.state(id))
        self.totals.forget(id)
        self.worked.discard(id)

    def state(self, id: str) -> Path:
        """A task's state directory."""
        return self.databases.state(id)

    # -------------------------------------------------------------------------------------- running

    async def run(self) -> None:
        """Start a runner for every task that is due, until cancelled; then end all runners in
        order."""
        checking, offset = asyncio.create_task(self._check_patiently()), _clock_offset()
        try:
            while True:
                self._woken.clear()
                before, offset = offset, _clock_offset()
                if offset < before - JUMP and checking.done():
                    checking = asyncio.create_task(self._check_patiently())
                now = clock.now()
                try:
                    for due in await self.due_tasks.due(now):
                        if due not in self._running:
                            self._start(due)
                    following = await self.due_tasks.next(now)
                except DatabaseAway:
                    # The tasks wait for it, too. They need not end.
                    following = now + AWAY
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(
                        min(LOOK, following - clock.now()) if following else LOOK
                    ):
                        await self._woken.wait()
        finally:
            running = [checking, *self._running.values()]
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _check_patiently(self) -> None:
        while True:
            with contextlib.suppress(DatabaseAway):
                await self._check_schedules()
                return
            await asyncio.sleep(AWAY)

    async def _check_schedules(self) -> None:
        """Correct next runs that the schedule does not name: the clock may have been ahead, and is
        right again. Done slowly, as there may be many tasks."""
        await self.due_tasks.set_back()
        after = ""
        while page := await self.due_tasks.scheduled(after, CHECKED):
            for task in page:
                with contextlib.suppress(UsageError):  # its runner reports what is wrong
                    if is_unset(task, clock.now()):
                        await self.changed(task.id)
            after = page[-1].id
            await asyncio.sleep(MOMENT)

    def _start(self, id: str) -> None:
        runner = Runner(self, id)
        running = asyncio.create_task(self._watched(runner), name=f"task {id}")
        self._runners[id], self._running[id] = runner, running

        def ended(_: Any) -> None:
            self._runners.pop(id, None)
            self._running.pop(id, None)
            self._woken.set()

        running.add_done_callback(ended)

    async def _watched(self, runner: Runner) -> None:
        """Run it, and retry after errors that the task did not cause, for as long as the task
        lives."""
        while True:
            try:
                with stays_cancelled():
                    await runner.run()
                return
            except NotFound:
                return
            except Conflict:
                # Somebody changed the task at the same moment: look again.
                await asyncio.sleep(MOMENT)
                continue
            except DatabaseAway:
                await runner.sleep(AWAY * random.uniform(1.0, 1.5))
                continue
            except HubError as error:
                reason = str(error)
            except Exception as error:
                reason = full_disk(error)
                if not reason:
                    log.exception("the runner of task %s failed", runner.id)
                    reason = f"internal error: {type(error).__name__}: {error}"
            with contextlib.suppress(HubError):
                await tasks.note(self.ports, runner.id, reason=reason)
            # Random pauses, so that runners that failed together do not all retry at once.
            await runner.sleep(RETRY * random.uniform(1.0, 1.5))


def _clock_offset() -> float:
    """The difference between the wall clock and the clock that nobody sets."""
    return clock.now() - time.monotonic()
