"""Checks whether a large object that was read in pieces is the source's, by the source's ETag.

The ETag of an object that was uploaded in parts consists of the MD5 of its parts' MD5s and their
number. It shows whether the bytes are right if the size of the parts is known. Stores state it, or
it is guessed from the sizes that clients use. Computing it takes more CPU than all other work on
these bytes. So this is done only if nothing else covers the transfer: the source states no
checksum, and the connection to it is not encrypted.

The ETag of an object that was uploaded in one piece is the MD5 of its bytes in order
(`proof.InOrder`).
"""

import asyncio
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dth.core.errors import Corrupted, ObjectChanged, ObjectRefused, SourceGone
from dth.core.parameters import MIB
from dth.core.ports.uploads import GiantUpload, Part
from dth.objects.store.endpoints import ChecksumMode, EtagKind
from dth.objects.store.etags import is_encrypted, is_md5
from dth.objects.transfer.proof import STEP, read_range, stated_checksums

if TYPE_CHECKING:
    from dth.objects.transfer.relay import ObjectRoute

JOINED = re.compile(r"([0-9a-fA-F]{32})-(\d+)")
PARTS_COUNT = "x-amz-mp-parts-count"
SMALLEST, LARGEST = 5 * MIB, 512 * MIB
MEGABYTE = 1_000_000
# Some callers may not send a HEAD, some stores do not answer it, and some find no parts in an
# object.
UNANSWERED = (ObjectRefused, SourceGone, ObjectChanged)
# HEADs for part sizes that are sent at once.
HEADS = 50


async def look(route: "ObjectRoute", key: str, etag: str, size: int) -> int:
    """The size of the parts from which the source's ETag can be computed. `size` for an object that
    was uploaded in one piece; 0 if the ETag says nothing or need not be checked."""
    source = route.source
    match = JOINED.fullmatch(etag)
    if route.server_side or not _counts(route) or not (match or is_md5(etag)):
        return 0
    try:
        headers = (await source.head(key, etag=etag, checksums=True)).headers
    except UNANSWERED:
        headers = {}
    if ChecksumMode.CRC64NVME in stated_checksums(headers):
        # The checksums of the sent parts give it anyway, or it is computed like an MD5 of the
        # whole.
        return 0 if route.joins_checksums else size
    if is_encrypted(headers):
        return 0
    return await _part_size(route, key, etag, size, int(match[2])) if match else size


def _counts(route: "ObjectRoute") -> bool:
    """Whether the source's ETags are checked at all. A folder confirms nothing that is written to
    it."""
    plain = any(url.startswith("http://") for url in route.source.endpoint.urls)
    alone = route.dest.endpoint.is_folder
    return (
        plain or alone or route.parameters.verify_after
    ) and route.source.capabilities.etags is not EtagKind.OPAQUE


async def _part_size(route: "ObjectRoute", key: str, etag: str, size: int, count: int) -> int:
    """The part size of an object that was uploaded in `count` parts; 0 if it cannot be
    determined."""
    if count == 1:
        return size
    try:
        stated = stated_size((await route.source.head(key, etag=etag, part=1)).headers, count)
    except UNANSWERED:
        stated = 0
    if stated:
        return stated if fits(stated, size, count) else 0
    return guess(size, count, route.source.capabilities.part_sizes)


async def agrees_whole(
    route: "ObjectRoute", key: str, etag: str, headers: Mapping[str, str], chunks: Sequence[bytes]
) -> bool:
    """Whether the ETag of a source that was uploaded in parts confirms the bytes of an object that
    was read as a whole. Raises Corrupted if it contradicts them."""
    match = JOINED.fullmatch(etag)
    if not match or not _counts(route) or is_encrypted(headers):
        return False
    size = sum(map(len, chunks))
    part = await _part_size(route, key, etag, size, int(match[2]))
    upload = GiantUpload(key=key, run=0, etag=etag, size=size, part_size=size, source_part=part)
    sums = Sums(upload)
    sums.update(*chunks)
    return await check(route, upload, [Part(1, digests=sums.hex())])


def stated_size(headers: Mapping[str, str], count: int) -> int:
    """The size of one of `count` parts, from the answer to its HEAD; 0 if the store answers for the
    whole object."""
    return int(headers["content-length"]) if headers.get(PARTS_COUNT) == str(count) else 0


def fits(part: int, size: int, count: int) -> bool:
    """Whether an object of this size consists of `count` parts of this size."""
    return 0 < part <= LARGEST and math.ceil(size / part) == count


def guess(size: int, count: int, known: Mapping[int, int]) -> int:
    """The most likely part size: a size that was right before, then powers of two, then whole MiB,
    then whole MB; 0 if there is none. `known`: by size, how often it was right minus how often it
    was wrong."""
    least = max(math.ceil(size / count), SMALLEST)
    most = min((size - 1) // (count - 1), LARGEST)
    candidates = [1 << power for power in range(SMALLEST.bit_length(), LARGEST.bit_length())]
    for unit in (MIB, MEGABYTE):
        candidates += range(math.ceil(least / unit) * unit, most + 1, unit)
    candidates.sort(key=lambda each: -known.get(each, 0))
    return next(
        (each for each in candidates if least <= each <= most and known.get(each, 0) >= 0), 0
    )


def aligned(part_size: int, source_part: int, size: int) -> int:
    """The part size to use, so that no part of the source is divided."""
    if not 0 < source_part < size:
        return part_size
    return math.ceil(part_size / source_part) * source_part


class Sums:
    """The MD5s of the source's parts in a range of bytes that begins at the start of a part."""

    def __init__(self, upload: GiantUpload) -> None:
        # An object uploaded in one piece has none. An object uploaded in one part must be read as a
        # whole.
        one = upload.part_size == upload.size and JOINED.fullmatch(upload.etag)
        self._part = upload.source_part if upload.source_part < upload.size or one else 0
        self._left = self._part
        self._running = hashlib.md5(usedforsecurity=False)
        self._found = ""

    def update(self, *chunks: bytes) -> None:
        """Add the next bytes of the range."""
        for chunk in chunks:
            rest = memoryview(chunk)
            while self._part and len(rest):
                self._running.update(rest[: self._left])
                taken = min(self._left, len(rest))
                rest = rest[taken:]
                self._left -= taken
                if not self._left:
                    self._next()

    def _next(self) -> None:
        self._found += self._running.hexdigest()
        self._running = hashlib.md5(usedforsecurity=False)
        self._left = self._part

    def hex(self) -> str:
        """All MD5s in hexadecimal, concatenated. The last part may be shorter. Call it once, at the
        end."""
        if self._left < self._part:
            self._next()
        return self._found


def joined_etag(digests: str) -> str:
    """The ETag that S3 computes from these MD5s."""
    count = len(digests) // 32
    return f"{hashlib.md5(bytes.fromhex(digests), usedforsecurity=False).hexdigest()}-{count}"


async def check(route: "ObjectRoute", upload: GiantUpload, parts: Sequence[Part]) -> bool:
    """Whether the ETag of a source that was uploaded in parts confirms the bytes of all parts.
    Raises Corrupted if it contradicts them."""
    every = [part.digests for part in parts]
    if not all(every):
        return False
    digests = "".join(every)
    found = joined_etag(digests)
    if found == upload.etag.lower():
        _learn(route, upload.source_part, 1)
        return True
    if not await _is_contradicted(route, upload, digests):
        return False
    raise Corrupted(
        f"key {upload.key!r}: the source's ETag is {upload.etag}, the bytes that came make {found}",
        code="EtagMismatch",
    )


def _learn(route: "ObjectRoute", part: int, right: int) -> None:
    sizes = route.source.capabilities.part_sizes
    sizes[part] = sizes.get(part, 0) + right


async def _is_contradicted(route: "ObjectRoute", upload: GiantUpload, digests: str) -> bool:
    """Whether parts that do not give the ETag are damaged. They are if the source states that all
    parts have one size. Otherwise the size was a guess, which may be wrong: then the object is read
    again, and the bytes are not damaged if they are the same again."""
    stated = await _stated_sizes(route, upload)
    if stated:
        return all(each == upload.source_part for each in stated[:-1])
    if await _read_again(route, upload) != digests:
        return True
    _learn(route, upload.source_part, -1)
    return False


async def _stated_sizes(route: "ObjectRoute", upload: GiantUpload) -> list[int]:
    """The sizes of all parts as the source states them; empty if it does not."""
    count = int(upload.etag.rpartition("-")[2])
    sizes: list[int] = []
    for first in range(1, count + 1, HEADS):
        numbers = range(first, min(first + HEADS, count + 1))
        heads = [route.source.head(upload.key, etag=upload.etag, part=number) for number in numbers]
        try:
            sizes += [stated_size(answer.headers, count) for answer in await asyncio.gather(*heads)]
        except UNANSWERED:
            return []
        if not all(sizes):
            return []
    return sizes


async def _read_again(route: "ObjectRoute", upload: GiantUpload) -> str:
    sums = Sums(upload)
    for first in range(0, upload.size, STEP):
        sums.update(*await read_range(route.source, upload.key, upload.size, upload.etag, first))
    return sums.hex()
