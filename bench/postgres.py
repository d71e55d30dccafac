"""PostgreSQL as queue and ledger of small objects: what one finder enqueues and four workers
settle, without stores."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from dth.core.ports.platform import Platform
from dth.core.ports.queue import Delivery, Outgoing
from dth.core.ports.records import Enqueued, Outcome, Page
from dth.core.ports.runs import Counts, RunKind
from dth.core.ports.status import Status, Verified
from dth.platforms.postgres.platform import open_platform
from tests.servers.postgres import Postgres

PACK = 100  # objects of a message
PAGE = 1000
BODY = "x" * 80 * PACK
WORKERS = 4


@dataclass(frozen=True)
class Rates:
    """Objects per second that were enqueued and settled, and the CPU seconds per object of all that
    is not the database."""

    rate: float
    cpu: float


def settle(count: int) -> Rates:
    """The database syncs each commit. All clients are one process: their CPU is that of one core at
    most."""
    with Postgres(durable=True) as server:
        return asyncio.run(_settle(server.database(), count))


async def _settle(address: str, count: int) -> Rates:
    async with _opened(address, ["finder", *(f"worker-{n}" for n in range(WORKERS))]) as (
        finder,
        *workers,
    ):
        run, _ = await finder.records.begin_run(RunKind.SYNC)
        wall, cpu = time.monotonic(), time.process_time()
        work: list[Awaitable[None]] = [_find(finder, run.id, count)]
        work += [_work(finder, worker, run.id, count) for worker in workers]
        await asyncio.gather(*work)
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        counts = (await finder.records.get_run(run.id)).counts
        assert (counts.enqueued, counts.done, counts.balanced) == (count, count, True)
        return Rates(count / wall, cpu / count)


@asynccontextmanager
async def _opened(address: str, processes: list[str]) -> AsyncIterator[list[Platform]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(open_platform(address, "task", name))
            for name in processes
        ]


async def _find(platform: Platform, run: int, count: int) -> None:
    for first in range(0, count, PAGE):
        numbers = range(first, first + PAGE)
        page = Page(
            Counts(listed=PAGE),
            enqueued=[
                Enqueued(_key(n), 1000, f"{n:032x}", f"m{n // PACK}", once=True) for n in numbers
            ],
            messages=[Outgoing(f"m{n // PACK}", BODY) for n in numbers[::PACK]],
        )
        await platform.records.commit(run, page)


async def _work(finder: Platform, platform: Platform, run: int, count: int) -> None:
    while True:
        if deliveries := await platform.queue.receive(1, 60, 0.1):
            for delivery in deliveries:
                await _copy(platform, run, delivery)
            await platform.queue.delete(deliveries)
        elif (await finder.records.get_run(run)).counts.done == count:
            return


async def _copy(platform: Platform, run: int, delivery: Delivery) -> None:
    """All that a worker says about a pack."""
    first = int(delivery.id[1:]) * PACK
    numbers = range(first, first + PACK)
    await platform.records.settled(run, [_key(n) for n in numbers])
    outcomes = [
        Outcome(
            _key(n),
            run,
            Status.DONE,
            1000,
            f"{n:032x}",
            f"{n:032x}",
            "crc64nvme:AAAAAAAAAAA=",
            verified=Verified.STORE,
        )
        for n in numbers
    ]
    await platform.records.settle(outcomes)


def _key(number: int) -> str:
    return f"photos/{number:09}.jpg"
