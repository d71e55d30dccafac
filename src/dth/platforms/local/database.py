"""A SQLite file, its pragmas, its transactions, and the one thread that uses it. Either a task's
database, in plain SQL so that a transfer imports little when it starts, or the hub's
(`hub_database`).

SQLite has one writer at a time. Every write transaction is `BEGIN IMMEDIATE`: it waits for its turn
before it reads, so it never fails half-way because another process wrote in between.
"""

import asyncio
import errno
import logging
import os
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar

from dth.core.errors import StateError
from dth.platforms.local import migrations, schema
from dth.platforms.local.filesystem import refuse_network_file_system


class Connected(Protocol):
    """A connection, of either library."""

    def begin(self) -> AbstractContextManager[Any]:
        """A transaction: committed at the end of the context, or rolled back if the context
        raises."""
        ...

    def close(self) -> None: ...


C = TypeVar("C", bound=Connected)
P = ParamSpec("P")
T = TypeVar("T")

OLDEST = (3, 35)  # the first version with RETURNING

# The most seconds to wait while another process locks the file.
BUSY = 60.0
PRAGMAS = (
    f"busy_timeout = {BUSY * 1000:.0f}",
    # A power failure may lose the last moments, but the file stays intact and in order.
    "synchronous = NORMAL",
    "foreign_keys = ON",
    "temp_store = MEMORY",
    "cache_size = -16000",
    # Some distributions overwrite deleted data, which means more pages to write.
    "secure_delete = OFF",
)
READ, WRITE = "BEGIN", "BEGIN IMMEDIATE"


log = logging.getLogger(__name__)

NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
TOO_MANY_FILES = (
    "there are too many open files; raise the limit of the process (ulimit -n, LimitNOFILE)"
)


class Connection(sqlite3.Connection):
    """A connection of the driver."""

    beginning = READ

    def begin(self) -> Self:
        self.execute(self.beginning)
        return self


class Database(ABC, Generic[C]):
    """A database, as one process has it open.

    All work runs in a thread of its own, so that the event loop never waits for a disk or another
    process.
    """

    # Pages in the log before a checkpoint writes them to the file (16 MB). A checkpoint syncs the
    # file, and copies a page that was written often only once.
    log_pages: ClassVar[int] = 4000
    log_limit: ClassVar[int] = 64 * 1024 * 1024  # bytes of the log that stay on disk
    # Errors that the file can cause.
    errors: ClassVar[tuple[type[Exception], ...]] = (sqlite3.Error,)

    def __init__(self, path: Path) -> None:
        """Use `open` instead."""
        self.path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=path.name)
        self._reader: C
        self._writer: C

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file; create or migrate it if needed. Raises StateError if it cannot be used."""
        database = cls(path)
        try:
            database._thread.submit(database._connect).result()
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Finish the work that was begun, and close."""
        self._thread.submit(self._disconnect).result()
        self._thread.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def read(
        self, work: Callable[Concatenate[C, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work(connection, ...)` in a transaction that sees one snapshot and takes no lock."""
        return await self._hop(lambda: self._transact(self._reader, work, *args, **kwargs))

    async def write(
        self, work: Callable[Concatenate[C, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work(connection, ...)` as the only writer. If it raises, none of its changes are
        kept."""
        return await self._hop(lambda: self._transact(self._writer, work, *args, **kwargs))

    async def _hop(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    def _transact(
        self, connection: C, work: Callable[Concatenate[C, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        try:
            with connection.begin():
                return work(connection, *args, **kwargs)
        except self.errors as error:
            raise self._explained(error) from error

    def _connect(self) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            raise StateError(
                f"SQLite {sqlite3.sqlite_version} is too old for the state; 3.35 is needed at least"
            )
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            refuse_network_file_system(self.path.parent)
            self._writer = self._connection(WRITE)
            with self._writer.begin():
                self._prepare(self._writer)
            self._reader = self._connection(READ)
        except OSError as error:
            if error.errno in NO_DESCRIPTORS:
                raise self._crowded() from error
            raise StateError(f"{self.path} cannot be used: {error.strerror}") from error
        except self.errors as error:
            raise self._explained(error) from error

    @abstractmethod
    def _connection(self, begin: str) -> C:
        """Connect. Transactions begin with `begin`."""

    @abstractmethod
    def _prepare(self, connection: C) -> None:
        """Create or update the tables, in a transaction."""

    def _driver(self, begin: str) -> "Connection":
        """A connection of the driver. The driver must not begin transactions itself: it would begin
        them late, and never IMMEDIATE."""
        connection = sqlite3.connect(
            self.path,
            isolation_level=None,
            # `bulk` uses up to eight lengths of one statement.
            cached_statements=512,
            factory=Connection,
        )
        connection.beginning = begin
        _use_wal(connection)
        log = (f"wal_autocheckpoint = {self.log_pages}", f"journal_size_limit = {self.log_limit}")
        only = ("query_only = ON",) if begin == READ else ()
        for pragma in (*PRAGMAS, *log, *only):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _crowded(self) -> StateError:
        """SQLite reports the lack of file descriptors with the same error as any file that cannot
        be opened."""
        log.error("%s: %s", self.path, TOO_MANY_FILES)
        return StateError(f"{self.path}: {TOO_MANY_FILES}")

    def _disconnect(self) -> None:
        for name in ("_reader", "_writer"):
            connection: C | None = getattr(self, name, None)
            if connection is not None:
                connection.close()

    def _explained(self, error: Exception) -> Exception:
        """An error that the user can fix becomes a StateError. Any other error is a defect of this
        program and stays unchanged."""
        code = getattr(getattr(error, "orig", error), "sqlite_errorname", "")
        if code.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR")) and _no_descriptor_is_left():
            return self._crowded()
        for prefix, line in EXPLANATIONS.items():
            if code.startswith(prefix):
                return StateError(f"{self.path}: {line}")
        return error


def _no_descriptor_is_left() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in NO_DESCRIPTORS
    return False


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch a new file to WAL. If several processes do this at the same time, SQLite rejects all
    but one immediately, whatever the busy timeout; those try again."""
    deadline = time.monotonic() + BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class TaskDatabase(Database[Connection]):
    """The database of one task."""

    async def execute(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Run one statement that writes. Returns the number of rows written."""
        return await self.write(_execute, statement, values)

    def _connection(self, begin: str) -> Connection:
        return self._driver(begin)

    def _prepare(self, connection: Connection) -> None:
        version = migrations.FileVersion(connection.execute)
        migrations.migrate(connection, version, schema.create, migrations.STEPS)
        schema.run_all(connection, schema.SCRATCH)


def _execute(
    connection: Connection, statement: str, values: Sequence[Any] | Mapping[str, Any]
) -> int:
    return connection.execute(statement, values).rowcount


EXPLANATIONS = {
    "SQLITE_FULL": "the disk is full; free some space and start the task again, nothing is lost",
    "SQLITE_IOERR": (
        "the disk failed to read or write; check its space and health, then start the task again"
    ),
    "SQLITE_CORRUPT": (
        "the database is damaged; restore a backup, or remove it and the next run compares again"
    ),
    "SQLITE_NOTADB": (
        "this is not a database; restore a backup, or remove it and the next run compares again"
    ),
    "SQLITE_BUSY": (
        "another process has kept it locked for a minute; look for one that is stopped or hangs"
    ),
    "SQLITE_READONLY": "the file cannot be written; check its owner and permissions",
    "SQLITE_CANTOPEN": "the file cannot be opened; check its directory, owner and permissions",
}
