"""The records of giant uploads and their parts. A change of state is one conditional UPDATE, so
only one caller succeeds.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from sqlite3 import Connection
from typing import Any

from dth.core.ports.queue import Outgoing
from dth.core.ports.status import Verified
from dth.core.ports.uploads import GiantUpload, Part, UploadState
from dth.platforms.local.database import TaskDatabase
from dth.platforms.local.encoding import from_blob, to_blob
from dth.platforms.local.queue import enqueue

# The most seconds ahead that a clock adjustment explains.
CLOCK_STEP = 1.0
LIVE = "state IN ('INTENT', 'UPLOADING', 'COMPLETING')"
THIS = "key = ? AND upload_id = ?"


class LocalUploads:
    """`ports.Uploads` over SQLite."""

    def __init__(self, database: TaskDatabase) -> None:
        self._database = database

    async def intend(self, upload: GiantUpload) -> bool:
        return await self._database.write(_intend, upload)

    async def start(
        self, key: str, upload_id: str, parts: Sequence[Part], messages: Sequence[Outgoing]
    ) -> bool:
        return await self._database.write(_start, key, upload_id, parts, messages)

    async def get(self, key: str) -> GiantUpload | None:
        return await self._database.read(_one, key)

    async def parts(self, key: str) -> list[Part]:
        return await self._database.read(_parts, key)

    async def part_done(self, key: str, upload_id: str, part: Part) -> GiantUpload | None:
        return await self._database.write(_part_done, key, upload_id, part)

    async def claim(self, key: str, upload_id: str, owner: str, lease: float) -> bool:
        return await self._database.write(_claim, key, upload_id, owner, lease)

    async def unclaim(self, key: str, upload_id: str, owner: str) -> None:
        await self._database.execute(UNCLAIM, (to_blob(key), upload_id, owner))

    async def release_owner(self, owner: str | None) -> None:
        """Let others complete at once what the dead process `owner` was completing. None: any
        owner."""
        await self._database.execute(RELEASE_OWNER, {"owner": owner})

    async def set_back(self) -> None:
        """Set times in the future to now. They were written while the clock was ahead; code that
        counts the seconds since then would wait for too long."""
        now = time.time()
        if any(
            max(upload.begun, upload.modified) > now + CLOCK_STEP for upload in await self.live()
        ):
            await self._database.execute(SET_BACK, {"now": now})

    async def end(self, key: str, upload_id: str, state: UploadState) -> bool:
        return await self._database.write(_end, key, upload_id, state)

    async def live(self) -> list[GiantUpload]:
        return await self._database.read(live_uploads)

    async def resend(self, key: str, messages: Sequence[Outgoing]) -> None:
        await self._database.write(enqueue, messages)


UNCLAIM = f"""
    UPDATE upload SET state = 'UPLOADING', owner = '', lease_until = 0
    WHERE {THIS} AND state = 'COMPLETING' AND owner = ?
"""
RELEASE_OWNER = """
    UPDATE upload SET lease_until = 0 WHERE state = 'COMPLETING' AND owner = coalesce(:owner, owner)
"""
SET_BACK = "UPDATE upload SET begun = min(begun, :now), modified = min(modified, :now)"


def _intend(connection: Connection, new: GiantUpload) -> bool:
    intent = GiantUpload(
        new.key,
        new.run,
        new.etag,
        new.size,
        new.part_size,
        begun=new.begun or time.time(),
        attempts=new.attempts,
        sequencer=new.sequencer,
        source_part=new.source_part,
    )
    return connection.execute(INTEND, asdict(intent) | {"key": to_blob(new.key)}).rowcount == 1


UPLOAD = [field.name for field in fields(GiantUpload)]
INTEND = f"""
    INSERT INTO upload ({", ".join(UPLOAD)}) VALUES ({", ".join(f":{name}" for name in UPLOAD)})
    ON CONFLICT (key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in UPLOAD)}
    WHERE NOT upload.{LIVE}
"""


def _start(
    connection: Connection,
    key: str,
    upload_id: str,
    parts: Sequence[Part],
    messages: Sequence[Outgoing],
) -> bool:
    done = sum(1 for part in parts if part.etag)
    values = (upload_id, len(parts), done, time.time(), to_blob(key))
    if not connection.execute(START, values).rowcount:
        return False
    connection.executemany(WRITE_PART, [_part_values(key, part) for part in parts])
    enqueue(connection, messages)
    return True


START = """
    UPDATE upload SET state = 'UPLOADING', upload_id = ?, parts = ?, parts_done = ?, modified = ?
    WHERE key = ? AND upload_id = '' AND state = 'INTENT'
"""
PART = [field.name for field in fields(Part)]
WRITE_PART = (
    f"INSERT INTO part (key, {', '.join(PART)}) VALUES (:key, "
    f"{', '.join(f':{name}' for name in PART)})"
)


def _part_values(key: str, part: Part) -> dict[str, Any]:
    return asdict(part) | {"key": to_blob(key)}


def _one(connection: Connection, key: str) -> GiantUpload | None:
    return next(iter(_uploads(connection, "key = ?", to_blob(key))), None)


def live_uploads(connection: Connection) -> list[GiantUpload]:
    return _uploads(connection, LIVE)


def _uploads(connection: Connection, which: str, *values: Any) -> list[GiantUpload]:
    rows = connection.execute(
        f"SELECT {', '.join(UPLOAD)} FROM upload WHERE {which} ORDER BY key", values
    )
    found = [dict(zip(UPLOAD, row, strict=True)) for row in rows]
    return [
        GiantUpload(**each | {"key": from_blob(each["key"]), "state": UploadState(each["state"])})
        for each in found
    ]


def _parts(connection: Connection, key: str) -> list[Part]:
    rows = connection.execute(READ_PARTS, (to_blob(key),))
    found = [dict(zip(PART, row, strict=True)) for row in rows]
    return [Part(**each | {"verified": Verified(each["verified"])}) for each in found]


READ_PARTS = f"SELECT {', '.join(PART)} FROM part WHERE key = ? ORDER BY number"


def _part_done(connection: Connection, key: str, upload_id: str, done: Part) -> GiantUpload | None:
    this = (to_blob(key), upload_id)
    found = _uploads(connection, f"{THIS} AND state = 'UPLOADING'", *this)
    if not found:
        return None
    values = _part_values(key, done)
    # A part that was uploaded twice is counted once, but the store keeps the last bytes and expects
    # the last ETag.
    if not connection.execute(f"{CHANGE_PART} AND etag = ''", values).rowcount:
        connection.execute(CHANGE_PART, values)
        return found[0]
    connection.execute(COUNT_PART, (time.time(), *this))
    return _uploads(connection, THIS, *this)[0]


CHANGE_PART = f"""
    UPDATE part SET {", ".join(f"{name} = :{name}" for name in PART)} WHERE key = :key AND number = :number
"""
COUNT_PART = f"UPDATE upload SET parts_done = parts_done + 1, modified = ? WHERE {THIS}"


def _claim(connection: Connection, key: str, upload_id: str, owner: str, lease: float) -> bool:
    now = time.time()
    return (
        connection.execute(CLAIM, (owner, now + lease, to_blob(key), upload_id, now)).rowcount == 1
    )


CLAIM = f"""
    UPDATE upload SET state = 'COMPLETING', owner = ?, lease_until = ?
    WHERE {THIS} AND (state = 'UPLOADING' OR state = 'COMPLETING' AND lease_until <= ?)
"""


def _end(connection: Connection, key: str, upload_id: str, state: UploadState) -> bool:
    values = (state.value, time.time(), to_blob(key), upload_id)
    if not connection.execute(END, values).rowcount:
        return False
    connection.execute("DELETE FROM part WHERE key = ?", (to_blob(key),))
    return True


END = f"UPDATE upload SET state = ?, modified = ? WHERE {THIS} AND {LIVE}"
