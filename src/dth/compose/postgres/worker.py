"""A machine that helps with all tasks of a database, with the rights of its own environment."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from dth.core.errors import StateError
from dth.platforms.local.filesystem import StateLock
from dth.platforms.local.foreground import write_task
from dth.platforms.local.journal import last_words
from dth.platforms.local.nursery import Child, Nursery
from dth.platforms.local.supervisor import BACKLOG_A_WORKER, DRAIN
from dth.platforms.postgres.machines import JoinedMachine, OpenTask

LOOK = 0.5  # seconds between looks at the tasks
IDLE = 10.0  # seconds without a message after which the workers of a task end
# Seconds until a task that could not be served is tried again.
AGAIN = 60.0
# Failures of a task's workers in a row after which the task is left alone for a while.
FAILURES = 3
# Seconds after which a worker that fails has not failed in a row.
LASTED = 60.0

# Why this machine cannot serve a task; "" if it can.
Check = Callable[[OpenTask], Awaitable[str]]


@dataclass(slots=True)
class _Worker:
    name: str
    task: str
    process: Child
    started: float = field(default_factory=time.monotonic)
    leaving: bool = False


@dataclass(slots=True)
class _Served:
    """What this machine knows of a task."""

    shown: str
    folder: Path
    seen: float = 0.0  # when it had messages last
    failures: int = 0
    left_until: float = 0.0  # it is left alone until then
    welcomed: bool = False


class Helper:
    """The workers of this machine. Each serves one task at a time."""

    def __init__(
        self,
        machine: JoinedMachine,
        nursery: Nursery,
        lock: StateLock,
        folder: Path,
        most: int,
        *,
        check: Check,
        show: Callable[[OpenTask], str],
        tell: Callable[[str], None],
    ) -> None:
        """`folder`: for the files of its processes, which keep `lock` open. `most`: workers."""
        self._machine, self._nursery, self._lock = machine, nursery, lock
        self._folder, self._most = folder, most
        self._check, self._show, self._tell = check, show, tell
        self._workers: dict[str, _Worker] = {}
        self._served: dict[str, _Served] = {}
        self._silent = False

    async def run(self) -> None:
        """Help until cancelled; then finish the work in progress."""
        try:
            while True:
                try:
                    await self._look()
                    self._reached()
                except StateError as error:
                    if not self._nursery.lives:
                        raise
                    self._not_reached(error)
                await asyncio.sleep(LOOK)
        finally:
            await self._drain()

    async def _look(self) -> None:
        tasks = {task.id: task for task in await self._machine.open_tasks()}
        await self._take_leave(tasks)
        self._dismiss(tasks)
        for task in sorted(tasks.values(), key=lambda each: len(self._of(each.id))):
            workers = len(self._of(task.id))
            wanted = task.visible > BACKLOG_A_WORKER * workers
            if wanted and len(self._workers) < self._most and await self._may_serve(task):
                await self._start(task)

    async def _may_serve(self, task: OpenTask) -> bool:
        """Whether this machine can serve the task. Says once why it cannot."""
        known = self._served.get(task.id)
        if known is None:
            folder = self._folder / task.id
            (folder / "logs").mkdir(parents=True, exist_ok=True)
            known = self._served[task.id] = _Served(self._show(task), folder)
        now = time.monotonic()
        if now < known.left_until:
            return False
        if not known.welcomed:
            if reason := await self._check(task):
                self._leave_alone(known, reason)
                return False
            write_task(known.folder, {**task.parameters, "type": task.type})
            known.welcomed, known.seen = True, now
            self._tell(f"helps with {known.shown}")
        return True

    def _leave_alone(self, known: _Served, reason: str) -> None:
        known.left_until = time.monotonic() + AGAIN
        known.welcomed, known.failures = False, 0
        self._tell(f"cannot help with {known.shown}: {reason}; tries again in {AGAIN:.0f} s")

    async def _start(self, task: OpenTask) -> None:
        name = next(n for i in itertools.count(1) if (n := f"worker-{i}") not in self._workers)
        folder = self._served[task.id].folder
        with (folder / "logs" / f"{name}.log").open("ab") as errors:
            process = await self._nursery.spawn(
                ["worker", str(folder), name], (self._lock.fileno(), errors.fileno())
            )
        self._workers[name] = _Worker(name, task.id, process)

    async def _take_leave(self, tasks: dict[str, OpenTask]) -> None:
        """Free what ended workers had taken, and say so if one failed."""
        for worker in list(self._workers.values()):
            code = worker.process.returncode
            if code is None:
                continue
            await self._machine.release(f"{self._machine.name}/{worker.name}")
            del self._workers[worker.name]
            known = self._served[worker.task]
            # The task may have been deleted while the worker asked for messages.
            if code == 0 or worker.leaving or worker.task not in tasks:
                continue
            words = last_words(known.folder / "logs" / f"{worker.name}.log")
            why = words or (f"killed by signal {-code}" if code < 0 else f"code {code}")
            lasted = time.monotonic() - worker.started > LASTED
            known.failures = 1 if lasted else known.failures + 1
            if code > 0 and known.failures >= FAILURES:
                self._leave_alone(known, why)
            else:
                self._tell(f"{worker.name} ended ({why}); another one takes its place")

    def _dismiss(self, tasks: dict[str, OpenTask]) -> None:
        """End the workers of tasks that have no work any more."""
        now = time.monotonic()
        for name, known in list(self._served.items()):
            task = tasks.get(name)
            if task and task.visible:
                known.seen = now
            if task and now - known.seen < IDLE:
                continue
            for worker in self._of(name):
                worker.leaving = True
                worker.process.terminate()
            if task is None and not any(each.task == name for each in self._workers.values()):
                del self._served[name]
                if known.welcomed:
                    self._tell(f"is done with {known.shown}")

    def _of(self, task: str) -> list[_Worker]:
        return [each for each in self._workers.values() if each.task == task and not each.leaving]

    async def _drain(self) -> None:
        running = [each for each in self._workers.values() if each.process.returncode is None]
        for worker in running:
            worker.process.terminate()
        if not running:
            return
        waits = [asyncio.create_task(each.process.wait()) for each in running]
        _, late = await asyncio.wait(waits, timeout=DRAIN)
        if late:
            for worker in running:
                worker.process.kill()
            await asyncio.gather(*late)

    def _not_reached(self, error: StateError) -> None:
        if not self._silent:
            self._tell(f"{error} (keeps trying)")
        self._silent = True

    def _reached(self) -> None:
        if self._silent:
            self._tell("the database is back")
        self._silent = False
