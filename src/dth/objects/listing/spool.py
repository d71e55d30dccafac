"""Sorts more objects than fit into memory: a listing in a temporary SQLite file.

SQLite's own sorter works on disk with constant memory, and the sorted table can be read from any
key on. So a sorted manifest, or a listing that was out of order, can be read, split and resumed
like the listing of a bucket. Keys are stored as UTF-8 with surrogates passed through: the order of
these bytes is the order of code points.
"""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path

from dth.objects.listing.pages import PAGE_SIZE, ListedObject, ListPage, make_entry

_COLUMNS = "key BLOB{}, size INTEGER, etag TEXT, modified TEXT, class TEXT, restore TEXT"


class Spool:
    """Add entries, `sort` once, then read pages. If a key is added again, the first entry counts.

    Until `close`, its file is in a directory of its own inside `workdir`.
    """

    ordered = True
    seekable = True

    def __init__(self, workdir: Path, *, name: str = "", prefix: str = "") -> None:
        self.name = name
        self.prefix = prefix
        self._directory = Path(tempfile.mkdtemp(dir=workdir, prefix="spool-"))
        self._db = sqlite3.connect(
            self._directory / "spool.db", check_same_thread=False, isolation_level=None
        )
        # The data is temporary: nothing to recover, nothing to share.
        for setting in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
            self._db.execute(f"PRAGMA {setting}")
        self._db.execute(f"CREATE TABLE loose ({_COLUMNS.format('')})")
        self._db.execute(f"CREATE TABLE entries ({_COLUMNS.format(' PRIMARY KEY')}) WITHOUT ROWID")

    async def add(self, entries: Iterable[ListedObject]) -> None:
        """Add entries in any order, before `sort`."""
        await asyncio.to_thread(self._add, list(entries))

    def _add(self, entries: list[ListedObject]) -> None:
        rows = [(_bytes(entry[0]), *entry[1:]) for entry in entries]
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO loose VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._db.execute("COMMIT")

    async def sort(self) -> None:
        """Sort the entries. Call it after the last `add` and before the first `page`."""
        await asyncio.to_thread(self._sort)

    def _sort(self) -> None:
        self._db.execute("INSERT OR IGNORE INTO entries SELECT * FROM loose ORDER BY key, rowid")
        self._db.execute("DROP TABLE loose")

    async def page(self, after: str = "", token: str = "", limit: int = PAGE_SIZE) -> ListPage:
        """As `Listing.page`. A token is the last key of the previous page."""
        start = _bytes(token or after)
        rows = self._db.execute(
            "SELECT * FROM entries WHERE key > ? ORDER BY key LIMIT ?", (start, limit)
        )
        entries = [make_entry((_text(row[0]), *row[1:])) for row in rows]
        return ListPage(entries, entries[-1].key if len(entries) == limit else "")

    def at_or_below(self, key: str) -> str | None:
        """The greatest key that is not above `key`; None if there is none."""
        found = self._db.execute(
            "SELECT max(key) FROM entries WHERE key <= ?", (_bytes(key),)
        ).fetchone()[0]
        return _text(found) if found is not None else None

    async def remove(self, keys: Iterable[str]) -> None:
        """Remove these keys after `sort`."""
        await asyncio.to_thread(self._remove, [(_bytes(key),) for key in keys])

    def _remove(self, rows: list[tuple[bytes]]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany("DELETE FROM entries WHERE key = ?", rows)
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Delete the file."""
        self._db.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _text(key: bytes) -> str:
    return key.decode("utf-8", "surrogatepass")
