import asyncio
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dth.core.ports.queue import Delivery, Depth, Outgoing
from dth.platforms.local import queue as queue_module
from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.queue import LocalQueue


@pytest.fixture
def database(tmp_path: Path) -> Iterator[TaskDatabase]:
    with TaskDatabase.open(tmp_path / "task.db") as opened:
        yield opened


@pytest.fixture
def queue(database: TaskDatabase) -> LocalQueue:
    return LocalQueue(database, "w1")


async def test_nothing_stays_behind_a_deleted_message(
    queue: LocalQueue, database: TaskDatabase
) -> None:
    await queue.send([Outgoing("a", "body")])
    await queue.delete(await queue.receive(1, 60, 0))
    assert await database.read(lambda c: c.execute("SELECT count(*) FROM body").fetchone()) == (0,)


async def test_the_same_id_twice_is_one_message(queue: LocalQueue) -> None:
    await queue.send([Outgoing("a", "first"), Outgoing("a", "second")])
    await queue.send([Outgoing("a", "third"), Outgoing("b", "other")])
    deliveries = await queue.receive(10, 60, 0)
    assert [(d.id, d.body) for d in deliveries] == [("a", "first"), ("b", "other")]


async def test_oldest_first(queue: LocalQueue) -> None:
    for batch in range(3):
        await queue.send([Outgoing(f"{batch}-{n}", "") for n in (2, 1, 0)])
    received = [d.id for _ in range(3) for d in await queue.receive(3, 60, 0)]
    assert received == [f"{batch}-{n}" for batch in range(3) for n in (2, 1, 0)]


async def test_beyond_max_receives_a_message_is_dead_until_deleted(database: TaskDatabase) -> None:
    queue = LocalQueue(database, "w1", max_receives=3)
    await queue.send([Outgoing("poison", "p"), Outgoing("good", "g")])
    for receives in (1, 2, 3):
        assert [d.receives for d in await queue.receive(2, lease=0, wait=0)] == [receives] * 2
    assert await queue.receive(2, 60, 0) == []
    assert await queue.depth() == Depth(0, 0, 0)
    dead = await queue.receive_dead(10)
    assert [(d.id, d.body, d.receives) for d in dead] == [("poison", "p", 3), ("good", "g", 3)]
    assert await queue.receive_dead(10) == dead
    await queue.release(dead)
    assert await queue.extend(dead, 60) == {"poison", "good"}
    await queue.delete(dead[:1])
    assert await queue.receive_dead(10) == dead[1:]


async def test_the_leases_of_a_dead_worker_are_visible_at_once_and_stay_counted(
    database: TaskDatabase,
) -> None:
    dead, alive = LocalQueue(database, "dead"), LocalQueue(database, "alive")
    await dead.send([Outgoing(name, "") for name in "abc"])
    [mine] = await alive.receive(1, 60, 0)
    await dead.receive(2, 60, 0)
    assert await alive.release_owner("dead") == 2
    again = await alive.receive(3, 60, 0)
    assert [d.receives for d in again] == [2, 2]
    assert mine.id not in {d.id for d in again}
    assert await alive.release_owner("dead") == 0


async def test_all_leases_are_released_but_no_delay(database: TaskDatabase) -> None:
    queues = [LocalQueue(database, name) for name in ("one", "other")]
    await queues[0].send([Outgoing(name, "") for name in "ab"])
    for queue in queues:
        await queue.receive(1, 60, 0)
    await queues[0].send([Outgoing("later", "")], 60)
    assert await queues[0].release_owner(None) == 2
    assert {d.id for d in await queues[0].receive(9, 60, 0)} == {"a", "b"}


async def test_what_waits_beyond_any_delay_is_woken_but_not_what_is_held(
    database: TaskDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, clock = LocalQueue(database, "w1"), Clock()
    monkeypatch.setattr(queue_module, "time", clock)
    await queue.send([Outgoing("soon", "")], 60)
    clock.now += 3 * 3600
    await queue.send([Outgoing("held", "")])
    assert [d.id for d in await queue.receive(1, 900, 0)] == ["soon"]
    [held] = await queue.receive(1, 900, 0)
    await queue.send([Outgoing("sent", ""), Outgoing("given back", "")])
    await queue.release(await queue.receive(1, 900, 0), 1)
    await queue.send([Outgoing("never asked for", "")], 10_000)
    clock.now -= 3 * 3600
    await queue.send([Outgoing("later", "")], 60)
    assert await queue.wake() == 3
    assert await queue.wake() == 0
    assert {d.id for d in await queue.receive(9, 900, 0)} == {
        "sent",
        "given back",
        "never asked for",
    }
    assert await queue.extend([held], 900) == set()
    clock.now += queue_module.LONGEST_DELAY
    assert [d.id for d in await queue.receive(9, 900, 0)] == ["later"]


async def test_no_delay_is_longer_than_the_longest(
    database: TaskDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, clock = LocalQueue(database, "w1"), Clock()
    monkeypatch.setattr(queue_module, "time", clock)
    await queue.send([Outgoing("a", "")], 10_000)
    clock.now += queue_module.LONGEST_DELAY
    assert len(await queue.receive(1, 60, 0)) == 1


async def test_an_idle_worker_does_not_take_the_write_lock(
    queue: LocalQueue, database: TaskDatabase, tmp_path: Path
) -> None:
    assert await queue.receive(1, 60, wait=0) == []
    await database.write(lambda c: c.execute("PRAGMA busy_timeout = 10"))
    other = sqlite3.connect(tmp_path / "task.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await queue.receive(1, 60, wait=0.1) == []
    other.close()


async def test_what_a_cancelled_receive_took_is_given_back(
    queue: LocalQueue, tmp_path: Path
) -> None:
    await queue.send([Outgoing("a", "")])
    other = sqlite3.connect(tmp_path / "task.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    receiving = asyncio.create_task(queue.receive(1, 60, wait=10))
    await asyncio.sleep(0.05)
    receiving.cancel()
    await asyncio.sleep(0.05)
    other.close()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    [delivery] = await queue.receive(1, 60, wait=0)
    assert delivery.receives == 1


# ---------------------------------------------------------------------------------------- the model

MAX_RECEIVES = 3


@dataclass
class Expected:
    visible_at: float
    receives: int = 0
    receipt: str = ""
    dead: bool = False


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class QueueAgainstModel(RuleBasedStateMachine):
    """Two workers do anything in any order: nothing is lost, nothing is leased twice, receives are
    right."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(queue_module, "time", self.clock)
        self.database = TaskDatabase.open(Path(self.directory.name) / "task.db")
        self.queues = [LocalQueue(self.database, f"w{n}", MAX_RECEIVES) for n in range(2)]
        self.loop = asyncio.Runner()
        self.model: dict[str, Expected] = {}
        self.owners: dict[str, int] = {}
        self.deliveries: list[Delivery] = []

    def teardown(self) -> None:
        self.database.close()
        self.loop.close()
        self.patch.undo()
        self.directory.cleanup()

    def held(self, delivery: Delivery) -> Expected | None:
        expected = self.model.get(delivery.id)
        return expected if expected and expected.receipt == delivery.receipt else None

    @rule(ids=st.lists(st.sampled_from("abcdef"), max_size=4), delay=st.sampled_from([0, 5]))
    def send(self, ids: list[str], delay: float) -> None:
        self.loop.run(
            self.queues[0].send([Outgoing(name, f"body of {name}") for name in ids], delay)
        )
        for name in ids:
            self.model.setdefault(name, Expected(self.clock.now + delay))

    @rule(seconds=st.sampled_from([0.5, 4, 20]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(worker=st.sampled_from([0, 1]), limit=st.integers(1, 5), lease=st.sampled_from([1, 10]))
    def receive(self, worker: int, limit: int, lease: float) -> None:
        received = self.loop.run(self.queues[worker].receive(limit, lease, 0))
        assert len(received) <= limit
        visible = {
            name for name, m in self.model.items() if not m.dead and m.visible_at <= self.clock.now
        }
        living = {name for name in visible if self.model[name].receives < MAX_RECEIVES}
        assert bool(received) == bool(living)
        for delivery in received:
            expected = self.model[delivery.id]
            assert delivery.id in living
            living.remove(delivery.id)
            assert delivery.body == f"body of {delivery.id}"
            assert delivery.receives == expected.receives + 1
            self.model[delivery.id] = Expected(
                self.clock.now + lease, delivery.receives, delivery.receipt
            )
            self.owners[delivery.id] = worker
            self.deliveries.append(delivery)
        for dead in self.loop.run(self.queues[0].receive_dead(100)):
            if not self.model[dead.id].dead:
                assert dead.id in visible
                assert dead.receives == self.model[dead.id].receives == MAX_RECEIVES
                self.model[dead.id].dead = True
                self.model[dead.id].receipt = dead.receipt
                self.deliveries.append(dead)

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data(), lease=st.sampled_from([1, 10]))
    def extend(self, data: st.DataObject, lease: float) -> None:
        delivery = data.draw(st.sampled_from(self.deliveries))
        lost = self.loop.run(self.queues[0].extend([delivery], lease))
        expected = self.held(delivery)
        if expected and not expected.dead:
            assert lost == set()
            expected.visible_at = self.clock.now + lease
        else:
            assert lost == {delivery.id}

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data(), delay=st.sampled_from([0, 5]))
    def release(self, data: st.DataObject, delay: float) -> None:
        delivery = data.draw(st.sampled_from(self.deliveries))
        self.loop.run(self.queues[0].release([delivery], delay))
        expected = self.held(delivery)
        if expected and not expected.dead:
            self.model[delivery.id] = Expected(self.clock.now + delay, expected.receives - 1)

    @precondition(lambda self: self.deliveries)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        delivery = data.draw(st.sampled_from(self.deliveries))
        self.loop.run(self.queues[0].delete([delivery]))
        if self.held(delivery):
            del self.model[delivery.id]

    @rule(worker=st.sampled_from([0, 1]))
    def worker_dies(self, worker: int) -> None:
        released = self.loop.run(self.queues[0].release_owner(f"w{worker}"))
        count = 0
        for name, m in self.model.items():
            if (
                m.receipt
                and not m.dead
                and m.visible_at > self.clock.now
                and self.owners[name] == worker
            ):
                self.model[name] = Expected(self.clock.now, m.receives)
                count += 1
        assert released == count

    @invariant()
    def nothing_is_lost(self) -> None:
        living = [m for m in self.model.values() if not m.dead]
        later = [m for m in living if m.visible_at > self.clock.now]
        assert self.loop.run(self.queues[0].depth()) == Depth(
            visible=len(living) - len(later),
            in_flight=sum(1 for m in later if m.receipt),
            delayed=sum(1 for m in later if not m.receipt),
        )


TestQueueAgainstModel = QueueAgainstModel.TestCase
TestQueueAgainstModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
