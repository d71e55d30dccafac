"""The table of skopeo's error messages and their meanings.

The messages are those of the containers/image library. The tests have them from real versions (1.9
in Debian 12, and the newest in Debian) and from the source code. A message that is not in the table
may be temporary: the image is retried as long as the words change.
"""

import re
from dataclasses import dataclass

from dth.core.errors import (
    ConnectionFailed,
    EndpointRefused,
    ObjectRefused,
    SourceGone,
    Throttled,
    TransferError,
    Transient,
    Unreachable,
)
from dth.core.transport import ADDRESS_REFUSED

UNKNOWN = "Unknown"
CORRUPTED = "Corrupted"
UNAVAILABLE = "Unavailable"
THROTTLED = "TOOMANYREQUESTS"
_VARIES = re.compile(r'"[^"]*"|[\d.]+:\d+')


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a message. `of_the_dest`: the failure is at the destination."""

    kind: type[TransferError]
    code: str
    of_the_dest: bool


_STATUS = r"status(?: ?code)?:? (?:code )?(?:from registry )?"
_NOT_THERE = rf"(manifest|name) unknown|not found|unknown to registry|{_STATUS}404"
# (pattern of the message, error, code); the first match decides. Codes of connection errors are
# those of the transport.
_FAILURES: list[tuple[str, type[TransferError], str]] = [
    # From the kernel, if Landlock is active.
    (r"connect: permission denied", EndpointRefused, ADDRESS_REFUSED),
    (rf"too ?many ?requests|{_STATUS}429|rate limit|rate exceeded", Throttled, THROTTLED),
    (
        rf"no space left|{_STATUS}5\d\d|internal server error|bad gateway|unavailable",
        Transient,
        UNAVAILABLE,
    ),
    (r"blob upload (unknown|invalid)", Transient, "UploadLost"),
    (r"immutable", ObjectRefused, "IMMUTABLE"),
    (
        r"rejected by policy|signature was required|no signature exists|signature.*rejected",
        ObjectRefused,
        "POLICY",
    ),
    (
        r"server gave HTTP response to HTTPS client|does not look like a TLS handshake",
        Unreachable,
        "NoTls",
    ),
    (r"x509:|certificate", Unreachable, "UntrustedCertificate"),
    (r"token has expired|expired token", Transient, "ExpiredToken"),
    (r"no such host", ConnectionFailed, "UnknownHost"),
    (
        r"connection refused|no route to|network is unreachable",
        ConnectionFailed,
        "ConnectionFailed",
    ),
    (r"i/o timeout|deadline exceeded|TLS handshake timeout|timeout awaiting", Transient, "TimeOut"),
    (
        r"connection reset|broken pipe|\bEOF\b|use of closed|closed network",
        Transient,
        "ConnectionBroken",
    ),
    (r"digest did not match|does not match|digest invalid|size mismatch", Transient, CORRUPTED),
    # Must be before the next pattern: Docker Hub returns both for an image that does not exist. The
    # plan has checked whether credentials are valid.
    (rf"denied|forbidden|is not authorized|{_STATUS}403", ObjectRefused, "DENIED"),
    (
        r"unauthorized|authentication required|invalid username|no basic auth",
        EndpointRefused,
        "UNAUTHORIZED",
    ),
    (r"source image rejected", ObjectRefused, "POLICY"),
    # A missing layer does not mean that the image is gone: its manifest still exists, and every
    # pull fails.
    (
        rf"(reading|fetching|copying)[^:]* blob.*({_NOT_THERE})|unknown blob|blob unknown",
        ObjectRefused,
        "BLOB_UNKNOWN",
    ),
    (_NOT_THERE, SourceGone, "MANIFEST_UNKNOWN"),
    (
        (
            r"unsupported|(manifest|name|tag) invalid|not supported|cannot be converted|cannot modify "
            r"it"
        ),
        ObjectRefused,
        "UNSUPPORTED",
    ),
    (r"unexpectedly received a manifest list", ObjectRefused, "UNSUPPORTED"),
    (
        r"invalid reference format|parsing (image|reference)|invalid (source|destination) name",
        ObjectRefused,
        "BadName",
    ),
    (
        r"(unmarshal|parsing|decoding|invalid character|unexpected end of JSON)",
        ObjectRefused,
        "MANIFEST_INVALID",
    ),
]
_OF_THE_DEST = re.compile(
    r"writing (manifest|blob|list)|uploading|trying to reuse|at destination|initializing "
    r"destination|"
    r"(checking whether a blob .* exists)|Error initializing destination"
)


def meaning(line: str) -> Meaning:
    """Return the meaning of a skopeo message without image names, which may contain any word."""
    of_the_dest = _OF_THE_DEST.search(line) is not None
    for pattern, kind, code in _FAILURES:
        if re.search(pattern, line, re.IGNORECASE):
            if of_the_dest and kind is SourceGone:
                return Meaning(ObjectRefused, "NAME_UNKNOWN", True)  # the repository does not exist
            return Meaning(kind, code, of_the_dest)
    return Meaning(Transient, UNKNOWN, of_the_dest)


def same_words(one: str, other: str) -> bool:
    """Whether two messages are the same apart from addresses, which change between attempts."""
    return _VARIES.sub("", one) == _VARIES.sub("", other)
