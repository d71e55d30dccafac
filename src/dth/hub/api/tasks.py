"""Tasks: list, create, change, end."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dth.core import clock
from dth.core.errors import UsageError
from dth.core.plugins import plugin
from dth.core.ports.records import pages
from dth.core.ports.status import Status
from dth.hub import monitoring, tasks
from dth.hub.api.answers import answers
from dth.hub.api.resolve import Call, mutation, query
from dth.hub.api.text import MAX_INT, REPLACED, at_least_one, iso, text_of, within
from dth.hub.budget import UNKNOWN
from dth.hub.model import ErrorCode, Progress, Role, ScheduleType, Summary, Task
from dth.hub.parameters import form
from dth.hub.phase import Phase, phase, waits_for
from dth.hub.ports import TaskQuery, TaskStackState
from dth.hub.progress import Result, percent_of
from dth.hub.schedule import Cron, describe
from dth.hub.steward import schedule_of

MAX_PAGE = 100
MAX_KEYS = 1000
LOG_GROUP = "/dth/tasks/"
UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9A-Fa-f]{32}")

# ------------------------------------------------------------------------------------------ answers


@answers("TaskParameter")
class TaskParameter:
    ParameterKey: str
    ParameterValue: str


@answers("StackOutputs")
class StackOutput:
    OutputKey: str
    OutputValue: str
    Description: str | None


@answers("CommonProgressInfo")
class ProgressInfo:
    # Both are Int for existing clients. They are capped: a number too large for Int would fail the
    # whole answer.
    total: int
    replicated: int
    objects: int
    done_objects: int
    run: int
    listing: bool
    failed: int
    total_bytes: int
    done_bytes: int
    percent: int | None
    rate: float
    eta: float | None
    workers: int
    waiting: int
    state: str
    note: str

    @classmethod
    def of(cls, summary: Summary) -> Self:
        return cls(
            total=min(summary.total, MAX_INT),
            replicated=min(summary.replicated, MAX_INT),
            objects=summary.total,
            done_objects=summary.replicated,
            run=summary.run,
            listing=summary.listing,
            failed=summary.failed,
            total_bytes=summary.total_bytes,
            done_bytes=summary.done_bytes,
            percent=percent_of(summary),
            rate=summary.rate,
            eta=summary.eta if summary.eta >= 0 else None,
            workers=summary.workers,
            waiting=summary.waiting,
            state=summary.state,
            note=summary.note,
        )


@answers("LastRun")
class LastRun:
    id: int
    result: Result
    ended_at: str | None
    seconds: float

    @classmethod
    def of(cls, summary: Summary) -> Self | None:
        if not summary.last_run:
            return None
        return cls(
            summary.last_run,
            Result(summary.last_result),
            iso(summary.last_ended),
            summary.last_seconds,
        )


@answers("Acknowledgement")
class AcknowledgementAnswer:
    by: str
    at: str | None
    until: str | None

    @classmethod
    def of(cls, task: Task) -> Self | None:
        known = task.acknowledged
        if known is None or not task.is_acknowledged(clock.now()):
            return None
        return cls(known.by, iso(known.at), iso(known.until))


@answers("Task")
class TaskAnswer:
    id: str
    description: str
    type: str
    things: str
    parameters: list[TaskParameter]
    created_at: str | None
    stopped_at: str | None
    progress: Progress
    progress_info: ProgressInfo
    schedule_type: ScheduleType
    created_by: str
    updated_at: str | None
    source: str
    destination: str
    reason: str
    phase: Phase
    waits_for: str
    is_being_deleted: bool
    needs_attention: bool
    acknowledged: AcknowledgementAnswer | None
    last_run: LastRun | None
    recent_runs: list[LastRun]
    schedule: str
    schedule_time_zone: str | None
    next_run_at: str | None
    log_group_name: str
    spent: float | None
    # The following fields describe CloudFormation; clients of the existing solution request them.
    stack_id: str | None
    stack_name: str | None
    stack_status: str | None
    stack_status_reason: str | None
    stack_outputs: list[StackOutput]
    warnings: list[str]
    template_url: str = ""
    execution_arn: None = None

    @classmethod
    def of(
        cls, task: Task, stack: TaskStackState | None = None, warnings: Sequence[str] = ()
    ) -> Self:
        schedule = schedule_of(task)
        return cls(
            id=task.id,
            description=task.description,
            type=task.type,
            things=plugin(task.type).things,
            parameters=[TaskParameter(name, value) for name, value in task.parameters.items()],
            created_at=iso(task.created),
            stopped_at=iso(task.stopped),
            progress=task.progress,
            progress_info=ProgressInfo.of(task.summary),
            schedule_type=task.schedule_type,
            created_by=task.created_by,
            updated_at=iso(task.updated),
            source=task.source,
            destination=task.destination,
            reason=task.reason,
            phase=phase(task),
            waits_for=waits_for(task),
            is_being_deleted=task.delete_requested,
            needs_attention=task.needs_attention(clock.now()),
            acknowledged=AcknowledgementAnswer.of(task),
            last_run=LastRun.of(task.summary),
            recent_runs=[
                LastRun(number, Result(result), iso(ended), seconds)
                for number, result, ended, seconds in task.summary.recent_runs
            ],
            schedule=describe(schedule) if schedule else "once",
            schedule_time_zone=str(schedule.zone) if isinstance(schedule, Cron) else None,
            # A paused task still knows what it may miss.
            next_run_at=iso(task.next_run) if task.progress is Progress.IN_PROGRESS else None,
            log_group_name=f"{LOG_GROUP}{task.id}",
            spent=None if task.spent == UNKNOWN else round(task.spent, 6),
            stack_id=stack.id if stack else None,
            stack_name=stack.name if stack else None,
            stack_status=stack.status if stack else None,
            stack_status_reason=task.reason or None,
            stack_outputs=_outputs(stack) if stack else [],
            warnings=list(warnings),
        )


def _outputs(stack: TaskStackState) -> list[StackOutput]:
    return [
        StackOutput(name, value, stack.descriptions.get(name))
        for name, value in stack.outputs.items()
    ]


@answers("ListTasksResponseV2")
class TaskPage:
    items: list[TaskAnswer]
    total: int


@answers("GetErrorMessageResponse")
class ErrorMessage:
    err_message: str
    err_code: ErrorCode | None


@answers("ParameterDefinition")
class ParameterDefinition:
    name: str
    label: str
    group: str
    help: str
    kind: str
    default: str
    allowed: list[str]
    option: str
    minimum: float | None
    maximum: float | None
    size: bool
    required: bool


# ------------------------------------------------------------------------------------------ queries


@query()
async def list_tasks_v2(
    call: Call, *, progress: str | None = None, page: int = 1, count: int = 20,
    statuses: list[str] | None = None,
    type: str | None = None, schedule_type: str | None = None, text: str | None = None,
    order_by: str = "created",
    descending: bool = True, attention: bool = False,
) -> TaskPage:  # fmt: skip
    chosen = [Progress(each) for each in {*(statuses or []), *([progress] if progress else [])}]
    found, total = await call.ports.tasks.find(
        TaskQuery(
            progress=chosen,
            type=type or None,
            schedule_type=ScheduleType(schedule_type) if schedule_type else None,
            text=(text or "").strip(),
            attention=attention,
            order=order_by,
            descending=descending,
            page=at_least_one("page", page),
            count=within("count", count, MAX_PAGE),
        )
    )
    return TaskPage([TaskAnswer.of(task) for task in found], total)


@query()
async def get_task(call: Call, *, id: str) -> TaskAnswer:
    task = await call.ports.tasks.get(id)
    return TaskAnswer.of(task, await call.ports.engine.stack(id))


@query()
async def get_error_message(call: Call, *, id: str) -> ErrorMessage:
    task = await call.ports.tasks.get(id)
    return ErrorMessage(task.reason, task.error_code)


@query()
async def export_task(call: Call, *, id: str) -> str:
    task = await call.ports.tasks.get(id)
    return json.dumps(
        {
            "type": task.type,
            "description": task.description,
            "scheduleType": task.schedule_type.value,
            "parameters": task.parameters,
        },
        ensure_ascii=False,
    )


@query()
async def list_task_parameters(call: Call, *, type: str) -> list[ParameterDefinition]:
    return [ParameterDefinition(**each) for each in form(type)]


# ------------------------------------------------------------------------------------------ changes


@mutation(Role.OPERATOR)
async def create_task(call: Call, *, input: dict[str, Any]) -> TaskAnswer:
    new = NewTask.of(input)
    task = await tasks.create(
        call.ports,
        type=new.type,
        schedule_type=new.schedule_type,
        parameters=new.parameters,
        description=new.description,
        id=new.id,
        created_by=call.caller.name,
    )
    return await _changed(call, task)


@mutation(Role.OPERATOR)
async def stop_task(call: Call, *, id: str | None = None) -> TaskAnswer:
    return TaskAnswer.of(await tasks.stop(call.ports, id or ""))


@mutation(Role.OPERATOR)
async def pause_task(call: Call, *, id: str) -> TaskAnswer:
    return TaskAnswer.of(await tasks.pause(call.ports, id, f"paused by {call.caller.name}"))


@mutation(Role.OPERATOR)
async def resume_task(call: Call, *, id: str) -> TaskAnswer:
    return TaskAnswer.of(await tasks.resume(call.ports, id))


@mutation(Role.OPERATOR)
async def start_run(call: Call, *, id: str) -> TaskAnswer:
    return TaskAnswer.of(await tasks.start_run(call.ports, id))


@mutation(Role.OPERATOR)
async def edit_task(call: Call, *, id: str, input: dict[str, Any]) -> TaskAnswer:
    kind = input.get("scheduleType")
    task = await tasks.edit(
        call.ports,
        id,
        parameters=_parameters(input),
        description=input.get("description"),
        schedule_type=ScheduleType(kind) if kind else None,
    )
    return await _changed(call, task)


@mutation(Role.OPERATOR)
async def clone_task(call: Call, *, id: str, input: dict[str, Any] | None = None) -> TaskAnswer:
    changes = input or {}
    task = await tasks.clone(
        call.ports,
        id,
        parameters=_parameters(changes),
        description=changes.get("description"),
        created_by=call.caller.name,
    )
    return await _changed(call, task)


@mutation(Role.OPERATOR)
async def delete_task(call: Call, *, id: str, stop: bool = False) -> TaskAnswer:
    return TaskAnswer.of(await tasks.delete(call.ports, id, stop=stop))


@mutation(Role.OPERATOR)
async def acknowledge_task(call: Call, *, id: str, until: str | None = None) -> TaskAnswer:
    moment = monitoring.moment("until", until) if until else 0.0
    return TaskAnswer.of(await tasks.acknowledge(call.ports, id, call.caller.name, moment))


@mutation(Role.OPERATOR)
async def withdraw_acknowledgement(call: Call, *, id: str) -> TaskAnswer:
    return TaskAnswer.of(await tasks.withdraw_acknowledgement(call.ports, id))


@mutation(Role.OPERATOR)
async def retry_failed(
    call: Call, *, id: str, keys: list[str] | None = None, reason: str | None = None
) -> TaskAnswer:
    if keys and len(keys) > MAX_KEYS:
        raise UsageError(f"keys: {MAX_KEYS} are the most at once; retry by reason, or all")
    if keys:
        keys = await _as_kept(call, id, keys)
    return TaskAnswer.of(await tasks.retry_failed(call.ports, id, keys=keys, reason=reason or ""))


async def _as_kept(call: Call, id: str, shown: list[str]) -> list[str]:
    """The stored keys that are shown as these texts. If bytes are not UTF-8, several keys may look
    alike: all of them count."""
    odd = {key for key in shown if REPLACED in key}
    if not odd:
        return shown
    await call.ports.tasks.get(id)
    found: set[str] = set()
    async with call.ports.engine.open(id) as platform:
        for prefix in {key.partition(REPLACED)[0] for key in odd}:
            async for batch in pages(
                platform.records, status=Status.FAILED, prefix=prefix, limit=MAX_KEYS
            ):
                found |= {record.key for record in batch if text_of(record.key) in odd}
    return [*(key for key in shown if key not in odd), *sorted(found)] or shown


@mutation(Role.OPERATOR)
async def redrive_dead_letters(call: Call, *, id: str) -> TaskAnswer:
    return TaskAnswer.of(await tasks.retry_failed(call.ports, id))


async def _changed(call: Call, task: Task) -> TaskAnswer:
    """The answer for a task that was created or changed, with warnings for the user."""
    return TaskAnswer.of(task, warnings=await tasks.warnings(call.ports, task))


# -------------------------------------------------------------------------------------------- input


@dataclass(frozen=True, slots=True)
class NewTask:
    """A parsed CreateTaskInput."""

    type: str
    schedule_type: ScheduleType
    parameters: dict[str, str]
    description: str
    id: str

    @classmethod
    def of(cls, input: Mapping[str, Any]) -> Self:
        """Read the input of createTask. Raises UsageError that names the parameter."""
        parameters = _parameters(input)
        kind = input.get("scheduleType")
        # Existing clients that send none mean this.
        if kind is None:
            empty = parameters.get("ec2CronExpression") == "" and not parameters.get("scheduleRate")
            kind = ScheduleType.ONE_TIME if empty else ScheduleType.FIXED_RATE
        chosen = input.get("id") or ""
        # It becomes the name of a folder and part of other names.
        if chosen and not UUID.fullmatch(chosen):
            raise UsageError(
                f"id: {chosen[:50]!r} is not a UUID such as 123e4567-e89b-12d3-a456-426614174000"
            )
        return cls(
            type=input["type"],
            schedule_type=ScheduleType(kind),
            parameters=parameters,
            description=input.get("description") or "",
            id=chosen,
        )


def _parameters(input: Mapping[str, Any]) -> dict[str, str]:
    """The parameters by name. If a name occurs twice, the last one counts."""
    pairs = [pair for pair in input.get("parameters") or [] if pair and pair.get("ParameterKey")]
    return {pair["ParameterKey"]: pair.get("ParameterValue") or "" for pair in pairs}
