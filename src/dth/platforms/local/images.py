"""The history of one task's images."""

import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, exists, func, or_, select, true, update
from sqlalchemy.dialects import sqlite

from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.schema import image
from dth.platforms.local.schema import run as run_table
from dth.platforms.ports import ImageRecord, Status

AT_A_TIME = 500  # keys in one statement
NAMES = [field.name for field in fields(ImageRecord)]


class LocalImages:
    """`ports.Images` over SQLite."""

    def __init__(self, database: TaskDatabase) -> None:
        self._database = database

    async def write(self, images: Sequence[ImageRecord]) -> None:
        if images:
            await self._database.write(_write, images)

    async def copied(self) -> dict[str, ImageRecord]:
        return _by_key(await self._database.read(_read, _newest(image.c.status == Status.DONE.value)))

    async def latest(self, keys: Sequence[str]) -> dict[str, ImageRecord]:
        found: dict[str, ImageRecord] = {}
        for first in range(0, len(keys), AT_A_TIME):
            among = image.c.key.in_(keys[first : first + AT_A_TIME])
            found |= _by_key(await self._database.read(_read, _newest(among)))
        return found

    async def history(self, key: str, limit: int = 100) -> list[ImageRecord]:
        which = select(image).where(image.c.key == key).order_by(image.c.run.desc()).limit(limit)
        return await self._database.read(_read, which)

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
        which = _newest(true()) if run is None else select(image).where(image.c.run == run)
        if status:
            which = which.where(image.c.status == status.value)
        if reason:
            which = which.where(image.c.reason == reason)
        if prefix:
            which = which.where(image.c.key >= prefix, image.c.key < prefix + "\U0010ffff")
        if after:
            which = which.where(image.c.key > after)
        return await self._database.read(_read, which.order_by(image.c.key).limit(limit))

    async def cancel_pending(self, reason: str) -> None:
        await self._database.write(_cancel, reason)

    async def prune(self) -> None:
        """Forget what runs did that are forgotten themselves, but of each image the newest and what it was copied
        as."""
        await self._database.write(_prune)


def _write(connection: Connection, images: Sequence[ImageRecord]) -> None:
    new = sqlite.insert(image)
    written = new.on_conflict_do_update(
        index_elements=["run", "key"],
        set_={name: new.excluded[name] for name in NAMES if name not in ("run", "key")},
        where=or_(new.excluded.status != Status.PENDING.value, image.c.status == Status.PENDING.value),
    )
    connection.execute(written, [{**asdict(each), "status": each.status.value} for each in images])


def _newest(which: ColumnElement[bool]) -> Select[Any]:
    """Of each image that this holds for, its newest record."""
    last = (
        select(image.c.key, func.max(image.c.run).label("run")).where(which).group_by(image.c.key).subquery()
    )
    return select(image).join(last, (image.c.key == last.c.key) & (image.c.run == last.c.run))


def _read(connection: Connection, statement: Select[Any]) -> list[ImageRecord]:
    return [_image(row) for row in connection.execute(statement)]


def _image(row: Row[Any]) -> ImageRecord:
    values = {name: getattr(row, name) for name in NAMES}
    return ImageRecord(**{**values, "status": Status(values["status"])})


def _by_key(images: list[ImageRecord]) -> dict[str, ImageRecord]:
    return {each.key: each for each in images}


def _cancel(connection: Connection, reason: str) -> None:
    values = {"status": Status.CANCELLED.value, "reason": reason, "ended": time.time(), "moved": 0}
    connection.execute(update(image).where(image.c.status == Status.PENDING.value).values(values))


def _prune(connection: Connection) -> None:
    other = image.alias()
    newer = (other.c.key == image.c.key) & (other.c.run > image.c.run)
    done = Status.DONE.value
    of_use = or_(
        ~exists().where(newer), (image.c.status == done) & ~exists().where(newer, other.c.status == done)
    )
    forgotten = image.c.run.not_in(select(run_table.c.id))
    connection.execute(delete(image).where(forgotten, ~of_use))
