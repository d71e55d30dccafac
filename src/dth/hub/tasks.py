"""The operations on a task: create, change, pause, stop and so on, one function each. All go
through `_change`, the only function that writes a task: it reads, decides, and writes if nobody
else wrote in the meantime; otherwise it starts over.
"""

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from dth.core import clock, redrive
from dth.core.errors import Conflict, NotFound, UsageError
from dth.core.parameters import check_confined
from dth.core.plugins import plugin
from dth.core.ports.findings import Finding
from dth.core.ports.platform import Platform
from dth.core.secrets import unbound_warning
from dth.core.stores import Store
from dth.hub import budget, lifecycle, stores
from dth.hub.audit import (
    FAILED_BY_HUB,
    PAUSED_BY_HUB,
    WINDOW_CLOSED,
    WINDOW_OPENED,
    note_of_hub,
)
from dth.hub.lifecycle import TaskEvent
from dth.hub.model import (
    NEED_A_PERSON,
    Acknowledgement,
    ErrorCode,
    Progress,
    ScheduleType,
    Summary,
    Task,
)
from dth.hub.phase import OUTSIDE_WINDOW, is_between_runs
from dth.hub.ports import HubPorts, TaskQuery, Tasks
from dth.hub.roles import check_roles
from dth.hub.schedule import SCHEDULES, normalised
from dth.hub.steward import (
    Action,
    Fail,
    Finish,
    Notify,
    Pause,
    Say,
    SetNextRun,
    next_run,
    terms_of,
    timetable_of,
)
from dth.hub.time_zones import TIME_ZONE

MAX_PARAMETERS = 200
MAX_VALUE = 16_384  # characters per parameter
MAX_DESCRIPTION = 1000
# The most tries against others who change the same task at the same moment.
SAVES = 50
PAGE = 500  # tasks


async def create(
    ports: HubPorts,
    *,
    type: str,
    schedule_type: ScheduleType,
    parameters: Mapping[str, str],
    description: str = "",
    created_by: str = "",
    id: str = "",
    stopped: bool = False,
) -> Task:
    """Create a task that is about to start, unless it is `stopped`. With an `id`, a repeated call
    returns the same task."""
    now = clock.now()
    task = Task(
        id=id or str(uuid.uuid4()),
        type=type,
        schedule_type=schedule_type,
        parameters=dict(parameters),
        description=_described(description),
        created=now,
        created_by=created_by,
        updated=now,
        run_requested=not stopped,
    )
    if stopped:
        task.progress, task.stopped = Progress.STOPPED, now
    task.stores = await stores.named(ports, type, task.parameters)
    _fill_in(task, ports)
    task.spent = budget.spent(task, [], ports.prices)
    await _refuse_conflict(ports.tasks, task)
    await _use_secrets(ports, task)
    try:
        await ports.tasks.add(task)
    except Conflict:
        before = await ports.tasks.get(task.id)
        if (before.type, before.parameters, before.created_by) != (
            type,
            task.parameters,
            created_by,
        ):
            raise
        return before
    await ports.engine.changed(task.id)
    return task


async def stop(ports: HubPorts, id: str) -> Task:
    """Stop the task. Work in progress is finished or abandoned, uploads are discarded, and nothing
    new begins."""
    return await _change(ports, id, lambda task: move(task, TaskEvent.STOP))


async def pause(ports: HubPorts, id: str, reason: str = "paused by a user") -> Task:
    """Stop work until `resume`. A task that is paused already keeps its reason."""

    def change(task: Task) -> None:
        if task.progress is not Progress.PAUSED:
            task.reason = reason
        move(task, TaskEvent.PAUSE)

    return await _change(ports, id, change)


async def resume(ports: HubPorts, id: str) -> Task:
    """Continue after a pause or an error. A stopped task compares again."""
    await _use_secrets(ports, await ports.tasks.get(id))
    return await _change(ports, id, lambda task: _begin(task, TaskEvent.RESUME))


async def start_run(ports: HubPorts, id: str) -> Task:
    """Compare and copy now, whatever the schedule says."""
    await _use_secrets(ports, await ports.tasks.get(id))

    def change(task: Task) -> None:
        _begin(task, TaskEvent.START)
        task.run_requested = True

    return await _change(ports, id, change)


async def retry_failed(
    ports: HubPorts, id: str, *, keys: list[str] | None = None, reason: str = ""
) -> Task:
    """Retry failed objects: all of them, those that failed for one reason, or, at once, the given
    keys."""
    task = await ports.tasks.get(id)
    await _use_secrets(ports, task)
    if keys or reason:
        lifecycle.after(task.progress, TaskEvent.START)
        # Invalid parameters are refused before anything begins.
        parameters = task.model
        async with ports.engine.open(id) as platform:
            # A hub that ends in between finds what was begun.
            await ports.engine.changed(id)
            if keys:
                again = partial(plugin(task.type).again, platform, parameters)
                await redrive.send(platform.records, again, keys)
            else:
                await redrive.begin(platform.records, reason)

    def change(task: Task) -> None:
        _begin(task, TaskEvent.START)
        task.redrive_requested = task.redrive_requested or not (keys or reason)

    return await _change(ports, id, change)


async def acknowledge(ports: HubPorts, id: str, by: str, until: float = 0.0) -> Task:
    """Record that somebody knows of the task's trouble. `until`: 0 for until something new
    fails."""
    now = clock.now()
    if 0 < until <= now:
        raise UsageError("until: this time has passed; give a later one")

    def change(task: Task) -> None:
        if not task.is_in_trouble:
            raise Conflict("the task needs no attention: there is nothing to acknowledge")
        summary = task.summary
        task.acknowledged = Acknowledgement(
            by, now, until, summary.run, summary.failed, summary.last_run
        )

    return await _change(ports, id, change, tell=False)


async def withdraw_acknowledgement(ports: HubPorts, id: str) -> Task:
    """The task needs attention again, if it is still in trouble."""

    def change(task: Task) -> None:
        task.acknowledged = None

    return await _change(ports, id, change, tell=False)


async def copy(ports: HubPorts, id: str, chosen: AsyncIterator[Sequence[Finding]]) -> Task:
    """Copy what a comparison found, in a run of its own."""
    task = await ports.tasks.get(id)
    await _use_secrets(ports, task)
    lifecycle.after(task.progress, TaskEvent.START)
    async with ports.engine.open(id, make=True) as platform:
        # A hub that ends in between finds what was begun.
        await ports.engine.changed(id)
        await plugin(task.type).copy(platform, chosen)

    return await _change(ports, id, lambda task: _begin(task, TaskEvent.START))


async def edit(
    ports: HubPorts,
    id: str,
    *,
    parameters: Mapping[str, str] | None = None,
    description: str | None = None,
    schedule_type: ScheduleType | None = None,
) -> Task:
    """Change some parameters; an empty value removes one. Running work uses the new values at once.
    Source and destination cannot change, because the records describe them."""
    added: dict[str, dict[str, str]] = {}
    if parameters:
        task = await ports.tasks.get(id)
        merged = _merged(task.parameters, parameters)
        added = await stores.named(ports, task.type, merged)
        candidate = replace(task, parameters=merged, stores=added)
        _fill_in(candidate, ports)
        if (candidate.source, candidate.destination, candidate.writes) != (
            task.source,
            task.destination,
            task.writes,
        ):
            raise UsageError(
                "source and destination cannot be changed; clone the task and change the clone"
            )
        await _use_secrets(ports, candidate)

    def change(task: Task) -> None:
        if task.progress is Progress.STOPPING:
            raise Conflict("the task is stopping; wait until it has stopped")
        before = _schedule_text(task)
        if schedule_type is not None:
            task.schedule_type = schedule_type
        if description is not None:
            task.description = _described(description)
        if parameters:
            task.give(_merged(task.parameters, parameters), added)
        _fill_in(task, ports)
        if task.next_run and _schedule_text(task) != before:
            task.next_run = next_run(task, clock.now())

    return await _change(ports, id, change)


async def clone(
    ports: HubPorts, id: str, *, parameters: Mapping[str, str] | None = None,
    description: str | None = None,
    created_by: str = "",
) -> Task:  # fmt: skip
    """Create a task with the parameters of another one, with changes."""
    task = await ports.tasks.get(id)
    return await create(
        ports,
        type=task.type,
        schedule_type=task.schedule_type,
        parameters=_merged(task.parameters, parameters or {}),
        description=task.description if description is None else description,
        created_by=created_by,
    )


async def change_store(ports: HubPorts, name: str, changes: Mapping[str, Any]) -> Store:
    """Change some fields of a store; an empty value removes one. Its tasks use the change at once,
    as if they were edited. A change that one of them cannot use is refused. Called again after an
    interruption, it completes the change."""
    store = await stores.changed(ports, name, changes)
    using = [task async for task in _using(ports, name)]
    for task in using:
        try:
            candidate = replace(task, stores=_with_store(task, store))
            _fill_in(candidate, ports)
            await _use_secrets(ports, candidate)
        except UsageError as error:
            raise UsageError(
                f"task {task.id} uses this store, and cannot use the change: {error}"
            ) from None
    await ports.stores.save(store)

    def change(task: Task) -> None:
        if name in task.stores:
            task.give(task.parameters, _with_store(task, store))
            _fill_in(task, ports)

    for task in using:
        with contextlib.suppress(NotFound):
            await _change(ports, task.id, change)
    return await ports.stores.get(name)


def _with_store(task: Task, store: Store) -> dict[str, dict[str, str]]:
    return task.stores | {store.name: stores.added_by(store, task.type, task.parameters)}


async def _using(ports: HubPorts, store: str) -> AsyncIterator[Task]:
    page = 1
    while True:
        found, total = await ports.tasks.find(TaskQuery(store=store, count=PAGE, page=page))
        for task in found:
            yield task
        if page * PAGE >= total:
            return
        page += 1


async def delete(ports: HubPorts, id: str, *, stop: bool = False) -> Task:
    """Delete a task that has ended, with its records and logs. The copied data stays. `stop`: stop
    it first; a task that had not ended is deleted as soon as it has stopped."""

    def change(task: Task) -> None:
        if task.progress not in lifecycle.REMOVABLE:
            move(task, TaskEvent.STOP)
            task.delete_requested = True

    task = await (_change(ports, id, change) if stop else ports.tasks.get(id))
    if task.progress in lifecycle.REMOVABLE:
        await _forget(ports, id)
    elif not stop:
        if task.progress is Progress.STOPPING:
            raise Conflict("the task is still stopping; try again in a few seconds")
        raise Conflict(f"a task that is {task.progress} cannot be deleted; stop it first")
    return task


async def _forget(ports: HubPorts, id: str) -> None:
    await ports.engine.discard(id)
    await ports.metrics.forget(id)
    await ports.tasks.remove(id)


# ---------------------------------------------------------------------------- reports of the engine


async def started(ports: HubPorts, id: str) -> Task:
    """The task's processes can run."""
    return await _change(ports, id, lambda task: move(task, TaskEvent.STARTED), tell=False)


async def finished(ports: HubPorts, id: str) -> Task:
    """All of a one-time task is done."""
    return await _change(ports, id, lambda task: move(task, TaskEvent.FINISHED), tell=False)


async def ended(ports: HubPorts, id: str) -> Task:
    """Nothing of a stopped task runs any more. If it is to be deleted, this happens while it is
    still STOPPING: after an interruption the engine stops it again, and so comes back here."""
    task = await ports.tasks.get(id)
    if task.delete_requested:
        await _forget(ports, id)
        return task
    await _change(ports, id, lambda task: move(task, TaskEvent.ENDED), tell=False)
    task = await ports.tasks.get(id)
    task.summary.rate, task.summary.workers, task.summary.waiting = 0.0, 0, 0
    task.summary.listing, task.summary.eta = False, -1.0
    await ports.tasks.summarize(task)
    return task


async def fail(ports: HubPorts, id: str, reason: str, code: ErrorCode) -> Task:
    """Put the task in ERROR, with one line that says why."""

    def change(task: Task) -> None:
        move(task, TaskEvent.FAIL)
        task.reason, task.error_code = reason, code

    return await _change(ports, id, change, tell=False)


async def begun(ports: HubPorts, id: str, next_run: float | None) -> Task:
    """Clear the request for a run, which is now in the task's own records."""
    changes: dict[str, Any] = {} if next_run is None else {"next_run": next_run}
    return await note(ports, id, run_requested=False, reason="", **changes)


async def say(ports: HubPorts, id: str, reason: str) -> Task:
    """Store why the task does nothing. Does not overwrite the reason for which it ended in the
    meantime."""

    def change(task: Task) -> None:
        if task.progress is Progress.IN_PROGRESS:
            task.reason = reason

    return await _change(ports, id, change, tell=False)


async def note(ports: HubPorts, id: str, **fields: Any) -> Task:
    """Write fields that only the engine knows: `run_requested`, `redrive_requested`, `next_run`,
    `reason`."""

    def change(task: Task) -> None:
        for name, value in fields.items():
            setattr(task, name, value)

    return await _change(ports, id, change, tell=False)


async def go_on_retrying(ports: HubPorts, task: Task, platform: Platform) -> Task:
    """Send the next failed items again (`RetryFailed`)."""
    if task.redrive_requested:
        await redrive.begin(platform.records)
        task = await note(ports, task.id, redrive_requested=False)
    again = partial(plugin(task.type).again, platform, task.model)
    await redrive.go_on(platform.records, again)
    return task


async def carry_out(ports: HubPorts, task: Task, action: Action) -> None:
    """Carry out an action of the steward that concerns only the hub's own data. The platform
    carries out the others. The audit log tells what interrupted a run, and when it went on."""
    match action:
        case SetNextRun(at):
            await note(ports, task.id, next_run=at)
        case Say(reason):
            said = await say(ports, task.id, reason)
            # Most windows close and open while there is nothing to do.
            if OUTSIDE_WINDOW in (reason, task.reason) and not is_between_runs(said):
                what = WINDOW_CLOSED if reason == OUTSIDE_WINDOW else WINDOW_OPENED
                await note_of_hub(ports.audit, what, task.id)
        case Pause(reason):
            await pause(ports, task.id, reason)
            await note_of_hub(ports.audit, PAUSED_BY_HUB, task.id, reason=reason)
        case Fail(reason, code):
            await fail(ports, task.id, reason, code)
            await note_of_hub(ports.audit, FAILED_BY_HUB, task.id, reason=reason)
        case Finish():
            await finished(ports, task.id)
        case Notify(event, text):
            await ports.notifications.notify(event, task, text, once=f"{task.id} {action.key}")
        case _:
            raise AssertionError(f"{action} is for the platform to carry out")


# ------------------------------------------------------------------------------------------ details


def move(task: Task, event: TaskEvent) -> None:
    """The only place where a task's status changes."""
    before = task.progress
    task.progress = lifecycle.after(before, event)
    if task.progress is before:
        return
    now = clock.now()
    if task.progress in (Progress.STOPPED, Progress.DONE):
        task.stopped = now
    if task.progress not in (Progress.STARTING, Progress.IN_PROGRESS, Progress.PAUSED):
        # Set again when the task starts again. A paused task still knows what it missed.
        task.next_run = 0.0
    if task.progress in (Progress.STARTING, Progress.DONE, Progress.STOPPED):
        task.reason, task.error_code = "", None
    if task.progress is Progress.STARTING:
        task.stopped = 0.0
    if task.progress in NEED_A_PERSON:
        task.acknowledged = None
    if task.progress in (Progress.STOPPING, Progress.STOPPED):
        task.run_requested = task.redrive_requested = False


def _begin(task: Task, event: TaskEvent) -> None:
    """Continue a task; one that had ended begins a run."""
    had_ended = task.progress in lifecycle.REMOVABLE
    move(task, event)
    if had_ended and event is TaskEvent.RESUME:
        task.run_requested = True


async def _change(
    ports: HubPorts, id: str, change: Callable[[Task], None], *, tell: bool = True
) -> Task:
    for _ in range(SAVES):
        task = await ports.tasks.get(id)
        before = replace(task, summary=Summary())
        change(task)
        if replace(task, summary=Summary()) == before:
            return task
        task.updated = clock.now()
        if await ports.tasks.save(task):
            if tell:
                await ports.engine.changed(id)
            return task
    raise Conflict(f"task {id} is being changed by others all the time; try again")


def check(ports: HubPorts, type: str, parameters: Any) -> None:
    """Check that a task with these parameters may exist and that work may be done for it. Raises
    UsageError."""
    check_confined(parameters)
    plugin(type).check(parameters)
    if own := plugin(type).buckets_written(parameters) & ports.own_buckets:
        raise UsageError(
            f"destBucket: {min(own)!r} is a bucket of the hub itself, to which no task writes"
        )
    check_roles(ports, parameters)


def _fill_in(task: Task, ports: HubPorts) -> None:
    """Check the parameters, and set the fields that depend on them."""
    if len(task.parameters) > MAX_PARAMETERS:
        raise UsageError(f"parameters: {MAX_PARAMETERS} are the most")
    for name, value in task.parameters.items():
        if len(value) > MAX_VALUE:
            raise UsageError(f"{name}: {MAX_VALUE} characters are the most")
    chosen = plugin(task.type)
    parameters = task.model
    check(ports, task.type, parameters)
    # What cannot be read is refused here.
    terms, _ = terms_of(task), timetable_of(task)
    if terms.schedule:
        task.parameters = normalised(task.parameters)
    budget.check(task, ports.prices)
    ends = chosen.ends(parameters)
    task.source, task.destination, task.writes = ends.source, ends.destination, ends.writes


async def warnings(ports: HubPorts, task: Task) -> list[str]:
    """Warnings for the user who creates or changes a task."""
    return [unbound_warning(name) for name in await _use_secrets(ports, task)]


async def _use_secrets(ports: HubPorts, task: Task) -> Sequence[str]:
    """Check that the task's secrets may be used with its hosts; unbound secrets are bound to these
    now. Returns those that may be used with any host. Raises WrongHost."""
    try:
        uses = plugin(task.type).secret_uses(task.model)
    except UsageError:
        # A task that cannot run uses no secrets, and reports the reason when it tries.
        return ()
    return await ports.secrets.use(uses) if uses else ()


async def _refuse_conflict(tasks: Tasks, task: Task) -> None:
    """Refuse two tasks that write to one destination prefix: they would undo each other's work."""
    others, _ = await tasks.find(TaskQuery(progress=lifecycle.LIVE, writes=task.writes, count=1000))
    ours = task.model
    for other in others:
        if other.type == task.type and other.id != task.id:
            why = ""
            with contextlib.suppress(UsageError):  # A task that cannot run writes nothing.
                why = plugin(task.type).conflict(ours, other.model)
            if why:
                raise Conflict(
                    f"destBucket: task {other.id} {why}; stop it first, or give another destPrefix"
                )


def _schedule_text(task: Task) -> tuple[str, ...]:
    """The values that its schedule depends on."""
    given = task.parameters
    return task.schedule_type, *(given.get(name, "") for name in (*SCHEDULES, TIME_ZONE))


def _merged(before: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in {**before, **changes}.items() if value != ""}


def _described(text: str) -> str:
    if len(text) > MAX_DESCRIPTION:
        raise UsageError(f"description: {MAX_DESCRIPTION} characters are the most")
    return text
