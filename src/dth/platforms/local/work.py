"""One continuous period of a task's work: from when there is something to do until nothing is left
or something stops it.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from dth.core import clock
from dth.core.errors import StateError
from dth.core.plugin import Plugin
from dth.core.plugins import plugin
from dth.core.ports.platform import SupervisedPlatform
from dth.core.ports.queue import Depth
from dth.core.ports.runs import KEPT_RUNS, Run, RunKind, RunState
from dth.hub import budget, monitoring, tasks
from dth.hub.audit import CONTINUED_AFTER_RESTART, note_of_hub
from dth.hub.model import Progress, Task
from dth.hub.phase import NO_WORKER
from dth.hub.ports import HubPorts
from dth.hub.progress import Meter, RunActivity, with_last_run
from dth.hub.reading import Reading, with_retries
from dth.hub.scaling import Steps
from dth.hub.steward import (
    BeginRun,
    Continue,
    Fail,
    Finish,
    Idle,
    Notify,
    Pause,
    RetryFailed,
    Say,
    SetNextRun,
    Terms,
    View,
    decide,
    is_due,
    terms_of,
    timetable_of,
)
from dth.hub.windows import Timetable
from dth.platforms.local.filesystem import StateLock
from dth.platforms.local.places import TaskPlace
from dth.platforms.local.supervisor import Snapshot, Supervisor
from dth.platforms.local.task_state import write_task_file

if TYPE_CHECKING:
    from dth.platforms.local.keeper import Keeper
    from dth.platforms.local.runner import Runner

# Seconds between summaries of a working task.
SUMMARY = 1.0
# That may help with a task: more than any database has.
MACHINES = 10_000


@dataclass(frozen=True, slots=True)
class Orders:
    """What a task's parameters say about its work. They are read again when somebody changes
    them."""

    plugin: Plugin
    parameters: Any
    terms: Terms
    timetable: Timetable
    # Bytes per second where the timetable has no entry.
    usual_cap: int | None

    @classmethod
    def of(cls, task: Task) -> Self:
        chosen, parameters = plugin(task.type), task.model
        return cls(chosen, parameters, terms_of(task), *timetable_of(task))

    def cap_at(self, now: float) -> int | None:
        """The bandwidth limit at this time, in bytes per second; None: unlimited."""
        return self.timetable.cap_at(now, self.usual_cap)


class TaskWork:
    """The work of `task`, with its `platform` open and its state locked."""

    def __init__(
        self,
        runner: "Runner",
        keeper: "Keeper",
        task: Task,
        place: TaskPlace,
        platform: SupervisedPlatform,
        lock: StateLock,
    ) -> None:
        self._runner = runner
        self._keeper = keeper
        self._task = task
        self._place = place
        self._platform = platform
        self._state = keeper.state(task.id)
        self._supervisor = Supervisor(
            self._state,
            platform,
            lock,
            keeper.fork_server,
            self._scale,
            to_the_last_message=True,
            within=keeper.storage.within,
        )
        self._orders = Orders.of(task)
        self._cap: int | None = None
        self._written = ""  # the file that its processes read
        self._elsewhere = 0  # workers of other machines
        self._offered: tuple[str, int] | None = None  # to other machines
        self._steps = Steps()
        self._waits_for_worker = False
        self._meter = Meter()
        self._sampled: Reading | None = None
        self._sample_due = time.monotonic() + monitoring.until_sample(clock.now())
        self._summary_due = 0.0  # monotonic, as the previous one

    @property
    def _ports(self) -> HubPorts:
        return self._keeper.ports

    async def run(self) -> Snapshot:
        """Returns the state of the task at the end: `finished` if nothing was left to do."""
        await self._platform.records.resume()
        await self._platform.prune(KEPT_RUNS)
        await self._read(self._task)
        supervisor = self._supervisor
        runs = await self._platform.records.list_runs()
        await self._tell_of_restart(runs)
        for run in runs:
            if run.kind is RunKind.SYNC and run.state is RunState.LISTING:
                supervisor.follow(run.id)  # continue the interrupted listing
                break
        self._sampled = (await supervisor.look()).reading()  # counting starts from here
        self._meter.update(self._sampled)
        finished = False
        try:
            async with contextlib.aclosing(supervisor.watch()) as watching:  # type: ignore[type-var]
                try:
                    async for snapshot in watching:
                        if not await self._look(snapshot):
                            break
                        finished = snapshot.finished
                        await self._offer(snapshot)
                finally:
                    # Before the workers here finish. If the database is away, nobody can work.
                    with contextlib.suppress(StateError):
                        await self._keeper.storage.withdraw(self._state)
        finally:
            self._keeper.workers.leave(self._task.id)
            last = await supervisor.look()
            await self._write_samples(last)
            await self._write_summary(last, over=True)
        last.finished = finished
        return last

    async def _tell_of_restart(self, runs: Sequence[Run]) -> None:
        """Record that the hub was started again while a run was in progress."""
        worked, began = self._keeper.worked, self._keeper.began
        interrupted = any(run.is_open and run.started < began for run in runs)
        if interrupted and self._task.id not in worked:
            await note_of_hub(self._ports.audit, CONTINUED_AFTER_RESTART, self._task.id)
        worked.add(self._task.id)

    def _scale(self, depth: Depth, workers: int, leaving: int, _busy: float) -> int:
        """The number of workers wanted, from those that all tasks share."""
        capacity = self._orders.plugin.capacity(self._orders.parameters)
        busy = depth.visible + depth.in_flight > 0
        # No worker starts before there is work: most runs of most schedules find nothing to copy.
        wanted = self._steps.wanted(capacity, depth, workers) if busy or workers else 0
        wanted = min(wanted, max(1, capacity.max_capacity - self._elsewhere))
        granted = self._keeper.workers.share(self._task.id, wanted, workers + leaving, busy=busy)
        self._waits_for_worker = busy and not granted
        return granted

    async def _offer(self, snapshot: Snapshot) -> None:
        """Let other machines have the workers that this one does not have. The first one is
        here."""
        self._elsewhere = snapshot.elsewhere
        plugin = self._orders.plugin
        most = plugin.capacity(self._orders.parameters).max_capacity
        here = max(1, snapshot.workers - snapshot.elsewhere)
        guests = MACHINES if plugin.worker_per_machine else max(0, most - here)
        offered = (self._written, guests)
        if offered != self._offered:
            await self._keeper.storage.offer(self._state, *offered)
            self._offered = offered

    # -------------------------------------------------------------------------------------- looking

    async def _look(self, snapshot: Snapshot) -> bool:
        """Returns whether to continue."""
        now = clock.now()
        await self._read_changes(now)
        await self._write_down(snapshot, now)
        goes_on = True
        for action in decide(self._view(snapshot, now)):
            match action:
                case BeginRun(note, next_run):
                    await self._begin_run(note, next_run)
                case RetryFailed():
                    self._task = await tasks.go_on_retrying(self._ports, self._task, self._platform)
                case SetNextRun() | Say() | Notify() | Pause():
                    await self._runner.carry_out(self._task, action)
                    self._task = await self._ports.tasks.get(self._task.id)
                    goes_on = goes_on and not isinstance(action, Pause)
                case Continue() | Idle() | Finish() | Fail():
                    # The supervisor, and then the runner, decides when nothing is left to do.
                    break
                case _:
                    return False
        return goes_on and (snapshot.finished or not self._keeper.places.is_wanted(self._place))

    def _view(self, snapshot: Snapshot, now: float) -> View:
        return View(
            self._task,
            now,
            self._orders.terms,
            snapshot.runs,
            snapshot.depth,
            paused=snapshot.paused,
            listing=snapshot.finding,
            waited=self._place.since - self._place.asked >= SUMMARY,
            began=self._keeper.began,
            told=frozenset(self._runner.told),
        )

    async def _read_changes(self, now: float) -> None:
        """Read requests and edits that came in the meantime, and the bandwidth limit that applies
        now."""
        cap_changed = self._orders.cap_at(now) != self._cap
        asked = self._task.run_requested or self._task.redrive_requested or is_due(self._task, now)
        if not (self._runner.was_woken() or asked or cap_changed):
            return
        task = await self._ports.tasks.get(self._task.id)
        before, self._task = self._task, task
        if task.version == before.version and not cap_changed:
            return
        if task.progress is Progress.IN_PROGRESS:
            written = self._written
            await self._read(task)
            if self._written != written:
                self._supervisor.renew()

    async def _read(self, task: Task) -> None:
        """Write the task's parameters, and the current rates, to the file that its processes
        read."""
        self._orders = Orders.of(task)
        self._cap = self._orders.cap_at(clock.now())
        self._written = write_task_file(self._state, task)
        self._meter.cap = float(self._cap or 0)
        await self._platform.limits.set_rates(
            self._orders.plugin.rates(self._orders.parameters, self._cap)
        )

    async def _begin_run(self, note: str, next_run: float | None) -> None:
        """Requests are cleared only when the run is in the task's own database. After a crash in
        between, the run that was begun is continued."""
        run, _ = await self._platform.records.begin_run(RunKind.SYNC, beside=True)
        if note:
            await self._platform.records.add_note(run.id, note)
        self._supervisor.follow(run.id)
        self._task = await tasks.begun(self._ports, self._task.id, next_run)

    # --------------------------------------------------------------------------------- writing down

    async def _write_down(self, snapshot: Snapshot, now: float) -> None:
        """Write the state of the task for lists and graphs, as often as users need it."""
        if time.monotonic() >= self._summary_due and not snapshot.finished:
            self._summary_due = time.monotonic() + SUMMARY
            await self._write_summary(snapshot)
        if time.monotonic() >= self._sample_due:
            self._sample_due = time.monotonic() + monitoring.until_sample(now)
            await self._write_samples(snapshot)

    async def _write_summary(self, snapshot: Snapshot, *, over: bool = False) -> None:
        task = await self._ports.tasks.get(self._task.id)
        run, workers = with_retries(snapshot.run, snapshot.runs), 0 if over else snapshot.workers
        self._meter.update(snapshot.reading(), moving=not over)
        summary = self._meter.summary(run, snapshot.depth, workers)
        task.summary = with_last_run(summary, task.summary, snapshot.runs)
        if self._waits_for_worker:
            task.summary.state, task.summary.note = RunActivity.WAITING.value, NO_WORKER
        if over or snapshot.finished:
            task.summary.rate, task.summary.eta, task.summary.listing = 0.0, -1.0, False
        await self._ports.tasks.summarize(task)

    async def _write_samples(self, snapshot: Snapshot) -> None:
        reading = snapshot.reading()
        samples = monitoring.sample(self._sampled, reading)
        self._sampled = reading
        self._keeper.totals.add(self._task.id, samples)
        await self._ports.metrics.write(self._task.id, reading.at, samples)
        await self._estimate_cost()

    async def _estimate_cost(self) -> None:
        task = await self._ports.tasks.get(self._task.id)
        runs = await self._platform.records.list_runs(KEPT_RUNS)
        spent = budget.spent(task, runs, self._ports.prices)
        if spent != task.spent:
            task.spent = spent
            await self._ports.tasks.summarize(task)
        self._task.spent = spent
