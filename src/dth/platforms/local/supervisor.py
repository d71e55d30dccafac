"""The supervisor: runs one task's finder, workers and controller as processes, restarts those that
die, scales the workers by the backlog, and reports when there is nothing left to do.
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

from dth.core import clock, redrive
from dth.core.errors import StateError
from dth.core.ports.gauges import Gauge
from dth.core.ports.platform import SupervisedPlatform
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Run, RunKind, RunState
from dth.core.retry_policy import RetryPolicy
from dth.hub.reading import Reading
from dth.platforms.local.filesystem import StateLock
from dth.platforms.local.fork_server import Child, ForkServer
from dth.platforms.local.journal import last_words

# Seconds between looks. Frequent at first, so that a small task ends at once.
FIRST_TICK, LAST_TICK = 0.02, 0.25
# Restarts of one process without progress in between.
MAX_RESTARTS = 20
RESTARTS = RetryPolicy(first=0.2, last=5.0)
# Seconds that a worker may take to finish its work in progress.
DRAIN = 30.0
# Looks (five minutes) without a report from a worker before it is killed.
SILENT = 1200
# Seconds after its last report in which a worker of another machine is counted.
LATELY = 10.0
# Seconds between checks of whether the controller is needed.
CONTROLLER_CHECK = 2.0
# Seconds between checks for times too far in the future.
CLOCK_CHECK = 10.0
# Visible messages per worker above which another worker is started.
BACKLOG_A_WORKER = 4
# CPU use per worker, as a part of a core. A worker that uses less waits for the stores; another one
# would only wait, too.
BUSY = 0.7
BUSY_CHECK = 0.5  # seconds over which it is measured

log = logging.getLogger(__name__)

# The number of workers wanted, from: the queue's depth, the number of workers, the number that is
# about to end, and the part of a core that each worker uses.
Scale = Callable[[Depth, int, int, float], int]


def one_by_one(most: int) -> Scale:
    """Start one worker as soon as there is work, and another one as soon as the present ones have
    enough and are the bottleneck. For a run that somebody waits for. A run that finds nothing to
    copy starts none."""

    def scale(depth: Depth, workers: int, _leaving: int, busy: float) -> int:
        more = depth.visible > BACKLOG_A_WORKER * workers and (not workers or busy >= BUSY)
        return min(most, workers + more)

    return scale


@dataclass(slots=True)
class Snapshot:
    """The state of the task. `run` is the run that was followed last, or else the newest."""

    run: Run
    runs: list[Run]  # the newest ones
    # `run` and earlier runs with objects in flight.
    open_runs: list[Run]
    depth: Depth
    gauges: list[Gauge]
    parts: int  # bytes done of unfinished uploads
    workers: int
    elsewhere: int  # those of `workers` that are on other machines
    wanted: int  # how many workers there should be
    finding: bool  # a listing is in progress
    failed: bool  # the followed run failed for good
    paused: str = ""
    finished: bool = False

    def reading(self) -> Reading:
        """The values to measure over time."""
        return Reading(
            clock.now(), self.gauges, self.runs, self.depth, self.wanted, self.workers, self.parts
        )


@dataclass(slots=True)
class _Role:
    name: str
    arguments: list[str]
    process: Child | None = None
    restarts: int = 0
    start_at: float = 0.0  # monotonic
    progress: int = -1  # settled objects at its last start
    done: bool = False
    leaving: bool = False  # told to end, not to be replaced
    # Time of its last report, by its own clock.
    reported: float = 0.0
    unheard: int = 0  # looks since its last report
    measured: tuple[float, float] = (0.0, 0.0)  # monotonic time, CPU used until then
    busy: float = 0.0  # the part of a core used recently

    @property
    def is_worker(self) -> bool:
        return self.name.startswith("worker")

    def measure(self) -> None:
        """Measure its CPU use, if a measurement is due. If the system does not report it, the
        worker counts as busy."""
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
    """The processes of one task on this machine. All of them inherit `lock`, so the state is free
    only when the last one has ended."""

    state: Path
    platform: SupervisedPlatform
    lock: StateLock
    fork_server: ForkServer
    scale: Scale
    # Messages in the queue count as work even if no ledger knows them (events).
    to_the_last_message: bool = False
    # What the platform has before the names of this machine's processes, if others work as well.
    within: str = ""
    _run_id: int = 0
    _wanted: int = 1
    _children: dict[str, _Role] = field(default_factory=dict)
    _controller_due: float = 0.0  # monotonic
    _clock_due: float = 0.0  # monotonic

    def follow(self, run: int) -> None:
        """List and compare for this run. Not allowed while another listing is in progress."""
        self._run_id = run
        self._add("finder", str(run))

    @property
    def following(self) -> int:
        """The run listed last; 0 if there was none."""
        return self._run_id

    def renew(self) -> None:
        """Make every process read the task's parameters again: workers finish and restart, and a
        listing resumes where it stopped."""
        for child in self._children.values():
            if child.process and not child.leaving:
                child.process.terminate()

    async def watch(self) -> AsyncIterator[Snapshot]:
        """Run the task and yield its state, until nothing is left to do, the followed run failed,
        or the task is paused. Leaving the iteration stops every process."""
        records = self.platform.records
        # We hold the lock, so all of them are dead.
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
                # The second look confirms that nothing came in the meantime.
                if self._over(snapshot) and self._over(await self.look()):
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
                    f"{self.state}: an upload is left that could not be discarded; run the "
                    "command again"
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
        """The current state of the task."""
        found = await self.platform.look()
        runs = found.runs
        # A listing that had to start over continues as a newer run.
        run = next(
            (run for run in runs if run.id >= self._run_id and run.kind is RunKind.SYNC), None
        )
        run = run or next(iter(runs), Run(0, RunKind.EVENTS, RunState.DONE, 0.0))
        finder = self._children.get("finder")
        elsewhere = self._workers_elsewhere(found.gauges)
        return Snapshot(
            run=run,
            runs=runs,
            open_runs=[each for each in runs if each.is_open],
            depth=found.depth,
            gauges=found.gauges,
            parts=sum(upload.done_bytes for upload in found.uploads),
            workers=len(self._workers()) + elsewhere,
            elsewhere=elsewhere,
            wanted=self._wanted,
            finding=finder is not None and not finder.done,
            failed=self._failed(run),
            paused=found.paused,
        )

    async def stop(self) -> None:
        """Drain the workers and end the other processes; kill what still runs after `DRAIN`
        seconds."""
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
                await self.platform.release_owner(self.within + child.name)
                child.process = None

    def last_words(self, name: str) -> str:
        """The last line that a process wrote to standard error."""
        return last_words(self._log(name))

    @property
    def pids(self) -> dict[str, int]:
        """The ids of the processes that run, by name."""
        return {
            name: child.process.pid
            for name, child in self._children.items()
            if child.process and child.process.returncode is None
        }

    # -------------------------------------------------------------------------------------- details

    def _add(self, name: str, *rest: str) -> _Role:
        kind = name.partition("-")[0]
        child = _Role(name, [kind, str(self.state), name, *rest])
        self._children[name] = child
        return child

    def _over(self, snapshot: Snapshot) -> bool:
        """The ledgers balance and nothing is in progress."""
        finder = self._children.get("finder")
        if (finder and not finder.done) or redrive.are_left(snapshot.open_runs):
            return False
        if not all(run.counts.balanced for run in snapshot.open_runs):
            return False
        depth = snapshot.depth
        return not self.to_the_last_message or depth.visible + depth.in_flight + depth.delayed == 0

    def _failed(self, run: Run) -> bool:
        """Whether the followed run failed for good. Not if its finder may be about to restart
        it."""
        finder = self._children.get("finder")
        ended = finder is not None and (
            finder.process is None or finder.process.returncode is not None
        )
        return ended and run.state is RunState.FAILED

    async def _close_settled(self, snapshot: Snapshot) -> None:
        """End runs whose objects are all settled, even while a later run continues."""
        for run in snapshot.open_runs:
            if run.is_settled and run.id != self._run_id:
                await self.platform.records.set_run(run.id, RunState.DONE)

    def _workers(self) -> list[_Role]:
        """The workers that are not about to leave, oldest first."""
        return [child for child in self._children.values() if child.is_worker and not child.leaving]

    def _workers_elsewhere(self, gauges: list[Gauge]) -> int:
        """How many workers of other machines have reported lately."""
        if not self.within:
            return 0
        since = clock.now() - LATELY
        return sum(
            gauge.kind == "worker" and gauge.at > since
            for gauge in gauges
            if not gauge.process.startswith(self.within)
        )

    def _adjust(self, depth: Depth) -> None:
        """Adjust the number of workers to the number wanted: add new ones, or let the newest
        leave."""
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
        """Start the controller if it is needed: if there are giant uploads or dead letters, or if a
        run waits although the queue is empty. Most tasks do not need it."""
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
        """A worker reports every second. One that hangs ends neither by itself nor on request, and
        the messages that it holds wait for it. The limit is a number of looks, not seconds: if the
        whole task was stopped for a while, no worker was silent."""
        reported = {gauge.process: gauge.at for gauge in gauges}
        for child in self._children.values():
            if not child.is_worker or not child.process or child.process.returncode is not None:
                continue
            at = reported.get(self.within + child.name, 0.0)
            child.unheard = child.unheard + 1 if at == child.reported else 0
            child.reported = at
            if child.unheard >= SILENT:
                log.error("%s hangs, and is killed: it has not reported for long", child.name)
                child.process.kill()
                child.unheard = 0

    async def _clear_uploads(self) -> None:
        """Clear the uploads that are left when everything is settled: their objects failed or were
        taken over."""
        if not await self.platform.uploads.live():
            return
        child = self._add("sweeper")
        await self._start(child)
        if child.process:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN):
                    await child.process.wait()

    async def _keep(self, snapshot: Snapshot) -> None:
        """Start what is not running: initially, and after a death with increasing pauses."""
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
            await self.platform.release_owner(self.within + child.name)
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
            child.start_at = time.monotonic() + RESTARTS.pause(child.restarts)

    def _fatal(self, child: _Role, code: int | None) -> bool:
        """Whether a process will not recover: it failed with its own message (exit code 1),
        immediately and repeatedly."""
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
            child.process = await self.fork_server.spawn(
                child.arguments, (self.lock.fileno(), errors.fileno())
            )

    def _log(self, name: str) -> Path:
        return self.state / "logs" / f"{name}.log"
