"""What a comparison found, in a SQLite file of its own. Its process writes it; the hub reads it at
the same time."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from dth.core.ports.findings import KEPT, Finding, FolderTally, State, StateTally
from dth.platforms.local.bulk import insert_rows
from dth.platforms.local.database import Connection, Database
from dth.platforms.local.encoding import from_blob, to_blob, to_line

FINDINGS_FILE = "findings.db"
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS finding (
        key BLOB PRIMARY KEY, state TEXT NOT NULL, size INTEGER NOT NULL,
        dest_size INTEGER NOT NULL, etag TEXT NOT NULL, why TEXT NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS finding_state ON finding (state, key)",
    """CREATE TABLE IF NOT EXISTS folder (
        parent BLOB NOT NULL, place INTEGER NOT NULL, path BLOB NOT NULL, tally TEXT NOT NULL,
        parts INTEGER NOT NULL, PRIMARY KEY (parent, place)
    ) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS tally (id INTEGER PRIMARY KEY, tally TEXT NOT NULL)",
)
# The most bytes of a reason.
LONGEST = 1000


class FindingsDatabase(Database[Connection]):
    """The file of one comparison."""

    def _connection(self, begin: str) -> Connection:
        return self._driver(begin)

    def _prepare(self, connection: Connection) -> None:
        for statement in SCHEMA:
            connection.execute(statement)


class LocalFindings:
    """`core.ports.findings.Findings`, and reading it."""

    def __init__(self, database: FindingsDatabase) -> None:
        self._database = database

    @classmethod
    def open(cls, folder: Path) -> Self:
        return cls(FindingsDatabase.open(folder / FINDINGS_FILE))

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def add(self, findings: Sequence[Finding], tally: StateTally) -> None:
        await self._database.write(_add, findings, tally)

    async def end(self, folders: Mapping[str, Iterable[FolderTally]]) -> None:
        await self._database.write(_end, folders)

    async def tally(self) -> StateTally:
        """The counts so far."""
        return await self._database.read(_tally)

    async def page(
        self,
        *,
        states: Collection[State] = (),
        prefix: str = "",
        keys: Sequence[str] = (),
        after: str = "",
        limit: int = 100,
    ) -> list[Finding]:
        """Findings after a key, in the order of their keys. Without states: of all. `keys`: only
        these."""
        return await self._database.read(_page, states or KEPT, prefix, keys, after, limit)

    async def folders(self, parent: str, limit: int) -> list[FolderTally]:
        """The folders in this one, the worst first. Empty until the comparison has ended."""
        return await self._database.read(_folders, parent, limit)


def _add(connection: Connection, findings: Sequence[Finding], tally: StateTally) -> None:
    insert_rows(
        connection,
        "INSERT OR REPLACE INTO finding (key, state, size, dest_size, etag, why) VALUES",
        [
            (to_blob(key), state.value, size, dest_size, to_line(etag), to_line(why[:LONGEST]))
            for key, state, size, dest_size, etag, why in findings
        ],
    )
    connection.execute("INSERT OR REPLACE INTO tally VALUES (1, ?)", (json.dumps(tally.as_dict()),))


def _end(connection: Connection, folders: Mapping[str, Iterable[FolderTally]]) -> None:
    connection.execute("DELETE FROM folder")
    connection.executemany(
        "INSERT INTO folder VALUES (?, ?, ?, ?, ?)",
        (
            (
                to_blob(parent),
                place,
                to_blob(each.path),
                json.dumps(each.tally.as_dict()),
                each.parts,
            )
            for parent, within in folders.items()
            for place, each in enumerate(within)
        ),
    )


def _tally(connection: Connection) -> StateTally:
    row = connection.execute("SELECT tally FROM tally").fetchone()
    return StateTally.read(json.loads(row[0])) if row else StateTally()


def _page(
    connection: Connection,
    states: Collection[State],
    prefix: str,
    keys: Sequence[str],
    after: str,
    limit: int,
) -> list[Finding]:
    first = to_blob(prefix)
    found: list[Finding] = []
    # One state after the other, each in the order of its index; then the first of all of them.
    for state in states:
        where, values = "state = ? AND key > ? AND key >= ?", [state, to_blob(after), first]
        if prefix and (end := _after_all(first)):
            where, values = f"{where} AND key < ?", [*values, end]
        if keys:
            marks = ", ".join("?" * len(keys))
            where, values = f"{where} AND key IN ({marks})", [*values, *map(to_blob, keys)]
        found += [
            Finding(from_blob(key), State(state), size, dest_size, etag, why)
            for key, size, dest_size, etag, why in connection.execute(
                "SELECT key, size, dest_size, etag, why FROM finding "
                f"WHERE {where} ORDER BY key LIMIT ?",
                (*values, limit),
            )
        ]
    return sorted(found, key=lambda each: to_blob(each.key))[:limit]


def _after_all(prefix: bytes) -> bytes:
    """The first text after all that begin with the prefix; empty if there is none."""
    rest = prefix.rstrip(b"\xff")
    return rest[:-1] + bytes([rest[-1] + 1]) if rest else b""


def _folders(connection: Connection, parent: str, limit: int) -> list[FolderTally]:
    rows = connection.execute(
        "SELECT path, tally, parts FROM folder WHERE parent = ? ORDER BY place LIMIT ?",
        (to_blob(parent), limit),
    )
    return [
        FolderTally(from_blob(path), StateTally.read(json.loads(tally)), bool(parts))
        for path, tally, parts in rows
    ]
