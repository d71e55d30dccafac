"""The records of giant uploads and their parts. A change of state is one conditional UPDATE, so
only one caller succeeds.
"""

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from dth.core.ports.queue import Outgoing
from dth.core.ports.status import Verified
from dth.core.ports.uploads import GiantUpload, Part, UploadState
from dth.platforms.postgres.database import NOW, PostgresDatabase, Work
from dth.platforms.postgres.encoding import from_bytes, to_bytes
from dth.platforms.postgres.queue import enqueue

LIVE = "state IN ('INTENT', 'UPLOADING', 'COMPLETING')"
THIS = "task = {n} AND key = %s AND upload_id = %s"


class PostgresUploads:
    """`ports.Uploads` over PostgreSQL."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def intend(self, upload: GiantUpload) -> bool:
        intent = GiantUpload(
            upload.key,
            upload.run,
            upload.etag,
            upload.size,
            upload.part_size,
            begun=upload.begun,
            attempts=upload.attempts,
            sequencer=upload.sequencer,
            source_part=upload.source_part,
        )
        values = asdict(intent) | {"key": to_bytes(upload.key), "state": intent.state.value}
        return bool(await self._database.rows(INTEND, values, taken=INTENDED))

    async def start(
        self, key: str, upload_id: str, parts: Sequence[Part], messages: Sequence[Outgoing]
    ) -> bool:
        return await self._database.write(_start, key, upload_id, parts, messages)

    async def get(self, key: str) -> GiantUpload | None:
        return next(iter(await read_uploads(self._database, "key = %s", to_bytes(key))), None)

    async def parts(self, key: str) -> list[Part]:
        found = [
            dict(zip(PART, row, strict=True))
            for row in await self._database.rows(READ_PARTS, (to_bytes(key),))
        ]
        return [Part(**each | {"verified": Verified(each["verified"])}) for each in found]

    async def part_done(self, key: str, upload_id: str, part: Part) -> GiantUpload | None:
        return await self._database.write(_part_done, key, upload_id, part)

    async def claim(self, key: str, upload_id: str, owner: str, lease: float) -> bool:
        values = {"owner": owner, "lease": lease, "key": to_bytes(key), "upload_id": upload_id}
        return bool(await self._database.rows(CLAIM, values, taken=CLAIMED))

    async def unclaim(self, key: str, upload_id: str, owner: str) -> None:
        await self._database.change(UNCLAIM, (to_bytes(key), upload_id, owner))

    async def release_owner(self, owner: str) -> None:
        """Let others complete at once what the dead process `owner` was completing."""
        await self._database.change(RELEASE_OWNER, (owner,))

    async def end(self, key: str, upload_id: str, state: UploadState) -> bool:
        return await self._database.write(_end, key, upload_id, state)

    async def live(self) -> list[GiantUpload]:
        return await read_uploads(self._database, LIVE)

    async def resend(self, key: str, messages: Sequence[Outgoing]) -> None:
        await self._database.write(enqueue, messages)


UPLOAD = [field.name for field in fields(GiantUpload)]
PART = [field.name for field in fields(Part)]

_INTENT = [f"%({name})s" for name in UPLOAD]
_INTENT[UPLOAD.index("begun")] = f"coalesce(nullif(%(begun)s::float8, 0), {NOW})"
INTEND = f"""
    INSERT INTO dth.upload AS upload (task, {", ".join(UPLOAD)}) VALUES ({{n}}, {", ".join(_INTENT)})
    ON CONFLICT (task, key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in UPLOAD)}
    WHERE NOT upload.{LIVE}
    RETURNING 1
"""
# Of two that take this for theirs, one will start the upload.
INTENDED = """
    SELECT 1 FROM dth.upload
    WHERE task = {n} AND key = %(key)s AND run = %(run)s AND state = 'INTENT' AND upload_id = ''
"""


async def _start(
    work: Work, key: str, upload_id: str, parts: Sequence[Part], messages: Sequence[Outgoing]
) -> bool:
    done = sum(1 for part in parts if part.etag)
    if not await work.change(START, (upload_id, len(parts), done, to_bytes(key))):
        return False
    if parts:
        columns = {name: [getattr(part, name) for part in parts] for name in PART}
        await work.change(WRITE_PARTS, columns | {"key": to_bytes(key)})
    await enqueue(work, messages)
    return True


START = f"""
    UPDATE dth.upload SET state = 'UPLOADING', upload_id = %s, parts = %s, parts_done = %s, modified = {NOW}
    WHERE task = {{n}} AND key = %s AND upload_id = '' AND state = 'INTENT'
"""
KINDS = {name: "int" if name in ("number", "attempts") else "text" for name in PART}
WRITE_PARTS = f"""
    INSERT INTO dth.part (task, key, {", ".join(PART)})
    SELECT {{n}}, %(key)s, {", ".join(PART)}
    FROM unnest({", ".join(f"%({name})s::{kind}[]" for name, kind in KINDS.items())}) AS new ({", ".join(PART)})
"""
READ_PARTS = (
    f"SELECT {', '.join(PART)} FROM dth.part WHERE task = {{n}} AND key = %s ORDER BY number"
)


async def read_uploads(
    work: Work | PostgresDatabase, which: str, *values: Any
) -> list[GiantUpload]:
    """The uploads that match a condition, by key."""
    query = (
        f"SELECT {', '.join(UPLOAD)} FROM dth.upload WHERE task = {{n}} AND {which} ORDER BY key"
    )
    found = [dict(zip(UPLOAD, row, strict=True)) for row in await work.rows(query, values)]
    return [
        GiantUpload(**each | {"key": from_bytes(each["key"]), "state": UploadState(each["state"])})
        for each in found
    ]


async def _part_done(work: Work, key: str, upload_id: str, done: Part) -> GiantUpload | None:
    this = (to_bytes(key), upload_id)
    if not await work.rows(
        f"SELECT FROM dth.upload WHERE {THIS} AND state = 'UPLOADING' FOR UPDATE", this
    ):
        return None
    values = asdict(done) | {"key": this[0], "verified": done.verified.value}
    # A part that was uploaded twice is counted once, but the store keeps the last bytes and expects
    # the last ETag.
    if await work.change(f"{CHANGE_PART} AND etag = ''", values):
        await work.change(COUNT_PART, this)
    else:
        await work.change(CHANGE_PART, values)
    [upload] = await read_uploads(work, "key = %s AND upload_id = %s", *this)
    return upload


CHANGE_PART = f"""
    UPDATE dth.part SET {", ".join(f"{name} = %({name})s" for name in PART)}
    WHERE task = {{n}} AND key = %(key)s AND number = %(number)s
"""
COUNT_PART = f"UPDATE dth.upload SET parts_done = parts_done + 1, modified = {NOW} WHERE {THIS}"
CLAIM = f"""
    UPDATE dth.upload SET state = 'COMPLETING', owner = %(owner)s,
        lease_until = {NOW} + %(lease)s::float8
    WHERE task = {{n}} AND key = %(key)s AND upload_id = %(upload_id)s
        AND (state = 'UPLOADING' OR state = 'COMPLETING' AND lease_until <= {NOW})
    RETURNING 1
"""
CLAIMED = """
    SELECT 1 FROM dth.upload
    WHERE task = {n} AND key = %(key)s AND upload_id = %(upload_id)s AND state = 'COMPLETING'
        AND owner = %(owner)s
"""
UNCLAIM = f"""
    UPDATE dth.upload SET state = 'UPLOADING', owner = '', lease_until = 0
    WHERE {THIS} AND state = 'COMPLETING' AND owner = %s
"""
RELEASE_OWNER = (
    "UPDATE dth.upload SET lease_until = 0 WHERE task = {n} AND state = 'COMPLETING' AND owner = %s"
)


async def _end(work: Work, key: str, upload_id: str, state: UploadState) -> bool:
    if not await work.change(END, (state.value, to_bytes(key), upload_id)):
        return False
    await work.change("DELETE FROM dth.part WHERE task = {n} AND key = %s", (to_bytes(key),))
    return True


END = f"UPDATE dth.upload SET state = %s, modified = {NOW} WHERE {THIS} AND {LIVE}"
