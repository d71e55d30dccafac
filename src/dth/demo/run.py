"""The steps of the demo: fill a store, let a hub copy it to another one, read every object back
from both.

The transfer is begun by the command itself, in a process of its own, exactly as it is shown.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from dth.core.errors import HubError, TransferError
from dth.core.transport import Transport
from dth.demo.hub import DemoHub
from dth.demo.objects import CHUNK, GIANT, MIB, Sample
from dth.demo.stores import end_with_parent
from dth.objects.listing.pages import PrefixListing
from dth.objects.store.client import S3Client
from dth.objects.store.endpoints import resolve_endpoint
from dth.objects.store.signing import AccessKeys

AT_ONCE = 64  # requests to one store
STOP_LIMIT = 40.0  # seconds that an interrupted command may take to end
BUCKETS = ("source", "destination")
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

T = TypeVar("T")
Tick = Callable[[int], None]  # called with the bytes that were just dealt with


class DemoKeys:
    """The stores take any credentials; these are signed with all the same."""

    async def keys(self) -> AccessKeys:
        return AccessKeys("demo", "demo")


def use_own_settings(folder: Path) -> None:
    """From here on this process and its children know no AWS settings, proxies and states but the
    demo's."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "DTH_STATE_DIR": str(folder / "state"),
    }


# ------------------------------------------------------------------------------------------ filling


def fill(urls: Sequence[str], samples: Sequence[Sample], tick: Tick) -> dict[str, str]:
    """Make both buckets and write the samples into the first. Returns the SHA-256 of each content,
    by key."""
    return _run(lambda: _fill(urls, samples, tick))


async def _fill(urls: Sequence[str], samples: Sequence[Sample], tick: Tick) -> dict[str, str]:
    digests: dict[str, str] = {}

    async with _clients(urls) as clients:
        for client in clients:
            await client.request("PUT")

        async def write(sample: Sample) -> None:
            digests[sample.key] = await _write(clients[0], sample, tick)

        await _each(write, samples)
    return digests


async def _write(client: S3Client, sample: Sample, tick: Tick) -> str:
    digest = hashlib.sha256()

    def made(number: int) -> list[bytes]:
        chunk = sample.chunk(number)
        digest.update(chunk)
        tick(len(chunk))
        return [chunk]

    if sample.chunks == 1:
        body = made(0)
        await client.put(sample.key, body, sample.headers)
        return digest.hexdigest()
    upload = await client.create_upload(sample.key, sample.headers)
    parts = []
    for number in range(sample.chunks):
        body = made(number)
        written = await client.upload_part(sample.key, upload, number + 1, body)
        parts.append((number + 1, written.etag, written.proof))
    await client.complete_upload(sample.key, upload, parts)
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------ copying


def sync_arguments(urls: Sequence[str], hub: str) -> list[str]:
    """`dth` arguments that let the hub copy the source to the destination."""
    return [
        *("s3", "sync", *(f"s3://{bucket}" for bucket in BUCKETS)),
        *("--src-endpoint-url", urls[0], "--dst-endpoint-url", urls[1]),
        *("--giant-object-threshold", f"{GIANT // MIB}MiB", "--hub", hub),
    ]


@dataclass(frozen=True, slots=True)
class DemoResult:
    """How a run of the task ended: how many objects came to which end."""

    done: int
    failed: int


def sync(arguments: Sequence[str], hub: DemoHub) -> int:
    """Run `dth` with these arguments; it shows its own progress and result. Returns its exit
    code."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dth", *arguments],
        env=os.environ | {"DTH_TOKEN": hub.token},
        stdin=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C is for us to handle
        preexec_fn=end_with_parent(),
    )
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT)
        process.kill()
        process.wait()
        raise


def the_task(hub: DemoHub) -> str:
    """The id of the only task there is; "" before it is there."""
    items = hub.client.call("{ listTasksV2 { items { id } } }")["listTasksV2"]["items"]
    return str(items[0]["id"]) if items else ""


def last_run(hub: DemoHub, task: str) -> DemoResult:
    """How the last run ended, as the API tells it."""
    query = "query ($id: ID!) { listRuns(id: $id, count: 1) { counts { done failed } } }"
    counts = hub.client.call(query, {"id": task})["listRuns"][0]["counts"]
    return DemoResult(int(counts["done"]), int(counts["failed"]))


def run_again(hub: DemoHub, task: str) -> DemoResult:
    """Let the task compare once more, without a word."""
    hub.client.call("mutation ($id: ID!) { startRun(id: $id) { id } }", {"id": task})
    query = "query ($id: ID!) { getTask(id: $id) { progress reason } }"
    while (found := hub.client.call(query, {"id": task})["getTask"])["progress"] in (
        "STARTING",
        "IN_PROGRESS",
    ):
        time.sleep(0.2)
    if found["progress"] != "DONE":
        raise HubError(f"the second run ended {found['progress']}: {found['reason']}")
    return last_run(hub, task)


# ---------------------------------------------------------------------------------------- verifying


@dataclass(slots=True)
class DemoCheck:
    """What reading everything back showed. `objects` are right in both stores; each problem is one
    line."""

    objects: int = 0
    problems: list[str] = field(default_factory=list)


def verify(
    urls: Sequence[str], samples: Sequence[Sample], digests: dict[str, str], tick: Tick
) -> DemoCheck:
    """Read every object from both stores: its bytes by SHA-256, its metadata and tags; and nothing
    else is there."""
    return _run(lambda: _verify(urls, samples, digests, tick))


async def _verify(
    urls: Sequence[str], samples: Sequence[Sample], digests: dict[str, str], tick: Tick
) -> DemoCheck:
    verified = DemoCheck()
    async with _clients(urls) as clients:
        for client in clients:
            extra = await _keys(client) - digests.keys()
            verified.problems += [
                f"{client.bucket}: key {key!r} should not be there" for key in extra
            ]

        async def check(sample: Sample) -> None:
            found = await asyncio.gather(
                *(_check(client, sample, digests[sample.key], tick) for client in clients)
            )
            problems = [problem for each in found for problem in each]
            verified.objects += not problems
            verified.problems += problems

        await _each(check, samples)
    return verified


async def _check(client: S3Client, sample: Sample, digest: str, tick: Tick) -> list[str]:
    """What is wrong with one object in one store."""
    where = f"{client.bucket}: key {sample.key!r}"
    content = hashlib.sha256()
    try:
        for number in range(sample.chunks):
            first = number * CHUNK
            span = (first, min(first + CHUNK, sample.size) - 1) if sample.chunks > 1 else None
            answer = await client.get(sample.key, size=sample.size, span=span)
            for chunk in answer.chunks:
                content.update(chunk)
                tick(len(chunk))
        tags = await client.tags(sample.key) if "x-amz-tagging" in sample.headers else ""
    except TransferError as error:
        return [f"{where}: {error}"]
    there = answer.headers | {"x-amz-tagging": tags}
    problems = [
        f"{where}: {name} is {there.get(name, 'missing')!r}, was {value!r}"
        for name, value in sample.headers.items()
        if there.get(name) != value
    ]
    if content.hexdigest() != digest:
        problems.append(f"{where}: the content is another one")
    return problems


async def _keys(client: S3Client) -> set[str]:
    listing, keys, token = PrefixListing(client), set[str](), ""
    while True:
        page = await listing.page(token=token)
        keys.update(entry.key for entry in page.entries)
        token = page.token
        if not token:
            return keys


# ------------------------------------------------------------------------------------------- common


@contextlib.asynccontextmanager
async def _clients(urls: Sequence[str]) -> AsyncIterator[list[S3Client]]:
    """Our own S3 client for each store: others lose some of these keys."""
    with Transport() as transport:
        yield [
            S3Client(transport, resolve_endpoint(url=url), bucket, DemoKeys())
            for url, bucket in zip(urls, BUCKETS, strict=True)
        ]


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """On a loop of its own. What ends us comes while the loop runs, not while it is made or
    closed."""

    async def main() -> T:
        with _masked(signal.SIG_UNBLOCK):
            return await work()

    with _masked(signal.SIG_BLOCK):
        return uvloop.run(main())


@contextlib.contextmanager
def _masked(how: signal.Sigmasks) -> Iterator[None]:
    before = signal.pthread_sigmask(how, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def _each(work: Callable[[Sample], Any], samples: Sequence[Sample]) -> None:
    """The work for every sample, `AT_ONCE` at a time, the large ones first."""
    waiting = iter(sorted(samples, key=lambda sample: -sample.size))

    async def lane() -> None:
        for sample in waiting:
            await work(sample)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(lane())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
