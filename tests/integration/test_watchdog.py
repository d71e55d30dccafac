"""A worker that hangs, ends badly or cannot end is found out, and its work is done by another."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from dth.core import redrive
from dth.core.ports.gauges import Gauge
from dth.core.ports.limits import Lease
from dth.core.ports.queue import Outgoing
from dth.core.ports.records import Enqueued, Outcome, Page
from dth.core.ports.runs import Counts, Cursor, RunKind, RunState
from dth.core.ports.status import Status
from dth.core.transport import Transport
from dth.objects.store.pace import Cap
from dth.objects.transfer.handlers import Handlers
from dth.objects.transfer.worker import ObjectWorker
from dth.platforms.local import supervisor
from dth.platforms.local.platform import open_platform
from dth.platforms.local.supervisor import Supervisor, one_by_one
from tests.clients import connect, connect_options
from tests.engine import Crash, Engine, Side, bodies
from tests.servers.proxy import Delay, Proxy, Stall

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from dth.core.ports.records import Record
    from dth.platforms.local.platform import LocalPlatform

MIB = 1024 * 1024


def at_first(
    monkeypatch: pytest.MonkeyPatch, key: str, befall: Callable[[ObjectWorker], Awaitable[Any]]
) -> None:
    """Let this happen to the worker that is about to transfer `key` for the first time."""
    carry = Handlers.carry
    left = [befall]

    async def carry_or_not(handlers: Handlers, work: Any, message: Any, index: int) -> None:
        if message.items[index].key == key and left:
            # The callback of a worker's handlers is its own.
            await left.pop()(cast("Any", handlers._pause).__self__)
        await carry(handlers, work, message, index)

    monkeypatch.setattr(Handlers, "carry", carry_or_not)


# --- workers that end
# ----------------------------------------------------------------------------------------


def test_a_worker_that_crashes_as_outcomes_are_to_be_committed_ends(
    engine: Engine, source: Side, dest: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commit loop, woken in that very moment, must hear that it is cancelled."""
    source.put(bodies(f"{n:02}" for n in range(40)))

    async def crash(worker: ObjectWorker) -> None:
        monkeypatch.setattr("dth.objects.transfer.worker.FLUSH", 0.1)
        worker._wake.set()  # the tenth message in hand has just been done
        raise Crash

    monkeypatch.setattr("dth.objects.transfer.worker.FLUSH", 60.0)  # until then
    at_first(monkeypatch, "07", crash)
    ran = engine.run()
    assert (ran.crashes, ran.counts.done) == (["worker-1"], 40)
    assert dest.contents() == source.contents()


def test_a_worker_that_crashes_while_it_drains_ends(
    engine: Engine, source: Side, dest: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.put(bodies(f"{n:02}" for n in range(40)))
    drain = ObjectWorker._drain
    draining = asyncio.Event()

    async def tell(worker: ObjectWorker) -> None:
        draining.set()
        await drain(worker)

    async def crash(worker: ObjectWorker) -> None:
        worker.stop()
        await draining.wait()
        raise Crash

    monkeypatch.setattr(ObjectWorker, "_drain", tell)
    at_first(monkeypatch, "07", crash)
    ran = engine.run()
    assert (ran.crashes, ran.counts.done) == (["worker-1"], 40)
    assert dest.contents() == source.contents()


# --- workers whose work stands still
# -------------------------------------------------------------------------


def test_work_that_stands_still_is_given_up_and_done_by_another(
    engine: Engine, source: Side, dest: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.transfer.worker.HEARTBEAT", 0.0)
    monkeypatch.setattr("dth.objects.transfer.worker.STILL", 2)
    source.put(bodies(f"{n:02}" for n in range(40)))
    at_first(monkeypatch, "07", lambda _: asyncio.Event().wait())
    ran = engine.run()
    assert ran.crashes
    assert (ran.counts.done, ran.counts.failed) == (40, 0)
    assert dest.contents() == source.contents()


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport()
    yield transport
    transport.close()


async def come_true(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_bytes_count_before_their_request_has_ended(
    transport: Transport, proxy_a: Proxy, source: Side, method: str
) -> None:
    source.put({"k": b"x" * MIB})
    proxy_a.rule(Stall(60, after=1000), method="GET")
    proxy_a.rule(Delay(60), method="PUT")
    assert transport.bytes_under_way == 0
    url, body = f"{proxy_a.url}/{source.bucket}/k", b"x" * MIB if method == "PUT" else b""
    request = asyncio.create_task(
        transport.send(method, url, {}, body, options=connect_options(proxy_a), limit=MIB)
    )
    await come_true(lambda: transport.bytes_under_way >= 1000)
    assert transport.requests == 0
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert transport.bytes_under_way == 0


class Grants:
    """`Limits` that grant nothing until they are opened."""

    def __init__(self, rate: float) -> None:
        self.open = False
        self.rate = rate

    async def set_rates(self, rates: Mapping[str, float]) -> None: ...

    async def rates(self) -> dict[str, float]:
        return {"": self.rate}

    async def lease(self, name: str, wanted: float) -> Lease:
        return Lease(wanted, 0.0, self.rate) if self.open else Lease(0.0, 0.01, self.rate)


@pytest.mark.parametrize(
    ("cap", "rate"), [("request_cap", 1.0), ("byte_cap", 1e6), ("byte_cap", 1e9)]
)
async def test_a_request_that_waits_for_a_cap_is_seen_to_be_held_back(
    transport: Transport, source: Side, cap: str, rate: float
) -> None:
    limits = Grants(rate)
    caps: dict[str, Any] = {cap: Cap(limits, "", rate)}
    client = connect(transport, source.server, source.bucket, **caps)
    assert client.held_back == 0
    put = asyncio.create_task(client.put("k", [b"x" * MIB], {}))
    await come_true(lambda: client.held_back == 1)
    limits.open = True
    await put
    assert client.held_back == 0


# --- workers that are not heard of
# ---------------------------------------------------------------------------


class Child:
    """A process that does nothing until it is ended."""

    pid = 0

    def __init__(self) -> None:
        self.returncode: int | None = None
        self.used: float | None = 0.0

    def cpu(self) -> float | None:
        return self.used

    async def wait(self) -> None:
        await come_true(lambda: self.returncode is not None)

    def terminate(self) -> None:
        self.returncode = -15

    def kill(self) -> None:
        self.returncode = -9


class ForkServer:
    """Has started these, by name, the newest of a name last."""

    def __init__(self) -> None:
        self.children: list[tuple[str, Child]] = []

    async def spawn(self, arguments: Sequence[str], files: tuple[int, int]) -> Child:
        self.children.append((arguments[2], Child()))
        return self.children[-1][1]


@asynccontextmanager
async def supervised(
    state: Path, most: int = 1
) -> AsyncIterator[tuple[LocalPlatform, ForkServer, Supervisor]]:
    """A task with one object in its queue, and processes that do nothing."""
    with open_platform(state, "supervisor") as platform:
        run, _ = await platform.records.begin_run(RunKind.SYNC)
        page = Page(Counts(listed=1), [Cursor("c", 0, "", "", "k")])
        page.messages.append(Outgoing("m", "{}"))
        page.enqueued.append(Enqueued("k", 1, "e", "m"))
        await platform.records.commit(run.id, page)
        fork_server, lock = ForkServer(), (state / "lock").open("w")
        with lock:
            yield (
                platform,
                fork_server,
                Supervisor(
                    state, platform, cast("Any", lock), cast("Any", fork_server), one_by_one(most)
                ),
            )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FIRST_TICK", 0.001), ("LAST_TICK", 0.001), ("SILENT", 20)):
        monkeypatch.setattr(supervisor, name, value)


@pytest.mark.usefixtures("quick")
async def test_a_worker_that_says_nothing_any_more_is_killed_and_begun_anew(tmp_path: Path) -> None:
    async with supervised(tmp_path) as (platform, fork_server, tested):
        await platform.gauges.report(Gauge("worker-1", "worker", 1.0))
        async with asyncio.timeout(60):
            async for _ in tested.watch():
                if len(fork_server.children) == 2:
                    break
        assert [name for name, _ in fork_server.children] == ["worker-1", "worker-1"]
        assert fork_server.children[0][1].returncode == -9


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("each_look", "workers"), [(0.0, 1), (0.6, 1), (0.8, 2), (None, 2)])
async def test_a_second_worker_is_started_where_the_first_one_is_busy_computing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each_look: float | None, workers: int
) -> None:
    """What the first one uses of a core, None where the system does not say so. Waiting for a
    store, it may use little, and a second one would only wait for the store as well."""
    now = 1.0
    clock = SimpleNamespace(monotonic=lambda: now, time=time.time)
    monkeypatch.setattr(supervisor, "time", clock)
    monkeypatch.setattr(supervisor, "BACKLOG_A_WORKER", 0)
    async with supervised(tmp_path, most=2) as (_, fork_server, tested):
        looks = 0
        async for _ in tested.watch():
            now += 1.0
            for _, child in fork_server.children:
                child.used = None if each_look is None else (child.used or 0.0) + each_look
            looks += 1
            if looks == 20:
                break
        assert {name for name, _ in fork_server.children} == {
            f"worker-{n + 1}" for n in range(workers)
        }


@pytest.mark.usefixtures("quick")
async def test_a_worker_that_reports_is_left_alone(tmp_path: Path) -> None:
    looks = 0
    async with supervised(tmp_path) as (platform, fork_server, tested):
        async for _ in tested.watch():
            looks += 1
            if looks % 10 == 0:
                await platform.gauges.report(Gauge("worker-1", "worker", float(looks)))
            if looks == 100:
                break
        assert len(fork_server.children) == 1


@pytest.mark.usefixtures("quick")
async def test_a_retry_that_is_not_all_sent_is_not_over(tmp_path: Path) -> None:
    """Between two of its pages, nothing may be in progress."""

    async def again(run: int, failed: Sequence[Record]) -> Page:
        return Page(Counts(listed=len(failed)))

    async with supervised(tmp_path) as (platform, _, tested):
        records = platform.records
        await records.settle([Outcome("k", 1, Status.FAILED, reason="DENIED")])
        await records.set_run(1, RunState.DONE)
        await redrive.begin(records)
        looks = 0
        async with asyncio.timeout(60):
            async for snapshot in tested.watch():
                looks += 1
                assert looks > 3 or not snapshot.finished
                if looks == 3:
                    await redrive.go_on(records, again)
        (run, _) = await records.list_runs()
        assert (run.kind, run.state, run.counts.listed) == (RunKind.REDRIVE, RunState.DONE, 1)
