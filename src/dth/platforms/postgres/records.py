"""The records of one task. The operations on each object (`commit`, `settle`, `get`) are SQL over
sets."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from dth.core.digest import Digest
from dth.core.ports.records import (
    Enqueued,
    FailureGroup,
    Outcome,
    Page,
    Record,
    check_before,
    wanted,
)
from dth.core.ports.runs import Cursor, Run, RunKind, RunState
from dth.core.ports.status import Status, Verified
from dth.platforms.postgres import runs
from dth.platforms.postgres.database import NOW, PostgresDatabase, TransactionRetry, Work
from dth.platforms.postgres.encoding import from_bytes, to_bytes, to_line
from dth.platforms.postgres.queue import enqueue
from dth.platforms.postgres.runs import Shares
from dth.platforms.postgres.schema import COUNTS

SCAN_PAGE = 1000
# Calling Status(...) takes longer than reading a row.
STATUS = {status.value: status for status in Status}
VERIFIED = {verified.value: verified for verified in Verified}

# The run and the key, followed by the arguments of `Digest.add`. PENDING records are in no digest.
DIGESTED = (
    "record.run, record.key, record.size, record.etag, record.dest_etag, record.proof, record.status,"
    " record.verified, record.attempts"
)

# In the order of the fields of `Record`.
READ = """
    SELECT record.key, status, run, etag, size, dest_etag, proof, attempts, reason, detail, updated,
        coalesce(event.sequencer, ''), verified
    FROM dth.record_{n} AS record LEFT JOIN dth.event_{n} AS event ON event.key = record.key
"""


class PostgresRecords:
    """`ports.Records` over PostgreSQL."""

    overlapping = True
    shares_listings = True

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def begin_run(self, kind: RunKind, *, beside: bool = False) -> tuple[Run, bool]:
        return await self._database.write(runs.begin_run, kind, beside)

    async def get_run(self, run: int) -> Run:
        return await runs.one_run(self._database, run)

    async def list_runs(self, limit: int = 20) -> list[Run]:
        return await runs.newest_runs(self._database, limit)

    async def set_run(self, run: int, state: RunState, error: str = "") -> None:
        values = (state.value, to_line(error), state.value in runs.ENDED, run)
        await self._database.change(runs.SET_RUN, (*values, self._database.holder))

    async def add_note(self, run: int, note: str) -> None:
        await self._database.change(runs.ADD_NOTE, (to_line(note), run))

    async def pause(self, reason: str) -> None:
        await self._database.change(runs.PAUSE, (to_line(reason or "paused"),))

    async def resume(self) -> None:
        await self._database.change(runs.RESUME)

    async def paused(self) -> str:
        [[reason]] = await self._database.rows(runs.PAUSED)
        return str(reason)

    async def cursors(self, run: int) -> list[Cursor]:
        return await runs.read_cursors(self._database, run)

    async def commit(self, run: int, page: Page) -> None:
        await self._database.write(_commit, self._database.process, run, page)

    async def extras(self, run: int, after: str, limit: int) -> list[str]:
        rows = await self._database.rows(READ_EXTRAS, (run, to_bytes(after), limit))
        return [from_bytes(key) for (key,) in rows]

    async def settle_extras(
        self, run: int, deleted: Sequence[str], kept: Sequence[str], failed: Sequence[str]
    ) -> None:
        await self._database.write(
            _settle_extras, self._database.process, run, deleted, kept, failed
        )

    async def get(self, keys: Sequence[str]) -> dict[str, Record]:
        rows = await self._database.rows(
            f"{READ} WHERE record.key = ANY(%s)", ([to_bytes(key) for key in keys],)
        )
        return {record.key: record for record in map(_record, rows)}

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        if not outcomes:
            return 0
        return await self._database.write(_settle, self._database.process, outcomes)

    async def settled(self, run: int, keys: Sequence[str]) -> set[str]:
        rows = await self._database.rows(SETTLED, (run, [to_bytes(key) for key in keys]))
        return {from_bytes(key) for (key,) in rows}

    async def digest(self, run: int) -> Digest:
        return await runs.read_digest(self._database, run)

    async def read_digest(self, run: int, limit: int) -> bool:
        """Every run has had its digest from the start."""
        await self.get_run(run)
        return True

    async def reconcile(self) -> None:
        """There is nothing to finish: every write is one transaction."""

    async def cancel_pending(self, reason: str) -> None:
        await self._database.write(_cancel_pending, self._database.process, to_line(reason))

    async def scan(
        self, run: int | None = None, status: Status | None = None, prefix: str = ""
    ) -> AsyncIterator[Record]:
        after, more = "", True
        while more:
            found, after = await self.page(
                run=run, status=status, prefix=prefix, after=after, limit=SCAN_PAGE
            )
            for record in found:
                yield record
            more = bool(after)

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
        query, values = _page_query(run, status, to_bytes(prefix), reason, to_bytes(after), limit)
        found = [_record(row) for row in await self._database.rows(query, values)]
        return found, found[-1].key if len(found) == limit else ""

    async def failure_groups(self, examples: int = 3) -> list[FailureGroup]:
        rows = await self._database.rows(FAILURE_GROUPS, (examples,))
        return [
            FailureGroup(reason, count, detail, [from_bytes(key) for key in keys])
            for reason, count, detail, keys in rows
        ]

    async def apply_event(self, key: str, sequencer: str) -> bool:
        return await self._database.change(APPLY_EVENT, (to_bytes(key), sequencer)) == 1

    async def prune(self, keep_runs: int) -> int:
        """Delete the ledgers, notes and cursors of all ended runs except the newest `keep_runs`.
        The records stay. Returns the number of runs deleted."""
        return await self._database.change(PRUNE, (runs.ENDED, runs.ENDED, keep_runs))


PRUNE = """
    DELETE FROM dth.run WHERE task = {n} AND state = ANY(%s) AND id NOT IN (
        SELECT id FROM dth.run WHERE task = {n} AND state = ANY(%s) ORDER BY id DESC LIMIT %s::bigint
    )
"""


# --------------------------------------------------------------------------------------- the finder


async def _commit(work: Work, process: str, run: int, page: Page) -> None:
    await work.check_holder()
    if page.before is not None:
        await _check_before(work, run, page)
    shares = Shares()
    counts = shares.counts(run)
    for name in COUNTS:
        setattr(counts, name, getattr(page.counts, name))
    messages = page.messages
    if page.enqueued:
        pending = await _enqueue_records(work, shares, run, page.enqueued, page.listed_since)
        messages = wanted(messages, page.enqueued, pending)
    if page.settled:
        await _settle_into(work, shares, page.settled)
    if page.same:
        await _remember(work, shares, page.same)
    await enqueue(work, messages)
    for cursor in sorted(page.cursors, key=lambda each: each.id):
        places = [to_bytes(each) for each in (cursor.after, cursor.upto, cursor.position)]
        await work.change(WRITE_CURSOR, (run, cursor.id, cursor.scope, *places, cursor.finished))
    if page.extras:
        await work.change(ADD_EXTRAS, (run, sorted(map(to_bytes, page.extras))))
    await shares.write(work, process)


async def _check_before(work: Work, run: int, page: Page) -> None:
    states = await work.rows(LOCK_RUN, (run,))
    rows = await work.rows(LOCK_CURSORS, (run, sorted(cursor.id for cursor in page.cursors)))
    state = RunState(states[0][0]) if states else None
    check_before(state, page, list(map(runs.cursor_of, rows)))


LOCK_RUN = "SELECT state FROM dth.run WHERE task = {n} AND id = %s::bigint FOR SHARE"
LOCK_CURSORS = (
    f"{runs.SELECT_CURSORS} WHERE run = %s::bigint AND id = ANY(%s) ORDER BY id FOR UPDATE"
)
WRITE_CURSOR = """
    INSERT INTO dth.cursor (run, id, scope, after, upto, position, finished) VALUES (%s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (run, id) DO UPDATE SET scope = excluded.scope, after = excluded.after, upto = excluded.upto,
        position = excluded.position, finished = excluded.finished
"""
ADD_EXTRAS = """
    INSERT INTO dth.extra_{n} (run, key) SELECT %s::bigint, unnest(%s::bytea[]) ON CONFLICT DO NOTHING
"""


async def _enqueue_records(
    work: Work, shares: Shares, run: int, enqueued: Sequence[Enqueued], since: float
) -> set[str]:
    """Make the records PENDING in this run that are not PENDING yet. Returns the keys of the
    others: another caller enqueued those and sent a message, or they were copied after they were
    listed."""
    first = {item.key: (to_bytes(item.key), item.size, item.etag) for item in reversed(enqueued)}
    ordered = sorted(first.values())
    keys, sizes, etags = map(list, zip(*ordered, strict=True))
    ended = await work.rows(LOCK_ENDED, (keys,))
    values = {"run": run, "keys": keys, "sizes": sizes, "etags": etags, "since": since}
    fresh: dict[bytes, bool] = dict(await work.rows(ENQUEUE, values))
    taken_over = {key for key, inserted in fresh.items() if not inserted}
    removed = [row for row in ended if row[1] in taken_over]
    if len(removed) < len(taken_over):
        raise TransactionRetry  # a record came and ended between the two statements
    shares.digest(removed, times=-1)
    counts = shares.counts(run)
    counts.enqueued += len(fresh)
    counts.enqueued_bytes += sum(size for key, size, _ in ordered if key in fresh)
    counts.pending += len(enqueued) - len(fresh)
    return {from_bytes(key) for key in keys if key not in fresh}


LOCK_ENDED = f"""
    SELECT {DIGESTED} FROM dth.record_{{n}} AS record
    WHERE key = ANY(%s::bytea[]) AND status <> 'PENDING' ORDER BY key FOR UPDATE
"""

# Objects that were copied after their listing began stay as they are. The proof of the last
# transfer does not apply to the object that is enqueued now. A row that was inserted has no xmax.
ENQUEUE = f"""
    INSERT INTO dth.record_{{n}} AS record (key, status, run, etag, size, updated)
    SELECT key, 'PENDING', %(run)s::bigint, etag, size, {NOW}
    FROM unnest(%(keys)s::bytea[], %(sizes)s::bigint[], %(etags)s::text[]) AS new (key, size, etag)
    ON CONFLICT (key) DO UPDATE SET
        status = excluded.status, run = excluded.run, etag = excluded.etag, size = excluded.size,
        updated = excluded.updated, dest_etag = '', proof = '', verified = '', attempts = 0, reason = '', detail = ''
    WHERE record.status <> 'PENDING' AND NOT (
        %(since)s::float8 > 0 AND record.status = 'DONE' AND excluded.etag <> '' AND record.etag = excluded.etag
        AND record.size = excluded.size AND record.updated BETWEEN %(since)s::float8 AND {NOW}
    )
    RETURNING key, xmax = 0
"""


async def _remember(work: Work, shares: Shares, records: Sequence[Record]) -> None:
    """Write records unchanged, except over a PENDING one: its transfer will write a newer
    record."""
    ordered = sorted({to_bytes(record.key): record for record in records}.items())
    keys = [key for key, _ in ordered]
    ended = await work.rows(LOCK_ENDED, (keys,))
    values = {
        "keys": keys,
        **{name: [getattr(record, name) for _, record in ordered] for name in REMEMBERED},
    }
    written = await work.rows(REMEMBER, values)
    replaced = {row[1] for row in written if not row[-1]}
    removed = [row for row in ended if row[1] in replaced]
    if len(removed) < len(replaced):
        raise TransactionRetry
    shares.digest(removed, times=-1)
    shares.digest(row[:-1] for row in written)


REMEMBERED = {
    "status": "text", "run": "bigint", "etag": "text", "size": "bigint", "dest_etag": "text", "proof": "text",
    "verified": "text", "updated": "float8",
}  # fmt: skip
REMEMBER = f"""
    INSERT INTO dth.record_{{n}} AS record (key, {", ".join(REMEMBERED)})
    SELECT key, {", ".join(REMEMBERED).replace("updated", f"coalesce(nullif(updated, 0), {NOW})")}
    FROM unnest(%(keys)s::bytea[], {", ".join(f"%({name})s::{kind}[]" for name, kind in REMEMBERED.items())})
        AS new (key, {", ".join(REMEMBERED)})
    ON CONFLICT (key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in REMEMBERED)},
        attempts = 0, reason = '', detail = ''
    WHERE record.status <> 'PENDING'
    RETURNING {DIGESTED}, xmax = 0
"""

READ_EXTRAS = """
    SELECT key FROM dth.extra_{n} WHERE run = %s::bigint AND key > %s::bytea ORDER BY key LIMIT %s::bigint
"""


async def _settle_extras(
    work: Work,
    process: str,
    run: int,
    deleted: Sequence[str],
    kept: Sequence[str],
    failed: Sequence[str],
) -> None:
    shares = Shares()
    counts = shares.counts(run)
    for name, keys in (("deleted", deleted), ("delete_kept", kept), ("delete_failed", failed)):
        if keys:
            setattr(
                counts, name, await work.change(FORGET_EXTRAS, (run, sorted(map(to_bytes, keys))))
            )
    await shares.write(work, process)


FORGET_EXTRAS = "DELETE FROM dth.extra_{n} WHERE run = %s::bigint AND key = ANY(%s::bytea[])"


# -------------------------------------------------------------------------------------- the workers


async def _settle(work: Work, process: str, outcomes: Sequence[Outcome]) -> int:
    shares = Shares()
    settled = await _settle_into(work, shares, outcomes)
    await shares.write(work, process)
    return settled


async def _settle_into(work: Work, shares: Shares, outcomes: Sequence[Outcome]) -> int:
    # Of two outcomes for one object, the first counts, as if they came one by one.
    first = {(to_bytes(each.key), each.run): each for each in reversed(outcomes)}
    ordered = sorted(first.items(), key=lambda each: each[0])
    if any(outcome.sequencer is not None for _, outcome in ordered):
        # The next statement then sees each event whose object was found to be PENDING before.
        await work.rows(LOCK, (sorted({key for (key, _), _ in ordered}),))
    values = {
        "keys": [key for (key, _), _ in ordered],
        **{name: [getattr(each, name) for _, each in ordered] for name in OUTCOME},
        "reason": [to_line(each.reason) for _, each in ordered],
        "detail": [to_line(each.detail) for _, each in ordered],
    }
    rows = await work.rows(SETTLE, values)
    shares.digest(row[:9] for row in rows)
    for row in rows:
        _count(shares, first[bytes(row[1]), row[0]])
    return len(rows)


def _count(shares: Shares, outcome: Outcome) -> None:
    counts = shares.counts(outcome.run)
    match outcome.status:
        case Status.DONE:
            counts.done += 1
            counts.done_bytes += outcome.bytes
            counts.incomplete += bool(outcome.reason)
        case Status.FAILED:
            counts.failed += 1
        case Status.CANCELLED:
            counts.cancelled += 1
    if outcome.verified:
        name = f"verified_{outcome.verified.value}"
        setattr(counts, name, getattr(counts, name) + 1)


LOCK = "SELECT FROM dth.record_{n} WHERE key = ANY(%s::bytea[]) ORDER BY key FOR UPDATE"

OUTCOME = {
    "run": "bigint", "status": "text", "etag": "text", "dest_etag": "text", "proof": "text", "attempts": "int",
    "reason": "text", "detail": "text", "verified": "text", "sequencer": "text",
}  # fmt: skip

# A failure may not know an ETag; the record then keeps the ETag that was enqueued. An outcome that
# an event overtook ends nothing: its object changed after its transfer had begun.
SETTLE = f"""
    UPDATE dth.record_{{n}} AS record SET
        status = outcome.status, etag = CASE outcome.etag WHEN '' THEN record.etag ELSE outcome.etag END,
        dest_etag = outcome.dest_etag, proof = outcome.proof, attempts = outcome.attempts,
        reason = outcome.reason, detail = outcome.detail, verified = outcome.verified, updated = {NOW}
    FROM unnest(%(keys)s::bytea[], {", ".join(f"%({name})s::{kind}[]" for name, kind in OUTCOME.items())})
        AS outcome (key, {", ".join(OUTCOME)})
    WHERE record.key = outcome.key AND record.run = outcome.run AND record.status = 'PENDING' AND (
        outcome.sequencer IS NULL OR outcome.sequencer = coalesce(
            (SELECT event.sequencer FROM dth.event_{{n}} AS event WHERE event.key = outcome.key), ''
        )
    )
    RETURNING {DIGESTED}
"""

SETTLED = """
    SELECT key FROM dth.record_{n} WHERE NOT (status = 'PENDING' AND run = %s::bigint) AND key = ANY(%s::bytea[])
"""


async def _cancel_pending(work: Work, process: str, reason: str) -> None:
    shares = Shares()
    cancelled = await work.rows(CANCEL, (reason,))
    shares.digest(cancelled)
    for row in cancelled:
        shares.counts(row[0]).cancelled += 1
    await work.change("DELETE FROM dth.extra_{n}")
    for run, kept in await work.rows(FIND_KEPT):
        shares.counts(run).delete_kept += kept
    await work.change(FAIL_OPEN, (RunState.FAILED.value, reason, runs.ENDED))
    await shares.write(work, process)


CANCEL = f"""
    UPDATE dth.record_{{n}} AS record SET status = 'CANCELLED', reason = %s, updated = {NOW}
    WHERE status = 'PENDING' RETURNING {DIGESTED}
"""
# The ledger of deletes contains only what was enqueued for deletion.
FIND_KEPT = """
    SELECT run, (sum(delete_enqueued) - sum(deleted) - sum(delete_kept) - sum(delete_failed))::bigint AS kept
    FROM dth.share WHERE run IN (SELECT id FROM dth.run WHERE task = {n}) GROUP BY run
    HAVING sum(delete_enqueued) > sum(deleted) + sum(delete_kept) + sum(delete_failed)
"""
FAIL_OPEN = f"UPDATE dth.run SET state = %s, error = %s, ended = {NOW} WHERE task = {{n}} AND state <> ALL(%s)"

# A repeated event takes effect again: its first delivery may have been interrupted.
APPLY_EVENT = """
    INSERT INTO dth.event_{n} AS event (key, sequencer) VALUES (%s, %s)
    ON CONFLICT (key) DO UPDATE SET sequencer = excluded.sequencer WHERE excluded.sequencer >= event.sequencer
"""


# ------------------------------------------------------------------------------------------ reading


def _record(row: Sequence[Any]) -> Record:
    """Build a record from a row of READ."""
    record = Record(from_bytes(row[0]), STATUS[row[1]], *row[2:])
    record.verified = VERIFIED[record.verified]
    return record


FAILURE_GROUPS = """
    SELECT reason, count, detail, ARRAY(
        SELECT key FROM dth.record_{n} WHERE status = 'FAILED' AND reason = groups.reason ORDER BY key LIMIT %s::bigint
    )
    FROM (
        SELECT reason, count(*) AS count, max(detail) AS detail FROM dth.record_{n} WHERE status = 'FAILED'
        GROUP BY reason ORDER BY count(*) DESC, reason LIMIT 100
    ) AS groups
"""


def _page_query(
    run: int | None, status: Status | None, prefix: bytes, reason: str, after: bytes, limit: int
) -> tuple[str, dict[str, Any]]:
    conditions = ["record.key >= %(from)s::bytea", "record.key <> %(after)s::bytea"]
    values: dict[str, Any] = {"from": max(prefix, after), "after": after, "limit": limit}
    if end := prefix.rstrip(b"\xff"):
        conditions.append("record.key < %(end)s::bytea")
        values["end"] = end[:-1] + bytes([end[-1] + 1])
    if run is not None:
        conditions.append("run = %(run)s::bigint")
        values["run"] = run
    # The conditions of partial indexes are literals, not parameters: the planner must see that they
    # match.
    if status is not None:
        conditions.append(f"status = '{status.value}'")
    if reason:
        conditions.append("reason = %(reason)s AND reason <> ''")
        values["reason"] = reason
    return (
        f"{READ} WHERE {' AND '.join(conditions)} ORDER BY record.key LIMIT %(limit)s::bigint",
        values,
    )
