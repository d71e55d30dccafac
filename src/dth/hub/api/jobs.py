"""Preflights, forecasts and connection tests: work that takes longer than a request."""

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel

from dth.core.errors import UsageError
from dth.core.parameters import check_confined
from dth.core.plugins import plugin
from dth.hub import stores, tasks
from dth.hub.api.answers import answers
from dth.hub.api.door import Call, mutation, query
from dth.hub.api.tasks import NewTask
from dth.hub.api.text import iso, within
from dth.hub.model import Role
from dth.hub.ports import Job
from dth.hub.roles import check_roles

PAGE, MAX_PAGE = 200, 1000  # keys and folders of a look


@answers("Job")
class JobAnswer:
    id: str
    kind: str
    state: str
    started_at: str | None
    ended_at: str | None
    error: str
    result: str

    @classmethod
    def of(cls, job: Job) -> Self:
        return cls(
            id=job.id,
            kind=job.kind,
            state=job.state,
            started_at=iso(job.started),
            ended_at=iso(job.ended),
            error=job.error,
            result=json.dumps(job.result),
        )


@mutation(Role.OPERATOR)
async def preflight(call: Call, *, input: dict[str, Any]) -> JobAnswer:
    return await _begin(call, "preflight", input)


@mutation(Role.OPERATOR)
async def forecast(call: Call, *, input: dict[str, Any]) -> JobAnswer:
    return await _begin(call, "forecast", input)


@mutation(Role.OPERATOR)
async def test_connection(call: Call, *, input: dict[str, Any], side: str) -> JobAnswer:
    new = NewTask.of(input)
    parameters, chosen = await stores.complete(call.ports, new.type, new.parameters), side.lower()
    check_confined(parameters)
    check_roles(call.ports, parameters)
    plugin(new.type).check_side(parameters, chosen)
    await call.ports.secrets.use(plugin(new.type).secret_uses(parameters, [chosen]))
    return JobAnswer.of(await call.ports.jobs.start("probe", _given(new.type, parameters), chosen))


@mutation(Role.OPERATOR)
async def list_buckets(call: Call, *, input: dict[str, Any], side: str) -> JobAnswer:
    return await look(call, "buckets", input, side)


@mutation(Role.OPERATOR)
async def browse(
    call: Call,
    *,
    input: dict[str, Any],
    side: str,
    prefix: str = "",
    token: str = "",
    count: int = PAGE,
) -> JobAnswer:
    asked = {"prefix": prefix, "token": token, "count": str(within("count", count, MAX_PAGE))}
    return await look(call, "browse", input, side, asked)


@mutation(Role.OPERATOR)
async def object_details(call: Call, *, input: dict[str, Any], side: str, key: str) -> JobAnswer:
    return await look(call, "object", input, side, {"key": key})


@mutation(Role.OPERATOR)
async def create_bucket(call: Call, *, input: dict[str, Any], side: str) -> JobAnswer:
    return await look(call, "createBucket", input, side)


@query()
async def get_job(call: Call, *, id: str) -> JobAnswer:
    return JobAnswer.of(await call.ports.jobs.get(id))


async def _begin(call: Call, kind: str, input: dict[str, Any]) -> JobAnswer:
    new = NewTask.of(input)
    parameters = await stores.complete(call.ports, new.type, new.parameters)
    tasks.check(call.ports, new.type, parameters)
    await call.ports.secrets.use(plugin(new.type).secret_uses(parameters))
    return JobAnswer.of(await call.ports.jobs.start(kind, _given(new.type, parameters)))


async def look(
    call: Call, kind: str, input: dict[str, Any], side: str, asked: Mapping[str, str] | None = None
) -> JobAnswer:
    """Look into the store of one side. Like a test of the connection, a look may be the first use
    of a secret."""
    new, chosen = NewTask.of(input), side.lower()
    parameters = await stores.complete(call.ports, new.type, new.parameters)
    check_confined(parameters)
    check_roles(call.ports, parameters)
    if kind not in plugin(new.type).looks:
        raise UsageError(f"type: tasks for {plugin(new.type).things} have no store to look into")
    if kind != "buckets":
        plugin(new.type).check_side(parameters, chosen)
    await call.ports.secrets.use(plugin(new.type).secret_uses(parameters, [chosen]))
    return JobAnswer.of(
        await call.ports.jobs.start(kind, _given(new.type, parameters), chosen, asked)
    )


def _given(type: str, parameters: BaseModel) -> dict[str, Any]:
    return {"type": type, **parameters.model_dump(mode="json", by_alias=True, exclude_unset=True)}
