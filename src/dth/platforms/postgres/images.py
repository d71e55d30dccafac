"""The history of one task's images."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from dth.core.ports.images import ImageRecord
from dth.core.ports.status import Status
from dth.platforms.postgres.database import NOW, PostgresDatabase, Work
from dth.platforms.postgres.encoding import from_bytes, to_bytes, to_line

NAMES = [field.name for field in fields(ImageRecord)]


class PostgresImages:
    """`ports.Images` over PostgreSQL."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def write(self, images: Sequence[ImageRecord]) -> None:
        if images:
            await self._database.write(_write, images)

    async def copied(self) -> dict[str, ImageRecord]:
        return _by_key(await self._read(newest("status = 'DONE'")))

    async def latest(self, keys: Sequence[str]) -> dict[str, ImageRecord]:
        return _by_key(await self._read(newest("key = ANY(%s)"), [to_bytes(key) for key in keys]))

    async def history(self, key: str, limit: int = 100) -> list[ImageRecord]:
        query = f"{READ} WHERE task = {{n}} AND key = %s ORDER BY run DESC LIMIT %s::bigint"
        return await self._read(query, to_bytes(key), limit)

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
            "run = %s": run,
            "status = %s": status and status.value,
            "reason = %s": reason or None,
            "key >= %s": to_bytes(prefix) if prefix else None,
            "key < %s": to_bytes(prefix + "\U0010ffff") if prefix else None,
            "key > %s": to_bytes(after) if after else None,
        }
        given = {condition: value for condition, value in conditions.items() if value is not None}
        source = newest("true") if run is None else f"{READ} WHERE task = {{n}}"
        which = " AND ".join(given) or "true"
        query = f"SELECT * FROM ({source}) AS image WHERE {which} ORDER BY key LIMIT %s::bigint"
        return await self._read(query, *given.values(), limit)

    async def cancel_pending(self, reason: str) -> None:
        await self._database.change(CANCEL, (to_line(reason),))

    async def prune(self) -> None:
        """Delete the history of pruned runs, but keep the newest record of each image and the one
        of its last copy."""
        await self._database.change(PRUNE)

    async def _read(self, query: str, *values: Any) -> list[ImageRecord]:
        return [_image(row) for row in await self._database.rows(query, values)]


async def _write(work: Work, images: Sequence[ImageRecord]) -> None:
    for image in sorted(images, key=lambda each: (each.key, each.run)):
        lines = {"reason": to_line(image.reason), "detail": to_line(image.detail)}
        values = asdict(image) | {"key": to_bytes(image.key), "status": image.status.value} | lines
        await work.change(WRITE, values)


WRITE = f"""
    INSERT INTO dth.image AS image (task, {", ".join(NAMES)})
    VALUES ({{n}}, {", ".join(f"%({name})s" for name in NAMES)})
    ON CONFLICT (task, key, run) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in NAMES)}
    WHERE excluded.status <> 'PENDING' OR image.status = 'PENDING'
"""
READ = f"SELECT {', '.join(NAMES)} FROM dth.image"


def newest(which: str) -> str:
    """A query for the newest record of each image among the records that match."""
    return f"""
        SELECT DISTINCT ON (key) {", ".join(NAMES)} FROM dth.image WHERE task = {{n}} AND {which}
        ORDER BY key, run DESC
    """


def _image(row: Sequence[Any]) -> ImageRecord:
    values = dict(zip(NAMES, row, strict=True))
    return ImageRecord(
        **values | {"key": from_bytes(values["key"]), "status": Status(values["status"])}
    )


def _by_key(images: list[ImageRecord]) -> dict[str, ImageRecord]:
    return {each.key: each for each in images}


CANCEL = f"""
    UPDATE dth.image SET status = 'CANCELLED', reason = %s, ended = {NOW}, moved = 0
    WHERE task = {{n}} AND status = 'PENDING'
"""
PRUNE = """
    DELETE FROM dth.image AS image WHERE task = {n} AND run NOT IN (SELECT id FROM dth.run WHERE task = {n})
    AND EXISTS (
        SELECT FROM dth.image AS other WHERE other.task = {n} AND other.key = image.key AND other.run > image.run
    )
    AND NOT (
        status = 'DONE' AND NOT EXISTS (
            SELECT FROM dth.image AS other
            WHERE other.task = {n} AND other.key = image.key AND other.run > image.run AND other.status = 'DONE'
        )
    )
"""
