"""The supervisor: runs one task's finder, workers and controller as processes, restarts what dies, scales the workers
by backlog, and tells when the run is over.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from dth.errors import StateError
from dth.platforms.local.filesystem import StateLock
from dth.platforms.local.nursery import Child, Nursery
from dth.platforms.local.platform import LocalPlatform
from dth.platforms.ports import Depth, Gauge, Run, RunState

FIRST_TICK, LAST_TICK = 0.05, 0.25  # seconds between looks: often at first, so that a small task ends at once
MAX_RESTARTS = 20  # of one process without progress between them
DRAIN = 30.0  # seconds that a worker may take to finish what it has in hand
CONTROLLER_CHECK = 2.0  # seconds between looks whether the controller is needed
BACKLOG_A_WORKER = 4  # visible messages above which another worker is started


@dataclass(slots=True)
class Snapshot:
    """How the task stands."""

    run: Run
    open_runs: list[Run]  # this run and earlier ones whose objects are still in flight
    depth: Depth
    gauges: list[Gauge]
    workers: int
    paused: str = ""
    finished: bool = False


@dataclass(slots=True)
class _Role:
    name: str
    arguments: list[str]
    process: Child | None = None
    restarts: int = 0
    start_at: float = 0.0  # monotonic
    progress: int = -1  # settled objects when it was last started
    done: bool = False


@dataclass(slots=True)
class Supervisor:
    """One task's processes. `lock` is inherited by all of them, so that the state is free only when the last ended."""

    state: Path
    platform: LocalPlatform
    lock: StateLock
    nursery: Nursery
    run_id: int
    max_workers: int
    _children: dict[str, _Role] = field(default_factory=dict)
    _controller_due: float = 0.0  # monotonic

    async def watch(self) -> AsyncIterator[Snapshot]:
        """Run the task, telling how it stands until it has finished, failed or paused. Leaving the iteration
        stops every process."""
        records = self.platform.records
        await self.platform.release_owner(None)  # the lock says that all of them are dead
        self._add("finder", str(self.run_id))
        self._add("worker-1")
        tick = FIRST_TICK
        try:
            while True:
                snapshot = await self._look()
                yield snapshot
                if snapshot.paused or snapshot.run.state is RunState.FAILED:
                    return
                if self._over(snapshot):
                    break
                self._scale(snapshot.depth)
                await self._call_controller()
                await self._keep(snapshot)
                await asyncio.sleep(tick)
                tick = min(LAST_TICK, tick * 1.1)
            await self.stop()
            await self._clear_uploads()
            if await self.platform.uploads.live():
                raise StateError(
                    f"{self.state}: an upload is left that could not be thrown away; run the command again"
                )
            for run in snapshot.open_runs:
                if run.state is not RunState.FAILED:
                    await records.set_run(run.id, RunState.DONE)
            snapshot = await self._look()
            snapshot.finished = True
            yield snapshot
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Drain the workers, end the rest; after `DRAIN` seconds, kill."""
        running = [
            child.process
            for child in self._children.values()
            if child.process and child.process.returncode is None
        ]
        for process in running:
            process.terminate()
        if running:
            _, late = await asyncio.wait(
                [asyncio.create_task(process.wait()) for process in running], timeout=DRAIN
            )
            if late:
                for process in running:
                    if process.returncode is None:
                        process.kill()
                await asyncio.gather(*late)
        for child in self._children.values():
            if child.process:
                await self.platform.release_owner(child.name)
                child.process = None

    def last_words(self, name: str) -> str:
        """The last line that a process left on standard error."""
        try:
            lines = self._log(name).read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    @property
    def pids(self) -> dict[str, int]:
        return {
            name: child.process.pid
            for name, child in self._children.items()
            if child.process and child.process.returncode is None
        }

    # -------------------------------------------------------------------------------------------- details

    def _add(self, name: str, *rest: str) -> _Role:
        kind = name.partition("-")[0]
        child = _Role(name, [kind, str(self.state), name, *rest])
        self._children[name] = child
        return child

    async def _look(self) -> Snapshot:
        records = self.platform.records
        runs = await records.list_runs()
        run = next(run for run in runs if run.id >= self.run_id)
        return Snapshot(
            run=run,
            open_runs=[each for each in runs if not settled(each) or each.id == run.id],
            depth=await self.platform.queue.depth(),
            gauges=await self.platform.gauges.all(),
            workers=sum(1 for name in self.pids if name.startswith("worker")),
            paused=await records.paused(),
        )

    def _over(self, snapshot: Snapshot) -> bool:
        """The ledgers balance and nothing is under way."""
        listed = snapshot.run.state in (RunState.TRANSFERRING, RunState.DELETING)
        return listed and self._children["finder"].done and all(settled(run) for run in snapshot.open_runs)

    def _scale(self, depth: Depth) -> None:
        workers = sum(1 for name in self._children if name.startswith("worker"))
        if workers < self.max_workers and depth.visible > BACKLOG_A_WORKER * workers:
            self._add(f"worker-{workers + 1}")

    async def _call_controller(self) -> None:
        """Most tasks have no work for it: it is started when there are giant uploads or dead messages."""
        if "controller" in self._children or time.monotonic() < self._controller_due:
            return
        self._controller_due = time.monotonic() + CONTROLLER_CHECK
        if await self.platform.uploads.live() or await self.platform.queue.receive_dead(1):
            self._add("controller")

    async def _clear_uploads(self) -> None:
        """Everything is settled: an upload that is left now belongs to an object that failed or was taken over."""
        if not await self.platform.uploads.live():
            return
        child = self._add("sweeper")
        await self._start(child)
        if child.process:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.process.wait(), DRAIN)

    async def _keep(self, snapshot: Snapshot) -> None:
        """Start what is not running: at first, and again with growing pauses after a death."""
        progress = sum(
            run.counts.done + run.counts.failed + run.counts.cancelled for run in snapshot.open_runs
        )
        for child in list(self._children.values()):
            process = child.process
            if child.done or (process and process.returncode is None):
                continue
            if process is None:
                if time.monotonic() >= child.start_at:
                    await self._start(child)
                continue
            await self.platform.release_owner(child.name)
            child.process = None
            if process.returncode == 0 and child.name == "finder":
                child.done = True
                continue
            child.restarts = child.restarts + 1 if progress == child.progress else 1
            child.progress = progress
            if child.restarts > MAX_RESTARTS or self._fatal(child, process.returncode):
                words = self.last_words(child.name) or f"it ended with code {process.returncode}"
                raise StateError(f"the {child.name} process keeps failing: {words}")
            child.start_at = time.monotonic() + min(5.0, 0.1 * 2**child.restarts)

    def _fatal(self, child: _Role, code: int | None) -> bool:
        """A process that failed with a message of its own (exit code 1), at once and repeatedly, will not recover."""
        return code == 1 and child.restarts >= 3

    async def _start(self, child: _Role) -> None:
        log = self._log(child.name)
        try:
            log.parent.mkdir(exist_ok=True)
            errors = log.open("ab")
        except OSError as error:
            raise StateError(f"{log} cannot be written: {error.strerror}") from None
        with errors:
            child.process = await self.nursery.spawn(child.arguments, (self.lock.fileno(), errors.fileno()))

    def _log(self, name: str) -> Path:
        return self.state / "logs" / f"{name}.log"


def settled(run: Run) -> bool:
    """Whether all that a run enqueued has come to its end."""
    counts = run.counts
    return (
        counts.enqueued == counts.done + counts.failed + counts.cancelled
        and counts.delete_enqueued == counts.deleted + counts.delete_kept + counts.delete_failed
    )
