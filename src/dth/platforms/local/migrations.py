"""Bringing an older database to the present schema, one step a version, in the file's `user_version`."""

from collections.abc import Callable

from sqlalchemy import Connection, MetaData, inspect

from dth.errors import StateError
from dth.platforms.local import hub_schema, schema

Step = Callable[[Connection], None]


def measure_more(connection: Connection) -> None:
    """Gauges tell lives apart, count errors and know latencies."""
    for column, kind in (
        ("started", "FLOAT"),
        ("errors", "INTEGER"),
        ("source_latency", "FLOAT"),
        ("dest_latency", "FLOAT"),
    ):
        connection.exec_driver_sql(f"ALTER TABLE gauge ADD COLUMN {column} {kind} NOT NULL DEFAULT 0")


def know_images(connection: Connection) -> None:
    """What runs did with images."""
    schema.image.create(connection)


def know_who_verified(connection: Connection) -> None:
    """Records say who confirmed a copy; runs count it, and copies that lack something."""
    for table in ("record", "part"):
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN verified TEXT NOT NULL DEFAULT ''")
    for column in ("verified_store", "verified_etag", "verified_source", "verified_content", "incomplete"):
        connection.exec_driver_sql(f"ALTER TABLE run ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")


def act_live(connection: Connection) -> None:
    """The rate that holds stands beside its bucket. Gauges know what is under way."""
    connection.exec_driver_sql("ALTER TABLE bucket ADD COLUMN rate FLOAT NOT NULL DEFAULT 0")
    for column in ("counted", "under_way"):
        connection.exec_driver_sql(f"ALTER TABLE gauge ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")


def know_what_uploads_cover(connection: Connection) -> None:
    """Uploads know the last event before them."""
    connection.exec_driver_sql("ALTER TABLE upload ADD COLUMN sequencer TEXT")


def know_the_parts_of_sources(connection: Connection) -> None:
    """Uploads know the size of the source's parts, and parts their MD5s."""
    connection.exec_driver_sql("ALTER TABLE upload ADD COLUMN source_part INTEGER NOT NULL DEFAULT 0")
    connection.exec_driver_sql("ALTER TABLE part ADD COLUMN digests TEXT NOT NULL DEFAULT ''")


def own_tokens(connection: Connection) -> None:
    """API tokens have an owner, with whom they end; those end now whose maker was removed. Grants are in chains."""
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
    """What is to be done for a task, and when, stands with the task. Samples are found by their age."""
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


def find_and_certify(connection: Connection) -> None:
    """Pages of records have an index each, and runs keep a digest of their records."""
    for index in sorted(schema.record.indexes, key=lambda each: str(each.name)):
        index.create(connection, checkfirst=True)
    schema.digest.create(connection, checkfirst=True)


def bind_secrets(connection: Connection) -> None:
    """Secrets have hosts. Those from before may go on to be used with any."""
    connection.exec_driver_sql("""ALTER TABLE secret ADD COLUMN hosts TEXT NOT NULL DEFAULT '["*"]'""")


# STEPS[n] brings version n + 1 to version n + 2. A new file starts at the last version.
# Those of a task's database.
STEPS: list[Step] = [
    measure_more,
    know_images,
    know_who_verified,
    act_live,
    know_what_uploads_cover,
    know_the_parts_of_sources,
    find_and_certify,
]
HUB_STEPS: list[Step] = [own_tokens, decide_from_the_hub, bind_secrets]  # of the hub's


def migrate(connection: Connection, metadata: MetaData, steps: list[Step]) -> None:
    """Create or upgrade the tables. The caller holds the write transaction: of two processes one does it."""
    latest = len(steps) + 1
    version: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version > latest:
        raise StateError(
            f"The state was written by a newer version of Data Transfer Hub (schema {version}, known here:"
            f" {latest}); upgrade this installation or use another state directory"
        )
    if version == latest:
        return
    if version == 0:
        metadata.create_all(connection)
    else:
        for step in steps[version - 1 :]:
            step(connection)
    connection.exec_driver_sql(f"PRAGMA user_version = {latest}")
