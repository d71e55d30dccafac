"""The records of giant uploads and their parts. A change of state is one conditional UPDATE: one caller wins."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update
from sqlalchemy.dialects import sqlite

from dth.platforms.local import schema
from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.queue import enqueue
from dth.platforms.ports import Outgoing, Part, Upload, UploadState, Verified

CLOCK_STEP = 1.0  # seconds ahead that may be those of a clock being adjusted
LIVE = (UploadState.INTENT.value, UploadState.UPLOADING.value, UploadState.COMPLETING.value)

column = schema.upload.c


class LocalUploads:
    """`ports.Uploads` over SQLite."""

    def __init__(self, database: TaskDatabase) -> None:
        self._database = database

    async def intend(self, upload: Upload) -> bool:
        return await self._database.write(_intend, upload)

    async def start(
        self, key: str, upload_id: str, parts: Sequence[Part], messages: Sequence[Outgoing]
    ) -> bool:
        return await self._database.write(_start, key, upload_id, parts, messages)

    async def get(self, key: str) -> Upload | None:
        found = await self._database.read(_uploads, column.key == key)
        return found[0] if found else None

    async def parts(self, key: str) -> list[Part]:
        return await self._database.read(_parts, key)

    async def part_done(self, key: str, upload_id: str, part: Part) -> Upload | None:
        return await self._database.write(_part_done, key, upload_id, part)

    async def claim(self, key: str, upload_id: str, owner: str, lease: float) -> bool:
        return await self._database.write(_claim, key, upload_id, owner, lease)

    async def unclaim(self, key: str, upload_id: str, owner: str) -> None:
        completing = (column.state == UploadState.COMPLETING.value) & (column.owner == owner)
        await self._database.write(
            _change,
            key,
            upload_id,
            completing,
            {"state": UploadState.UPLOADING.value, "owner": "", "lease_until": 0.0},
        )

    async def release_owner(self, owner: str | None) -> None:
        """Let others complete at once what `owner`, which has died, was completing. None: whoever it was."""
        completing = column.state == UploadState.COMPLETING.value
        its = completing if owner is None else completing & (column.owner == owner)
        await self._database.write(
            Connection.execute, update(schema.upload).where(its).values(lease_until=0.0)
        )

    async def set_back(self) -> None:
        """Bring times that lie ahead back to now: they were written when the clock was ahead, and whoever counts the
        seconds since then would wait for it."""
        now = time.time()
        if any(max(upload.begun, upload.modified) > now + CLOCK_STEP for upload in await self.live()):
            values = {"begun": func.min(column.begun, now), "modified": func.min(column.modified, now)}
            await self._database.write(Connection.execute, update(schema.upload).values(values))

    async def end(self, key: str, upload_id: str, state: UploadState) -> bool:
        return await self._database.write(_end, key, upload_id, state)

    async def live(self) -> list[Upload]:
        return await self._database.read(live_uploads)

    async def resend(self, key: str, messages: Sequence[Outgoing]) -> None:
        await self._database.write(enqueue, messages)


def _intend(connection: Connection, new: Upload) -> bool:
    begun = new.begun or time.time()
    intent = Upload(
        new.key,
        new.run,
        new.etag,
        new.size,
        new.part_size,
        begun=begun,
        attempts=new.attempts,
        sequencer=new.sequencer,
        source_part=new.source_part,
    )
    values = asdict(intent) | {"state": intent.state.value}
    insert_or_replace = sqlite.insert(schema.upload).values(values)
    written = connection.execute(
        insert_or_replace.on_conflict_do_update(
            index_elements=["key"], set_=values, where=column.state.not_in(LIVE)
        )
    )
    return written.rowcount == 1


def _change(
    connection: Connection, key: str, upload_id: str, condition: ColumnElement[bool], values: dict[str, Any]
) -> bool:
    """Change this very upload if the condition holds."""
    this = (column.key == key, column.upload_id == upload_id, condition)
    return connection.execute(update(schema.upload).where(*this).values(values)).rowcount == 1


def _start(
    connection: Connection, key: str, upload_id: str, parts: Sequence[Part], messages: Sequence[Outgoing]
) -> bool:
    intent = column.state == UploadState.INTENT.value
    values = {
        "state": UploadState.UPLOADING.value,
        "upload_id": upload_id,
        "parts": len(parts),
        "parts_done": sum(1 for part in parts if part.etag),
        "modified": time.time(),
    }
    if not _change(connection, key, "", intent, values):
        return False
    if parts:
        connection.execute(insert(schema.part), [{"key": key, **asdict(part)} for part in parts])
    enqueue(connection, messages)
    return True


def _uploads(connection: Connection, which: ColumnElement[bool]) -> list[Upload]:
    rows = connection.execute(select(schema.upload).where(which).order_by(column.key))
    return [Upload(**row._asdict() | {"state": UploadState(row.state)}) for row in rows]


def live_uploads(connection: Connection) -> list[Upload]:
    """As a rule there are none: that is asked several times a second."""
    if connection.exec_driver_sql(ANY_LIVE, LIVE).first() is None:
        return []
    return _uploads(connection, column.state.in_(LIVE))


ANY_LIVE = "SELECT 1 FROM upload WHERE state IN (?, ?, ?) LIMIT 1"


def _parts(connection: Connection, key: str) -> list[Part]:
    part = schema.part.c
    rows = connection.execute(
        select(part.number, part.etag, part.checksum, part.attempts, part.verified, part.digests)
        .where(part.key == key)
        .order_by(part.number)
    )
    return [Part(**row._asdict() | {"verified": Verified(row.verified)}) for row in rows]


def _part_done(connection: Connection, key: str, upload_id: str, done: Part) -> Upload | None:
    uploading = column.state == UploadState.UPLOADING.value
    this = (column.key == key) & (column.upload_id == upload_id)
    found = _uploads(connection, this & uploading)
    if not found:
        return None
    part = schema.part.c
    write = update(schema.part).where(part.key == key, part.number == done.number).values(asdict(done))
    # A part uploaded twice is counted once, but the store keeps the last bytes and wants the last ETag.
    first = connection.execute(write.where(part.etag == "")).rowcount
    if not first:
        connection.execute(write)
        return found[0]
    _change(
        connection, key, upload_id, uploading, {"parts_done": column.parts_done + 1, "modified": time.time()}
    )
    return _uploads(connection, this)[0]


def _claim(connection: Connection, key: str, upload_id: str, owner: str, lease: float) -> bool:
    now = time.time()
    expired = (column.state == UploadState.COMPLETING.value) & (column.lease_until <= now)
    free = (column.state == UploadState.UPLOADING.value) | expired
    values = {"state": UploadState.COMPLETING.value, "owner": owner, "lease_until": now + lease}
    return _change(connection, key, upload_id, free, values)


def _end(connection: Connection, key: str, upload_id: str, state: UploadState) -> bool:
    values = {"state": state.value, "modified": time.time()}
    if not _change(connection, key, upload_id, column.state.in_(LIVE), values):
        return False
    connection.execute(delete(schema.part).where(schema.part.c.key == key))
    return True
