"""Brings tasks on AWS to their desired state: carries out what the rules of a task's life
(`dth.hub.steward`) decide, with stacks, records and executions.

Every step starts from the current state, never from earlier steps: a step that was lost or repeated
does no harm. The workflow makes steps while a stack changes, and a look every minute makes one for
every live task that does not rest. The same look calls the controller of the task, where it has
one: so a task that waits costs next to nothing.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from dth.core.errors import HubError, NotFound, StateError, UsageError
from dth.core.plugins import plugin
from dth.core.ports.runs import RunKind
from dth.hub import tasks
from dth.hub.lifecycle import LIVE
from dth.hub.model import Progress, Task
from dth.hub.phase import OUTSIDE_WINDOW
from dth.hub.ports import HubPorts, TaskQuery, TaskStackState
from dth.hub.steward import (
    ALWAYS,
    NOTHING,
    Action,
    BeginRun,
    Continue,
    Fail,
    Finish,
    Hold,
    Idle,
    Pause,
    Release,
    RetryFailed,
    SetUp,
    Stop,
    TakeDown,
    View,
    decide,
    is_due,
    terms_of,
    timetable_of,
)
from dth.platforms.aws import rest
from dth.platforms.aws.client import Aws, Refused
from dth.platforms.aws.dynamo import each_of
from dth.platforms.aws.hub.engine import AwsEngine, TaskNames
from dth.platforms.aws.hub.measures import KEPT_RUNS, Measures
from dth.platforms.aws.hub.stacks import Stacks, StackState
from dth.platforms.aws.parameters import write_parameters
from dth.platforms.aws.platform import AwsPlatform

# Seconds until the next step, for something that takes moments and for a stack.
SOON, LATER = 5.0, 15.0
# The input of an execution that lists nothing: it only processes what is in the queue.
QUEUED_ONLY = '{"plan": false}'
ANEW = "the task was set up again: what was in progress is compared again"
GONE = "its CloudFormation stack is gone; start the task again"
TAKEN_BACK = "a change could not be made, and was taken back: "
MOST = 10_000  # the most live tasks
# Seconds in which a look at all tasks begins with them. The next look comes after a minute.
LOOK = 50.0
REFUSED = {"ValidationError", "AccessDenied", "AccessDeniedException", "LimitExceededException"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Steward:
    """For one hub. `engine` is the one of `ports`."""

    ports: HubPorts
    engine: AwsEngine
    stacks: Stacks
    measures: Measures
    aws: Aws

    async def step(self, id: str) -> float | None:
        """Make one step. Returns the seconds until the next step, or None if only time or a user
        changes anything."""
        try:
            task = await self.ports.tasks.get(id)
        except NotFound:
            return None
        place = self.engine.place(id, task.type)
        view = View(task, time.time(), by_stack=True)
        match task.progress:
            case Progress.STARTING:
                view = await self._look_at_start(view)
            case Progress.IN_PROGRESS:
                return await self._look_at_work(view, place)
        return await self._carry_out(decide(view), view, place)

    async def rests(self, task: Task) -> bool:
        """Whether nothing has changed in a task since a step saw that it rests. A step is not
        needed then."""
        if task.progress is not Progress.IN_PROGRESS or is_due(task, time.time()):
            return False
        at, mark = await self.engine.rested(task.id)
        if not rest.is_recent(at):
            return False
        stack = await self.engine.stack(task.id)
        try:
            async with self.engine.open(task.id) as platform:
                return bool(
                    stack
                    and mark == await self._mark(platform, task)
                    and await rest.are_empty(platform.aws, _queues(stack.outputs))
                )
        except (StateError, NotFound):
            # Something is gone. A step says what.
            return False

    async def tick(self, id: str) -> None:
        """Call the controller of the task, which has the rights that its stores need. It is not
        waited for: the next look calls it again."""
        stack = await self.engine.stack(id)
        function = stack.outputs.get("TickFunction", "") if stack else ""
        if stack and function and not stack.status.startswith("DELETE"):
            await self.aws.call(
                "lambda", "invoke", FunctionName=function, InvocationType="Event", Payload=b"{}"
            )

    async def _mark(self, platform: AwsPlatform, task: Task) -> str:
        """Changes with what the task does, and with the task and the hub themselves."""
        settings = self.engine.settings
        return f"{await rest.mark_of(platform.dynamo)} {task.version} {settings.asset_prefix}"

    async def _carry_out(
        self, actions: Sequence[Action], view: View, place: TaskNames
    ) -> float | None:
        """Carry out the actions in order. Returns the seconds until the next step: the shortest
        that an action asks for."""
        waits = [await self._act(action, view, place) for action in actions]
        return min((wait for wait in waits if wait is not None), default=None)

    async def _act(self, action: Action, view: View, place: TaskNames) -> float | None:
        task = view.task
        match action:
            case SetUp():
                return await self._set_up(view, place)
            case BeginRun(note, next_run):
                return await self._begin_run(task, note, next_run)
            case RetryFailed():
                return await self._retry_failed(task)
            case Hold(reason):
                await self._hold(task, reason)
            case Release():
                await self._release(task)
            case Stop():
                return await self._stop(task, place)
            case TakeDown():
                return await self._take_down(place)
            case Continue() | Idle():
                pass
            case _:
                await tasks.carry_out(self.ports, task, action)
                # The next step handles the new status.
                return SOON if isinstance(action, Pause | Fail | Finish) else None
        return None

    # -------------------------------------------------------------------------------------- looking

    async def _look_at_start(self, view: View) -> View:
        """The runs matter only if one was due while the task was paused."""
        try:
            view = replace(view, terms=terms_of(view.task))
        except UsageError as error:  # from an older hub
            return replace(view, refusal=str(error))
        if is_due(view.task, view.now):
            async with self.engine.open(view.task.id) as platform:
                view = replace(view, runs=await platform.records.list_runs(KEPT_RUNS))
        return view

    async def _look_at_work(self, view: View, place: TaskNames) -> float | None:
        task = view.task
        stack = await self._look_at_stack(place)
        if not stack.status:
            return await self._refuse(view, place, GONE)
        try:
            view = replace(
                view, terms=terms_of(task), trouble=await self._change(task, place, stack)
            )
        except UsageError as error:
            return await self._refuse(view, place, str(error))
        async with self.engine.open(task.id) as platform:
            await self._write_parameters(platform, task)
            mark = await self._mark(platform, task)
            paused = await platform.records.paused()
            runs, depth = await self.measures.take(platform, task, stack)
        view = replace(view, now=time.time(), runs=runs, depth=depth, paused=paused)
        wait = await self._carry_out(decide(view), view, place)
        steady = stack.stands and not self._differs(stack, task, place)
        if wait is None and steady and _is_at_rest(view):
            await self.engine.keep_rested(task.id, view.now, mark)
        return wait

    async def _refuse(self, view: View, place: TaskNames, reason: str) -> float | None:
        refused = replace(view, refusal=reason)
        return await self._carry_out(decide(refused), refused, place)

    async def _change(self, task: Task, place: TaskNames, stack: StackState) -> str:
        """Apply new parameters to a running task, as far as its stack accepts them. Returns why it
        does not."""
        if stack.stands and self._differs(stack, task, place):
            # A newer hub may call for a log group or a table that is not there yet.
            if not await self.engine.make_memory(place):
                return ""
            try:
                await self.stacks.update(
                    place.stack,
                    await self.engine.template(place),
                    place.parameters(task),
                    place.tags,
                )
            except Refused as error:
                if error.code not in REFUSED:
                    raise
                return f"the change could not be made: {error}"
            except UsageError as error:
                return f"the change could not be made: {error}"
        if not stack.stands_as_before:
            return ""
        known = task.reason.startswith(TAKEN_BACK)
        return task.reason if known else f"{TAKEN_BACK}{await self.stacks.first_failure(stack.id)}"

    @staticmethod
    def _differs(stack: StackState, task: Task, place: TaskNames) -> bool:
        """Whether the stack has different parameters."""
        wanted = place.parameters(task)
        return any(stack.parameters.get(name, "") != value for name, value in wanted.items())

    async def _look_at_stack(self, place: TaskNames) -> StackState:
        """Read the state of the stack. The API shows this state from then on."""
        found = await self.stacks.look(place.stack)
        told = TaskStackState(
            found.id, place.stack, found.status, found.outputs, found.descriptions
        )
        await self.engine.keep_stack(place.task, told if found.status else None)
        return found

    # ----------------------------------------------------------------------------------- setting up

    async def _set_up(self, view: View, place: TaskNames) -> float | None:
        task = view.task
        if not await self.engine.make_memory(place):
            return SOON
        before = await self.engine.stack(task.id)
        stack = await self._look_at_stack(place)
        if stack.is_moving:
            return LATER
        if stack.status and not stack.stands:
            return await self._set_up_failed(view, place, await self.stacks.first_failure(stack.id))
        async with self.engine.open(task.id) as platform:
            await self._write_parameters(platform, task)
            await platform.records.resume()
            if not stack.status:
                await self._begin_anew(platform, task)
        try:
            if not stack.status:
                await self.stacks.create(
                    place.stack,
                    await self.engine.template(place),
                    place.parameters(task),
                    place.tags,
                )
                return LATER
            if self._differs(stack, task, place) and await self.stacks.update(
                place.stack,
                await self.engine.template(place),
                place.parameters(task),
                place.tags,
            ):
                return LATER
        except Refused as error:
            if error.code not in REFUSED:
                raise
            return await self._set_up_failed(view, place, str(error))
        except UsageError as error:
            return await self._set_up_failed(view, place, str(error))
        # It was set up before: continue what was paused.
        if before and before.outputs:
            await self._execute_run(task, QUEUED_ONLY)
        await tasks.started(self.ports, task.id)
        return 0.0

    async def _begin_anew(self, platform: AwsPlatform, task: Task) -> None:
        """There is no stack, and so no queue: the messages of an earlier stack are gone with it."""
        records = platform.records
        lost = [run for run in await records.list_runs(KEPT_RUNS) if not run.counts.balanced]
        if lost:
            await records.cancel_pending(ANEW)
            if "images" in self.engine.place(task.id, task.type).kind.tables:
                await platform.images.cancel_pending(ANEW)
        if lost or task.run_requested:
            await records.begin_run(RunKind.SYNC, beside=True)
            await tasks.note(self.ports, task.id, run_requested=False)

    async def _set_up_failed(self, view: View, place: TaskNames, reason: str) -> float | None:
        """Delete the stack at once: the next start creates a new one."""
        await self.stacks.delete(place.stack)
        return await self._refuse(view, place, reason)

    async def _write_parameters(self, platform: AwsPlatform, task: Task) -> None:
        """Write what functions and machines read, and the current rates."""
        chosen, parameters = plugin(task.type), task.model
        timetable, usual = timetable_of(task)
        cap = timetable.cap_at(time.time(), usual)
        await platform.limits.set_rates(chosen.rates(parameters, cap))
        await write_parameters(platform.dynamo, task.type, task.resolved)

    # -------------------------------------------------------------------------------------- working

    async def _begin_run(self, task: Task, note: str, next_run: float | None) -> float:
        """Requests are cleared only when the run is in the records."""
        async with self.engine.open(task.id) as platform:
            run, _ = await platform.records.begin_run(RunKind.SYNC, beside=True)
            if note:
                await platform.records.add_note(run.id, note)
        await self._execute_run(task, "{}")
        await tasks.begun(self.ports, task.id, next_run)
        return 0.0

    async def _retry_failed(self, task: Task) -> float:
        async with self.engine.open(task.id) as platform:
            await tasks.go_on_retrying(self.ports, task, platform)
        await self._execute_run(task, QUEUED_ONLY)
        return 0.0

    async def _execute_run(self, task: Task, given: str) -> None:
        """Start an execution, for a kind of task whose runs are executions. Others notice a new run
        themselves."""
        stack = await self.engine.stack(task.id)
        if stack and self.engine.place(task.id, task.type).kind.executes_runs:
            machine = stack.outputs["StateMachine"]
            await self.aws.call(
                "stepfunctions", "start_execution", stateMachineArn=machine, input=given
            )

    async def _hold(self, task: Task, reason: str) -> None:
        """Trouble that its workers reported stays visible until the task is resumed."""
        try:
            async with self.engine.open(task.id) as platform:
                paused = await platform.records.paused()
                if paused in ("", OUTSIDE_WINDOW) and paused != reason:
                    await platform.records.resume()
                    await platform.records.pause(reason)
        except NotFound:
            pass  # not set up yet: nothing could work

    async def _release(self, task: Task) -> None:
        async with self.engine.open(task.id) as platform:
            await platform.records.resume()
        await self._execute_run(task, QUEUED_ONLY)

    # --------------------------------------------------------------------------------------- ending

    async def _stop(self, task: Task, place: TaskNames) -> float | None:
        """The stack aborts uploads while it is deleted. What it had in progress ends with it."""
        wait = await self._take_down(place)
        if wait is not None:
            return wait
        try:
            async with self.engine.open(task.id) as platform:
                await platform.records.cancel_pending("stopped")
                if "images" in place.kind.tables:
                    await platform.images.cancel_pending("stopped")
        except NotFound:
            pass  # stopped before it was set up
        await tasks.ended(self.ports, task.id)
        return None

    async def _take_down(self, place: TaskNames) -> float | None:
        """Delete the stack. Returns None if there is no stack any more."""
        stack = await self._look_at_stack(place)
        if not stack.status:
            return None
        if stack.status == "DELETE_FAILED":
            stuck = f"its stack cannot be deleted: {await self.stacks.first_failure(stack.id)}"
            await tasks.note(self.ports, place.task, reason=stuck)
        # A creation in progress can be deleted, too.
        if not stack.is_moving or stack.status == "CREATE_IN_PROGRESS":
            await self.stacks.delete(place.stack)
        return LATER


def _is_at_rest(view: View) -> bool:
    """Whether only a user, the schedule or an event can change anything. Windows and timetables
    change something by themselves."""
    task, chosen = view.task, plugin(view.task.type)
    timetable, _ = timetable_of(task)
    return (
        view.depth == NOTHING
        and not (view.paused or view.trouble or timetable.entries)
        and view.terms.window == ALWAYS
        and bool(view.runs)
        and not any(run.is_open for run in view.runs or ())
        and task.summary.workers <= chosen.capacity(task.model).min_capacity
    )


def _queues(outputs: Mapping[str, str]) -> list[str]:
    names = ("QueueUrl", "DeadLetterUrl", "MissedStartsUrl")
    return [outputs[name] for name in names if name in outputs]


async def watch(steward: Steward, clock: Callable[[], float] = time.monotonic) -> dict[str, str]:
    """Look at every task that is live or still has a stack; the workflow makes the steps that
    follow soon. Returns the failures by task; they do not affect other tasks.

    The order is another one each time: if there are more tasks than one look has time for, each
    has its turn in the looks that follow.
    """
    until = clock() + LOOK
    failed: dict[str, str] = {}
    living, _ = await steward.ports.tasks.find(TaskQuery(progress=LIVE, count=MOST))
    live = {task.id: task for task in living}
    every = [*{*live, *await steward.engine.with_stacks()}]
    random.shuffle(every)
    left = 0

    async def look(id: str) -> None:
        nonlocal left
        if clock() > until:
            left += 1
            return
        task = live.get(id)
        try:
            if task and await steward.rests(task):
                return
            if await steward.step(id) is not None:
                await steward.engine.changed(id)
            if task and steward.engine.place(id, task.type).kind.ticks:
                await steward.tick(id)
        except HubError as error:
            failed[id] = str(error)
        except Exception as defect:
            log.exception("a defect in Data Transfer Hub", extra={"task": id})
            failed[id] = f"internal error: {type(defect).__name__}"

    await each_of(look, every)
    if left:
        log.warning("%d of %d tasks were left for the next look: the time was up", left, len(every))
    return failed
