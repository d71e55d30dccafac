"""A machine's agent, over the task's ports on the emulator. The processes that it keeps are small
programs here; with the real ones it is tested in test_s3_stack.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from dth.compose.aws import agent
from dth.compose.aws.agent import Machine
from dth.compose.aws.metadata import InstanceMetadata
from dth.core.ports.gauges import Gauge
from dth.core.ports.queue import Outgoing
from dth.core.ports.runs import RunKind, RunState
from dth.core.retry_policy import RetryPolicy
from tests.aws.emulator.machines import Metadata

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from dth.platforms.aws.platform import AwsNames, AwsPlatform
    from tests.aws.cloud import Calls

FAILS = "import sys; print('first'); sys.exit('the last word')"
WAITS = "import time; time.sleep(60)"
DRAINS = """
import pathlib, signal, sys, time
here = pathlib.Path({here!r}) / sys.argv[-1]
signal.signal(signal.SIGTERM, lambda *_: (here.with_suffix(".drained").touch(), sys.exit(0)))
here.touch()
time.sleep(60)
"""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    """The metadata service of this machine."""
    metadata = Metadata("i-1", {})
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url)
    quick = {"LOOK": 0.1, "READ": 0.1, "RESTARTS": RetryPolicy(0.01, 0.01)}
    for name, value in quick.items():
        monkeypatch.setattr(agent, name, value)
    yield metadata
    metadata.close()


@contextlib.asynccontextmanager
async def running(
    kind: str, names: AwsNames, platform: AwsPlatform
) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(Machine(kind, "i-1", names, platform).run(InstanceMetadata()))
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(look: Any) -> Any:
    deadline = time.monotonic() + 20
    while not (found := await look()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    return found


async def test_workers_that_keep_failing_pause_the_task(
    names: AwsNames, aws: AwsPlatform, service: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "COMMAND", (sys.executable, "-c", FAILS))
    async with running("worker", names, aws):
        assert await until(aws.records.paused) == (
            "a worker keeps failing: the last word; see its log, correct the cause, then resume "
            "the task"
        )


async def test_a_finder_that_keeps_failing_fails_its_run(
    names: AwsNames, aws: AwsPlatform, service: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "COMMAND", (sys.executable, "-c", FAILS))
    run, _ = await aws.records.begin_run(RunKind.SYNC)

    async def failed() -> str:
        found = await aws.records.get_run(run.id)
        return found.error if found.state is RunState.FAILED else ""

    async with running("finder", names, aws):
        assert await until(failed) == "the finder keeps failing: the last word"


async def test_a_machine_shows_that_it_works(
    names: AwsNames, aws: AwsPlatform, service: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "COMMAND", (sys.executable, "-c", WAITS))

    async def seen() -> dict[str, Any]:
        return await aws.dynamo.get("state", {"pk": "machine", "sk": "i-1"})

    async with running("finder", names, aws):
        first = await until(seen)
        assert first["kind"] == "finder"

        async def later() -> bool:
            return bool((await seen())["at"] > first["at"])

        await until(later)
        assert (await seen())["since"] == first["since"]


@pytest.mark.parametrize("busy", ["nothing", "a request", "a message"])
async def test_a_machine_leaves_its_group_when_it_has_nothing_to_do(
    names: AwsNames,
    aws: AwsPlatform,
    calls: Calls,
    service: Metadata,
    monkeypatch: pytest.MonkeyPatch,
    busy: str,
) -> None:
    monkeypatch.setattr(agent, "COMMAND", (sys.executable, "-c", WAITS))
    monkeypatch.setattr(agent, "IDLE", 0.3)
    left: list[dict[str, Any]] = []
    looks = 0

    def leave(operation: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        nonlocal looks
        looks += operation == "get_queue_attributes"
        if operation != "terminate_instance_in_auto_scaling_group":
            return None
        left.append(arguments)
        return {}

    calls.on(leave)
    gauge = Gauge("i-1-1", "worker", time.time(), in_flight=int(busy == "a request"))
    await aws.gauges.report(gauge)
    if busy == "a message":
        await aws.queue.send([Outgoing("m", "{}")])

    async def decided() -> bool:
        return bool(left) or looks > 12

    async with running("worker", names, aws):
        await until(decided)
    wanted = {"InstanceId": "i-1", "ShouldDecrementDesiredCapacity": True}
    assert left[:1] == ([wanted] if busy == "nothing" else [])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("autoscaling/target-lifecycle-state", "Terminated"),
        ("spot/instance-action", '{"action": "terminate", "time": "2026-11-25T12:00:00Z"}'),
    ],
)
async def test_a_machine_that_is_to_go_drains_its_processes(
    names: AwsNames,
    aws: AwsPlatform,
    service: Metadata,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    path: str,
    value: str,
) -> None:
    monkeypatch.setattr(agent, "COMMAND", (sys.executable, "-c", DRAINS.format(here=str(tmp_path))))
    count = os.cpu_count() or 1
    expected = {f"i-1-{number}" for number in range(1, count + 1)}

    async def started() -> bool:
        return {each.name for each in tmp_path.iterdir()} == expected

    async with running("worker", names, aws) as machine:
        await until(started)
        service.paths[path] = value
        async with asyncio.timeout(20):
            await machine
    assert {each.stem for each in tmp_path.glob("*.drained")} == expected


def test_only_the_second_version_of_the_metadata_service_is_spoken(service: Metadata) -> None:
    metadata = InstanceMetadata()
    assert metadata.instance == "i-1"
    assert metadata.leaving() == ""
    service.close()
    assert metadata.leaving() == ""  # it cannot be asked for a while
