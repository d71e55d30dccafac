"""Caps that come, change and go while bodies are in progress."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from dth.core.transport import Transport
from dth.objects.store import pace
from dth.objects.store.pace import Cap, follow
from dth.platforms.local.platform import open_platform
from tests.clients import connect
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from dth.objects.store.client import S3Client
    from dth.platforms.local.platform import LocalPlatform
    from tests.servers.ministack import MiniStack

MIB = 1024 * 1024
LOW = 1 * MIB  # bytes per second


@pytest.fixture
def platform(tmp_path: Path) -> AsyncIterator[LocalPlatform]:
    with open_platform(tmp_path, "worker") as opened:
        yield opened


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "LOOK", 0.1)


@asynccontextmanager
async def client(
    platform: LocalPlatform, server: Proxy, bucket: str, rate: float
) -> AsyncIterator[S3Client]:
    """A client whose cap follows the shared rate "bytes", which is this one at first."""
    await platform.limits.set_rates({"bytes": rate})
    cap = Cap(platform.limits, "bytes", rate)
    transport = Transport()
    following = asyncio.create_task(follow(platform.limits, [cap]))
    try:
        yield connect(transport, server, bucket, byte_cap=cap)
    finally:
        following.cancel()
        transport.close()


async def until(proxy: Proxy, amount: int) -> None:
    async with asyncio.timeout(30):
        while moved(proxy) < amount:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def moved(proxy: Proxy) -> int:
    return proxy.bytes_sent + proxy.bytes_received


async def carry(there: S3Client, way: str, names: list[str], body: bytes) -> list[bytes]:
    """Send or get the body under each of the names; what was sent or came."""
    if way == "put":
        await asyncio.gather(*(there.put(name, [body], {}) for name in names))
        return [body] * len(names)
    answers = await asyncio.gather(*(there.get(name, size=len(body)) for name in names))
    return [answer.body for answer in answers]


@pytest.mark.parametrize("way", ["get", "put"])
@pytest.mark.parametrize("before", [0.0, 256.0 * MIB], ids=["without a cap", "with a high cap"])
async def test_a_lower_cap_holds_for_bodies_under_way_and_is_lifted(
    s3_a: MiniStack, bucket_a: str, platform: LocalPlatform, way: str, before: float
) -> None:
    body, names = random.Random(1).randbytes(48 * MIB), ["a", "b", "c", "d"]
    if way == "get":
        for name in names:
            s3_a.put(bucket_a, name, body)
    with Proxy(s3_a, send_buffer=1 << 15) as proxy:
        async with client(platform, proxy, bucket_a, before) as there:
            work = asyncio.create_task(carry(there, way, names, body))
            await until(proxy, 4 * MIB)
            await platform.limits.set_rates({"bytes": LOW})
            await asyncio.sleep(2)
            begun = moved(proxy)
            await asyncio.sleep(4)
            # At the rate, what buffers still held, and a slice more.
            assert moved(proxy) - begun <= 4.2 * LOW * 1.05 + MIB
            assert moved(proxy) - begun >= LOW
            assert not work.done()
            # Not at every moment.
            async with asyncio.timeout(2):
                while not there.held_back:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            await platform.limits.set_rates({"bytes": 0})
            # At the cap this would take minutes.
            async with asyncio.timeout(45):
                carried = await work
    assert carried == [body] * len(names)
    assert [s3_a.get(bucket_a, name) for name in names] == [body] * len(names)


@pytest.mark.parametrize("way", ["get", "put"])
async def test_a_higher_cap_holds_for_bodies_under_way(
    s3_a: MiniStack, bucket_a: str, platform: LocalPlatform, way: str
) -> None:
    body = random.Random(2).randbytes(8 * MIB)
    s3_a.put(bucket_a, "a", body)
    with Proxy(s3_a) as proxy:
        async with client(platform, proxy, bucket_a, 16 * 1024) as there:
            work = asyncio.create_task(carry(there, way, ["a", "a"], body))
            await until(proxy, 10_000)
            await platform.limits.set_rates({"bytes": 64 * MIB})
            async with asyncio.timeout(45):
                assert await work == [body, body]


async def test_a_request_that_waits_for_all_of_its_body_does_not_keep_what_a_lower_cap_would_not_give(
    s3_a: MiniStack, bucket_a: str, platform: LocalPlatform
) -> None:
    """Bodies that are less than a slice of the cap go at once when granted: not any more when it
    falls."""
    body = random.Random(3).randbytes(4 * MIB)
    with Proxy(s3_a) as proxy:
        async with client(platform, proxy, bucket_a, 48 * MIB) as there:
            work = asyncio.create_task(carry(there, "put", [f"{n}" for n in range(40)], body))
            await until(proxy, 4 * MIB)
            await platform.limits.set_rates({"bytes": LOW})
            await asyncio.sleep(2)
            begun = moved(proxy)
            await asyncio.sleep(4)
            assert moved(proxy) - begun <= 4.2 * LOW * 1.05 + MIB
            await platform.limits.set_rates({"bytes": 0})
            await work


async def test_connections_that_were_made_without_a_cap_do_not_break_one(
    s3_a: MiniStack, bucket_a: str, platform: LocalPlatform
) -> None:
    body, names = random.Random(4).randbytes(12 * MIB), [f"{n}" for n in range(6)]
    for name in names:
        s3_a.put(bucket_a, name, body)
    with Proxy(s3_a, send_buffer=1 << 15) as proxy:
        async with client(platform, proxy, bucket_a, 0) as there:
            for _ in range(3):  # so that buffers grow
                await carry(there, "get", names, body)
            await platform.limits.set_rates({"bytes": 2 * LOW})
            await asyncio.sleep(0.5)
            proxy.forget()
            work = asyncio.create_task(carry(there, "get", names, body))
            await asyncio.sleep(11)
            assert proxy.peak_sent(10) <= 10 * 2 * LOW * 1.05
            assert proxy.peak_sent(10) >= 5 * 2 * LOW
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
