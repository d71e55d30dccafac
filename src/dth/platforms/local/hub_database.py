"""The database of the hub. What is asked of it is made by SQLAlchemy."""

import sqlite3
import threading
from functools import cache

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from dth.platforms.local import hub_migrations, hub_schema
from dth.platforms.local.database import Database
from dth.platforms.local.migrations import migrate


class HubDatabase(Database[Connection]):
    """Small, open for months, and written a little at a time. So is its log."""

    log_pages = 256
    log_limit = 1024 * 1024
    errors = (sqlite3.Error, DBAPIError)  # the first while a connection is being set up

    def _connection(self, begin: str) -> Connection:
        _opening.database = self
        return _engine(begin).connect()

    def _prepare(self, connection: Connection) -> None:
        migrate(connection, connection.exec_driver_sql, hub_schema.metadata.create_all, hub_migrations.STEPS)


_opening = threading.local()  # `database`: whose file this thread is about to open


@cache
def _engine(begin: str) -> Engine:
    """One for all transactions that begin so, whatever the file. It keeps the statements that were compiled, which
    costs more than to run them. It keeps no connection, so that it may cross a fork."""
    engine = create_engine(
        "sqlite+pysqlite://", poolclass=NullPool, creator=lambda: _opening.database._driver(begin)
    )

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
