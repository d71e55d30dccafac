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
from dth.core.ports.runs import RunKind, RunState
from tests.aws.emulator.machines import Metadata

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from dth.platforms.aws.platform import AwsNames, AwsPlatform

FAILS = "import sys; print('first'); sys.exit('the last word')"
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
    for name, seconds in (("LOOK", 0.1), ("READ", 0.1), ("LONGEST_PAUSE", 0.01)):
        monkeypatch.setattr(agent, name, seconds)
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
        assert await until(aws.records.paused) == "a worker keeps failing: the last word"


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
