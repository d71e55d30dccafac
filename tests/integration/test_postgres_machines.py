"""One transfer on several machines: `dth s3 sync --database` and `dth worker`. Each machine is a
command of its own."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.engine import (
    GIANT_OPTIONS,
    MIB,
    Dth,
    Side,
    between,
    blob,
    bodies,
    check_ledger,
    counts_of,
    wait_for,
)
from tests.servers.proxy import Delay

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.servers.ministack import MiniStack
    from tests.servers.postgres import Postgres
    from tests.servers.proxy import Proxy

# Objects that have a message each, so that machines share them.
MIDDLE = 60
SMALL = 100


@pytest.fixture
def address(postgres: Postgres) -> Iterator[str]:
    made = postgres.database()
    yield made
    postgres.drop(made)


@pytest.fixture(scope="module")
def full(s3_a: MiniStack) -> Iterator[Side]:
    """A bucket with small objects, larger ones, and a few that go in parts."""
    side = Side(s3_a, s3_a.bucket("full"))
    side.put(bodies(f"folder-{n % 7}/{n:03}" for n in range(SMALL)))
    side.put({f"middle/{n:02}": blob(MIB + n, n) for n in range(MIDDLE)})
    side.put({"parted": blob(6 * MIB, 1), "giant/1": blob(11 * MIB, 2)})
    yield side
    s3_a.drop(side.bucket)


@pytest.fixture
def slow(full: Side, proxy_a: Proxy, proxy_b: Proxy, dest: Side) -> tuple[Side, Side]:
    """Both sides behind proxies that make every object take a moment."""
    for proxy in (proxy_a, proxy_b):
        proxy.rule(Delay(0.5), key=".")
    return Side(proxy_a, full.bucket), Side(proxy_b, dest.bucket)


def ask(address: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def helpers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes of a command."""
    return [
        each
        for each in psutil.Process(process.pid).children(recursive=True)
        if each.name().startswith("dth-worker")
    ]


def test_a_machine_that_is_killed_while_it_works_is_replaced_by_the_others(
    dth: Dth, address: str, slow: tuple[Side, Side], proxy_b: Proxy, full: Side, dest: Side
) -> None:
    machines = [dth.start("worker", "--database", address, "--workers", "1") for _ in range(3)]
    options = (*GIANT_OPTIONS, "--workers", "1", "--worker-number", "2", "--json")
    command = ("s3", "sync", *between(*slow), *options, "--database", address)
    sync = dth.start(*command)
    wait_for(lambda: sync.poll() is not None or all(map(helpers, machines)))
    wait_for(lambda: sync.poll() is not None or proxy_b.count("PUT", status=200) > 20)
    held = "SELECT 1 FROM dth.message WHERE receipt IS NOT NULL AND owner LIKE '%-{}-%'"
    wait_for(lambda: sync.poll() is not None or ask(address, held.format(machines[0].pid)) != [])
    # Killed as a whole, and one of the others loses its worker.
    os.killpg(machines[0].pid, signal.SIGKILL)
    for worker in helpers(machines[1]):
        worker.kill()
    assert sync.poll() is None, sync.communicate()
    found = dth.outcome(dth.end(sync))

    assert found["transferred"] == found["enqueued"] == found["listed"] == SMALL + MIDDLE + 2
    assert found["failed"] == found["cancelled"] == 0
    check_ledger(counts_of(found), finished=True)
    assert dest.contents() == full.contents()
    assert dest.uploads() == []
    machines[0].communicate()
    for machine in machines[1:]:
        machine.terminate()
    ended = [dth.end(machine) for machine in machines[1:]]
    assert [done.code for done in ended] == [0, 0]
    assert "worker-1 ended (killed by signal 9); another one takes its place" in ended[0].err
    assert all(f"helps with {full.url}" in done.err for done in ended)
    # The transfer ended well: nothing is left of it, and nobody is there.
    for table in ("task", "machine", "message", "run"):
        assert ask(address, f"SELECT 1 FROM dth.{table}") == []
