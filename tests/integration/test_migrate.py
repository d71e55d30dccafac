"""`dth migrate`: a hub moves from its data directory into PostgreSQL, and back."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.engine import Side, bodies, wait_for
from tests.hub import Hub, balanced
from tests.servers.process import REPOSITORY

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.postgres import Postgres

AUDITED = "query { listAudit { total } }"
SECRETS = "query { listSecrets { name } }"


@pytest.fixture
def address(postgres: Postgres) -> Iterator[str]:
    made = postgres.database()
    yield made
    postgres.drop(made)


def migrate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dth", "migrate", *arguments],
        env={**os.environ, "HOME": str(folder), "PYTHONPATH": str(REPOSITORY / "src")},
        cwd=folder, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


def ask(address: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def test_a_hub_moves_into_a_database_and_back(
    address: str, tmp_path: Path, source: Side, dest: Side
) -> None:
    objects = bodies(f"{n}" for n in range(20))
    source.put(objects)
    with Hub(tmp_path) as hub:
        hub.keep_secret("keys", access_key_id="a", secret_access_key="b")
        task = hub.create(source, dest)
        hub.wait(task, "DONE")
        audited = hub.call(AUDITED)["total"]
    moved = migrate(tmp_path, "data", address)
    assert moved.returncode == 0, moved.stderr
    assert "secret: 1\n" in moved.stdout
    assert "task: 1\n" in moved.stdout
    assert "Copy data/key to the other machines" in moved.stdout
    assert not (hub.data / "hub.db").exists()
    assert (hub.data / "hub.db.migrated").exists()

    with Hub(tmp_path, "--database", address) as hub:
        assert hub.call(SECRETS) == [{"name": "keys"}]
        # The runs stayed behind, so nothing of them is claimed.
        assert hub.task(task)["progress"] == "DONE"
        assert hub.task(task)["progressInfo"]["replicated"] == 0
        assert hub.runs(task) == []
        # Numbers of new rows come after those that moved.
        hub.keep_secret("more", access_key_id="a", secret_access_key="b")
        assert hub.call(AUDITED)["total"] > audited
    back = migrate(tmp_path, address, "back")
    assert back.returncode == 0, back.stderr
    assert "secret: 2\n" in back.stdout
    assert ask(
        address, "SELECT to_regnamespace('dth_hub'), count(*) FROM dth_hub_migrated.task"
    ) == [(None, 1)]
    (tmp_path / "back").rename(tmp_path / "home")
    (tmp_path / "folder").mkdir()
    (tmp_path / "home").rename(tmp_path / "folder" / "data")
    (hub.data / "key").rename(tmp_path / "folder" / "data" / "key")
    with Hub(tmp_path / "folder") as hub:
        assert [each["name"] for each in hub.call(SECRETS)] == ["keys", "more"]
        hub.do("deleteTask", task)
        new = hub.create(source, dest)
        hub.wait(new, "DONE")
        (run,) = hub.runs(new)
        # What is at the destination was compared, and not copied again.
        assert (run["counts"]["same"], run["counts"]["done"]) == (20, 0)
        balanced(run["counts"])


def test_what_hinders_a_move_is_one_line_and_changes_nothing(
    address: str, tmp_path: Path, slow: tuple[Side, Side]
) -> None:
    def refused(code: int, words: str, *arguments: str) -> None:
        done = migrate(tmp_path, *arguments)
        (line,) = done.stderr.splitlines()
        assert done.returncode == code
        assert words in line

    refused(2, "it has no hub.db", "nothing", address)
    refused(2, "one of FROM and TO has to be a directory", "a", "b")
    with Hub(tmp_path) as hub:
        task = hub.create(*slow)
        wait_for(lambda: hub.task(task)["progressInfo"]["replicated"] > 0)
        refused(1, "a hub runs with this data directory", "data", address)
        hub.kill()
    refused(1, f"work is in progress in {task}", "data", address)
    with Hub(tmp_path) as hub:
        hub.do("stopTask", task)
        hub.wait(task, "STOPPED")
    other = tmp_path / "other"
    other.mkdir()
    with Hub(other, "--database", address):
        refused(1, "a hub works with the database", "data", address)
        refused(1, "a hub works with the database", address, "back")
    refused(2, "is not empty (setting, token, user)", "data", address)
    refused(2, "hub.db exists", address, "data")
    with Hub(tmp_path) as hub:
        assert hub.task(task)["progress"] == "STOPPED"
