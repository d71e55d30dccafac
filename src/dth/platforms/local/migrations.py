"""Bringing an older database to the present schema, one step a version, in the file's `user_version`."""

from collections.abc import Callable, Sequence
from sqlite3 import Connection
from typing import Any, TypeVar

from dth.core.errors import StateError
from dth.platforms.local import schema

C = TypeVar("C")


def measure_more(connection: Connection) -> None:
    """Gauges tell lives apart, count errors and know latencies."""
    for column, kind in (
        ("started", "FLOAT"),
        ("errors", "INTEGER"),
        ("source_latency", "FLOAT"),
        ("dest_latency", "FLOAT"),
    ):
        connection.execute(f"ALTER TABLE gauge ADD COLUMN {column} {kind} NOT NULL DEFAULT 0")


def know_images(connection: Connection) -> None:
    """What runs did with images."""
    schema.run_all(connection, schema.IMAGES)


def know_who_verified(connection: Connection) -> None:
    """Records say who confirmed a copy; runs count it, and copies that lack something."""
    for table in ("record", "part"):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN verified TEXT NOT NULL DEFAULT ''")
    for column in ("verified_store", "verified_etag", "verified_source", "verified_content", "incomplete"):
        connection.execute(f"ALTER TABLE run ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")


def act_live(connection: Connection) -> None:
    """The rate that holds stands beside its bucket. Gauges know what is under way."""
    connection.execute("ALTER TABLE bucket ADD COLUMN rate FLOAT NOT NULL DEFAULT 0")
    for column in ("counted", "under_way"):
        connection.execute(f"ALTER TABLE gauge ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")


def know_what_uploads_cover(connection: Connection) -> None:
    """Uploads know the last event before them."""
    connection.execute("ALTER TABLE upload ADD COLUMN sequencer TEXT")


def know_the_parts_of_sources(connection: Connection) -> None:
    """Uploads know the size of the source's parts, and parts their MD5s."""
    connection.execute("ALTER TABLE upload ADD COLUMN source_part INTEGER NOT NULL DEFAULT 0")
    connection.execute("ALTER TABLE part ADD COLUMN digests TEXT NOT NULL DEFAULT ''")


def find_and_certify(connection: Connection) -> None:
    """Pages of records have an index each, and runs keep a digest of their records."""
    schema.run_all(connection, (*schema.RECORD_INDEXES, schema.DIGEST))


# STEPS[n] brings version n + 1 to version n + 2. A new file starts at the last version.
STEPS: list[Callable[[Connection], None]] = [
    measure_more,
    know_images,
    know_who_verified,
    act_live,
    know_what_uploads_cover,
    know_the_parts_of_sources,
    find_and_certify,
]


def migrate(
    connection: C,
    execute: Callable[[str], Any],
    create: Callable[[C], None],
    steps: Sequence[Callable[[C], None]],
) -> None:
    """Create or upgrade the tables. The caller holds the write transaction: of two processes one does it."""
    latest = len(steps) + 1
    version: int = execute("PRAGMA user_version").fetchone()[0]
    if version > latest:
        raise StateError(
            f"The state was written by a newer version of Data Transfer Hub (schema {version}, known here:"
            f" {latest}); upgrade this installation or use another state directory"
        )
    if version == latest:
        return
    if version == 0:
        create(connection)
    else:
        for step in steps[version - 1 :]:
            step(connection)
    execute(f"PRAGMA user_version = {latest}")
