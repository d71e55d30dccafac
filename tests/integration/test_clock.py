"""A clock that was ahead for a while and is right again: nothing waits until the clock comes there
once more.

The times are set in the real files, hours ahead; a test that waited for them would not end.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from dth.core.ports.limits import Lease
from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.limits import CAPACITY, LocalLimits
from tests.engine import GIANT_OPTIONS, MIB, Dth, Side, between, blob, bodies, wait_for
from tests.servers.proxy import Delay, Proxy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hub import Hub

AHEAD = 3 * 3600.0
ENTRIES = 200


@pytest.fixture
def slow(source: Side, dest: Side, proxy_b: Proxy) -> tuple[Side, Side]:
    source.put(bodies(f"{n:03}" for n in range(ENTRIES)))
    proxy_b.rule(Delay(0.1), method="PUT")
    return source, Side(proxy_b, dest.bucket)


def put_ahead(database: Path, statement: str) -> int:
    """Run a statement with `:ahead`; how many rows it changed."""
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        return connection.execute(statement, {"ahead": time.time() + AHEAD}).rowcount


@pytest.mark.parametrize("owner", ["NULL", "'worker-1'"], ids=["delayed", "leased"])
def test_the_same_command_goes_on_at_once(
    dth: Dth, slow: tuple[Side, Side], proxy_b: Proxy, dest: Side, owner: str
) -> None:
    command = (
        "s3",
        "sync",
        *between(*slow),
        "--workers",
        "1",
        "--worker-number",
        "1",
        "--max-requests-per-second",
        "200",
    )
    process = dth.start(*command)
    wait_for(lambda: proxy_b.count("PUT", status=200) > 10)
    process.terminate()
    assert dth.end(process).code == 1
    [state] = dth.states.iterdir()
    database = state / "task.db"
    receipt = "NULL" if owner == "NULL" else "'r'"
    ahead = f"UPDATE message SET visible_at = :ahead, owner = {owner}, receipt = {receipt}"
    assert put_ahead(database, ahead) > 0
    assert put_ahead(database, "UPDATE bucket SET filled = :ahead, tokens = 0") > 0
    assert put_ahead(database, "UPDATE gauge SET at = :ahead") > 0
    assert put_ahead(database, "UPDATE run SET started = :ahead") == 1
    proxy_b.clear()
    done = dth.run(*command)
    assert done.code == 0
    assert "resuming run 1" in done.err
    assert len(dest.listed()) == ENTRIES


def test_a_clock_that_is_set_back_while_the_command_runs(
    dth: Dth, slow: tuple[Side, Side], proxy_b: Proxy, dest: Side
) -> None:
    # More than one worker takes at once.
    more = [f"more-{n:04}" for n in range(10 * ENTRIES)]
    slow[0].put(bodies(more))
    process = dth.start("s3", "sync", *between(*slow), "--workers", "1", "--worker-number", "1")
    wait_for(lambda: [path for path in dth.states.glob("*/task.db") if waiting(path) > 0])
    [database] = dth.states.glob("*/task.db")
    assert (
        put_ahead(
            database, "UPDATE message SET visible_at = :ahead WHERE owner IS NULL AND dead = 0"
        )
        > 0
    )
    proxy_b.clear()
    assert dth.end(process).code == 0
    assert len(dest.listed()) == ENTRIES + len(more)


def waiting(database: Path) -> int:
    try:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            found = connection.execute(
                "SELECT count(*) FROM message WHERE owner IS NULL"
            ).fetchone()
    except sqlite3.OperationalError:
        return 0
    return int(found[0])


def test_a_giant_upload_that_seems_to_come_from_the_future(
    dth: Dth, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    source.put({"giant": blob(12 * MIB)})
    proxy_b.rule(Delay(1.0), method="PUT")
    proxy_b.rule(Delay(30.0), method="POST", query="uploadId")
    command = (
        "s3",
        "sync",
        *between(source, Side(proxy_b, dest.bucket)),
        *GIANT_OPTIONS,
        "--workers",
        "1",
        "--worker-number",
        "1",
    )
    process = dth.start(*command)
    wait_for(lambda: proxy_b.count("PUT", status=200) == 3)
    [database] = dth.states.glob("*/task.db")
    process.kill()
    process.communicate()
    # All parts are there, nobody has completed it, and no message is left that could say so.
    ahead = (
        "UPDATE upload SET begun = :ahead, modified = :ahead, lease_until = :ahead, state = "
        "'COMPLETING', owner = 'x' WHERE parts_done = parts"
    )
    wait_for(lambda: put_ahead(database, ahead) == 1)
    put_ahead(database, "DELETE FROM message WHERE :ahead > 0")
    proxy_b.clear()
    assert dth.run(*command).code == 0
    assert dest.get("giant") == source.get("giant")
    assert dest.uploads() == []


async def test_a_bucket_of_tokens_that_was_filled_in_the_future(tmp_path: Path) -> None:
    with TaskDatabase.open(tmp_path / "task.db") as database:
        limits = LocalLimits(database)
        await limits.set_rates({"cap": 100.0})
        assert await limits.lease("cap", 25.0) == Lease(25.0, 0.0, 100.0)
        assert put_ahead(tmp_path / "task.db", "UPDATE bucket SET filled = :ahead, tokens = 0") == 1
        lease = await limits.lease("cap", 1.0)
        assert lease.granted == 0
        assert lease.wait <= CAPACITY
        await database.write(lambda c: c.execute("UPDATE bucket SET filled = filled - 10"))
        assert await limits.lease("cap", 1.0) == Lease(1.0, 0.0, 100.0)


def test_a_schedule_comes_back_to_its_time(hub: Hub, source: Side, dest: Side) -> None:
    source.put(bodies("a"))
    task = hub.create(source, dest, once=False, scheduleRate="1 hour")
    wait_for(
        lambda: (
            hub.runs(task) and hub.runs(task)[0]["state"] == "DONE" and hub.task(task)["nextRunAt"]
        )
    )
    due = hub.task(task)["nextRunAt"]
    hub.kill()
    assert put_ahead(hub.data / "hub.db", "UPDATE task SET next_run = :ahead") == 1
    hub.start()
    wait_for(lambda: hub.task(task)["nextRunAt"] == due)
    assert datetime.fromisoformat(due).timestamp() < time.time() + 3600
