"""`dth up --database`: a hub whose tables and tasks are in PostgreSQL, and another one that takes
over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dth.platforms.local.vault import Vault
from tests.engine import Side, bodies, wait_for
from tests.hub import Hub, balanced
from tests.servers.process import REPOSITORY

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.postgres import Postgres

KEY = Vault.new_key()


@pytest.fixture
def address(postgres: Postgres) -> Iterator[str]:
    made = postgres.database()
    yield made
    postgres.drop(made)


def on(address: str, folder: Path, **env: str) -> Hub:
    folder.mkdir(exist_ok=True)
    return Hub(folder, "--database", address, **{"DTH_KEY": KEY, **env})


def ask(address: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def dth(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(REPOSITORY / "src"), **env}
    return subprocess.run(
        [sys.executable, "-m", "dth", *arguments],
        env=env, cwd=folder, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


def test_everything_is_in_the_database(
    address: str, tmp_path: Path, source: Side, dest: Side
) -> None:
    objects = bodies(f"folder/{n}" for n in range(250))
    source.put(objects)
    with on(address, tmp_path) as hub:
        task = hub.create(source, dest)
        hub.wait(task, "DONE")
        assert dest.contents() == objects
        (run,) = hub.runs(task)
        assert run["counts"]["done"] == 250
        balanced(run["counts"])
        # The commands beside the hub know where its tables are.
        listed = dth(tmp_path, "user", "list", "--database", address)
        assert "admin" in listed.stdout, listed.stderr
        local = dth(tmp_path, "task", "list", "--data-dir", str(hub.data), DTH_DATABASE=address)
        assert task[:8] in local.stdout, local.stderr
        refused = dth(tmp_path, "task", "list", "--data-dir", str(hub.data))
        assert refused.returncode == 2
        assert "put its address into DTH_DATABASE" in refused.stderr
        hub.do("deleteTask", task)
        wait_for(lambda: not ask(address, "SELECT FROM dth.task"))
    assert not list(hub.data.glob("**/*.db"))


def test_a_second_hub_is_refused_in_one_line(address: str, tmp_path: Path) -> None:
    with on(address, tmp_path):
        second = dth(
            tmp_path, "up", "--database", address, "--data-dir", str(tmp_path / "other"),
            "--port", "0", DTH_KEY=KEY,
        )  # fmt: skip
    assert second.returncode == 1
    (line,) = second.stderr.splitlines()
    assert "another hub works with the database" in line


def test_another_hub_takes_over_what_a_killed_one_had_begun(
    address: str, tmp_path: Path, slow: tuple[Side, Side]
) -> None:
    source, dest = slow
    first = on(address, tmp_path / "first")
    task = first.create(source, dest)
    wait_for(lambda: first.task(task)["progressInfo"]["replicated"] > 0)
    first.kill()
    with on(address, tmp_path / "second") as second:
        second.wait(task, "DONE")
        (run,) = second.runs(task)
        assert run["counts"]["done"] == 100
        balanced(run["counts"])
    assert dest.contents() == bodies(f"{n:03}" for n in range(100))
    assert not dest.uploads()


def test_a_task_of_another_machine_is_stopped_and_deleted(
    address: str, tmp_path: Path, slow: tuple[Side, Side]
) -> None:
    with on(address, tmp_path / "first") as first:
        task = first.create(*slow)
        wait_for(lambda: first.task(task)["progressInfo"]["replicated"] > 0)
        first.do("pauseTask", task)
        first.wait(task, "PAUSED")
    with on(address, tmp_path / "second") as second:
        second.do("stopTask", task)
        second.wait(task, "STOPPED")
        (run,) = second.runs(task)
        balanced(run["counts"])
        assert run["counts"]["cancelled"] > 0
        second.do("deleteTask", task)
        wait_for(lambda: not ask(address, "SELECT FROM dth.task"))


def test_a_hub_that_slept_and_was_replaced_ends_and_changes_nothing(
    address: str, tmp_path: Path, source: Side, dest: Side
) -> None:
    source.put(bodies("a"))
    first = on(address, tmp_path / "first")
    first.process.send_signal(signal.SIGSTOP)
    with on(address, tmp_path / "second") as second:
        first.process.send_signal(signal.SIGCONT)
        assert first.process.wait(60) == 1
        assert "another hub has taken over" in first.output.read_text()
        task = second.create(source, dest)
        second.wait(task, "DONE")


def test_a_key_that_another_machine_has_is_asked_for(address: str, tmp_path: Path) -> None:
    with on(address, tmp_path, DTH_KEY="") as hub:
        hub.keep_secret("keys", access_key_id="a", secret_access_key="b")
    other = tmp_path / "other"
    refused = dth(tmp_path, "up", "--database", address, "--data-dir", str(other), "--port", "0")
    assert refused.returncode == 1
    assert "DTH_KEY" in refused.stderr


def test_commands_that_need_files_say_so(address: str, tmp_path: Path) -> None:
    backup = dth(tmp_path, "backup", "copy", DTH_DATABASE=address)
    rotated = dth(tmp_path, "secret", "rotate-key", DTH_DATABASE=address)
    assert (backup.returncode, rotated.returncode) == (2, 2)
    assert "pg_dump" in backup.stderr
    assert "cannot be changed yet" in rotated.stderr


def test_a_data_directory_with_a_hub_of_its_own_is_refused(address: str, tmp_path: Path) -> None:
    (tmp_path / "hub.db").touch()
    refused = dth(tmp_path, "up", "--database", address, "--data-dir", str(tmp_path))
    assert refused.returncode == 2
    assert "has a hub of its own" in refused.stderr
