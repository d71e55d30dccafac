"""Ledgers balance, whatever dies at whichever call: a finder, workers that receive everything at
least once, and a message of events, each of them killed before or after any of its calls, and begun
again.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dth.core.ports.queue import Outgoing
from dth.core.ports.records import Enqueued, Outcome, Page
from dth.core.ports.runs import Counts, Cursor, RunKind
from dth.core.ports.status import Status
from dth.platforms.aws.client import Aws
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.queue import AwsQueue
from dth.platforms.aws.records import AwsRecords
from dth.platforms.aws.tables import TABLES
from tests.aws.cloud import drop_task, make_task
from tests.engine import check_ledger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dth.core.ports.queue import Delivery
    from dth.core.ports.runs import Run
    from dth.platforms.aws.platform import AwsNames
    from tests.servers.ministack import MiniStack

KEYS = [f"key-{n}" for n in range(9)]
PAGE = 3  # keys that the finder commits together


class Crash(BaseException):
    """The process is dead."""


def botocore_client(service: str) -> Any:
    """The same for every process: to make one takes longer than all that it does here."""
    return _clients[service]


_clients: dict[str, Any] = {}


@dataclass
class Mortal:
    """One process: its records and queue, and when it dies. `crash` counts its calls; even numbers
    die before the call, odd ones after it, when AWS has done what nobody hears of."""

    names: AwsNames
    name: str
    crash: int | None
    calls: int = 0
    dead: bool = False
    aws: Aws = field(init=False)
    records: AwsRecords = field(init=False)
    queue: AwsQueue = field(init=False)

    def __post_init__(self) -> None:
        self.aws = Aws(self.names.region, self.names.endpoint)
        self.aws.client = botocore_client  # type: ignore[method-assign]
        original = self.aws.call_now

        def call_now(service: str, operation: str, **arguments: Any) -> dict[str, Any]:
            if self.dead:
                raise Crash
            self.calls += 1
            dies = self.crash is not None and self.calls == 1 + self.crash // 2
            if dies:
                self.dead = True
                # (A receive whose answer is lost would only wait out its lease.)
                if self.crash is not None and (
                    self.crash % 2 == 0 or operation == "receive_message"
                ):
                    raise Crash
            answer = original(service, operation, **arguments)
            if dies:
                raise Crash
            return answer

        self.aws.call_now = call_now  # type: ignore[method-assign]
        dynamo = Dynamo(self.aws, {table: getattr(self.names, table) for table in TABLES})
        names = self.names
        self.queue = AwsQueue(self.aws, names.queue_url, names.dead_letter_url, names.max_receives)
        self.records = AwsRecords(dynamo, self.queue, self.name)


@dataclass
class World:
    """What the processes do, again and again until they have done it."""

    names: AwsNames
    crashes: list[int | None]
    died: int = 0

    async def live(self, name: str, work: Callable[[Mortal], Awaitable[None]]) -> None:
        while True:
            process = Mortal(self.names, name, self.crashes.pop() if self.crashes else None)
            try:
                await work(process)
                return
            except Crash:
                self.died += 1
            finally:
                process.aws.close()

    async def find(self, run: Run) -> None:
        async def work(process: Mortal) -> None:
            cursors = await process.records.cursors(run.id)
            position = int(cursors[0].position or 0) if cursors else 0
            while position < len(KEYS):
                keys = KEYS[position : position + PAGE]
                position += PAGE
                page = Page(Counts(listed=len(keys)), [Cursor("c", 0, "", "", str(position))])
                page.enqueued = [Enqueued(key, 10, "e", "", once=True) for key in keys]
                page.messages = [Outgoing(f"{run.id}-{position}", json.dumps([run.id, keys]))]
                await process.records.commit(run.id, page)

        await self.live("finder", work)

    async def event(self, keys: list[str]) -> None:
        """A message of events, which is deleted when it was committed."""

        async def work(process: Mortal) -> None:
            for key in keys:
                await process.records.apply_event(key, "0100")
            run, _ = await process.records.begin_run(RunKind.EVENTS)
            page = Page(
                Counts(listed=len(keys)), enqueued=[Enqueued(key, 10, "e", "") for key in keys]
            )
            page.messages = [
                Outgoing(f"{run.id}-{key}", json.dumps([run.id, [key]])) for key in keys
            ]
            await process.records.commit(run.id, page)

        await self.live("worker-1", work)

    async def work(self, quiet: Mortal, name: str, lease: int = 0, limit: int = 10) -> bool:
        """Take messages, settle what they carry, delete them. With a lease of nothing they come
        again."""
        found = True
        held: list[Delivery] = []

        async def work(process: Mortal) -> None:
            nonlocal found
            await quiet.queue.extend(held, 0)  # the lease of the dead has run out
            deliveries = held[:] = await process.queue.receive(limit, lease, 0)
            found = bool(deliveries)
            outcomes = []
            for delivery in deliveries:
                run, keys = json.loads(delivery.body)
                settled = (
                    await process.records.settled(run, keys) if delivery.receives > 1 else set()
                )
                outcomes += [outcome(key, run) for key in keys if key not in settled]
            await process.records.settle(outcomes)
            if lease:
                await process.queue.delete(deliveries)

        await self.live(name, work)
        return found


def outcome(key: str, run: int) -> Outcome:
    status = {"3": Status.FAILED, "5": Status.CANCELLED}.get(key[-1], Status.DONE)
    if status is Status.DONE:
        return Outcome(key, run, status, 10, "e", "d")
    return Outcome(key, run, status, 0, "e", "d", reason="x")


def steps() -> st.SearchStrategy[list[tuple[str, Any]]]:
    step = st.one_of(
        st.tuples(
            st.just("event"),
            st.lists(st.sampled_from(KEYS[:5]), min_size=1, max_size=3, unique=True),
        ),
        st.tuples(
            st.just("work"), st.sampled_from([("worker-1", 0), ("worker-2", 0), ("worker-1", 60)])
        ),
        st.tuples(st.just("reconcile"), st.none()),
        st.tuples(st.just("beside"), st.none()),
    )
    return st.lists(step, max_size=8)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left is looked at, however young; and pages take several steps."""
    monkeypatch.setattr("dth.platforms.aws.outbox.STEP", 2)
    monkeypatch.setattr("dth.platforms.aws.outbox.INLINE", 150)
    monkeypatch.setattr("dth.platforms.aws.outbox.PIECE", 120)
    monkeypatch.setattr("dth.platforms.aws.ledger.LEFT_AFTER", -1.0)
    monkeypatch.setattr("dth.platforms.aws.outbox.LEFT_AFTER", -1.0)


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    crashes=st.lists(st.one_of(st.none(), st.integers(0, 40)), max_size=12),
    plan=steps(),
)
def test_counts_equal_what_happened(
    cloud: MiniStack, crashes: list[int | None], plan: list[tuple[str, Any]]
) -> None:
    names = make_task(cloud, max_receives=100)
    _clients.update({service: cloud.boto(service) for service in ("sqs", "dynamodb")})
    try:
        asyncio.run(_play(World(names, crashes), plan))
    finally:
        drop_task(cloud, names)


async def _play(world: World, plan: list[tuple[str, Any]]) -> None:
    quiet = Mortal(world.names, "supervisor", None)
    run, _ = await quiet.records.begin_run(RunKind.SYNC)
    await world.find(run)
    for what, how in plan:
        match what:
            case "event":
                await world.event(how)
            case "work":
                await world.work(quiet, *how)
            case "reconcile":
                await world.live("controller", lambda process: process.records.reconcile())
            case "beside":  # a second run lists the same objects while the first is in progress
                await quiet.records.set_run(
                    run.id, (await quiet.records.get_run(run.id)).state.TRANSFERRING
                )
                run, _ = await quiet.records.begin_run(RunKind.SYNC, beside=True)
                await world.find(run)
        for each in await quiet.records.list_runs():
            check_ledger_so_far(each.counts)
    await quiet.records.reconcile()
    while await world.work(quiet, "worker-2", 60):
        pass
    await quiet.records.reconcile()

    records = {record.key: record async for record in quiet.records.scan()}
    assert not [record for record in records.values() if record.status is Status.PENDING]
    for each in await quiet.records.list_runs():
        check_ledger(each.counts, finished=True)
        if each.kind is RunKind.SYNC:
            expected = Counts(
                listed=9,
                enqueued=9,
                enqueued_bytes=90,
                done=7,
                failed=1,
                cancelled=1,
                done_bytes=70,
            )
            assert each.counts == expected
        else:
            assert each.counts.done_bytes == each.counts.done * 10
    # Once more: nothing is counted twice.
    before = await quiet.records.list_runs()
    await quiet.records.reconcile()
    await quiet.records.settle(
        [outcome(key, each.id) for each in before for key in KEYS if each.kind is RunKind.SYNC]
    )
    assert await quiet.records.list_runs() == before
    quiet.aws.close()


def check_ledger_so_far(counts: Counts) -> None:
    assert counts.done + counts.failed + counts.cancelled <= counts.enqueued, counts
