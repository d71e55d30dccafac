"""Runs the tasks of the hub on this machine: a runner for each task that there is something to do for. It does what the
task's status and schedule say, and writes down how it stands.

A task that waits has none: `agenda` knows from `hub.db` when there will be something to do. Nothing that matters is
kept in memory: a runner begins by reading the task, its runs and its queue, so that a hub that was killed at any moment
goes on by starting its runners again.
"""

import asyncio
import contextlib
import json
import logging
import math
import os
import random
import resource
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dth.core.errors import BeingSetUp, Conflict, HubError, NotFound, UsageError, full_disk
from dth.core.parameters import check_confined
from dth.core.plugins import plugin
from dth.core.ports.platform import Platform
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Run, RunKind, RunState
from dth.hub import budget, monitoring, tasks
from dth.hub.model import ErrorCode, Progress, ScheduleType, Task
from dth.hub.monitoring import Totals
from dth.hub.notifications import Event
from dth.hub.parameters import read_parameters
from dth.hub.phase import HELD, NO_PLACE, NO_WORKER, OUTSIDE_WINDOW
from dth.hub.ports import HubPorts
from dth.hub.progress import Meter, State, with_last_run
from dth.hub.reading import Reading, with_retries
from dth.hub.scaling import Steps
from dth.hub.schedule import Timetable, Window
from dth.platforms.local.agenda import Agenda, Rest
from dth.platforms.local.filesystem import lock_state_directory
from dth.platforms.local.foreground import KEPT_RUNS, TASK_FILE
from dth.platforms.local.nursery import Nursery
from dth.platforms.local.places import Place, Places, Workers
from dth.platforms.local.platform import DATABASE_FILE, LocalPlatform, open_platform
from dth.platforms.local.supervisor import Snapshot, Supervisor

log = logging.getLogger(__name__)

LOOK = 5.0  # seconds between looks at what is due, whatever is told
LOOKS = 8  # tasks whose databases are looked at at once, to see whether anything is left to do
ENDINGS = 8  # tasks that are stopped at once
A_DATABASE = 16  # descriptors of the process for each database that requests may have open
JUMP = 2.0  # seconds by which a clock is set back that is not merely put right slowly
CHECKED = 100  # tasks whose schedules are checked at once
SUMMARY = 1.0  # seconds between summaries of a task that works
SAMPLE = 10.0  # seconds between samples for the graphs
LATE = 300.0  # seconds after which a run that the schedule wanted counts as missed, at most
ABORTING = 60.0  # seconds that throwing uploads away may take
MOMENT = 0.1  # seconds
CANNOT_BEGIN = "the run that is due cannot begin: as many tasks as may work at once do; it waits for a place"
RETRY = 30.0  # seconds before a runner that failed by a defect or a full disk tries again


@dataclass(frozen=True, slots=True)
class Bounds:
    """What all tasks together may use."""

    tasks: int = 20  # that work at once, a quarter of them for scheduled runs alone; the others wait
    workers: int = field(default_factory=lambda: 2 * len(os.sched_getaffinity(0)))


@dataclass(slots=True)
class Shared:
    """A task's platform, open as long as somebody uses it. Only who has the lock opens or closes it, or takes its
    directory away: one task's database that is busy holds up no other task."""

    platform: LocalPlatform | None = None
    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Keeper:
    """`hub.ports.Engine` on one machine. `ports` and `agenda` are set once all of them are made."""

    ports: HubPorts
    agenda: Agenda

    def __init__(self, folder: Path, nursery: Nursery, bounds: Bounds) -> None:
        self.folder = folder
        self.nursery = nursery
        self.bounds = bounds
        self.began = time.time()
        self.places = Places(bounds.tasks)
        self.workers = Workers(bounds.workers)
        self.totals = Totals()  # what the tasks did since the hub was started
        # From the opening of a database to its end: each takes five descriptors and a thread.
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._requests = asyncio.Semaphore(max(4, min(64, descriptors // A_DATABASE // 4)))
        self.looks = asyncio.Semaphore(LOOKS)
        self.endings = asyncio.Semaphore(ENDINGS)
        self._runners: dict[str, Runner] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._open: dict[str, Shared] = {}
        self._woken = asyncio.Event()

    # --------------------------------------------------------------------------------------- hub.ports.Engine

    async def changed(self, id: str) -> None:
        """In this order, a runner that is about to rest either sees it, or its rest is undone."""
        if id in self._runners:
            self._runners[id].wake()
        await self.agenda.mark(id)
        self._woken.set()

    @asynccontextmanager
    async def open(self, id: str) -> AsyncIterator[Platform]:
        async with self._requests, self.shared(id, make=False) as platform:
            yield platform

    async def read_digest(self, id: str, run: int) -> None:
        """By a process of its own: it takes the CPU for a while."""
        async with self.open(id) as platform:
            if (await platform.records.digest(run)).complete:
                return
            if code := await run_once(self.nursery, self.state(id), "digester", run):
                raise HubError(
                    f"the records of run {run} could not be read: their process ended with code {code}"
                )

    async def stack(self, id: str) -> None:
        """Nothing has to be deployed here."""

    async def discard(self, id: str) -> None:
        async with self._alone(id):
            await asyncio.to_thread(_remove, self.state(id))
        self.totals.forget(id)

    # ------------------------------------------------------------------------------------------------ running

    async def run(self) -> None:
        """Start a runner for every task that is due, until cancelled; then end them all in order."""
        checking, offset = asyncio.create_task(self._check_schedules()), _clock_offset()
        try:
            while True:
                self._woken.clear()
                before, offset = offset, _clock_offset()
                if offset < before - JUMP and checking.done():
                    checking = asyncio.create_task(self._check_schedules())
                now = time.time()
                for due in await self.agenda.due(now):
                    if due not in self._running:
                        self._start(due)
                following = await self.agenda.next(now)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(LOOK, following - time.time()) if following else LOOK):
                        await self._woken.wait()
        finally:
            running = [checking, *self._running.values()]
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _check_schedules(self) -> None:
        """No task waits for a moment that its schedule does not name: the clock may have been ahead, and is right
        again. Slowly, as there may be many."""
        await self.agenda.set_back()
        after = ""
        while page := await self.agenda.scheduled(after, CHECKED):
            for task in page:
                with contextlib.suppress(UsageError):  # its runner says what is wrong with it
                    if tasks.is_unset(task, time.time()):
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

    async def _watched(self, runner: "Runner") -> None:
        """A runner that fails by more than its task's fault tries again, as long as the task lives."""
        while True:
            try:
                await runner.run()
                return
            except NotFound:
                return
            except Conflict:  # somebody changed the task at the same moment: look at it again
                await asyncio.sleep(MOMENT)
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
            await runner.sleep(
                RETRY * random.uniform(1.0, 1.5)
            )  # what failed them all is not asked by all at once

    def state(self, id: str) -> Path:
        """A task's state directory. Ids are UUIDs; nothing else names a directory."""
        if not id.replace("-", "").isalnum():
            raise NotFound(f"there is no task {id!r}")
        return self.folder / id

    @asynccontextmanager
    async def shared(self, id: str, *, make: bool = True) -> AsyncIterator[LocalPlatform]:
        """A task's platform: the same for all who use it at once, closed by the last one. Raises BeingSetUp where there
        is nothing yet, unless it may `make` it."""
        state = self.state(id)
        shared = self._open.setdefault(id, Shared())
        shared.users += 1
        try:
            async with shared.lock:
                if shared.platform is None:
                    if not make and not state.exists():
                        raise BeingSetUp(f"task {id} is being set up; try again in a moment")
                    shared.platform = await asyncio.to_thread(open_platform, state, "hub")
                platform = shared.platform
            yield platform
        finally:
            shared.users -= 1
            await asyncio.shield(self._close_unused(id, shared))

    @asynccontextmanager
    async def _alone(self, id: str) -> AsyncIterator[None]:
        """While nobody opens the task's platform."""
        shared = self._open.setdefault(id, Shared())
        shared.users += 1
        try:
            async with shared.lock:
                yield
        finally:
            shared.users -= 1
            await asyncio.shield(self._close_unused(id, shared))

    async def _close_unused(self, id: str, shared: Shared) -> None:
        async with shared.lock:
            if not shared.users and shared.platform:
                unused, shared.platform = shared.platform, None
                await asyncio.to_thread(unused.close)
            # Somebody may have come while it was being closed.
            if not shared.users and self._open.get(id) is shared:
                del self._open[id]

    def in_use(self, id: str) -> bool:
        """Whether somebody has the task's platform open."""
        return id in self._open


def _clock_offset() -> float:
    """Of the clock on the wall to one that nobody sets."""
    return time.time() - time.monotonic()


class Runner:
    """One task's life on this machine."""

    def __init__(self, keeper: Keeper, id: str) -> None:
        self.id = id
        self._keeper = keeper
        self._state = keeper.state(id)
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def sleep(self, seconds: float) -> None:
        """Until the task changes, or so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._woken.wait()
        self._woken.clear()

    def was_woken(self) -> bool:
        """Whether the task has changed since this was asked last."""
        woken = self._woken.is_set()
        self._woken.clear()
        return woken

    @property
    def ports(self) -> HubPorts:
        return self._keeper.ports

    async def run(self) -> None:
        """Do what the task's status says, until there is nothing to do for a while."""
        while True:
            task = await self.ports.tasks.get(self.id)
            rest: Rest | None = None
            match task.progress:
                case Progress.STARTING:
                    await self._prepare(task)
                case Progress.IN_PROGRESS:
                    rest = await self._go_on(task)
                case Progress.STOPPING:
                    await self._end(task)
                case _:
                    rest = Rest(task.version)
            if rest and await self._rests(rest):
                return

    async def _rests(self, rest: Rest) -> bool:
        """Whether the task is left alone now. Not while somebody has its database open: they may bring work."""
        if self._keeper.in_use(self.id):
            await self.sleep(MOMENT)
            return False
        if self.was_woken():
            return False
        return await self._keeper.agenda.rest(self.id, rest)

    async def _prepare(self, task: Task) -> None:
        try:
            check_confined(read_parameters(task.type, task.parameters))
            write_task_file(self._state, task)  # so that there is a directory
            async with self._keeper.looks, self._keeper.shared(self.id) as platform:
                await platform.records.resume()
        except HubError as error:
            await self._fail(str(error))
            return
        await tasks.started(self.ports, self.id)

    async def _fail(self, reason: str) -> None:
        await tasks.fail(self.ports, self.id, reason, ErrorCode.CFN_ERROR)
        await self.tell(Event.TASK_ERROR, reason)

    async def _go_on(self, task: Task) -> Rest | None:
        """Work, if there is something to do and the window is open; or say for how long there is not."""
        now = time.time()
        parameters = read_parameters(task.type, task.parameters)
        try:
            check_confined(parameters)
        except UsageError as error:  # of an older hub, or the settings allow less than they did
            await self._fail(str(error))
            return None
        if tasks.is_unset(task, now):
            await tasks.note(self.ports, self.id, next_run=tasks.next_run(task, now))
            return None
        window = Window.parse(parameters.transfer_window)
        if not window.is_open(now):
            await self._say(OUTSIDE_WINDOW)
            opens = window.next_change(now) or now + LOOK
            return Rest(task.version, opens + random.uniform(0.0, 1.0), held=True)
        if not _is_due(task, now):
            runs = await self._idle_runs()
            if runs is not None:
                return await self._is_idle(task, runs)
        place = await self._take_place(task)
        if not place:
            return None
        try:
            await self._say("")
            last = await Work(self, self._keeper, self._state, place).run()
        finally:
            self._keeper.places.give_back(place)
        if not last.finished:
            return None
        return await self._is_idle(await self.ports.tasks.get(self.id), last.runs)

    async def _idle_runs(self) -> list[Run] | None:
        """The newest runs of a task in whose queue and runs nothing is left to do; None where something is."""
        if not (self._state / DATABASE_FILE).exists():
            return []
        async with self._keeper.looks, self._keeper.shared(self.id) as platform:
            return None if await _is_under_way(platform) else await platform.records.list_runs(1)

    async def _is_idle(self, task: Task, runs: Sequence[Run]) -> Rest | None:
        """Nothing is under way. `runs`: the newest ones."""
        if _is_due(task, time.time()):
            return None
        if task.schedule_type is ScheduleType.ONE_TIME:
            await self._finish(runs)
            return None
        if task.reason in HELD:
            await self._say("")
            return None
        return Rest(task.version)

    async def _take_place(self, task: Task) -> Place | None:
        """One of the places for tasks that work; None when the task changed, and may have nothing to do any more."""
        place = self._keeper.places.ask(due=_is_scheduled(task))
        told = taken = False
        try:
            if not place.taken.is_set():
                await self._say(NO_PLACE)
            while not place.taken.is_set():
                late = late_after(task) if place.due and not told else math.inf
                moment = late if place.due else task.next_run or math.inf
                await self._wait(place, moment)
                if self.was_woken():  # by events, for example: its place in the line stays
                    before, task = task, await self.ports.tasks.get(self.id)
                    if (task.progress, task.parameters) != (before.progress, before.parameters):
                        break
                elif place.due and moment <= time.time():
                    told = True
                    await self.tell(Event.MISSED_SCHEDULE, CANNOT_BEGIN, once=f"{task.next_run:.0f}")
                elif _is_scheduled(task):
                    self._keeper.places.hurry(place)
            taken = place.taken.is_set()
        finally:
            if not taken:
                self._keeper.places.give_back(place)
        return place if taken else None

    async def _wait(self, place: Place, until: float) -> None:
        """For the place, for a change of the task, or for a moment."""
        waiting = [asyncio.create_task(event.wait()) for event in (place.taken, self._woken)]
        try:
            timeout = until - time.time() if math.isfinite(until) else None
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    async def _finish(self, runs: Sequence[Run]) -> None:
        """A one-time task has nothing left to do."""
        failed = runs[0].counts.failed + runs[0].counts.delete_failed if runs else 0
        if runs and runs[0].state is RunState.FAILED:
            await tasks.fail(self.ports, self.id, runs[0].error, ErrorCode.FINDER_ERROR)
            return
        await tasks.finished(self.ports, self.id)
        await self.tell(Event.TASK_DONE, f"{runs[0].counts.done if runs else 0} transferred, {failed} failed")

    async def _end(self, task: Task) -> None:
        """The task stops: nothing of it runs any more; what it began and did not complete is thrown away."""
        if (self._state / TASK_FILE).exists():
            async with self._keeper.endings:
                with await asyncio.to_thread(lock_state_directory, self._state) as lock:
                    async with self._keeper.shared(self.id) as platform:
                        await platform.release_owner(None)
                        await throw_uploads_away(self._keeper.nursery, self._state, lock.fileno())
                        await platform.queue.purge()
                        await platform.records.cancel_pending("stopped")
                        await platform.images.cancel_pending("stopped")
        await tasks.ended(self.ports, self.id)
        task = await self.ports.tasks.get(self.id)
        task.summary.rate, task.summary.workers, task.summary.waiting = 0.0, 0, 0
        task.summary.listing, task.summary.eta = False, -1.0
        await self.ports.tasks.summarize(task)

    async def _say(self, reason: str) -> None:
        """Tell in the task why it does nothing at the moment."""
        task = await self.ports.tasks.get(self.id)
        if task.progress is Progress.IN_PROGRESS and task.reason != reason:
            await tasks.note(self.ports, self.id, reason=reason)

    async def tell(self, event: Event, text: str, once: str = "") -> None:
        task = await self.ports.tasks.get(self.id)
        await self.ports.notifications.notify(event, task, text, once=once and f"{self.id} {event} {once}")


class Work:
    """One stretch of work of a task: from having something to do until there is nothing, or something stops it."""

    def __init__(self, runner: Runner, keeper: Keeper, state: Path, place: Place) -> None:
        self._runner = runner
        self._place = place
        self._keeper = keeper
        self._state = state
        self._ports = keeper.ports
        self._meter = Meter()
        self._sampled: Reading | None = None
        self._sample_due = time.monotonic() + monitoring.until_sample(time.time())
        self._summary_due = 0.0  # monotonic, as the one before
        self._waits_for_worker = False

    async def run(self) -> Snapshot:
        """Returns how the task stands at the end: `finished` if there was nothing left to do."""
        this = self._runner.id
        task = await self._ports.tasks.get(this)
        steps = Steps()

        def scale(depth: Depth, workers: int, leaving: int, _busy: float) -> int:
            capacity = self._plugin.capacity(self._parameters)
            busy = depth.visible + depth.in_flight > 0
            # None is started before there is work for it: most runs of most schedules find nothing to copy.
            wanted = steps.wanted(capacity, depth, workers) if busy or workers else 0
            granted = self._keeper.workers.share(this, wanted, workers + leaving, busy=busy)
            self._waits_for_worker = busy and not granted
            return granted

        with await asyncio.to_thread(lock_state_directory, self._state) as lock:
            async with self._keeper.shared(this) as platform:
                self._platform = platform
                await platform.records.resume()
                await platform.prune(KEPT_RUNS)
                await self._read(task)
                supervisor = Supervisor(
                    self._state, platform, lock, self._keeper.nursery, scale, to_the_last_message=True
                )
                self._supervisor = supervisor
                for run in await platform.records.list_runs():
                    if run.kind is RunKind.SYNC and run.state is RunState.LISTING:
                        supervisor.follow(run.id)  # the listing that was interrupted goes on
                        break
                self._sampled = (await supervisor.look()).reading()  # what comes is counted from here
                self._meter.update(self._sampled)
                finished = False
                try:
                    async with contextlib.aclosing(supervisor.watch()) as watching:  # type: ignore[type-var]
                        async for snapshot in watching:
                            if not await self._look(snapshot):
                                break
                            finished = snapshot.finished
                finally:
                    self._keeper.workers.leave(this)
                    last = await supervisor.look()
                    await self._write_samples(last)
                    await self._write_summary(last, over=True)
                last.finished = finished
                return last

    async def _read(self, task: Task) -> None:
        """Write the task's parameters down for its processes, and the rates that hold now."""
        self._task = task
        self._plugin = plugin(task.type)
        self._parameters = read_parameters(task.type, task.parameters)
        self._window = Window.parse(self._parameters.transfer_window)
        timetable, self._usual_cap = self._plugin.bandwidth(self._parameters)
        self._timetable = Timetable.parse(timetable)
        self._cap = self._timetable.cap_at(time.time(), self._usual_cap)
        self._written = write_task_file(self._state, task)
        self._meter.cap = float(self._cap or 0)
        await self._platform.limits.set_rates(self._plugin.rates(self._parameters, self._cap))

    async def _look(self, snapshot: Snapshot) -> bool:
        """Whether to go on."""
        now = time.time()
        if self._runner.was_woken() or _is_due(self._task, now) or self._cap_changed(now):
            task = await self._ports.tasks.get(self._runner.id)
            if task.progress is not Progress.IN_PROGRESS:
                return False
            if task.version != self._task.version or self._cap_changed(now):
                before = self._written
                await self._read(task)
                if self._written != before:
                    self._supervisor.renew()
            await self._begin_what_is_due(task, snapshot, now)
        if not self._window.is_open(now):
            return False
        if time.monotonic() >= self._summary_due and not snapshot.finished:
            self._summary_due = time.monotonic() + SUMMARY
            await self._write_summary(snapshot)
        if time.monotonic() >= self._sample_due:
            self._sample_due = time.monotonic() + monitoring.until_sample(now)
            await self._write_samples(snapshot)
            await self._keep_budget(snapshot)
            if tasks.is_unset(self._task, now):
                upcoming = tasks.next_run(self._task, now)
                self._task = await tasks.note(self._ports, self._task.id, next_run=upcoming)
        if snapshot.paused:
            await tasks.pause(self._ports, self._runner.id, snapshot.paused)
            await self._runner.tell(Event.TASK_PAUSED, snapshot.paused, once=f"{snapshot.run.id}")
            return False
        if snapshot.failed:
            await self._run_failed(snapshot.run)
        return snapshot.finished or not self._keeper.places.is_wanted(self._place)

    def _cap_changed(self, now: float) -> bool:
        return self._timetable.cap_at(now, self._usual_cap) != self._cap

    async def _begin_what_is_due(self, task: Task, snapshot: Snapshot, now: float) -> None:
        """Runs and redrives that were asked for, by a user or by the schedule. What was asked for is forgotten only
        when it is in the task's own database; after a crash in between, the run that was begun is taken up."""
        records = self._platform.records
        if task.redrive_requested:
            await self._plugin.redrive(self._platform, self._parameters)
            await tasks.note(self._ports, task.id, redrive_requested=False)
        scheduled = bool(task.next_run and task.next_run <= now)
        if not (task.run_requested or scheduled):
            return
        changes: dict[str, Any] = {}
        late = ""
        if scheduled:
            changes["next_run"] = tasks.next_run(task, now)
            if now >= late_after(task) and not snapshot.finding and (why := self._why_late(task)):
                late = f"the schedule wanted this run {round(now - task.next_run)} seconds before it began: {why}"
                await self._runner.tell(Event.MISSED_SCHEDULE, late, once=f"{task.next_run:.0f}")
        if snapshot.finding:
            if scheduled and not task.run_requested:
                text = "the listing before is not at its end; this one is left out"
                await self._runner.tell(Event.MISSED_SCHEDULE, text, once=f"{task.next_run:.0f}")
                self._task = await tasks.note(self._ports, task.id, **changes)
            return  # what a user asked for begins after it
        # What an earlier run has in flight does not stand in its way: it counts as pending.
        run, _ = await records.begin_run(RunKind.SYNC, beside=True)
        if late:
            await records.add_note(run.id, late)
        self._supervisor.follow(run.id)
        self._task = await tasks.note(self._ports, task.id, run_requested=False, reason="", **changes)

    def _why_late(self, task: Task) -> str:
        """Why a run begins late; "" where that is as the task has it, as outside of its window."""
        if self._place.since - self._place.asked >= SUMMARY:
            return "it waited for a place"
        return "the hub did not run" if task.next_run < self._keeper.began else ""

    async def _run_failed(self, run: Run) -> None:
        """The listing failed. A one-time task ends so; a scheduled one tries again when its time comes."""
        if self._task.schedule_type is ScheduleType.ONE_TIME:
            await tasks.fail(self._ports, self._runner.id, run.error, ErrorCode.FINDER_ERROR)
        else:
            await tasks.note(self._ports, self._runner.id, reason=f"run {run.id} failed: {run.error}")
        await self._runner.tell(Event.TASK_ERROR, run.error, once=f"{run.id}")

    # ------------------------------------------------------------------------------------------- telling

    async def _write_summary(self, snapshot: Snapshot, *, over: bool = False) -> None:
        task = await self._ports.tasks.get(self._runner.id)
        run, workers = with_retries(snapshot.run, snapshot.runs), 0 if over else snapshot.workers
        self._meter.update(snapshot.reading(), moving=not over)
        summary = self._meter.summary(run, snapshot.depth, workers)
        task.summary = with_last_run(summary, task.summary, snapshot.runs)
        if self._waits_for_worker:
            task.summary.state, task.summary.note = State.WAITING.value, NO_WORKER
        if over or snapshot.finished:
            task.summary.rate, task.summary.eta, task.summary.listing = 0.0, -1.0, False
        await self._ports.tasks.summarize(task)
        failed = task.summary.failed
        if failed and (over or snapshot.finished):
            text = f"{failed} {self._plugin.things} failed in run {run.id}"
            await self._runner.tell(Event.DEAD_LETTERS, text, once=f"{run.id} {failed}")

    async def _write_samples(self, snapshot: Snapshot) -> None:
        reading = snapshot.reading()
        samples = monitoring.sample(self._sampled, reading)
        self._sampled = reading
        self._keeper.totals.add(self._runner.id, samples)
        await self._ports.metrics.write(self._runner.id, reading.at, samples)
        await self._estimate_cost()

    async def _estimate_cost(self) -> None:
        task = await self._ports.tasks.get(self._runner.id)
        runs = await self._platform.records.list_runs(KEPT_RUNS)
        spent = budget.spent(task, runs, self._ports.prices)
        if spent != task.spent:
            task.spent = spent
            await self._ports.tasks.summarize(task)

    async def _keep_budget(self, snapshot: Snapshot) -> None:
        """At its budget a task pauses."""
        task = await self._ports.tasks.get(self._runner.id)
        if text := budget.reached(task, snapshot.open_runs, snapshot.depth):
            await tasks.pause(self._ports, task.id, text)
            await self._runner.tell(Event.TASK_PAUSED, text, once=text)


def _is_due(task: Task, now: float) -> bool:
    """Whether a run or a redrive is to begin."""
    return task.run_requested or task.redrive_requested or _is_scheduled(task, now)


def _is_scheduled(task: Task, now: float | None = None) -> bool:
    """Whether the schedule wants a run."""
    return bool(task.next_run and task.next_run <= (time.time() if now is None else now))


async def _is_under_way(platform: LocalPlatform) -> bool:
    """Whether something of the task is in its queue, or in a run that is open."""
    depth = await platform.queue.depth()
    runs = await platform.records.list_runs()
    return depth.visible + depth.in_flight + depth.delayed > 0 or any(run.is_open for run in runs)


def late_after(task: Task) -> float:
    """When the run that the schedule wants counts as missed: when the next one is due, and after `LATE` seconds."""
    following = tasks.next_run(task, task.next_run)
    return min(task.next_run + LATE, following or task.next_run + LATE)


def _remove(state: Path) -> None:
    """Raises HubError for what cannot be removed."""
    try:
        shutil.rmtree(state)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise HubError(f"{error.filename or state} cannot be removed: {error.strerror}") from None


def write_task_file(state: Path, task: Task) -> str:
    """Write the parameters for the task's processes, without those that are none of theirs; returns what was
    written."""
    parameters = read_parameters(task.type, task.parameters)
    given = parameters.model_dump(mode="json", by_alias=True, exclude_unset=True)
    live = plugin(task.type).live
    values = {"type": task.type} | {name: each for name, each in given.items() if name not in live}
    text = json.dumps(values, indent=1)
    path = state / TASK_FILE
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and path.read_text("utf-8") == text:
            return text
        partial = state / f"{TASK_FILE}.new"
        partial.write_text(text, "utf-8")
        partial.replace(path)
    except OSError as error:
        raise HubError(f"{path} cannot be written: {error.strerror}") from None
    return text


async def throw_uploads_away(nursery: Nursery, state: Path, lock: int) -> None:
    """Let a process abort every upload that the task began. What a store does not let go of in time stays with the
    task, for when it is started again."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ABORTING):
            await run_once(nursery, state, "aborter", lock=lock)


async def run_once(nursery: Nursery, state: Path, role: str, run: int = 0, lock: int = -1) -> int:
    """Let a process of the task do one thing, and wait for its end. Returns its exit code. `lock`: that of the state,
    where nobody else may work meanwhile."""
    logs = state / "logs"
    logs.mkdir(exist_ok=True)
    with (logs / f"{role}.log").open("ab") as errors:
        files = (errors.fileno() if lock < 0 else lock, errors.fileno())
        child = await nursery.spawn([role, str(state), role, str(run)], files)
    try:
        await child.wait()
    finally:
        child.kill()
        await child.wait()
    return child.returncode or 0
