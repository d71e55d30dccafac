"""The queue of one task: messages in a table, with leases that expire.

A lease is a `visible_at` in the future plus a fresh `receipt`. The holder of the latest delivery's
receipt may extend, release or delete the message. An expired lease needs no cleanup: the message
becomes visible again. Times are those of the wall clock, which may be set back: see `wake`.
"""

import asyncio
import time
from collections.abc import Sequence
from sqlite3 import Connection

from dth.core.ports.queue import Delivery, Depth, Outgoing
from dth.platforms.local.database import TaskDatabase

# Seconds. Longer delays are shortened to this.
LONGEST_DELAY = 120.0
POLL_FIRST = 0.02
POLL_LAST = 0.25


class LocalQueue:
    """`ports.Queue` over SQLite. `owner` names this process, so that its leases can be released
    when it dies."""

    def __init__(self, database: TaskDatabase, owner: str, max_receives: int = 5) -> None:
        self._database = database
        self._owner = owner
        self._max_receives = max_receives
        self._found_empty = False

    async def send(self, messages: Sequence[Outgoing], delay: float = 0.0) -> None:
        await self._database.write(enqueue, messages, delay)

    async def receive(self, limit: int, lease: float, wait: float) -> list[Delivery]:
        deadline = time.monotonic() + wait
        pause = POLL_FIRST
        while True:
            # If the queue was empty before, only read: an idle worker must not take the write lock
            # from busy ones.
            if not self._found_empty or await self._database.read(_any_visible):
                if deliveries := await self._claim(limit, lease):
                    self._found_empty = False
                    return deliveries
                self._found_empty = True
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return []
            await asyncio.sleep(min(pause, remaining))
            pause = min(pause * 1.5, POLL_LAST)

    async def _claim(self, limit: int, lease: float) -> list[Delivery]:
        claim = asyncio.ensure_future(
            self._database.write(_claim, limit, lease, self._owner, self._max_receives)
        )
        try:
            return await asyncio.shield(claim)
        except asyncio.CancelledError:
            await self.release(await claim)  # nobody waits for them
            raise

    async def extend(self, deliveries: Sequence[Delivery], lease: float) -> set[str]:
        return await self._database.write(_extend, deliveries, lease)

    async def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        if deliveries:
            await self._database.write(_release, deliveries, delay)

    async def delete(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            await self._database.write(_delete, deliveries)

    async def depth(self) -> Depth:
        return await self._database.read(read_depth)

    async def receive_dead(self, limit: int) -> list[Delivery]:
        return await self._database.read(_dead, limit)

    async def purge(self) -> None:
        await self._database.execute("DELETE FROM message")

    async def wake(self) -> int:
        """Make messages visible whose wait exceeds the longest delay, because the clock was ahead
        when they were delayed. Returns how many. Leased messages are not touched: their holder
        extends them by the current clock."""
        if not await self._database.read(_any_far_ahead):
            return 0
        now = time.time()
        return await self._database.execute(WAKE, (now, now + LONGEST_DELAY))

    async def release_owner(self, owner: str | None) -> int:
        """Make all messages visible at once that the dead process `owner` had leased; their receive
        counts stay. Returns how many. None: leases of any owner."""
        return await self._database.execute(RELEASE_OWNER, {"now": time.time(), "owner": owner})


def enqueue(connection: Connection, messages: Sequence[Outgoing], delay: float = 0.0) -> None:
    """Insert messages as part of the caller's transaction. A message whose id exists already stays
    unchanged."""
    if not messages:
        return
    visible_at = time.time() + min(delay, LONGEST_DELAY)
    connection.executemany(INSERT_MESSAGE, [(m.id, visible_at) for m in messages])
    connection.executemany(INSERT_BODY, [(m.body, m.id) for m in messages])


INSERT_MESSAGE = "INSERT OR IGNORE INTO message (id, visible_at) VALUES (?, ?)"

INSERT_BODY = "INSERT OR IGNORE INTO body (seq, body) SELECT seq, ? FROM message WHERE id = ?"


def _any_visible(connection: Connection) -> bool:
    return connection.execute(ANY_VISIBLE, (time.time(),)).fetchone() is not None


ANY_VISIBLE = "SELECT 1 FROM message WHERE dead = 0 AND visible_at <= ? LIMIT 1"


def _claim(
    connection: Connection, limit: int, lease: float, owner: str, max_receives: int
) -> list[Delivery]:
    """Lease the messages that have been visible for the longest time. Messages that were received
    too often become dead letters."""
    now = time.time()
    values = {
        "now": now,
        "until": now + lease,
        "owner": owner,
        "limit": limit,
        "most": max_receives,
    }
    while True:
        taken = connection.execute(CLAIM, values).fetchall()
        alive = sorted(row for row in taken if not row[1])
        if alive or not taken:
            return [Delivery(*row[2:]) for row in alive]


CLAIM = """
    UPDATE message SET
        dead = receives >= :most, receives = receives + (receives < :most),
        visible_at = :until, receipt = hex(randomblob(8)), owner = :owner
    WHERE seq IN (
        SELECT seq FROM message WHERE dead = 0 AND visible_at <= :now ORDER BY visible_at, seq LIMIT :limit
    )
    RETURNING seq, dead, id, (SELECT body FROM body WHERE body.seq = message.seq), receives, receipt
"""


def _extend(connection: Connection, deliveries: Sequence[Delivery], lease: float) -> set[str]:
    until = time.time() + lease
    return {
        delivery.id
        for delivery in deliveries
        if not connection.execute(EXTEND, (until, delivery.id, delivery.receipt)).rowcount
    }


EXTEND = "UPDATE message SET visible_at = ? WHERE id = ? AND receipt = ? AND dead = 0"


def _release(connection: Connection, deliveries: Sequence[Delivery], delay: float) -> None:
    visible_at = time.time() + min(delay, LONGEST_DELAY)
    connection.executemany(RELEASE, [(visible_at, d.id, d.receipt) for d in deliveries])


RELEASE = """
    UPDATE message SET visible_at = ?, receives = receives - 1, receipt = NULL, owner = NULL
    WHERE id = ? AND receipt = ? AND dead = 0
"""


def _delete(connection: Connection, deliveries: Sequence[Delivery]) -> None:
    connection.executemany(DELETE, [(d.id, d.receipt) for d in deliveries])


DELETE = "DELETE FROM message WHERE id = ? AND receipt = ?"  # also deletes the body


def _any_far_ahead(connection: Connection) -> bool:
    return connection.execute(ANY_FAR_AHEAD, (time.time() + LONGEST_DELAY,)).fetchone() is not None


FAR_AHEAD = "dead = 0 AND visible_at > ? AND owner IS NULL"

ANY_FAR_AHEAD = f"SELECT 1 FROM message WHERE {FAR_AHEAD} LIMIT 1"

WAKE = f"UPDATE message SET visible_at = ? WHERE {FAR_AHEAD}"


RELEASE_OWNER = """
    UPDATE message SET visible_at = :now, receipt = NULL, owner = NULL
    WHERE dead = 0 AND visible_at > :now AND owner = coalesce(:owner, owner)
"""


def read_depth(connection: Connection) -> Depth:
    return Depth(*connection.execute(DEPTH, {"now": time.time()}).fetchone())


DEPTH = """
    SELECT
        (SELECT count(*) FROM message WHERE dead = 0 AND visible_at <= :now),
        (SELECT count(*) FROM message WHERE dead = 0 AND visible_at > :now AND receipt IS NOT NULL),
        (SELECT count(*) FROM message WHERE dead = 0 AND visible_at > :now AND receipt IS NULL)
"""


def _dead(connection: Connection, limit: int) -> list[Delivery]:
    return [Delivery(*row) for row in connection.execute(DEAD_MESSAGES, (limit,))]


DEAD_MESSAGES = """
    SELECT id, body, receives, receipt FROM message JOIN body USING (seq)
    WHERE dead = 1 ORDER BY visible_at, seq LIMIT ?
"""
