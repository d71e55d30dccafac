"""What is due is decided from the hub's database, by its indexes."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from dth.hub.model import Progress, ScheduleType, Task
from dth.platforms.local import due_tasks as due_tasks_module
from dth.platforms.local import hub_migrations
from dth.platforms.local.due_tasks import DueTasks, Rest
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.sql import SQLITE
from dth.platforms.local.tasks import LocalTasks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = time.time()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[HubDatabase]:
    with HubDatabase.open(tmp_path / "hub.db") as opened:
        yield opened


async def task(
    database: HubDatabase, id: str, progress: Progress = Progress.IN_PROGRESS, **more: object
) -> Task:
    await LocalTasks(database).add(
        Task(id, "S3EC2", ScheduleType.FIXED_RATE, {}, progress=progress, **more)  # type: ignore[arg-type]
    )
    return await LocalTasks(database).get(id)


async def test_what_waits_is_not_due(database: HubDatabase) -> None:
    due_tasks = DueTasks(database)
    waits = await task(database, "waits", next_run=NOW + 60)
    due = await task(database, "due", next_run=NOW - 1)
    closed = await task(database, "closed", next_run=NOW - 1)
    for progress in Progress:
        await task(database, progress.value, progress)
    acting = ["STOPPING", "STARTING"]
    assert await due_tasks.due(NOW) == [*acting, "due", "closed", "waits", "IN_PROGRESS"]
    assert await due_tasks.rest(waits.id, Rest(waits.version))
    assert await due_tasks.rest(due.id, Rest(due.version))
    assert await due_tasks.rest(closed.id, Rest(closed.version, NOW + 30, held=True))
    assert await due_tasks.due(NOW) == [*acting, "due", "IN_PROGRESS"]
    assert await due_tasks.next(NOW) == NOW + 30
    assert await due_tasks.due(NOW + 61) == [*acting, "due", "waits", "IN_PROGRESS", "closed"]


async def test_what_was_changed_is_looked_at_again(database: HubDatabase) -> None:
    due_tasks, tasks = DueTasks(database), LocalTasks(database)
    waits = await task(database, "waits")
    assert await due_tasks.rest(waits.id, Rest(waits.version))
    assert await due_tasks.due(NOW) == []
    changed = await tasks.get("waits")
    changed.reason = "something"
    assert await tasks.save(changed)
    assert not await due_tasks.rest(waits.id, Rest(waits.version))  # as it was before
    assert await due_tasks.due(NOW) == ["waits"]
    assert await due_tasks.rest(changed.id, Rest(changed.version))
    await due_tasks.mark("waits")
    assert await due_tasks.due(NOW) == ["waits"]


async def test_many_of_one_kind_do_not_keep_the_others_out(
    database: HubDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_tasks_module, "CROWD", 3)
    for number in range(9):
        await task(database, f"asked {number}")
    await task(database, "due", next_run=NOW - 1)
    await task(database, "stops", Progress.STOPPING)
    assert await DueTasks(database).due(NOW) == ["stops", "due", "asked 0", "asked 1", "asked 2"]


async def test_nobody_is_held_for_longer_than_can_be(database: HubDatabase) -> None:
    due_tasks = DueTasks(database)
    for name, ahead in (("right", 3600.0), ("ahead", 1e6)):
        added = await task(database, name)
        await due_tasks.rest(name, Rest(added.version, time.time() + ahead, held=True))
    await due_tasks.set_back()
    assert await due_tasks.due(time.time()) == ["ahead"]


@pytest.mark.parametrize("query", [*due_tasks_module.DUE, *due_tasks_module.NEXT])
async def test_it_is_found_by_an_index(database: HubDatabase, query: dict[str, str]) -> None:
    def plan(connection: object) -> list[str]:
        rows = connection.exec_driver_sql(  # type: ignore[attr-defined]
            f"EXPLAIN QUERY PLAN {query[SQLITE]}", {"now": NOW, "most": 3}
        )
        return [row.detail for row in rows]

    steps = await database.read(plan)
    assert all(
        step.startswith("SEARCH task USING") for step in steps if "TEMP B-TREE" not in step
    ), steps
    assert not any("TEMP B-TREE FOR ORDER BY" in step for step in steps), steps


async def test_an_older_hub_looks_at_each_task_once(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    with HubDatabase.open(path) as database:
        await task(database, "old", next_run=NOW + 60)
    with contextlib.closing(sqlite3.connect(path)) as old, old:
        for index in ("task_look", "task_next_run", "sample_age"):
            old.execute(f"DROP INDEX {index}")
        for column in ("look_at", "held"):
            old.execute(f"ALTER TABLE task DROP COLUMN {column}")
        old.execute("ALTER TABLE secret DROP COLUMN hosts")
        step = hub_migrations.STEPS.index(hub_migrations.decide_from_the_hub)
        old.execute(f"PRAGMA user_version = {step + 1}")
    with HubDatabase.open(path) as database:
        due_tasks = DueTasks(database)
        assert await due_tasks.due(NOW) == ["old"]
        found = await LocalTasks(database).get("old")
        assert await due_tasks.rest("old", Rest(found.version))
        assert await due_tasks.due(NOW) == []
