"""The records and run ledgers of one task. The operations on each object (`commit`, `settle`,
`get`) are SQL over sets.
"""

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict, fields
from sqlite3 import Connection
from typing import Any

from dth.core.digest import LENGTH, Digest
from dth.core.errors import UsageError
from dth.core.ports.records import (
    FailureGroup,
    Outcome,
    Page,
    Record,
    check_before,
    wanted,
)
from dth.core.ports.runs import Counts, Cursor, Run, RunKind, RunState
from dth.core.ports.status import Status, Verified
from dth.platforms.local.bulk import insert_rows, select_in
from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.encoding import from_blob, to_blob, to_line
from dth.platforms.local.queue import enqueue

SCAN_PAGE = 1000
ENDED = (RunState.DONE.value, RunState.FAILED.value)
LISTED = (RunState.TRANSFERRING.value, RunState.DELETING.value)
# Calling Status(...) takes longer than reading a row.
STATUS = {status.value: status for status in Status}
VERIFIED = {verified.value: verified for verified in Verified}

# The run and the key, followed by the arguments of `Digest.add`. PENDING records are in no digest.
DIGESTED = (
    "record.run, record.key, record.size, record.etag, record.dest_etag, record.proof, "
    "record.status, record.verified, record.attempts"
)
FIND_DIGESTED = f"SELECT {DIGESTED} FROM record WHERE record.status <> 'PENDING' AND record.key IN"

# In the order of the fields of `Record`.
READ = """
    SELECT record.key, status, run, etag, size, dest_etag, proof, attempts, reason, detail, updated,
        coalesce(event.sequencer, ''), verified
    FROM record {} LEFT JOIN event ON event.key = record.key
    WHERE record.key"""
GET = f"{READ.format('')} IN"
UNFINISHED = (Status.FAILED, Status.CANCELLED)


class LocalRecords:
    """`ports.Records` over SQLite."""

    overlapping = True
    shares_listings = True

    def __init__(self, database: TaskDatabase) -> None:
        self._database = database

    async def begin_run(self, kind: RunKind, *, beside: bool = False) -> tuple[Run, bool]:
        return await self._database.write(_begin_run, kind, beside)

    async def get_run(self, run: int) -> Run:
        return await self._database.read(_one_run, run)

    async def list_runs(self, limit: int = 20) -> list[Run]:
        return await self._database.read(newest_runs, limit)

    async def set_run(self, run: int, state: RunState, error: str = "") -> None:
        ended = time.time() if state in ENDED else 0.0
        await self._database.execute(SET_RUN, (state.value, to_line(error), ended, run))

    async def add_note(self, run: int, note: str) -> None:
        await self._database.execute(ADD_NOTE, (run, to_line(note)))

    async def pause(self, reason: str) -> None:
        await self._database.execute(PAUSE, (to_line(reason or "paused"),))

    async def resume(self) -> None:
        await self._database.execute("DELETE FROM pause")

    async def paused(self) -> str:
        return await self._database.read(why_paused)

    async def cursors(self, run: int) -> list[Cursor]:
        return await self._database.read(_cursors, run)

    async def commit(self, run: int, page: Page) -> None:
        await self._database.write(_commit, run, page)

    async def extras(self, run: int, after: str, limit: int) -> list[str]:
        return await self._database.read(_extras, run, after, limit)

    async def settle_extras(
        self, run: int, deleted: Sequence[str], kept: Sequence[str], failed: Sequence[str]
    ) -> None:
        await self._database.write(_settle_extras, run, deleted, kept, failed)

    async def get(self, keys: Sequence[str]) -> dict[str, Record]:
        return await self._database.read(_get, keys)

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        return await self._database.write(_settle, outcomes)

    async def settled(self, run: int, keys: Sequence[str]) -> set[str]:
        return await self._database.read(_settled, run, keys)

    async def digest(self, run: int) -> Digest:
        return await self._database.read(_digest, run)

    async def read_digest(self, run: int, limit: int) -> bool:
        return await self._database.write(_read_digest, run, limit)

    async def reconcile(self) -> None:
        """There is nothing to finish: every write is one transaction."""

    async def cancel_pending(self, reason: str) -> None:
        await self._database.write(_cancel_pending, reason)

    async def scan(
        self, run: int | None = None, status: Status | None = None, prefix: str = ""
    ) -> AsyncIterator[Record]:
        statement, parameters = _scan_statement(run, status, to_blob(prefix))
        after = b""
        while True:
            page = await self._database.read(_scan, statement, {**parameters, "after": after})
            for record in page:
                yield record
            if len(page) < SCAN_PAGE:
                return
            after = to_blob(page[-1].key)

    async def page(
        self,
        *,
        run: int | None = None,
        status: Status | None = None,
        prefix: str = "",
        reason: str = "",
        after: str = "",
        limit: int = 100,
    ) -> tuple[list[Record], str]:
        statement, parameters = _scan_statement(run, status, to_blob(prefix), reason, limit)
        found = await self._database.read(_scan, statement, {**parameters, "after": to_blob(after)})
        return found, found[-1].key if len(found) == limit else ""

    async def failure_groups(self, examples: int = 3) -> list[FailureGroup]:
        return await self._database.read(_failure_groups, examples)

    async def apply_event(self, key: str, sequencer: str) -> bool:
        return await self._database.write(_apply_event, key, sequencer)

    async def prune(self, keep_runs: int) -> int:
        """Delete the ledgers, notes and cursors of all ended runs except the newest `keep_runs`.
        The records stay. Returns the number of runs deleted."""
        return await self._database.write(_prune, keep_runs)


# --------------------------------------------------------------------------------------------- runs

SET_RUN = "UPDATE run SET state = ?, error = ?, ended = ? WHERE id = ?"
ADD_NOTE = "INSERT OR IGNORE INTO note (run, note) VALUES (?, ?)"
PAUSE = "INSERT OR IGNORE INTO pause (id, reason) VALUES (1, ?)"


def _begin_run(connection: Connection, kind: RunKind, beside: bool) -> tuple[Run, bool]:
    finished = (*ENDED, *LISTED) if beside else ENDED
    if going := _unfinished_run(connection, kind, finished):
        return going, True
    (number,) = connection.execute(
        BEGIN_RUN, (kind.value, RunState.LISTING.value, time.time())
    ).fetchone()
    _write_digest(connection, number, Digest(), None)
    return _one_run(connection, number), False


BEGIN_RUN = "INSERT INTO run (kind, state, started) VALUES (?, ?, ?) RETURNING id"


def why_paused(connection: Connection) -> str:
    """Why the task is paused; "" if it is not."""
    row = connection.execute("SELECT reason FROM pause").fetchone()
    return row[0] if row else ""


def newest_runs(connection: Connection, limit: int) -> list[Run]:
    """Newest first."""
    return _read_runs(connection, f"{READ_RUNS} ORDER BY id DESC LIMIT ?", (limit,))


def _unfinished_run(connection: Connection, kind: RunKind, finished: tuple[str, ...]) -> Run | None:
    """The newest run of a kind that is in none of these states."""
    states = ", ".join("?" * len(finished))
    query = f"{READ_RUNS} WHERE kind = ? AND state NOT IN ({states}) ORDER BY id DESC LIMIT 1"
    return next(iter(_read_runs(connection, query, (kind.value, *finished))), None)


def _one_run(connection: Connection, number: int) -> Run:
    found = _read_runs(connection, f"{READ_RUNS} WHERE id = ?", (number,))
    if not found:
        raise UsageError(f"There is no run {number}")
    return found[0]


def _read_runs(connection: Connection, query: str, values: tuple[Any, ...]) -> list[Run]:
    """Called several times per second while a task works."""
    rows = connection.execute(query, values)
    runs = {
        row[0]: Run(
            row[0],
            RunKind(row[1]),
            RunState(row[2]),
            row[3],
            row[4],
            row[5],
            counts=Counts(*row[6:]),
        )
        for row in rows
    }
    if runs:
        for number, note in connection.execute(READ_NOTES, (min(runs), max(runs))):
            if number in runs:
                runs[number].notes.append(note)
    return list(runs.values())


READ_RUNS = (
    "SELECT id, kind, state, started, ended, error, "
    f"{', '.join(c.name for c in fields(Counts))} FROM run"
)
READ_NOTES = "SELECT run, note FROM note WHERE run BETWEEN ? AND ? ORDER BY id"


def _add(connection: Connection, run: int, counts: dict[str, int]) -> None:
    """Add to a run's counters. A pruned run has none."""
    if more := {name: number for name, number in counts.items() if number}:
        sums = ", ".join(f"{name} = {name} + ?" for name in more)
        connection.execute(f"UPDATE run SET {sums} WHERE id = ?", (*more.values(), run))


def _prune(connection: Connection, keep_runs: int) -> int:
    return connection.execute(PRUNE, (*ENDED, *ENDED, keep_runs)).rowcount


PRUNE = """
    DELETE FROM run WHERE state IN (?, ?)
    AND id NOT IN (SELECT id FROM run WHERE state IN (?, ?) ORDER BY id DESC LIMIT ?)
"""


def _cursors(connection: Connection, run: int) -> list[Cursor]:
    query = f"{SELECT_CURSORS} WHERE run = ? ORDER BY scope, after"
    return [_cursor(row) for row in connection.execute(query, (run,))]


def _cursor(row: tuple[Any, ...]) -> Cursor:
    name, scope, after, upto, position, finished = row
    return Cursor(
        name, scope, from_blob(after), from_blob(upto), from_blob(position), bool(finished)
    )


SELECT_CURSORS = "SELECT id, scope, after, upto, position, finished FROM cursor"


# ------------------------------------------------------------------------------------------ digests


def _digest_records(connection: Connection, rows: Iterable[Sequence[Any]], times: int = 1) -> None:
    """Add records to the digests of their runs, or (-1) remove them, in the transaction that
    changes them. Pruned runs have no digest."""
    digests: dict[int, tuple[Digest, bytes | None] | None] = {}
    for run, key, *more in rows:
        if run not in digests:
            digests[run] = _stored_digest(connection, run)
        if stored := digests[run]:
            digest, upto = stored
            if upto is None or key <= upto:
                digest.add(key, *more, times=times)
    for run, stored in digests.items():
        if stored:
            _write_digest(connection, run, *stored)


def _digest(connection: Connection, run: int) -> Digest:
    stored = _stored_digest(connection, run)
    return stored[0] if stored else Digest(complete=False)


def _read_digest(connection: Connection, run: int, limit: int) -> bool:
    _one_run(connection, run)
    digest, upto = _stored_digest(connection, run) or (Digest(), b"")
    if upto is None:
        return True
    rows = connection.execute(DIGEST_PAGE, (run, upto, limit)).fetchall()
    for _, key, *more in rows:
        if more[4] != Status.PENDING:
            digest.add(key, *more)
    upto = rows[-1][1] if len(rows) == limit else None
    _write_digest(connection, run, digest, upto)
    return upto is None


DIGEST_PAGE = f"SELECT {DIGESTED} FROM record WHERE run = ? AND key > ? ORDER BY key LIMIT ?"


def _stored_digest(connection: Connection, run: int) -> tuple[Digest, bytes | None] | None:
    """A run's digest, and the key up to which it is complete; None: all of it."""
    row = connection.execute(STORED_DIGEST, (run,)).fetchone()
    if row is None:
        return None
    total, *counts, upto = row
    done, failed, cancelled, confirmed = counts
    digest = Digest(int.from_bytes(total, "big"), done, failed, cancelled, confirmed, upto is None)
    return digest, upto


STORED_DIGEST = "SELECT total, done, failed, cancelled, confirmed, upto FROM digest WHERE run = ?"


def _write_digest(connection: Connection, run: int, digest: Digest, upto: bytes | None) -> None:
    total = digest.total.to_bytes(LENGTH, "big")
    counts = (digest.done, digest.failed, digest.cancelled, digest.confirmed)
    connection.execute(WRITE_DIGEST, (run, total, *counts, upto))


WRITE_DIGEST = """
    INSERT OR REPLACE INTO digest (run, total, done, failed, cancelled, confirmed, upto) VALUES (?, ?, ?, ?, ?, ?, ?)
"""


# --------------------------------------------------------------------------------------- the finder


def _commit(connection: Connection, run: int, page: Page) -> None:
    if page.before is not None:
        _check_before(connection, run, page)
    counts = asdict(page.counts)
    messages = page.messages
    if page.enqueued:
        fresh, fresh_bytes, pending = _enqueue_records(connection, run, page)
        counts["enqueued"] += fresh
        counts["enqueued_bytes"] += fresh_bytes
        counts["pending"] += len(page.enqueued) - fresh
        messages = wanted(messages, page.enqueued, pending)
    if page.settled:
        _settle(connection, page.settled)
    if page.same:
        _remember(connection, page.same)
    enqueue(connection, messages)
    insert_rows(
        connection,
        "INSERT OR REPLACE INTO cursor (run, id, scope, after, upto, position, finished) VALUES",
        [
            (run, c.id, c.scope, to_blob(c.after), to_blob(c.upto), to_blob(c.position), c.finished)
            for c in page.cursors
        ],
    )
    insert_rows(
        connection,
        "INSERT OR IGNORE INTO extra (run, key) VALUES",
        [(run, to_blob(key)) for key in page.extras],
    )
    _add(connection, run, counts)


def _check_before(connection: Connection, run: int, page: Page) -> None:
    state = connection.execute("SELECT state FROM run WHERE id = ?", (run,)).fetchone()
    ids = [cursor.id for cursor in page.cursors]
    places = ", ".join("?" * len(ids))
    query = f"{SELECT_CURSORS} WHERE run = ? AND id IN ({places})"
    found = [_cursor(row) for row in connection.execute(query, (run, *ids))]
    check_before(RunState(state[0]) if state else None, page, found)


def _enqueue_records(connection: Connection, run: int, page: Page) -> tuple[int, int, set[str]]:
    """Make the records PENDING in this run that are not PENDING yet. Returns how many, their bytes,
    and the keys of the others: another caller enqueued those and sent a message, or they were
    copied after they were listed."""
    first = {
        item.key: (to_blob(item.key), item.size, item.etag) for item in reversed(page.enqueued)
    }
    insert_rows(connection, "INSERT INTO enqueued VALUES", sorted(first.values()))
    pending: set[str] = set()
    if page.listed_since:
        copied = connection.execute(FORGET_COPIED, (page.listed_since, time.time()))
        pending = {from_blob(key) for (key,) in copied}
    fresh, fresh_bytes = connection.execute(COUNT_ENQUEUED).fetchone()
    if fresh + len(pending) < len(first):
        pending |= {from_blob(key) for (key,) in connection.execute(FIND_PENDING)}
    if fresh:
        _digest_records(connection, connection.execute(FIND_TAKEN_OVER), times=-1)
    connection.execute(ENQUEUE, (run, time.time()))
    connection.execute("DELETE FROM enqueued")
    return fresh, fresh_bytes, pending


# Objects that were copied after their listing began.
FORGET_COPIED = """
    DELETE FROM enqueued WHERE etag <> '' AND EXISTS (
        SELECT 1 FROM record
        WHERE record.key = enqueued.key AND record.status = 'DONE' AND record.etag = enqueued.etag
            AND record.size = enqueued.size AND record.updated BETWEEN ? AND ?
    )
    RETURNING key
"""

COUNT_ENQUEUED = """
    SELECT count(*), coalesce(sum(enqueued.size), 0)
    FROM enqueued LEFT JOIN record ON record.key = enqueued.key
    WHERE record.status IS NOT 'PENDING'
"""

FIND_PENDING = """
    SELECT enqueued.key FROM enqueued JOIN record ON record.key = enqueued.key WHERE record.status = 'PENDING'
"""

# Records of this run or other runs that are enqueued again.
FIND_TAKEN_OVER = f"""
    SELECT {DIGESTED} FROM enqueued CROSS JOIN record ON record.key = enqueued.key WHERE record.status <> 'PENDING'
"""

# The proof of the last transfer does not apply to the object that is enqueued now.
ENQUEUE = """
    INSERT INTO record (key, status, run, etag, size, updated)
    SELECT key, 'PENDING', ?, etag, size, ? FROM enqueued WHERE true
    ON CONFLICT (key) DO UPDATE SET
        status = excluded.status, run = excluded.run, etag = excluded.etag, size = excluded.size,
        updated = excluded.updated, dest_etag = '', proof = '', verified = '', attempts = 0, reason = '', detail = ''
    WHERE record.status <> 'PENDING'
"""


def _remember(connection: Connection, records: Sequence[Record]) -> None:
    """Write records unchanged, except over a PENDING one: its transfer will write a newer
    record."""
    now = time.time()
    keys = list(dict.fromkeys(to_blob(r.key) for r in records))
    _digest_records(connection, select_in(connection, FIND_DIGESTED, keys), times=-1)
    rows = [
        (
            to_blob(r.key),
            r.status.value,
            r.run,
            r.etag,
            r.size,
            r.dest_etag,
            r.proof,
            r.verified.value,
            r.updated or now,
        )
        for r in records
    ]
    connection.executemany(REMEMBER, rows)
    _digest_records(connection, select_in(connection, FIND_DIGESTED, keys))


REMEMBER = """
    INSERT INTO record (key, status, run, etag, size, dest_etag, proof, verified, updated)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET
        status = excluded.status, run = excluded.run, etag = excluded.etag, size = excluded.size,
        dest_etag = excluded.dest_etag, proof = excluded.proof, verified = excluded.verified,
        updated = excluded.updated,
        attempts = 0, reason = '', detail = ''
    WHERE record.status <> 'PENDING'
"""


def _extras(connection: Connection, run: int, after: str, limit: int) -> list[str]:
    return [
        from_blob(key) for (key,) in connection.execute(READ_EXTRAS, (run, to_blob(after), limit))
    ]


READ_EXTRAS = "SELECT key FROM extra WHERE run = ? AND key > ? ORDER BY key LIMIT ?"


def _settle_extras(
    connection: Connection,
    run: int,
    deleted: Sequence[str],
    kept: Sequence[str],
    failed: Sequence[str],
) -> None:
    def settle(keys: Sequence[str]) -> int:
        if not keys:
            return 0
        return connection.executemany(
            "DELETE FROM extra WHERE run = ? AND key = ?", [(run, to_blob(key)) for key in keys]
        ).rowcount

    counts = {
        "deleted": settle(deleted),
        "delete_kept": settle(kept),
        "delete_failed": settle(failed),
    }
    _add(connection, run, counts)


# -------------------------------------------------------------------------------------- the workers


def _settle(connection: Connection, outcomes: Sequence[Outcome]) -> int:
    rows = {
        (o.key, o.run): (
            to_blob(o.key),
            o.run,
            o.status.value,
            o.bytes,
            o.etag,
            o.dest_etag,
            o.proof,
            o.attempts,
            to_line(o.reason),
            to_line(o.detail),
            o.verified.value,
            o.sequencer,
        )
        # Of two outcomes for one object, the first counts, as if they came one by one.
        for o in reversed(outcomes)
    }
    ordered = sorted(rows.values())
    insert_rows(connection, "INSERT INTO outcome VALUES", ordered)
    if any(outcome.sequencer is not None for outcome in outcomes):
        connection.execute(FORGET_OVERTAKEN)
    (found,) = connection.execute(FIND_AWAITED).fetchone()
    awaited = [each.split(" ") for each in found.split(",")] if found else []
    _digest_records(
        connection, [_ended(ordered[int(n) - 1], size, etag) for n, size, etag in awaited]
    )
    connection.execute(COUNT_OUTCOMES)
    connection.execute(SETTLE, (time.time(),))
    connection.execute("DELETE FROM outcome")
    return len(awaited)


def _ended(outcome: tuple[Any, ...], size: str, etag: str) -> tuple[Any, ...]:
    """The record that results from the outcome, in the order of DIGESTED."""
    key, run, status, _, copied, dest_etag, proof, attempts, _, _, verified, _ = outcome
    kept = copied or bytes.fromhex(etag).decode()
    return (run, key, int(size), kept, dest_etag, proof, status, verified, attempts)


# The outcomes that runs wait for: their row ids, the sizes of their objects, and the record's ETags
# where the outcome has none. All in one row: between two rows, the thread releases the GIL and
# waits for the event loop to release it.
FIND_AWAITED = """
    SELECT group_concat(
        outcome.rowid || ' ' || record.size || ' ' || hex(iif(outcome.etag = '', record.etag, ''))
    )
    FROM outcome CROSS JOIN record ON record.key = outcome.key AND record.run = outcome.run
    WHERE record.status = 'PENDING'
"""


# Their objects changed after their transfers had begun.
FORGET_OVERTAKEN = """
    DELETE FROM outcome WHERE sequencer IS NOT NULL
    AND sequencer <> coalesce((SELECT event.sequencer FROM event WHERE event.key = outcome.key), '')
"""

COUNT_OUTCOMES = """
    UPDATE run SET
        done = run.done + new.done, done_bytes = run.done_bytes + new.done_bytes,
        failed = run.failed + new.failed, cancelled = run.cancelled + new.cancelled,
        verified_store = run.verified_store + new.by_store, verified_etag = run.verified_etag + new.by_etag,
        verified_source = run.verified_source + new.by_source,
        verified_content = run.verified_content + new.by_content, incomplete = run.incomplete + new.incomplete
    FROM (
        SELECT
            outcome.run AS id,
            sum(outcome.status = 'DONE') AS done,
            sum(iif(outcome.status = 'DONE', outcome.bytes, 0)) AS done_bytes,
            sum(outcome.status = 'FAILED') AS failed,
            sum(outcome.status = 'CANCELLED') AS cancelled,
            sum(outcome.verified = 'store') AS by_store,
            sum(outcome.verified = 'etag') AS by_etag,
            sum(outcome.verified = 'source') AS by_source,
            sum(outcome.verified = 'content') AS by_content,
            sum(outcome.status = 'DONE' AND outcome.reason <> '') AS incomplete
        FROM outcome CROSS JOIN record ON record.key = outcome.key AND record.run = outcome.run
        WHERE record.status = 'PENDING'
        GROUP BY outcome.run
    ) AS new
    WHERE run.id = new.id
"""

# A failure may not know an ETag; the record then keeps the ETag that was enqueued.
SETTLE = """
    UPDATE record SET
        status = outcome.status, etag = iif(outcome.etag = '', record.etag, outcome.etag),
        dest_etag = outcome.dest_etag, proof = outcome.proof, attempts = outcome.attempts,
        reason = outcome.reason, detail = outcome.detail, verified = outcome.verified, updated = ?
    FROM outcome
    WHERE record.key = outcome.key AND record.run = outcome.run AND record.status = 'PENDING'
"""


def _settled(connection: Connection, run: int, keys: Sequence[str]) -> set[str]:
    found = select_in(connection, SETTLED.format(run), [to_blob(key) for key in keys])
    return {from_blob(key) for (key,) in found}


# Usually there are none.
SETTLED = "SELECT key FROM record WHERE NOT (status = 'PENDING' AND run = {:d}) AND key IN"


def _cancel_pending(connection: Connection, reason: str) -> None:
    connection.execute(COUNT_CANCELLED)
    _digest_records(connection, connection.execute(CANCEL, (reason, time.time())))
    connection.execute(COUNT_KEPT)
    connection.execute("DELETE FROM extra")
    connection.execute(FAIL_OPEN, (RunState.FAILED.value, to_line(reason), time.time(), *ENDED))


COUNT_CANCELLED = """
    UPDATE run SET cancelled = run.cancelled + pending.count
    FROM (SELECT run AS id, count(*) AS count FROM record WHERE status = 'PENDING' GROUP BY run) AS pending
    WHERE run.id = pending.id
"""
CANCEL = f"""
    UPDATE record SET status = 'CANCELLED', reason = ?, updated = ? WHERE status = 'PENDING' RETURNING {DIGESTED}
"""
# The ledger of deletes contains only what was enqueued for deletion.
COUNT_KEPT = """
    UPDATE run SET delete_kept = delete_enqueued - deleted - delete_failed
    WHERE delete_enqueued > deleted + delete_kept + delete_failed
"""

FAIL_OPEN = "UPDATE run SET state = ?, error = ?, ended = ? WHERE state NOT IN (?, ?)"


def _apply_event(connection: Connection, key: str, sequencer: str) -> bool:
    """A repeated event takes effect again: its first delivery may have been interrupted."""
    return connection.execute(APPLY_EVENT, (to_blob(key), sequencer)).rowcount == 1


APPLY_EVENT = """
    INSERT INTO event (key, sequencer) VALUES (?, ?)
    ON CONFLICT (key) DO UPDATE SET sequencer = excluded.sequencer WHERE excluded.sequencer >= event.sequencer
"""


# ------------------------------------------------------------------------------------------ reading


def _record(row: Sequence[Any]) -> Record:
    """Build a record from a row of READ."""
    record = Record(from_blob(row[0]), STATUS[row[1]], *row[2:])
    record.verified = VERIFIED[record.verified]
    return record


def _get(connection: Connection, keys: Sequence[str]) -> dict[str, Record]:
    found = select_in(connection, GET, [to_blob(key) for key in keys])
    return {record.key: record for record in map(_record, found)}


def _scan(connection: Connection, statement: str, parameters: dict[str, Any]) -> list[Record]:
    return [_record(row) for row in connection.execute(statement, parameters)]


def _failure_groups(connection: Connection, examples: int) -> list[FailureGroup]:
    groups = [
        FailureGroup(reason, count, detail, [])
        for reason, count, detail in connection.execute(FAILURE_GROUPS)
    ]
    for group in groups:
        keys = connection.execute(FAILURE_EXAMPLES, (group.reason, examples))
        group.keys = [from_blob(key) for (key,) in keys]
    return groups


FAILURE_GROUPS = """
    SELECT reason, count(*), max(detail) FROM record WHERE status = 'FAILED'
    GROUP BY reason ORDER BY count(*) DESC, reason LIMIT 100
"""
FAILURE_EXAMPLES = (
    "SELECT key FROM record WHERE status = 'FAILED' AND reason = ? ORDER BY key LIMIT ?"
)


def _scan_statement(
    run: int | None, status: Status | None, prefix: bytes, reason: str = "", limit: int = SCAN_PAGE
) -> tuple[str, dict[str, Any]]:
    """The statement for a page of records, by the index that leaves the fewest rows to read. The
    caller adds `:after` to the parameters."""
    # One lower bound: with two, SQLite starts at the first one and reads everything up to the
    # second.
    conditions = [
        (
            f"{READ.format(_index(run, status, reason))} >= max(:after, :prefix) AND record.key <> "
            ":after"
        )
    ]
    parameters: dict[str, Any] = {"prefix": prefix}
    if end := prefix.rstrip(b"\xff"):
        conditions.append("record.key < :end")
        parameters["end"] = end[:-1] + bytes([end[-1] + 1])
    if run is not None:
        conditions.append("run = :run")
        parameters["run"] = run
    # The conditions of partial indexes are literals, not parameters: SQLite must see that they
    # match.
    if status is not None:
        conditions.append(f"status = '{status.value}'")
    if reason:
        conditions.append("reason = :reason AND reason <> ''")
        parameters["reason"] = reason
    return f"{' AND '.join(conditions)} ORDER BY record.key LIMIT {limit:d}", parameters


def _index(run: int | None, status: Status | None, reason: str) -> str:
    """The best index for this query; the key index if no other is better."""
    if status in UNFINISHED and run is not None:
        return "INDEXED BY record_run_unfinished"
    if reason:
        return "INDEXED BY record_reason"
    if status in UNFINISHED:
        return "INDEXED BY record_unfinished"
    if status is Status.PENDING:
        return "INDEXED BY record_pending"
    return "" if run is None else "INDEXED BY record_run"
