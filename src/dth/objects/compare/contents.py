"""Compares the bytes of stored objects on both sides.

They are read in ranges and not kept, so memory use is constant and no disk is needed.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dth.core.errors import Damaged
from dth.objects.listing.pages import ListedObject
from dth.objects.transfer.group import together
from dth.objects.transfer.proof import STEP, read_range

if TYPE_CHECKING:
    from dth.objects.transfer.relay import ObjectRoute

LANES = 4  # ranges of one object compared at once


async def same_contents(route: "ObjectRoute", source: ListedObject, dest: ListedObject) -> bool:
    """Whether two objects of equal size have the same bytes. Stops at the first range that differs. Memory is taken
    from the route's budget."""
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
    """Read an object on both sides after it was copied. Raises Damaged if the copy has different bytes."""
    if not await same_contents(route, source, ListedObject(source.key, source.size, dest_etag)):
        raise Damaged(
            f"key {source.key!r}: the copy that was read back is not what the source has",
            code="ContentMismatch",
            etag=dest_etag,
            version=version,
        )


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
