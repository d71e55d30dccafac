"""Machines whose network to the database is cut without a word: no connection is closed, and no
answer comes."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import DatabaseAway, HubError, StateError
from dth.platforms.local.vault import Vault
from tests.engine import Side, bodies, wait_for
from tests.hub import Hub, balanced
from tests.servers.partition import FAR, Cut, skip_without_packet_filter
from tests.servers.postgres import Postgres, missing_parts

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
from dth.platforms.postgres import database as tasks  # noqa: E402
from dth.platforms.postgres.hub_database import PostgresHubDatabase  # noqa: E402
from dth.platforms.postgres.link import SILENCE  # noqa: E402
from dth.platforms.postgres.machines import BEAT, DEAD_AFTER, join  # noqa: E402
from dth.platforms.postgres.platform import open_platform  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from dth.platforms.postgres.database import Work

KEY = Vault.new_key()
OBJECTS = bodies(f"{n:03}" for n in range(100))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if missing := missing_parts():
        pytest.skip(f"not installed: {', '.join(missing)}")
    skip_without_packet_filter()
    with Postgres(also=FAR) as server:
        yield server


@pytest.fixture
def address(server: Postgres) -> str:
    return server.database()


def far(address: str) -> str:
    """The same database, at the address that can be cut off."""
    return address.replace("127.0.0.1", FAR)


def on(address: str, folder: Path) -> Hub:
    folder.mkdir()
    return Hub(folder, "--database", address, DTH_KEY=KEY)


def ready(hub: Hub) -> tuple[int, str]:
    """What it answers to a load balancer."""
    try:
        with urllib.request.urlopen(f"{hub.url}/readyz", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def leads(hub: Hub) -> bool:
    return "runs at" in hub.output.read_text()


def test_a_hub_that_stands_by_and_is_cut_off_does_not_lead(
    server: Postgres, address: str, tmp_path: Path
) -> None:
    with on(address, tmp_path / "first") as first, on(far(address), tmp_path / "second") as second:
        wait_for(lambda: "stands by at" in second.output.read_text())
        with Cut(server.port):
            time.sleep(DEAD_AFTER + 2 * BEAT)
            assert not leads(second)
            assert ready(first)[0] == 200
        wait_for(lambda: ready(second)[0] == 200)
        assert "stands by at" in second.output.read_text()
        # It takes over when it is its turn.
        first.kill()
        wait_for(lambda: leads(second))


def continued(hub: Hub, task: str, dest: Side) -> None:
    """Each object of the task was copied, and counted once."""
    hub.wait(task, "DONE")
    (run,) = hub.runs(task)
    assert run["counts"]["done"] == len(OBJECTS)
    balanced(run["counts"])
    assert dest.contents() == OBJECTS
    assert dest.uploads() == []


def given_up(hub: Hub) -> None:
    """It notices that it does not lead any more, and ends."""
    assert hub.process.wait(60) == 1
    assert "another hub has taken over" in hub.output.read_text()
    assert not hub.processes()


def test_a_leader_that_was_cut_off_and_replaced_ends_and_changes_nothing(
    server: Postgres,
    address: str,
    tmp_path: Path,
    slow: tuple[Side, Side],
    record_property: Callable[[str, object], None],
) -> None:
    """Its task fails in the moment in which the hub ends it."""
    source, dest = slow
    with on(far(address), tmp_path / "first") as first, on(address, tmp_path / "second") as second:
        task = first.create(source, dest)
        wait_for(lambda: first.task(task)["progressInfo"]["replicated"] > 0)
        with ThreadPoolExecutor(1) as thread:
            with Cut(server.port):
                began = time.monotonic()
                late = thread.submit(first.keep_secret, "late", access_key_id="a")
                wait_for(lambda: leads(second))
                record_property("followed after", time.monotonic() - began)
                # Longer than a statement may go without an answer: it has given up some work.
                time.sleep(max(0.0, began + SILENCE + 5 - time.monotonic()))
            given_up(first)
            with pytest.raises((HubError, OSError)):
                late.result()
        continued(second, task, dest)
        assert "late" not in {each["name"] for each in second.call("{ listSecrets { name } }")}


@pytest.mark.parametrize("which", ["the hub", "its machine"])
def test_a_leader_that_was_stopped_and_replaced_ends_and_changes_nothing(
    which: str, address: str, tmp_path: Path, slow: tuple[Side, Side]
) -> None:
    source, dest = slow
    with on(address, tmp_path / "first") as first, on(address, tmp_path / "second") as second:
        task = first.create(source, dest)
        wait_for(lambda: first.task(task)["progressInfo"]["replicated"] > 0)
        stopped = [first.process.pid] if which == "the hub" else first.processes()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        wait_for(lambda: leads(second))
        time.sleep(max(0.0, began + 20 - time.monotonic()))
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        given_up(first)
        continued(second, task, dest)


async def test_a_hub_that_is_cut_off_in_a_transaction_does_not_hold_up_the_next_leader(
    server: Postgres, address: str
) -> None:
    """Another one leads within ten seconds, and may have to wait for the lock of the writer."""

    def write(_: object) -> None:
        pass

    with (
        PostgresHubDatabase.open(far(address), write) as one,
        PostgresHubDatabase.open(address, write) as other,
    ):
        begun, awake = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def stopped(connection: Connection) -> None:
            loop.call_soon_threadsafe(begun.set)
            awake.wait(60)
            connection.exec_driver_sql("SELECT 1")

        writing = asyncio.create_task(one.write(stopped))
        await begun.wait()
        with Cut(server.port):
            async with asyncio.timeout(DEAD_AFTER):
                await other.write(write)
        awake.set()
        with pytest.raises(DatabaseAway):
            await writing


async def test_an_answer_that_does_not_arrive_holds_up_nobody_for_long(
    server: Postgres, address: str
) -> None:
    """A server that sends is not idle."""
    async with (
        open_platform(far(address), "task", "one") as one,
        open_platform(address, "task", "two") as two,
    ):
        begun = asyncio.Event()

        async def reading(work: Work) -> None:
            await work.rows("SELECT FROM dth.task FOR UPDATE")
            begun.set()
            # More than what may be under way.
            await work.rows(
                "SELECT repeat('x', 1000000), pg_sleep(0.05) FROM generate_series(1, 100)"
            )

        asking = asyncio.create_task(one.database.write(reading))
        await begun.wait()
        with Cut(server.port):
            async with asyncio.timeout(2 * SILENCE + 5):
                await two.database.change("UPDATE dth.task SET paused = NULL")
        await asking


async def test_who_is_cut_off_in_a_transaction_holds_up_nobody_for_long(
    server: Postgres, address: str
) -> None:
    """A command that checks that it holds its task locks the task until the commit."""
    async with (
        join(far(address), "one") as one,
        open_platform(far(address), "task", "one/supervisor", "one") as platform,
    ):
        await one.claim(platform.database)
        begun, awake = asyncio.Event(), asyncio.Event()
        tried = 0

        async def stopped(work: Work) -> None:
            nonlocal tried
            tried += 1
            await work.check_holder()
            begun.set()
            await awake.wait()
            await work.rows("SELECT 1")

        writing = asyncio.create_task(platform.database.write(stopped))
        await begun.wait()
        with Cut(server.port):
            async with (
                join(address, "two") as two,
                open_platform(address, "task", "two/w") as other,
            ):
                async with asyncio.timeout(DEAD_AFTER + 3 * BEAT):
                    assert await two.claim(other.database)
                awake.set()
                # It finds out that nobody answers, and waits.
                await asyncio.sleep(1)
                assert not writing.done()
        with pytest.raises(StateError, match="another command has taken over"):
            await writing
        assert tried == 2


async def test_a_statement_that_gets_no_answer_is_run_again(server: Postgres, address: str) -> None:
    async with tasks.open_database(far(address), "task", "one") as database:
        await database.rows("SELECT 1")
        cut = Cut(server.port)
        with cut:
            asking = asyncio.create_task(database.rows("SELECT 2"))
            await asyncio.sleep(SILENCE + 3)
            assert not asking.done()
        async with asyncio.timeout(SILENCE):
            assert await asking == [(2,)]
