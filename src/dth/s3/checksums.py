"""Checksums of bodies, as the headers that stores verify them by.

The sums come from awscrt and the standard library; joining CRC64s of parts into the one of the whole object follows
zlib's crc32_combine (a CRC is linear: appending n zero bytes is a matrix raised to n).
"""

import hashlib
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable
from functools import lru_cache

from awscrt import checksums as crt

from dth.s3.endpoints import ChecksumMode

CRC64NVME_POLYNOMIAL = 0x9A6C9329AC4BC9B5  # reflected form, as in the NVM Express specification


def header_name(mode: ChecksumMode) -> str:
    """The request header that carries this checksum; "" for none."""
    if mode is ChecksumMode.NONE:
        return ""
    return "content-md5" if mode is ChecksumMode.MD5 else f"x-amz-checksum-{mode}"


class Checksum:
    """A running checksum in base64, as the headers want it."""

    __slots__ = ("_crc", "_hash", "mode")

    def __init__(self, mode: ChecksumMode) -> None:
        self.mode = mode
        self._crc = 0
        self._hash = hashlib.md5(usedforsecurity=False) if mode is ChecksumMode.MD5 else hashlib.sha256()

    def update(self, chunk: bytes) -> None:
        match self.mode:
            case ChecksumMode.CRC64NVME:
                self._crc = crt.crc64nvme(chunk, self._crc)
            case ChecksumMode.CRC32C:
                self._crc = crt.crc32c(chunk, self._crc)
            case ChecksumMode.CRC32:
                self._crc = zlib.crc32(chunk, self._crc)
            case ChecksumMode.SHA256 | ChecksumMode.MD5:
                self._hash.update(chunk)
            case ChecksumMode.NONE:
                pass

    def base64(self) -> str:
        match self.mode:
            case ChecksumMode.CRC64NVME:
                return b64encode(self._crc.to_bytes(8, "big")).decode()
            case ChecksumMode.CRC32C | ChecksumMode.CRC32:
                return b64encode(self._crc.to_bytes(4, "big")).decode()
            case ChecksumMode.SHA256 | ChecksumMode.MD5:
                return b64encode(self._hash.digest()).decode()
            case ChecksumMode.NONE:
                return ""


def checksum(mode: ChecksumMode, chunks: Iterable[bytes]) -> str:
    """The checksum of a body in pieces, in base64; "" for none."""
    running = Checksum(mode)
    for chunk in chunks:
        running.update(chunk)
    return running.base64()


def join_crc64(parts: Iterable[tuple[str, int]]) -> str:
    """The CRC64NVME of a whole from its parts' (base64, length in bytes), in order."""
    total = 0
    for text, length in parts:
        total = _append_zeros(total, length) ^ int.from_bytes(b64decode(text), "big")
    return b64encode(total.to_bytes(8, "big")).decode()


def _append_zeros(crc: int, count: int) -> int:
    """The CRC register after `count` zero bytes (initial and final inversion cancel in the combination)."""
    return _times(_zeros(count), crc)


@lru_cache(maxsize=16)
def _zeros(count: int) -> tuple[int, ...]:
    """The matrix (rows of 64 bits) that appends `count` zero bytes; parts of one size share it."""
    power = (CRC64NVME_POLYNOMIAL, *(1 << n for n in range(63)))  # one zero bit
    for _ in range(3):
        power = _product(power, power)  # one zero byte
    result = tuple(1 << n for n in range(64))
    while count:
        if count & 1:
            result = _product(power, result)
        power = _product(power, power)
        count >>= 1
    return result


def _times(matrix: tuple[int, ...], vector: int) -> int:
    result = 0
    row = 0
    while vector:
        if vector & 1:
            result ^= matrix[row]
        vector >>= 1
        row += 1
    return result


def _product(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_times(left, row) for row in right)
