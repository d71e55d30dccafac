import asyncio
import contextlib
import sqlite3
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import pytest

from dth.core.errors import StateError
from dth.core.ports.queue import Outgoing
from dth.core.ports.runs import Counts, RunKind
from dth.platforms.local import database as database_module
from dth.platforms.local import migrations
from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.platform import open_platform
from dth.platforms.local.records import LocalRecords


def pragma(connection: Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def table_count(connection: Connection) -> int:
    return connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]


async def test_a_new_file_has_the_tables_and_the_settings(tmp_path: Path) -> None:
    with TaskDatabase.open(tmp_path / "deep" / "task.db") as database:
        assert await database.read(pragma, "journal_mode") == "wal"
        assert await database.read(pragma, "user_version") == len(migrations.STEPS) + 1
        assert await database.write(pragma, "synchronous") == 1
        assert await database.write(pragma, "foreign_keys") == 1
        assert await database.write(pragma, "busy_timeout") >= 30_000
        assert await database.read(table_count) > 0


async def test_the_log_beside_a_small_database_stays_small(tmp_path: Path) -> None:
    log = tmp_path / "hub.db-wal"
    with HubDatabase.open(tmp_path / "hub.db") as database:
        for number in range(2000):
            await database.write(
                lambda c, n=number: c.exec_driver_sql(
                    "INSERT OR REPLACE INTO setting (name, value) VALUES (?, randomblob(5000))",
                    (f"{n % 9}",),
                )
            )
        assert log.stat().st_size < 2 * 1024 * 1024


async def test_a_write_that_raises_leaves_nothing(tmp_path: Path) -> None:
    def half(connection: Connection) -> None:
        connection.execute("INSERT INTO pause VALUES (1, 'half')")
        raise RuntimeError

    with TaskDatabase.open(tmp_path / "task.db") as database:
        with pytest.raises(RuntimeError):
            await database.write(half)
        assert await database.read(lambda c: c.execute("SELECT * FROM pause").fetchall()) == []


async def test_a_read_cannot_write(tmp_path: Path) -> None:
    with TaskDatabase.open(tmp_path / "task.db") as database, pytest.raises(StateError):
        await database.read(lambda c: c.execute("DELETE FROM pause"))


async def test_writes_take_the_lock_at_their_beginning_and_the_loop_goes_on_meanwhile(
    tmp_path: Path,
) -> None:
    path = tmp_path / "task.db"
    with TaskDatabase.open(path) as database:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        write = asyncio.create_task(database.write(lambda c: c.in_transaction))
        for _ in range(20):
            await asyncio.sleep(0.005)  # the loop is not blocked
        assert not write.done()
        other.execute("COMMIT")
        assert await write
        other.close()


async def test_a_lock_that_is_never_released_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "task.db"
    with TaskDatabase.open(path) as database:
        await database.write(pragma, "busy_timeout = 20")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="another process"):
            await database.write(table_count)
        other.close()
        assert await database.write(table_count)


async def test_a_full_disk_is_one_clear_line_and_loses_nothing(tmp_path: Path) -> None:
    with open_platform(tmp_path, "w1") as platform:
        pages = await platform.database.write(pragma, "page_count")
        await platform.database.write(pragma, f"max_page_count = {pages}")
        messages = [Outgoing(f"m{n}", "x" * 5000) for n in range(100)]
        with pytest.raises(StateError, match="disk is full") as caught:
            await platform.queue.send(messages)
        assert "\n" not in str(caught.value)
        assert (await platform.queue.depth()).visible == 0

        await platform.database.write(pragma, "max_page_count = 100000")
        await platform.queue.send(messages)
        assert (await platform.queue.depth()).visible == 100


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "task.db"
    path.write_bytes(b"no database " * 1000)
    with pytest.raises(StateError, match="not a database"):
        TaskDatabase.open(path)


async def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "task.db"
    TaskDatabase.open(path).close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(StateError, match="damaged"), open_platform(tmp_path, "w1") as platform:
        await platform.queue.send([Outgoing("m", "body")])


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be used"):
        TaskDatabase.open(tmp_path / "file" / "task.db")


def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "OLDEST", (99, 0))
    with pytest.raises(StateError, match="too old"):
        TaskDatabase.open(tmp_path / "task.db")


def add_colour(connection: Connection) -> None:
    connection.execute("ALTER TABLE pause ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'")


async def test_an_older_file_is_brought_up_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "task.db"
    with open_platform(tmp_path, "w1") as platform:
        await platform.records.pause("kept")
    latest = len(migrations.STEPS) + 1
    monkeypatch.setattr(migrations, "STEPS", [*migrations.STEPS, add_colour])
    with TaskDatabase.open(path) as database:
        assert await database.read(pragma, "user_version") == latest + 1
        rows = await database.read(lambda c: c.execute("SELECT * FROM pause").fetchall())
        assert rows == [(1, "kept", "red")]


async def test_a_step_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(connection: Connection) -> None:
        add_colour(connection)
        raise RuntimeError

    path = tmp_path / "task.db"
    TaskDatabase.open(path).close()
    latest = len(migrations.STEPS) + 1
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "STEPS", [*migrations.STEPS, fails])
        with pytest.raises(RuntimeError):
            TaskDatabase.open(path)
    with TaskDatabase.open(path) as database:
        assert await database.read(pragma, "user_version") == latest


def test_a_newer_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "task.db"
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "STEPS", [*migrations.STEPS, add_colour])
        TaskDatabase.open(path).close()
    with pytest.raises(StateError, match="newer version"):
        TaskDatabase.open(path)


def tables(path: Path) -> dict[str, list[Any]]:
    """What SQLite knows of each table and index, whatever the words that made it."""
    found: dict[str, list[Any]] = {}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for name, sql in connection.execute("SELECT name, sql FROM sqlite_schema").fetchall():
            columns = connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)).fetchall()
            keys = connection.execute(
                "SELECT * FROM pragma_foreign_key_list(?)", (name,)
            ).fetchall()
            indexed = connection.execute("SELECT * FROM pragma_index_xinfo(?)", (name,)).fetchall()
            conditions = [
                word in (sql or "") for word in ("AUTOINCREMENT", "CHECK (id = 1)", "WITHOUT ROWID")
            ]
            where = (sql or "").partition(" WHERE ")[2]
            found[name] = [str(columns).replace("\"'0'\"", "'0'"), keys, indexed, conditions, where]
        indexes = (
            'SELECT m.name, i.name, i."unique" FROM sqlite_schema m, pragma_index_list(m.name) i'
        )
        found["indexes"] = sorted(connection.execute(indexes).fetchall())
    return found


async def test_a_file_of_an_earlier_version_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    """Until version 8 they were made by a library."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    with contextlib.closing(sqlite3.connect(old)) as connection:
        connection.executescript((Path(__file__).parent / "task-8.sql").read_text())
    before = tables(old)
    TaskDatabase.open(new).close()
    assert before == tables(new)
    with TaskDatabase.open(old) as database:
        run, _ = await LocalRecords(database).begin_run(RunKind.SYNC)
        assert (run.id, run.counts) == (1, Counts())
    assert tables(old) == before
