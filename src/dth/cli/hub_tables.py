"""The tables of a hub, for commands that need no hub to run."""

from contextlib import AbstractContextManager
from pathlib import Path

from dth.platforms.local import hub_migrations
from dth.platforms.local.hub_database import HubDatabase
from dth.platforms.local.sql import SqlDatabase
from dth.platforms.local.vault import DATABASE_FILE


def in_database(folder: Path, database: str | None) -> str:
    """The address of the database with the tables of the hub; "" if they are in its data directory.
    Tables that are there are those of the hub, whatever DTH_DATABASE says."""
    return "" if (folder / DATABASE_FILE).exists() else database or ""


def open_tables(folder: Path, database: str | None) -> AbstractContextManager[SqlDatabase]:
    """The tables of the hub with this data directory."""
    if address := in_database(folder, database):
        from dth.platforms.postgres.hub_database import PostgresHubDatabase

        return PostgresHubDatabase.open(address, hub_migrations.prepare)
    return HubDatabase.open(folder / DATABASE_FILE)
