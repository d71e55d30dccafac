"""Compares the bytes of stored objects on both sides.

They are read in ranges and not kept, so memory use is constant and no disk is needed.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dth.core.errors import Damaged
from dth.core.task_group import together
from dth.objects.compare.merge import Evidence
from dth.objects.listing.pages import ListedObject
from dth.objects.store.checksums import Checksum
from dth.objects.store.client import S3Client
from dth.objects.store.endpoints import ChecksumMode, EtagKind
from dth.objects.store.etags import is_md5
from dth.objects.transfer.proof import STEP, read_range

if TYPE_CHECKING:
    from dth.objects.transfer.relay import ObjectRoute

LANES = 4  # ranges of one object compared at once


async def same_contents(route: "ObjectRoute", source: ListedObject, dest: ListedObject) -> bool:
    """Whether two objects of equal size have the same bytes. Stops at the first range that differs.
    Memory is taken from the route's budget."""
    size, there = source.size, route.keys.to_dest(source.key)
    needed = 2 * min(size, STEP)

    async def same(first: int) -> bool:
        await route.budget.acquire(needed)
        try:
            one, other = await together(
                [
                    read_range(route.source, source.key, size, source.etag, first),
                    read_range(route.dest, there, size, dest.etag, first),
                ]
            )
            return equal(one, other)
        finally:
            route.budget.release(needed)

    for begin in range(0, size, LANES * STEP):
        firsts = range(begin, min(begin + LANES * STEP, size), STEP)
        if not all(await together(map(same, firsts))):
            return False
    return True


async def check_contents(
    route: "ObjectRoute", source: ListedObject, dest_etag: str, version: str = ""
) -> None:
    """Read an object on both sides after it was copied. Raises Damaged if the copy has different
    bytes."""
    if not await same_contents(route, source, ListedObject(source.key, source.size, dest_etag)):
        raise Damaged(
            f"key {source.key!r}: the copy that was read back is not what the source has",
            code="ContentMismatch",
            etag=dest_etag,
            version=version,
        )


async def with_sums_of_files(
    route: "ObjectRoute", source: ListedObject, dest: ListedObject, here: Evidence, there: Evidence
) -> tuple[Evidence, Evidence]:
    """What is known of both sides, with the checksums that a folder does not state. Its file is
    read for those that the other side states."""
    ends = ((route.source, source, here), (route.dest, dest, there))
    if not any(client.endpoint.is_folder for client, _, _ in ends):
        return here, there
    stated = [_stated(client, entry, head) for client, entry, head in ends]
    every = all(client.endpoint.is_folder for client, _, _ in ends)
    wanted = {ChecksumMode.CRC64NVME} if every else stated[0].keys() | stated[1].keys()
    keys = (source.key, route.keys.to_dest(dest.key))
    found = []
    for (client, entry, head), key, sums in zip(ends, keys, stated, strict=True):
        if client.endpoint.is_folder:
            sums = await _computed(client, key, entry, wanted)
        found.append(replace(head, checksums=sums))
    return found[0], found[1]


def _stated(client: S3Client, entry: ListedObject, head: Evidence) -> dict[str, str]:
    """The checksums that a store states, the MD5 in an ETag among them."""
    sums = dict(head.checksums)
    opaque = head.encrypted or client.capabilities.etags is EtagKind.OPAQUE
    if is_md5(entry.etag) and not opaque:
        sums[ChecksumMode.MD5] = b64encode(bytes.fromhex(entry.etag)).decode()
    return sums


async def _computed(
    client: S3Client, key: str, entry: ListedObject, wanted: Iterable[str]
) -> dict[str, str]:
    running = {mode: Checksum(mode) for mode in wanted}
    for first in range(0, entry.size if running else 0, STEP):
        chunks = await read_range(client, key, entry.size, entry.etag, first)
        for each in running.values():
            each.update(*chunks)
    return {mode: each.base64() for mode, each in running.items()}


def equal(one: Sequence[bytes], other: Sequence[bytes]) -> bool:
    """Whether two bodies in pieces are the same, however they are split."""
    if sum(map(len, one)) != sum(map(len, other)):
        return False
    others = iter(other)
    rest = b""
    for chunk in one:
        offset = 0
        while offset < len(chunk):
            rest = rest or next(others)
            length = min(len(chunk) - offset, len(rest))
            if chunk[offset : offset + length] != rest[:length]:
                return False
            offset, rest = offset + length, rest[length:]
    return True


def in_sample(key: str, percent: float) -> bool:
    """Whether the key belongs to a sample of this size. It is always the same keys."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < percent / 100 * 2**64
