"""Moves a hub from its data directory into a database, and back.

The tables of the hub move in one transaction, and at its end what was moved from gets another name:
two hubs never work on the same tasks. The states of tasks stay where they are. So a task with work
in progress is refused, and the next run of each task lists and compares everything: what it finds
at the destination is proven by the store, and not by what another database said.
"""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import Connection, Table, func, insert, select, text, update

from dth.compose.local.base import TASKS
from dth.core.errors import StateError, UsageError
from dth.hub.model import Summary
from dth.platforms.local import hub_migrations
from dth.platforms.local.filesystem import lock_state_directory
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.hub_schema import metadata, outbox, task
from dth.platforms.local.platform import DATABASE_FILE as TASK_DATABASE
from dth.platforms.local.sql import POSTGRES
from dth.platforms.local.vault import DATABASE_FILE, read_only
from dth.platforms.postgres.address import shown
from dth.platforms.postgres.hub_database import SCHEMA, PostgresHubDatabase
from dth.platforms.postgres.leader import living_hub

# What is added to the name of what was moved from, and of a file that is not complete.
MOVED, PARTIAL = ".migrated", ".new"
MOVED_SCHEMA = f"{SCHEMA}_migrated"
ROWS = 1000  # at once

# Objects and images that wait or are in progress, and uploads that were begun.
UNFINISHED = "SELECT EXISTS (SELECT 1 FROM message WHERE dead = 0) OR EXISTS (SELECT 1 FROM upload)"
SHARED_UNFINISHED = """
    SELECT id FROM dth.task AS task WHERE
    EXISTS (SELECT FROM dth.message WHERE message.task = task.number AND NOT dead)
    OR EXISTS (SELECT FROM dth.upload WHERE upload.task = task.number)
"""
BUSY = (
    "work is in progress in {}; let it end, or stop these tasks (dth task stop): their state does "
    "not move"
)


def to_database(folder: Path, address: str) -> dict[str, int]:
    """Move the hub in a data directory into a database. Returns how many rows each table has.
    Raises HubError if a hub runs on either, or the database is not empty."""
    file = folder / DATABASE_FILE
    if not file.exists():
        raise UsageError(f"{folder} is not the data directory of a hub: it has no {DATABASE_FILE}")
    for path in (file, folder / TASKS):
        _refuse_existing(path.with_name(f"{path.name}{MOVED}"))
    with _locked(folder), PostgresHubDatabase.open(address, hub_migrations.prepare) as database:
        _refuse_unfinished(_unfinished_in(folder / TASKS))

        def move(connection: Connection) -> dict[str, int]:
            _refuse_living(connection, address)
            _refuse_rows(connection, address)
            with HubDatabase.open(file) as source:
                # The thread of the file's connection does the work.
                moved = asyncio.run(source.read(_copy, connection))
            _set_counters(connection)
            for path in (file, folder / TASKS):
                if path.exists():
                    path.rename(path.with_name(f"{path.name}{MOVED}"))
            return moved

        return asyncio.run(database.write(move))


def to_folder(address: str, folder: Path) -> dict[str, int]:
    """As `to_database`, the other way."""
    file = folder / DATABASE_FILE
    written = file.with_name(f"{DATABASE_FILE}{PARTIAL}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_existing(file)
    for state in (folder / TASKS).glob(f"*/{TASK_DATABASE}"):
        _refuse_existing(state)
    with _locked(folder), PostgresHubDatabase.open(address, hub_migrations.prepare) as database:

        def move(connection: Connection) -> dict[str, int]:
            _refuse_living(connection, address)
            _refuse_unfinished(_unfinished_among(connection))
            if connection.scalar(text(f"SELECT to_regnamespace('{MOVED_SCHEMA}') IS NOT NULL")):
                raise UsageError(
                    f"{shown(address)} has the schema {MOVED_SCHEMA} of an earlier move: drop it, "
                    "or rename it"
                )
            for left in folder.glob(f"{written.name}*"):  # of a move that was interrupted
                left.unlink()
            with HubDatabase.open(written) as target:
                moved = asyncio.run(target.write(_receive, connection))
            connection.execute(text(f"ALTER SCHEMA {SCHEMA} RENAME TO {MOVED_SCHEMA}"))
            written.rename(file)
            return moved

        return asyncio.run(database.write(move))


def _receive(target: Connection, source: Connection) -> dict[str, int]:
    return _copy(source, target)


def _copy(source: Connection, target: Connection) -> dict[str, int]:
    """Copy all tables into empty ones. Returns how many rows each has."""
    moved = {}
    for table in metadata.sorted_tables:
        rows = source.execute(select(table), execution_options={"yield_per": ROWS})
        for some in rows.mappings().partitions():
            target.execute(insert(table), [dict(row) for row in some])
        count, there = (_count(each, table) for each in (source, target))
        if count != there:
            raise StateError(f"of {count} rows of the table {table.name}, {there} have arrived")
        if count:
            moved[table.name] = count
    # Runs get new numbers in the new place, so nothing may refer to the old ones.
    fresh = {"summary": json.dumps(asdict(Summary())), "acknowledged": "null"}
    target.execute(update(task).values(fresh | {"look_at": 0, "held": 0}))
    target.execute(update(outbox).values(once=None))
    return moved


def _count(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0


def _set_counters(connection: Connection) -> None:
    """Rows that came with their numbers did not count for the database."""
    assert connection.dialect.name == POSTGRES
    for table in metadata.sorted_tables:
        column = table.autoincrement_column
        if column is None:
            continue
        name = f"{SCHEMA}.{table.name}"
        sequence = connection.scalar(
            text("SELECT pg_get_serial_sequence(:table, :column)"),
            {"table": name, "column": column.name},
        )
        if sequence and (newest := connection.scalar(select(func.max(column)))):
            connection.execute(text("SELECT setval(:name, :to)"), {"name": sequence, "to": newest})


# --------------------------------------------------------------------------------------- conditions


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        lock = lock_state_directory(folder, wait=0.0)
    except StateError as error:
        raise StateError(f"a hub runs with this data directory; end it first: {error}") from None
    with lock:
        yield


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise UsageError(f"{path} exists; name another directory, or move that away first")


def _refuse_living(connection: Connection, address: str) -> None:
    if name := living_hub(connection):
        raise StateError(f"a hub works with the database {shown(address)}: {name}; end it first")


def _refuse_rows(connection: Connection, address: str) -> None:
    """States of tasks would be taken for those of the tasks that come."""
    filled = [table.name for table in metadata.sorted_tables if _count(connection, table)]
    if connection.scalar(text("SELECT to_regclass('dth.task') IS NOT NULL")):
        filled += ["dth.task"] * bool(connection.scalar(text("SELECT count(*) FROM dth.task")))
    if filled:
        raise UsageError(
            f"the database {shown(address)} is not empty ({', '.join(filled)}); name an empty one"
        )


def _refuse_unfinished(tasks: Sequence[str]) -> None:
    if tasks:
        raise StateError(BUSY.format(", ".join(sorted(tasks))))


def _unfinished_in(tasks: Path) -> list[str]:
    found = []
    for path in tasks.glob(f"*/{TASK_DATABASE}"):
        try:
            with contextlib.closing(read_only(path)) as state:
                [busy] = state.execute(UNFINISHED).fetchone()
        except sqlite3.Error as error:
            raise StateError(f"{path} cannot be read: {error}") from None
        if busy:
            found.append(path.parent.name)
    return found


def _unfinished_among(connection: Connection) -> list[str]:
    ids = set(connection.scalars(select(task.c.id)))
    if not connection.scalar(text("SELECT to_regclass('dth.task') IS NOT NULL")):
        return []
    return [each for each in connection.scalars(text(SHARED_UNFINISHED)) if each in ids]
