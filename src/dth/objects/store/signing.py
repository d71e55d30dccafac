"""AWS Signature Version 4 for S3 requests, in headers.

Source: "Authenticating Requests: Using the Authorization Header", Amazon S3 API Reference. Unlike
in other services, the path is encoded once and never normalized in S3, so a key arrives byte for
byte.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from urllib.parse import quote

UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
PLAIN = re.compile(r"[A-Za-z0-9/_.~-]*")  # a key that needs no quoting


@dataclass(frozen=True, slots=True)
class AccessKeys:
    """One set of credentials. `token` is the session token of temporary credentials."""

    access: str
    secret: str
    token: str = ""

    # Never shows the secret, wherever the object is printed.
    def __repr__(self) -> str:
        return f"Keys({self.access[:4]}…)"


def quote_key(key: str) -> str:
    """A key in a request path: every byte except the unreserved ones and `/` as %XX."""
    if PLAIN.fullmatch(key):
        return key
    return quote(key.encode("utf-8", "surrogateescape"), safe="/~")


def quote_query(query: Mapping[str, str]) -> str:
    """The query string in canonical form: encoded and sorted. It is also sent in this form."""
    pairs = sorted(
        (quote(name, safe="~"), quote(value.encode("utf-8", "surrogateescape"), safe="~"))
        for name, value in query.items()
    )
    return "&".join(f"{name}={value}" for name, value in pairs)


# The block size of SHA-256 in bytes.
BLOCK = 64
# The number of header name sets whose order is cached.
ORDERS = 256


class Mac:
    """HMAC-SHA-256 with one key of at most 64 bytes. Source: RFC 2104.

    The blocks that depend only on the key are hashed once. That takes a quarter of the time of
    `hmac.digest`.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        key = key.ljust(BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))

    def hexdigest(self, message: bytes) -> str:
        """The MAC of the message in hexadecimal."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.hexdigest()


@dataclass(frozen=True, slots=True)
class SigningOrder:
    """How requests with the same header names are signed: the values in order, the format of their
    lines, and the list of names."""

    values: Callable[[Mapping[str, str]], Any]
    lines: str
    names: str

    @classmethod
    def of(cls, names: tuple[str, ...]) -> "SigningOrder":
        """The order for these header names."""
        in_order = sorted(names)
        lines = "\n".join(f"{name.replace('%', '%%')}:%s" for name in in_order)
        return cls(itemgetter(*in_order), lines, ";".join(in_order))


class Signer:
    """Signs requests for one region. Caches derived keys for a day, and the time stamp for a
    second."""

    def __init__(self, region: str, service: str = "s3") -> None:
        self._region = region
        self._service = service
        self._second = 0
        self._stamp = ""
        self._keys: AccessKeys | None = None
        self._scope = ""
        self._mac = Mac(b"")
        self._orders: dict[tuple[str, ...], SigningOrder] = {}

    def sign(
        self,
        keys: AccessKeys,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        payload: str = UNSIGNED,
    ) -> None:
        """Add `x-amz-date`, `x-amz-content-sha256`, `authorization` (and the session token) to
        `headers`.

        `path` and `query` are already encoded. `headers` has lower-case names, including `host`;
        all are signed.
        """
        self._refresh(keys)
        headers["x-amz-date"] = self._stamp
        headers["x-amz-content-sha256"] = payload
        if keys.token:
            headers["x-amz-security-token"] = keys.token
        names = tuple(headers)
        order = self._orders.get(names) or self._keep(names)
        lines = order.lines % order.values(headers)
        if not _is_even(lines):
            lines = order.lines % tuple(map(_squeezed, order.values(headers)))
        # Header values hold raw bytes as latin-1 (metadata of any encoding passes through
        # unchanged).
        canonical = f"{method}\n{path}\n{query}\n{lines}\n\n{order.names}\n{payload}".encode(
            "latin-1"
        )
        digest = hashlib.sha256(canonical).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{self._stamp}\n{self._scope}\n{digest}"
        signature = self._mac.hexdigest(to_sign.encode())
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={keys.access}/{self._scope},SignedHeaders={order.names},"
            f"Signature={signature}"
        )

    def _keep(self, names: tuple[str, ...]) -> SigningOrder:
        if len(self._orders) >= ORDERS:
            # There may be as many names of metadata as objects.
            self._orders.clear()
        order = self._orders[names] = SigningOrder.of(names)
        return order

    def _refresh(self, keys: AccessKeys) -> None:
        second = int(time.time())
        if second == self._second and keys is self._keys:
            return
        self._second = second
        self._stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        scope = f"{self._stamp[:8]}/{self._region}/{self._service}/aws4_request"
        if scope != self._scope or keys != self._keys:
            key = ("AWS4" + keys.secret).encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._mac = Mac(key)
            self._scope = scope
        self._keys = keys


def _is_even(lines: str) -> bool:
    """Whether no header value has space to squeeze, which is usual. Faster than checking each
    value."""
    if not lines.isascii() or "\t" in lines:
        return False
    # Searching one character takes a tenth of the time of two, and most requests have no space at
    # all.
    return " " not in lines or not (
        "  " in lines or ": " in lines or " \n" in lines or lines[-1] == " "
    )


def _squeezed(value: str) -> str:
    """A header value without space around it, and with single spaces inside."""
    if value.isascii():
        return " ".join(value.split())
    # As bytes: as text, the bytes 0x85 and 0xA0 would count as space too.
    return b" ".join(value.encode("latin-1").split()).decode("latin-1")
