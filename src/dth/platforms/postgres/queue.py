"""The queue of one task: messages in a table, with leases that expire by the database's clock.

A lease is a `visible_at` in the future plus a fresh `receipt`. The holder of the latest delivery's
receipt may extend, release or delete the message. An expired lease needs no cleanup: the message
becomes visible again.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID, uuid4

import psycopg

from dth.core.ports.queue import Delivery, Depth, Outgoing
from dth.platforms.postgres.database import PostgresDatabase, Work, connect

# Seconds. Longer delays are shortened to this.
LONGEST_DELAY = 120.0
# A notification ends a wait at once. What becomes visible by time alone sends none.
POLL = 1.0


class PostgresQueue:
    """`ports.Queue` over PostgreSQL."""

    def __init__(self, database: PostgresDatabase, max_receives: int = 5) -> None:
        self._database = database
        self._max_receives = max_receives
        self._waiting: set[asyncio.Event] = set()
        self._listening: asyncio.Task[None] | None = None

    async def send(self, messages: Sequence[Outgoing], delay: float = 0.0) -> None:
        if messages:
            await self._database.write(enqueue, messages, delay)

    async def receive(self, limit: int, lease: float, wait: float) -> list[Delivery]:
        if deliveries := await self._claim(limit, lease):
            return deliveries
        deadline = time.monotonic() + wait
        news = asyncio.Event()
        self._waiting.add(news)
        try:
            while (remaining := deadline - time.monotonic()) > 0:
                self._listen()
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(POLL, remaining)):
                        await news.wait()
                news.clear()
                if deliveries := await self._claim(limit, lease):
                    return deliveries
            return []
        finally:
            self._waiting.discard(news)

    def _listen(self) -> None:
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        """Wake up who waits. This needs a connection of its own: behind a pooler it may hear
        nothing, and only the poll is left. If the connection fails, the next who waits begins
        again."""
        with suppress(psycopg.Error):
            connection = await connect(self._database.address)
            try:
                await connection.execute(f"LISTEN {channel(self._database.number)}")
                self._wake()  # something may have come before this connection listened
                async for _ in connection.notifies():
                    self._wake()
            finally:
                await connection.close()

    def _wake(self) -> None:
        for news in self._waiting:
            news.set()

    async def close(self) -> None:
        """Stop listening."""
        if self._listening:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def _claim(self, limit: int, lease: float) -> list[Delivery]:
        claim = asyncio.ensure_future(self._claimed(limit, lease))
        try:
            return await asyncio.shield(claim)
        except asyncio.CancelledError:
            await self.release(await claim)  # nobody waits for them
            raise

    async def _claimed(self, limit: int, lease: float) -> list[Delivery]:
        """Lease the messages that have been visible for the longest time. Messages that were
        received too often become dead letters."""
        values = {
            "lease": lease,
            "owner": self._database.process,
            "limit": limit,
            "most": self._max_receives,
        }
        while True:
            # Made here: it says what was taken if the answer is lost.
            receipt = {"receipt": uuid4()}
            taken = await self._database.rows(CLAIM, values | receipt, taken=TAKEN)
            alive = sorted(row for row in taken if not row[1])
            if alive or not taken:
                return [_delivery(*row[2:]) for row in alive]

    async def extend(self, deliveries: Sequence[Delivery], lease: float) -> set[str]:
        if not deliveries:
            return set()
        kept = await self._database.rows(EXTEND, (lease, *_of(deliveries)))
        return {each.id for each in deliveries} - {row[0] for row in kept}

    async def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        if deliveries:
            await self._database.write(_release, deliveries, delay)

    async def delete(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            await self._database.change(DELETE, _of(deliveries))

    async def depth(self) -> Depth:
        [row] = await self._database.rows(DEPTH)
        return Depth(*row)

    async def receive_dead(self, limit: int) -> list[Delivery]:
        return [_delivery(*row) for row in await self._database.rows(DEAD_MESSAGES, (limit,))]

    async def purge(self) -> None:
        await self._database.change("DELETE FROM dth.message_{n}")

    async def release_owner(self, owner: str) -> int:
        """Make all messages visible at once that the dead process `owner` had leased; their receive
        counts stay. Returns how many."""
        return await self._database.change(RELEASE_OWNER, (owner,))


def channel(number: int) -> str:
    """Where news of a task's messages come."""
    return f"dth_message_{number}"


def _delivery(id: str, body: str, receives: int, receipt: UUID) -> Delivery:
    return Delivery(id, body, receives, str(receipt))


def _of(deliveries: Sequence[Delivery]) -> tuple[list[str], list[UUID]]:
    return [each.id for each in deliveries], [UUID(each.receipt) for each in deliveries]


async def enqueue(work: Work, messages: Sequence[Outgoing], delay: float = 0.0) -> None:
    """Insert messages as part of the caller's transaction. A message whose id exists already stays
    unchanged."""
    if not messages:
        return
    if delay <= 0:
        await work.rows(NOTIFY, (channel(work.number),))
    # In the order of ids, so that two who send the same messages do not wait for each other.
    ordered = sorted(
        {each.id: each for each in reversed(messages)}.values(), key=lambda each: each.id
    )
    values = {
        "ids": [each.id for each in ordered],
        "bodies": [each.body for each in ordered],
        "delay": min(delay, LONGEST_DELAY),
    }
    await work.change(INSERT, values)


# While messages are visible, nobody waits for one. A notification makes all commits of the database
# wait in line.
NOTIFY = """
    SELECT pg_notify(%s, '') WHERE NOT EXISTS (
        SELECT FROM dth.message_{n} WHERE NOT dead AND visible_at <= statement_timestamp()
    )
"""

INSERT = """
    INSERT INTO dth.message_{n} (id, body, visible_at)
    SELECT id, body, statement_timestamp() + make_interval(secs => %(delay)s::float8)
    FROM unnest(%(ids)s::text[], %(bodies)s::text[]) AS new (id, body)
    ON CONFLICT DO NOTHING
"""

CLAIM = """
    WITH due AS (
        SELECT id FROM dth.message_{n} WHERE NOT dead AND visible_at <= statement_timestamp()
        ORDER BY visible_at, seq LIMIT %(limit)s::bigint FOR UPDATE SKIP LOCKED
    )
    UPDATE dth.message_{n} AS message SET
        dead = receives >= %(most)s::int, receives = receives + (receives < %(most)s::int)::int,
        visible_at = statement_timestamp() + make_interval(secs => %(lease)s::float8),
        receipt = %(receipt)s::uuid, owner = %(owner)s
    FROM due WHERE message.id = due.id
    RETURNING seq, dead, message.id, body, receives, receipt
"""
TAKEN = """
    SELECT seq, dead, id, body, receives, receipt FROM dth.message_{n}
    WHERE receipt = %(receipt)s::uuid AND NOT dead
"""

EXTEND = """
    UPDATE dth.message_{n} AS message SET visible_at = statement_timestamp() + make_interval(secs => %s::float8)
    FROM unnest(%s::text[], %s::uuid[]) AS held (id, receipt)
    WHERE message.id = held.id AND message.receipt = held.receipt AND NOT dead
    RETURNING message.id
"""


async def _release(work: Work, deliveries: Sequence[Delivery], delay: float) -> None:
    if delay <= 0:
        await work.rows(NOTIFY, (channel(work.number),))
    await work.change(RELEASE, (min(delay, LONGEST_DELAY), *_of(deliveries)))


RELEASE = """
    UPDATE dth.message_{n} AS message SET
        visible_at = statement_timestamp() + make_interval(secs => %s::float8), receives = receives - 1,
        receipt = NULL, owner = NULL
    FROM unnest(%s::text[], %s::uuid[]) AS held (id, receipt)
    WHERE message.id = held.id AND message.receipt = held.receipt AND NOT dead
"""

DELETE = """
    DELETE FROM dth.message_{n} AS message USING unnest(%s::text[], %s::uuid[]) AS held (id, receipt)
    WHERE message.id = held.id AND message.receipt = held.receipt
"""

RELEASE_OWNER = """
    UPDATE dth.message_{n} SET visible_at = statement_timestamp(), receipt = NULL, owner = NULL
    WHERE NOT dead AND visible_at > statement_timestamp() AND owner = %s
"""

DEPTH = """
    SELECT
        count(*) FILTER (WHERE visible_at <= statement_timestamp()),
        count(*) FILTER (WHERE visible_at > statement_timestamp() AND receipt IS NOT NULL),
        count(*) FILTER (WHERE visible_at > statement_timestamp() AND receipt IS NULL)
    FROM dth.message_{n} WHERE NOT dead
"""

DEAD_MESSAGES = """
    SELECT id, body, receives, receipt FROM dth.message_{n}
    WHERE dead ORDER BY visible_at, seq LIMIT %s::bigint
"""
