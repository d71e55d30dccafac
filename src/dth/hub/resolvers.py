"""The root fields of `schema.graphql`, each one plain function. `resolve` is the only way in: it checks the caller's
role, writes every change into the audit log, and calls the function. The GraphQL server and an AppSync Lambda both use
it.

Answers are JSON-safe: dicts, lists, text, numbers.
"""

import functools
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel

from dth.errors import BeingSetUp, Forbidden, HubError, NotFound, Unauthenticated, UsageError
from dth.hub import certificate, monitoring, notifications, tasks
from dth.hub.advice import advice
from dth.hub.audit import OF_TASKS
from dth.hub.model import AuditEntry, Identity, Progress, Role, ScheduleType, Task, TaskType
from dth.hub.plugins import form, plugin, plugins, read_parameters
from dth.hub.ports import Channel, HubPorts, Job, SecretInfo, Stack, TaskQuery, TokenInfo, User, Users
from dth.hub.schedule import describe
from dth.hub.tokens import DEFAULT_DAYS
from dth.parameters import check_confined
from dth.platforms.ports import ImageRecord, Record, Status

MAX_PAGE = 100  # tasks, entries
MAX_RECORDS = 1000
MAX_EVENTS = 10_000
MAX_KEYS = 1000
AT_A_TIME = 1000  # tasks read in one go
MAX_TOKEN_DAYS = 3650.0
LOG_GROUP = "/dth/tasks/"
WITHHELD = ("value", "password", "token")  # arguments that no log may have

Answer = Any
Resolver = Callable[..., Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Field:
    """A root field: what answers it, who may call it, and whether it changes something."""

    function: Resolver
    role: Role
    changes: bool


@dataclass(frozen=True, slots=True)
class Call:
    """What a resolver is called with, besides its arguments."""

    ports: HubPorts
    caller: Identity


FIELDS: dict[str, Field] = {}


def query(role: Role = Role.VIEWER) -> Callable[[Resolver], Resolver]:
    return _field(role, changes=False)


def mutation(role: Role) -> Callable[[Resolver], Resolver]:
    return _field(role, changes=True)


def _field(role: Role, *, changes: bool) -> Callable[[Resolver], Resolver]:
    def register(function: Resolver) -> Resolver:
        name = re.sub(r"_(\w)", lambda match: match[1].upper(), function.__name__.strip("_"))
        FIELDS[name] = Field(function, role, changes)
        return function

    return register


def _empty_at_first(empty: Callable[[], Answer]) -> Callable[[Resolver], Resolver]:
    """What is asked of a task whose records are not there yet is answered as one without any."""

    def decorate(function: Resolver) -> Resolver:
        @functools.wraps(function)
        async def answered(call: Call, **given: Any) -> Answer:
            try:
                return await function(call, **given)
            except BeingSetUp:
                return empty()

        return answered

    return decorate


async def resolve(
    ports: HubPorts, caller: Identity | None, name: str, arguments: Mapping[str, Any]
) -> Answer:
    """Answer one root field for a caller. Raises HubError; `code_of` has its code."""
    field = FIELDS[name]
    if caller is None:
        raise Unauthenticated("sign in first")
    if not caller.role.covers(field.role):
        raise Forbidden(f"{name} needs the role {field.role}; you have {caller.role}")
    # What may be left out may be null: existing clients send all of their variables.
    arguments = {key: value for key, value in arguments.items() if value is not None}
    given = {re.sub(r"[A-Z]", lambda m: f"_{m[0].lower()}", key): value for key, value in arguments.items()}
    call = Call(ports, caller)
    if not field.changes:
        return await field.function(call, **given)
    entry = await ports.audit.begin(
        AuditEntry(time.time(), caller.name, caller.via, name, _target(arguments), _detail(arguments))
    )
    try:
        answer = await field.function(call, **given)
    except BaseException as error:
        await ports.audit.end(entry, code_of(error))
        raise
    await ports.audit.end(entry, "ok", answer["id"] if name in CREATE else "")
    return answer


CREATE = ("createTask", "cloneTask")


def code_of(error: BaseException) -> str:
    """The code that clients tell errors by."""
    codes: dict[type[BaseException], str] = {
        NotFound: "NOT_FOUND",
        Unauthenticated: "UNAUTHENTICATED",
        Forbidden: "FORBIDDEN",
        UsageError: "BAD_INPUT",
        HubError: "FAILED",
    }
    if type(error).__name__ == "Conflict":
        return "CONFLICT"
    return next((code for kind, code in codes.items() if isinstance(error, kind)), "INTERNAL")


def _target(arguments: Mapping[str, Any]) -> str:
    return str(arguments.get("id") or arguments.get("name") or "")


def _detail(arguments: Mapping[str, Any]) -> str:
    """The arguments as JSON, without what is secret."""
    shown = {name: "(withheld)" if name in WITHHELD else value for name, value in arguments.items()}
    given = shown.get("input")
    if isinstance(given, dict) and "target" in given:
        shown["input"] = {**given, "target": "(withheld)"}  # a webhook's URL lets anybody post
    return json.dumps(shown, default=str)[:8000]


# ---------------------------------------------------------------------------------------------------- tasks


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
            page=_at_least_one("page", page),
            count=_within("count", count, MAX_PAGE),
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
    return _task(await tasks.create(call.ports, **_new_task(input), created_by=call.caller.name))


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


def _new_task(input: Mapping[str, Any]) -> dict[str, Any]:
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


# ------------------------------------------------------------------------------------------ runs and records


@query()
@_empty_at_first(list)
async def list_runs(call: Call, *, id: str, count: int = 20) -> Answer:
    await call.ports.tasks.get(id)
    async with call.ports.engine.open(id) as platform:
        runs = await platform.records.list_runs(_within("count", count, MAX_PAGE))
    return [
        {
            "id": run.id,
            "kind": run.kind.value,
            "state": run.state.value,
            "startedAt": iso(run.started),
            "endedAt": iso(run.ended),
            "error": run.error,
            "notes": run.notes,
            "counts": asdict(run.counts),
        }
        for run in runs
    ]


@query()
@_empty_at_first(lambda: {"items": [], "nextToken": None})
async def list_records(
    call: Call, *, id: str, status: str | None = None, prefix: str | None = None, reason: str | None = None,
    run: int | None = None, limit: int = 100, next_token: str | None = None,
) -> Answer:  # fmt: skip
    await call.ports.tasks.get(id)
    most = _within("limit", limit, MAX_RECORDS)
    async with call.ports.engine.open(id) as platform:
        records = await platform.records.page(
            run=run,
            status=Status(status) if status else None,
            prefix=prefix or "",
            reason=reason or "",
            after=next_token or "",
            limit=most,
        )
    return {
        "items": [_record(record) for record in records],
        "nextToken": text_of(records[-1].key) if len(records) == most else None,
    }


@query()
@_empty_at_first(lambda: {"items": [], "nextToken": None})
async def list_images(
    call: Call, *, id: str, run: int | None = None, status: str | None = None, prefix: str | None = None,
    reason: str | None = None, limit: int = 100, next_token: str | None = None,
) -> Answer:  # fmt: skip
    await call.ports.tasks.get(id)
    most = _within("limit", limit, MAX_RECORDS)
    async with call.ports.engine.open(id) as platform:
        images = await platform.images.page(
            run,
            status=Status(status) if status else None,
            prefix=prefix or "",
            reason=reason or "",
            after=next_token or "",
            limit=most,
        )
    return {
        "items": [_image(image) for image in images],
        "nextToken": images[-1].key if len(images) == most else None,
    }


@query()
@_empty_at_first(list)
async def image_history(call: Call, *, id: str, key: str) -> Answer:
    await call.ports.tasks.get(id)
    async with call.ports.engine.open(id) as platform:
        return [_image(image) for image in await platform.images.history(key)]


@query()
@_empty_at_first(list)
async def failure_groups(call: Call, *, id: str) -> Answer:
    await call.ports.tasks.get(id)
    async with call.ports.engine.open(id) as platform:
        groups = await platform.records.failure_groups()
    return [
        {
            "reason": group.reason,
            "count": group.count,
            "detail": group.detail,
            "keys": [text_of(key) for key in group.keys],
            "advice": advice(group.reason),
        }
        for group in groups
    ]


@query()
async def get_certificate(call: Call, *, id: str, run: int) -> Answer:
    task = await call.ports.tasks.get(id)
    async with call.ports.engine.open(id) as platform:
        found = await platform.records.get_run(run)
        records = platform.records.scan(run=run)
        return json.dumps(await certificate.issue(task, found, records, await call.ports.signing_key()))


def _record(record: Record) -> dict[str, Any]:
    return {
        "key": text_of(record.key),
        "status": record.status.value,
        "run": record.run,
        "etag": record.etag,
        "size": record.size,
        "destEtag": record.dest_etag,
        "proof": record.proof,
        "verified": record.verified.value,
        "attempts": record.attempts,
        "reason": record.reason,
        "detail": record.detail,
        "updatedAt": iso(record.updated),
    }


def _image(image: ImageRecord) -> dict[str, Any]:
    return {
        "key": image.key,
        "run": image.run,
        "source": image.source,
        "status": image.status.value,
        "sourceDigest": image.source_digest,
        "destDigest": image.dest_digest,
        "size": image.size,
        "moved": image.moved,
        "skipped": max(0, image.size - image.moved),
        "seconds": image.seconds,
        "attempts": image.attempts,
        "reason": image.reason,
        "detail": image.detail,
        "platforms": [each for each in image.platforms.split(",") if each],
        "about": image.about,
        "endedAt": iso(image.ended),
    }


# -------------------------------------------------------------------------------------- logs and monitoring


@query()
async def list_log_streams(
    call: Call, *, log_group_name: str | None = None, log_stream_name_prefix: str | None = None, page: int = 1,
    count: int = 20,
) -> Answer:  # fmt: skip
    task = await _task_of_group(call, log_group_name)
    streams = await call.ports.logs.streams(task, log_stream_name_prefix or "")
    first = (_at_least_one("page", page) - 1) * _within("count", count, MAX_PAGE)
    return {
        "logStreams": [
            {
                "logStreamName": stream.name,
                "creationTime": _milliseconds(stream.created),
                "firstEventTimestamp": _milliseconds(stream.first),
                "lastEventTimestamp": _milliseconds(stream.last),
                "lastIngestionTime": _milliseconds(stream.last),
                "uploadSequenceToken": None,
                "arn": None,
                "storedBytes": min(stream.bytes, 2**31 - 1),
            }
            for stream in streams[first : first + count]
        ],
        "total": len(streams),
    }


@query()
async def get_log_events(
    call: Call, *, limit: int = 100, log_group_name: str | None = None, log_stream_name: str | None = None,
    next_token: str | None = None, search: str | None = None, start_time: str | None = None,
    end_time: str | None = None,
) -> Answer:  # fmt: skip
    task = await _task_of_group(call, log_group_name)
    found = await call.ports.logs.events(
        task,
        log_stream_name or "",
        _within("limit", limit, MAX_EVENTS),
        next_token or "",
        search or "",
        _seconds("startTime", start_time),
        _seconds("endTime", end_time),
    )
    return {
        "logEvents": [
            {
                "timestamp": _milliseconds(event.at),
                "message": event.message,
                "ingestionTime": _milliseconds(event.at),
            }
            for event in found.events
        ],
        "nextForwardToken": found.forward,
        "nextBackwardToken": found.backward,
    }


@query()
async def get_metric_history_data(
    call: Call, *, id: str, graph_name: str, start_time: str | None = None, end_time: str | None = None,
    period: int | None = None,
) -> Answer:  # fmt: skip
    await call.ports.tasks.get(id)
    return await monitoring.history(call.ports.metrics, id, graph_name, start_time, end_time, period)


@query()
async def hub_activity(call: Call, *, hours: int | None = 24, since: str | None = None) -> Answer:
    done = await monitoring.activity(call.ports.metrics, hours, since)
    summaries = [task.summary for task in await _running(call)]
    return {
        "rate": sum(summary.rate for summary in summaries),
        "active": len(summaries),
        "waiting": sum(summary.waiting for summary in summaries),
        "workers": sum(summary.workers for summary in summaries),
        **done,
    }


async def _running(call: Call) -> list[Task]:
    running: list[Task] = []
    page = 1
    while True:
        wanted = TaskQuery(progress=(Progress.STARTING, Progress.IN_PROGRESS), page=page, count=AT_A_TIME)
        found, total = await call.ports.tasks.find(wanted)
        running += found
        if len(found) < AT_A_TIME or len(running) >= total:
            return running
        page += 1


async def _task_of_group(call: Call, group: str | None) -> str:
    task = await call.ports.tasks.get((group or "").removeprefix(LOG_GROUP))
    return task.id


# ---------------------------------------------------------------------------------------------------- jobs


@mutation(Role.OPERATOR)
async def preflight(call: Call, *, input: dict[str, Any]) -> Answer:
    return await _begin_job(call, "preflight", input)


@mutation(Role.OPERATOR)
async def forecast(call: Call, *, input: dict[str, Any]) -> Answer:
    return await _begin_job(call, "forecast", input)


@mutation(Role.OPERATOR)
async def test_connection(call: Call, *, input: dict[str, Any], side: str) -> Answer:
    new = _new_task(input)
    parameters, chosen = read_parameters(new["type"], new["parameters"]), side.lower()
    check_confined(parameters)
    plugin(new["type"]).check_side(parameters, chosen)
    return _job(await call.ports.jobs.start("probe", _given(new["type"], parameters), chosen))


@query()
async def get_job(call: Call, *, id: str) -> Answer:
    return _job(await call.ports.jobs.get(id))


async def _begin_job(call: Call, kind: str, input: dict[str, Any]) -> Answer:
    new = _new_task(input)
    parameters = read_parameters(new["type"], new["parameters"])
    check_confined(parameters)
    plugin(new["type"]).check(parameters)
    return _job(await call.ports.jobs.start(kind, _given(new["type"], parameters)))


def _given(type: TaskType, parameters: BaseModel) -> dict[str, Any]:
    return {"type": type.value, **parameters.model_dump(mode="json", by_alias=True, exclude_unset=True)}


def _job(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "startedAt": iso(job.started),
        "endedAt": iso(job.ended),
        "error": job.error,
        "result": json.dumps(job.result),
    }


# ------------------------------------------------------------------------------------------- administration


@query()
async def list_secrets(call: Call) -> Answer:
    return [_secret(secret) for secret in await call.ports.secrets.list()]


@mutation(Role.OPERATOR)
async def create_secret(call: Call, *, name: str, value: str, description: str | None = None) -> Answer:
    await call.ports.secrets.create(name, value, description or "")
    return await _secret_named(call, name)


@mutation(Role.OPERATOR)
async def update_secret(
    call: Call, *, name: str, value: str | None = None, description: str | None = None
) -> Answer:
    await call.ports.secrets.update(name, value, description)
    return await _secret_named(call, name)


@mutation(Role.OPERATOR)
async def delete_secret(call: Call, *, name: str) -> Answer:
    found = await _secret_named(call, name)
    await call.ports.secrets.delete(name)
    return found


async def _secret_named(call: Call, name: str) -> Answer:
    for secret in await call.ports.secrets.list():
        if secret.name == name:
            return _secret(secret)
    raise NotFound(f"there is no secret {name!r}")


def _secret(secret: SecretInfo) -> dict[str, Any]:
    return {"name": secret.name, "description": secret.description, "updatedAt": iso(secret.updated)}


@query()
async def who_am_i(call: Call) -> Answer:
    return {"name": call.caller.name, "role": call.caller.role.value, "via": call.caller.via}


@query(Role.ADMIN)
async def list_users(call: Call) -> Answer:
    return [_user(user) for user in await _users(call).list()]


@mutation(Role.ADMIN)
async def create_user(call: Call, *, name: str, password: str, role: str, email: str | None = None) -> Answer:
    await _users(call).add(name, password, Role(role), email or "", must_change=True)
    return await _user_named(call, name)


@mutation(Role.ADMIN)
async def set_user_password(call: Call, *, name: str, password: str) -> Answer:
    await _users(call).set_password(name, password, must_change=name != call.caller.name)
    return True


@mutation(Role.ADMIN)
async def set_user_role(call: Call, *, name: str, role: str) -> Answer:
    await _users(call).set_role(name, Role(role))
    return await _user_named(call, name)


@mutation(Role.ADMIN)
async def delete_user(call: Call, *, name: str) -> Answer:
    await _users(call).remove(name)
    return True


def _users(call: Call) -> Users:
    if call.ports.users is None:
        raise UsageError("users are kept by the external issuer; change them there")
    return call.ports.users


async def _user_named(call: Call, name: str) -> Answer:
    return next(_user(user) for user in await _users(call).list() if user.name == name)


def _user(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "role": user.role.value,
        "email": user.email,
        "createdAt": iso(user.created),
        "lastLoginAt": iso(user.last_login),
        "mustChangePassword": user.must_change,
    }


@query(Role.ADMIN)
async def list_tokens(call: Call) -> Answer:
    return [_token(token) for token in await call.ports.tokens.list()]


@mutation(Role.ADMIN)
async def create_token(call: Call, *, name: str, role: str, expires_in_days: float | None = None) -> Answer:
    days = DEFAULT_DAYS if expires_in_days is None else expires_in_days
    if not 0 < days <= MAX_TOKEN_DAYS:
        raise UsageError(f"expiresInDays: above 0 and at most {MAX_TOKEN_DAYS:g}")
    expires = time.time() + days * 86_400
    caller = call.caller
    info, token = await call.ports.tokens.create(name, Role(role), expires, caller.name, caller.user)
    return {"token": token, "info": _token(info)}


@mutation(Role.ADMIN)
async def revoke_token(call: Call, *, id: str) -> Answer:
    await call.ports.tokens.revoke(id)
    return True


def _token(token: TokenInfo) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role.value,
        "createdAt": iso(token.created),
        "expiresAt": iso(token.expires),
        "lastUsedAt": iso(token.last_used),
        "createdBy": token.created_by,
    }


@query(Role.ADMIN)
async def list_channels(call: Call) -> Answer:
    return [_channel(channel) for channel in await call.ports.notifications.channels()]


@mutation(Role.ADMIN)
async def put_channel(call: Call, *, input: dict[str, Any]) -> Answer:
    known = {event.value for event in notifications.Event}
    if unknown := sorted(set(input.get("events") or []) - known):
        raise UsageError(f"events: there is no {unknown[0]}; there are {', '.join(sorted(known))}")
    enabled = input.get("enabled")
    channel = Channel(
        id=input.get("id") or str(uuid.uuid4()),
        kind=input["kind"],
        target=input["target"],
        name=input.get("name") or "",
        events=tuple(input.get("events") or ()),
        enabled=True if enabled is None else enabled,
    )
    await call.ports.notifications.put_channel(channel)
    return _channel(channel)


@mutation(Role.ADMIN)
async def delete_channel(call: Call, *, id: str) -> Answer:
    await call.ports.notifications.remove_channel(id)
    return True


@mutation(Role.ADMIN)
async def test_channel(call: Call, *, id: str) -> Answer:
    return await call.ports.notifications.test_channel(id)


def _channel(channel: Channel) -> dict[str, Any]:
    return {**asdict(channel), "events": list(channel.events)}


@query()
async def list_audit(
    call: Call, *, target: str | None = None, who: str | None = None, page: int = 1, count: int = 50
) -> Answer:
    admin = call.caller.role is Role.ADMIN
    if not target and not admin:
        raise Forbidden("the whole audit log is for admins; name a task in target")
    if target and not admin:
        await call.ports.tasks.get(target)
    found, total = await call.ports.audit.find(
        target=target or "",
        what=() if admin else OF_TASKS,
        who=who or "",
        page=_at_least_one("page", page),
        count=_within("count", count, MAX_PAGE),
    )
    items = [{**asdict(entry), "at": iso(entry.at)} for entry in found]
    return {"items": items, "total": total}


@query(Role.OPERATOR)
async def get_webhook(call: Call, *, id: str) -> Answer:
    task = await call.ports.tasks.get(id)
    if not plugin(task.type).follows_events(read_parameters(task.type, task.parameters)):
        raise UsageError("the task follows no events; set srcEvent to Create or CreateAndDelete")
    return await call.ports.webhook(task)


@query()
async def hub_info(call: Call) -> Answer:
    counts = await call.ports.tasks.count()
    info = call.ports.info
    return {
        "version": version("data-transfer-hub"),
        "platform": info.get("platform", ""),
        "issuer": info.get("issuer", ""),
        "users": len(await call.ports.users.list()) if call.ports.users else None,
        "tasks": json.dumps({progress.value: number for progress, number in counts.items()}),
        "plugins": list(plugins()),
        "limits": json.dumps(info.get("limits", {})),
        "certificateKey": certificate.public_key(await call.ports.signing_key()),
    }


# ------------------------------------------------------------------------------------------------- details


def iso(moment: float) -> str | None:
    """A time as AWSDateTime; None for never."""
    if not moment:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_of(key: str) -> str:
    """A key as JSON can hold it: a byte that is not UTF-8 is shown as U+FFFD."""
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _milliseconds(moment: float) -> str | None:
    return str(int(moment * 1000)) if moment else None


def _seconds(name: str, text: str | None) -> float:
    if not text:
        return 0.0
    try:
        return float(text) / 1000
    except ValueError:
        raise UsageError(f"{name}: {text!r} is no time in epoch milliseconds") from None


def _at_least_one(name: str, value: int) -> int:
    if not 1 <= value <= 1_000_000:
        raise UsageError(f"{name}: {value} is out of range; pages count from 1")
    return value


def _within(name: str, value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise UsageError(f"{name}: {value} is out of range; it must be from 1 to {most}")
    return value
