"""A whole task on an emulated AWS: the template that users deploy, with the functions and machines that it describes,
under the roles that it makes (IAM is enforced).

The emulator carries out templates, functions, state machines, schedules and event notifications. What stands in for EC2
is `tests.aws.emulator.machines`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from dth.errors import StateError
from dth.hub.model import TaskType
from dth.hub.plugins import read_parameters as as_model
from dth.platforms.aws.parameters import read_parameters
from dth.platforms.aws.platform import AwsNames, AwsPlatform, open_platform
from dth.platforms.ports import Enqueued, Page, Run, RunKind, RunState, Status
from dth.s3.messages import Item, encode, pack
from dth.s3.multipart import Multipart
from dth.s3.processes import find
from dth.s3.task import open_route
from dth.s3.transport import Transport
from tests.aws.emulator.machines import Machines
from tests.aws.emulator.region import Region, Stack, wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from dth.s3.relay import Route

MIB = 1024 * 1024
MANY = 90


MIB = 1024 * 1024
MANY = 2_900
ODD = ["empty", 'quote".txt', "new\nline", "back\\slash", "sp ace + plus", "ключ/雪.txt", "dir/"]


@pytest.fixture
def buckets(fresh_region: Region) -> None:
    for name in ("source", "copies"):
        fresh_region.boto("s3").create_bucket(Bucket=name)


@pytest.fixture
def machines(fresh_region: Region, tmp_path: Path, buckets: None) -> Iterator[Machines]:
    log = tmp_path / "machines.log"
    log.touch()
    with Machines(fresh_region, log) as running:
        yield running
    print(log.read_text())
    for line in logs(fresh_region):
        print(line)


def deploy(region: Region, templates: dict[str, Path], **parameters: str) -> Stack:
    stores = {
        "srcBucket": "source",
        "destBucket": "copies",
        "srcEndpoint": region.url,
        "destEndpoint": region.url,
        "srcRegion": "us-east-1",
        "destRegion": "us-east-1",
        "srcInCurrentAccount": "true",
        "ec2CronExpression": "",
        "serverSideCopy": "false",  # which would be one request for an object, however large
    }
    return region.deploy("task", templates["s3"], **{**stores, **region.network(), **parameters})


@asynccontextmanager
async def opened(stack: Stack, name: str = "test") -> AsyncIterator[AwsPlatform]:
    """The task's ports, as one more process of it has them."""
    resources = stack.resources
    names = AwsNames(
        task=stack.name,
        region="us-east-1",
        queue_url=stack.outputs["QueueUrl"],
        dead_letter_url=stack.outputs["DeadLetterUrl"],
        objects=resources["ObjectsTable"],
        parts=resources["PartsTable"],
        images="",
        state=resources["StateTable"],
        endpoint=stack.region.url,
    )
    async with open_platform(names, name, io.StringIO()) as platform:
        yield platform


async def until(look: Callable[[], Awaitable[Any]], timeout: float = 90) -> Any:
    """What `look` returns, once that is true."""
    deadline = time.monotonic() + timeout
    while not (found := await look()):
        assert time.monotonic() < deadline, "it did not come to that in time"
        await asyncio.sleep(0.2)
    return found


async def over(platform: AwsPlatform, number: int = 1) -> Run:
    """The run, once it has ended."""

    async def ended() -> Run | None:
        found = [run for run in await platform.records.list_runs() if run.id == number]
        return found[0] if found and not found[0].is_open else None

    return cast("Run", await until(ended))


def logs(region: Region) -> Iterator[str]:
    """All that functions and machines said, each line with its stream."""
    client = region.boto("logs")
    for group in client.describe_log_groups()["logGroups"]:
        pages = client.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        for event in (event for page in pages for event in page["events"]):
            yield f"{event['logStreamName']}: {event['message']}"


def put(region: Region, key: str, body: bytes) -> None:
    region.boto("s3").put_object(Bucket="source", Key=key, Body=body)


def keys(region: Region, bucket: str = "copies") -> dict[str, int]:
    pages = region.boto("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", [])}


def reported(region: Region, metric: str) -> float:
    """The sum of a metric over all that was said in the embedded metric format."""
    told = [line.partition(": ")[2] for line in logs(region)]
    return sum(json.loads(line).get(metric, 0) for line in told if '"_aws"' in line)


async def test_objects_of_all_kinds_arrive(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    for number in range(MANY):
        put(fresh_region, f"small/{number:05d}", f"{number}".encode())
    for key in ODD:
        put(fresh_region, key, b"" if key in ("empty", "dir/") else key.encode())
    put(fresh_region, "parts", b"p" * (12 * MIB))
    put(fresh_region, "giant", b"g" * (17 * MIB))
    total = MANY + len(ODD) + 2

    stack = deploy(
        fresh_region, templates, multipartThreshold="8MiB", partSize="5MiB", giantObjectThreshold="16MiB"
    )
    async with opened(stack) as platform:
        run = await over(platform)

    assert (run.state, run.error) == (RunState.DONE, "")
    assert run.counts.listed == run.counts.done == total
    assert keys(fresh_region) == keys(fresh_region, "source")
    assert [item["Status"]["S"] for item in stack.items("ObjectsTable")] == ["DONE"] * total
    assert {kind for _, kind in machines.started} == {"worker", "finder"}
    wait_for(lambda: not machines.of("task-finder"), 60)
    wait_for(lambda: any("run listed" in line for line in logs(fresh_region)), 10)
    assert wait_for(lambda: reported(fresh_region, "ObjectsTransferred") == total, 30)

    stack.delete()

    wait_for(lambda: not machines.machines, 60)  # they drained
    assert not fresh_region.boto("sqs").list_queues().get("QueueUrls")
    assert not fresh_region.boto("dynamodb").list_tables()["TableNames"]
    assert not fresh_region.boto("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert not fresh_region.boto("lambda").list_functions()["Functions"]
    assert not fresh_region.boto("iam").list_roles()["Roles"]
    assert not list(logs(fresh_region))


async def test_an_event_arrives_in_seconds(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    put(fresh_region, "before", b"1")
    stack = deploy(fresh_region, templates, srcEvent="CreateAndDelete")
    async with opened(stack) as platform:
        await over(platform)

        put(fresh_region, "later/é", b"22")
        wait_for(lambda: keys(fresh_region).get("later/é") == 2, 20)
        fresh_region.boto("s3").delete_object(Bucket="source", Key="before")
        wait_for(lambda: "before" not in keys(fresh_region), 20)

    stack.delete()
    told = fresh_region.boto("s3").get_bucket_notification_configuration(Bucket="source")
    assert "QueueConfigurations" not in told


async def test_a_giant_whose_workers_are_gone_is_completed(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    machines.frozen = True
    stack = deploy(fresh_region, templates, partSize="5MiB", giantObjectThreshold="8MiB")
    put(fresh_region, "giant", b"g" * (11 * MIB))
    async with opened(stack) as platform, route_of(platform) as route:
        run = await until(platform.records.list_runs)
        etag = fresh_region.boto("s3").head_object(Bucket="source", Key="giant")["ETag"]
        item = Item("giant", 11 * MIB, etag.strip('"'))
        page = Page(enqueued=[Enqueued(item.key, item.size, item.etag, "message")])
        await platform.records.commit(run[0].id, page)
        await platform.records.set_run(run[0].id, RunState.TRANSFERRING)
        multipart = Multipart(route, platform.uploads, "gone")
        upload = await multipart.begin(run[0].id, item)
        for number in range(1, upload.parts + 1):
            await platform.uploads.part_done(
                upload.key, upload.upload_id, await multipart.copy_part(upload, number)
            )

        ended = await over(platform)

    assert (ended.state, ended.counts.done) == (RunState.DONE, 1)
    assert keys(fresh_region) == {"giant": 11 * MIB}


async def test_what_crashes_its_workers_is_a_dead_letter_that_is_told(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    machines.frozen = True
    stack = deploy(fresh_region, templates)
    async with opened(stack) as platform:
        run = (await until(platform.records.list_runs))[0]
        item = Item("poison", 3, "etag")
        message = encode(next(pack(run.id, [item])))
        page = Page(enqueued=[Enqueued(item.key, 3, item.etag, message.id)], messages=[message])
        await platform.records.commit(run.id, page)
        await platform.records.set_run(run.id, RunState.TRANSFERRING)
        sqs, queue = fresh_region.boto("sqs"), stack.outputs["QueueUrl"]
        for _ in range(5):  # workers take it, and die
            await until(
                as_async(lambda: sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0).get("Messages"))
            )
        machines.frozen = False

        ended = await over(platform)
        [record] = await platform.records.page(status=Status.FAILED)

    assert (ended.state, ended.counts.failed) == (RunState.DONE, 1)
    assert (record.key, record.reason) == ("poison", "WorkerCrashed")
    wait_for(lambda: reported(fresh_region, "DeadLetters") >= 1, 30)
    [alarm] = fresh_region.boto("cloudwatch").describe_alarms(AlarmNames=[stack.resources["Failures"]])[
        "MetricAlarms"
    ]
    assert alarm["AlarmActions"] == [stack.outputs["Topic"]]


async def test_work_that_was_lost_with_the_queue_is_compared_anew(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    machines.frozen = True
    for number in range(5):
        put(fresh_region, f"object-{number}", b"x")
    stack = deploy(fresh_region, templates)
    async with opened(stack) as platform, route_of(platform) as route:
        run = (await until(platform.records.list_runs))[0]
        await find(route, platform, Path("/nonexistent"), run.id)
        await platform.queue.purge()
        machines.frozen = False

        lost, anew = await over(platform), await over(platform, 2)

    assert (lost.state, lost.counts.cancelled) == (RunState.FAILED, 5)
    assert "its messages are gone" in lost.error
    assert (anew.state, anew.counts.done) == (RunState.DONE, 5)


async def test_a_paused_task_has_no_machines(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    stack = deploy(fresh_region, templates)
    async with opened(stack) as platform:
        await over(platform)
        wait_for(lambda: machines.of("task-worker"), 30)

        await platform.records.pause("enough for today")
        wait_for(lambda: not machines.machines, 60)
        [group] = fresh_region.boto("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=["task-worker"]
        )["AutoScalingGroups"]
        assert [each["ProcessName"] for each in group["SuspendedProcesses"]] == ["AlarmNotification"]
        put(fresh_region, "object", b"x")
        await platform.records.begin_run(RunKind.SYNC)
        assert "object" not in keys(fresh_region)

        await platform.records.resume()
        assert (await over(platform, 2)).counts.done == 1
    assert keys(fresh_region) == {"object": 1}


async def test_new_parameters_reach_those_who_work(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    stack = deploy(fresh_region, templates)
    async with opened(stack) as platform:
        await over(platform)
        put(fresh_region, "object", b"x")
        stack.update(destPrefix="below")

        stack.invoke("Start")
        assert (await over(platform, 2)).counts.done == 1
    assert keys(fresh_region) == {"below/object": 1}


async def test_a_store_with_keys_of_its_own_is_reached_by_its_secret(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    put(fresh_region, "object", b"x")
    everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    key, secret = fresh_region.user({"Version": "2012-10-17", "Statement": [everything]})
    stack = deploy(fresh_region, templates, srcCredentials="keys")
    async with opened(stack) as platform:
        failed = await over(platform)
        assert failed.state is RunState.FAILED
        assert failed.error.startswith(
            "secret 'keys' cannot be read: secretsmanager:GetSecretValue was refused"
        )

        value = json.dumps({"access_key_id": key, "secret_access_key": secret})
        fresh_region.boto("secretsmanager").create_secret(Name="keys", SecretString=value)
        stack.invoke("Start")
        assert (await over(platform, 2)).counts.done == 1
    assert keys(fresh_region) == {"object": 1}


async def test_a_store_that_does_not_answer_fails_the_run(
    fresh_region: Region, machines: Machines, templates: dict[str, Path]
) -> None:
    stack = deploy(fresh_region, templates, destEndpoint="http://127.0.0.1:9")
    async with opened(stack) as platform:
        run = await over(platform)
    assert run.state is RunState.FAILED
    assert "127.0.0.1:9" in run.error


def test_a_wrong_parameter_is_told_in_one_line(
    fresh_region: Region, buckets: None, templates: dict[str, Path]
) -> None:
    with pytest.raises(AssertionError, match="TaskSetup: minSize: 'many' is not a size"):
        deploy(fresh_region, templates, minSize="many")


def as_async(call: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    async def look() -> Any:
        return await asyncio.to_thread(call)

    return look


@asynccontextmanager
async def route_of(platform: AwsPlatform) -> AsyncIterator[Route]:
    async def read() -> Any:
        with contextlib.suppress(StateError):
            return await read_parameters(platform.dynamo)
        return None

    kind, values = await until(read)
    transport = Transport()
    try:
        parameters = as_model(TaskType(kind), values)
        yield await open_route(parameters, transport, platform.secrets)
    finally:
        transport.close()
