"""Stores in an older database of a hub."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from dth.core.stores import Store
from dth.hub.model import ScheduleType, Task
from dth.platforms.local import hub_migrations
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.stores import LocalStores
from dth.platforms.local.tasks import LocalTasks

if TYPE_CHECKING:
    from pathlib import Path


async def test_an_older_database_gets_stores(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    with HubDatabase.open(path) as database:
        await LocalTasks(database).add(
            Task("one", "S3EC2", ScheduleType.ONE_TIME, {"srcBucket": "a"})
        )
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("DROP TABLE store")
        for column in ("stores", "delete_requested", "acknowledged"):
            old.execute(f"ALTER TABLE task DROP COLUMN {column}")
        old.execute(
            f"PRAGMA user_version = {hub_migrations.STEPS.index(hub_migrations.name_stores) + 1}"
        )
        old.commit()
    with HubDatabase.open(path) as database:
        found = await LocalTasks(database).get("one")
        assert (found.stores, found.delete_requested, found.acknowledged) == ({}, False, None)
        await LocalStores(database).add(Store("a", region="eu-west-1"))
        assert [each.region for each in await LocalStores(database).list()] == ["eu-west-1"]
