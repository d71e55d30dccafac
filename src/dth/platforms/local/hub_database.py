"""The database of the hub. Statements are built with SQLAlchemy."""

import sqlite3
import threading
from functools import cache

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from dth.platforms.local import hub_migrations
from dth.platforms.local.database import Database


class HubDatabase(Database[Connection]):
    """Small, open for months, and written in small amounts. Its log is small, too."""

    log_pages = 256
    log_limit = 1024 * 1024
    errors = (sqlite3.Error, DBAPIError)  # the first during connection setup

    def _connection(self, begin: str) -> Connection:
        _opening.database = self
        return _engine(begin).connect()

    def _prepare(self, connection: Connection) -> None:
        hub_migrations.prepare(connection)


# `database`: whose file this thread is about to open.
_opening = threading.local()


@cache
def _engine(begin: str) -> Engine:
    """One engine for all transactions that begin this way, whatever the file. It caches compiled
    statements, because compiling costs more than running. It keeps no connection, so it may be used
    across a fork."""
    engine = create_engine(
        "sqlite+pysqlite://", poolclass=NullPool, creator=lambda: _opening.database._driver(begin)
    )

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
