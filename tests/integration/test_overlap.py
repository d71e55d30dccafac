"""Runs, events and redrives that begin while objects are in flight: each is copied once, by the run
that owns it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.ports.queue import Outgoing
from dth.core.ports.runs import RunKind, RunState
from dth.core.ports.status import Status
from dth.objects.finder import ObjectFinder
from dth.objects.plugin import PLUGIN
from dth.platforms.local import records as local_records
from dth.platforms.local.platform import open_platform
from dth.platforms.local.queue import LocalQueue
from tests.engine import FOUR_PARTS, GIANT, Engine, Side, blob, bodies, wait_for
from tests.hub import Hub, balanced
from tests.redriving import redrive_failed
from tests.servers.proxy import Delay, Hook, Proxy, Reply, Stall

if TYPE_CHECKING:
    from collections.abc import Callable

    from dth.core.ports.platform import Platform
    from dth.core.ports.queue import Delivery

MANY = 300


async def lists(platform: Platform) -> bool:
    """Whether a run still lists."""
    return any(run.state is RunState.LISTING for run in await platform.records.list_runs())


async def another_run(engine: Engine) -> None:
    """Begin a run beside the one that goes on, and list for it."""
    async with engine.opened("finder-2") as (route, platform):
        # While one run lists, there is no other.
        async with asyncio.timeout(60):
            while await lists(platform):  # noqa: ASYNC110 - the finder ends it
                await asyncio.sleep(0.02)
        run, resumed = await platform.records.begin_run(RunKind.SYNC, beside=True)
        assert not resumed
        await ObjectFinder(route, platform, engine.state).run(run)


async def to_the_end(engine: Engine) -> None:
    """Wait until every run has settled everything."""
    async with asyncio.timeout(60):
        while True:
            runs = await engine.platform.records.list_runs()
            depth = await engine.platform.queue.depth()
            if (
                all(run.counts.balanced for run in runs)
                and not depth.visible + depth.in_flight + depth.delayed
            ):
                return
            await asyncio.sleep(0.02)


def puts(proxy: Proxy) -> dict[str, int]:
    """How often each object was put, whole or by joining its parts."""
    counted: dict[str, int] = {}
    for request in [
        *proxy.seen("PUT", status=200),
        *proxy.seen("POST", query="^uploadId=", status=200),
    ]:
        if "partNumber=" not in request.query:
            counted[request.key] = counted.get(request.key, 0) + 1
    return counted


# --- runs
# --------------------------------------------------------------------------------------------------


def test_objects_in_flight_are_not_copied_by_the_runs_that_begin_meanwhile(
    hub: Hub, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    source.put(bodies(f"{n:03}" for n in range(MANY)))
    proxy_b.rule(Delay(0.3), method="PUT")
    task = hub.create(
        source,
        Side(proxy_b, dest.bucket),
        once=False,
        scheduleRate="1 day",
        maxRequestsPerSecond="60",
    )
    wait_for(lambda: len(dest.listed()) > 30)
    hub.do("startRun", task)
    wait_for(lambda: [run["state"] for run in hub.runs(task)] == ["DONE", "DONE"])
    second, first = (run["counts"] for run in hub.runs(task))
    balanced(first)
    balanced(second)
    assert (first["done"], second["enqueued"]) == (MANY, 0)
    assert second["pending"] > 100
    assert puts(proxy_b) == dict.fromkeys(source.listed(), 1)


def test_a_kill_while_two_runs_overlap_leaves_nothing_undone(
    hub: Hub, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    source.put({**bodies(f"{n:02}" for n in range(40)), "giant": blob(6 * 1024 * 1024)})
    task = hub.create(
        source,
        Side(proxy_b, dest.bucket),
        once=False,
        scheduleRate="1 day",
        giantObjectThreshold="6291456",
        multipartThreshold="5242880",
        partSize="5242880",
        maxCapacity="1",
        maxRequestsPerSecond="8",
    )
    wait_for(lambda: len(dest.listed()) > 5)
    hub.do("startRun", task)
    wait_for(lambda: len(hub.runs(task)) == 2 and hub.runs(task)[0]["state"] == "TRANSFERRING")
    (worker,) = hub.processes("dth-worker-1")
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: [run["state"] for run in hub.runs(task)] == ["DONE", "DONE"])
    second, first = (run["counts"] for run in hub.runs(task))
    balanced(first)
    balanced(second)
    assert first["done"] + second["done"] == 41
    assert dest.contents() == source.contents()
    assert dest.uploads() == []


def test_an_object_that_is_copied_while_another_run_lists_goes_once(
    engine: Engine, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    """What the second run sees of the destination is older than the copies that the first one
    makes."""
    source.put(bodies(f"{n:02}" for n in range(20)))
    # The first run lasts until the second one has listed.
    # Nothing is copied before the second one's listing was made, and all but one when it arrives.
    proxy_b.rule(Delay(2.0), method="PUT")
    proxy_b.rule(Delay(6.0), method="PUT", key="19")
    proxy_b.rule(Stall(5.0), method="GET", query="list-type", nth=2)

    async def meanwhile(engine: Engine) -> None:
        while (await engine.platform.records.list_runs())[0].state is RunState.LISTING:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await another_run(engine)
        await to_the_end(engine)

    engine.run(during=meanwhile)
    assert puts(proxy_b) == dict.fromkeys(source.listed(), 1)
    with open_platform(engine.state, "test") as platform:
        second, first = (run.counts for run in asyncio.run(platform.records.list_runs()))
    assert (first.done, second.pending, second.enqueued) == (20, 20, 0)
    assert dest.contents() == source.contents()


def test_a_message_that_comes_late_is_still_its_runs_own(
    engine: Engine, source: Side, dest: Side, proxy_b: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A giant object's message is tried again after a while, when a later run has listed its
    object, too."""
    source.put({"k": blob(FOUR_PARTS)})
    proxy_b.rule(Delay(2.0), method="PUT")
    receive = LocalQueue.receive
    held: list[Delivery] = []

    async def hold_the_first(
        queue: LocalQueue, limit: int, lease: float, wait: float
    ) -> list[Delivery]:
        deliveries = await receive(queue, limit, lease, wait)
        if held or not deliveries:
            return deliveries
        held.extend(deliveries)
        return []

    monkeypatch.setattr(LocalQueue, "receive", hold_the_first)

    async def meanwhile(engine: Engine) -> None:
        while not held:  # noqa: ASYNC110 - a worker does it
            await asyncio.sleep(0.01)
        await another_run(engine)
        await asyncio.sleep(1.0)
        await engine.platform.queue.release(held)
        await to_the_end(engine)

    ran = engine.run(during=meanwhile, **GIANT)
    with open_platform(engine.state, "test") as platform:
        second, first = (run.counts for run in asyncio.run(platform.records.list_runs()))
    assert (first.enqueued, first.done) == (1, 1)
    assert (second.enqueued, second.pending) == (0, 1)
    assert (ran.records["k"].status, ran.records["k"].run) == (Status.DONE, 1)
    assert proxy_b.count("POST", "k", "^uploads=") == proxy_b.count("POST", "k", "^uploadId=") == 1
    assert dest.contents() == source.contents()


def test_what_is_waited_for_in_vain_is_sent_again(
    engine: Engine, source: Side, dest: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older versions could leave records PENDING with neither a message nor an upload."""
    source.put(bodies("abc"))
    monkeypatch.setattr(local_records, "enqueue", lambda *_: None)
    ran = engine.run()
    assert (ran.counts.enqueued, ran.counts.done) == (3, 3)
    assert dest.contents() == source.contents()


# --- redrives
# --------------------------------------------------------------------------------------------------


def test_a_redrive_sends_nothing_for_what_a_run_has_in_flight(
    engine: Engine, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    source.put(bodies("abc"))
    refusals = [
        proxy_b.rule(Reply(403, "AccessDenied"), method="PUT", key=key, nth=1) for key in "abc"
    ]
    assert engine.run().counts.failed == len(refusals)
    proxy_b.rule(Delay(1.0), method="PUT")

    async def meanwhile(engine: Engine) -> None:
        while not (await engine.platform.queue.depth()).in_flight:  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.01)
        assert await redrive_failed(PLUGIN, engine.platform, None) == 0
        await to_the_end(engine)

    assert engine.run(during=meanwhile).counts.done == 3
    assert puts(proxy_b) == dict.fromkeys("abc", 1)
    assert dest.contents() == source.contents()


# --- events
# --------------------------------------------------------------------------------------------------


def told(name: str, side: Side, key: str, sequencer: str, etag: str = "") -> Outgoing:
    """A notification. The event was a while ago if it has an ETag."""
    thing = {"key": key, "sequencer": sequencer}
    if etag:
        thing |= {"eTag": etag, "size": len(side.get(key))}
    record = {
        "eventName": name,
        "eventTime": "2020-01-01T00:00:00.000Z",
        "s3": {"bucket": {"name": side.bucket}, "object": thing},
    }
    return Outgoing(f"{name} {key} {sequencer}", json.dumps({"Records": [record]}))


def during_a_put(proxy: Proxy, work: Callable[[Engine], Any]) -> Callable[[Engine], Any]:
    """Do it when the first object has been read and is being written."""
    reached = threading.Event()
    proxy.rule(Hook(lambda _: reached.set()), method="PUT", nth=1)
    proxy.rule(Delay(1.5), method="PUT", nth=1)

    async def meanwhile(engine: Engine) -> None:
        async with asyncio.timeout(60):
            while not reached.is_set():  # noqa: ASYNC110 - set in another thread
                await asyncio.sleep(0.01)
        await work(engine)
        await to_the_end(engine)

    return meanwhile


def test_an_event_of_an_object_in_flight_that_is_being_copied_copies_nothing(
    engine: Engine, source: Side, proxy_b: Proxy
) -> None:
    source.put(bodies("k"))
    message = told("ObjectCreated:Put", source, "k", "0A", source.etags()["k"])
    meanwhile = during_a_put(proxy_b, lambda engine: engine.platform.queue.send([message]))
    ran = engine.run(during=meanwhile, src_event="Create")
    assert ran.records["k"].status is Status.DONE
    assert puts(proxy_b) == {"k": 1}


@pytest.mark.parametrize("settings", [{}, GIANT], ids=["small", "giant"])
def test_an_object_that_is_created_again_while_it_is_in_flight_arrives(
    engine: Engine, source: Side, dest: Side, proxy_b: Proxy, settings: dict[str, int]
) -> None:
    size = FOUR_PARTS if settings else 100
    source.put({"k": blob(size)})

    async def change(engine: Engine) -> None:
        await asyncio.sleep(0.5)  # all parts have been read
        await asyncio.to_thread(source.put, {"k": blob(size, 1)})
        await engine.platform.queue.send(
            [told("ObjectCreated:Put", source, "k", "0A", source.etags()["k"])]
        )

    if settings:
        proxy_b.rule(Delay(1.5), method="PUT")
    ran = engine.run(during=during_a_put(proxy_b, change), src_event="Create", **settings)
    assert ran.records["k"].status is Status.DONE
    assert ran.records["k"].etag == source.etags()["k"]
    assert dest.contents() == source.contents()
    assert puts(proxy_b)["k"] <= 2


def test_an_object_that_is_deleted_while_it_is_in_flight_goes(
    engine: Engine, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    source.put(bodies("k"))

    async def remove(engine: Engine) -> None:
        await asyncio.to_thread(source.server.request, "DELETE", f"/{source.bucket}/k")
        await engine.platform.queue.send([told("ObjectRemoved:Delete", source, "k", "0B")])

    ran = engine.run(during=during_a_put(proxy_b, remove), src_event="CreateAndDelete")
    assert dest.listed() == []
    assert ran.records["k"].status is Status.CANCELLED


def test_events_without_sequencers_are_not_lost_either(
    engine: Engine, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    source.put({"k": b"old"})

    async def change(engine: Engine) -> None:
        await asyncio.to_thread(source.put, {"k": b"new"})
        await engine.platform.queue.send([told("ObjectCreated:Put", source, "k", "")])

    engine.run(during=during_a_put(proxy_b, change), src_event="Create")
    assert dest.contents() == {"k": b"new"}
