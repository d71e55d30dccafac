"""Migrates an older database of the hub to the current schema: see `migrations`.

PostgreSQL has had the tables since version 8: later steps have to run in both kinds of database.
"""

from collections.abc import Callable

from sqlalchemy import Connection, inspect

from dth.platforms.local import hub_schema
from dth.platforms.local.migrations import FileVersion, Version, migrate
from dth.platforms.local.sql import POSTGRES


def own_tokens(connection: Connection) -> None:
    """API tokens get an owner, with whom they end; tokens whose maker was removed end now. Grants
    get chains."""
    connection.exec_driver_sql("ALTER TABLE token ADD COLUMN owner TEXT NOT NULL DEFAULT ''")
    made_by_a_user = "created_by IN (SELECT name FROM user WHERE user.created <= token.created)"
    connection.exec_driver_sql(f"UPDATE token SET owner = created_by WHERE {made_by_a_user}")
    connection.exec_driver_sql(
        """DELETE FROM token WHERE owner = '' AND EXISTS (
            SELECT 1 FROM audit WHERE what = 'deleteUser' AND outcome = 'ok'
            AND lower(trim(audit.target)) = token.created_by AND audit.at >= token.created)"""
    )
    connection.exec_driver_sql("""ALTER TABLE "grant" ADD COLUMN chain TEXT NOT NULL DEFAULT ''""")
    connection.exec_driver_sql("""UPDATE "grant" SET chain = family""")
    connection.exec_driver_sql("""CREATE INDEX grant_chain ON "grant" (chain)""")


def decide_from_the_hub(connection: Connection) -> None:
    """What is to be done for a task, and when, is stored with the task. Samples get an index by
    age."""
    had_tasks = inspect(connection).has_table("task")
    for table in (hub_schema.task, hub_schema.sample):
        table.create(connection, checkfirst=True)
    connection.exec_driver_sql("CREATE INDEX IF NOT EXISTS sample_age ON sample (step, at)")
    if not had_tasks:
        return
    connection.exec_driver_sql("ALTER TABLE task ADD COLUMN look_at FLOAT DEFAULT 0")
    connection.exec_driver_sql("ALTER TABLE task ADD COLUMN held INTEGER NOT NULL DEFAULT 0")
    connection.exec_driver_sql("CREATE INDEX task_look ON task (progress, look_at)")
    connection.exec_driver_sql("CREATE INDEX task_next_run ON task (progress, held, next_run)")


def bind_secrets(connection: Connection) -> None:
    """Secrets get hosts. Existing secrets may still be used with any host."""
    connection.exec_driver_sql(
        """ALTER TABLE secret ADD COLUMN hosts TEXT NOT NULL DEFAULT '["*"]'"""
    )


def name_stores(connection: Connection) -> None:
    """There are stores, which tasks name."""
    hub_schema.store.create(connection, checkfirst=True)
    _add_to_tasks(connection, "stores", "TEXT NOT NULL DEFAULT '{}'")


def keep_comparisons(connection: Connection) -> None:
    """Comparisons of two sides are kept."""
    hub_schema.comparison.create(connection, checkfirst=True)


def delete_after_a_stop(connection: Connection) -> None:
    """Tasks remember that they are to be deleted when they have stopped."""
    _add_to_tasks(connection, "delete_requested", "INTEGER NOT NULL DEFAULT 0")


def acknowledge_tasks(connection: Connection) -> None:
    """Tasks remember who knows of their trouble."""
    _add_to_tasks(connection, "acknowledged", "TEXT NOT NULL DEFAULT 'null'")


def invite_users(connection: Connection) -> None:
    """There are invitations."""
    hub_schema.invitation.create(connection, checkfirst=True)


def _add_to_tasks(connection: Connection, name: str, kind: str) -> None:
    """The table may be younger than the version of the database, and have the column already."""
    columns = {column["name"] for column in inspect(connection).get_columns("task")}
    if name not in columns:
        connection.exec_driver_sql(f"ALTER TABLE task ADD COLUMN {name} {kind}")


STEPS: list[Callable[[Connection], None]] = [
    own_tokens,
    decide_from_the_hub,
    bind_secrets,
    name_stores,
    keep_comparisons,
    delete_after_a_stop,
    acknowledge_tasks,
    invite_users,
]


class _TableVersion:
    """The version of a PostgreSQL database, in a table of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self) -> int:
        if not inspect(self._connection).has_table("version"):
            self._connection.exec_driver_sql("CREATE TABLE version (version integer NOT NULL)")
            self._connection.exec_driver_sql("INSERT INTO version VALUES (0)")
        return int(self._connection.exec_driver_sql("SELECT version FROM version").scalar_one())

    def write(self, version: int) -> None:
        self._connection.exec_driver_sql(f"UPDATE version SET version = {version}")


def prepare(connection: Connection) -> None:
    """Create or upgrade the tables of a hub, in a write transaction."""
    is_postgres = connection.dialect.name == POSTGRES
    version: Version = (
        _TableVersion(connection) if is_postgres else FileVersion(connection.exec_driver_sql)
    )
    migrate(connection, version, hub_schema.metadata.create_all, STEPS)
