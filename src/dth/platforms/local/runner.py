"""The life of one task on this machine: a runner looks at the state of the task, and carries out
what the steward decides.

Nothing important is kept only in memory: a hub that was killed at any moment continues by starting
its runners again.
"""

import asyncio
import contextlib
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from dth.core import clock
from dth.core.errors import DatabaseAway, HubError, UsageError
from dth.core.parameters import check_confined
from dth.hub import tasks
from dth.hub.model import Progress, Task
from dth.hub.ports import HubPorts
from dth.hub.steward import (
    Action,
    BeginRun,
    Continue,
    Hold,
    Idle,
    Notify,
    OpenRecords,
    RetryFailed,
    SetUp,
    Stop,
    TakeDown,
    View,
    decide,
    is_due,
    next_change,
    terms_of,
)
from dth.platforms.local.due_tasks import Rest
from dth.platforms.local.filesystem import lock_state_directory
from dth.platforms.local.foreground import TASK_FILE
from dth.platforms.local.places import TaskPlace
from dth.platforms.local.supervisor import Snapshot
from dth.platforms.local.task_state import throw_uploads_away, write_task_file
from dth.platforms.local.work import TaskWork

if TYPE_CHECKING:
    from dth.platforms.local.keeper import Keeper

MOMENT = 0.1  # seconds
# Seconds over which tasks start whose windows open at the same moment.
AFTER_OPENING = 1.0
NEEDS_PLACE = (BeginRun, RetryFailed, Continue)


class Runner:
    """`told`: the keys of the notifications about the task that were sent."""

    def __init__(self, keeper: "Keeper", id: str) -> None:
        self.id = id
        self.told: set[str] = set()
        self._keeper = keeper
        self._state = keeper.state(id)
        self._woken = asyncio.Event()

    @property
    def ports(self) -> HubPorts:
        return self._keeper.ports

    def wake(self) -> None:
        """Report that the task has changed."""
        self._woken.set()

    def was_woken(self) -> bool:
        """Whether the task has changed since the last call."""
        woken = self._woken.is_set()
        self._woken.clear()
        return woken

    async def sleep(self, seconds: float) -> None:
        """Wait until the task changes, but at most this many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._woken.wait()
        self._woken.clear()

    async def run(self) -> None:
        """Run until there is nothing to do for a while."""
        last: Snapshot | None = None
        while True:
            view, last, rest = await self._look(last), None, None
            for action in decide(view):
                match action:
                    case BeginRun() | RetryFailed() | Continue():
                        # The work decides for itself; the runner decides again when the work is
                        # over.
                        last = await self._work(view)
                        break
                    case SetUp():
                        await self._set_up(view)
                    case Stop():
                        await self._stop(view.task)
                    case Hold(_, until):
                        rest = _held(view.task, until)
                    case Idle() | TakeDown():
                        rest = Rest(view.task.version)
                    case _:
                        await self.carry_out(view.task, action)
            if rest and await self._rests(rest):
                return

    async def carry_out(self, task: Task, action: Action) -> None:
        await tasks.carry_out(self.ports, task, action)
        if isinstance(action, Notify):
            self.told.add(action.key)

    # -------------------------------------------------------------------------------------- looking

    async def _look(self, last: Snapshot | None) -> View:
        """`last`: the state in which work has just ended. The task's database is opened only if
        `hub.db` does not say enough."""
        view = self._view(await self.ports.tasks.get(self.id))
        if last:
            return replace(view, runs=last.runs, depth=last.depth)
        if OpenRecords() not in decide(view):
            return view
        if not await self._keeper.storage.exists(self._state):
            return replace(view, runs=())
        async with self._keeper.looks, self._keeper.databases.shared(self.id) as platform:
            found = await platform.look()
        return replace(view, runs=found.runs, depth=found.depth, paused=found.paused)

    def _view(self, task: Task) -> View:
        """The view, as far as `hub.db` knows."""
        view = View(task, clock.now(), began=self._keeper.began, told=frozenset(self.told))
        if task.progress not in (Progress.STARTING, Progress.IN_PROGRESS):
            return view
        try:
            check_confined(task.model)
            return replace(view, terms=terms_of(task))
        except UsageError as error:
            # Written by an older hub, or the settings now allow less.
            return replace(view, refusal=str(error))

    async def _rests(self, rest: Rest) -> bool:
        """Whether the task can be left alone now. Not while somebody has its database open: they
        may add work."""
        if self._keeper.databases.in_use(self.id):
            await self.sleep(MOMENT)
            return False
        if self.was_woken():
            return False
        return await self._keeper.due_tasks.rest(self.id, rest)

    # -------------------------------------------------------------------------------------- working

    async def _set_up(self, view: View) -> None:
        try:
            write_task_file(self._state, view.task)  # creates the directory
            async with self._keeper.looks, self._keeper.databases.shared(self.id) as platform:
                await platform.records.resume()
        except DatabaseAway:
            raise  # It says nothing about the task.
        except HubError as error:
            for action in decide(replace(view, refusal=str(error))):
                await self.carry_out(view.task, action)
            return
        await tasks.started(self.ports, self.id)

    async def _work(self, view: View) -> Snapshot | None:
        """Returns the state of the task if nothing is left to do."""
        place = await self._take_place(view)
        if not place:
            return None
        try:
            task = await self.ports.tasks.get(self.id)
            with await asyncio.to_thread(lock_state_directory, self._state) as lock:
                await self._keeper.storage.claim(self._state)
                async with self._keeper.databases.shared(self.id) as platform:
                    last = await TaskWork(self, self._keeper, task, place, platform, lock).run()
        finally:
            self._keeper.places.give_back(place)
        return last if last.finished else None

    async def _take_place(self, view: View) -> TaskPlace | None:
        """Wait for one of the places for tasks that work. None if the task has nothing to do any
        more."""
        place = self._keeper.places.ask(due=is_due(view.task, view.now))
        taken = False
        try:
            while not place.taken.is_set() and await self._waits_in_line(view, place):
                pass
            taken = place.taken.is_set()
        finally:
            if not taken:
                self._keeper.places.give_back(place)
        return place if taken else None

    async def _waits_in_line(self, view: View, place: TaskPlace) -> bool:
        """Wait for the place, for a change of the task, or for a moment. Returns whether the task
        still wants the place; it keeps its position in the line."""
        self.was_woken()
        task = await self.ports.tasks.get(self.id)
        view = replace(self._view(task), runs=view.runs, depth=view.depth, in_line=True)
        actions = decide(view)
        if not any(isinstance(each, NEEDS_PLACE) for each in actions):
            return False
        for action in actions:
            if isinstance(action, NEEDS_PLACE):
                break
            await self.carry_out(task, action)
        if is_due(task, view.now) and not place.due:
            self._keeper.places.hurry(place)
        await self._wait(place, next_change(view))
        return True

    async def _wait(self, place: TaskPlace, until: float | None) -> None:
        waiting = [asyncio.create_task(event.wait()) for event in (place.taken, self._woken)]
        try:
            timeout = None if until is None else max(0.0, until - clock.now())
            await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    # --------------------------------------------------------------------------------------- ending

    async def _stop(self, task: Task) -> None:
        """End all processes of the task, and discard what it began and did not complete."""
        if await self._keeper.storage.exists(self._state):
            async with self._keeper.endings:
                with await asyncio.to_thread(lock_state_directory, self._state) as lock:
                    await self._keeper.storage.claim(self._state)
                    if not (self._state / TASK_FILE).exists():  # it worked on another machine
                        write_task_file(self._state, task)
                    async with self._keeper.databases.shared(self.id) as platform:
                        await platform.release_owner(None)
                        await self._keeper.storage.settle(self._state)
                        await throw_uploads_away(
                            self._keeper.fork_server, self._state, lock.fileno()
                        )
                        await platform.queue.purge()
                        await platform.records.cancel_pending("stopped")
                        await platform.images.cancel_pending("stopped")
        await tasks.ended(self.ports, self.id)


def _held(task: Task, until: float | None) -> Rest:
    if until is None:
        return Rest(task.version)
    return Rest(task.version, until + random.uniform(0.0, AFTER_OPENING), held=True)
