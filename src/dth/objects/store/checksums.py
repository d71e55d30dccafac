"""The checksums of bodies, in the format of the headers that stores verify them by.

They are computed by the standard library, by the C extension, and by awscrt.
"""

import hashlib
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from typing import Any

from dth.core import native
from dth.objects.store.endpoints import ChecksumMode


def _crc64nvme(chunk: bytes, total: int) -> int:
    return _from_crt(ChecksumMode.CRC64NVME)(chunk, total)


def _crc32c(chunk: bytes, total: int) -> int:
    return _from_crt(ChecksumMode.CRC32C)(chunk, total)


def _from_crt(mode: ChecksumMode) -> Callable[[bytes, int], int]:
    """The function of awscrt, which replaces this detour in `CRCS`. It is loaded on first use,
    because loading takes as long as a run of a few objects, and a run that finds nothing to do does
    not need it."""
    from awscrt import checksums

    add: Callable[[bytes, int], int] = getattr(checksums, mode.value)
    CRCS[mode] = (add, CRCS[mode][1])
    return add


# The function that adds a chunk to the sum so far, and the length of the sum in bytes.
CRCS: dict[str, tuple[Callable[[bytes, int], int], int]] = {
    ChecksumMode.CRC64NVME: (native.crc64nvme() or _crc64nvme, 8),
    ChecksumMode.CRC32C: (_crc32c, 4),
    ChecksumMode.CRC32: (zlib.crc32, 4),
}
HASHES: dict[str, Callable[..., Any]] = {
    ChecksumMode.SHA256: hashlib.sha256,
    ChecksumMode.MD5: hashlib.md5,
    # Never sent, but stated by some sources.
    "sha1": hashlib.sha1,
    "sha512": hashlib.sha512,
}
# The algorithms that a source may state, the cheapest first.
ALGORITHMS = (*CRCS, "sha1", ChecksumMode.SHA256, "sha512", ChecksumMode.MD5)


def header_name(mode: ChecksumMode) -> str:
    """The request header for this checksum; "" for none."""
    if mode is ChecksumMode.NONE:
        return ""
    return "content-md5" if mode is ChecksumMode.MD5 else f"x-amz-checksum-{mode}"


class Checksum:
    """A running checksum."""

    __slots__ = ("_add", "_hash", "_sum", "_width", "mode")

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._sum = 0
        self._add: Callable[[bytes, int], int] | None
        self._add, self._width = CRCS.get(mode, (None, 0))
        self._hash = HASHES[mode](usedforsecurity=False) if mode in HASHES else None

    def update(self, *chunks: bytes) -> None:
        """Add chunks to the checksum."""
        if self._add:
            add, total = self._add, self._sum
            for chunk in chunks:
                total = add(chunk, total)
            self._sum = total
        elif self._hash:
            for chunk in chunks:
                self._hash.update(chunk)

    def base64(self) -> str:
        """The checksum in base64, as headers state it."""
        return b64encode(self._digest()).decode()

    def hex(self) -> str:
        """The checksum in hexadecimal."""
        return self._digest().hex()

    def _digest(self) -> bytes:
        return bytes(self._hash.digest()) if self._hash else self._sum.to_bytes(self._width, "big")


def checksum(mode: str, chunks: Iterable[bytes]) -> str:
    """The base64 checksum of a body in pieces; "" for none."""
    if mode == ChecksumMode.CRC64NVME and isinstance(chunks, native.SummedBody):
        return b64encode(chunks.crc64nvme.to_bytes(8, "big")).decode()
    if mode in CRCS:
        # The fast path for every small object, without the overhead of a running checksum.
        add, width = CRCS[mode]
        total = 0
        for chunk in chunks:
            total = add(chunk, total)
        return b64encode(total.to_bytes(width, "big")).decode()
    running = Checksum(mode)
    running.update(*chunks)
    return running.base64()


def join_crc64(parts: Iterable[tuple[str, int]]) -> str:
    """The CRC64NVME of the whole, from (base64, length in bytes) of its parts in order."""
    from awscrt import checksums as crt

    total = 0
    for text, length in parts:
        total = crt.combine_crc64nvme(total, int.from_bytes(b64decode(text), "big"), length)
    return b64encode(total.to_bytes(8, "big")).decode()
