"""Migrates an older database to the current schema, one step per version; the version of a file is
its `user_version`."""

from collections.abc import Callable, Sequence
from sqlite3 import Connection
from typing import Any, Protocol, TypeVar

from dth.core.errors import StateError
from dth.platforms.local import schema

C = TypeVar("C")


def measure_more(connection: Connection) -> None:
    """Gauges distinguish lives of a process, count errors and record latencies."""
    for column, kind in (
        ("started", "FLOAT"),
        ("errors", "INTEGER"),
        ("source_latency", "FLOAT"),
        ("dest_latency", "FLOAT"),
    ):
        connection.execute(f"ALTER TABLE gauge ADD COLUMN {column} {kind} NOT NULL DEFAULT 0")


def know_images(connection: Connection) -> None:
    """The history of images."""
    schema.run_all(connection, schema.IMAGES)


def know_who_verified(connection: Connection) -> None:
    """Records store who confirmed a copy; runs count this, and copies that lack something."""
    for table in ("record", "part"):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN verified TEXT NOT NULL DEFAULT ''")
    for column in (
        "verified_store",
        "verified_etag",
        "verified_source",
        "verified_content",
        "incomplete",
    ):
        connection.execute(f"ALTER TABLE run ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")


def act_live(connection: Connection) -> None:
    """The current rate is stored with its bucket. Gauges report bytes in progress."""
    connection.execute("ALTER TABLE bucket ADD COLUMN rate FLOAT NOT NULL DEFAULT 0")
    for column in ("counted", "under_way"):
        connection.execute(f"ALTER TABLE gauge ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")


def know_what_uploads_cover(connection: Connection) -> None:
    """Uploads store the last event before them."""
    connection.execute("ALTER TABLE upload ADD COLUMN sequencer TEXT")


def know_the_parts_of_sources(connection: Connection) -> None:
    """Uploads store the part size of the source, and parts their MD5s."""
    connection.execute("ALTER TABLE upload ADD COLUMN source_part INTEGER NOT NULL DEFAULT 0")
    connection.execute("ALTER TABLE part ADD COLUMN digests TEXT NOT NULL DEFAULT ''")


def find_and_certify(connection: Connection) -> None:
    """Each query for pages of records gets an index, and runs keep a digest of their records."""
    schema.run_all(connection, (*schema.RECORD_INDEXES, schema.DIGEST))


# STEPS[n] migrates from version n + 1 to version n + 2. A new file starts at the last version.
STEPS: list[Callable[[Connection], None]] = [
    measure_more,
    know_images,
    know_who_verified,
    act_live,
    know_what_uploads_cover,
    know_the_parts_of_sources,
    find_and_certify,
]


class FileVersion:
    """The version of a SQLite file; 0: it is new. `execute` runs a statement."""

    def __init__(self, execute: Callable[[str], Any]) -> None:
        self._execute = execute

    def read(self) -> int:
        return int(self._execute("PRAGMA user_version").fetchone()[0])

    def write(self, version: int) -> None:
        self._execute(f"PRAGMA user_version = {version}")


class Version(Protocol):
    """Where a database has its version; 0: it is new."""

    def read(self) -> int: ...

    def write(self, version: int) -> None: ...


def migrate(
    connection: C,
    stored: Version,
    create: Callable[[C], None],
    steps: Sequence[Callable[[C], None]],
) -> None:
    """Create or upgrade the tables. The caller holds the write transaction, so only one process
    does it."""
    latest = len(steps) + 1
    version = stored.read()
    if version > latest:
        raise StateError(
            f"The state was written by a newer version of Data Transfer Hub (schema {version}, "
            f"known here: {latest}); upgrade this installation or use another state directory"
        )
    if version == latest:
        return
    if version == 0:
        create(connection)
    else:
        for step in steps[version - 1 :]:
            step(connection)
    stored.write(latest)
