"""Brings tasks to where they should be: makes, changes and deletes their stacks, begins their runs, and looks how they
stand.

Every step starts from how things are, never from what was done before: a step that was lost, or done twice, does no
harm. The workflow makes steps while a stack is on its way, and a look each minute makes one for every task that lives.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dth.core.errors import HubError, NotFound
from dth.core.plugins import plugin
from dth.core.ports.gauges import Gauge
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Counts, Run, RunKind, RunState
from dth.hub import budget, tasks
from dth.hub.lifecycle import LIVE
from dth.hub.model import ErrorCode, Progress, ScheduleType, Task
from dth.hub.notifications import Event
from dth.hub.parameters import read_parameters
from dth.hub.phase import OUTSIDE_WINDOW
from dth.hub.ports import HubPorts, Stack, TaskQuery
from dth.hub.progress import Meter, grown, with_last_run
from dth.hub.reading import Reading, with_retries
from dth.hub.schedule import Timetable, Window
from dth.platforms.aws.client import Aws, Refused
from dth.platforms.aws.dynamo import Dynamo, each_of
from dth.platforms.aws.hub.engine import AwsEngine, Place
from dth.platforms.aws.hub.stacks import Stacks, StackState
from dth.platforms.aws.parameters import write_parameters
from dth.platforms.aws.platform import AwsPlatform

SOON, LATER = 5.0, 15.0  # seconds until the next step: of what takes moments, and of a stack
KEPT_RUNS = 50  # newest ones that are looked at
RECENT = 3600.0  # seconds after its end for which a run is looked at for something to tell
COPY_ONLY = '{"plan": false}'  # what an execution for images is told that need not be planned
ANEW = "the task was set up anew: what was on its way is compared again"
MOST = 10_000  # tasks that live
REFUSED = {"ValidationError", "AccessDenied", "AccessDeniedException", "LimitExceededException"}


@dataclass(frozen=True, slots=True)
class Steward:
    """For one hub. `engine` is the one of `ports`."""

    ports: HubPorts
    engine: AwsEngine
    stacks: Stacks
    dynamo: Dynamo
    aws: Aws

    async def step(self, id: str) -> float | None:
        """Returns the seconds after which the next step is due, None when only time or a user changes anything."""
        try:
            task = await self.ports.tasks.get(id)
        except NotFound:
            return None
        place = self.engine.place(id, task.type)
        match task.progress:
            case Progress.STARTING:
                return await self._start(task, place)
            case Progress.IN_PROGRESS:
                return await self._go_on(task, place)
            case Progress.PAUSED:
                await self._pause(task)
                return None
            case Progress.STOPPING:
                return await self._stop(task, place)
            case _:
                return await self._take_down(place)

    # ------------------------------------------------------------------------------------------- setting up

    async def _start(self, task: Task, place: Place) -> float | None:
        if not await self.engine.make_memory(place):
            return SOON
        before = await self.engine.stack(task.id)
        stack = await self._look_at_stack(place)
        if stack.is_moving:
            return LATER
        if stack.status and not stack.stands:
            return await self._set_up_failed(task, place, await self.stacks.first_failure(stack.id))
        async with self.engine.open(task.id) as platform:
            await self._write_parameters(platform, task)
            await platform.records.resume()
            if not stack.status:
                await self._begin_anew(platform, task)
        try:
            if not stack.status:
                await self.stacks.create(place.stack, place.template, place.parameters(task), task.id)
                return LATER
            if self._differs(stack, task, place) and await self.stacks.update(
                place.stack, place.template, place.parameters(task)
            ):
                return LATER
        except Refused as error:
            if error.code not in REFUSED:
                raise
            return await self._set_up_failed(task, place, str(error))
        if before and before.outputs:  # it was here before: what was paused goes on
            await self._run_containers(task, stack, COPY_ONLY)
        await tasks.started(self.ports, task.id)
        return 0.0

    async def _begin_anew(self, platform: AwsPlatform, task: Task) -> None:
        """There is no stack, and so no queue: what an earlier one had on its way is gone with it."""
        records = platform.records
        lost = [run for run in await records.list_runs(KEPT_RUNS) if not run.counts.balanced]
        if lost:
            await records.cancel_pending(ANEW)
            if task.type == "ECR":
                await platform.images.cancel_pending(ANEW)
        if lost or task.run_requested:
            await records.begin_run(RunKind.SYNC, beside=True)
            await tasks.note(self.ports, task.id, run_requested=False)

    async def _set_up_failed(self, task: Task, place: Place, reason: str) -> float:
        """The stack goes at once: the next start makes a new one."""
        await self.stacks.delete(place.stack)
        await tasks.fail(self.ports, task.id, reason, ErrorCode.CFN_ERROR)
        await self._tell(task, Event.TASK_ERROR, reason)
        return SOON

    @staticmethod
    def _differs(stack: StackState, task: Task, place: Place) -> bool:
        """Whether the stack was made with other parameters."""
        wanted = place.parameters(task)
        return any(stack.parameters.get(name, "") != value for name, value in wanted.items())

    async def _write_parameters(self, platform: AwsPlatform, task: Task) -> None:
        """What functions and machines read, and the rates that hold now."""
        chosen, parameters = plugin(task.type), read_parameters(task.type, task.parameters)
        timetable, usual = chosen.bandwidth(parameters)
        cap = Timetable.parse(timetable).cap_at(time.time(), usual)
        await platform.limits.set_rates(chosen.rates(parameters, cap))
        await write_parameters(platform.dynamo, task.type, task.parameters)

    # --------------------------------------------------------------------------------------------- working

    async def _go_on(self, task: Task, place: Place) -> float | None:
        stack = await self._look_at_stack(place)
        if not stack.status:
            reason = "its CloudFormation stack is gone; start the task again"
            await tasks.fail(self.ports, task.id, reason, ErrorCode.CFN_ERROR)
            await self._tell(task, Event.TASK_ERROR, reason)
            return None
        if stack.stands and self._differs(stack, task, place):
            await self._change(task, place)
        elif stack.stands_as_before and not task.reason:
            why = await self.stacks.first_failure(stack.id)
            await self._say(task, f"a change could not be made, and was taken back: {why}")
        async with self.engine.open(task.id) as platform:
            await self._write_parameters(platform, task)
            if not await self._may_work(platform, task):
                return None
            await self._begin_what_is_due(platform, task, stack)
            return await self._look(platform, task, stack)

    async def _change(self, task: Task, place: Place) -> None:
        """What is running goes on with the new parameters, as far as the stack takes them."""
        try:
            await self.stacks.update(place.stack, place.template, place.parameters(task))
        except Refused as error:
            if error.code not in REFUSED:
                raise
            await tasks.note(self.ports, task.id, reason=f"the change could not be made: {error}")

    async def _may_work(self, platform: AwsPlatform, task: Task) -> bool:
        """Whether nothing keeps the task from working: its window, or trouble that its workers met."""
        records, now = platform.records, time.time()
        window = Window.parse(read_parameters(task.type, task.parameters).transfer_window)
        paused = await records.paused()
        if window.is_open(now):
            if paused == OUTSIDE_WINDOW:
                await records.resume()
                await self._say(task, "")
            elif paused:
                await tasks.pause(self.ports, task.id, paused)
                await self._tell(task, Event.TASK_PAUSED, paused)
                return False
            return True
        if not paused:
            await records.pause(OUTSIDE_WINDOW)
        await self._say(task, OUTSIDE_WINDOW)
        return False

    async def _begin_what_is_due(self, platform: AwsPlatform, task: Task, stack: StackState) -> None:
        """Runs and redrives that a user asked for. What was asked for is forgotten only when it is in the records."""
        parameters = read_parameters(task.type, task.parameters)
        if task.redrive_requested:
            await plugin(task.type).redrive(platform, parameters)
            await self._run_containers(task, stack, COPY_ONLY)
            await tasks.note(self.ports, task.id, redrive_requested=False)
        if task.run_requested:
            await platform.records.begin_run(RunKind.SYNC, beside=True)
            await self._run_containers(task, stack, "{}")
            await tasks.note(self.ports, task.id, run_requested=False, reason="")
        now = time.time()
        if task.next_run <= now and (upcoming := tasks.next_run(task, now)):
            await tasks.note(self.ports, task.id, next_run=upcoming)

    async def _run_containers(self, task: Task, stack: StackState, given: str) -> None:
        """Of a task for images a run is an execution; one for objects sees by itself that there is a run."""
        if task.type == "ECR":
            machine = stack.outputs["StateMachine"]
            await self.aws.call("stepfunctions", "start_execution", stateMachineArn=machine, input=given)

    async def _look(self, platform: AwsPlatform, task: Task, stack: StackState) -> float | None:
        """Write how the task stands; end one that runs once, and pause one that has spent its budget."""
        # In this order: see `Reading`.
        gauges = await platform.gauges.all()
        uploads = await platform.uploads.live()
        runs = await platform.records.list_runs(KEPT_RUNS)
        if not runs:
            return None
        depth = await platform.queue.depth()
        listed = next((each for each in runs if each.kind is RunKind.SYNC), runs[0])
        run = with_retries(listed, runs)
        task = await self.ports.tasks.get(task.id)
        task.spent = budget.spent(task, runs, self.ports.prices)
        workers = await self._workers(stack)
        counted = [each for each in runs if each.is_open or each is listed]
        parts = sum(upload.done_bytes for upload in uploads)
        now = Reading(time.time(), gauges, counted, depth, workers, workers, parts)
        summary = (await self._meter(task, now)).summary(run, depth, workers)
        task.summary = with_last_run(summary, task.summary, runs)
        await self.ports.tasks.summarize(task)
        if text := budget.reached(task, runs, depth):
            await tasks.pause(self.ports, task.id, text)
            await self._tell(task, Event.TASK_PAUSED, text, once=text)
            return 0.0
        await self._tell_what_ended(task, runs)
        busy = depth.visible + depth.in_flight + depth.delayed > 0 or any(each.is_open for each in runs)
        asked = task.run_requested or task.redrive_requested
        if busy or asked or task.schedule_type is not ScheduleType.ONE_TIME:
            return None
        return await self._finish(task, run)

    async def _tell_what_ended(self, task: Task, runs: Sequence[Run]) -> None:
        """What ended some time ago has been told. A task with a schedule says why its last run failed, until another
        does not."""
        newest = runs[0]
        failed = newest.state is RunState.FAILED and newest.error and not newest.is_open
        if task.schedule_type is not ScheduleType.ONE_TIME and (failed or task.reason.startswith("run ")):
            await self._say(task, f"run {newest.id} failed: {newest.error}" if failed else "")
        for run in runs:
            if run.is_open or time.time() - run.ended > RECENT:
                continue
            if run.state is RunState.FAILED and run.error:
                await self._tell(task, Event.TASK_ERROR, run.error, once=f"{run.id}")
            elif lost := run.counts.failed + run.counts.delete_failed:
                text = f"{lost} {plugin(task.type).things} failed in run {run.id}"
                await self._tell(task, Event.DEAD_LETTERS, text, once=f"{run.id} {lost}")

    async def _finish(self, task: Task, run: Run) -> float:
        """A one-time task has nothing left to do."""
        if run.state is RunState.FAILED:
            await tasks.fail(self.ports, task.id, run.error, ErrorCode.FINDER_ERROR)
            return SOON
        await tasks.finished(self.ports, task.id)
        failed = run.counts.failed + run.counts.delete_failed
        await self._tell(task, Event.TASK_DONE, f"{run.counts.done} transferred, {failed} failed")
        return SOON

    async def _meter(self, task: Task, now: Reading) -> Meter:
        """Fed with the look before this one, which leaves how things stood then, and with this one. What has come since
        is counted for all tasks."""
        key = {"pk": "look", "sk": task.id}
        item = await self.dynamo.get("hub", key)
        before = _reading(item["reading"]) if "reading" in item else None
        await self.dynamo.put("hub", {**key, "at": now.at, "reading": _as_text(now)})
        meter = Meter()
        parameters = read_parameters(task.type, task.parameters)
        timetable, usual = plugin(task.type).bandwidth(parameters)
        meter.cap = float(Timetable.parse(timetable).cap_at(now.at, usual) or 0)
        if before:
            meter.update(before)
        meter.update(now)
        nothing = replace(now, runs=[])
        names = {"bytes_out": "done_bytes", "transferred": "done", "failed": "failed"}
        counted = {name: grown(before or nothing, now, count) for name, count in names.items()}
        await self.ports.metrics.write(task.id, now.at, counted)
        return meter

    async def _workers(self, stack: StackState) -> int:
        """Machines in service."""
        group = stack.outputs.get("WorkerGroup", "")
        if not group:
            return 0
        told = await self.aws.call(
            "autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[group]
        )
        groups: list[dict[str, Any]] = told["AutoScalingGroups"]
        return sum(
            each["LifecycleState"] == "InService" for found in groups for each in found.get("Instances", [])
        )

    # ----------------------------------------------------------------------------------------- not working

    async def _pause(self, task: Task) -> None:
        try:
            async with self.engine.open(task.id) as platform:
                if await platform.records.paused() in ("", OUTSIDE_WINDOW):
                    await platform.records.resume()
                    await platform.records.pause(task.reason)
        except NotFound:
            pass  # it is not set up yet: there is nothing that could work

    async def _stop(self, task: Task, place: Place) -> float | None:
        """The stack aborts uploads as it goes. What it had on its way ends with it."""
        wait = await self._take_down(place)
        if wait is not None:
            return wait
        try:
            async with self.engine.open(task.id) as platform:
                await platform.records.cancel_pending("stopped")
                if task.type == "ECR":
                    await platform.images.cancel_pending("stopped")
        except NotFound:
            pass  # it was stopped before it was set up
        await tasks.ended(self.ports, task.id)
        task = await self.ports.tasks.get(task.id)
        task.summary.rate, task.summary.workers, task.summary.waiting = 0.0, 0, 0
        task.summary.listing, task.summary.eta = False, -1.0
        await self.ports.tasks.summarize(task)
        return None

    async def _take_down(self, place: Place) -> float | None:
        """None when there is no stack any more."""
        stack = await self._look_at_stack(place)
        if not stack.status:
            return None
        if stack.status == "DELETE_FAILED":
            await self._say_stuck(place, await self.stacks.first_failure(stack.id))
        if not stack.is_moving or stack.status == "CREATE_IN_PROGRESS":  # which need not be waited for
            await self.stacks.delete(place.stack)
        return LATER

    async def _look_at_stack(self, place: Place) -> StackState:
        """Which the API tells from then on."""
        found = await self.stacks.look(place.stack)
        told = Stack(found.id, place.stack, found.status, found.outputs, found.descriptions)
        await self.engine.keep_stack(place.task, told if found.status else None)
        return found

    async def _say_stuck(self, place: Place, reason: str) -> None:
        await tasks.note(self.ports, place.task, reason=f"its stack cannot be deleted: {reason}")

    # ---------------------------------------------------------------------------------------------- telling

    async def _say(self, task: Task, reason: str) -> None:
        """Tell in the task why it does nothing at the moment."""
        if task.reason != reason:
            await tasks.note(self.ports, task.id, reason=reason)

    async def _tell(self, task: Task, event: Event, text: str, once: str = "") -> None:
        await self.ports.notifications.notify(event, task, text, once=once and f"{task.id} {event} {once}")


def _as_text(reading: Reading) -> str:
    """A reading as the next look takes it up."""
    runs = [{"id": run.id, "counts": asdict(run.counts)} for run in reading.runs]
    gauges = [asdict(gauge) for gauge in reading.gauges]
    return json.dumps({"at": reading.at, "parts": reading.parts, "runs": runs, "gauges": gauges})


def _reading(text: str) -> Reading:
    kept = json.loads(text)
    runs = [
        Run(each["id"], RunKind.SYNC, RunState.DONE, 0.0, counts=Counts(**each["counts"]))
        for each in kept["runs"]
    ]
    gauges = [Gauge(**each) for each in kept["gauges"]]
    return Reading(kept["at"], gauges, runs, Depth(0, 0, 0), 0, 0, kept["parts"])


async def watch(steward: Steward) -> dict[str, str]:
    """A step for every task that lives, or has a stack still; what follows soon is the workflow's. Returns what failed,
    by task: the others go on."""
    failed: dict[str, str] = {}

    async def step(id: str) -> None:
        try:
            if await steward.step(id) is not None:
                await steward.engine.changed(id)
        except HubError as error:
            failed[id] = str(error)

    living, _ = await steward.ports.tasks.find(TaskQuery(progress=LIVE, count=MOST))
    ids = {task.id for task in living} | set(await steward.engine.with_stacks())
    await each_of(step, sorted(ids))
    return failed
