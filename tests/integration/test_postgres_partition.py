"""Machines whose network to the database is cut without a word: no connection is closed, and no
answer comes."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import StateError
from dth.platforms.local.vault import Vault
from tests.engine import wait_for
from tests.hub import Hub
from tests.servers.partition import FAR, Cut, skip_without_packet_filter
from tests.servers.postgres import Postgres, missing_parts

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
from dth.platforms.postgres import database as tasks  # noqa: E402
from dth.platforms.postgres.link import SILENCE  # noqa: E402
from dth.platforms.postgres.machines import BEAT, DEAD_AFTER, join  # noqa: E402
from dth.platforms.postgres.platform import open_platform  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dth.platforms.postgres.database import Work

KEY = Vault.new_key()


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
