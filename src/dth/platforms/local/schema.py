"""The tables of one task.

A change to a table needs a step in `migrations.py`: a new file is created from these statements, an
older file is migrated step by step.

Keys of objects are BLOBs (`encoding`). Tables with one row per object are B-trees in key order,
without a second tree for row ids.
"""

from collections.abc import Iterable
from dataclasses import fields
from sqlite3 import Connection

from dth.core.ports.runs import Counts

# Bodies are in a separate table, so that a claim or a heartbeat does not rewrite up to 200 KB.
QUEUE = (
    """CREATE TABLE message (
        seq INTEGER PRIMARY KEY NOT NULL,
        id TEXT NOT NULL UNIQUE,
        visible_at FLOAT NOT NULL, -- while it is leased: when the lease ends
        receives INTEGER NOT NULL DEFAULT 0,
        receipt TEXT, -- of the last delivery; null when there was none or it was given back
        owner TEXT, -- who took the last delivery
        dead INTEGER NOT NULL DEFAULT 0 -- 1: received too often
    )""",
    "CREATE INDEX message_visible ON message (dead, visible_at)",
    """CREATE TABLE body (
        seq INTEGER PRIMARY KEY NOT NULL REFERENCES message (seq) ON DELETE CASCADE,
        body TEXT NOT NULL
    )""",
)

RECORD = """CREATE TABLE record (
    key BLOB PRIMARY KEY NOT NULL,
    status TEXT NOT NULL,
    run INTEGER NOT NULL,
    etag TEXT NOT NULL DEFAULT '',
    size INTEGER NOT NULL DEFAULT 0,
    dest_etag TEXT NOT NULL DEFAULT '',
    proof TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    updated FLOAT NOT NULL,
    verified TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID"""

# Each query for records has an index, so that no answer reads all of them. The indexes with a
# condition are small.
_UNFINISHED = "status = 'FAILED' OR status = 'CANCELLED'"
RECORD_INDEXES = (
    "CREATE INDEX IF NOT EXISTS record_run ON record (run, key)",
    f"CREATE INDEX IF NOT EXISTS record_unfinished ON record (status, key) WHERE {_UNFINISHED}",
    (
        "CREATE INDEX IF NOT EXISTS record_run_unfinished ON record (run, status, key) WHERE "
        f"{_UNFINISHED}"
    ),
    "CREATE INDEX IF NOT EXISTS record_pending ON record (key) WHERE status = 'PENDING'",
    "CREATE INDEX IF NOT EXISTS record_reason ON record (reason, key) WHERE reason <> ''",
)

# The last event applied to a key; separate from the records because most keys never have one.
EVENT = """CREATE TABLE event (
    key BLOB PRIMARY KEY NOT NULL,
    sequencer TEXT NOT NULL
) WITHOUT ROWID"""

# Records refer to their run: the id of a pruned run is never used again.
RUN = f"""CREATE TABLE run (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    started FLOAT NOT NULL,
    ended FLOAT NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    {", ".join(f"{count.name} INTEGER NOT NULL DEFAULT 0" for count in fields(Counts))}
)"""

# The digest of a run's records, updated as they are settled (`core.digest`).
DIGEST = """CREATE TABLE IF NOT EXISTS digest (
    run INTEGER PRIMARY KEY NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    total BLOB NOT NULL,
    done INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    confirmed INTEGER NOT NULL DEFAULT 0,
    upto BLOB -- null: all records are in it. Of a run from before there were digests: those up to this key
)"""

OF_A_RUN = (
    """CREATE TABLE note (
        id INTEGER PRIMARY KEY NOT NULL,
        run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
        note TEXT NOT NULL
    )""",
    "CREATE UNIQUE INDEX note_once ON note (run, note)",
    """CREATE TABLE cursor (
        run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
        id TEXT NOT NULL,
        scope INTEGER NOT NULL,
        after BLOB NOT NULL,
        upto BLOB NOT NULL,
        position BLOB NOT NULL,
        finished INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (run, id)
    ) WITHOUT ROWID""",
    # Destination keys without a source that are not settled yet.
    """CREATE TABLE extra (
        run INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
        key BLOB NOT NULL,
        PRIMARY KEY (run, key)
    ) WITHOUT ROWID""",
)

# One row while the task is paused.
PAUSE = """CREATE TABLE pause (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    reason TEXT NOT NULL
)"""

IMAGES = (
    """CREATE TABLE image (
        run INTEGER NOT NULL,
        key BLOB NOT NULL,
        source TEXT NOT NULL DEFAULT '',
        status TEXT NOT NULL,
        source_digest TEXT NOT NULL DEFAULT '',
        dest_digest TEXT NOT NULL DEFAULT '',
        size INTEGER NOT NULL DEFAULT 0,
        moved INTEGER NOT NULL DEFAULT 0,
        seconds FLOAT NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        reason TEXT NOT NULL DEFAULT '',
        detail TEXT NOT NULL DEFAULT '',
        platforms TEXT NOT NULL DEFAULT '',
        about TEXT NOT NULL DEFAULT '',
        ended FLOAT NOT NULL DEFAULT 0,
        PRIMARY KEY (run, key)
    ) WITHOUT ROWID""",
    "CREATE INDEX image_history ON image (key, run)",
)

GIANT_UPLOADS = (
    """CREATE TABLE upload (
        key BLOB PRIMARY KEY NOT NULL,
        run INTEGER NOT NULL,
        etag TEXT NOT NULL DEFAULT '',
        size INTEGER NOT NULL DEFAULT 0,
        part_size INTEGER NOT NULL DEFAULT 0,
        state TEXT NOT NULL,
        upload_id TEXT NOT NULL DEFAULT '',
        begun FLOAT NOT NULL,
        owner TEXT NOT NULL DEFAULT '',
        lease_until FLOAT NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        parts INTEGER NOT NULL DEFAULT 0,
        parts_done INTEGER NOT NULL DEFAULT 0,
        modified FLOAT NOT NULL DEFAULT 0,
        sequencer TEXT,
        source_part INTEGER NOT NULL DEFAULT 0
    )""",
    """CREATE TABLE part (
        key BLOB NOT NULL REFERENCES upload (key) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        etag TEXT NOT NULL DEFAULT '',
        checksum TEXT NOT NULL DEFAULT '',
        attempts INTEGER NOT NULL DEFAULT 0,
        verified TEXT NOT NULL DEFAULT '',
        digests TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (key, number)
    ) WITHOUT ROWID""",
)

LIMITS_AND_GAUGES = (
    """CREATE TABLE bucket (
        name TEXT PRIMARY KEY NOT NULL,
        tokens FLOAT NOT NULL,
        filled FLOAT NOT NULL, -- when `tokens` was true
        rate FLOAT NOT NULL DEFAULT 0 -- units a second; 0: no limit
    )""",
    """CREATE TABLE gauge (
        process TEXT PRIMARY KEY NOT NULL,
        kind TEXT NOT NULL,
        at FLOAT NOT NULL,
        bytes_in INTEGER NOT NULL DEFAULT 0,
        bytes_out INTEGER NOT NULL DEFAULT 0,
        requests INTEGER NOT NULL DEFAULT 0,
        throttled INTEGER NOT NULL DEFAULT 0,
        in_flight INTEGER NOT NULL DEFAULT 0,
        note TEXT NOT NULL DEFAULT '',
        started FLOAT NOT NULL DEFAULT 0,
        errors INTEGER NOT NULL DEFAULT 0,
        source_latency FLOAT NOT NULL DEFAULT 0,
        dest_latency FLOAT NOT NULL DEFAULT 0,
        counted INTEGER NOT NULL DEFAULT 0,
        under_way INTEGER NOT NULL DEFAULT 0
    )""",
)

# Each connection that writes has these in memory: the input of a call is stored here first, to be
# joined and counted as a set. They have no index, so that SQLite always scans them (100 rows) and
# looks up `record` (millions).
SCRATCH = (
    "CREATE TEMPORARY TABLE enqueued (key BLOB, size INTEGER, etag TEXT)",
    """CREATE TEMPORARY TABLE outcome (
        key BLOB, run INTEGER, status TEXT, bytes INTEGER, etag TEXT, dest_etag TEXT, proof TEXT, attempts INTEGER,
        reason TEXT, detail TEXT, verified TEXT, sequencer TEXT
    )""",
)


def create(connection: Connection) -> None:
    run_all(
        connection, (*QUEUE, RECORD, *RECORD_INDEXES, EVENT, RUN, DIGEST, *OF_A_RUN, PAUSE, *IMAGES)
    )
    run_all(connection, (*GIANT_UPLOADS, *LIMITS_AND_GAUGES))


def run_all(connection: Connection, statements: Iterable[str]) -> None:
    """Run the statements within a transaction (`executescript` would end it)."""
    for statement in statements:
        connection.execute(statement)
