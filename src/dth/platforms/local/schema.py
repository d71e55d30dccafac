"""The tables of one task.

A change to a table here needs a step in `migrations.py`: a new file is created from this metadata, an older one
is brought here step by step.
"""

from dataclasses import fields

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

from dth.platforms.local.encoding import Key, Line
from dth.platforms.ports import Counts

metadata = MetaData()


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _line(name: str) -> Column[str]:
    return Column(name, Line, nullable=False, server_default="")


# ------------------------------------------------------------------------------------------------- queue

# Bodies live apart, so that a claim or a heartbeat does not rewrite up to 200 KB.
message = Table(
    "message",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("visible_at", Float, nullable=False),  # while it is leased: when the lease ends
    _count("receives"),
    Column("receipt", Text),  # of the last delivery; null when there was none or it was given back
    Column("owner", Text),  # who took the last delivery
    _count("dead"),  # 1: received too often
    Index("message_visible", "dead", "visible_at"),
)

body = Table(
    "body",
    metadata,
    Column("seq", Integer, ForeignKey("message.seq", ondelete="CASCADE"), primary_key=True),
    Column("body", Text, nullable=False),
)

# ----------------------------------------------------------------------------------------------- records

# The three tables with keys of objects are B-trees in key order, without a second tree for row ids.
record = Table(
    "record",
    metadata,
    Column("key", Key, primary_key=True),
    Column("status", Text, nullable=False),
    Column("run", Integer, nullable=False),
    _text("etag"),
    _count("size"),
    _text("dest_etag"),
    _text("proof"),
    _count("attempts"),
    _line("reason"),
    _line("detail"),
    Column("updated", Float, nullable=False),
    _text("verified"),
    sqlite_with_rowid=False,
)
# Each question about records has an index, so that no answer reads all of them. Those with a condition are small.
_UNFINISHED = text("status = 'FAILED' OR status = 'CANCELLED'")
Index("record_run", record.c.run, record.c.key)
Index("record_unfinished", record.c.status, record.c.key, sqlite_where=_UNFINISHED)
Index("record_run_unfinished", record.c.run, record.c.status, record.c.key, sqlite_where=_UNFINISHED)
Index("record_pending", record.c.key, sqlite_where=text("status = 'PENDING'"))
Index("record_reason", record.c.reason, record.c.key, sqlite_where=text("reason <> ''"))

# The last event applied to a key; apart from the records because most keys never see one.
event = Table(
    "event",
    metadata,
    Column("key", Key, primary_key=True),
    Column("sequencer", Text, nullable=False),
    sqlite_with_rowid=False,
)

run = Table(
    "run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float, nullable=False, server_default="0"),
    _line("error"),
    *(_count(count.name) for count in fields(Counts)),
    sqlite_autoincrement=True,  # records name their run: the id of a pruned run is never used again
)

# What is known of the records that are a run's, kept as they come to their ends (`platforms.digest`).
digest = Table(
    "digest",
    metadata,
    Column("run", Integer, ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("total", LargeBinary, nullable=False),
    _count("done"),
    _count("failed"),
    _count("cancelled"),
    _count("confirmed"),
    # Null: all records are in it. Of a run from before there were digests: those up to this key.
    Column("upto", Key),
)

note = Table(
    "note",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", Integer, ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
    Column("note", Line, nullable=False),
    Index("note_once", "run", "note", unique=True),
)

cursor = Table(
    "cursor",
    metadata,
    Column("run", Integer, ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("scope", Integer, nullable=False),
    Column("after", Key, nullable=False),
    Column("upto", Key, nullable=False),
    Column("position", Key, nullable=False),
    _count("finished"),
    sqlite_with_rowid=False,
)

# Destination keys without a source that still wait for their end.
extra = Table(
    "extra",
    metadata,
    Column("run", Integer, ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Key, primary_key=True),
    sqlite_with_rowid=False,
)

# A row while the task is paused.
pause = Table(
    "pause",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("reason", Line, nullable=False),
)

# ------------------------------------------------------------------------------------------------ images

image = Table(
    "image",
    metadata,
    Column("run", Integer, primary_key=True),
    Column("key", Key, primary_key=True),
    _text("source"),
    Column("status", Text, nullable=False),
    _text("source_digest"),
    _text("dest_digest"),
    _count("size"),
    _count("moved"),
    Column("seconds", Float, nullable=False, server_default="0"),
    _count("attempts"),
    _line("reason"),
    _line("detail"),
    _text("platforms"),
    _text("about"),
    Column("ended", Float, nullable=False, server_default="0"),
    Index("image_history", "key", "run"),
    sqlite_with_rowid=False,
)

# ----------------------------------------------------------------------------------------- giant uploads

upload = Table(
    "upload",
    metadata,
    Column("key", Key, primary_key=True),
    Column("run", Integer, nullable=False),
    _text("etag"),
    _count("size"),
    _count("part_size"),
    Column("state", Text, nullable=False),
    _text("upload_id"),
    Column("begun", Float, nullable=False),
    _text("owner"),
    Column("lease_until", Float, nullable=False, server_default="0"),
    _count("attempts"),
    _count("parts"),
    _count("parts_done"),
    Column("modified", Float, nullable=False, server_default="0"),
    Column("sequencer", Text),
    _count("source_part"),
)

part = Table(
    "part",
    metadata,
    Column("key", Key, ForeignKey("upload.key", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    _text("etag"),
    _text("checksum"),
    _count("attempts"),
    _text("verified"),
    _text("digests"),
    sqlite_with_rowid=False,
)

# ------------------------------------------------------------------------------------- limits and gauges

bucket = Table(
    "bucket",
    metadata,
    Column("name", Text, primary_key=True),
    Column("tokens", Float, nullable=False),
    Column("filled", Float, nullable=False),  # when `tokens` was true
    Column("rate", Float, nullable=False, server_default="0"),  # units a second; 0: no limit
)

gauge = Table(
    "gauge",
    metadata,
    Column("process", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("at", Float, nullable=False),
    _count("bytes_in"),
    _count("bytes_out"),
    _count("requests"),
    _count("throttled"),
    _count("in_flight"),
    _line("note"),
    Column("started", Float, nullable=False, server_default="0"),
    _count("errors"),
    Column("source_latency", Float, nullable=False, server_default="0"),
    Column("dest_latency", Float, nullable=False, server_default="0"),
    _count("counted"),
    _count("under_way"),
)

# --------------------------------------------------------------------------------------------- temporary

# Each connection that writes has these in memory: what a call brings is put here first, to be joined and counted
# as a set. They have no index, so that SQLite always scans them (100 rows) and looks up `record` (millions).
scratch = MetaData()

enqueued = Table(
    "enqueued",
    scratch,
    Column("key", LargeBinary),
    Column("size", Integer),
    Column("etag", Text),
    prefixes=["TEMPORARY"],
)

outcome = Table(
    "outcome",
    scratch,
    Column("key", LargeBinary),
    Column("run", Integer),
    Column("status", Text),
    Column("bytes", Integer),
    Column("etag", Text),
    Column("dest_etag", Text),
    Column("proof", Text),
    Column("attempts", Integer),
    Column("reason", Text),
    Column("detail", Text),
    Column("verified", Text),
    Column("sequencer", Text),
    prefixes=["TEMPORARY"],
)
