"""Hubs and workers that reach their database through PgBouncer in its transaction mode: with fewer
connections to the server than processes have to the pooler."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from dth.platforms.local.vault import Vault
from tests.engine import Dth, Side, between, bodies, wait_for
from tests.hub import Hub, balanced
from tests.servers.pgbouncer import PgBouncer

pytest.importorskip("psycopg", reason="psycopg is not installed")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.postgres import Postgres

KEY = Vault.new_key()
OBJECTS = bodies(f"{n:03}" for n in range(100))


@pytest.fixture
def address(postgres: Postgres) -> Iterator[str]:
    made = postgres.database()
    with PgBouncer(postgres) as pooler:
        yield f"{pooler.url}/{made.rpartition('/')[2]}"
    postgres.drop(made)


def on(address: str, folder: Path) -> Hub:
    folder.mkdir()
    return Hub(folder, "--database", address, DTH_KEY=KEY)


def test_hubs_behind_a_pooler_work_and_take_over(
    address: str, tmp_path: Path, slow: tuple[Side, Side]
) -> None:
    source, dest = slow
    first = on(address, tmp_path / "first")
    with on(address, tmp_path / "second") as second:
        task = second.create(source, dest)
        wait_for(lambda: second.task(task)["progressInfo"]["replicated"] > 0)
        os.killpg(first.process.pid, signal.SIGKILL)
        first.process.wait()
        wait_for(lambda: second.request("/readyz")[0] == 200)
        second.wait(task, "DONE")
        (run,) = second.runs(task)
        assert run["counts"]["done"] == len(OBJECTS)
        balanced(run["counts"])
    assert dest.contents() == OBJECTS
    assert dest.uploads() == []


def test_a_transfer_and_its_workers_behind_a_pooler(
    dth: Dth, address: str, source: Side, dest: Side
) -> None:
    source.put(OBJECTS)
    worker = dth.start("worker", "--database", address, "--workers", "1")
    found = dth.run("s3", "sync", *between(source, dest), "--json", "--database", address)
    assert found.code == 0, found.err
    assert dest.contents() == OBJECTS
    worker.terminate()
    assert dth.end(worker).code == 0
