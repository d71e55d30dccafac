"""Machines whose clocks differ. They write times into one database, and read those of others."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from dth.platforms.local.vault import Vault
from tests.engine import GIANT_OPTIONS, MIB, Dth, Side, between, blob, wait_for
from tests.hub import Hub, balanced
from tests.machines import Machines, ask, holds
from tests.servers.proxy import Delay, Stall
from tests.servers.wrong_clock import off_by, skip_without_faketime

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.postgres import Postgres
    from tests.servers.proxy import Proxy

KEY = Vault.new_key()
# Each object has a message of its own, so that machines share them.
OBJECTS = {f"{n:02}": blob(MIB + n, n) for n in range(30)}
SHARED = {"maxCapacity": "3", "requestsInFlight": "4"}
MINUTE = 60


@pytest.fixture(autouse=True)
def wrong_clocks() -> None:
    skip_without_faketime()


@pytest.fixture
def address(postgres: Postgres) -> Iterator[str]:
    made = postgres.database()
    yield made
    postgres.drop(made)


@pytest.mark.parametrize("ahead", [MINUTE, -MINUTE])
def test_a_machine_with_another_clock_than_the_hub_counts_while_it_lives(
    ahead: int,
    address: str,
    tmp_path: Path,
    source: Side,
    dest: Side,
    proxy_a: Proxy,
) -> None:
    """The clock of the hub is wrong, too, in the other direction."""
    source.put(OBJECTS)
    proxy_a.rule(Delay(2.0), key="[0-9]")
    slow = Side(proxy_a, source.bucket)
    folder = tmp_path / "hub"
    folder.mkdir()
    with (
        Hub(folder, "--database", address, DTH_KEY=KEY, **off_by(-ahead)) as hub,
        Machines(tmp_path, address, KEY) as machines,
    ):
        task = hub.create(slow, dest, **SHARED | {"maxCapacity": "2"})
        machine = machines.start(**off_by(ahead))
        wait_for(lambda: holds(address, machine))

        def workers() -> int:
            return int(hub.task(task)["progressInfo"]["workers"])

        wait_for(lambda: workers() == 2, 10)
        os.killpg(machine.pid, signal.SIGKILL)
        wait_for(lambda: workers() == 1, 20)
        proxy_a.clear()
        hub.wait(task, "DONE")
        (run,) = hub.runs(task)
        assert run["counts"]["done"] == len(OBJECTS)
        balanced(run["counts"])
    assert dest.contents() == OBJECTS
    assert dest.uploads() == []


@pytest.mark.parametrize("ahead", [MINUTE, -MINUTE])
def test_an_upload_that_a_machine_with_another_clock_began_is_found(
    ahead: int, dth: Dth, address: str, source: Side, dest: Side, proxy_b: Proxy
) -> None:
    """Its command was killed before it knew the id of the upload."""
    source.put({"giant": blob(11 * MIB)})
    waits = proxy_b.rule(Stall(600.0), method="POST", query="uploads")
    command = (
        *("s3", "sync", *between(source, Side(proxy_b, dest.bucket)), *GIANT_OPTIONS),
        *("--workers", "1", "--json", "--database", address),
    )
    dth.env |= off_by(ahead)
    first = dth.start(*command)
    wait_for(lambda: waits.hits and dest.uploads())
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    proxy_b.clear()
    del dth.env["LD_PRELOAD"]
    found = dth.outcome(dth.run(*command))
    assert found["transferred"] == 1
    assert dest.contents() == source.contents()
    assert dest.uploads() == []


def test_commands_and_machines_with_clocks_that_differ_by_minutes_lose_nothing(
    tmp_path: Path, address: str, source: Side, dest: Side, proxy_a: Proxy
) -> None:
    """And nobody counts as dead."""
    objects = OBJECTS | {"giant": blob(11 * MIB)}
    source.put(objects)
    proxy_a.rule(Delay(1.0), key=".")
    homes = {ahead: Dth(tmp_path / str(ahead)) for ahead in (0, MINUTE, -MINUTE, 6 * MINUTE)}
    for ahead, home in homes.items():
        home.home.mkdir()
        home.env |= off_by(ahead)
    machines = {
        home: home.start("worker", "--database", address, "--workers", "1")
        for ahead, home in homes.items()
        if ahead
    }
    began = time.monotonic()
    found = homes[0].outcome(
        homes[0].run(
            *("s3", "sync", *between(Side(proxy_a, source.bucket), dest), *GIANT_OPTIONS),
            *("--workers", "1", "--concurrency", "4", "--json", "--database", address),
        )
    )
    assert found["transferred"] == found["listed"] == len(objects)
    assert found["failed"] == found["cancelled"] == 0
    assert time.monotonic() - began < 60
    assert dest.contents() == objects
    assert dest.uploads() == []
    for home, machine in machines.items():
        machine.terminate()
        done = home.end(machine)
        assert done.code == 0
        assert "helps with" in done.err
        assert "dead" not in done.err
    assert ask(address, "SELECT FROM dth.task") == []
