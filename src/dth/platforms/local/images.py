"""The history of one task's images."""

import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from sqlite3 import Connection
from typing import Any

from dth.core.ports.images import ImageRecord
from dth.core.ports.status import Status
from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.encoding import from_blob, to_blob, to_line

AT_A_TIME = 500  # keys per statement
NAMES = [field.name for field in fields(ImageRecord)]


class LocalImages:
    """`ports.Images` over SQLite."""

    def __init__(self, database: TaskDatabase) -> None:
        self._database = database

    async def write(self, images: Sequence[ImageRecord]) -> None:
        if images:
            await self._database.write(_write, images)

    async def copied(self) -> dict[str, ImageRecord]:
        return _by_key(await self._database.read(_read, newest("status = 'DONE'")))

    async def latest(self, keys: Sequence[str]) -> dict[str, ImageRecord]:
        found: dict[str, ImageRecord] = {}
        for first in range(0, len(keys), AT_A_TIME):
            among = [to_blob(key) for key in keys[first : first + AT_A_TIME]]
            query = newest(f"key IN ({', '.join('?' * len(among))})")
            found |= _by_key(await self._database.read(_read, query, among))
        return found

    async def history(self, key: str, limit: int = 100) -> list[ImageRecord]:
        query = f"{READ} WHERE key = ? ORDER BY run DESC LIMIT ?"
        return await self._database.read(_read, query, (to_blob(key), limit))

    async def page(
        self,
        run: int | None = None,
        *,
        status: Status | None = None,
        prefix: str = "",
        reason: str = "",
        after: str = "",
        limit: int = 100,
    ) -> list[ImageRecord]:
        conditions = {
            "run = ?": run,
            "status = ?": status and status.value,
            "reason = ?": reason or None,
            "key >= ?": to_blob(prefix) if prefix else None,
            "key < ?": to_blob(prefix + "\U0010ffff") if prefix else None,
            "key > ?": to_blob(after) if after else None,
        }
        given = {condition: value for condition, value in conditions.items() if value is not None}
        query = f"{newest('true') if run is None else READ} WHERE {' AND '.join(given) or 'true'}"
        return await self._database.read(
            _read, f"{query} ORDER BY key LIMIT ?", (*given.values(), limit)
        )

    async def cancel_pending(self, reason: str) -> None:
        await self._database.execute(CANCEL, (to_line(reason), time.time()))

    async def prune(self) -> None:
        """Delete the history of pruned runs, but keep the newest record of each image and the one
        of its last copy."""
        await self._database.execute(PRUNE)


def _write(connection: Connection, images: Sequence[ImageRecord]) -> None:
    connection.executemany(WRITE, [_values(each) for each in images])


def _values(image: ImageRecord) -> dict[str, Any]:
    lines = {"reason": to_line(image.reason), "detail": to_line(image.detail)}
    return asdict(image) | {"key": to_blob(image.key), "status": image.status.value} | lines


WRITE = f"""
    INSERT INTO image ({", ".join(NAMES)}) VALUES ({", ".join(f":{name}" for name in NAMES)})
    ON CONFLICT (run, key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in NAMES)}
    WHERE excluded.status <> 'PENDING' OR image.status = 'PENDING'
"""
READ = f"SELECT {', '.join(NAMES)} FROM image"


def newest(which: str) -> str:
    """A query for the newest record of each image among the records that match."""
    return f"""
        {READ} JOIN (
            SELECT key AS its_key, max(run) AS its_newest FROM image WHERE {which} GROUP BY key
        ) ON key = its_key AND run = its_newest
    """


def _read(connection: Connection, query: str, values: Sequence[Any] = ()) -> list[ImageRecord]:
    return [_image(row) for row in connection.execute(query, values)]


def _image(row: Sequence[Any]) -> ImageRecord:
    values = dict(zip(NAMES, row, strict=True))
    return ImageRecord(
        **values | {"key": from_blob(values["key"]), "status": Status(values["status"])}
    )


def _by_key(images: list[ImageRecord]) -> dict[str, ImageRecord]:
    return {each.key: each for each in images}


CANCEL = """
    UPDATE image SET status = 'CANCELLED', reason = ?, ended = ?, moved = 0 WHERE status = 'PENDING'
"""
PRUNE = """
    DELETE FROM image WHERE run NOT IN (SELECT id FROM run)
    AND EXISTS (SELECT 1 FROM image AS other WHERE other.key = image.key AND other.run > image.run)
    AND NOT (
        status = 'DONE' AND NOT EXISTS (
            SELECT 1 FROM image AS other
            WHERE other.key = image.key AND other.run > image.run AND other.status = 'DONE'
        )
    )
"""
