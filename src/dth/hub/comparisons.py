"""Comparisons of two sides: what they compare, and how what differs is copied."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dth.core import clock
from dth.core.errors import Conflict, NotFound, UsageError
from dth.core.plugins import plugin
from dth.core.ports.findings import COPYABLE, Finding, State
from dth.hub import stores, tasks
from dth.hub.model import ScheduleType, Task
from dth.hub.ports import ComparisonJob, Comparisons, HubPorts

BATCH = 1000  # findings sent in one transaction


def of(ports: HubPorts) -> Comparisons:
    """The comparisons of the hub. Raises UsageError for a hub that has none."""
    if ports.comparisons is None:
        raise UsageError(
            "a hub on AWS does not compare; run dth s3 compare on a machine that reaches both sides"
        )
    return ports.comparisons


async def start(
    ports: HubPorts,
    type: str,
    given: Mapping[str, str],
    *,
    task: str = "",
    policy: str = "",
    sample: float | None = None,
    created_by: str = "",
) -> ComparisonJob:
    """Compare the two sides that these parameters name. `task`: the task that has them."""
    chosen, comparisons = plugin(type), of(ports)
    parameters = await stores.complete(ports, type, given)
    asked = chosen.comparison(parameters, policy, sample)
    tasks.check(ports, type, parameters)
    await ports.secrets.use(chosen.secret_uses(parameters))
    ends = chosen.ends(parameters)
    comparison = ComparisonJob(
        id=str(uuid.uuid4()),
        type=type,
        source=ends.source,
        destination=ends.destination,
        parameters=dict(given),
        asked=asked,
        task=task,
        created_by=created_by,
        started=clock.now(),
    )
    values = parameters.model_dump(mode="json", by_alias=True, exclude_unset=True)
    await comparisons.start(comparison, {"type": type, **values})
    return comparison


@dataclass(frozen=True, slots=True)
class FindingFilter:
    """Which findings of a comparison are meant: those in these states (empty: all that can be
    copied), with this prefix, and with these keys (empty: with any key)."""

    states: tuple[State, ...] = ()
    prefix: str = ""
    keys: tuple[str, ...] = ()


async def copy(
    ports: HubPorts, comparison: ComparisonJob, choice: FindingFilter, *, created_by: str = ""
) -> Task:
    """Copy what was found, in a run of the comparison's task. If it has none, make one that runs
    once."""
    if comparison.state == "RUNNING":
        raise Conflict("the comparison is still running; wait until it has ended, or cancel it")
    states = choice.states or COPYABLE
    if wrong := [state for state in states if state not in COPYABLE]:
        raise UsageError(f"states: {wrong[0]} cannot be copied; of {', '.join(COPYABLE)} it can")
    filters: dict[str, Any] = {"states": states, "prefix": choice.prefix, "keys": choice.keys}
    if not await of(ports).page(comparison.id, **filters, limit=1):
        raise UsageError("there is nothing to copy: the comparison found no such object")
    task = await _task(ports, comparison, created_by)
    return await tasks.copy(ports, task.id, _found(of(ports), comparison.id, filters))


async def _task(ports: HubPorts, comparison: ComparisonJob, created_by: str) -> Task:
    if comparison.task:
        try:
            return await ports.tasks.get(comparison.task)
        except NotFound:
            pass  # It was deleted.
    return await tasks.create(
        ports,
        type=comparison.type,
        schedule_type=ScheduleType.ONE_TIME,
        parameters=comparison.parameters,
        description=f"Copies what comparison {comparison.id[:8]} found",
        created_by=created_by,
        stopped=True,
    )


async def _found(
    comparisons: Comparisons, id: str, filters: Mapping[str, Any]
) -> AsyncIterator[Sequence[Finding]]:
    after = ""
    while batch := await comparisons.page(id, **filters, after=after, limit=BATCH):
        yield batch
        after = batch[-1].key
