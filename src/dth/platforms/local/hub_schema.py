"""The tables of the hub: tasks, users, tokens, audit, notifications, metrics. On one machine they
are in one file, `hub.db`; each task's queue and records are in a separate file.

A change to a table needs a step in `hub_migrations.py`.
"""

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, MetaData, Table

from dth.platforms.local.sql import Json, Line, Long, Words

metadata = MetaData()


task = Table(
    "task",
    metadata,
    Column("id", Words, primary_key=True),
    Column("type", Words, nullable=False),
    Column("schedule_type", Words, nullable=False),
    Column("parameters", Words, nullable=False),  # JSON
    Column("description", Line, nullable=False),
    Column("progress", Words, nullable=False),
    Column("created", Float, nullable=False),
    Column("created_by", Line, nullable=False),
    Column("updated", Float, nullable=False),
    Column("stopped", Float, nullable=False),
    Column("version", Integer, nullable=False),
    Column("source", Line, nullable=False),
    Column("destination", Line, nullable=False),
    Column("writes", Line, nullable=False),
    Column("reason", Line, nullable=False),
    Column("error_code", Words),
    Column("run_requested", Integer, nullable=False),
    Column("redrive_requested", Integer, nullable=False),
    Column("next_run", Float, nullable=False),
    Column("spent", Float, nullable=False),
    Column("summary", Json, nullable=False),
    # Only for the keeper (`due_tasks`). Null: no look is needed until the task changes.
    Column("look_at", Float, server_default="0"),
    Column("held", Integer, nullable=False, server_default="0"),
    # What its stores add to the parameters, by the name of the store.
    Column("stores", Json, nullable=False, server_default="{}"),
    Column("delete_requested", Integer, nullable=False, server_default="0"),
    Column("acknowledged", Json, nullable=False, server_default="null"),
    Index("task_created", "created"),
    Index("task_progress", "progress", "created"),
    Index("task_writes", "writes"),
    Index("task_look", "progress", "look_at"),
    Index("task_next_run", "progress", "held", "next_run"),
)

# --------------------------------------------------------------------------------- users and tokens

user = Table(
    "user",
    metadata,
    Column("name", Words, primary_key=True),
    Column("role", Words, nullable=False),
    Column("email", Words, nullable=False),
    Column("password", Words, nullable=False),  # scrypt, with its parameters and salt
    Column("created", Float, nullable=False),
    Column("last_login", Float, nullable=False, server_default="0"),
    Column("must_change", Integer, nullable=False, server_default="0"),
    # Increases with each new password: older sessions end.
    Column("epoch", Long, nullable=False, server_default="0"),
)

token = Table(
    "token",
    metadata,
    Column("id", Words, primary_key=True),
    Column("name", Words, nullable=False),
    Column("role", Words, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("last_used", Float, nullable=False, server_default="0"),
    Column("created_by", Words, nullable=False),
    # The user who owns the token. It ends with the user, and never permits more than the user's
    # role. "": no owner known to the hub.
    Column("owner", Words, nullable=False, server_default=""),
)

# Links with which people become users.
invitation = Table(
    "invitation",
    metadata,
    Column("id", Words, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
    Column("role", Words, nullable=False),
    Column("email", Words, nullable=False),
    Column("created", Float, nullable=False),
    Column("created_by", Words, nullable=False),
    # The user who invites, as that of a token. "": no user known to the hub.
    Column("owner", Words, nullable=False),
    Column("expires", Float, nullable=False),
    Column("used_by", Words, nullable=False, server_default=""),
    Column("withdrawn", Integer, nullable=False, server_default="0"),
)

# What the built-in provider issued: codes, refresh tokens and browser sessions, by their hash.
grant = Table(
    "grant",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("kind", Words, nullable=False),  # "code", "refresh" or "session"
    Column("family", Words, nullable=False),  # all that comes from one sign-in
    # A code, and the tokens that come from it.
    Column("chain", Words, nullable=False, server_default=""),
    Column("data", Words, nullable=False),  # JSON
    Column("expires", Float, nullable=False),
    # Codes and refresh tokens are valid once.
    Column("used", Integer, nullable=False, server_default="0"),
    Index("grant_family", "family"),
    Index("grant_chain", "chain"),
)

# Failed sign-ins by user and by address, to slow down guessing.
attempt = Table(
    "attempt",
    metadata,
    Column("subject", Words, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("until", Float, nullable=False),  # no further try before
)

# Keys and settings of the hub itself, such as signing keys; encrypted (`vault.kept`).
setting = Table(
    "setting",
    metadata,
    Column("name", Words, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

# ------------------------------------------------------------------------------------------ secrets

secret = Table(
    "secret",
    metadata,
    Column("name", Words, primary_key=True),
    Column("description", Line, nullable=False),
    Column("value", LargeBinary, nullable=False),  # encrypted
    Column("updated", Float, nullable=False),
    # JSON list of the hosts it is bound to (`dth.core.secret_bindings`); []: the first use
    # sets them.
    Column("hosts", Words, nullable=False),
)

# ------------------------------------------------------------------------------------------- stores

store = Table(
    "store",
    metadata,
    Column("name", Words, primary_key=True),
    Column("given", Words, nullable=False),  # JSON
    Column("updated", Float, nullable=False),
)

# -------------------------------------------------------------------------------------------- audit

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("who", Line, nullable=False),
    Column("via", Words, nullable=False),
    Column("what", Words, nullable=False),
    Column("target", Line, nullable=False),
    Column("detail", Line, nullable=False),
    Column("outcome", Words, nullable=False),
    Index("audit_target", "target", "id"),
)

# ------------------------------------------------------------------------------------ notifications

channel = Table(
    "channel",
    metadata,
    Column("id", Words, primary_key=True),
    Column("kind", Words, nullable=False),
    # Encrypted: anybody with a webhook's URL can post to it.
    Column("target", LargeBinary, nullable=False),
    Column("name", Line, nullable=False),
    Column("events", Words, nullable=False),  # JSON list
    Column("enabled", Integer, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("channel", Words, nullable=False),  # id of a channel, or "email:ADDRESS"
    Column("event", Words, nullable=False),
    Column("task", Words, nullable=False),
    Column("subject", Line, nullable=False),
    Column("text", Line, nullable=False),
    Column("at", Float, nullable=False),
    Column("due", Float, nullable=False),  # when it is tried (again)
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("once", Words),  # null: not deduplicated
    Column("state", Words, nullable=False, server_default="WAITING"),  # or SENT, FAILED
    Column("error", Line, nullable=False, server_default=""),
    Index("outbox_waiting", "state", "channel"),
    Index("outbox_once", "once", "channel", unique=True),
)

# ------------------------------------------------------------------------------------------ metrics

# One row per task and step of time, with all metrics: sums and counts by name, so that steps can be
# combined.
sample = Table(
    "sample",
    metadata,
    Column("task", Words, primary_key=True),
    Column("step", Integer, primary_key=True),  # length in seconds
    Column("at", Long, primary_key=True),  # when it begins
    Column("data", Words, nullable=False),  # JSON
    Index("sample_age", "step", "at"),
    sqlite_with_rowid=False,
)

# --------------------------------------------------------------------------------------------- jobs

job = Table(
    "job",
    metadata,
    Column("id", Words, primary_key=True),
    Column("kind", Words, nullable=False),
    Column("state", Words, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float, nullable=False, server_default="0"),
    Column("error", Line, nullable=False, server_default=""),
    Column("result", Words, nullable=False, server_default="{}"),
)

# -------------------------------------------------------------------------------------- comparisons

comparison = Table(
    "comparison",
    metadata,
    Column("id", Words, primary_key=True),
    Column("task", Words, nullable=False, server_default=""),
    Column("type", Words, nullable=False),
    Column("source", Line, nullable=False),
    Column("destination", Line, nullable=False),
    Column("parameters", Words, nullable=False),
    Column("asked", Words, nullable=False),
    Column("created_by", Words, nullable=False, server_default=""),
    Column("state", Words, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float, nullable=False, server_default="0"),
    Column("error", Line, nullable=False, server_default=""),
    Column("result", Words, nullable=False, server_default="{}"),
    Index("comparison_started", "started"),
)
