"""The runs of one task and their ledgers.

What a process counts it adds to its own share of a run's ledger and digest. A reader adds the
shares up.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from dth.core.digest import MODULUS, Digest
from dth.core.errors import UsageError
from dth.core.ports.runs import Counts, Cursor, Run, RunKind, RunState
from dth.platforms.postgres.database import NOW, PostgresDatabase, Work
from dth.platforms.postgres.encoding import from_bytes
from dth.platforms.postgres.schema import COUNTS

ENDED = [RunState.DONE.value, RunState.FAILED.value]
LISTED = [RunState.TRANSFERRING.value, RunState.DELETING.value]
DIGEST = ["digest", "digest_done", "digest_failed", "digest_cancelled", "digest_confirmed"]
SHARE = [*COUNTS, *DIGEST]


async def begin_run(work: Work, kind: RunKind, beside: bool) -> tuple[Run, bool]:
    """The unfinished run of this kind, or a new one. Of many callers at once, one begins it."""
    await work.rows("SELECT FROM dth.task WHERE number = {n} FOR NO KEY UPDATE")
    finished = [*ENDED, *LISTED] if beside else ENDED
    query = f"{READ_RUNS} AND kind = %s AND state <> ALL(%s) ORDER BY id DESC LIMIT 1"
    if going := await _read_runs(work, query, (kind.value, finished)):
        return going[0], True
    [[number]] = await work.rows(BEGIN_RUN, (kind.value, RunState.LISTING.value))
    return await one_run(work, number), False


BEGIN_RUN = (
    f"INSERT INTO dth.run (task, kind, state, started) VALUES ({{n}}, %s, %s, {NOW}) RETURNING id"
)


async def one_run(work: Work | PostgresDatabase, number: int) -> Run:
    found = await _read_runs(work, f"{READ_RUNS} AND id = %s::bigint", (number,))
    if not found:
        raise UsageError(f"There is no run {number}")
    return found[0]


async def newest_runs(work: Work | PostgresDatabase, limit: int) -> list[Run]:
    """Newest first."""
    return await _read_runs(work, f"{READ_RUNS} ORDER BY id DESC LIMIT %s::bigint", (limit,))


async def _read_runs(work: Work | PostgresDatabase, query: str, values: Sequence[Any]) -> list[Run]:
    return [
        Run(
            number,
            RunKind(kind),
            RunState(state),
            started,
            ended,
            error,
            list(notes),
            Counts(*counts),
        )
        for number, kind, state, started, ended, error, notes, *counts in await work.rows(
            query, values
        )
    ]


READ_RUNS = f"""
    SELECT id, kind, state, started, ended, error,
        ARRAY(SELECT note FROM dth.note WHERE note.run = run.id ORDER BY note.id), {", ".join(COUNTS)}
    FROM dth.run CROSS JOIN LATERAL (
        SELECT {", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in COUNTS)}
        FROM dth.share WHERE share.run = run.id
    ) AS ledger
    WHERE task = {{n}}
"""

# A command that has lost the task changes nothing.
SET_RUN = f"""
    UPDATE dth.run SET state = %s, error = %s, ended = CASE WHEN %s THEN {NOW} ELSE 0 END
    WHERE task = {{n}} AND id = %s::bigint
        AND %s IN ('', (SELECT coalesce(holder, '') FROM dth.task WHERE number = {{n}}))
"""
ADD_NOTE = """
    INSERT INTO dth.note (run, note) SELECT id, %s FROM dth.run WHERE task = {n} AND id = %s::bigint
    ON CONFLICT DO NOTHING
"""
PAUSE = "UPDATE dth.task SET paused = coalesce(paused, %s) WHERE number = {n}"
RESUME = "UPDATE dth.task SET paused = NULL WHERE number = {n}"
PAUSED = "SELECT coalesce(paused, '') FROM dth.task WHERE number = {n}"


async def read_cursors(database: PostgresDatabase, run: int) -> list[Cursor]:
    return list(map(cursor_of, await database.rows(READ_CURSORS, (run,))))


def cursor_of(row: Sequence[Any]) -> Cursor:
    """The cursor in a row of `SELECT_CURSORS`."""
    name, scope, after, upto, position, finished = row
    return Cursor(name, scope, from_bytes(after), from_bytes(upto), from_bytes(position), finished)


SELECT_CURSORS = "SELECT id, scope, after, upto, position, finished FROM dth.cursor"
READ_CURSORS = f"{SELECT_CURSORS} WHERE run = %s::bigint ORDER BY scope, after"


async def read_digest(database: PostgresDatabase, run: int) -> Digest:
    """The digest of a run. Pruned runs have none."""
    [(there, total, done, failed, cancelled, confirmed)] = await database.rows(
        READ_DIGEST, (run, run)
    )
    return Digest(int(total) % MODULUS, done, failed, cancelled, confirmed, there)


READ_DIGEST = f"""
    SELECT EXISTS (SELECT FROM dth.run WHERE task = {{n}} AND id = %s::bigint), coalesce(sum(digest), 0),
        {", ".join(f"coalesce(sum({name}), 0)::bigint" for name in DIGEST[1:])}
    FROM dth.share WHERE run = %s::bigint
"""


@dataclass(slots=True)
class _Share:
    counts: Counts = field(default_factory=Counts)
    digest: Digest = field(default_factory=Digest)


class Shares:
    """What a transaction adds to the ledgers and digests of runs."""

    def __init__(self) -> None:
        self._of: dict[int, _Share] = {}

    def counts(self, run: int) -> Counts:
        """What is added to a run's counts."""
        return self._of.setdefault(run, _Share()).counts

    def digest(self, rows: Iterable[Sequence[Any]], times: int = 1) -> None:
        """Add records to the digests of their runs, or (-1) remove them."""
        for run, key, *more in rows:
            self._of.setdefault(run, _Share()).digest.add(key, *more, times=times)

    async def write(self, work: Work, process: str) -> None:
        """The last statement of a transaction. Pruned runs have no shares."""
        for run, share in sorted(self._of.items()):
            counts = {name: getattr(share.counts, name) for name in COUNTS}
            digest = share.digest
            added = (digest.done, digest.failed, digest.cancelled, digest.confirmed)
            digests = dict(zip(DIGEST, (Decimal(digest.total), *added), strict=True))
            await work.change(ADD_SHARE, counts | digests | {"run": run, "process": process})


_ADDED = ["%(digest)s::numeric" if name == "digest" else f"%({name})s::bigint" for name in SHARE]
ADD_SHARE = f"""
    INSERT INTO dth.share (run, process, {", ".join(SHARE)})
    SELECT id, %(process)s::text, {", ".join(_ADDED)}
    FROM dth.run WHERE task = {{n}} AND id = %(run)s::bigint
    ON CONFLICT (run, process) DO UPDATE SET {", ".join(f"{name} = share.{name} + excluded.{name}" for name in SHARE)}
"""
