"""The supervisor: runs one task's finder, workers and controller as processes, restarts what dies, scales the workers
by backlog, and tells when there is nothing left to do.
"""

import asyncio
import contextlib
import itertools
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from dth.core.errors import StateError
from dth.core.ports.gauges import Gauge
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Run, RunKind, RunState
from dth.hub.reading import Reading
from dth.platforms.local.filesystem import StateLock
from dth.platforms.local.journal import last_words
from dth.platforms.local.nursery import Child, Nursery
from dth.platforms.local.platform import LocalPlatform

FIRST_TICK, LAST_TICK = 0.02, 0.25  # seconds between looks: often at first, so that a small task ends at once
MAX_RESTARTS = 20  # of one process without progress between them
DRAIN = 30.0  # seconds that a worker may take to finish what it has in hand
SILENT = 1200  # looks (five minutes) without a report from a worker, before it is killed
CONTROLLER_CHECK = 2.0  # seconds between looks whether the controller is needed
CLOCK_CHECK = 10.0  # seconds between looks for times that lie too far ahead
BACKLOG_A_WORKER = 4  # visible messages above which another worker is started
# Of a core, for each worker: what uses less waits for the stores, which another worker would only wait for as well.
BUSY = 0.7
BUSY_CHECK = 0.5  # seconds over which it is measured

log = logging.getLogger(__name__)

# How many workers there should be: from what is in the queue, how many there are and how many more are about to end,
# and what part of a core each of them uses.
Scale = Callable[[Depth, int, int, float], int]


def one_by_one(most: int) -> Scale:
    """A worker as soon as there is something to do, and more as soon as those there are have enough and are what holds
    the work up: for a run that somebody waits for. A run that finds nothing to copy has none."""

    def scale(depth: Depth, workers: int, _leaving: int, busy: float) -> int:
        more = depth.visible > BACKLOG_A_WORKER * workers and (not workers or busy >= BUSY)
        return min(most, workers + more)

    return scale


@dataclass(slots=True)
class Snapshot:
    """How the task stands. `run` is the last one that was followed, or the newest."""

    run: Run
    runs: list[Run]  # the newest ones
    open_runs: list[Run]  # it and earlier ones whose objects are still in flight
    depth: Depth
    gauges: list[Gauge]
    parts: int  # bytes of what is done of uploads that are not
    workers: int
    wanted: int  # workers that there should be
    finding: bool  # a listing is under way
    failed: bool  # the run followed has failed for good
    paused: str = ""
    finished: bool = False

    def reading(self) -> Reading:
        """For what is measured over time."""
        return Reading(time.time(), self.gauges, self.runs, self.depth, self.wanted, self.workers, self.parts)


@dataclass(slots=True)
class _Role:
    name: str
    arguments: list[str]
    process: Child | None = None
    restarts: int = 0
    start_at: float = 0.0  # monotonic
    progress: int = -1  # settled objects when it was last started
    done: bool = False
    leaving: bool = False  # told to end, and not to be replaced
    reported: float = 0.0  # when its last report was made, by its clock
    unheard: int = 0  # looks since it came
    measured: tuple[float, float] = (0.0, 0.0)  # monotonic time, and the CPU that it had used
    busy: float = 0.0  # the part of a core that it used lately

    @property
    def is_worker(self) -> bool:
        return self.name.startswith("worker")

    def measure(self) -> None:
        """See how busy it is, if it is time to. Where the system does not say so, it counts as busy."""
        now, (then, before) = time.monotonic(), self.measured
        if self.process is None or now - then < BUSY_CHECK:
            return
        cpu = self.process.cpu()
        if cpu is None:
            self.busy = 1.0
            return
        self.busy = (cpu - before) / (now - then)
        self.measured = (now, cpu)


@dataclass(slots=True)
class Supervisor:
    """One task's processes. `lock` is inherited by all of them, so that the state is free only when the last ended."""

    state: Path
    platform: LocalPlatform
    lock: StateLock
    nursery: Nursery
    scale: Scale
    to_the_last_message: bool = (
        False  # what is in the queue counts as work, even if no ledger knows it (events)
    )
    _run_id: int = 0
    _wanted: int = 1
    _children: dict[str, _Role] = field(default_factory=dict)
    _controller_due: float = 0.0  # monotonic
    _clock_due: float = 0.0  # monotonic

    def follow(self, run: int) -> None:
        """List and compare for this run. Not while another listing is under way."""
        self._run_id = run
        self._add("finder", str(run))

    @property
    def following(self) -> int:
        """The run listed last; 0 before there is one."""
        return self._run_id

    def renew(self) -> None:
        """Let every process read the task's parameters anew: the workers end in order and are started again; a listing
        goes on where it was."""
        for child in self._children.values():
            if child.process and not child.leaving:
                child.process.terminate()

    async def watch(self) -> AsyncIterator[Snapshot]:
        """Run the task, telling how it stands until nothing is left to do, or the run followed failed, or the task is
        paused. Leaving the iteration stops every process."""
        records = self.platform.records
        # The lock says that all of them are dead.
        await self.platform.release_owner(None)
        await self.platform.set_back()
        self._clock_due = time.monotonic() + CLOCK_CHECK
        tick = FIRST_TICK
        try:
            while True:
                snapshot = await self.look()
                yield snapshot
                if snapshot.paused or snapshot.failed:
                    return
                if self._over(snapshot) and self._over(await self.look()):  # nothing came meanwhile
                    break
                await self._close_settled(snapshot)
                self._adjust(snapshot.depth)
                await self._look_at_clock()
                await self._call_controller(snapshot)
                self._kill_silent(snapshot.gauges)
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
                if run.state not in (RunState.FAILED, RunState.DONE):
                    await records.set_run(run.id, RunState.DONE)
            snapshot = await self.look()
            snapshot.finished = True
            yield snapshot
        finally:
            await self.stop()

    async def look(self) -> Snapshot:
        """How the task stands now."""
        found = await self.platform.look()
        runs = found.runs
        # A listing that had to begin anew goes on as a newer run.
        run = next((run for run in runs if run.id >= self._run_id and run.kind is RunKind.SYNC), None)
        run = run or next(iter(runs), Run(0, RunKind.EVENTS, RunState.DONE, 0.0))
        finder = self._children.get("finder")
        return Snapshot(
            run=run,
            runs=runs,
            open_runs=[each for each in runs if each.is_open],
            depth=found.depth,
            gauges=found.gauges,
            parts=sum(upload.done_bytes for upload in found.uploads),
            workers=len(self._workers()),
            wanted=self._wanted,
            finding=finder is not None and not finder.done,
            failed=self._failed(run),
            paused=found.paused,
        )

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
        return last_words(self._log(name))

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

    def _over(self, snapshot: Snapshot) -> bool:
        """The ledgers balance and nothing is under way."""
        finder = self._children.get("finder")
        if (finder and not finder.done) or not all(run.counts.balanced for run in snapshot.open_runs):
            return False
        depth = snapshot.depth
        return not self.to_the_last_message or depth.visible + depth.in_flight + depth.delayed == 0

    def _failed(self, run: Run) -> bool:
        """Whether the run followed has failed for good: its finder may be about to begin it anew."""
        finder = self._children.get("finder")
        ended = finder is not None and (finder.process is None or finder.process.returncode is not None)
        return ended and run.state is RunState.FAILED

    async def _close_settled(self, snapshot: Snapshot) -> None:
        """A run whose objects are all settled is over, even while a later one goes on."""
        for run in snapshot.open_runs:
            if run.is_settled and run.id != self._run_id:
                await self.platform.records.set_run(run.id, RunState.DONE)

    def _workers(self) -> list[_Role]:
        """Those that are not about to leave, the first ones first."""
        return [child for child in self._children.values() if child.is_worker and not child.leaving]

    def _adjust(self, depth: Depth) -> None:
        """Bring the number of workers to what is wanted: new ones are added, the last ones leave."""
        workers = self._workers()
        leaving = sum(child.is_worker and child.leaving for child in self._children.values())
        for worker in workers:
            worker.measure()
        busy = sum(worker.busy for worker in workers) / len(workers) if workers else 0.0
        self._wanted = self.scale(depth, len(workers), leaving, busy)
        taken = {child.name for child in self._children.values()}
        free = (name for n in itertools.count(1) if (name := f"worker-{n}") not in taken)
        for _ in range(self._wanted - len(workers)):
            self._add(next(free))
        for child in workers[self._wanted :]:
            child.leaving = True
            if child.process:
                child.process.terminate()

    async def _look_at_clock(self) -> None:
        """The clock may be set back while the task runs."""
        if time.monotonic() >= self._clock_due:
            self._clock_due = time.monotonic() + CLOCK_CHECK
            await self.platform.set_back()

    async def _call_controller(self, snapshot: Snapshot) -> None:
        """Most tasks have no work for it: it is started when there are giant uploads or dead messages, or when a run
        waits though nothing is left in the queue."""
        if "controller" in self._children or time.monotonic() < self._controller_due:
            return
        self._controller_due = time.monotonic() + CONTROLLER_CHECK
        depth = snapshot.depth
        stuck = not depth.visible + depth.in_flight + depth.delayed and not all(
            run.counts.balanced for run in snapshot.open_runs
        )
        if stuck or await self.platform.uploads.live() or await self.platform.queue.receive_dead(1):
            self._add("controller")

    def _kill_silent(self, gauges: list[Gauge]) -> None:
        """A worker reports every second. One that hangs ends neither by itself nor when asked, and what it holds waits
        for it. Looks are counted, not seconds: when all of the task was stopped for a while, nobody was silent."""
        reported = {gauge.process: gauge.at for gauge in gauges}
        for child in self._children.values():
            if not child.is_worker or not child.process or child.process.returncode is not None:
                continue
            at = reported.get(child.name, 0.0)
            child.unheard = child.unheard + 1 if at == child.reported else 0
            child.reported = at
            if child.unheard >= SILENT:
                log.error("%s hangs, and is killed: it has not reported for long", child.name)
                child.process.kill()
                child.unheard = 0

    async def _clear_uploads(self) -> None:
        """Everything is settled: an upload that is left now belongs to an object that failed or was taken over."""
        if not await self.platform.uploads.live():
            return
        child = self._add("sweeper")
        await self._start(child)
        if child.process:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN):
                    await child.process.wait()

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
            if child.leaving:
                del self._children[child.name]
                continue
            if process.returncode == 0 and child.name == "finder":
                child.done = True
                continue
            if process.returncode in (0, -signal.SIGTERM):  # it was asked to (`renew`)
                child.start_at = time.monotonic() + LAST_TICK
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
            child.unheard = 0
            child.measured, child.busy = (time.monotonic(), 0.0), 0.0
            child.process = await self.nursery.spawn(child.arguments, (self.lock.fileno(), errors.fileno()))

    def _log(self, name: str) -> Path:
        return self.state / "logs" / f"{name}.log"
