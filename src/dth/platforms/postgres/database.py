"""The connections of one process to the tables of one task.

No connection keeps a state from one transaction to the next, and nothing is prepared on the server,
so a pooler such as PgBouncer may stand in between, in its transaction mode. Times are those of the
database's clock, which the process follows (`core.clock`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor, ConnectionInfo, errors
from psycopg.pq import TransactionStatus

from dth.core import clock
from dth.core.cancelling import stays_cancelled
from dth.core.errors import DatabaseAway, StateError
from dth.platforms.postgres import schema
from dth.platforms.postgres.address import advice, said, shown
from dth.platforms.postgres.link import IDLE, is_lost, patient

P = ParamSpec("P")
T = TypeVar("T")
Row = tuple[Any, ...]

OLDEST = 150000
# Connections of a process: for its work, its heartbeats, and what it reports.
CONNECTIONS = 3
# Seconds for which a process tries to reach a database that does not answer.
PATIENCE = 30.0
# How often a transaction begins again because others changed the same rows.
TRIES = 10
# Seconds after which the clocks are compared again.
COMPARE_CLOCKS = 60.0
# Whoever creates tables holds this lock.
CREATING = 0x647468
NOW = "extract(epoch FROM statement_timestamp())::float8"


# That this process's command still runs the task.
HOLDS = "SELECT FROM dth.task WHERE number = {n} AND holder = %s FOR SHARE"


class TransactionRetry(Exception):
    """Others changed the same rows: the transaction has to begin again."""


@dataclass(frozen=True, slots=True)
class Work:
    """A transaction, or one statement."""

    cursor: AsyncCursor[Row]
    number: int
    holder: str = ""

    async def rows(self, statement: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
        """Run a statement. `{n}` in it stands for the number of the task. Returns its rows."""
        await self._execute(statement, values)
        return await self.cursor.fetchall()

    async def change(self, statement: str, values: Sequence[Any] | dict[str, Any] = ()) -> int:
        """Run a statement that returns no rows. Returns how many it wrote."""
        await self._execute(statement, values)
        return self.cursor.rowcount

    async def check_holder(self) -> None:
        """Raises StateError if another command has taken the task over: this one was silent for so
        long that it seemed dead. What both would count, both ledgers would have."""
        if self.holder and not await self.rows(HOLDS, (self.holder,)):
            raise StateError("another command has taken over this transfer; let that one finish")

    async def _execute(self, statement: str, values: Sequence[Any] | dict[str, Any]) -> None:
        await self.cursor.execute(statement.replace("{n}", str(self.number)), values)


class PostgresDatabase:
    """A task's tables, as one process uses them."""

    def __init__(self, address: str, number: int, process: str) -> None:
        """Use `open_database` instead."""
        self.address = address
        self.number = number
        self.process = process
        # The machine for which this process writes; "": nobody has to hold the task.
        self.holder = ""
        self._idle: list[AsyncConnection[Row]] = []
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._closed = False
        self._compared = time.monotonic()
        # When the database was first missed; 0: it answers. Monotonic.
        self._away_since = 0.0

    async def rows(
        self,
        statement: str,
        values: Sequence[Any] | dict[str, Any] = (),
        *,
        taken: str = "",
    ) -> list[Row]:
        """Run one statement as a transaction. If the connection is lost it is run again: it must
        not matter that it may have taken effect already. If it matters, `taken` is a query for what
        it would have returned, with the same values; its rows, if any, are the result."""
        tries = 0

        async def run(connection: AsyncConnection[Row]) -> list[Row]:
            nonlocal tries
            tries += 1
            work = Work(connection.cursor(binary=True), self.number)
            if tries > 1 and taken and (found := await work.rows(taken, values)):
                return found
            return await work.rows(statement, values)

        return await self._retried(run)

    async def change(self, statement: str, values: Sequence[Any] | dict[str, Any] = ()) -> int:
        """As `rows`, for a statement that returns none. Returns how many it wrote."""

        async def run(connection: AsyncConnection[Row]) -> int:
            return await Work(connection.cursor(), self.number).change(statement, values)

        return await self._retried(run)

    async def write(
        self, work: Callable[Concatenate[Work, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work(transaction, ...)` in a transaction. If it raises, none of its changes are
        kept. It is run again if others got in its way, or if the connection was lost before the
        commit. If it was lost during the commit, nobody knows whether the changes were kept: that
        is an error."""

        async def run(connection: AsyncConnection[Row]) -> T:
            committing = False
            try:
                async with _transaction(connection):
                    result = await work(
                        Work(connection.cursor(binary=True), self.number, self.holder),
                        *args,
                        **kwargs,
                    )
                    committing = True
            except psycopg.Error as error:
                if committing and is_lost(error):
                    lost = self._unusable("was lost during a commit", error)
                    raise DatabaseAway(str(lost)) from error
                raise
            return result

        return await self._retried(run)

    async def close(self) -> None:
        """Close the connections; one that is in use, when its work ends."""
        self._closed = True
        for connection in self._idle:
            await connection.close()
        self._idle.clear()

    async def _retried(self, run: Callable[[AsyncConnection[Row]], Awaitable[T]]) -> T:
        tries = 0
        while True:
            try:
                with stays_cancelled():
                    async with self._connection() as connection:
                        result = await run(connection)
                self._away_since = 0.0
                return result
            except (TransactionRetry, errors.DeadlockDetected, errors.SerializationFailure):
                tries += 1
                if tries == TRIES:
                    raise
            except errors.UndefinedTable as error:
                raise StateError("the task was deleted from the database") from error
            except psycopg.Error as error:
                if not is_lost(error):
                    if isinstance(error, psycopg.OperationalError):
                        raise self._unusable("cannot be used", error) from error
                    raise
                # What comes after the patience is at an end does not wait again.
                self._away_since = self._away_since or time.monotonic()
                if time.monotonic() > self._away_since + PATIENCE:
                    raise DatabaseAway(str(self._unusable("cannot be used", error))) from error
                await asyncio.sleep(0.2)

    def _unusable(self, what: str, error: psycopg.Error) -> StateError:
        text = said(error, self.address)
        return StateError(
            f"the database {shown(self.address)} {what}: {text}; {advice(text)}. Nothing is lost: "
            "run the same command again to resume"
        )

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[Row]]:
        async with self._turns:
            connection = self._idle.pop() if self._idle else await connect(self.address)
            try:
                if time.monotonic() > self._compared + COMPARE_CLOCKS:
                    await _follow_clock(connection)
                    self._compared = time.monotonic()
                yield connection
            except psycopg.Error as error:
                if is_lost(error):
                    await connection.close()
                raise
            finally:
                if self._closed or connection.closed or not _is_idle(connection):
                    await connection.close()
                else:
                    self._idle.append(connection)


async def connect(address: str) -> AsyncConnection[Row]:
    """A connection without a transaction that runs, and without prepared statements."""
    return await AsyncConnection.connect(patient(address), autocommit=True, prepare_threshold=None)


@asynccontextmanager
async def _transaction(connection: AsyncConnection[Row]) -> AsyncIterator[None]:
    """As `connection.transaction()`. Who is silent in it for long loses it, and what it locks."""
    await connection.execute(f"BEGIN; {IDLE}")
    try:
        yield
    except BaseException:
        # A connection that does not take this is not used again.
        with suppress(psycopg.Error):
            await connection.rollback()
        raise
    await connection.commit()


async def _follow_clock(connection: AsyncConnection[Row]) -> None:
    """From now on, this process has the time of the database."""
    before = time.time()
    [there] = await _one(connection, f"SELECT {NOW}")
    after = time.time()
    # The database read its clock between the two: a smaller difference cannot be measured.
    clock.follow(0.0 if before <= there <= after else there - (before + after) / 2)


def _is_idle(connection: AsyncConnection[Row]) -> bool:
    return connection.info.transaction_status == TransactionStatus.IDLE


@asynccontextmanager
async def open_database(address: str, task: str, process: str) -> AsyncIterator[PostgresDatabase]:
    """The tables of the task, made where they are missing; without a task, only those that all
    tasks share. Raises StateError if the database cannot be used."""
    try:
        number = await _find_or_make(address, task)
    except psycopg.Error as error:
        raise _unopened(error, address) from error
    database = PostgresDatabase(address, number, process)
    try:
        yield database
    finally:
        await database.close()


def _unopened(error: psycopg.Error, address: str) -> StateError:
    text = said(error, address)
    return (DatabaseAway if is_lost(error) else StateError)(
        f"the database {shown(address)} cannot be used: {text}; {advice(text)}"
    )


async def _find_or_make(address: str, task: str) -> int:
    connection = await connect(address)
    try:
        refuse_unfit(connection.info, address)
        await _follow_clock(connection)
        return await _number_of(connection, task)
    finally:
        await connection.close()


def refuse_unfit(info: ConnectionInfo, address: str) -> None:
    """Raises StateError for a server that is too old, and for a database that cannot keep every
    text."""
    if info.server_version < OLDEST:
        version = info.server_version // 10000
        raise StateError(
            f"the database {shown(address)} is PostgreSQL {version}; 15 or newer is needed"
        )
    encoding = info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StateError(
            f"the encoding of the database {shown(address)} is {encoding}; create one with "
            "ENCODING 'UTF8'"
        )


async def _number_of(connection: AsyncConnection[Row], task: str) -> int:
    with suppress(errors.UndefinedTable, errors.InvalidSchemaName):
        if await _version(connection) == schema.VERSION:
            if not task:
                return 0
            if number := await _number_found(connection, task):
                return number
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (CREATING,))
        [exists] = await _one(connection, "SELECT to_regclass('dth.version') IS NOT NULL")
        if not exists:
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS dth; {schema.TABLES}")
        version = await _version(connection)
        for step in schema.STEPS[version - 1 :]:
            await connection.execute(step)
        if version < schema.VERSION:
            await connection.execute("UPDATE dth.version SET version = %s", (schema.VERSION,))
        if not task:
            return 0
        if number := await _number_found(connection, task):
            return number
        [number] = await _one(
            connection, "INSERT INTO dth.task (id) VALUES (%s) RETURNING number", task
        )
        await connection.execute(schema.PARTITIONS.replace("{n}", str(number)))
    return int(number)


async def _number_found(connection: AsyncConnection[Row], task: str) -> int:
    """The number of the task; 0 if there is none."""
    find = "SELECT number FROM dth.task WHERE id = %s"
    found = await (await connection.execute(find, (task,))).fetchone()
    return int(found[0]) if found else 0


async def _version(connection: AsyncConnection[Row]) -> int:
    """The version of the tables. Raises StateError if it is newer than this program."""
    [version] = await _one(connection, "SELECT version FROM dth.version")
    if version > schema.VERSION:
        raise StateError(
            f"The database was written by a newer version of Data Transfer Hub (schema {version}, known here:"
            f" {schema.VERSION}); upgrade this installation"
        )
    return int(version)


async def _one(connection: AsyncConnection[Row], statement: str, *values: Any) -> Row:
    row = await (await connection.execute(statement, values or None)).fetchone()
    if row is None:
        raise StateError("the tables in the database are incomplete; restore a backup")
    return row


async def drop_task(address: str, task: str, holder: str = "") -> None:
    """Delete all that the database has about the task: its partitions are dropped. `holder`: only
    if this machine holds the task.

    That locks their parents, which transactions of other tasks use for a moment and a backup uses
    for long. So that nobody waits in line behind this, it gives up soon and tries again. Raises
    StateError if it never succeeds.
    """
    deadline = time.monotonic() + PATIENCE
    try:
        connection = await connect(address)
    except psycopg.Error as error:
        raise _unopened(error, address) from error
    try:
        while True:
            try:
                async with connection.transaction():
                    return await _drop(connection, task, holder)
            except errors.LockNotAvailable as error:
                if time.monotonic() > deadline:
                    raise StateError(
                        "the task's tables are in use, perhaps by a backup; try again later"
                    ) from error
                await asyncio.sleep(0.5)
            except psycopg.OperationalError as error:
                raise _unopened(error, address) from error
    finally:
        await connection.close()


DELETE_TASK = """
    DELETE FROM dth.task WHERE id = %s AND %s IN ('', coalesce(holder, '')) RETURNING number
"""


async def _drop(connection: AsyncConnection[Row], task: str, holder: str) -> None:
    await connection.execute("SET LOCAL lock_timeout = '500ms'")
    gone = await connection.execute(DELETE_TASK, (task, holder))
    if found := await gone.fetchone():
        names = ", ".join(f"dth.{table}_{found[0]}" for table in schema.PARTITIONED)
        await connection.execute(f"DROP TABLE {names}")
