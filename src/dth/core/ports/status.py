"""How an object ended, and how its copy was verified."""

from enum import StrEnum


class Status(StrEnum):
    """The stored status of one object or image."""

    PENDING = "PENDING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Verified(StrEnum):
    """Who confirmed that a copy is right. Only statements by somebody other than this program
    count."""

    NOT = ""  # nobody
    # The destination answered the checksum of what was sent.
    STORE = "store"
    # The destination's MD5 ETag is the MD5 of the source's bytes.
    ETAG = "etag"
    # A checksum that the source states agrees with the bytes that were sent.
    SOURCE = "source"
    CONTENT = "content"  # the copy was read back and compared
