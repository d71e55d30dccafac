"""What only the tables of a hub on PostgreSQL have. The contract of the ports is in
tests/contract."""

from __future__ import annotations

import asyncio
import time
from secrets import token_bytes
from typing import TYPE_CHECKING, cast

import pytest

from dth.core.errors import NotFound, StateError, UsageError
from dth.core.stores import Store
from dth.hub.model import AuditEntry, Progress, ScheduleType, Task
from dth.hub.ports import ComparisonJob, TaskQuery
from dth.platforms.local import comparisons, hub_migrations
from dth.platforms.local.due_tasks import DueTasks, Rest
from dth.platforms.local.grants import Grant, Kind, LocalGrants
from dth.platforms.local.metrics import EVERYTHING, LocalMetrics
from dth.platforms.local.stores import LocalStores
from dth.platforms.local.tasks import LocalAudit, LocalTasks
from dth.platforms.local.users import LocalUsers
from dth.platforms.local.vault import kept, open_vault
from tests.servers.postgres import Postgres, missing_parts

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
from dth.platforms.postgres import hub_database  # noqa: E402
from dth.platforms.postgres.address import advice  # noqa: E402
from dth.platforms.postgres.hub_database import PostgresHubDatabase  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dth.platforms.local.fork_server import ForkServer


@pytest.fixture
def address(postgres: Postgres) -> Iterator[str]:
    made = postgres.database()
    yield made
    postgres.drop(made)


@pytest.fixture
def database(address: str) -> Iterator[PostgresHubDatabase]:
    with hub(address) as opened:
        yield opened


def hub(address: str) -> PostgresHubDatabase:
    return PostgresHubDatabase.open(address, hub_migrations.prepare)


def task(id: str, **more: object) -> Task:
    return Task(id, "S3EC2", ScheduleType.FIXED_RATE, {}, **more)  # type: ignore[arg-type]


def ask(address: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(address, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


# ------------------------------------------------------------------------------------- several hubs


async def test_hubs_that_start_at_once_make_the_tables_once(address: str) -> None:
    opened = await asyncio.gather(*(asyncio.to_thread(hub, address) for _ in range(4)))
    for each in opened:
        each.close()
    version = len(hub_migrations.STEPS) + 1
    assert ask(address, "SELECT version FROM dth_hub.version") == [(version,)]


async def test_what_hubs_add_to_one_row_at_once_is_all_there(
    address: str, database: PostgresHubDatabase
) -> None:
    now = time.time()
    with hub(address) as other:
        await asyncio.gather(
            *(
                LocalMetrics(each).write(f"t{number}", now, {"transferred": 1.0})
                for number in range(20)
                for each in (database, other)
            )
        )
    start = int(now) // 600 * 600
    _, [series] = await LocalMetrics(database).read_all(["transferred"], start, now + 1, 600)
    assert series.values[0] == 40.0
    assert ask(address, f"SELECT count(*) FROM dth_hub.sample WHERE task = '{EVERYTHING}'") == [
        (1,)
    ]


async def test_a_code_is_good_once_whichever_hub_gets_it(
    address: str, database: PostgresHubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.platforms.local.users.COST", (4, 8, 1))
    await LocalUsers(database).add_first("admin", "Passw0rd!-long")
    await LocalUsers(database).set_password("admin", "Passw0rd!-long2")
    epoch = int(str(ask(address, 'SELECT epoch FROM dth_hub."user"')[0][0]))
    grants = LocalGrants(database)
    _, family = await grants.open_session(Grant("admin", epoch, time.time()))
    code = await grants.give_code(Grant("admin", epoch, time.time()), family)
    with hub(address) as other:
        used = await asyncio.gather(
            *(
                LocalGrants(each).exchange(Kind.CODE, code, lambda _: True)
                for each in (database, other)
            )
        )
    assert sum(each is not None for each in used) == 1


async def test_a_hub_that_stops_in_a_transaction_loses_its_turn(
    address: str, database: PostgresHubDatabase
) -> None:
    with psycopg.connect(address, autocommit=True) as stopped:
        stopped.execute(hub_database.WRITE.replace("'10s'", "'200ms'"))
        await LocalStores(database).add(Store("a", "amazon_s3"))
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            stopped.execute("SELECT 1")
    assert [each.name for each in await LocalStores(database).list()] == ["a"]


async def test_who_waits_to_write_holds_up_no_reader(
    address: str, database: PostgresHubDatabase
) -> None:
    stores = LocalStores(database)
    with psycopg.connect(address, autocommit=True) as other:
        other.execute(hub_database.WRITE)
        adding = [asyncio.create_task(stores.add(Store(f"s{n}", "amazon_s3"))) for n in range(8)]
        await asyncio.sleep(0)  # they are handed over
        assert await stores.list() == []
        other.execute("COMMIT")
        await asyncio.gather(*adding)
    assert len(await stores.list()) == 8


# ------------------------------------------------------------------------------------- what is kept


async def test_what_is_due_comes_in_the_order_in_which_it_was_added(
    database: PostgresHubDatabase,
) -> None:
    due_tasks, tasks, now = DueTasks(database), LocalTasks(database), time.time()
    for number, name in enumerate(("z", "a", "m")):
        await tasks.add(task(name, progress=Progress.IN_PROGRESS, created=float(number)))
    assert await due_tasks.due(now) == ["z", "a", "m"]
    assert await due_tasks.rest("z", Rest((await tasks.get("z")).version))
    assert await due_tasks.due(now) == ["a", "m"]
    await due_tasks.mark("z")
    assert await due_tasks.due(now) == ["z", "a", "m"]
    assert [each.id for each in await due_tasks.scheduled("a", 1)] == ["m"]


async def test_a_hold_ends_when_the_clock_was_ahead(database: PostgresHubDatabase) -> None:
    due_tasks, tasks, now = DueTasks(database), LocalTasks(database), time.time()
    for name, ahead in (("right", 3600.0), ("ahead", 1e6)):
        await tasks.add(task(name, progress=Progress.IN_PROGRESS))
        version = (await tasks.get(name)).version
        await due_tasks.rest(name, Rest(version, now + ahead, held=True))
    assert await due_tasks.next(now) == now + 3600.0
    await due_tasks.set_back()
    assert await due_tasks.due(now) == ["ahead"]


async def test_old_samples_go_and_others_stay(database: PostgresHubDatabase) -> None:
    metrics, now = LocalMetrics(database), time.time()
    for at in (now - 100 * 86_400.0, now):
        await metrics.write("t", at, {"transferred": 1.0})
    await metrics.prune(now)
    first = int(now) // 10 * 10
    assert (await metrics.latest())["t", "transferred"] == 1.0
    _, [series] = await metrics.read("t", ["transferred"], first, now + 1, 10)
    assert series.values[0] == 1.0
    _, [series] = await metrics.read("t", ["transferred"], now - 101 * 86_400.0, now, 86_400)
    assert [each for each in series.values if each] == [1.0]


async def test_comparisons_are_kept_until_there_are_too_many(
    database: PostgresHubDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparisons, "MOST_KEPT", 1)
    found = comparisons.LocalComparisons(database, tmp_path, cast("ForkServer", None))
    for number, name in enumerate(("old", "new")):
        made = ComparisonJob(name, "S3EC2", "a", "b", {}, {}, "t", started=time.time() + number)
        await database.write(comparisons._add, made)
    assert [each.id for each in await found.find("t")] == ["new", "old"]
    await found.end_unfinished()
    assert (await found.get("old")).state == "INTERRUPTED"
    await found._prune()
    assert [each.id for each in await found.find()] == ["new"]


async def test_what_a_comparison_found_elsewhere_is_missed_and_not_empty(
    database: PostgresHubDatabase, tmp_path: Path
) -> None:
    found = comparisons.LocalComparisons(database, tmp_path, cast("ForkServer", None))
    done = ComparisonJob("c", "S3EC2", "a", "b", {}, {}, started=1.0, state="DONE")
    await database.write(comparisons._add, done)
    with pytest.raises(NotFound, match="another machine may have it"):
        await found.folders("c", "", 10)
    with pytest.raises(NotFound, match="another machine may have it"):
        await found.page("c")


async def test_hubs_agree_on_a_key(
    address: str, database: PostgresHubDatabase, tmp_path: Path
) -> None:
    vault = open_vault(tmp_path)
    with hub(address) as other:
        keys = await asyncio.gather(
            *(
                kept(each, vault, "webhook", lambda: token_bytes(8))
                for each in (database, other)
                for _ in range(4)
            )
        )
    assert len(set(keys)) == 1


async def test_lists_are_in_the_order_of_bytes_in_any_language(postgres: Postgres) -> None:
    address = postgres.database()
    with hub(address) as database:
        columns = ask(
            address,
            "SELECT count(*), count(*) FILTER (WHERE collation_name = 'C') "
            "FROM information_schema.columns "
            "WHERE table_schema = 'dth_hub' AND data_type = 'text'",
        )
        assert columns[0][0] == columns[0][1]
        for name in ("b", "B", "a", "ä"):
            await LocalTasks(database).add(task(name, description=name))
        found, _ = await LocalTasks(database).find(TaskQuery(order="description", descending=False))
    postgres.drop(address)
    assert [each.id for each in found] == ["B", "a", "b", "ä"]


async def test_no_text_for_people_is_refused(database: PostgresHubDatabase) -> None:
    audit = LocalAudit(database)
    await audit.begin(AuditEntry(1.0, "ann", "oidc", "stopTask", "a\0b\udcff", "{}"))
    [kept], _ = await audit.find()
    assert kept.target == r"a\x00b\udcff"
    with pytest.raises(UsageError, match="NUL"):
        await LocalTasks(database).find(TaskQuery(text="a\0b"))


# ------------------------------------------------------------------------------------------- faults


async def test_a_hub_outlives_a_crash_of_the_database() -> None:
    if missing := missing_parts():
        pytest.skip(f"not installed: {', '.join(missing)}")
    with Postgres(durable=True) as server, hub(server.database()) as database:
        stores = LocalStores(database)
        await stores.add(Store("a", "amazon_s3"))
        server.kill()
        adding = asyncio.create_task(stores.add(Store("b", "amazon_s3")))
        await asyncio.to_thread(server.start)
        await adding
        assert [each.name for each in await stores.list()] == ["a", "b"]


async def test_a_database_that_stays_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    if missing := missing_parts():
        pytest.skip(f"not installed: {', '.join(missing)}")
    monkeypatch.setattr(hub_database, "PATIENCE", 0.0)
    with Postgres() as server, hub(server.database()) as database:
        server.kill()
        with pytest.raises(StateError, match=r"cannot be used: .*; check the address"):
            await LocalStores(database).list()


async def test_who_waits_for_too_long_to_write_is_told_why(
    address: str, database: PostgresHubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(address, autocommit=True) as other:
        other.execute(hub_database.WRITE)
        monkeypatch.setattr(hub_database, "WRITE", hub_database.WRITE.replace("'60s'", "'50ms'"))
        with pytest.raises(StateError, match=r"lock timeout.*; end what keeps the tables locked"):
            await LocalStores(database).add(Store("a", "amazon_s3"))


def test_a_full_disk_of_the_database_is_named() -> None:
    text = "could not extend file: No space left on device"
    assert advice(text) == "free some space on the disk of the database"


def test_a_database_of_a_newer_version_is_refused(address: str) -> None:
    hub(address).close()
    ask(address, "UPDATE dth_hub.version SET version = 99")
    with pytest.raises(StateError, match=r"newer version of Data Transfer Hub \(schema 99"):
        hub(address)
    assert ask(address, "SELECT version FROM dth_hub.version") == [(99,)]


def test_a_database_that_cannot_be_used_is_one_line(
    postgres: Postgres, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StateError, match="create the database, or name another one"):
        hub(f"{postgres.url}/nowhere")
    with pytest.raises(StateError, match="give the right password") as error:
        hub(postgres.guarded(address, "wrong-word"))
    assert "wrong-word" not in str(error.value)
    assert "\n" not in str(error.value)
    monkeypatch.setattr("dth.platforms.postgres.database.OLDEST", 990000)
    with pytest.raises(StateError, match=r"is PostgreSQL .*; 15 or newer is needed"):
        hub(address)
