"""The tables of all tasks, in the schema `dth`.

Tables with a row per object or message have a partition for each task. Statements name the
partition, so nothing has to be pruned; a deleted task's partitions are dropped, which leaves
nothing to vacuum. The parents are for queries over all tasks. All other tables are small: their
rows go with the row of the task.

`{n}` stands for the number of the task.
"""

from dataclasses import fields

from dth.core.ports.runs import Counts

VERSION = 2
COUNTS = [count.name for count in fields(Counts)]

# Every claim and every heartbeat updates a row, and every message is deleted soon. So vacuum comes
# often and does not pause, and pages leave room for updates.
BUSY = """
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
    autovacuum_vacuum_cost_delay = 0
"""

HELPERS = f"""
    -- How many workers the machines that help with a hub's task have for it.
    CREATE TABLE dth.helper (
        task integer NOT NULL REFERENCES dth.task ON DELETE CASCADE,
        machine text NOT NULL REFERENCES dth.machine ON DELETE CASCADE,
        workers integer NOT NULL,
        PRIMARY KEY (task, machine)
    ) WITH ({BUSY});
"""

# From version 1 to 2, and so on. They only add, as processes of the version before may be at work.
STEPS = [HELPERS]

TABLES = f"""
    CREATE TABLE dth.version (version integer NOT NULL);
    INSERT INTO dth.version VALUES ({VERSION});

    CREATE TABLE dth.task (
        number integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        id text NOT NULL UNIQUE,
        type text NOT NULL DEFAULT '', -- of the plugin; '': nobody may help now; hub:...: a hub runs it
        parameters text NOT NULL DEFAULT '{{}}', -- in JSON
        holder text, -- the machine whose command runs the task
        paused text -- why; null: it is not paused
    );

    -- The machines that work now, by their heartbeats. One that is silent for long is dead.
    CREATE TABLE dth.machine (
        name text PRIMARY KEY,
        since double precision NOT NULL, -- heartbeats have come without a gap since then
        seen double precision NOT NULL
    ) WITH ({BUSY});
    {HELPERS}

    CREATE SEQUENCE dth.message_seq CACHE 100;
    CREATE TABLE dth.message (
        task integer NOT NULL,
        id text COLLATE "C" NOT NULL,
        seq bigint NOT NULL DEFAULT nextval('dth.message_seq'),
        visible_at timestamptz NOT NULL, -- while it is leased: when the lease ends
        receives integer NOT NULL DEFAULT 0,
        receipt uuid, -- of the last delivery; null when there was none or it was given back
        owner text, -- who took the last delivery
        dead boolean NOT NULL DEFAULT false, -- received too often
        body text NOT NULL
    ) PARTITION BY LIST (task);

    CREATE TABLE dth.record (
        task integer NOT NULL,
        key bytea NOT NULL,
        status text NOT NULL,
        run bigint NOT NULL,
        etag text NOT NULL DEFAULT '',
        size bigint NOT NULL DEFAULT 0,
        dest_etag text NOT NULL DEFAULT '',
        proof text NOT NULL DEFAULT '',
        attempts integer NOT NULL DEFAULT 0,
        reason text NOT NULL DEFAULT '',
        detail text NOT NULL DEFAULT '',
        updated double precision NOT NULL,
        verified text NOT NULL DEFAULT ''
    ) PARTITION BY LIST (task);

    -- The last event applied to a key; separate from the records because most keys never have one.
    CREATE TABLE dth.event (
        task integer NOT NULL, key bytea NOT NULL, sequencer text COLLATE "C" NOT NULL
    ) PARTITION BY LIST (task);

    -- Destination keys without a source that are not settled yet.
    CREATE TABLE dth.extra (task integer NOT NULL, run bigint NOT NULL, key bytea NOT NULL) PARTITION BY LIST (task);

    CREATE TABLE dth.run (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        task integer NOT NULL REFERENCES dth.task ON DELETE CASCADE,
        kind text NOT NULL,
        state text NOT NULL,
        started double precision NOT NULL,
        ended double precision NOT NULL DEFAULT 0,
        error text NOT NULL DEFAULT ''
    );
    CREATE INDEX run_task ON dth.run (task, id);

    -- A run's ledger and the digest of its records are sums of what each process counted: so no process waits for the
    -- row of another.
    CREATE TABLE dth.share (
        run bigint NOT NULL REFERENCES dth.run ON DELETE CASCADE,
        process text NOT NULL,
        {" ".join(f"{name} bigint NOT NULL DEFAULT 0," for name in COUNTS)}
        digest numeric NOT NULL DEFAULT 0,
        digest_done bigint NOT NULL DEFAULT 0,
        digest_failed bigint NOT NULL DEFAULT 0,
        digest_cancelled bigint NOT NULL DEFAULT 0,
        digest_confirmed bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (run, process)
    ) WITH ({BUSY});

    CREATE TABLE dth.note (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        run bigint NOT NULL REFERENCES dth.run ON DELETE CASCADE,
        note text NOT NULL,
        UNIQUE (run, note)
    );
    CREATE TABLE dth.cursor (
        run bigint NOT NULL REFERENCES dth.run ON DELETE CASCADE,
        id text NOT NULL,
        scope integer NOT NULL,
        after bytea NOT NULL,
        upto bytea NOT NULL,
        position bytea NOT NULL,
        finished boolean NOT NULL DEFAULT false,
        PRIMARY KEY (run, id)
    ) WITH ({BUSY});

    CREATE TABLE dth.image (
        task integer NOT NULL REFERENCES dth.task ON DELETE CASCADE,
        run bigint NOT NULL,
        key bytea NOT NULL,
        source text NOT NULL,
        status text NOT NULL,
        source_digest text NOT NULL,
        dest_digest text NOT NULL,
        size bigint NOT NULL,
        moved bigint NOT NULL,
        seconds double precision NOT NULL,
        attempts integer NOT NULL,
        reason text NOT NULL,
        detail text NOT NULL,
        platforms text NOT NULL,
        about text NOT NULL,
        ended double precision NOT NULL,
        PRIMARY KEY (task, key, run)
    );
    CREATE INDEX image_run ON dth.image (task, run, key);

    CREATE TABLE dth.upload (
        task integer NOT NULL REFERENCES dth.task ON DELETE CASCADE,
        key bytea NOT NULL,
        run bigint NOT NULL,
        etag text NOT NULL,
        size bigint NOT NULL,
        part_size bigint NOT NULL,
        state text NOT NULL,
        upload_id text NOT NULL,
        begun double precision NOT NULL,
        owner text NOT NULL,
        lease_until double precision NOT NULL,
        attempts integer NOT NULL,
        parts integer NOT NULL,
        parts_done integer NOT NULL,
        modified double precision NOT NULL,
        sequencer text,
        source_part bigint NOT NULL,
        PRIMARY KEY (task, key)
    ) WITH ({BUSY});
    CREATE TABLE dth.part (
        task integer NOT NULL,
        key bytea NOT NULL,
        number integer NOT NULL,
        etag text NOT NULL,
        checksum text NOT NULL,
        attempts integer NOT NULL,
        verified text NOT NULL,
        digests text NOT NULL,
        PRIMARY KEY (task, key, number),
        FOREIGN KEY (task, key) REFERENCES dth.upload ON DELETE CASCADE
    ) WITH ({BUSY});

    CREATE TABLE dth.bucket (
        task integer NOT NULL REFERENCES dth.task ON DELETE CASCADE,
        name text NOT NULL,
        tokens double precision NOT NULL,
        filled double precision NOT NULL, -- when `tokens` was true
        rate double precision NOT NULL, -- units a second; 0: no limit
        PRIMARY KEY (task, name)
    ) WITH ({BUSY});
    CREATE TABLE dth.gauge (
        task integer NOT NULL REFERENCES dth.task ON DELETE CASCADE,
        process text COLLATE "C" NOT NULL,
        kind text NOT NULL,
        at double precision NOT NULL,
        bytes_in bigint NOT NULL,
        bytes_out bigint NOT NULL,
        requests bigint NOT NULL,
        throttled bigint NOT NULL,
        in_flight bigint NOT NULL,
        note text NOT NULL,
        started double precision NOT NULL,
        errors bigint NOT NULL,
        source_latency double precision NOT NULL,
        dest_latency double precision NOT NULL,
        counted bigint NOT NULL,
        under_way bigint NOT NULL,
        PRIMARY KEY (task, process)
    ) WITH ({BUSY});
"""

PARTITIONED = ("message", "record", "event", "extra")
_UNFINISHED = "status = 'FAILED' OR status = 'CANCELLED'"


def _partition(table: str) -> str:
    """Attaching takes a weaker lock than creating as a partition: other tasks are not blocked."""
    return f"""
    CREATE TABLE dth.{table}_{{n}} (LIKE dth.{table} INCLUDING DEFAULTS);
    ALTER TABLE dth.{table}_{{n}} ALTER task SET DEFAULT {{n}}, ADD CHECK (task = {{n}});
    ALTER TABLE dth.{table} ATTACH PARTITION dth.{table}_{{n}} FOR VALUES IN ({{n}});
    """


# Each query for records has an index, so that no answer reads all of them. The indexes with a
# condition are small. Bodies are not compressed: that would cost more than it saves, and none lives
# long.
PARTITIONS = f"""
    {"".join(map(_partition, PARTITIONED))}
    ALTER TABLE dth.message_{{n}} SET ({BUSY}), ADD PRIMARY KEY (id), ALTER body SET STORAGE EXTERNAL;
    CREATE INDEX message_{{n}}_visible ON dth.message_{{n}} (visible_at, seq) WHERE NOT dead;
    ALTER TABLE dth.record_{{n}} SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05), ADD PRIMARY KEY (key);
    CREATE INDEX record_{{n}}_run ON dth.record_{{n}} (run, key);
    CREATE INDEX record_{{n}}_unfinished ON dth.record_{{n}} (status, key) WHERE {_UNFINISHED};
    CREATE INDEX record_{{n}}_run_unfinished ON dth.record_{{n}} (run, status, key) WHERE {_UNFINISHED};
    CREATE INDEX record_{{n}}_pending ON dth.record_{{n}} (key) WHERE status = 'PENDING';
    CREATE INDEX record_{{n}}_reason ON dth.record_{{n}} (reason, key) WHERE reason <> '';
    ALTER TABLE dth.event_{{n}} ADD PRIMARY KEY (key);
    ALTER TABLE dth.extra_{{n}} ADD PRIMARY KEY (run, key);
"""
