"""Preflights, forecasts and tests of connections: work that takes longer than a request."""

import json
from typing import Any

from pydantic import BaseModel

from dth.hub.api.door import Answer, Call, mutation, query
from dth.hub.api.tasks import new_task
from dth.hub.api.text import iso
from dth.hub.model import Role, TaskType
from dth.hub.plugins import plugin, read_parameters
from dth.hub.ports import Job
from dth.parameters import check_confined


@mutation(Role.OPERATOR)
async def preflight(call: Call, *, input: dict[str, Any]) -> Answer:
    return await _begin_job(call, "preflight", input)


@mutation(Role.OPERATOR)
async def forecast(call: Call, *, input: dict[str, Any]) -> Answer:
    return await _begin_job(call, "forecast", input)


@mutation(Role.OPERATOR)
async def test_connection(call: Call, *, input: dict[str, Any], side: str) -> Answer:
    new = new_task(input)
    parameters, chosen = read_parameters(new["type"], new["parameters"]), side.lower()
    check_confined(parameters)
    plugin(new["type"]).check_side(parameters, chosen)
    return _job(await call.ports.jobs.start("probe", _given(new["type"], parameters), chosen))


@query()
async def get_job(call: Call, *, id: str) -> Answer:
    return _job(await call.ports.jobs.get(id))


async def _begin_job(call: Call, kind: str, input: dict[str, Any]) -> Answer:
    new = new_task(input)
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
