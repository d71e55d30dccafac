"""Preflights, forecasts and connection tests: work that takes longer than a request."""

import json
from typing import Any, Self

from pydantic import BaseModel

from dth.core.parameters import check_confined
from dth.core.plugins import plugin
from dth.hub import tasks
from dth.hub.api.answers import answers
from dth.hub.api.door import Call, mutation, query
from dth.hub.api.tasks import NewTask
from dth.hub.api.text import iso
from dth.hub.model import Role
from dth.hub.parameters import read_parameters
from dth.hub.ports import Job


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
    parameters, chosen = read_parameters(new.type, new.parameters), side.lower()
    check_confined(parameters)
    plugin(new.type).check_side(parameters, chosen)
    await call.ports.secrets.use(plugin(new.type).secret_uses(parameters, [chosen]))
    return JobAnswer.of(await call.ports.jobs.start("probe", _given(new.type, parameters), chosen))


@query()
async def get_job(call: Call, *, id: str) -> JobAnswer:
    return JobAnswer.of(await call.ports.jobs.get(id))


async def _begin(call: Call, kind: str, input: dict[str, Any]) -> JobAnswer:
    new = NewTask.of(input)
    parameters = read_parameters(new.type, new.parameters)
    tasks.check(call.ports, new.type, parameters)
    await call.ports.secrets.use(plugin(new.type).secret_uses(parameters))
    return JobAnswer.of(await call.ports.jobs.start(kind, _given(new.type, parameters)))


def _given(type: str, parameters: BaseModel) -> dict[str, Any]:
    return {"type": type, **parameters.model_dump(mode="json", by_alias=True, exclude_unset=True)}
