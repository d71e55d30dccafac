"""The machines that work on the tasks of a database: their heartbeats, what the dead ones had
taken, and which command runs which task.

A machine is one command on one machine, under a name that nobody else ever has. It may be dead, cut
off, or only stopped for a while; nobody can tell from outside. So what it had taken is given to
others, and what it does when it wakes up counts for nothing: its deliveries have other receipts,
and it does not hold its task any more.
"""

import asyncio
import contextlib
import json
import logging
import os
import re
import socket
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from dth.core.errors import StateError
from dth.platforms.postgres.database import NOW, PostgresDatabase, Work, open_database

BEAT = 2.0  # seconds between heartbeats
# Seconds of silence after which a machine counts as dead. With the time that others take to notice,
# and to take over, this is ten seconds.
DEAD_AFTER = 8.0
# Seconds that a command waits for a task. One that was killed holds it until it counts as dead.
CLAIM_WAIT = DEAD_AFTER + 3.0
# Visible messages that are counted. More workers than that are wanted anyway.
COUNTED = 1000
# Seconds that other machines may take to end their work on a task: to notice, to finish objects, or
# to be noticed as dead.
SETTLE = 45.0
# Comes before the type of a task that a hub runs.
HUB = "hub:"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GuestTerms:
    """On which terms a hub lets other machines help with a task. `allow`: where its connections may
    go, as `Network.read` takes it. `most`: workers of all these machines together."""

    allow: Sequence[str]
    most: int


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task that a living command or hub runs. `visible`: its messages that wait, up to `COUNTED`.
    `terms`: those of the hub; None: a command runs it."""

    number: int
    id: str
    type: str
    parameters: Mapping[str, Any]
    visible: int
    terms: GuestTerms | None = None


def new_name() -> str:
    """A name for this machine: where it is, and what nobody else is called."""
    host = re.sub(r"[^\w.-]", "-", socket.gethostname())[:60]
    return f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


class JoinedMachine:
    """This machine among those that use the database."""

    def __init__(self, database: PostgresDatabase, name: str) -> None:
        """Use `join` instead."""
        self.name = name
        self._database = database

    async def beat(self) -> None:
        """Say that this machine lives, and give away what dead ones had taken."""
        [[steady]] = await self._database.rows(BEAT_ONCE, {"name": self.name, "dead": DEAD_AFTER})
        # After a while without a database, everybody was silent. Who returns waits for the others.
        if steady >= DEAD_AFTER and (gone := await self._database.write(_bury, self.name)):
            log.warning("dead: %s", ", ".join(gone))

    async def open_tasks(self) -> list[OpenTask]:
        """The tasks that a living command or hub runs and that are not paused."""
        return [
            _open_task(*row) for row in await self._database.rows(OPEN_TASKS, (COUNTED, DEAD_AFTER))
        ]

    async def reserve(self, task: OpenTask, workers: int) -> bool:
        """Reserve this number of workers for a task of a hub. False: with those of other machines,
        they would be more than the hub allows."""
        most = task.terms.most if task.terms else 0
        return await self._database.write(_reserve, task.number, self.name, workers, most)

    async def give_up(self, task: OpenTask, workers: int) -> None:
        """Reserve no more than this number of workers for the task."""
        await self._database.change(GIVE_UP, (workers, task.number, self.name))

    async def holds(self, task: OpenTask) -> bool:
        """Whether a process of this machine has messages of the task."""
        return bool(await self._database.rows(HOLDS_SOME, (task.number, self.name)))

    async def release(self, process: str) -> None:
        """Make free at once what a dead process of this machine had taken."""
        await self._database.write(_free, "owner = ANY(%s)", [process])

    async def leave(self) -> None:
        """Give back everything, and be no machine any more."""
        await self._database.write(_leave, self.name)

    async def claim(
        self, task: PostgresDatabase, type: str = "", parameters: Mapping[str, Any] | None = None
    ) -> bool:
        """Become the one command that runs the task. With a type and parameters, other machines
        help with it. False: the task was deleted, because another one has just finished it. Raises
        StateError if another one runs it."""
        deadline = time.monotonic() + CLAIM_WAIT
        while holder := await task.write(_claim, self.name, type, json.dumps(parameters or {})):
            if time.monotonic() > deadline:
                raise StateError(
                    f"the same transfer is running already, by {holder}; wait for its end, or end it"
                )
            await asyncio.sleep(BEAT / 4)
        task.holder = self.name if holder is not None else ""
        return holder is not None


def _open_task(number: int, id: str, type: str, text: str, visible: int) -> OpenTask:
    values = json.loads(text)
    if not type.startswith(HUB):
        return OpenTask(number, id, type, values, visible)
    terms = GuestTerms(values["allow"], values["most"])
    return OpenTask(number, id, type.removeprefix(HUB), values["parameters"], visible, terms)


async def offer(
    task: PostgresDatabase,
    machine: str,
    type: str,
    parameters: Mapping[str, Any],
    terms: GuestTerms,
) -> None:
    """Let other machines help with a task that the hub on this machine holds."""
    text = json.dumps({"parameters": parameters, "allow": terms.allow, "most": terms.most})
    await task.change(OFFER, (HUB + type, text, machine))


async def withdraw(task: PostgresDatabase, machine: str) -> None:
    """Let other machines no longer help. They finish what they had begun."""
    await task.change(OFFER, ("", "{}", machine))


async def settle(task: PostgresDatabase) -> None:
    """Delete all messages: those that a machine holds, only when it has given them back or
    finished them, or after a while."""
    deadline = time.monotonic() + SETTLE
    while True:
        await task.change(DELETE_FREE)
        if not await task.rows(FIND_HELD) or time.monotonic() > deadline:
            break
        await asyncio.sleep(BEAT / 4)
    await task.change("DELETE FROM dth.message_{n}")


@asynccontextmanager
async def join(address: str, name: str) -> AsyncIterator[JoinedMachine]:
    """Be a machine that uses the database, until the end of the context."""
    async with open_database(address, "", name) as database:
        machine = JoinedMachine(database, name)
        await machine.beat()
        beating = asyncio.create_task(_keep_beating(machine))
        try:
            yield machine
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            # The others notice its silence.
            with contextlib.suppress(StateError):
                await machine.leave()


async def _keep_beating(machine: JoinedMachine) -> None:
    while True:
        await asyncio.sleep(BEAT)
        # Whoever uses the database will say what is wrong with it.
        with contextlib.suppress(StateError):
            await machine.beat()


BEAT_ONCE = f"""
    INSERT INTO dth.machine AS machine (name, since, seen) VALUES (%(name)s, {NOW}, {NOW})
    ON CONFLICT (name) DO UPDATE SET seen = excluded.seen, since = CASE
        WHEN machine.seen < excluded.seen - %(dead)s::float8 THEN excluded.seen ELSE machine.since
    END
    RETURNING seen - since
"""
LIVES = f"EXISTS (SELECT FROM dth.machine WHERE name = task.holder AND seen > {NOW} - %s::float8)"


async def _bury(work: Work, name: str) -> list[str]:
    gone = [each for (each,) in await work.rows(BURY, (name, DEAD_AFTER))]
    if gone:
        await free(work, gone)
    return gone


BURY = f"DELETE FROM dth.machine WHERE name <> %s AND seen < {NOW} - %s::float8 RETURNING name"


async def free(work: Work, machines: Sequence[str]) -> None:
    """Make free at once what the processes of these machines had taken: messages, and uploads to
    complete."""
    await _free(work, "split_part(owner, '/', 1) = ANY(%s)", machines)


async def free_here(work: Work, machine: str) -> None:
    """As `free`, for one machine, and no task but this one."""
    await _free(work, "split_part(owner, '/', 1) = ANY(%s) AND task = {n}", [machine])


async def _free(work: Work, which: str, names: Sequence[str]) -> None:
    for statement in FREE:
        await work.change(f"{statement} AND {which}", (list(names),))


FREE = (
    """
    UPDATE dth.message SET visible_at = statement_timestamp(), receipt = NULL, owner = NULL
    WHERE NOT dead AND visible_at > statement_timestamp()
    """,
    "UPDATE dth.upload SET lease_until = 0 WHERE state = 'COMPLETING'",
)


async def _leave(work: Work, name: str) -> None:
    await work.change("DELETE FROM dth.machine WHERE name = %s", (name,))
    await work.change("UPDATE dth.task SET holder = NULL WHERE holder = %s", (name,))
    await free(work, [name])


async def _claim(work: Work, name: str, type: str, parameters: str) -> str | None:
    """The machine that holds the task; "" if it is this one from now on; None: there is no task."""
    found = await work.rows(FIND_HOLDER, (DEAD_AFTER,))
    if not found:
        return None
    [(holder, lives)] = found
    if lives and holder != name:
        return str(holder)
    if holder:
        await free(work, [holder])
    await work.change(CLAIM, (name, type, parameters))
    return ""


FIND_HOLDER = f"SELECT holder, {LIVES} FROM dth.task WHERE number = {{n}} FOR NO KEY UPDATE"
CLAIM = "UPDATE dth.task SET holder = %s, type = %s, parameters = %s WHERE number = {n}"
OFFER = "UPDATE dth.task SET type = %s, parameters = %s WHERE number = {n} AND holder = %s"
_HELD = "receipt IS NOT NULL AND NOT dead AND visible_at > statement_timestamp()"
DELETE_FREE = f"DELETE FROM dth.message_{{n}} WHERE NOT ({_HELD})"
FIND_HELD = f"SELECT FROM dth.message_{{n}} WHERE {_HELD} LIMIT 1"


async def _reserve(work: Work, task: int, name: str, workers: int, most: int) -> bool:
    # One machine at a time; and the task may have been deleted.
    if not await work.rows("SELECT FROM dth.task WHERE number = %s FOR NO KEY UPDATE", (task,)):
        return False
    [[others]] = await work.rows(OTHERS, (task, name))
    return others + workers <= most and await work.change(RESERVE, (task, workers, name)) > 0


HOLDS_SOME = """
    SELECT FROM dth.message WHERE task = %s AND split_part(owner, '/', 1) = %s
    AND receipt IS NOT NULL AND NOT dead AND visible_at > statement_timestamp() LIMIT 1
"""
OTHERS = """
    SELECT coalesce(sum(workers), 0)::bigint FROM dth.helper WHERE task = %s AND machine <> %s
"""
RESERVE = """
    INSERT INTO dth.helper (task, machine, workers)
    SELECT %s::int, name, %s::int FROM dth.machine WHERE name = %s FOR KEY SHARE
    ON CONFLICT (task, machine) DO UPDATE SET workers = excluded.workers
"""
GIVE_UP = "UPDATE dth.helper SET workers = %s WHERE task = %s AND machine = %s"
OPEN_TASKS = f"""
    SELECT number, id, type, parameters, (
        SELECT count(*) FROM (
            SELECT FROM dth.message WHERE message.task = task.number AND NOT dead
            AND visible_at <= statement_timestamp() LIMIT %s::bigint
        ) AS waiting
    )
    FROM dth.task WHERE type <> '' AND paused IS NULL AND {LIVES} ORDER BY number
"""
