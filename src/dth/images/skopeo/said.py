"""What skopeo says when it fails, and what that amounts to: the one table of its messages.

The messages are those of the containers/image library; the tests have them from real ones (1.9, that of Debian 12, and
the newest that Debian has) and from its sources. What is not in the table may be passing, and is tried again as long as
the words change.
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
    """`of_the_dest`: the destination is where it failed."""

    kind: type[TransferError]
    code: str
    of_the_dest: bool


_STATUS = r"status(?: ?code)?:? (?:code )?(?:from registry )?"
_NOT_THERE = rf"(manifest|name) unknown|not found|unknown to registry|{_STATUS}404"
# (what it says, what that is, code); the first that is found decides. Codes of connections are those of the transport.
_FAILURES: list[tuple[str, type[TransferError], str]] = [
    # By the kernel, where we have asked for it.
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
    (r"server gave HTTP response to HTTPS client|does not look like a TLS handshake", Unreachable, "NoTls"),
    (r"x509:|certificate", Unreachable, "UntrustedCertificate"),
    (r"token has expired|expired token", Transient, "ExpiredToken"),
    (r"no such host", ConnectionFailed, "UnknownHost"),
    (r"connection refused|no route to|network is unreachable", ConnectionFailed, "ConnectionFailed"),
    (r"i/o timeout|deadline exceeded|TLS handshake timeout|timeout awaiting", Transient, "TimeOut"),
    (r"connection reset|broken pipe|\bEOF\b|use of closed|closed network", Transient, "ConnectionBroken"),
    (r"digest did not match|does not match|digest invalid|size mismatch", Transient, CORRUPTED),
    # Before the next one: Docker Hub says both of an image that is not there. Whether credentials hold, the plan knows.
    (rf"denied|forbidden|is not authorized|{_STATUS}403", ObjectRefused, "DENIED"),
    (r"unauthorized|authentication required|invalid username|no basic auth", EndpointRefused, "UNAUTHORIZED"),
    (r"source image rejected", ObjectRefused, "POLICY"),
    # A layer that is lost is no image that is gone: its manifest is still there, and whoever pulls it fails.
    (
        rf"(reading|fetching|copying)[^:]* blob.*({_NOT_THERE})|unknown blob|blob unknown",
        ObjectRefused,
        "BLOB_UNKNOWN",
    ),
    (_NOT_THERE, SourceGone, "MANIFEST_UNKNOWN"),
    (
        r"unsupported|(manifest|name|tag) invalid|not supported|cannot be converted|cannot modify it",
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
    r"writing (manifest|blob|list)|uploading|trying to reuse|at destination|initializing destination|"
    r"(checking whether a blob .* exists)|Error initializing destination"
)


def meaning(line: str) -> Meaning:
    """What a line of skopeo amounts to. It is without the names of images, which may hold any word."""
    of_the_dest = _OF_THE_DEST.search(line) is not None
    for pattern, kind, code in _FAILURES:
        if re.search(pattern, line, re.IGNORECASE):
            if of_the_dest and kind is SourceGone:
                return Meaning(ObjectRefused, "NAME_UNKNOWN", True)  # there is no such repository to push to
            return Meaning(kind, code, of_the_dest)
    return Meaning(Transient, UNKNOWN, of_the_dest)


def same_words(one: str, other: str) -> bool:
    """Whether two lines say the same, but for addresses, which change from try to try."""
    return _VARIES.sub("", one) == _VARIES.sub("", other)
