"""The server of the database dies, and its replica becomes the one that accepts writes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import StateError
from dth.platforms.local.vault import Vault
from tests.engine import Dth, Side, bodies, wait_for
from tests.hub import Hub, balanced
from tests.servers.postgres import Postgres, missing_parts

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
from dth.platforms.postgres.address import shown  # noqa: E402
from dth.platforms.postgres.database import open_database  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = Vault.new_key()
OBJECTS = bodies(f"{n:03}" for n in range(100))
SYNCHRONOUS = "ALTER SYSTEM SET synchronous_standby_names = '*'"


@pytest.fixture
def servers() -> Iterator[tuple[Postgres, Postgres]]:
    """A server, and a streaming replica without which it commits nothing."""
    if missing := missing_parts():
        pytest.skip(f"not installed: {', '.join(missing)}")
    with Postgres(durable=True) as first, Postgres(durable=True, of=first) as second:
        first.execute(SYNCHRONOUS)
        first.execute("SELECT pg_reload_conf()")
        yield first, second


def either(address: str, *servers: Postgres) -> str:
    """The address of a database that is on one of these servers."""
    places = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"postgresql://dth@{places}/{address.rpartition('/')[2]}"


def on(address: str, folder: Path) -> Hub:
    folder.mkdir()
    (folder / "data").mkdir()
    return Hub(folder, "--database", address, DTH_KEY=KEY)


def test_hubs_and_workers_continue_with_the_replica_and_nothing_is_lost(
    dth: Dth, servers: tuple[Postgres, Postgres], tmp_path: Path, slow: tuple[Side, Side]
) -> None:
    source, dest = slow
    primary, replica = servers
    address = either(primary.database(), *servers)
    worker = dth.start("worker", "--database", address, "--workers", "1")
    try:
        with on(address, tmp_path / "first") as first, on(address, tmp_path / "second") as second:
            task = second.create(source, dest)
            wait_for(lambda: second.task(task)["progressInfo"]["replicated"] > 0)
            primary.kill()
            time.sleep(2.0)
            replica.promote()
            wait_for(lambda: first.request("/readyz")[0] == second.request("/readyz")[0] == 200)
            second.wait(task, "DONE")
            (run,) = first.runs(task)
            assert run["counts"]["done"] == len(OBJECTS)
            balanced(run["counts"])
            assert dest.contents() == OBJECTS
            assert dest.uploads() == []
        worker.terminate()
        assert dth.end(worker).code == 0
    finally:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)


async def test_a_replica_alone_is_refused(servers: tuple[Postgres, Postgres]) -> None:
    primary, replica = servers
    address = primary.database()
    async with open_database(address, "task", "one"):
        pass
    said = "does not exist"
    # The replica learns of the database a moment later.
    async with asyncio.timeout(30):
        while "does not exist" in said:
            with pytest.raises(StateError) as refused:
                async with open_database(either(address, replica), "task", "one"):
                    pass
            said = str(refused.value)
    assert re.search(r"read-only.*; name a server that accepts writes", said), said


def test_the_address_of_several_servers_is_shown() -> None:
    assert shown("postgresql://me:secret@a:1,b:2/db") == "postgresql://me@a:1,b:2/db"
    assert shown("postgresql://a,b/db") == "postgresql://a,b/db"
    assert shown("postgresql://a,b/db?port=7") == "postgresql://a:7,b:7/db"
