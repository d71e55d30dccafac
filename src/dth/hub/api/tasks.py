"""Tasks: listed, created, changed, ended."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

from dth.errors import UsageError
from dth.hub import tasks
from dth.hub.api.door import Answer, Call, mutation, query
from dth.hub.api.text import at_least_one, iso, within
from dth.hub.model import Progress, Role, ScheduleType, Task, TaskType
from dth.hub.plugins import form
from dth.hub.ports import Stack, TaskQuery
from dth.hub.schedule import describe

MAX_PAGE = 100
MAX_KEYS = 1000
LOG_GROUP = "/dth/tasks/"


@query()
async def list_tasks_v2(
    call: Call, *, progress: str | None = None, page: int = 1, count: int = 20, statuses: list[str] | None = None,
    type: str | None = None, schedule_type: str | None = None, text: str | None = None, order_by: str = "created",
    descending: bool = True,
) -> Answer:  # fmt: skip
    chosen = [Progress(each) for each in [*(statuses or []), *([progress] if progress else [])]]
    found, total = await call.ports.tasks.find(
        TaskQuery(
            progress=chosen,
            type=TaskType(type) if type else None,
            schedule_type=ScheduleType(schedule_type) if schedule_type else None,
            text=(text or "").strip(),
            order=order_by,
            descending=descending,
            page=at_least_one("page", page),
            count=within("count", count, MAX_PAGE),
        )
    )
    return {"items": [_task(task) for task in found], "total": total}


@query()
async def get_task(call: Call, *, id: str) -> Answer:
    task = await call.ports.tasks.get(id)
    return {**_task(task), **_stack(await call.ports.engine.stack(id))}


@query()
async def get_error_message(call: Call, *, id: str) -> Answer:
    task = await call.ports.tasks.get(id)
    return {"errMessage": task.reason, "errCode": task.error_code.value if task.error_code else None}


@query()
async def export_task(call: Call, *, id: str) -> Answer:
    task = await call.ports.tasks.get(id)
    return json.dumps(
        {
            "type": task.type.value,
            "description": task.description,
            "scheduleType": task.schedule_type.value,
            "parameters": task.parameters,
        },
        ensure_ascii=False,
    )


@query()
async def list_task_parameters(call: Call, *, type: str) -> Answer:
    return form(TaskType(type))


@mutation(Role.OPERATOR)
async def create_task(call: Call, *, input: dict[str, Any]) -> Answer:
    return _task(await tasks.create(call.ports, **new_task(input), created_by=call.caller.name))


@mutation(Role.OPERATOR)
async def stop_task(call: Call, *, id: str | None = None) -> Answer:
    return _task(await tasks.stop(call.ports, id or ""))


@mutation(Role.OPERATOR)
async def pause_task(call: Call, *, id: str) -> Answer:
    return _task(await tasks.pause(call.ports, id, f"paused by {call.caller.name}"))


@mutation(Role.OPERATOR)
async def resume_task(call: Call, *, id: str) -> Answer:
    return _task(await tasks.resume(call.ports, id))


@mutation(Role.OPERATOR)
async def start_run(call: Call, *, id: str) -> Answer:
    return _task(await tasks.start_run(call.ports, id))


@mutation(Role.OPERATOR)
async def edit_task(call: Call, *, id: str, input: dict[str, Any]) -> Answer:
    kind = input.get("scheduleType")
    return _task(
        await tasks.edit(
            call.ports,
            id,
            parameters=_parameters(input),
            description=input.get("description"),
            schedule_type=ScheduleType(kind) if kind else None,
        )
    )


@mutation(Role.OPERATOR)
async def clone_task(call: Call, *, id: str, input: dict[str, Any] | None = None) -> Answer:
    changes = input or {}
    cloned = await tasks.clone(
        call.ports,
        id,
        parameters=_parameters(changes),
        description=changes.get("description"),
        created_by=call.caller.name,
    )
    return _task(cloned)


@mutation(Role.OPERATOR)
async def delete_task(call: Call, *, id: str) -> Answer:
    return _task(await tasks.delete(call.ports, id))


@mutation(Role.OPERATOR)
async def retry_failed(
    call: Call, *, id: str, keys: list[str] | None = None, reason: str | None = None
) -> Answer:
    if keys and len(keys) > MAX_KEYS:
        raise UsageError(f"keys: {MAX_KEYS} are the most at once; retry by reason, or all")
    return _task(await tasks.retry_failed(call.ports, id, keys=keys, reason=reason or ""))


@mutation(Role.OPERATOR)
async def redrive_dead_letters(call: Call, *, id: str) -> Answer:
    return _task(await tasks.retry_failed(call.ports, id))


def new_task(input: Mapping[str, Any]) -> dict[str, Any]:
    parameters = _parameters(input)
    kind = input.get("scheduleType")
    if kind is None:  # as existing clients that send none mean it
        empty = parameters.get("ec2CronExpression") == "" and not parameters.get("scheduleRate")
        kind = ScheduleType.ONE_TIME if empty else ScheduleType.FIXED_RATE
    chosen = input.get("id") or ""
    if chosen:
        try:
            uuid.UUID(chosen)
        except ValueError:
            raise UsageError(f"id: {chosen!r} is no UUID") from None
    return {
        "type": TaskType(input["type"]),
        "schedule_type": ScheduleType(kind),
        "parameters": parameters,
        "description": input.get("description") or "",
        "id": chosen,
    }


def _parameters(input: Mapping[str, Any]) -> dict[str, str]:
    """Name and value of each; of one given twice the last counts."""
    pairs = [pair for pair in input.get("parameters") or [] if pair and pair.get("ParameterKey")]
    return {pair["ParameterKey"]: pair.get("ParameterValue") or "" for pair in pairs}


def _task(task: Task) -> dict[str, Any]:
    summary = task.summary
    schedule = tasks.schedule_of(task)
    return {
        "id": task.id,
        "description": task.description,
        "type": task.type.value,
        "templateUrl": "",
        "parameters": [
            {"ParameterKey": name, "ParameterValue": value} for name, value in task.parameters.items()
        ],
        "createdAt": iso(task.created),
        "stoppedAt": iso(task.stopped),
        "progress": task.progress.value,
        "progressInfo": {
            **{name: getattr(summary, name) for name in ("total", "replicated", "run", "listing", "failed")},
            **{name: getattr(summary, name) for name in ("rate", "workers", "waiting", "state", "note")},
            "totalBytes": summary.total_bytes,
            "doneBytes": summary.done_bytes,
            "eta": summary.eta if summary.eta >= 0 else None,
        },
        **_stack(None),
        "stackStatusReason": task.reason or None,
        "executionArn": None,
        "scheduleType": task.schedule_type.value,
        "createdBy": task.created_by,
        "updatedAt": iso(task.updated),
        "source": task.source,
        "destination": task.destination,
        "reason": task.reason,
        "schedule": describe(schedule) if schedule else "once",
        "nextRunAt": iso(task.next_run),
        "logGroupName": f"{LOG_GROUP}{task.id}",
        "spent": round(task.spent, 6),
    }


def _stack(stack: Stack | None) -> dict[str, Any]:
    if stack is None:
        return {"stackId": None, "stackName": None, "stackStatus": None, "stackOutputs": []}
    return {
        "stackId": stack.id,
        "stackName": stack.name,
        "stackStatus": stack.status,
        "stackOutputs": [
            {"OutputKey": name, "OutputValue": value, "Description": stack.descriptions.get(name)}
            for name, value in stack.outputs.items()
        ],
    }
