"""Every error that the hub raises. The class of an error says what to do about it.

Workers act on the `Disposition`. The command line exits with code 2 for `UsageError`, and with code
1 for any other `HubError`. A message is one line: what is wrong, where, and what to do.
"""

import errno
import re
from enum import Enum
from typing import ClassVar


class Disposition(Enum):
    """What follows from an error."""

    # Temporary: try again now with backoff, later through the queue.
    RETRY = "retry"
    # This object can never be copied as it is: move it to the dead letters at once.
    REFUSED = "refused"
    # The source object no longer exists: cancel it.
    GONE = "gone"
    # The source object has changed: look at it again and enqueue it again.
    CHANGED = "changed"
    # No request can succeed (credentials, clock, bucket, KMS): pause the task, spend no attempt.
    ENDPOINT = "endpoint"


class HubError(Exception):
    """Base class of all errors that users see, as one line."""


class UsageError(HubError):
    """The request makes no sense. Nothing was started."""


class NotFound(UsageError):
    """What the caller names does not exist, or is not visible to this caller."""


class BeingSetUp(NotFound):
    """The state of a task does not exist yet, but is being created."""


class Conflict(UsageError):
    """The request conflicts with the current state."""


class Unauthenticated(HubError):
    """The caller is unknown: no token, or an invalid one."""


class Forbidden(HubError):
    """The caller is known, but may not do this."""


class StateError(HubError):
    """The state directory cannot be used: it is locked, full, on a network file system, or of a
    newer version."""


class DatabaseAway(StateError):
    """The database does not answer. It may be back at any time."""


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MAKE_ROOM = "free some space and try again, nothing is lost"


def full_disk(error: BaseException) -> str:
    """One line if the error says that a disk is full, or a quota or limit is reached; "" for any
    other error."""
    if not isinstance(error, OSError) or error.errno not in FULL:
        return ""
    where = f"{error.filename} cannot be written: " if error.filename else ""
    return f"{where}{error.strerror}; {MAKE_ROOM}"


def reason_of(error: BaseException) -> str:
    """Why an operation of the system failed, in words and without its number."""
    cause = getattr(error, "reason", error)
    return (cause.strerror if isinstance(cause, OSError) else "") or str(cause)


class ListingFailed(HubError):
    """A part of a listing could not be read. The run fails, because a missing listing is not an
    empty one."""


class TransferError(HubError):
    """A request to a store failed.

    `code`: the store's error code, or one of the hub's own codes if there was no answer.
    `status`: the HTTP status, 0 without an answer.
    `said`: the store's own words.
    `retry_after`: the seconds that the store asked to wait, 0 if it did not say.
    `host`: which host answered, "" if only one can have.
    `location`: where a redirect leads.
    `side`: the side of the task, "source" or "destination"; "" if the caller knows it.
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
        self.host = host
        self.side = ""
        self.code = code
        self.status = status
        self.said = said
        self.request_id = request_id
        self.retry_after = retry_after


def with_side(error: HubError) -> str:
    """What an error says, after the side that it came from. Often both stores have one host
    name."""
    side = error.side if isinstance(error, TransferError) else ""
    return f"{side}: {error}" if side else str(error)


def error_code(text: str) -> str:
    """The error code in an answer if it is a plain word, else "". It is shown to whoever chose the
    address."""
    return text if re.fullmatch(r"[A-Za-z0-9._]{1,64}", text) else ""


class Transient(TransferError):
    """A temporary failure: a 5xx answer, a reset, a timeout, a truncated body."""


class Throttled(Transient):
    """The store asked to slow down (503 SlowDown, 429)."""


class ConnectionFailed(Transient):
    """No answer at all: name not found, connection refused, timeout while connecting."""


class Corrupted(Transient):
    """The bytes that arrived are not the bytes that were sent: checksum or length differ."""


class Damaged(Corrupted):
    """The destination does not hold what was sent. `etag` and `version` identify the damaged
    copy."""

    def __init__(self, message: str, *, code: str = "", etag: str = "", version: str = "") -> None:
        super().__init__(message, code=code)
        self.etag = etag
        self.version = version


class ObjectRefused(TransferError):
    """The store permanently refuses this object or this request."""

    disposition = Disposition.REFUSED


class NotSupported(ObjectRefused):
    """The store does not know the operation or header (501, or a 400 that names it)."""


class SourceGone(TransferError):
    """The object does not exist (404)."""

    disposition = Disposition.GONE


class NoSuchUpload(TransferError):
    """The multipart upload is unknown: it was completed or aborted, or it never began."""

    disposition = Disposition.GONE


class ObjectChanged(TransferError):
    """The object is not the one that was listed (412, or an answer with a different ETag or
    Content-Range)."""

    disposition = Disposition.CHANGED


class ObjectArchived(ObjectRefused):
    """The object is in an archive class and has no restored copy (InvalidObjectState)."""


class EndpointRefused(TransferError):
    """This configuration cannot use the endpoint at all: credentials, clock, bucket, KMS key."""

    disposition = Disposition.ENDPOINT


class Unreachable(EndpointRefused):
    """No answer, and the current settings make one impossible: a server without TLS, an untrusted
    certificate, or an unreadable file of certificate authorities."""
