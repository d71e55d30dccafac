"""Every error the hub raises, as a class that says what to do about it.

`Disposition` is what a worker acts on; the command line maps `UsageError` to exit code 2 and any other
`HubError` to exit code 1. A message is one line: what is wrong, where, and what to do.
"""

import errno
import re
from enum import Enum
from typing import ClassVar


class Disposition(Enum):
    """What follows from an error."""

    RETRY = "retry"  # passing: try again now with backoff, later through the queue
    REFUSED = "refused"  # this object will never pass as it is: dead-letter at once
    GONE = "gone"  # the source object no longer exists: cancel it
    CHANGED = "changed"  # the source object is another one now: look again and requeue
    ENDPOINT = (
        "endpoint"  # nothing can pass (credentials, clock, bucket, KMS): pause the task, spend no attempt
    )


class HubError(Exception):
    """Base of all errors that are told to a user, as one line."""


class UsageError(HubError):
    """The caller asked for something that makes no sense; nothing was started."""


class NotFound(UsageError):
    """What the caller names does not exist, or not for this caller."""


class BeingSetUp(NotFound):
    """What a task keeps is not there yet, and will be."""


class Conflict(UsageError):
    """What the caller asks for does not go with how things stand now."""


class Unauthenticated(HubError):
    """Nobody in particular calls: no token, or one that does not hold."""


class Forbidden(HubError):
    """The caller is known, but may not do this."""


class StateError(HubError):
    """The state directory cannot be used: locked, full, on a network file system, or of a newer version."""


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MAKE_ROOM = "free some space and try again, nothing is lost"


def full_disk(error: BaseException) -> str:
    """One line for an error that says that a disk is full, or a quota or limit is reached; "" for any other."""
    if not isinstance(error, OSError) or error.errno not in FULL:
        return ""
    where = f"{error.filename} cannot be written: " if error.filename else ""
    return f"{where}{error.strerror}; {MAKE_ROOM}"


class ListingFailed(HubError):
    """A part of a listing could not be read; the run fails, because a missing listing is not an empty one."""


class TransferError(HubError):
    """A request to a store failed.

    `code` is the store's error code (or one of ours where no answer came), `status` the HTTP status (0 without an
    answer), `said` the store's own words, `retry_after` the seconds it asked us to wait (0 when it did not say), `host`
    who answered ("" where only one can have), `location` where a redirection leads, `side` the side of the task that it
    concerns ("source", "destination", or "" where the caller knows).
    """

    disposition: ClassVar[Disposition] = Disposition.RETRY

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
        said: str = "",
        request_id: str = "",
        retry_after: float = 0.0,
        host: str = "",
        location: str = "",
    ) -> None:
        super().__init__(message)
        self.location = location
        self.side = ""
        self.host = host
        self.side = ""
        self.code = code
        self.status = status
        self.said = said
        self.request_id = request_id
        self.retry_after = retry_after


def error_code(text: str) -> str:
    """The code that an answer gives, if it is a word; else "". It is told to whoever chose where to ask."""
    return text if re.fullmatch(r"[A-Za-z0-9._]{1,64}", text) else ""


class Transient(TransferError):
    """Passing: a 5xx answer, a reset, a time-out, a truncated body."""


class Throttled(Transient):
    """The store asked us to slow down (503 SlowDown, 429)."""


class ConnectionFailed(Transient):
    """No answer at all: name not found, connection refused, time-out while connecting."""


class Corrupted(Transient):
    """The bytes that arrived are not the bytes that were sent (checksum or length differ)."""


class Damaged(Corrupted):
    """What the destination holds now is not what was sent: `etag` and `version` are those of the damaged copy."""

    def __init__(self, message: str, *, code: str = "", etag: str = "", version: str = "") -> None:
        super().__init__(message, code=code)
        self.etag = etag
        self.version = version


class ObjectRefused(TransferError):
    """The store refuses this object or this request for good."""

    disposition = Disposition.REFUSED


class NotSupported(ObjectRefused):
    """The store does not know the operation or header (501, or a 400 that names it)."""


class SourceGone(TransferError):
    """There is no such object (404)."""

    disposition = Disposition.GONE


class NoSuchUpload(TransferError):
    """The multipart upload is unknown: completed, aborted or never begun."""

    disposition = Disposition.GONE


class ObjectChanged(TransferError):
    """The object is not the one that was listed (412, or an answer with another ETag or Content-Range)."""

    disposition = Disposition.CHANGED


class ObjectArchived(ObjectRefused):
    """The object is in an archive class without a restored copy (InvalidObjectState)."""


class EndpointRefused(TransferError):
    """The whole endpoint is unusable with this configuration: credentials, clock, bucket, KMS key."""

    disposition = Disposition.ENDPOINT


class Unreachable(EndpointRefused):
    """No answer, and none to come as things are set: a server without TLS, a certificate that is not trusted, a file of
    authorities that cannot be read."""
