"""Logs and jobs of a hub on AWS."""

from __future__ import annotations

import itertools
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import NotFound, UsageError
from dth.hub.ports import LogLevel
from dth.platforms.aws.client import Aws
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.hub import jobs as jobs_module
from dth.platforms.aws.hub.jobs import AwsJobs
from dth.platforms.aws.hub.logs import AwsLogs
from dth.platforms.aws.hub.tables import HUB_TABLES
from dth.platforms.aws.tables import create_table
from tests.aws.cloud import Calls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.ministack import MiniStack

_numbers = itertools.count()


@pytest.fixture
def region(cloud: MiniStack) -> Iterator[Aws]:
    aws = Aws(cloud.region, cloud.url)
    yield aws
    aws.close()


@pytest.fixture
def prefix() -> str:
    return f"/dth/logs-{os.getpid()}-{next(_numbers)}"


def say(cloud: MiniStack, group: str, stream: str, *lines: str) -> None:
    """Lines, a second apart and until now."""
    client = cloud.boto("logs")
    client.create_log_stream(logGroupName=group, logStreamName=stream)
    first = int(time.time() * 1000) - 1000 * len(lines)
    events = [
        {"timestamp": first + 1000 * number, "message": line} for number, line in enumerate(lines)
    ]
    client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


async def test_the_newest_page_and_both_ways_from_it(
    cloud: MiniStack, region: Aws, prefix: str
) -> None:
    cloud.boto("logs").create_log_group(logGroupName=f"{prefix}/one")
    say(cloud, f"{prefix}/one", "worker/i-1", *(f"line {number}" for number in range(10)))
    say(cloud, f"{prefix}/one", "finder/i-2", "a\x1b[2Jb\n")
    logs = AwsLogs(region, prefix)

    assert {stream.name for stream in await logs.streams("one")} == {"worker/i-1", "finder/i-2"}
    assert [stream.name for stream in await logs.streams("one", "fin")] == ["finder/i-2"]
    page = await logs.events("one", "worker/i-1", 3)
    assert [event.message for event in page.events] == ["line 7", "line 8", "line 9"]
    before = await logs.events("one", "worker/i-1", 3, page.backward)
    assert [event.message for event in before.events] == ["line 4", "line 5", "line 6"]
    after = await logs.events("one", "worker/i-1", 3, page.forward)
    assert after.events == []
    assert (await logs.events("one", "worker/i-1", 3, after.forward)).forward == after.forward
    assert (await logs.events("one", "finder/i-2")).events[0].message == "a\\x1b[2Jb"


async def test_what_is_searched_for_is_found_whatever_its_case(
    cloud: MiniStack, region: Aws, prefix: str
) -> None:
    cloud.boto("logs").create_log_group(logGroupName=f"{prefix}/one")
    say(cloud, f"{prefix}/one", "w", "ALL well", "Access DENIED", "well", "access denied again")
    logs = AwsLogs(region, prefix)
    found, token = [], ""
    while token != "s/end":
        page = await logs.events("one", "w", 100, token, search="access denied")
        found += [event.message for event in page.events]
        token = page.forward
    assert found == ["Access DENIED", "access denied again"]
    assert (await logs.events("one", "w", 2, token, search="access denied")).forward == token


async def test_all_streams_are_read_from_an_hour_before_the_newest_event(
    cloud: MiniStack, region: Aws, prefix: str
) -> None:
    group = f"{prefix}/one"
    cloud.boto("logs").create_log_group(logGroupName=group)
    say(cloud, group, "worker/i-1", '{"level": "error", "message": "no"}', "[INFO] listed", "text")
    say(cloud, group, "finder/i-2", '{"level": "info", "message": "yes"}')
    client = cloud.boto("logs")
    old = {"timestamp": int((time.time() - 7200) * 1000), "message": "long ago"}
    client.create_log_stream(logGroupName=group, logStreamName="old")
    client.put_log_events(logGroupName=group, logStreamName="old", logEvents=[old])
    logs = AwsLogs(region, prefix)

    async def read(**wanted: Any) -> list[tuple[str, str]]:
        page = await logs.events("one", None, **wanted)
        assert page.backward == ""
        return [(event.stream[:6], event.message[-6:]) for event in page.events]

    assert sorted(await read()) == [
        ("finder", '"yes"}'), ("worker", ' "no"}'), ("worker", "listed"), ("worker", "text"),
    ]  # fmt: skip
    assert ("old", "ng ago") in await read(start=time.time() - 10_000)
    assert [stream for stream, _ in await read(level=LogLevel.ERROR)] == ["worker", "worker"]
    assert [stream for stream, _ in await read(prefix="finder")] == ["finder"]


async def test_what_is_not_there(cloud: MiniStack, region: Aws, prefix: str) -> None:
    logs = AwsLogs(region, prefix)
    assert await logs.streams("none") == []
    cloud.boto("logs").create_log_group(logGroupName=f"{prefix}/one")
    for task in ("none", "one"):
        with pytest.raises(NotFound, match="There is no log stream 'w'"):
            await logs.events(task, "w")
    with pytest.raises(UsageError, match="limit"):
        await logs.events("one", "w", 0)


async def test_a_job_from_its_start_to_its_end(
    cloud: MiniStack, region: Aws, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = prefix.rpartition("/")[2]
    cloud.boto("dynamodb").create_table(**create_table(name, HUB_TABLES["hub"]))
    invoked: list[dict[str, str]] = []
    calls = Calls()
    calls.watch(region)

    def invoke(operation: str, arguments: dict[str, str]) -> dict[str, str] | None:
        """A stand-in for the function: what it does is tested with its stack."""
        if operation != "invoke":
            return None
        invoked.append(arguments)
        return {}

    calls.on(invoke)
    jobs = AwsJobs(region, Dynamo(region, {"hub": name}), "the-function", "the-certifier")

    started = await jobs.start("probe", {"srcBucket": "photos"}, "source")
    assert (await jobs.get(started.id)).state == "RUNNING"
    [call] = invoked
    assert (call["FunctionName"], call["InvocationType"]) == ("the-function", "Event")
    assert json.loads(call["Payload"]) == {
        "job": started.id, "kind": "probe", "parameters": {"srcBucket": "photos"}, "side": "source",
        "asked": {},
    }  # fmt: skip

    async def never() -> dict[str, object]:
        raise AssertionError("the function that answers has no time for it")

    certificate = await jobs.certify("one", 3, never)
    assert (await jobs.get(certificate.id)).state == "RUNNING"
    assert (invoked[1]["FunctionName"], invoked[1]["InvocationType"]) == ("the-certifier", "Event")
    assert json.loads(invoked[1]["Payload"]) == {"job": certificate.id, "task": "one", "run": 3}
    await jobs.end(started.id, {"objects": ["a"]})
    ended = await jobs.get(started.id)
    assert (ended.state, ended.result, ended.ended >= ended.started) == (
        "DONE",
        {"objects": ["a"]},
        True,
    )

    failed = await jobs.start("preflight", {})
    await jobs.end(failed.id, None, "no such bucket")
    assert (await jobs.get(failed.id)).error == "no such bucket"
    late = await jobs.start("forecast", {})
    monkeypatch.setattr(jobs_module, "LONGEST", -jobs_module.LATE)
    assert (await jobs.get(late.id)).state == "FAILED"
    with pytest.raises(NotFound, match="no job"):
        await jobs.get("nothing")
