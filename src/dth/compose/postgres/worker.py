"""A machine that helps with all tasks of a database, with the rights of its own environment."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dth.compose.postgres.guest import CHECK
from dth.core.errors import StateError
from dth.core.plugin import Plugin
from dth.platforms.local.filesystem import StateLock
from dth.platforms.local.foreground import write_task
from dth.platforms.local.fork_server import Child, ForkServer
from dth.platforms.local.journal import last_words
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

# Seconds that a look at both sides of a task may take.
CHECKING = 120.0


@dataclass(slots=True)
class _Worker:
    name: str
    task: str
    process: Child
    started: float = field(default_factory=time.monotonic)
    # When it was told to end; 0: it was not. Monotonic.
    leaving: float = 0.0

    def dismiss(self) -> None:
        self.leaving = self.leaving or time.monotonic()
        self.process.terminate()


@dataclass(slots=True)
class _Served:
    """What this machine knows of a task."""

    task: OpenTask  # as it is served
    shown: str
    folder: Path
    reserved: int = 0  # workers, for a task of a hub
    seen: float = 0.0  # when it had messages last
    failures: int = 0
    left_until: float = 0.0  # it is left alone until then
    welcomed: bool = False


class Helper:
    """The workers of this machine. Each serves one task at a time."""

    def __init__(
        self,
        machine: JoinedMachine,
        fork_server: ForkServer,
        lock: StateLock,
        folder: Path,
        most: int,
        *,
        plugins: Mapping[str, Plugin],
        show: Callable[[OpenTask], str],
        tell: Callable[[str], None],
    ) -> None:
        """`folder`: for the files of its processes, which keep `lock` open. `most`: workers.
        `plugins`: of the tasks that it can help with, by type."""
        self._machine, self._fork_server, self._lock = machine, fork_server, lock
        self._folder, self._most = folder, most
        self._plugins, self._show, self._tell = plugins, show, tell
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
                    if not self._fork_server.lives:
                        raise
                    self._not_reached(error)
                await asyncio.sleep(LOOK)
        finally:
            await self._drain()

    async def _look(self) -> None:
        found = await self._machine.open_tasks()
        tasks = {task.id: task for task in found if task.type in self._plugins}
        await self._take_leave(tasks)
        await self._give_up()
        await self._see(tasks)
        self._dismiss(tasks)
        for task in sorted(tasks.values(), key=lambda each: len(self._of(each.id))):
            workers = len(self._of(task.id))
            most = 1 if self._plugins[task.type].worker_per_machine else self._most
            wanted = task.visible > BACKLOG_A_WORKER * workers and workers < most
            if wanted and len(self._workers) < self._most and await self._may_serve(task):
                await self._start(task)

    async def _may_serve(self, task: OpenTask) -> bool:
        """Whether this machine can serve the task. Says once why it cannot."""
        known = self._served.get(task.id)
        if known is None:
            folder = self._folder / task.id
            (folder / "logs").mkdir(parents=True, exist_ok=True)
            known = self._served[task.id] = _Served(task, self._show(task), folder)
        now = time.monotonic()
        if now < known.left_until:
            return False
        if not known.welcomed:
            write_task(known.folder, {**task.parameters, "type": task.type})
            known.task = task
            if reason := await self._check(known):
                self._leave_alone(known, reason)
                return False
            known.welcomed, known.seen = True, now
            self._tell(f"helps with {known.shown}")
        workers = self._held(task.id)
        if task.terms and not await self._machine.reserve(task, workers + 1):
            return False
        known.reserved = workers + 1
        return True

    async def _check(self, known: _Served) -> str:
        """Why this machine cannot serve the task; "" if it can. A process of its own reaches both
        sides once, with the rights that the workers will have."""
        log = known.folder / "logs" / f"{CHECK}.log"
        with log.open("ab") as errors:
            process = await self._spawn(known, CHECK, CHECK, errors.fileno())
        try:
            async with asyncio.timeout(CHECKING):
                await process.wait()
        except TimeoutError:
            return "the stores do not answer"
        finally:
            process.kill()
        if process.returncode == 0:
            return ""
        return last_words(log) or f"the check ended with code {process.returncode}"

    def _leave_alone(self, known: _Served, reason: str) -> None:
        known.left_until = time.monotonic() + AGAIN
        known.welcomed, known.failures = False, 0
        self._tell(f"cannot help with {known.shown}: {reason}; tries again in {AGAIN:.0f} s")

    async def _start(self, task: OpenTask) -> None:
        name = next(n for i in itertools.count(1) if (n := f"worker-{i}") not in self._workers)
        known = self._served[task.id]
        with (known.folder / "logs" / f"{name}.log").open("ab") as errors:
            process = await self._spawn(known, "worker", name, errors.fileno())
        self._workers[name] = _Worker(name, task.id, process)

    async def _spawn(self, known: _Served, kind: str, name: str, errors: int) -> Child:
        terms = known.task.terms
        allow = json.dumps(list(terms.allow)) if terms else ""
        arguments = [kind, str(known.folder), name, allow]
        return await self._fork_server.spawn(arguments, (self._lock.fileno(), errors))

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

    async def _see(self, tasks: dict[str, OpenTask]) -> None:
        """Note which tasks have work here: messages wait, or a worker has some in progress."""
        for name, known in self._served.items():
            if (task := tasks.get(name)) is None:
                continue
            idle = time.monotonic() - known.seen >= IDLE
            if task.visible or (idle and self._of(name) and await self._machine.holds(task)):
                known.seen = time.monotonic()

    def _dismiss(self, tasks: dict[str, OpenTask]) -> None:
        """End the workers of tasks that have no work any more."""
        now = time.monotonic()
        for name, known in list(self._served.items()):
            task = tasks.get(name)
            changed = task and known.welcomed and _differ(task, known.task)
            if changed:
                # Its workers end, and others read what it is now.
                known.welcomed = False
            most = task.terms.most if task and task.terms else self._most
            if not task or changed or now - known.seen >= IDLE:
                most = 0
            for worker in self._of(name)[most:]:
                worker.dismiss()
            if task is None and not any(each.task == name for each in self._workers.values()):
                del self._served[name]
                if known.welcomed:
                    self._tell(f"is done with {known.shown}")

        for worker in self._workers.values():
            if worker.leaving and now - worker.leaving > DRAIN:
                worker.process.kill()

    async def _give_up(self) -> None:
        """Leave to other machines what ended here of the workers that a hub allows."""
        for name, known in self._served.items():
            held = self._held(name)
            if held < known.reserved:
                await self._machine.give_up(known.task, held)
                known.reserved = held

    def _held(self, task: str) -> int:
        """How many workers the task has here, with those that are about to end."""
        return sum(each.task == task for each in self._workers.values())

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


def _differ(one: OpenTask, other: OpenTask) -> bool:
    """Whether workers of the one must not continue with the other."""
    where = [each.terms.allow if each.terms else None for each in (one, other)]
    return one.parameters != other.parameters or where[0] != where[1]
