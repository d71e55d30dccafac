"""What only the platform on PostgreSQL has."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dth.core import clock
from dth.core.errors import StateError
from dth.core.ports.images import ImageRecord
from dth.core.ports.queue import Outgoing
from dth.core.ports.records import Enqueued, Outcome, Page
from dth.core.ports.runs import RunKind, RunState
from dth.core.ports.status import Status
from dth.core.ports.uploads import GiantUpload, Part
from tests.aws.task import until

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
from dth.platforms.postgres.database import Work, drop_task, open_database  # noqa: E402
from dth.platforms.postgres.machines import JoinedMachine  # noqa: E402
from dth.platforms.postgres.platform import PostgresPlatform, open_platform  # noqa: E402
from dth.platforms.postgres.schema import VERSION  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.servers.postgres import Postgres

TASK = "aaaa"


@pytest.fixture
def address(postgres: Postgres) -> Iterator[str]:
    made = postgres.database()
    yield made
    postgres.drop(made)


@pytest.fixture
async def platform(address: str) -> AsyncIterator[PostgresPlatform]:
    async with open_platform(address, TASK, "w1") as opened:
        yield opened


async def ask(address: str, statement: str) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
        cursor = await connection.execute(statement)
        return await cursor.fetchall() if cursor.description else []


async def tables(address: str) -> set[str]:
    return {
        name
        for (name,) in await ask(
            address, "SELECT tablename FROM pg_tables WHERE schemaname = 'dth'"
        )
    }


@asynccontextmanager
async def holding(address: str, statement: str) -> AsyncIterator[None]:
    """A transaction that ran this and does not end."""
    async with await psycopg.AsyncConnection.connect(address) as connection:
        await connection.execute(statement)
        yield
        await connection.rollback()


# --------------------------------------------------------------------------------------- the tables


async def test_processes_that_come_at_once_make_the_tables_once(address: str) -> None:
    async def number(process: str) -> int:
        async with open_platform(address, TASK, process) as platform:
            return platform.database.number

    assert len(set(await asyncio.gather(*(number(f"w{n}") for n in range(8))))) == 1


async def test_tasks_are_apart_and_a_deleted_one_leaves_nothing(address: str) -> None:
    async with open_platform(address, "kept", "w1") as kept:
        before = await tables(address)
        async with open_platform(address, TASK, "w1") as gone:
            for platform in (kept, gone):
                run, _ = await platform.records.begin_run(RunKind.SYNC)
                page = Page(
                    enqueued=[Enqueued("k", 1, "e", "m")],
                    messages=[Outgoing("m", "b")],
                    extras=["x"],
                )
                await platform.records.commit(run.id, page)
                await platform.images.write([ImageRecord("i", run.id, "i", Status.DONE)])
                assert await platform.uploads.intend(GiantUpload("k", run.id, "e", 100, 50))
                assert await platform.uploads.start("k", "u", [Part(1)], [])
                await platform.limits.set_rates({"bytes": 1})
        await drop_task(address, TASK)
        assert await tables(address) == before
        assert (await kept.queue.depth()).visible == 1
        assert set(await kept.records.get(["k"])) == {"k"}
        assert len(await ask(address, "SELECT 1 FROM dth.run")) == 1
        assert len(await ask(address, "SELECT 1 FROM dth.upload")) == 1
        async with open_platform(address, TASK, "w1") as again:
            assert await again.records.list_runs() == []
            assert await again.records.get(["k"]) == {}
    await drop_task(address, "no such task")


async def test_a_task_in_use_by_a_backup_is_not_deleted_and_blocks_nobody(
    address: str, platform: PostgresPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.platforms.postgres.database.PATIENCE", 0)
    async with holding(address, "LOCK TABLE dth.message IN ACCESS SHARE MODE"):
        with pytest.raises(StateError, match="perhaps by a backup"):
            await drop_task(address, TASK)
        await platform.queue.send([Outgoing("m", "b")])
    assert (await platform.queue.depth()).visible == 1
    await drop_task(address, TASK)


async def test_a_database_of_an_earlier_version_is_upgraded(
    address: str, platform: PostgresPlatform
) -> None:
    await platform.queue.send([Outgoing("m", "b")])
    await ask(address, "DROP TABLE dth.helper; UPDATE dth.version SET version = 1")
    async with open_platform(address, TASK, "w2") as again:
        assert (await again.queue.depth()).visible == 1
    assert await ask(address, "SELECT version FROM dth.version") == [(VERSION,)]
    assert await ask(address, "SELECT * FROM dth.helper") == []


async def test_a_database_of_a_newer_version_is_refused(
    address: str, platform: PostgresPlatform
) -> None:
    await ask(address, "UPDATE dth.version SET version = 99")
    with pytest.raises(StateError, match="newer version"):
        async with open_platform(address, TASK, "w2"):
            pass


async def test_a_database_that_cannot_hold_all_text_is_refused(postgres: Postgres) -> None:
    address = postgres.database("SQL_ASCII")
    with pytest.raises(StateError, match=r"encoding of .* is SQL_ASCII"):
        async with open_platform(address, TASK, "w1"):
            pass
    postgres.drop(address)


async def test_a_database_that_does_not_answer_is_one_line() -> None:
    with pytest.raises(StateError, match=r"the database .* cannot be used: ") as caught:
        async with open_platform("postgresql://dth@127.0.0.1:1/none", TASK, "w1"):
            pass
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------- the connections


async def test_work_survives_the_loss_of_every_connection(
    address: str, platform: PostgresPlatform
) -> None:
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    lose = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
    run, _ = await platform.records.begin_run(RunKind.SYNC)
    await platform.records.commit(run.id, Page(enqueued=[Enqueued("k", 1, "e", "m")]))
    await ask(address, lose)
    assert await platform.records.settle([Outcome("k", run.id, Status.DONE, 1)]) == 1
    await ask(address, lose)
    assert (await platform.records.get_run(run.id)).counts.balanced


async def test_a_process_has_few_connections(address: str, platform: PostgresPlatform) -> None:
    await asyncio.gather(*(platform.queue.receive(1, 60, 0.5) for _ in range(20)))
    clients = "datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    [[count]] = await ask(address, f"SELECT count(*) FROM pg_stat_activity WHERE {clients}")
    assert count <= 4


async def test_a_notification_ends_a_wait(
    address: str, platform: PostgresPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.platforms.postgres.queue.POLL", 60.0)
    waiting = asyncio.create_task(platform.queue.receive(1, 60, wait=60))

    async def listens() -> bool:
        found = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        return bool(await ask(address, found))

    await until(listens, 20)
    async with asyncio.timeout(20), open_platform(address, TASK, "w2") as other:
        await other.queue.send([Outgoing("a", "b")])
        [delivery] = await waiting
        # And what is given back is news, too.
        waiting = asyncio.create_task(other.queue.receive(1, 60, wait=60))
        await asyncio.sleep(0)
        await platform.queue.release([delivery])
        assert [each.id for each in await waiting] == ["a"]


async def test_the_clock_is_that_of_the_database(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine's is a minute behind, and a minute ahead later."""
    wrong = -60.0
    clocks = SimpleNamespace(time=lambda: time.time() + wrong, monotonic=time.monotonic)
    monkeypatch.setattr("dth.platforms.postgres.database.time", clocks)
    monkeypatch.setattr("dth.core.clock.time", clocks)
    monkeypatch.setattr("dth.core.clock._Followed.ahead", 0.0)
    async with open_platform(address, TASK, "w1") as platform:
        assert clock.now() == pytest.approx(time.time(), abs=5)
        assert clock.here(time.time()) == pytest.approx(clocks.time(), abs=5)
        run, _ = await platform.records.begin_run(RunKind.SYNC)
        assert run.started == pytest.approx(time.time(), abs=5)
        wrong = 60.0
        monkeypatch.setattr("dth.platforms.postgres.database.COMPARE_CLOCKS", -1.0)
        await platform.records.list_runs()
        assert clock.now() == pytest.approx(time.time(), abs=5)


# ------------------------------------------------------------------------------------- dead and old


async def test_what_a_dead_process_had_taken_is_free_at_once(
    address: str, platform: PostgresPlatform
) -> None:
    await platform.queue.send([Outgoing("a", "b"), Outgoing("c", "d")])
    [taken] = await platform.queue.receive(1, 300, 0)
    async with open_platform(address, TASK, "w2") as other:
        [kept] = await other.queue.receive(1, 300, 0)
        for key, owner in (("x", "w1"), ("y", "w2")):
            assert await other.uploads.intend(GiantUpload(key, 1, "e", 100, 50))
            assert await other.uploads.start(key, "u", [Part(1)], [])
            assert await other.uploads.claim(key, "u", owner, 300)
        await other.release_owner("w1")
        [again] = await other.queue.receive(10, 300, 0)
        assert (again.id, again.receives) == (taken.id, 2)
        assert again.id != kept.id
        assert await other.uploads.claim("x", "u", "w2", 300)
        assert not await other.uploads.claim("y", "u", "w3", 300)


async def test_old_runs_are_forgotten_but_no_records(platform: PostgresPlatform) -> None:
    runs = []
    for n in range(4):
        run, _ = await platform.records.begin_run(RunKind.SYNC)
        await platform.records.commit(run.id, Page(enqueued=[Enqueued(f"k{n}", 1, "e", "m")]))
        await platform.records.add_note(run.id, "note")
        await platform.images.write([ImageRecord("i", run.id, "i", Status.DONE)])
        await platform.records.set_run(run.id, RunState.DONE)
        runs.append(run.id)
    await platform.prune(2)
    assert [run.id for run in await platform.records.list_runs()] == [runs[3], runs[2]]
    assert [image.run for image in await platform.images.history("i")] == [runs[3], runs[2]]
    assert len(await platform.records.get([f"k{n}" for n in range(4)])) == 4
    # Its ledger is gone, its objects still end.
    assert await platform.records.settle([Outcome("k0", runs[0], Status.DONE, 1)]) == 1


# --------------------------------------------------------------------------------------- machines


@pytest.mark.parametrize("what", ["message", "intent", "claim"])
async def test_what_was_taken_when_the_answer_was_lost_is_found_again(
    platform: PostgresPlatform, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    await platform.queue.send([Outgoing("a", "b")])
    upload = GiantUpload("k", 1, "e", 100, 50)
    if what == "claim":
        assert await platform.uploads.intend(upload)
        assert await platform.uploads.start("k", "u", [Part(1)], [])
    whole, lost = Work.rows, []

    async def rows(work: Work, statement: str, values: Any = ()) -> list[tuple[Any, ...]]:
        found = await whole(work, statement, values)
        if not lost:
            lost.append(statement)
            raise psycopg.OperationalError("the connection is lost")
        return found

    monkeypatch.setattr(Work, "rows", rows)
    if what == "message":
        [delivery] = await platform.queue.receive(1, 300, 0)
        assert (delivery.id, delivery.receives) == ("a", 1)
        await platform.queue.delete([delivery])
        assert (await platform.queue.depth()).in_flight == 0
    elif what == "intent":
        assert await platform.uploads.intend(upload)
    else:
        assert await platform.uploads.claim("k", "u", "w1", 300)
    assert lost


async def test_what_a_silent_machine_had_taken_is_free(
    address: str, platform: PostgresPlatform
) -> None:
    await platform.queue.send([Outgoing("a", "b")])
    async with (
        open_database(address, "", "one") as first,
        open_database(address, "", "other") as second,
        open_platform(address, TASK, "one/worker-1") as worker,
    ):
        await JoinedMachine(first, "one").beat()
        [taken] = await worker.queue.receive(1, 300, 0)
        await JoinedMachine(second, "other").beat()
        await ask(address, "UPDATE dth.machine SET seen = seen - 60 WHERE name = 'one'")
        await ask(address, "UPDATE dth.machine SET since = since - 60 WHERE name = 'other'")
        await JoinedMachine(second, "other").beat()
        assert await ask(address, "SELECT name FROM dth.machine") == [("other",)]
        [again] = await platform.queue.receive(1, 300, 0)
        assert again.id == taken.id
        # It wakes up: what it had does not belong to it, and it is a machine again.
        assert await worker.queue.extend([taken], 300) == {"a"}
        await JoinedMachine(first, "one").beat()
        assert len(await ask(address, "SELECT 1 FROM dth.machine")) == 2


async def test_after_a_gap_nobody_buries_the_others_at_once(address: str) -> None:
    async with open_database(address, "", "one") as database:
        machine = JoinedMachine(database, "one")
        await machine.beat()
        other = "INSERT INTO dth.machine VALUES ('other', 0, 0)"
        await ask(address, f"UPDATE dth.machine SET since = 0, seen = seen - 60; {other}")
        await machine.beat()
        assert len(await ask(address, "SELECT 1 FROM dth.machine")) == 2


async def test_who_lost_a_task_changes_nothing(address: str, platform: PostgresPlatform) -> None:
    async with (
        open_database(address, "", "one") as first,
        open_platform(address, TASK, "one/supervisor") as old,
    ):
        await JoinedMachine(first, "one").claim(old.database, "S3EC2", {})
        run, _ = await old.records.begin_run(RunKind.SYNC)
        await old.records.commit(run.id, Page(enqueued=[Enqueued("k", 1, "e", "m")]))
        await ask(address, "UPDATE dth.task SET holder = 'other'")
        with pytest.raises(StateError, match="another command has taken over"):
            await old.records.commit(run.id, Page(enqueued=[Enqueued("l", 1, "e", "n")]))
        with pytest.raises(StateError, match="another command has taken over"):
            await old.look()
        await old.records.set_run(run.id, RunState.FAILED, "it does not know")
    found = await platform.records.get_run(run.id)
    assert (found.state, found.counts.enqueued) == (RunState.LISTING, 1)
