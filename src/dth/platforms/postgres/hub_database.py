"""The database of a hub: its tables are in the schema `dth_hub`, and its statements are built with
SQLAlchemy.

One transaction at a time writes, as in SQLite: what a hub reads before it writes stays true until
the commit, whatever other hubs do. These writes are small. Nothing stays with a connection from one
transaction to the next, so a pooler such as PgBouncer may stand in between.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, Self, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError

from dth.core.errors import DatabaseAway, StateError, UsageError
from dth.platforms.postgres.address import advice, said, shown
from dth.platforms.postgres.database import refuse_unfit
from dth.platforms.postgres.link import IDLE, is_lost, patient

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA = "dth_hub"
# Connections of a process that read; one more writes.
READERS = 3
# Seconds for which a transaction is tried again while the database does not answer. A request waits
# for it.
PATIENCE = 5.0
# Whoever writes holds this lock, and whoever creates the tables.
WRITING = 0x68756220
# A hub that is stopped in a transaction loses its turn; whoever waits for it longer gives up.
LONGEST = f"{IDLE}; SET LOCAL lock_timeout = '60s'"
PLACE = f"SET LOCAL search_path = {SCHEMA}"
READ = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {LONGEST}; {PLACE}"
WRITE = f"BEGIN; {LONGEST}; {PLACE}; SELECT pg_advisory_xact_lock({WRITING})"


# What the user of the database can mend.
FIXABLE = (
    psycopg.OperationalError,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ReadOnlySqlTransaction,
)
# The one hub that works with the tables.
LEADER = f"SELECT name FROM {SCHEMA}.leader"
LEADER_COLUMNS = f"""
    SELECT attname FROM pg_attribute WHERE attrelid = '{SCHEMA}.leader'::regclass AND attnum > 0
"""
AWAY = "the database %s does not answer, and this hub waits for it: %s; %s"
REPLACED = "another hub has taken over this database, because this one did not reach it for long"


log = logging.getLogger(__name__)


class PostgresHubDatabase:
    """A hub's tables, as one process uses them. All work runs in threads of its own."""

    def __init__(self, address: str) -> None:
        """Use `open` instead."""
        self.address = address
        # The hub for which this process writes; "": nobody has to lead.
        self.leader = ""
        # Apart from each other, as a writer may wait for those of other hubs.
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="hub-reader")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="hub-writer")
        self._engine = _engine(address)
        # Whether the log says that the database is away, and who may change that.
        self._is_away = False
        self._telling = threading.Lock()

    @classmethod
    def open(cls, address: str, prepare: Callable[[Connection], None]) -> Self:
        """Connect. `prepare` creates or upgrades the tables, in a write transaction. Raises
        StateError if the database cannot be used."""
        database = cls(address)
        try:
            database._writer.submit(database._prepare, prepare).result()
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Finish the work that was begun, and close."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def read(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work(connection, ...)` in a transaction that sees one snapshot and takes no lock."""
        return await _hop(self._readers, lambda: self._retried(READ, work, *args, **kwargs))

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work(connection, ...)` as the only writer. If it raises, none of its changes are
        kept. It is run again if the connection was lost before the commit. If it was lost during
        the commit, nobody knows whether the changes were kept: that is an error."""
        return await _hop(self._writer, lambda: self._retried(WRITE, work, *args, **kwargs))

    def _prepare(self, prepare: Callable[[Connection], None]) -> None:
        try:
            with psycopg.connect(patient(self.address)) as connection:
                refuse_unfit(connection.info, self.address)
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (WRITING,))
                [missing] = connection.execute(
                    "SELECT to_regnamespace(%s) IS NULL", (SCHEMA,)
                ).fetchone() or [True]
                if missing:
                    connection.execute(f"CREATE SCHEMA {SCHEMA}")
                connection.execute(
                    f'CREATE TABLE IF NOT EXISTS {SCHEMA}.leader (name text COLLATE "C")'
                )
                # Only where one is missing: it locks the table, which the leader reads.
                there = {name for (name,) in connection.execute(LEADER_COLUMNS)}
                for column in ("url", "token", "certificate"):
                    if column not in there:
                        connection.execute(
                            f'ALTER TABLE {SCHEMA}.leader ADD COLUMN {column} text COLLATE "C" '
                            "NOT NULL DEFAULT ''"
                        )
            self._transact(WRITE, prepare, [])
        except (psycopg.Error, DBAPIError) as error:
            raise self._unusable("cannot be used", error) from error

    def _retried(
        self,
        begin: str,
        work: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        deadline = time.monotonic() + PATIENCE
        while True:
            committing: list[bool] = []
            try:
                result = self._transact(begin, work, committing, *args, **kwargs)
                self._tell_away(None)
                return result
            except DBAPIError as error:
                if not _is_lost(error):
                    raise self._explained(error) from error
                if committing and begin == WRITE:
                    raise self._unusable("was lost during a commit", error) from error
                if time.monotonic() > deadline:
                    self._tell_away(error)
                    raise DatabaseAway(str(self._unusable("cannot be used", error))) from error
            time.sleep(0.2)

    def _tell_away(self, error: DBAPIError | None) -> None:
        """Log once that the database is away, and once that it is back."""
        with self._telling:
            if self._is_away == bool(error):
                return
            self._is_away = bool(error)
        if error:
            text = said(error.orig or error, self.address)
            log.warning(AWAY, shown(self.address), text, advice(text))
        else:
            log.warning("the database %s answers again", shown(self.address))

    def _transact(
        self,
        begin: str,
        work: Callable[Concatenate[Connection, P], T],
        committing: list[bool],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run one transaction. Notes in `committing` that its commit began."""
        with self._engine.connect().execution_options(begin=begin) as connection:
            try:
                with connection.begin():
                    if begin == WRITE and self.leader:
                        self._check_leader(connection)
                    result = work(connection, *args, **kwargs)
                    committing.append(True)
                return result
            except DBAPIError as error:
                if _is_lost(error):
                    connection.invalidate(error)
                raise

    def _check_leader(self, connection: Connection) -> None:
        """Raises StateError if another hub has taken over: this one was silent for so long that it
        seemed dead. What it writes now would undo what the other one does."""
        if connection.exec_driver_sql(LEADER).scalar() != self.leader:
            raise StateError(REPLACED)

    def _explained(self, error: DBAPIError) -> Exception:
        """An error that the user can fix becomes one line. Any other error is a defect of this
        program and stays unchanged."""
        if isinstance(error.orig, psycopg.DataError) and "NUL" in str(error.orig):
            return UsageError("a text contains the character NUL, which the database does not take")
        if isinstance(error.orig, FIXABLE):
            return self._unusable("cannot be used", error)
        return error

    def _unusable(self, what: str, error: Exception) -> StateError:
        text = said(getattr(error, "orig", None) or error, self.address)
        return StateError(f"the database {shown(self.address)} {what}: {text}; {advice(text)}")


def find_secret(address: str, name: str) -> tuple[bytes, str] | None:
    """The encrypted value of a secret and its hosts, for a process that has nothing else to do with
    the tables of the hub. Raises StateError if the database cannot be used."""
    try:
        with psycopg.connect(patient(address)) as connection:
            query = f"SELECT value, hosts FROM {SCHEMA}.secret WHERE name = %s"
            row: tuple[bytes, str] | None = connection.execute(query, (name,)).fetchone()
            return row
    except psycopg.Error as error:
        text = said(error, address)
        raise (DatabaseAway if is_lost(error) else StateError)(
            f"the database {shown(address)} cannot be used: {text}; {advice(text)}"
        ) from error


async def _hop(threads: ThreadPoolExecutor, job: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, job)


def _engine(address: str) -> Engine:
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: _connect(address),
        poolclass=QueuePool,
        pool_size=READERS + 1,
        max_overflow=0,
        use_native_hstore=False,
    )

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options()["begin"])

    return engine


def _connect(address: str) -> psycopg.Connection:
    """A connection whose transactions begin where a statement says so."""
    connection = psycopg.connect(patient(address), autocommit=True, prepare_threshold=None)
    # JSON is text here, as in SQLite.
    connection.adapters.register_loader("json", psycopg.types.string.TextLoader)
    return connection


def _is_lost(error: DBAPIError) -> bool:
    """Whether the connection failed, and not the statement."""
    return error.connection_invalidated or is_lost(error.orig)
