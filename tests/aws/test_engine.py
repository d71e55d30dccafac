"""The S3 engine over the queue and tables of AWS: the same finder, workers and controller as
everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.ports.runs import RunKind, RunState
from dth.core.ports.status import Status
from dth.objects.finder import ObjectFinder
from dth.objects.parameters import EventMode
from dth.objects.plugin import PLUGIN
from dth.objects.transfer.handlers import Handlers
from dth.platforms.aws.platform import open_platform
from tests.aws.cloud import Calls, drop_task, make_task
from tests.engine import (
    GIANT,
    MIB,
    TWO_PARTS,
    Crash,
    Engine,
    Side,
    blob,
    bodies,
    check_ledger,
    hurry,
)
from tests.redriving import redrive_failed
from tests.servers.proxy import Delay, Proxy, Reply, Request, Reset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from dth.platforms.aws.client import Aws
    from dth.platforms.aws.platform import AwsNames
    from tests.servers.ministack import MiniStack

ODD = [
    "..",
    "a//b",
    "a/../b",
    "tab\there",
    'quote"\\',
    "new\nline",
    "é",
    "e\u0301",
    "\U0001f600",
    " ",
    "x" * 1000,
]


class AwsEngine(Engine):
    """`calls` counts what finder and workers call; `watch` is told of each process that opens the
    platform."""

    names: AwsNames
    calls: Calls
    watch: Callable[[str, Aws], None]

    @contextlib.asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[Any]:
        async with open_platform(self.names, name, io.StringIO()) as platform:
            if name != "supervisor":
                self.calls.watch(platform.aws)
                self.watch(name, platform.aws)
            yield platform

    async def release(self, name: str) -> None:
        """Nobody does: leases run out."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr("dth.objects.transfer.worker.WAIT", 1.0)
    monkeypatch.setattr("dth.objects.transfer.worker.LEASE", 2.0)
    monkeypatch.setattr("dth.objects.transfer.worker.HEARTBEAT", 0.5)
    monkeypatch.setattr("dth.objects.transfer.worker.STILL", 1000)
    monkeypatch.setattr("dth.platforms.aws.ledger.LEFT_AFTER", 1.0)
    monkeypatch.setattr("dth.platforms.aws.outbox.LEFT_AFTER", 1.0)


@pytest.fixture
def source(cloud: MiniStack) -> Iterator[Side]:
    side = Side(cloud, cloud.bucket("source"))
    yield side
    cloud.drop(side.bucket)


@pytest.fixture
def dest(cloud: MiniStack) -> Iterator[Side]:
    side = Side(cloud, cloud.bucket("dest"))
    yield side
    cloud.drop(side.bucket)


@pytest.fixture
def engine(cloud: MiniStack, source: Side, dest: Side, tmp_path: Path) -> Iterator[AwsEngine]:
    engine = AwsEngine(tmp_path, source, dest, worker_number=1)
    engine.names = make_task(cloud)
    engine.calls = Calls()
    engine.watch = lambda name, aws: None
    yield engine
    drop_task(cloud, engine.names)


def test_objects_of_all_kinds_arrive(engine: AwsEngine, source: Side, dest: Side) -> None:
    source.put(bodies([*ODD, *(f"small/{n:03}" for n in range(80))]))
    source.put({"large": blob(MIB + 1), "parted": blob(TWO_PARTS), "giant": blob(5 * MIB, 3)})
    ran = engine.run(workers=2, **GIANT)
    assert dest.etags().keys() == source.etags().keys()
    assert {key: dest.get(key) for key in ("large", "parted", "giant")} == {
        key: source.get(key) for key in ("large", "parted", "giant")
    }
    count = len(ODD) + 83
    assert (ran.counts.listed, ran.counts.enqueued, ran.counts.done) == (count, count, count)
    assert ran.counts.done_bytes == ran.counts.enqueued_bytes
    assert ran.records.keys() == source.etags().keys()
    assert {record.status for record in ran.records.values()} == {Status.DONE}

    source.put({"small/000": b"changed", "new": b"new"})
    again = engine.run(**GIANT)
    assert (again.counts.listed, again.counts.same, again.counts.done) == (count + 1, count - 1, 2)
    assert dest.get("small/000") == b"changed"


def test_small_objects_cost_few_calls(engine: AwsEngine, source: Side, dest: Side) -> None:
    count = 300
    source.put(bodies(f"folder-{n % 7}/object-{n:05}" for n in range(count)))
    ran = engine.run(controller=False)
    assert ran.counts.done == count == len(dest.listed())
    writes = sum(engine.calls.written.values())
    sqs = engine.calls.calls["sqs"]
    print(
        f"{sqs / count:.4f} SQS calls and {writes / count:.3f} items written an object; "
        f"{engine.calls}"
    )
    assert sqs < 0.1 * count, engine.calls
    assert writes <= 1.1 * count, engine.calls
    assert engine.calls.written[engine.names.objects] == count


def test_a_poisoned_message_ends_in_the_dead_letters_and_is_settled(
    engine: AwsEngine, source: Side, dest: Side, cloud: MiniStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.put(bodies([f"good/{n}" for n in range(20)] + ["poison"]))
    monkeypatch.setattr("dth.objects.transfer.worker.LEASE", 1.0)
    drop_task(cloud, engine.names)
    engine.names = make_task(cloud, max_receives=3)
    carry = Handlers.carry

    async def poisoned(self: Handlers, work: Any, message: Any, index: int) -> None:
        if message.items[index].key == "poison":
            raise Crash
        await carry(self, work, message, index)

    monkeypatch.setattr(Handlers, "carry", poisoned)
    ran = engine.run(workers=1)
    assert (ran.counts.done, ran.counts.failed) == (20, 1)
    assert ran.records["poison"].reason == "WorkerCrashed"
    assert len(dest.listed()) == 20
    assert len(ran.crashes) >= 5

    # It is tried again when somebody asks for it.
    monkeypatch.setattr(Handlers, "carry", carry)
    assert asyncio.run(redriven(engine)) == 1
    assert asyncio.run(redriven(engine)) == 0
    ran = engine.run()
    assert ran.records["poison"].status is Status.DONE
    assert dest.get("poison") == source.get("poison")


async def redriven(engine: AwsEngine) -> int:
    async with open_platform(engine.names, "hub", io.StringIO()) as platform:
        return await redrive_failed(PLUGIN, platform, engine._parameters({}))


def test_what_failed_is_redriven_in_a_run_of_its_own(
    engine: AwsEngine, cloud: MiniStack, source: Side, dest: Side
) -> None:
    names = [f"k{n:03}" for n in range(150)]
    source.put(bodies(names))
    with Proxy(cloud) as proxy:
        proxy.rule(Reply(403, "AccessDenied"), method="PUT", key="k0")
        engine.dest = replace(dest, server=proxy)
        ran = engine.run(dest_endpoint=proxy.url)
    assert (ran.counts.done, ran.counts.failed) == (50, 100)
    engine.dest = dest
    assert asyncio.run(redriven(engine)) == 100
    engine.run()
    assert len(dest.listed()) == 150

    async def runs() -> list[Any]:
        async with open_platform(engine.names, "hub", io.StringIO()) as platform:
            assert await platform.records.failure_groups() == []
            return await platform.records.list_runs()

    [again] = [run for run in asyncio.run(runs()) if run.kind is RunKind.REDRIVE]
    check_ledger(again.counts, finished=True)
    assert (again.counts.listed, again.counts.enqueued, again.counts.done) == (100, 100, 100)


def test_throttling_and_answers_that_are_lost_change_no_count(
    engine: AwsEngine, source: Side, dest: Side, cloud: MiniStack
) -> None:
    """DynamoDB and SQS refuse some calls, and do some of which nobody hears."""
    names = [f"k{n:03}" for n in range(400)]
    source.put(bodies(names))

    def of(service: str) -> Callable[[Request], bool]:
        return lambda request: (request.headers.get("x-amz-target") or "").startswith(service)

    with Proxy(cloud, seed=20) as proxy:
        engine.names = replace(engine.names, endpoint=proxy.url)
        for service, code in (
            ("DynamoDB", "ProvisionedThroughputExceededException"),
            ("AmazonSQS", "RequestThrottled"),
        ):
            body = json.dumps({"__type": code, "message": "slower"}).encode()
            json_type = {"content-type": "application/x-amz-json-1.0"}
            refuse = Reply(400, code, headers=json_type, body=body)
            proxy.rule(refuse, when=of(service), probability=0.1)
            proxy.rule(Reset(), when=of(service), probability=0.05)
        ran = engine.run(workers=2)
        assert proxy.count("POST", status=400) > 5
    assert (ran.counts.done, ran.counts.failed) == (400, 0)
    check_ledger(ran.counts, finished=True)
    assert dest.contents() == source.contents()


def test_events_come_from_the_same_queue(
    engine: AwsEngine, source: Side, dest: Side, cloud: MiniStack
) -> None:
    """As S3 sends them, and as SNS wraps them: neither has an id of ours."""
    source.put(bodies(["direct key", "wrapped"]))

    def record(key: str, sequencer: str) -> dict[str, Any]:
        thing = {"key": key.replace(" ", "+"), "sequencer": sequencer}
        named = {"bucket": {"name": source.bucket}, "object": thing}
        return {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": named}

    plain = json.dumps({"Records": [record("direct key", "01")]})
    wrapped = json.dumps(
        {"Type": "Notification", "Message": json.dumps({"Records": [record("wrapped", "01")]})}
    )
    for body in (plain, plain, wrapped, json.dumps({"Event": "s3:TestEvent"}), "no message at all"):
        cloud.boto("sqs").send_message(QueueUrl=engine.names.queue_url, MessageBody=body)
    ran = engine.run(src_event=EventMode.CREATE)
    assert dest.listed() == ["direct key", "wrapped"]
    assert ran.records["direct key"].sequencer.startswith("01")


@pytest.mark.parametrize("seed", range(2))
def test_killed_between_any_calls_everything_goes_on(
    engine: AwsEngine, source: Side, dest: Side, seed: int
) -> None:
    dice = random.Random(seed)
    source.put(bodies(f"{n % 5}/{n:03}" for n in range(40)))
    source.put({"parted": blob(TWO_PARTS), "giant": blob(4 * MIB, 3)})
    lives = 0

    def watch(name: str, aws: Aws) -> None:
        nonlocal lives
        lives += 1
        if lives > 10:
            return
        original, left, dead = aws.call_now, dice.randrange(1, 15), False
        before = dice.random() < 0.5

        def call_now(service: str, operation: str, **arguments: Any) -> dict[str, Any]:
            nonlocal left, dead
            left -= 1
            if dead or (left <= 0 and before):
                dead = True
                raise Crash
            answer = original(service, operation, **arguments)
            if left <= 0:
                dead = True
                raise Crash
            return answer

        aws.call_now = call_now  # type: ignore[method-assign]

    engine.watch = watch
    ran = engine.run(workers=2, **GIANT)
    assert dest.etags().keys() == source.etags().keys()
    assert ran.counts.done == ran.counts.enqueued == ran.counts.listed == 42, ran.crashes
    assert ran.counts.done_bytes == ran.counts.enqueued_bytes
    assert len(ran.records) == 42
    assert ran.crashes


@pytest.mark.parametrize("mode", [EventMode.NO, EventMode.CREATE])
def test_what_a_run_has_in_flight_is_not_copied_by_the_next(
    engine: AwsEngine,
    source: Side,
    dest: Side,
    cloud: MiniStack,
    monkeypatch: pytest.MonkeyPatch,
    mode: EventMode,
) -> None:
    """A listing waits for the run before, or, where events ask for records, sees what is in
    flight."""
    monkeypatch.setattr("dth.objects.finder.TURN", 0.2)
    source.put(bodies(f"{n:02}" for n in range(60)) | {"giant": blob(5 * MIB)})

    async def meanwhile(engine: Engine) -> None:
        async def listed() -> bool:
            return all(
                run.state is not RunState.LISTING
                for run in await engine.platform.records.list_runs()
            )

        # Both change in other processes.
        while not (await engine.platform.queue.depth()).in_flight or not await listed():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        async with engine.opened("finder-2") as (route, platform):
            run, resumed = await platform.records.begin_run(RunKind.SYNC, beside=True)
            assert not resumed
            await ObjectFinder(route, platform, engine.state).run(run)
            assert await redrive_failed(PLUGIN, platform, engine._parameters({})) == 0
            while not all(run.counts.balanced for run in await platform.records.list_runs()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    with Proxy(cloud) as proxy:
        proxy.rule(Delay(1.5), method="PUT")
        engine.dest = replace(dest, server=proxy)
        engine.run(during=meanwhile, dest_endpoint=proxy.url, src_event=mode, **GIANT)
        whole = [
            request.key
            for request in proxy.seen("PUT", status=200)
            if "partNumber" not in request.query
        ]
        assert len(whole) == len(set(whole)) == 60
        assert proxy.count("POST", "giant", "^uploadId=", status=200) == 1
    assert dest.contents() == source.contents()
