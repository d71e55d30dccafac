"""What holds of every queue."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from dth.core.ports.queue import Delivery, Depth, Outgoing

if TYPE_CHECKING:
    from dth.core.ports.platform import Platform
    from dth.core.ports.queue import Queue
    from tests.contract.platforms import OpenTask


@pytest.fixture
def queue(platform: Platform) -> Queue:
    return platform.queue


async def read_dead(queue: Queue, count: int) -> list[Delivery]:
    """All the dead messages, which are so many. SQS hides each for a moment after it was read."""
    found: dict[str, Delivery] = {}
    async with asyncio.timeout(10):
        while len(found) < count:
            found |= {each.id: each for each in await queue.receive_dead(10)}
            await asyncio.sleep(0.05)
    return list(found.values())


async def test_a_message_is_received_once_and_gone_when_deleted(queue: Queue) -> None:
    await queue.send([Outgoing("a", "body")])
    [delivery] = await queue.receive(10, lease=60, wait=0)
    assert (delivery.id, delivery.body, delivery.receives) == ("a", "body", 1)
    assert await queue.receive(10, lease=60, wait=0) == []
    assert await queue.depth() == Depth(visible=0, in_flight=1, delayed=0)
    await queue.delete([delivery])
    assert await queue.depth() == Depth(0, 0, 0)


async def test_nothing_at_all(queue: Queue) -> None:
    await queue.send([])
    await queue.release([])
    await queue.delete([])
    assert await queue.extend([], 60) == set()


async def test_the_same_id_twice_is_one_message_or_a_harmless_copy(queue: Queue) -> None:
    for _ in range(2):
        await queue.send([Outgoing("a", "b")])
    deliveries = await queue.receive(10, 60, 0)
    assert {(each.id, each.body, each.receives) for each in deliveries} == {("a", "b", 1)}
    await queue.delete(deliveries)
    assert await queue.depth() == Depth(0, 0, 0)


async def test_messages_have_one_owner_among_all_processes(task: OpenTask) -> None:
    async with task.beside("w2") as other:
        await task.platform.queue.send([Outgoing(f"m{n}", "b") for n in range(20)])
        both = await asyncio.gather(
            *(each.queue.receive(10, 60, 0) for each in (task.platform, other))
        )
        ids = [delivery.id for deliveries in both for delivery in deliveries]
        assert len(ids) == len(set(ids))
        assert set(ids) <= {f"m{n}" for n in range(20)}
        [taken, _] = both
        await task.platform.queue.delete(taken)
        left = 20 - len(taken)
        depth = await other.queue.depth()
        assert depth.visible + depth.in_flight == left


async def test_many_messages(queue: Queue) -> None:
    await queue.send([Outgoing(f"m{n}", f"body {n}") for n in range(35)])
    taken: list[Delivery] = []
    while deliveries := await queue.receive(25, 60, 0):
        assert len(deliveries) <= 25
        taken += deliveries
    assert {(each.id, each.body) for each in taken} == {(f"m{n}", f"body {n}") for n in range(35)}
    assert await queue.extend(taken, 60) == set()
    await queue.delete(taken)
    assert await queue.depth() == Depth(0, 0, 0)


async def test_an_expired_lease_is_delivered_again_and_the_old_receipt_is_worth_nothing(
    queue: Queue,
) -> None:
    await queue.send([Outgoing("a", "b")])
    [old] = await queue.receive(1, lease=0, wait=0)
    [new] = await queue.receive(1, lease=60, wait=0)
    assert new.receives == 2
    assert new.receipt != old.receipt
    await queue.delete([old])
    assert await queue.extend([old], 60) == {"a"}
    assert await queue.depth() == Depth(0, 1, 0)
    assert await queue.extend([new], 60) == set()


async def test_extending_keeps_the_lease(queue: Queue) -> None:
    await queue.send([Outgoing("a", "b")])
    [held] = await queue.receive(1, lease=1, wait=0)
    assert await queue.extend([held], 60) == set()
    await asyncio.sleep(1.1)
    assert await queue.receive(1, 60, 0) == []


async def test_a_release_does_not_count(queue: Queue) -> None:
    await queue.send([Outgoing("a", "b")])
    for _ in range(8):
        [delivery] = await queue.receive(1, 60, 0)
        assert (delivery.id, delivery.receives) == ("a", 1)
        await queue.release([delivery])


async def test_what_is_released_keeps_the_receives_before(queue: Queue) -> None:
    await queue.send([Outgoing("a", "b")])
    for receives in (1, 2, 3):
        [delivery] = await queue.receive(1, lease=0, wait=0)
        assert delivery.receives == receives
    [delivery] = await queue.receive(1, 60, 0)
    await queue.release([delivery])
    for receives in (4, 5):
        [delivery] = await queue.receive(1, lease=0, wait=0)
        assert delivery.receives == receives
    assert await queue.receive(1, 60, 0) == []
    assert [each.id for each in await queue.receive_dead(10)] == ["a"]


async def test_delays(queue: Queue) -> None:
    await queue.send([Outgoing("a", "b")], delay=60)
    assert await queue.depth() == Depth(0, 0, 1)
    assert await queue.receive(1, 60, 0) == []
    await queue.send([Outgoing("b", "b")])
    await queue.release(await queue.receive(1, 60, 0), delay=60)
    assert await queue.depth() == Depth(0, 0, 2)


async def test_what_was_delayed_comes_when_it_is_due(queue: Queue) -> None:
    await queue.send([Outgoing("sent", "b")], delay=1)
    await queue.send([Outgoing("released", "b")])
    await queue.release(await queue.receive(1, 60, 0), delay=1)
    assert await queue.receive(2, 60, 0) == []
    taken: list[Delivery] = []
    while len(taken) < 2:
        taken += await queue.receive(2, 60, wait=5)
    assert {(each.id, each.receives) for each in taken} == {("sent", 1), ("released", 1)}


async def test_beyond_max_receives_a_message_is_dead_until_deleted(queue: Queue) -> None:
    await queue.send([Outgoing("poison", "p"), Outgoing("good", "g")])
    for receives in (1, 2, 3, 4, 5):
        assert [d.receives for d in await queue.receive(2, lease=0, wait=0)] == [receives] * 2
    assert await queue.receive(2, 60, 0) == []
    assert await queue.depth() == Depth(0, 0, 0)
    dead = await queue.receive_dead(10)
    assert {(d.id, d.body, d.receives) for d in dead} == {("poison", "p", 5), ("good", "g", 5)}
    dead = await read_dead(queue, 2)
    await queue.release(dead)
    assert await queue.extend(dead, 60) == {"poison", "good"}
    await queue.delete(dead[:1])
    assert [each.id for each in await read_dead(queue, 1)] == [dead[1].id]
    await queue.delete(await read_dead(queue, 1))
    await asyncio.sleep(1.1)  # nothing is hidden any more
    assert await queue.receive_dead(10) == []


async def test_the_dead_do_not_hide_the_living(queue: Queue) -> None:
    await queue.send([Outgoing(f"poison{n}", "p") for n in range(5)])
    for _ in range(5):
        await queue.receive(5, lease=0, wait=0)
    await queue.send([Outgoing("good", "g")])
    assert [d.id for d in await queue.receive(1, 60, 0)] == ["good"]
    while len(await queue.receive_dead(10)) < 5:
        await queue.receive(10, 60, 0)


async def test_purging_forgets_every_message(queue: Queue) -> None:
    await queue.send([Outgoing("a", "b"), Outgoing("b", "b")])
    await queue.receive(1, 60, 0)
    await queue.purge()
    assert await queue.depth() == Depth(0, 0, 0)


async def test_waiting_ends_with_the_first_message(queue: Queue) -> None:
    started = time.monotonic()
    waiting = asyncio.create_task(queue.receive(1, 60, wait=10))
    await asyncio.sleep(0.1)
    await queue.send([Outgoing("a", "b")])
    assert [d.id for d in await waiting] == ["a"]
    assert time.monotonic() - started < 8


async def test_what_a_cancelled_receive_takes_is_given_back(queue: Queue) -> None:
    receiving = asyncio.create_task(queue.receive(1, 60, wait=3))
    await asyncio.sleep(0.2)
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    await queue.send([Outgoing("a", "b")])
    deliveries = await queue.receive(1, 60, 0) or await queue.receive(1, 60, wait=10)
    assert [(each.id, each.receives) for each in deliveries] == [("a", 1)]
