"""One object alone: a copy of it under any key, and its bytes from and to a stream."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from itertools import islice

from dth.core.errors import Damaged, SourceGone, TransferError, Transient, UsageError
from dth.core.ports.status import Verified
from dth.core.ports.uploads import Uploads
from dth.core.task_group import Group
from dth.objects.parameters import S3Parameters
from dth.objects.store.client import S3Client
from dth.objects.store.endpoints import ChecksumMode, EtagKind
from dth.objects.store.etags import bare_etag, is_md5
from dth.objects.store.immediate_retry import retry
from dth.objects.store.objects import StoreWrite
from dth.objects.transfer.messages import ObjectItem
from dth.objects.transfer.multipart import (
    CRC64,
    MAX_PARTS,
    Multipart,
    contradicts,
    is_older,
    joined_etag,
    joined_proof,
    part_size_for,
)
from dth.objects.transfer.proof import Stated, confirm, in_order, read_back, remove_damaged
from dth.objects.transfer.relay import (
    COPY_LIMIT,
    CopiedObject,
    ObjectRoute,
    asked_for,
    copy_in_store,
    insisted,
    relay_whole,
)

PIECE = 8 * 1024 * 1024  # bytes that are read at once
AHEAD = 8  # pieces or parts in memory
OWNER = "single"

Chunks = AsyncIterator[bytes]
Write = Callable[[Sequence[bytes]], Awaitable[None]]


async def look(source: S3Client, key: str) -> ObjectItem:
    """The object as it is now. Raises SourceGone if there is none."""
    headers = (await source.head(key)).headers
    etag = bare_etag(headers.get("etag", ""))
    if not etag:
        raise source.bad_answer("HEAD", key, "no ETag")
    return ObjectItem(key, int(headers["content-length"]), etag)


async def copy_object(
    route: ObjectRoute, uploads: Uploads, run: int, item: ObjectItem
) -> CopiedObject:
    """Copy the object. `uploads` keeps what is done of one in parts, and a later call with it
    continues there."""
    return await retry(lambda: _copy(route, uploads, run, item))


async def _copy(route: ObjectRoute, uploads: Uploads, run: int, item: ObjectItem) -> CopiedObject:
    if (
        route.server_side
        and item.size <= COPY_LIMIT
        and (copied := await copy_in_store(route, item))
    ):
        return copied
    if item.size <= route.parameters.multipart_threshold:
        return await relay_whole(route, item)
    multipart = Multipart(route, uploads, OWNER)
    upload, copied = await multipart.transfer(run, item)
    await multipart.finish(upload)
    return copied


async def read_object(source: S3Client, item: ObjectItem, write: Write) -> Verified:
    """Give the bytes of the object to `write`, in order. Returns who confirms them. Raises
    Corrupted if they are not what the source states; of an object of one piece nothing was written
    then."""
    whole = await in_order(source, item.key, item.size, item.etag, joined=False)
    number = 0
    async with contextlib.aclosing(_pieces(source, item)) as pieces:
        async for chunks in pieces:
            number += 1
            if whole:
                await whole.add(number, chunks)
                if item.size <= PIECE:
                    whole.check()
            await write(chunks)
    if whole:
        whole.check()
    return Verified.SOURCE if whole else Verified.NOT


async def _pieces(source: S3Client, item: ObjectItem) -> AsyncGenerator[Sequence[bytes]]:
    """The object in pieces, of which some are read ahead."""

    async def read(first: int) -> Sequence[bytes]:
        span = (first, min(first + PIECE, item.size) - 1) if item.size > PIECE else None
        return (await source.get(item.key, size=item.size, etag=item.etag, span=span)).chunks

    # An empty object is read too.
    beginnings = iter(range(0, max(item.size, 1), PIECE))
    reading = deque(asyncio.create_task(read(first)) for first in islice(beginnings, AHEAD))
    try:
        while reading:
            chunks = await reading[0]
            reading.popleft()
            for first in islice(beginnings, 1):
                reading.append(asyncio.create_task(read(first)))
            yield chunks
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


async def write_object(
    dest: S3Client,
    key: str,
    chunks: Chunks,
    parameters: S3Parameters,
    headers: Mapping[str, str],
    size: int = 0,
) -> CopiedObject:
    """Write what comes to this key. `headers`: of the object. `size`: the size that is expected; 0
    is unknown. A larger object needs larger parts, because an upload has a limited number of
    them."""
    sent = {**headers, **asked_for(parameters)}
    beginning: list[bytes] = []
    length = 0
    async for chunk in chunks:
        beginning.append(chunk)
        length += len(chunk)
        if length > parameters.multipart_threshold:
            break
    if length <= parameters.multipart_threshold:
        return await _put(dest, key, beginning, sent, insisted(parameters), length)
    part_size = part_size_for(size, parameters.part_size, dest.capabilities.most_parts)
    return await _Upload(dest, key, part_size, sent).write(
        _again(beginning, chunks), insisted(parameters)
    )


async def _again(beginning: list[bytes], rest: Chunks) -> Chunks:
    for chunk in beginning:
        yield chunk
    beginning.clear()
    async for chunk in rest:
        yield chunk


async def _put(
    dest: S3Client,
    key: str,
    chunks: list[bytes],
    headers: dict[str, str],
    insist: frozenset[str],
    size: int,
) -> CopiedObject:
    try:
        written = await dest.put(key, chunks, headers, insist=insist)
        verified = await confirm(dest, key, chunks, headers, written, Stated())
    except Damaged as damage:
        await remove_damaged(dest, key, damage)
        raise
    return CopiedObject("", written.etag, written.proof, size, verified)


class _Upload:
    """An object of unknown size, in parts."""

    def __init__(self, dest: S3Client, key: str, part_size: int, headers: dict[str, str]) -> None:
        self._dest = dest
        self._key = key
        self._part_size = part_size
        self._headers = headers
        self._id = ""
        self._lengths: list[int] = []
        self._sent: list[StoreWrite] = []

    async def write(self, chunks: Chunks, insist: frozenset[str]) -> CopiedObject:
        """Write all parts and join them. If that fails, nothing is left of the upload."""
        begun = time.time()
        self._id = await self._dest.create_upload(self._key, self._headers, insist=insist)
        try:
            await self._write_parts(chunks)
            named = [(number, part.etag, part.proof) for number, part in enumerate(self._sent, 1)]
            etag, answered = await self._dest.complete_upload(self._key, self._id, named)
            await self._check_joined(etag, answered, begun)
        except Damaged as damage:
            await remove_damaged(self._dest, self._key, damage)
            raise
        except BaseException:
            with contextlib.suppress(TransferError):
                await self._dest.abort_upload(self._key, self._id)
            raise
        confirmed = all(part.confirmed for part in self._sent)
        verified = (
            Verified.STORE
            if confirmed
            else Verified.ETAG
            if all(map(_by_etag, self._sent))
            else Verified.NOT
        )
        size = sum(self._lengths)
        return CopiedObject("", etag, CRC64 + answered if answered else "", size, verified)

    async def _check_joined(self, etag: str, answered: str, begun: float) -> None:
        """Look at the joined object, unless the answer shows that it is made of these parts. Raises
        Damaged, or Transient if it is another object."""
        dest, key, size = self._dest, self._key, sum(self._lengths)
        proof = joined_proof([part.proof for part in self._sent], self._lengths)
        joined = joined_etag([part.etag for part in self._sent])
        odd = contradicts(etag, joined) and await dest.gives_md5s(key, self._headers) is not False
        if etag.lower() == joined or (proof and proof == CRC64 + answered and not odd):
            return
        try:
            headers = (await dest.head(key)).headers
        except SourceGone:
            headers = {}
        except TransferError:
            # Whoever may write may not always read.
            return
        if not headers or is_older(dest, begun, headers):
            where, there = dest.where("POST", key), "an older object" if headers else "no object"
            text = f"{where}: the store answered that it joined the parts, but has {there}"
            raise Transient(text, code="NotStored")
        stored = ""
        if headers["content-length"] == str(size) and odd and proof:
            # The ETag means damage, or that this store makes ETags in another way.
            stored = CRC64 + await read_back(dest, key, size, etag, ChecksumMode.CRC64NVME)
        if headers["content-length"] != str(size) or stored not in ("", proof):
            raise Damaged(
                f"key {key!r}: the copy is not what was sent", code="ContentMismatch", etag=etag
            )

    async def _write_parts(self, chunks: Chunks) -> None:
        async with Group() as group:
            sending: list[asyncio.Task[StoreWrite]] = []
            async for body in _parts(chunks, self._part_size):
                number = len(self._sent) + len(sending) + 1
                if number > min(MAX_PARTS, self._dest.capabilities.most_parts):
                    raise UsageError(
                        f"more than {number - 1} parts of {self._part_size // 1024**2} MiB "
                        "came, and a store takes no more; say how much comes: --expected-size"
                    )
                self._lengths.append(sum(map(len, body)))
                if number == 1:
                    # It shows what the store answers.
                    self._sent.append(await self._send(number, body))
                    continue
                sending.append(group.start(self._send(number, body)))
                if len(sending) == AHEAD:
                    self._sent.append(await sending.pop(0))
            for each in sending:
                self._sent.append(await each)

    async def _send(self, number: int, body: list[bytes]) -> StoreWrite:
        return await retry(lambda: self._send_once(number, body))

    async def _send_once(self, number: int, body: list[bytes]) -> StoreWrite:
        written = await self._dest.upload_part(self._key, self._id, number, body)
        comparable = written.md5 and is_md5(written.etag) and not written.encrypted
        opaque = self._dest.capabilities.etags is EtagKind.OPAQUE
        if not comparable or opaque or _by_etag(written):
            return written
        if await self._dest.gives_md5s(self._key, self._headers) is not False:
            raise Damaged(
                f"part {number} of key {self._key!r}: the destination's ETag is {written.etag}, "
                f"the bytes sent have the MD5 {written.md5}",
                code="EtagMismatch",
            )
        return written


def _by_etag(written: StoreWrite) -> bool:
    return bool(written.md5) and written.etag.lower() == written.md5


async def _parts(chunks: Chunks, size: int) -> AsyncIterator[list[bytes]]:
    """The same bytes, in parts of `size` bytes; the last one is shorter."""
    part: list[bytes] = []
    left = size
    async for chunk in chunks:
        rest = memoryview(chunk)
        while len(rest) >= left:
            part.append(bytes(rest[:left]))
            rest = rest[left:]
            yield part
            part, left = [], size
        if rest:
            part.append(bytes(rest))
            left -= len(rest)
    if part:
        yield part
