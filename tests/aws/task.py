"""A task for objects in the emulated region, looked at as one more process of it does."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from dth.core.errors import StateError
from dth.core.transport import Transport
from dth.hub.parameters import read_parameters as as_model
from dth.objects.task import open_route
from dth.platforms.aws.parameters import read_parameters
from dth.platforms.aws.platform import AwsNames, AwsPlatform, open_platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from dth.core.ports.runs import Run
    from dth.objects.transfer.relay import ObjectRoute
    from tests.aws.emulator.region import Region

MIB = 1024 * 1024
ODD = ["empty", 'quote".txt', "new\nline", "back\\slash", "sp ace + plus", "ключ/雪.txt", "dir/"]
SIZES = {"multipartThreshold": "8MiB", "partSize": "5MiB", "giantObjectThreshold": "16MiB"}


@asynccontextmanager
async def opened(
    region: Region, task: str, outputs: Mapping[str, str], *tables: str
) -> AsyncIterator[AwsPlatform]:
    """The task's ports. `outputs`: of its stack. `tables`: of objects, of parts, of its state."""
    objects, parts, state = tables
    names = AwsNames(
        task=task,
        region="us-east-1",
        queue_url=outputs["QueueUrl"],
        dead_letter_url=outputs["DeadLetterUrl"],
        objects=objects,
        parts=parts,
        images="",
        state=state,
        endpoint=region.url,
    )
    async with open_platform(names, "test", io.StringIO()) as platform:
        yield platform


@asynccontextmanager
async def route_of(platform: AwsPlatform) -> AsyncIterator[ObjectRoute]:
    async def read() -> Any:
        with contextlib.suppress(StateError):
            return await read_parameters(platform.dynamo)
        return None

    kind, values = await until(read)
    transport = Transport()
    try:
        parameters = as_model(kind, values)
        yield await open_route(parameters, transport, platform.secrets)
    finally:
        transport.close()


async def until(look: Callable[[], Awaitable[Any]], timeout: float = 90) -> Any:
    """What `look` returns, once that is true."""
    deadline = time.monotonic() + timeout
    while not (found := await look()):
        assert time.monotonic() < deadline, "it did not come to that in time"
        await asyncio.sleep(0.2)
    return found


async def over(platform: AwsPlatform, number: int = 1, timeout: float = 90) -> Run:
    """The run, once it has ended."""

    async def ended() -> Run | None:
        found = [run for run in await platform.records.list_runs() if run.id == number]
        return found[0] if found and not found[0].is_open else None

    return cast("Run", await until(ended, timeout))


def logs(region: Region) -> Iterator[str]:
    """All that functions and machines said, each line with its stream."""
    client = region.boto("logs")
    for group in client.describe_log_groups()["logGroups"]:
        pages = client.get_paginator("filter_log_events").paginate(
            logGroupName=group["logGroupName"]
        )
        for event in (event for page in pages for event in page["events"]):
            yield f"{event['logStreamName']}: {event['message']}"


def put(region: Region, key: str, body: bytes) -> None:
    region.boto("s3").put_object(Bucket="source", Key=key, Body=body)


def keys(region: Region, bucket: str = "copies") -> dict[str, int]:
    pages = region.boto("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", [])}


def stores(region: Region) -> dict[str, str]:
    """Two buckets of the region, as a task's parameters name them."""
    return {
        "srcBucket": "source",
        "destBucket": "copies",
        "srcEndpoint": region.url,
        "destEndpoint": region.url,
        "srcRegion": "us-east-1",
        "destRegion": "us-east-1",
        "ec2CronExpression": "",
    }


def make_stores(region: Region) -> dict[str, str]:
    """The same, and the buckets."""
    for name in ("source", "copies"):
        region.boto("s3").create_bucket(Bucket=name)
    return stores(region)


def put_all_kinds(region: Region, small: int) -> int:
    """Objects of all kinds at the source: so many small ones, odd keys, one of several parts and,
    with `SIZES`, a giant. Returns how many."""
    for number in range(small):
        put(region, f"small/{number:05d}", f"{number}".encode())
    for key in ODD:
        put(region, key, b"" if key in ("empty", "dir/") else key.encode())
    put(region, "parts", b"p" * (12 * MIB))
    put(region, "giant", b"g" * (17 * MIB))
    return small + len(ODD) + 2
