"""Reads a store's answers: parses documents, and turns errors into classes that say what to do."""

import calendar
import email.utils
import re
import time
from html import unescape
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from dth.core import confinement
from dth.core.errors import (
    Corrupted,
    EndpointRefused,
    NoSuchUpload,
    NotSupported,
    ObjectArchived,
    ObjectChanged,
    ObjectRefused,
    SourceGone,
    Throttled,
    TransferError,
    Transient,
    error_code,
)
from dth.core.transport import Response

ENDPOINT_CODES = {
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "IllegalLocationConstraintException",
    "InvalidBucketName",
    "InvalidRegion",
    "InvalidSecurity",
    "InvalidToken",
    "NoSuchBucket",
    "NotSignedUp",
    "PermanentRedirect",
    "QuotaExceeded",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnauthorizedAccess",
}
TRANSIENT_CODES = {
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
}
THROTTLE_CODES = {
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}
ERROR = re.compile(rb"\s*(<\?xml[^>]*\?>)?\s*<Error[\s>]")
CORRUPT_CODES = {
    "BadDigest",
    "InvalidDigest",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
NAMES_OF_STATUS = {
    301: "PermanentRedirect",
    400: "BadRequest",
    403: "AccessDenied",
    404: "NotFound",
    405: "MethodNotAllowed",
    412: "PreconditionFailed",
    416: "InvalidRange",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}
REGION = re.compile(r"[A-Za-z0-9_-]{1,64}")
# How a message names the region, where the document has no element for it.
EXPECTED_REGION = re.compile(rb"expecting '([A-Za-z0-9_-]{1,64})'")
# The scheme, host and port of the address that an answer leads to.
HOST = re.compile(r"(https?://)?[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?(?=/|$)")
# The longest pause that a store may ask for, in seconds.
LONGEST_PAUSE = 3600.0


def is_error(body: bytes) -> bool:
    """Whether a body is an <Error> document, not a document that contains an <Error>."""
    return ERROR.match(body) is not None


def is_document(body: bytes) -> bool:
    """Whether a body is an XML document that contains no error."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return False
    return all(_local(element.tag) != "Error" for element in root.iter())


def parse_error(body: bytes) -> tuple[str, str]:
    """The code and message of an <Error> document; empty strings if the body is not one. If it
    names a header or argument, the message ends with that name."""
    if b"<Error" not in body[:2000]:
        return "", ""
    message = find_text(body, "Message")
    named = find_text(body, "Header") or find_text(body, "ArgumentName")
    return find_text(
        body, "Code"
    ), f"{message} ({named})" if named and named not in message else message


def classify(
    response: Response, code: str, message: str, where: str, *, reading: bool = False
) -> TransferError:
    """The error for an answer. Its class depends first on the code, then on the status. `reading`:
    the request reads."""
    status = response.status
    code = error_code(code) or NAMES_OF_STATUS.get(status, f"HTTP{status}")
    said = " ".join(message.split())
    told = confinement.foreign(said)
    return _class_of(status, code, said, reading)(
        f"{where}: {status} {code}" + (f": {told}" if told else ""),
        code=code,
        status=status,
        said=said,
        request_id=response.headers.get("x-amz-request-id", ""),
        retry_after=_seconds(response.headers.get("retry-after", "")),
        location=_location(response) if 300 <= status < 400 else "",
    )


def _location(response: Response) -> str:
    """Where a redirect leads, from the header or the error document."""
    found = response.headers.get("location", "") or find_text(response.body, "Endpoint")
    if confinement.local_files():
        return found
    host = HOST.match(found)
    return host[0] if host else ""


def region_of(response: Response) -> str:
    """The region of the bucket, if an answer names it; else ""."""
    found = response.headers.get("x-amz-bucket-region", "") or find_text(response.body, "Region")
    if not found and (expected := EXPECTED_REGION.search(response.body)):
        found = expected[1].decode()
    return found if REGION.fullmatch(found) else ""


def _class_of(status: int, code: str, message: str, reading: bool) -> type[TransferError]:
    if code in THROTTLE_CODES or status in (429, 503):
        return Throttled
    if code in CORRUPT_CODES:
        return Corrupted
    if code.startswith("KMS.") and reading:
        # This is about the key of this object. Others may have other keys.
        return ObjectRefused
    if (
        code in ENDPOINT_CODES
        or code.startswith("KMS.")
        or status in (401, 407)
        or 300 <= status < 400
    ):
        return EndpointRefused
    if code == "AccessDenied" and "kms:GenerateDataKey" in message:
        # This is about the key for everything that is written.
        return EndpointRefused
    if code in TRANSIENT_CODES or (status >= 500 and status != 501) or status == 408:
        return Transient
    if code == "NoSuchUpload":
        return NoSuchUpload
    if code == "InvalidObjectState":
        return ObjectArchived
    if status == 404 or code in ("NoSuchKey", "NoSuchVersion"):
        return SourceGone
    if status in (412, 416) or code in ("PreconditionFailed", "InvalidRange"):
        return ObjectChanged
    if status == 501 or code in ("NotImplemented", "MethodNotAllowed"):
        return NotSupported
    return ObjectRefused


def _seconds(text: str) -> float:
    """The seconds in a Retry-After header, which contains a number or a date."""
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_PAUSE)
    date = email.utils.parsedate_tz(text)
    return min(max(0.0, email.utils.mktime_tz(date) - time.time()), LONGEST_PAUSE) if date else 0.0


def parse_time(text: str) -> float:
    """An ISO 8601 time in UTC as seconds since the epoch; 0 if the text is not one."""
    match = re.match(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?", text)
    if not match:
        return 0.0
    whole = calendar.timegm((*map(int, match.groups()[:6]), 0, 0, 0))
    return whole + float(match.group(7) or 0)


def parse_xml(body: bytes) -> ElementTree.Element:
    """The document, with element names without namespaces. Raises Transient."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        why = confinement.foreign(f": {error}")
        raise Transient(f"the answer is not XML{why}", code="BadAnswer") from None
    for element in root.iter():
        element.tag = _local(element.tag)
    return root


def find_text(body: bytes, name: str) -> str:
    """The text of the first element with this name; "" if there is none."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        # The document may repeat a key that XML cannot hold. The rest of it is still usable.
        found = re.search(rf"<(?:\w+:)?{name}>([^<]*)</".encode(), body)
        return unescape(found[1].decode(errors="replace")) if found else ""
    for element in root.iter():
        if _local(element.tag) == name:
            return element.text or ""
    return ""


def decoded(key: str, encoded: bool) -> str:
    """A key in a document. `encoded`: keys in the document are URL-encoded."""
    return unquote_plus(key, errors="surrogateescape") if encoded else key


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
