"""The digest of the records of a run. It is the digest of a set: it is updated as the run proceeds,
in any order, and a record that another run takes over can be removed again.

Each record is hashed to a number of 4,096 bits, and the numbers are added. Finding other records
with the same sum takes about 2^128 steps (a generalized birthday attack on sums of n bits takes
2^(2 sqrt n)).
"""

import hashlib
from dataclasses import dataclass

LENGTH = 512  # bytes of a number
MODULUS = 1 << 8 * LENGTH
ALGORITHM = (
    "SHA-256 over a sum, as 512 bytes (big-endian). The sum is that of one number for each "
    "record, in any order, modulo 2^4096. The number is SHAKE-128, 512 bytes (big-endian), "
    "over the fields key, size (decimal), etag, dest_etag, proof, status and verified of the "
    "record, as UTF-8, every field written as its length in bytes (decimal), ':', the bytes, "
    "','"
)


def framed(*fields: bytes) -> bytes:
    """The fields as bytes, framed so that they can be separated again."""
    return b"".join([b"%d:%b," % (len(field), field) for field in fields])


def number_of(
    key: bytes, size: int, etag: str, dest_etag: str, proof: str, status: str, verified: str
) -> int:
    """The number of one record."""
    texts = [
        text.encode("utf-8", "surrogateescape")
        for text in (etag, dest_etag, proof, status, verified)
    ]
    framed_fields = framed(key, b"%d" % size, *texts)
    return int.from_bytes(hashlib.shake_128(framed_fields).digest(LENGTH), "big")


@dataclass(slots=True)
class Digest:
    """The digest of the records that belong to the run and have ended. `confirmed` counts the DONE
    records that were found to be the same and remembered without a transfer. If not `complete`,
    records are missing: somebody must read them first (`Records.read_digest`)."""

    total: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    confirmed: int = 0
    complete: bool = True

    @property
    def count(self) -> int:
        """The number of records in the digest."""
        return self.done + self.failed + self.cancelled

    def add(
        self,
        key: bytes,
        size: int,
        etag: str,
        dest_etag: str,
        proof: str,
        status: str,
        verified: str,
        attempts: int,
        *,
        times: int = 1,
    ) -> None:
        """Add a record. `times` -1 removes it again."""
        number = number_of(key, size, etag, dest_etag, proof, status, verified)
        self.total = (self.total + times * number) % MODULUS
        match status:
            case "DONE":
                self.done += times
                self.confirmed += times * (not attempts)
            case "FAILED":
                self.failed += times
            case "CANCELLED":
                self.cancelled += times

    def hexdigest(self) -> str:
        """The digest itself, computed as `ALGORITHM` says."""
        return hashlib.sha256(self.total.to_bytes(LENGTH, "big")).hexdigest()
