"""How an object ended, and what its copy was verified by."""

from enum import StrEnum


class Status(StrEnum):
    """The lasting status of one object or image."""

    PENDING = "PENDING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Verified(StrEnum):
    """Who confirmed that a copy is right. Only what somebody other than this program stated counts."""

    NOT = ""  # nobody
    STORE = "store"  # the destination answered the checksum of what was sent
    ETAG = "etag"  # the destination's MD5 ETag is the MD5 of the source's bytes
    SOURCE = "source"  # a checksum that the source states agrees with the bytes that were sent
    CONTENT = "content"  # the copy was read back and compared
