"""The functions of an ECR task, called by its state machine.

`plan` begins a run: it lists, plans, and enqueues the copies. `tick` brings the task to its desired
state and returns the current state and the next step: start containers, wait, end, or end with a
notification. The state machine's own state keeps what one look passes to the next. `resource` does
what CloudFormation cannot.
"""

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from dth.compose.aws import CONTAINERS
from dth.compose.aws.functions.custom import answer
from dth.compose.aws.functions.report import report
from dth.core.errors import HubError, StateError
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Run, RunKind, RunState
from dth.core.ports.status import Status
from dth.core.transport import Transport
from dth.hub.parameters import read_parameters as as_model
from dth.images.controller import settle_dead
from dth.images.finder import ImageFinder
from dth.images.parameters import EcrParameters
from dth.images.plugin import PLUGIN
from dth.images.registry.pace import paces_of
from dth.images.task import open_route
from dth.platforms.aws.client import Aws
from dth.platforms.aws.confined import confine_by_environment
from dth.platforms.aws.parameters import read_parameters, write_parameters
from dth.platforms.aws.platform import AwsNames, AwsPlatform, open_platform

# Consecutive looks without progress after which the remaining images are given up.
PATIENCE = 10
# Seconds that planning waits for a registry; the function has 15 minutes in total.
REGISTRY_PATIENCE = 600.0
TOLD = 5  # failed images named in a message
ENDING = 200.0  # seconds for containers to end
ENDING_LOOK = 3.0  # seconds between those checks
GIVEN_UP = "its containers ended before it was copied; the log group says why"

log = logging.getLogger(__name__)
logging.getLogger("dth").setLevel(logging.INFO)


class NextStep(StrEnum):
    """The next step of the state machine."""

    COPY = "COPY"
    WAIT = "WAIT"
    DONE = "DONE"
    TELL = "TELL"


def plan(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Plan a run.

    {"resume": true} resumes a paused task; only a person sends it, never the schedule. With
    {"plan": false} nothing is listed: the enqueued images are copied, such as failed images that
    are retried.
    """
    return asyncio.run(
        _plan(bool(event.get("resume")), event.get("plan") is not False, context.aws_request_id)
    )


def tick(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Look at the task. `event`: the result of the previous look, if there was one."""
    return asyncio.run(_tick(event, context.aws_request_id))


def resource(event: dict[str, Any], context: Any) -> None:
    """A custom resource. Creating it begins the first run, deleting it ends everything that runs.

    Properties: `Parameters` of a task without a hub (a hub writes them itself), `StateMachine`,
    `Cluster`, and `Family` of its containers.
    """
    answer(event, context, lambda: asyncio.run(_resource(event, context.aws_request_id)))


async def _plan(resume: bool, lists: bool, request: str) -> dict[str, Any]:
    confine_by_environment()
    async with open_platform(AwsNames.from_environment(), f"lambda-{request}") as platform:
        records = platform.records
        if resume:
            await records.resume()
        if await records.paused() or not lists:
            return await _look(platform, _Before(fresh=True))
        parameters = await _parameters(platform)
        run, resumed = await records.begin_run(RunKind.SYNC, beside=True)
        log.info(
            "run %s", "resumed: it is being planned" if resumed else "begun", extra={"run": run.id}
        )
        try:
            await _find(platform, parameters, run)
        except StateError:
            # The platform failed: the state machine retries.
            raise
        except HubError as error:
            await records.set_run(run.id, RunState.FAILED, str(error))
            log.error("the run failed: %s", error)
        return await _look(platform, _Before(run.id, fresh=True))


async def _find(platform: AwsPlatform, parameters: EcrParameters, run: Run) -> None:
    with Transport() as transport:
        paces = paces_of(transport)
        paces.patience = REGISTRY_PATIENCE
        paces.tell = partial(platform.records.add_note, run.id)
        route = await open_route(parameters, transport, platform.secrets)
        await ImageFinder(route, platform).run(run)


async def _tick(event: Mapping[str, Any], request: str) -> dict[str, Any]:
    confine_by_environment()
    async with open_platform(AwsNames.from_environment(), f"lambda-{request}") as platform:
        told = event.get("run")
        before = (
            _Before(told["id"], event["idle"], event["settled"], counts=told) if told else _Before()
        )
        return await _look(platform, before)


@dataclass(frozen=True, slots=True)
class _Before:
    """The task's state at the previous look.

    The run, the number of looks without progress, the number of settled images, and the run's
    counts. `fresh`: the images were just enqueued, and the queue's counts may not include them yet.
    """

    run: int = 0
    idle: int = 0
    settled: int = -1
    fresh: bool = False
    counts: Mapping[str, Any] = field(default_factory=dict)


async def _look(platform: AwsPlatform, before: _Before) -> dict[str, Any]:
    records = platform.records
    await settle_dead(platform)
    await _close_runs(platform)
    parameters = await _parameters(platform)
    runs = await records.list_runs()
    paused = await records.paused()
    waiting, settled = sum(map(_waiting, runs)), sum(map(_settled, runs))
    depth = await platform.queue.depth()
    idle = before.idle + 1 if settled == before.settled else 0
    if waiting and not paused and idle >= PATIENCE:
        await platform.images.cancel_pending(GIVEN_UP)
        await records.cancel_pending(GIVEN_UP)
        log.error("given up", extra={"images": waiting, "why": GIVEN_UP})
        runs, waiting = await records.list_runs(), 0
    run = next((each for each in runs if each.id == before.run), runs[0] if runs else None)
    if run and before.run == run.id:
        _report(run, before.counts, depth)
    tasks: list[int] = []
    if paused:
        # It stopped in the middle: a person must know why. What begins while it is paused is not
        # reported.
        follows = NextStep.DONE if before.fresh or not run else NextStep.TELL
    elif waiting and (before.fresh or depth.visible):
        follows = NextStep.COPY
        tasks = list(range(1, min(CONTAINERS, waiting, parameters.max_concurrency) + 1))
    elif waiting:
        follows = NextStep.WAIT  # A container has, or had, the images.
    else:
        follows = NextStep.TELL if run and (run.counts.failed or run.error) else NextStep.DONE
    return {
        "next": follows,
        "tasks": tasks,
        "text": await _told(platform, run, paused) if follows is NextStep.TELL and run else "",
        "idle": idle,
        "settled": settled,
        "paused": paused,
        "waiting": depth.visible + depth.delayed,
        "inFlight": depth.in_flight,
        "run": _as_dict(run) if run else None,
    }


def _report(run: Run, before: Mapping[str, Any], depth: Depth) -> None:
    counts = run.counts
    report(
        {
            "ObjectsTransferred": counts.done - before.get("done", 0),
            "ObjectsFailed": counts.failed - before.get("failed", 0),
            "BytesTransferred": counts.done_bytes - before.get("done_bytes", 0),
            "MessagesWaiting": depth.visible + depth.delayed,
            "MessagesInFlight": depth.in_flight,
        }
    )


async def _close_runs(platform: AwsPlatform) -> None:
    for run in await platform.records.list_runs():
        if run.is_settled:
            await platform.records.set_run(run.id, RunState.DONE)
            log.info("run over", extra={"run": run.id})


def _waiting(run: Run) -> int:
    counts = run.counts
    return counts.enqueued - counts.done - counts.failed - counts.cancelled


def _settled(run: Run) -> int:
    return run.counts.done + run.counts.failed + run.counts.cancelled


def _as_dict(run: Run) -> dict[str, Any]:
    return {"id": run.id, "state": run.state, "error": run.error, **asdict(run.counts)}


async def _told(platform: AwsPlatform, run: Run, paused: str) -> str:
    """Return the message to a person about a run that did not go well."""
    lines = [f"Data Transfer Hub, task {os.environ['DTH_TASK']}, run {run.id}:"]
    if paused:
        lines.append(f"the task is paused: {paused}")
    if run.error:
        lines.append(run.error)
    if run.counts.failed:
        lines.append(f"{run.counts.failed} of {run.counts.enqueued} images failed")
        failed = await platform.images.page(run.id, status=Status.FAILED, limit=TOLD)
        lines += [f"{image.key}: {image.detail or image.reason}" for image in failed]
    return "\n".join(lines)


async def _parameters(platform: AwsPlatform) -> EcrParameters:
    kind, values = await read_parameters(platform.dynamo)
    model: EcrParameters = as_model(kind, values)
    return model


# ---------------------------------------------------------------------------------- custom resource


async def _resource(event: dict[str, Any], request: str) -> None:
    kind, given = event["RequestType"], event["ResourceProperties"]
    confine_by_environment()
    async with open_platform(AwsNames.from_environment(), f"lambda-{request}") as platform:
        if kind == "Delete":
            await _end(platform.aws, given)
            return
        if "Parameters" in given:
            as_model(PLUGIN.type, given["Parameters"])  # invalid ones end here, in one line
            await write_parameters(platform.dynamo, PLUGIN.type, given["Parameters"])
        if kind == "Create":
            # The name makes the call idempotent.
            name = f"first-{event['RequestId']}"
            await platform.aws.call(
                "stepfunctions",
                "start_execution",
                stateMachineArn=given["StateMachine"],
                name=name,
                input="{}",
            )


async def _end(aws: Aws, given: Mapping[str, str]) -> None:
    """Stop everything and wait until it has stopped: a cluster with containers cannot be
    deleted."""
    running = await aws.call(
        "stepfunctions",
        "list_executions",
        stateMachineArn=given["StateMachine"],
        statusFilter="RUNNING",
    )
    for each in running["executions"]:
        await aws.call(
            "stepfunctions", "stop_execution", executionArn=each["executionArn"], cause="deleted"
        )
    cluster = given["Cluster"]
    found = await aws.call("ecs", "list_tasks", cluster=cluster, family=given["Family"])
    for task in found["taskArns"]:
        await aws.call("ecs", "stop_task", cluster=cluster, task=task, reason="the task is deleted")
    ending = found["taskArns"]
    deadline = time.monotonic() + ENDING
    while ending and time.monotonic() < deadline:
        told = await aws.call("ecs", "describe_tasks", cluster=cluster, tasks=ending)
        ending = [each["taskArn"] for each in told["tasks"] if each["lastStatus"] != "STOPPED"]
        await asyncio.sleep(ENDING_LOOK if ending else 0)
