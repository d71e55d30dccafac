"""The hub's data directory: of an older version, of a newer one, backed up while the hub runs, and
restored."""

from __future__ import annotations

import shutil
import sqlite3
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from dth.platforms.local import hub_migrations
from dth.platforms.local.hub_database import HubDatabase
from tests.engine import Dth, Side, bodies, wait_for
from tests.hub import Hub

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_an_older_one_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    HubDatabase.open(tmp_path / "hub.db").close()

    def add_colour(connection: Connection) -> None:
        connection.exec_driver_sql(
            "ALTER TABLE task ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey'"
        )

    latest = len(hub_migrations.STEPS) + 1
    monkeypatch.setattr(hub_migrations, "STEPS", [*hub_migrations.STEPS, add_colour])
    HubDatabase.open(tmp_path / "hub.db").close()
    with sqlite3.connect(tmp_path / "hub.db") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (latest + 1,)
        assert "colour" in {row[1] for row in connection.execute("PRAGMA table_info(task)")}
    connection.close()


def test_a_newer_one_is_refused_in_one_line(dth: Dth) -> None:
    data = dth.home / "data"
    HubDatabase.open(data / "hub.db").close()
    with sqlite3.connect(data / "hub.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    done = dth.run("up", "--data-dir", data, "--port", "0")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "newer version" in done.err


def test_a_backup_from_before_the_upgrade_is_the_way_back(tmp_path: Path, dth: Dth) -> None:
    """The old version refuses what the new one wrote, and takes the backup."""
    with Hub(tmp_path) as hub:
        dth.here("backup", tmp_path / "backup", "--data-dir", hub.data, "--with-key")
        hub.stop()
        with sqlite3.connect(hub.data / "hub.db") as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        assert dth.run("up", "--data-dir", hub.data, "--port", "0").code == 1
        hub.data.rename(tmp_path / "refused")
        shutil.copytree(tmp_path / "backup", hub.data)
        hub.start()
        assert hub.request("/readyz") == (200, "ready\n")


def test_a_backup_of_a_running_hub_can_be_restored(
    tmp_path: Path, dth: Dth, source: Side, dest: Side
) -> None:
    source.put(bodies("ab"))
    with Hub(tmp_path) as hub:
        task = hub.create(source, dest, once=False, scheduleRate="1 day")
        wait_for(lambda: hub.runs(task) and hub.runs(task)[0]["state"] == "DONE")
        done = dth.here("backup", tmp_path / "backup", "--data-dir", hub.data, "--with-key")
        assert (done.code, done.err) == (0, "")
        assert dth.here("backup", tmp_path / "backup", "--data-dir", hub.data).code == 2
        without = dth.here("backup", tmp_path / "without", "--data-dir", hub.data)
        assert "1 tasks" in without.out
        assert not (tmp_path / "without" / "key").exists()
        hub.kill()
        shutil.rmtree(hub.data)
        shutil.copytree(tmp_path / "backup", hub.data)
        hub.start()
        source.put(bodies("c"))
        hub.do("startRun", task)
        wait_for(lambda: len(hub.runs(task)) == 2 and hub.runs(task)[0]["state"] == "DONE")
        assert dest.listed() == ["a", "b", "c"]
        assert hub.runs(task)[0]["counts"]["same"] == 2


def test_one_that_cannot_be_made_is_told_by_up_and_by_doctor(dth: Dth) -> None:
    (dth.home / "file").touch()
    folder = dth.home / "file" / "data"
    up = dth.here("up", "--data-dir", folder)
    assert (up.code, up.out) == (2, "")
    assert up.err == (
        f"dth: the data directory {folder} cannot be made: Not a directory; "
        "choose another one with --data-dir or DTH_DATA_DIR\n"
    )
    doctor = dth.here("doctor", "--data-dir", folder)
    assert doctor.code == 1
    assert (
        f"FAILED   data directory: {folder} cannot be made in {dth.home / 'file'}; choose"
        in doctor.out
    )
    assert "OK       data directory" in dth.here("doctor", "--data-dir", dth.home / "data").out
