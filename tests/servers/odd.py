"""A small S3 store in memory, in a thread of the test process, with quirks that are switched on by
name.

    with OddStore("no-checksums", "flip-on-write") as store:
        bucket = store.bucket()
        ...
        assert store.count("PUT", status=200) == 1
        store.at(bucket, "a").etag = "of the test's own choice"

Without quirks it behaves like a modern S3: ETags are MD5 sums, checksums and Content-MD5 are
verified, and checksums are echoed and stated. It does not check signatures. `QUIRKS` lists all
quirks. To add one, write a row there and ask `self.has(name)` where the store then acts
differently.

`put`, `get`, `keys`, `objects` and `bucket` work on the memory itself, so no quirk disturbs what a
test prepares. `requests` is the log of what came over the network. Keys are text with the bytes of
the wire in it (surrogateescape); values of headers are bytes.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import hmac
import itertools
import os
import re
import socketserver
import threading
import time
import zlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from awscrt import checksums as crt

from .s3 import S3Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Mapping

QUIRKS = {
    # Checksums
    "no-checksums": "Ignores x-amz-checksum-*: checks, echoes and states nothing (as Ceph 16).",
    "no-content-md5": "Ignores Content-MD5.",
    "echoes-unchecked": "Checks no x-amz-checksum-*, and answers and states whatever was sent.",
    "answers-crc32": "Checks no x-amz-checksum-*, and answers the CRC32 of what it stored.",
    "refuses-checksum-headers": (
        "Answers 400 to writes with an x-amz-checksum-* header (as Backblaze)."
    ),
    "refuses-checksum-mode": "Answers 400 to reads with x-amz-checksum-mode.",
    "refuses-trailers-400": (
        "Answers 400 XAmzContentSHA256Mismatch to a checksum behind the body (as Ceph 16)."
    ),
    "refuses-trailers-501": "Answers 501 NotImplemented to a checksum behind the body.",
    "misreads-trailers": "Answers 403 SignatureDoesNotMatch to a checksum behind the body.",
    "stores-framing": (
        "Does not know of a checksum behind the body, and stores its framing as data."
    ),
    "hides-framing": "As stores-framing, but answers the ETag and checksum of what was framed.",
    "object-lock": (
        "Answers 400 to bodies without Content-MD5 or x-amz-checksum-*, as for locked objects."
    ),
    # ETags
    "refuses-if-match-400": "Answers 400 InvalidArgument to If-Match.",
    "refuses-if-match-501": "Answers 501 NotImplemented to If-Match.",
    "refuses-copy-if-match": "Answers 501 NotImplemented to x-amz-copy-source-if-match.",
    "weak-etags": 'Writes W/"…" in the answers about objects; listings have the plain ETag.',
    "weak-etags-412": "As weak-etags, and a strong If-Match fails with 412.",
    "etag-upper": "ETags are MD5 in capital letters.",
    "etags-quoted-twice": 'Writes ""…"" in all answers, listings as well.',
    "etag-random": "ETags are 32 hexadecimal digits, others for each write.",
    "etag-opaque": "ETags are 64 hexadecimal digits.",
    "etag-hmac": "ETags are 32 hexadecimal digits that depend on the body but are not MD5s.",
    "kms": "Encrypts with aws:kms and says so; ETags are as with etag-random.",
    # Writes that go wrong
    "put-html": "Answers a PUT with 200 and an HTML page, and stores nothing.",
    "put-html-etag": "As put-html, and the page has an ETag.",
    "put-error": "Answers a PUT with 200, an ETag and an <Error> document, and stores nothing.",
    "put-text": "Answers a PUT with 200, an ETag and a line of text, and stores nothing.",
    "put-cut": (
        "Answers a PUT with 200, an ETag and the beginning of a document, and stores nothing."
    ),
    "put-202": "Answers a PUT with 202 and an ETag, and stores nothing.",
    "put-no-etag": "Answers a PUT without an ETag.",
    "put-loses": "Answers a PUT rightly, and stores nothing.",
    "put-loses-body": "Answers a PUT rightly, and stores an empty object.",
    "flip-on-write": "Stores a damaged body, and answers the ETag and checksum of what it stored.",
    "flip-part": (
        "Damages the second part of each multipart upload, and answers the ETag of what it stored."
    ),
    "flip-parts": "As flip-part, with all parts.",
    "flip-on-copy": (
        "Damages what it copies by itself, parts as well, and answers the ETag of what it stored."
    ),
    "flip-on-join": "Damages what it joins of parts, and answers another ETag than the parts make.",
    "lies": "Stores a damaged body, and answers and states the ETag and checksum of what was sent.",
    "join-503": "Answers 503 SlowDown to the completion of an upload.",
    "join-late-error": "Joins the parts, and answers 200 with an <Error> document.",
    "join-hollow": (
        "ETags of joined objects are the MD5 of nothing and the number of parts (as s3gw)."
    ),
    "join-random": "ETags of joined objects are random, of the usual form (as lakeFS).",
    "join-short": "Joins all parts but the last, and answers with the ETag of what it joined.",
    "join-stale": "Joins nothing, and answers with the ETag of the object that was there before.",
    "parts-limit": "Takes part numbers up to 10 only.",
    "acl-refused": "Answers 400 to x-amz-acl.",
    "class-refused": "Answers 400 to every storage class but STANDARD.",
    "sig-non-ascii": "Answers 403 SignatureDoesNotMatch to metadata that is not ASCII.",
    "delete-denied": "Answers 403 to every DELETE of an object or a version.",
    "version-delete-denied": "Answers 403 to every DELETE of a version.",
    "delete-html": "Answers a DELETE with 200 and an HTML page, and deletes nothing.",
    # Reads that go wrong
    "flip-on-read": "Damages the body of each answer with a whole object.",
    "heads-denied": "Answers 403 to a HEAD of an object.",
    "reads-denied": "Answers 403 to a GET or HEAD of an object.",
    "read-html": "Answers a GET or HEAD of an object with 200 and an HTML page.",
    "read-error": "Answers a GET or HEAD of an object with 200 and an <Error> document.",
    "no-etag-on-read": "Does not tell the ETag in the answer to a GET.",
    "flip-on-range": "Damages the body of each answer with a range of an object.",
    "range-of-unknown": "Writes Content-Range with * for the object's size.",
    "range-spelled": "Writes Content-Range as 'Bytes=first-last/size'.",
    "ghost": 'Lists keys with "ghost" in them, and answers 404 when they are read.',
    "gunzips": (
        "Unpacks objects with Content-Encoding gzip for clients that do not accept gzip (as GCS)."
    ),
    "gzips": "Compresses whole objects on the fly for clients that accept gzip.",
    "missing-meta": "Says x-amz-missing-meta: 1 of each object.",
    "doubled-headers": "Sends each header of an object twice.",
    # Tags
    "tags-uncounted": "Does not tell the number of tags.",
    "tags-500": "Does not tell the number of tags, and answers 500 to requests for them.",
    "tags-401": "Does not tell the number of tags, and answers 401 to requests for them.",
    "tags-html": (
        "Does not tell the number of tags, and answers requests for them with an HTML page."
    ),
    "tags-error": (
        "Does not tell the number of tags, and answers requests for them with 200 and an error."
    ),
    "tags-no-key": (
        "Does not tell the number of tags, and answers 404 NoSuchKey to requests for them."
    ),
    "tags-404": (
        "Does not tell the number of tags, and answers 404 NoSuchTagSet where there are none."
    ),
    "tags-partly": (
        "Tells the number of tags, and leaves the last one out when it is asked for them."
    ),
    "refuses-tags-400": "Answers 400 without a body to writes with tags.",
    "tags-denied": "Answers 403 to requests for tags, and does not tell their number.",
    "tags-501": "Answers 501 to requests for tags, and to writes with tags.",
    "part-heads-416": "Answers 416 to a HEAD of a part.",
    # Keys with "bad" in them
    "bad-kms": 'Answers 400 KMS.DisabledException to reads of keys with "bad" in them.',
    "bad-401": 'Answers 401 without a body to all requests for keys with "bad" in them.',
    "bad-302": 'Answers 302 with another host to all requests for keys with "bad" in them.',
    "bad-signature": (
        'Answers 403 SignatureDoesNotMatch to all requests for keys with "bad" in them.'
    ),
    "always-429": 'Answers 429 without a body to all requests for keys with "bad" in them.',
    "always-500": 'Answers 500 to all requests for keys with "bad" in them.',
    "always-503": 'Answers 503 SlowDown to all requests for keys with "bad" in them.',
    "retry-after": 'As always-503, with "Retry-After: 3600".',
    # Listings
    "v1-only": "Knows the first version of ListObjects only.",
    "no-is-truncated": "Listings do not say whether they are truncated.",
    "no-token": "Pages of ListObjectsV2 are truncated without a token.",
    "refuses-encoding-400": (
        "Answers 400 InvalidArgument to listings of objects with encoding-type."
    ),
    "refuses-encoding-501": "Answers 501 NotImplemented to listings of objects with encoding-type.",
    "enc-plus-raw": 'Leaves "+" as it is in encoded keys, and writes spaces as %20.',
    "enc-raw": "Says that keys are URL-encoded, and does not encode them.",
    "unordered": "Lists keys in no order.",
    "ignores-prefix": "Lists all keys, whatever the prefix is.",
    "repeats-markers": "ListMultipartUploads is truncated for ever, at the same marker.",
    "endless-markers": "ListMultipartUploads is truncated for ever, each time at another marker.",
    "html-listing": "Answers a listing with 200 and an HTML page.",
    # The endpoint
    "region": "Takes signatures for the region garage only, and names it in the refusal.",
    "region-in-text": "As region, and the name is in the message only.",
    "region-location": "As region, and answers IllegalLocationConstraintException.",
    "redirect-301": "Answers 301 PermanentRedirect with another endpoint.",
    "redirect-307": "Answers 307 TemporaryRedirect with another endpoint.",
}

SUMS: dict[str, Callable[[bytes], bytes]] = {
    "crc64nvme": lambda body: crt.crc64nvme(body).to_bytes(8, "big"),
    "crc32c": lambda body: crt.crc32c(body).to_bytes(4, "big"),
    "crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "sha256": lambda body: hashlib.sha256(body).digest(),
    "sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
}
KEPT_HEADERS = {
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
}
UNSET = {  # settings that no bucket has
    "object-lock": "ObjectLockConfigurationNotFoundError",
    "lifecycle": "NoSuchLifecycleConfiguration",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "ownershipControls": "OwnershipControlsNotFoundError",
}
ELSEWHERE = "elsewhere.example.com"  # the endpoint that redirects name
_HTML = b"<!doctype html><html><body>Please sign in to use this network.</body></html>"
_XML = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def sum_of(algorithm: str, body: bytes) -> str:
    """The checksum of a body in base64."""
    return base64.b64encode(SUMS[algorithm](body)).decode()


def damaged(body: bytes) -> bytes:
    """The body with one bit flipped; an empty one has none."""
    return bytes([body[0] ^ 1]) + body[1:] if body else body


@dataclass
class Stored:
    """An object as it is stored. A test may change all of it."""

    body: bytes
    etag: str
    headers: dict[str, bytes] = field(default_factory=dict)
    """Metadata (x-amz-meta-...) and standard headers, names in lower case."""
    tags: str = ""
    """As x-amz-tagging has them."""
    checksums: dict[str, str] = field(default_factory=dict)
    """By algorithm, in base64."""
    checksum_type: str = "FULL_OBJECT"
    storage_class: str = "STANDARD"
    modified: float = field(default_factory=time.time)
    version: str = "null"
    part_size: int = 0
    """Of its parts, which a HEAD of one of them then tells."""
    customer: str = ""
    """MD5 of the customer's key that it is encrypted with (SSE-C), as the header has it."""


@dataclass
class Upload:
    """A multipart upload in progress; its parts by number."""

    key: str
    template: Stored
    algorithm: str = ""
    """Of the checksums of its parts, also of those that the store copies by itself."""
    parts: dict[int, Stored] = field(default_factory=dict)


@dataclass
class Bucket:
    objects: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    versioned: bool = False
    history: list[tuple[str, str, Stored | None]] = field(default_factory=list)
    """(key, version, object), or None for a delete marker; the newest last. Of versioned
    buckets."""


@dataclass
class Request:
    """One request that came, and the status of its answer."""

    method: str
    target: str
    """Path and query as they were on the wire."""
    headers: dict[str, bytes]
    """Names in lower case."""
    body: bytes = field(repr=False)
    status: int = 0
    framed: bytes = field(default=b"", repr=False)
    """The body as it came, where it came with its checksum behind it."""

    def __post_init__(self) -> None:
        path, _, query = self.target.partition("?")
        bucket, _, key = path[1:].partition("/")
        self.bucket = unquote(bucket)
        self.key = unquote(key, errors="surrogateescape")
        self.query = dict(parse_qsl(query, keep_blank_values=True, errors="surrogateescape"))

    def header(self, name: str) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def checksums(self) -> dict[str, str]:
        """The checksums that it states, by algorithm."""
        names = {name: f"x-amz-checksum-{name}" for name in SUMS}
        return {
            name: self.header(header) for name, header in names.items() if header in self.headers
        }


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: list[tuple[str, str | bytes]] = field(default_factory=list)
    content_type: str = "application/xml"
    chunked: bool = False


class _Refused(Exception):
    """An error that is answered as a document."""

    def __init__(
        self, status: int, code: str, message: str = "", extra: str = "", **headers: str
    ) -> None:
        super().__init__(code)
        text = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>{extra}</Error>"
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.reply = Reply(
            status, _XML + text.encode("utf-8", "surrogateescape") if code else b"", [*named]
        )


class OddStore(S3Server):
    """`quirks` holds how often each quirk still acts; tests may change it at any time."""

    def __init__(
        self, *quirks: str, page: int = 1000, times: Mapping[str, int] | None = None
    ) -> None:
        """`page`: the most keys of one page of a listing; `times`: quirks that act so many times
        only."""
        self.quirks: dict[str, float] = dict.fromkeys(quirks, float("inf")) | dict(times or {})
        unknown = self.quirks.keys() - QUIRKS.keys()
        if unknown:
            raise ValueError(f"no such quirks: {sorted(unknown)}")
        self.page = page
        self.requests: list[Request] = []
        self._faults: list[Exception] = []
        self.buckets: dict[str, Bucket] = {}
        if any(quirk.startswith("region") for quirk in self.quirks):
            self.region = "garage"
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._server = _TcpServer(("127.0.0.1", 0), _Connection)
        self._server.store = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End, and raise what went wrong in here."""
        self._server.shutdown()
        self._server.server_close()
        self._server.disconnect()
        self._thread.join()
        # The cache of boto clients keeps the store. It must not keep gigabytes of bodies.
        self.buckets.clear()
        self.requests.clear()
        if self._faults:
            raise self._faults.pop()

    # ---------------------------------------------------------------------------------- for tests

    def has(self, quirk: str) -> bool:
        """Whether the store has this quirk, which acts once more if so."""
        assert quirk in QUIRKS, quirk
        with self._lock:
            left = self.quirks.get(quirk, 0)
            if left > 0:
                self.quirks[quirk] = left - 1
            return left > 0

    def bucket(self, prefix: str = "bucket") -> str:
        name = f"{prefix}-{os.getpid()}-{next(self._numbers)}"
        self.buckets[name] = Bucket()
        return name

    def drop(self, bucket: str) -> None:
        del self.buckets[bucket]

    def at(self, bucket: str, key: str) -> Stored:
        """The object as it is stored."""
        return self.buckets[bucket].objects[key]

    def put(
        self, bucket: str, key: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> str:
        raw = {name.lower(): value.encode("latin-1") for name, value in (headers or {}).items()}
        request = Request("PUT", f"/{bucket}/{quote(key, errors='surrogateescape')}", raw, body)
        stored = replace(self._described(request), body=body, etag=self._etag(body))
        stored.checksums = request.checksums
        self._keep(request, stored)
        return f'"{stored.etag}"'

    def get(self, bucket: str, key: str) -> bytes:
        return self.at(bucket, key).body

    def objects(self, bucket: str, prefix: str = "") -> dict[str, dict[str, Any]]:
        found = sorted(self.buckets[bucket].objects.items())
        return {
            key: {
                "Key": key,
                "Size": len(stored.body),
                "ETag": f'"{stored.etag}"',
                "LastModified": datetime.fromtimestamp(stored.modified, UTC),
                "StorageClass": stored.storage_class,
            }
            for key, stored in found
            if key.startswith(prefix)
        }

    def count(self, method: str, status: int = 0, *, key: str = "") -> int:
        """How many requests of this method there were: with this status, for keys that contain
        this."""
        return sum(
            each.method == method and status in (0, each.status) and key in each.key
            for each in list(self.requests)
        )

    # --------------------------------------------------------------------------------- all requests

    def answer(self, request: Request) -> Reply:
        try:
            self._refuse(request)
            with self._lock:
                reply = self._dispatch(request)
        except _Refused as refused:
            reply = refused.reply
        except Exception as fault:  # noqa: BLE001 (whatever it is, `close` raises it)
            self._faults.append(fault)
            reply = _Refused(500, "InternalError", f"a fault of the odd store: {fault!r}").reply
        request.status = reply.status
        self.requests.append(request)
        return reply

    def _dispatch(self, request: Request) -> Reply:
        query, method = request.query, request.method
        if not request.key:
            return self._bucket(request)
        if request.bucket not in self.buckets:
            raise _Refused(404, "NoSuchBucket", "The specified bucket does not exist")
        if "x-amz-trailer" in request.headers and not self.has("stores-framing"):
            _unframe(request)
        if "tagging" in query:
            return self._tagging(request)
        if method in ("GET", "HEAD"):
            return self._read(request)
        if method == "PUT" and "partNumber" in query:
            return self._put_part(request)
        if method == "PUT":
            return (
                self._copy(request)
                if "x-amz-copy-source" in request.headers
                else self._put(request)
            )
        if method == "POST" and "uploads" in query:
            return self._create_upload(request)
        if method == "POST" and "uploadId" in query:
            return self._complete_upload(request)
        if method == "DELETE" and "uploadId" in query:
            self._upload(request)
            del self.buckets[request.bucket].uploads[query["uploadId"]]
            return Reply(204)
        if method == "DELETE":
            return self._delete(request)
        raise _Refused(
            405, "MethodNotAllowed", "The specified method is not allowed against this resource."
        )

    def _refuse(self, request: Request) -> None:
        """What is refused whatever the request is about."""
        self._refuse_endpoint(request)
        if "bad" in request.key:
            self._refuse_bad(request)
        reading = request.method in ("GET", "HEAD")
        for name in request.headers:
            checksum = name.startswith(("x-amz-checksum-", "x-amz-sdk-checksum-"))
            if (
                reading and name == "x-amz-checksum-mode" and self.has("refuses-checksum-mode")
            ) or (not reading and checksum and self.has("refuses-checksum-headers")):
                text = f"Unsupported header '{name}' received for this API call."
                raise _Refused(400, "InvalidArgument", text)
        if "if-match" in request.headers:
            text = "A header you provided implies functionality that is not implemented."
            if self.has("refuses-if-match-400"):
                raise _Refused(
                    400, "InvalidArgument", text, "<ArgumentName>If-Match</ArgumentName>"
                )
            if self.has("refuses-if-match-501"):
                raise _Refused(501, "NotImplemented", text, "<Header>If-Match</Header>")
        if "x-amz-copy-source-if-match" in request.headers and self.has("refuses-copy-if-match"):
            text = "A header you provided implies functionality that is not implemented."
            raise _Refused(
                501, "NotImplemented", text, "<Header>x-amz-copy-source-if-match</Header>"
            )
        if request.method == "DELETE" and "uploadId" not in request.query:
            self._refuse_delete(request)
        if not reading:
            self._refuse_write(request)

    def _refuse_delete(self, request: Request) -> None:
        denied = "versionId" in request.query and self.has("version-delete-denied")
        if denied or self.has("delete-denied"):
            raise _Refused(403, "AccessDenied", "Access Denied")

    def _refuse_bad(self, request: Request) -> None:
        """Keys with "bad" in them."""
        if request.method in ("GET", "HEAD") and self.has("bad-kms"):
            raise _Refused(400, "KMS.DisabledException", "The key is disabled.")
        if self.has("bad-401"):
            raise _Refused(401, "")
        if self.has("bad-302"):
            raise _Refused(302, "", Location=f"http://{ELSEWHERE}/sign-in")
        if self.has("bad-signature"):
            text = "The request signature we calculated does not match the signature you provided."
            raise _Refused(403, "SignatureDoesNotMatch", text)
        if self.has("always-429"):
            raise _Refused(429, "")
        if self.has("always-500"):
            raise _Refused(500, "InternalError", "The server has had an accident.")
        if self.has("always-503"):
            raise _Refused(503, "SlowDown", "Please reduce your request rate.")
        if self.has("retry-after"):
            raise _Refused(503, "SlowDown", "Please reduce your request rate.", Retry_After="3600")

    def _refuse_endpoint(self, request: Request) -> None:
        scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/", request.header("authorization"))
        if scope and scope[1] != "garage":
            text = (
                f"The authorization header is malformed; the region '{scope[1]}' is wrong; "
                "expecting 'garage'"
            )
            if self.has("region"):
                raise _Refused(400, "AuthorizationHeaderMalformed", text, "<Region>garage</Region>")
            if self.has("region-in-text"):
                raise _Refused(400, "AuthorizationHeaderMalformed", text)
            if self.has("region-location"):
                code = "IllegalLocationConstraintException"
                raise _Refused(400, code, "It is elsewhere", x_amz_bucket_region="garage")
        endpoint = f"<Endpoint>{ELSEWHERE}</Endpoint><Bucket>{request.bucket}</Bucket>"
        text = (
            "The bucket you are attempting to access must be addressed using the specified "
            "endpoint."
        )
        if self.has("redirect-301"):
            raise _Refused(301, "PermanentRedirect", text, endpoint)
        if self.has("redirect-307"):
            location = f"http://{ELSEWHERE}{request.target}"
            raise _Refused(307, "TemporaryRedirect", text, endpoint, Location=location)

    def _refuse_write(self, request: Request) -> None:
        if "x-amz-trailer" in request.headers:
            self._refuse_trailer()
        if "x-amz-acl" in request.headers and self.has("acl-refused"):
            raise _Refused(400, "AccessControlListNotSupported", "The bucket does not allow ACLs")
        if request.header("x-amz-storage-class") not in ("", "STANDARD") and self.has(
            "class-refused"
        ):
            raise _Refused(
                400, "InvalidStorageClass", "The storage class you specified is not valid"
            )
        if "x-amz-tagging" in request.headers and self.has("refuses-tags-400"):
            raise _Refused(400, "")
        if "x-amz-tagging" in request.headers and self.has("tags-501"):
            text = "A header you provided implies functionality that is not implemented"
            raise _Refused(501, "NotImplemented", text, "<Header>x-amz-tagging</Header>")
        metadata = [
            value for name, value in request.headers.items() if name.startswith("x-amz-meta-")
        ]
        if not all(value.isascii() for value in metadata) and self.has("sig-non-ascii"):
            text = "The request signature we calculated does not match the signature you provided."
            raise _Refused(403, "SignatureDoesNotMatch", text)

    def _refuse_trailer(self) -> None:
        if self.has("refuses-trailers-400"):
            raise _Refused(400, "XAmzContentSHA256Mismatch")
        if self.has("refuses-trailers-501"):
            text = "STREAMING-UNSIGNED-PAYLOAD-TRAILER not implemented"
            raise _Refused(501, "NotImplemented", text)
        if self.has("misreads-trailers"):
            text = "The request signature we calculated does not match the signature you provided."
            raise _Refused(403, "SignatureDoesNotMatch", text)

    # ---------------------------------------------------------------------------------- buckets

    def _bucket(self, request: Request) -> Reply:
        query, name = request.query, request.bucket
        if request.method == "PUT" and not query:
            self.buckets.setdefault(name, Bucket())
            return Reply()
        if name not in self.buckets:
            raise _Refused(404, "NoSuchBucket", "The specified bucket does not exist")
        if request.method == "HEAD":
            return Reply(headers=[("x-amz-bucket-region", self.region)])
        if request.method == "PUT" and "versioning" in query:
            self.buckets[name].versioned = b"Enabled" in request.body
            return Reply()
        if request.method == "DELETE":
            del self.buckets[name]
            return Reply(204)
        if request.method == "POST" and "delete" in query:
            for element in _elements(request.body, "Object"):
                self._forget(name, element["Key"])
            return _document("DeleteResult", "")
        if request.method != "GET":
            raise _Refused(405, "MethodNotAllowed", "The specified method is not allowed")
        return self._bucket_details(request)

    def _bucket_details(self, request: Request) -> Reply:
        query, name = request.query, request.bucket
        if "location" in query:
            return _document(
                "LocationConstraint", "" if self.region == "us-east-1" else self.region
            )
        if "versioning" in query:
            status = "<Status>Enabled</Status>" if self.buckets[name].versioned else ""
            return _document("VersioningConfiguration", status)
        if "uploads" in query:
            return self._list_uploads(request)
        if "versions" in query:
            return self._list_versions(request)
        for setting, code in UNSET.items():
            if setting in query:
                raise _Refused(404, code, "There is no such configuration")
        if "encoding-type" in request.query:
            if self.has("refuses-encoding-400"):
                raise _Refused(
                    400, "InvalidArgument", "Invalid Encoding Method specified in Request"
                )
            if self.has("refuses-encoding-501"):
                raise _Refused(501, "NotImplemented", "encoding-type is not implemented")
        return self._list(request)

    def _list(self, request: Request) -> Reply:
        if self.has("html-listing"):
            return Reply(body=_HTML, content_type="text/html")
        query, objects = request.query, self.buckets[request.bucket].objects
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        prefix = "" if self.has("ignores-prefix") else prefix
        version_2 = query.get("list-type") == "2" and not self.has("v1-only")
        limit = min(int(query.get("max-keys", 1000)), self.page)
        if version_2:
            token = query.get("continuation-token", "")
            after = (
                bytes.fromhex(token).decode(errors="surrogateescape")
                if token
                else query.get("start-after", "")
            )
        else:
            after = query.get("marker", "")

        # Each name of the listing, and whether it is a common prefix.
        folders: dict[str, bool] = {}
        for key in objects:
            if key.startswith(prefix):
                end = key.find(delimiter, len(prefix)) if delimiter else -1
                folders[key if end < 0 else key[: end + len(delimiter)]] = end >= 0
        names = sorted(folders)
        if self.has("unordered"):
            names.sort(key=lambda name: hashlib.md5(_bytes(name), usedforsecurity=False).digest())
            names = names[names.index(after) + 1 if after in names else 0 :]
        else:
            names = [name for name in names if name > after]
        page, more = names[:limit], len(names) > limit

        encoded = query.get("encoding-type") == "url"
        text = self._encoder(encoded)
        fields = f"<Name>{request.bucket}</Name><Prefix>{text(prefix)}</Prefix><MaxKeys>{limit}</MaxKeys>"
        fields += "<EncodingType>url</EncodingType>" if encoded else ""
        fields += f"<Delimiter>{text(delimiter)}</Delimiter>" if delimiter else ""
        if not self.has("no-is-truncated"):
            fields += f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>"
        fields += (
            f"<KeyCount>{len(page)}</KeyCount>" if version_2 else f"<Marker>{text(after)}</Marker>"
        )
        if more and version_2 and not self.has("no-token"):
            fields += f"<NextContinuationToken>{_bytes(page[-1]).hex()}</NextContinuationToken>"
        if more and delimiter and not version_2:
            fields += f"<NextMarker>{text(page[-1])}</NextMarker>"
        for name in page:
            if folders[name]:
                fields += f"<CommonPrefixes><Prefix>{text(name)}</Prefix></CommonPrefixes>"
            else:
                fields += _entry(text(name), objects[name])
        if self.has("etags-quoted-twice"):
            fields = fields.replace("&quot;", "&quot;&quot;")
        return _document("ListBucketResult", fields)

    def _encoder(self, encoded: bool) -> Callable[[str], str]:
        if not encoded or self.has("enc-raw"):
            return escape
        if self.has("enc-plus-raw"):
            return lambda name: quote(_bytes(name), safe="/+")
        return lambda name: quote_plus(_bytes(name), safe="/")

    def _list_uploads(self, request: Request) -> Reply:
        prefix = request.query.get("prefix", "")
        encoded = request.query.get("encoding-type") == "url"
        text = self._encoder(encoded)
        fields = f"<Bucket>{request.bucket}</Bucket>"
        fields += "<EncodingType>url</EncodingType>" if encoded else ""
        if self.has("endless-markers"):
            number = request.query.get("upload-id-marker", "0")
            fields += f"<NextKeyMarker>{text(prefix)}</NextKeyMarker><NextUploadIdMarker>{int(number) + 1}"
            fields += "</NextUploadIdMarker><IsTruncated>true</IsTruncated>"
        elif self.has("repeats-markers"):
            fields += f"<NextKeyMarker>{text(prefix)}</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>"
            fields += "<IsTruncated>true</IsTruncated>"
        else:
            fields += "<IsTruncated>false</IsTruncated>"
        for upload_id, upload in self.buckets[request.bucket].uploads.items():
            if upload.key.startswith(prefix):
                begun = _iso(upload.template.modified)
                fields += f"<Upload><Key>{text(upload.key)}</Key><UploadId>{upload_id}</UploadId>"
                fields += f"<Initiated>{begun}</Initiated></Upload>"
        return _document("ListMultipartUploadsResult", fields)

    def _list_versions(self, request: Request) -> Reply:
        bucket, prefix = self.buckets[request.bucket], request.query.get("prefix", "")
        encoded = request.query.get("encoding-type") == "url"
        text = self._encoder(encoded)
        found: Iterable[tuple[str, str, Stored | None]] = bucket.history
        if not bucket.versioned:
            found = [(key, "null", stored) for key, stored in sorted(bucket.objects.items())]
        fields = "<EncodingType>url</EncodingType>" if encoded else ""
        fields += "<IsTruncated>false</IsTruncated>"
        for key, version, stored in found:
            if key.startswith(prefix):
                name = "Version" if stored else "DeleteMarker"
                fields += f"<{name}><Key>{text(key)}</Key><VersionId>{version}</VersionId></{name}>"
        return _document("ListVersionsResult", fields)

    # ---------------------------------------------------------------------------------- reading

    def _found(self, request: Request) -> Stored:
        bucket, version = self.buckets[request.bucket], request.query.get("versionId", "")
        if version and bucket.versioned:
            stored = next(
                (each for key, id_, each in bucket.history if (key, id_) == (request.key, version)),
                None,
            )
        else:
            stored = bucket.objects.get(request.key)
        if stored is None or ("ghost" in request.key and self.has("ghost")):
            raise _Refused(404, "NoSuchKey", "The specified key does not exist.")
        return stored

    def _read(self, request: Request) -> Reply:
        stored = self._found(request)
        if self.has("read-html"):
            return Reply(body=_HTML, content_type="text/html")
        if self.has("read-error"):
            return Reply(body=_XML + b"<Error><Code>SlowDown</Code></Error>")
        _check_customer(request, stored)
        if (request.method == "HEAD" and self.has("heads-denied")) or self.has("reads-denied"):
            raise _Refused(403, "")
        if "partNumber" in request.query and self.has("part-heads-416"):
            raise _Refused(416, "")
        self._check_conditions(request, stored)
        headers = self._headers_of(stored, request.method)
        if (
            request.header("x-amz-checksum-mode").upper() == "ENABLED"
            and "range" not in request.headers
        ):
            headers += self._stated(stored)
        accepts_gzip = "gzip" in request.header("accept-encoding")
        packed = stored.headers.get("content-encoding") == b"gzip"
        if packed and not accepts_gzip and self.has("gunzips"):
            return self._gunzipped(stored, headers)
        if "partNumber" in request.query and stored.part_size:
            return self._part_headers(request, stored, headers)
        span = _span(request.header("range"), len(stored.body))
        if span is None and accepts_gzip and not packed and self.has("gzips"):
            headers.append(("Content-Encoding", "gzip"))
            return self._object_reply(Reply(200, gzip.compress(stored.body), headers, chunked=True))
        if span is None:
            body = (
                damaged(stored.body)
                if request.method == "GET" and self.has("flip-on-read")
                else stored.body
            )
            return self._object_reply(Reply(200, body, headers))
        first, last = span
        body = stored.body[first : last + 1]
        if request.method == "GET" and self.has("flip-on-range"):
            body = damaged(body)
        unit = "Bytes=" if self.has("range-spelled") else "bytes "
        size = "*" if self.has("range-of-unknown") else len(stored.body)
        headers.append(("Content-Range", f"{unit}{first}-{last}/{size}"))
        return self._object_reply(Reply(206, body, headers))

    def _part_headers(
        self, request: Request, stored: Stored, headers: list[tuple[str, str | bytes]]
    ) -> Reply:
        first = (int(request.query["partNumber"]) - 1) * stored.part_size
        count = -(-len(stored.body) // stored.part_size)
        headers.append(("x-amz-mp-parts-count", str(count)))
        return self._object_reply(
            Reply(206, stored.body[first : first + stored.part_size], headers)
        )

    def _check_conditions(self, request: Request, stored: Stored) -> None:
        wanted, unwanted = request.header("if-match"), request.header("if-none-match")
        if wanted and not wanted.startswith("W/") and self.has("weak-etags-412"):
            raise _precondition("If-Match")
        if wanted not in ("", "*") and wanted.removeprefix("W/").strip('"') != stored.etag:
            raise _precondition("If-Match")
        if unwanted and unwanted.strip('"') in ("*", stored.etag):
            if request.method in ("GET", "HEAD"):
                raise _Refused(304, "")
            raise _precondition("If-None-Match")

    def _headers_of(self, stored: Stored, method: str) -> list[tuple[str, str | bytes]]:
        headers: list[tuple[str, str | bytes]] = [
            ("ETag", self._quoted(stored)),
            ("Last-Modified", formatdate(stored.modified, usegmt=True)),
            ("Accept-Ranges", "bytes"),
            *stored.headers.items(),
        ]
        if "content-type" not in stored.headers:
            headers.append(("Content-Type", "binary/octet-stream"))
        if stored.storage_class != "STANDARD":
            headers.append(("x-amz-storage-class", stored.storage_class))
        if stored.version != "null":
            headers.append(("x-amz-version-id", stored.version))
        if method == "GET" and self.has("no-etag-on-read"):
            del headers[0]
        uncounted = (
            "tags-uncounted",
            *(quirk for quirk in QUIRKS if re.match(r"tags-(\d|denied|no|html|error)", quirk)),
        )
        if stored.tags and not any(map(self.has, uncounted)):
            count = len(parse_qsl(stored.tags, keep_blank_values=True))
            headers.append(("x-amz-tagging-count", str(count)))
        if self.has("missing-meta"):
            headers.append(("x-amz-missing-meta", "1"))
        return headers + self._encryption(stored)

    def _object_reply(self, reply: Reply) -> Reply:
        reply.content_type = ""
        if self.has("doubled-headers"):
            reply.headers = [each for each in reply.headers for _ in range(2)]
        return reply

    def _gunzipped(self, stored: Stored, headers: list[tuple[str, str | bytes]]) -> Reply:
        """The whole object unpacked, whatever range was asked for, without its length."""
        kept = [each for each in headers if each[0] != "content-encoding"]
        kept += [
            ("x-goog-stored-content-encoding", "gzip"),
            ("x-goog-stored-content-length", str(len(stored.body))),
            ("Warning", "214 UploadServer gunzipped"),
        ]
        return self._object_reply(Reply(200, gzip.decompress(stored.body), kept, chunked=True))

    def _tagging(self, request: Request) -> Reply:
        stored = self._found(request)
        if self.has("tags-denied"):
            raise _Refused(403, "AccessDenied", "Access Denied")
        if self.has("tags-501"):
            raise _Refused(501, "NotImplemented", "Tagging is not implemented")
        if self.has("tags-500"):
            raise _Refused(500, "InternalError", "We encountered an internal error")
        if self.has("tags-401"):
            raise _Refused(401, "Unauthorized", "Not for you")
        if self.has("tags-html"):
            return Reply(body=_HTML, content_type="text/html")
        if self.has("tags-error"):
            return Reply(body=_XML + b"<Error><Code>InternalError</Code></Error>")
        if self.has("tags-no-key"):
            raise _Refused(404, "NoSuchKey", "The specified key does not exist.")
        if request.method == "PUT":
            pairs = [(each["Key"], each["Value"]) for each in _elements(request.body, "Tag")]
            stored.tags = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)
            return Reply()
        if request.method == "DELETE":
            stored.tags = ""
            return Reply(204)
        if not stored.tags and self.has("tags-404"):
            raise _Refused(404, "NoSuchTagSet", "There is no tag set associated with the object.")
        tags = "".join(
            f"<Tag><Key>{escape(name)}</Key><Value>{escape(value)}</Value></Tag>"
            for name, value in parse_qsl(stored.tags, keep_blank_values=True)[
                : -1 if self.has("tags-partly") else None
            ]
        )
        return _document("Tagging", f"<TagSet>{tags}</TagSet>")

    # ---------------------------------------------------------------------------------- writing

    def _put(self, request: Request) -> Reply:
        self._verify(request)
        present = self.buckets[request.bucket].objects.get(request.key)
        if present:
            self._check_conditions(request, present)
        elif "if-match" in request.headers:
            raise _Refused(404, "NoSuchKey", "The specified key does not exist.")
        if self.has("put-html"):
            return Reply(body=_HTML, content_type="text/html")
        if self.has("put-html-etag"):
            return Reply(body=_HTML, headers=[("ETag", '"5f3a"')], content_type="text/html")
        if self.has("put-error"):
            error = "<Error><Code>InternalError</Code><Message>Try again</Message></Error>"
            return Reply(body=_XML + error.encode(), headers=[("ETag", '"5f3a"')])
        if self.has("put-text"):
            return Reply(
                body=b"Internal error", headers=[("ETag", '"5f3a"')], content_type="text/plain"
            )
        if self.has("put-cut"):
            return Reply(body=_XML + b"<Err", headers=[("ETag", '"5f3a"')])
        if self.has("put-202"):
            return Reply(202, headers=[("ETag", '"5f3a"')])
        stored = self._written(request, flipped=self.has("flip-on-write"))
        reply = self._written_reply(stored)
        if self.has("put-loses-body"):
            stored = replace(stored, body=b"")
        if not self.has("put-loses"):
            self._keep(request, stored)
        if stored.version != "null":
            reply.headers.append(("x-amz-version-id", stored.version))
        return reply

    def _put_part(self, request: Request) -> Reply:
        upload, number = self._upload(request), int(request.query["partNumber"])
        last = 10 if self.has("parts-limit") else 10_000
        if not 1 <= number <= last:
            text = f"Part number must be an integer between 1 and {last}, inclusive"
            raise _Refused(400, "InvalidArgument", text, "<ArgumentName>partNumber</ArgumentName>")
        _check_customer(request, upload.template)
        if "x-amz-copy-source" in request.headers:
            body = self._copied(request).body
            span = _span(request.header("x-amz-copy-source-range"), len(body))
            body = body[span[0] : span[1] + 1] if span else body
            body = damaged(body) if self.has("flip-on-copy") else body
            part = upload.parts[number] = Stored(body, self._etag(body))
            if upload.algorithm and not self.has("no-checksums"):
                part.checksums = {upload.algorithm: sum_of(upload.algorithm, body)}
            return _document("CopyPartResult", _copy_result(upload.parts[number]))
        self._verify(request)
        flipped = (number == 2 and self.has("flip-part")) or self.has("flip-parts")
        part = self._written(request, flipped=flipped)
        upload.parts[number] = part
        return self._written_reply(part)

    def _verify(self, request: Request) -> None:
        """Compare the body with the checksums that came with it."""
        sums, md5 = request.checksums, request.header("content-md5")
        if not (sums or md5) and self.has("object-lock"):
            text = (
                "Content-MD5 OR x-amz-checksum- HTTP header is required for Put requests with "
                "Object Lock parameters"
            )
            raise _Refused(400, "InvalidRequest", text)
        if md5 and not self.has("no-content-md5"):
            digest = hashlib.md5(request.body, usedforsecurity=False).digest()
            if base64.b64encode(digest).decode() != md5:
                raise _Refused(
                    400,
                    "BadDigest",
                    "The Content-MD5 you specified did not match what we received.",
                )
        unchecked = ("no-checksums", "answers-crc32", "echoes-unchecked")
        if sums and not any(map(self.has, unchecked)):
            for name, value in sums.items():
                if sum_of(name, request.body) != value:
                    text = (
                        f"The {name.upper()} you specified did not match the calculated checksum."
                    )
                    raise _Refused(400, "BadDigest", text)

    def _written(self, request: Request, *, flipped: bool) -> Stored:
        """What becomes of a body that came: damaged or not, and what the store says of it."""
        body = damaged(request.body) if flipped or self.has("lies") else request.body
        said = body if flipped else request.body
        if request.framed and self.has("hides-framing"):
            body = request.framed
        stored = replace(self._described(request), body=body, etag=self._etag(said))
        if stored.customer:
            stored.etag = os.urandom(16).hex()
        if self.has("answers-crc32"):
            stored.checksums = {"crc32": sum_of("crc32", said)}
        elif self.has("echoes-unchecked"):
            stored.checksums = request.checksums
        elif not self.has("no-checksums"):
            stored.checksums = {name: sum_of(name, said) for name in request.checksums}
        return stored

    def _described(self, request: Request) -> Stored:
        """An empty object with what the headers say of it."""
        kept = {
            name: value
            for name, value in request.headers.items()
            if name in KEPT_HEADERS or name.startswith("x-amz-meta-")
        }
        storage_class = request.header("x-amz-storage-class") or "STANDARD"
        return Stored(
            b"",
            "",
            kept,
            request.header("x-amz-tagging"),
            storage_class=storage_class,
            customer=_customer_of(request),
        )

    def _written_reply(self, stored: Stored) -> Reply:
        etag: list[tuple[str, str | bytes]] = [("ETag", self._quoted(stored))]
        if self.has("put-no-etag"):
            etag = []
        return Reply(
            headers=etag + self._stated(stored) + self._encryption(stored), content_type=""
        )

    def _keep(self, request: Request, stored: Stored) -> None:
        bucket = self.buckets[request.bucket]
        bucket.objects[request.key] = stored
        if bucket.versioned:
            stored.version = f"v{next(self._numbers)}"
            bucket.history.append((request.key, stored.version, stored))

    def _copied(self, request: Request) -> Stored:
        """The object that x-amz-copy-source names."""
        source = request.header("x-amz-copy-source")
        found = Request("GET", "/" + source.removeprefix("/"), {}, b"")
        if found.bucket not in self.buckets:
            raise _Refused(404, "NoSuchBucket", "The specified bucket does not exist")
        stored = self._found(found)
        _check_customer(request, stored, "x-amz-copy-source-")
        wanted = request.header("x-amz-copy-source-if-match").strip('"')
        if wanted and wanted != stored.etag:
            raise _precondition("x-amz-copy-source-If-Match")
        return stored

    def _copy(self, request: Request) -> Reply:
        source = self._copied(request)
        described = self._described(request)
        stored = replace(source, modified=time.time(), etag=self._etag(source.body), version="null")
        stored.storage_class = described.storage_class
        stored.customer = described.customer
        if self.has("flip-on-copy"):
            stored.body = damaged(source.body)
            stored.etag = self._etag(stored.body)
        if request.header("x-amz-metadata-directive") == "REPLACE":
            stored.headers = described.headers
        if request.header("x-amz-tagging-directive") == "REPLACE":
            stored.tags = described.tags
        self._keep(request, stored)
        reply = _document("CopyObjectResult", _copy_result(stored))
        reply.headers += self._encryption()
        return reply

    def _delete(self, request: Request) -> Reply:
        if self.has("delete-html"):
            return Reply(body=_HTML, content_type="text/html")
        bucket, version = self.buckets[request.bucket], request.query.get("versionId", "")
        if not (version and bucket.versioned):
            self._forget(request.bucket, request.key)
            return Reply(204)
        bucket.history = [each for each in bucket.history if each[:2] != (request.key, version)]
        newest = next(
            (each for key, _, each in reversed(bucket.history) if key == request.key), None
        )
        bucket.objects.pop(request.key, None)
        if newest:
            bucket.objects[request.key] = newest
        return Reply(204)

    def _forget(self, name: str, key: str) -> None:
        bucket = self.buckets[name]
        bucket.objects.pop(key, None)
        if bucket.versioned:
            bucket.history.append((key, f"v{next(self._numbers)}", None))

    # ---------------------------------------------------------------------------- multipart uploads

    def _upload(self, request: Request) -> Upload:
        upload = self.buckets[request.bucket].uploads.get(request.query["uploadId"])
        if upload is None or upload.key != request.key:
            raise _Refused(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        return upload

    def _create_upload(self, request: Request) -> Reply:
        upload_id = f"upload-{next(self._numbers)}"
        self.buckets[request.bucket].uploads[upload_id] = Upload(
            request.key,
            self._described(request),
            request.header("x-amz-checksum-algorithm").lower(),
        )
        fields = f"<Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key><UploadId>{upload_id}</UploadId>"
        reply = _document("InitiateMultipartUploadResult", fields)
        for name in ("x-amz-checksum-algorithm", "x-amz-checksum-type"):
            if name in request.headers and not self.has("no-checksums"):
                reply.headers.append((name, request.header(name)))
        reply.headers += self._encryption()
        return reply

    def _complete_upload(self, request: Request) -> Reply:
        upload = self._upload(request)
        parts = []
        for named in _elements(request.body, "Part"):
            part = upload.parts.get(int(named["PartNumber"]))
            sums = {name: named.get(f"Checksum{name.upper()}", "") for name in SUMS}
            if not part or named["ETag"].removeprefix("W/").strip('"') != part.etag:
                raise _Refused(
                    400, "InvalidPart", "One or more of the specified parts could not be found."
                )
            if any(
                value and value != part.checksums.get(name, value) for name, value in sums.items()
            ):
                raise _Refused(400, "InvalidPart", "The checksum of a part does not match.")
            parts.append(part)
        if not parts:
            raise _Refused(400, "MalformedXML", "The XML you provided was not well-formed")
        if self.has("join-503"):
            raise _Refused(503, "SlowDown", "Please reduce your request rate.")
        if self.has("join-stale"):
            before = self.buckets[request.bucket].objects.get(request.key)
            fields = f"<ETag>&quot;{before.etag if before else '5f3a-2'}&quot;</ETag>"
            return _document("CompleteMultipartUploadResult", fields)
        stored = self._joined(upload, parts[:-1] if self.has("join-short") else parts)
        for name, value in request.checksums.items():
            if stored.checksums.get(name, value) != value and not self.has("no-checksums"):
                raise _Refused(400, "BadDigest", f"The {name.upper()} you specified did not match.")
        self._keep(request, stored)
        del self.buckets[request.bucket].uploads[request.query["uploadId"]]
        if self.has("join-late-error"):
            return Reply(body=_XML + b"<Error><Code>InternalError</Code></Error>")
        fields = f"<Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key>"
        fields += f"<ETag>{escape(self._quoted(stored))}</ETag>"
        for name, value in stored.checksums.items():
            fields += f"<Checksum{name.upper()}>{value}</Checksum{name.upper()}>"
        if stored.checksums:
            fields += f"<ChecksumType>{stored.checksum_type}</ChecksumType>"
        reply = _document("CompleteMultipartUploadResult", fields)
        reply.headers += self._encryption()
        return reply

    def _joined(self, upload: Upload, parts: list[Stored]) -> Stored:
        digests = b"".join(_digest(part.etag) for part in parts)
        etag = f"{self._etag(digests)}-{len(parts)}"
        if self.has("join-hollow"):
            etag = f"{hashlib.md5(b'', usedforsecurity=False).hexdigest()}-{len(parts)}"
        if self.has("join-random"):
            etag = f"{os.urandom(16).hex()}-{len(parts)}"
        if flipped := self.has("flip-on-join"):
            etag = damaged(etag.encode()).hex()[:32] + f"-{len(parts)}"
        stored = replace(upload.template, body=b"".join(part.body for part in parts), etag=etag)
        stored.body = damaged(stored.body) if flipped else stored.body
        stored.modified = time.time()
        common = set.intersection(*(set(part.checksums) for part in parts))
        if "crc64nvme" in common:
            total = 0
            for part in parts:
                value = int.from_bytes(base64.b64decode(part.checksums["crc64nvme"]), "big")
                total = crt.combine_crc64nvme(total, value, len(part.body))
            stored.checksums = {"crc64nvme": base64.b64encode(total.to_bytes(8, "big")).decode()}
        else:
            stored.checksum_type = "COMPOSITE"
            for name in common:
                digests = b"".join(base64.b64decode(part.checksums[name]) for part in parts)
                stored.checksums[name] = f"{sum_of(name, digests)}-{len(parts)}"
        return stored

    # ---------------------------------------------------------------------- what it says of objects

    def _etag(self, body: bytes) -> str:
        """The ETag of a body; of the digests of the parts, what goes before the dash."""
        if self.has("etag-random") or self.has("kms"):
            return os.urandom(16).hex()
        if self.has("etag-opaque"):
            return hashlib.sha256(body).hexdigest()
        if self.has("etag-hmac"):
            return hmac.digest(b"odd", body, "sha256")[:16].hex()
        md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return md5.upper() if self.has("etag-upper") else md5

    def _quoted(self, stored: Stored) -> str:
        weak = "W/" if self.has("weak-etags") or self.has("weak-etags-412") else ""
        quotes = '""' if self.has("etags-quoted-twice") else '"'
        return f"{weak}{quotes}{stored.etag}{quotes}"

    def _stated(self, stored: Stored) -> list[tuple[str, str | bytes]]:
        if not stored.checksums or self.has("no-checksums"):
            return []
        sums = [(f"x-amz-checksum-{name}", value) for name, value in stored.checksums.items()]
        return [*sums, ("x-amz-checksum-type", stored.checksum_type)]

    def _encryption(self, stored: Stored | None = None) -> list[tuple[str, str | bytes]]:
        if stored and stored.customer:
            return [(f"{_CUSTOMER}algorithm", "AES256"), (f"{_CUSTOMER}key-md5", stored.customer)]
        return [("x-amz-server-side-encryption", "aws:kms")] if self.has("kms") else []


_CUSTOMER = "x-amz-server-side-encryption-customer-"


def _customer_of(request: Request, prefix: str = "x-amz-") -> str:
    """The MD5 of the customer's key that a request brings; "" without one."""
    name = _CUSTOMER.replace("x-amz-", prefix, 1)
    key, md5 = request.header(f"{name}key"), request.header(f"{name}key-md5")
    digest = hashlib.md5(base64.b64decode(key), usedforsecurity=False).digest()
    if key and (
        request.header(f"{name}algorithm") != "AES256" or base64.b64encode(digest).decode() != md5
    ):
        raise _Refused(400, "InvalidArgument", "The customer key is not what its digest says.")
    return md5


def _check_customer(request: Request, stored: Stored, prefix: str = "x-amz-") -> None:
    if _customer_of(request, prefix) != stored.customer:
        text = "The object is encrypted with another customer key, or with none."
        raise _Refused(400, "InvalidRequest", text)


def _unframe(request: Request) -> None:
    """Make of a body in the aws-chunked encoding what it would be without, its checksum in a
    header."""
    headers, framed = request.headers, request.body
    name, value = _unframed(request)
    *kept, last = request.header("content-encoding").split(",")
    if (
        headers.pop("x-amz-content-sha256") != b"STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        or last != "aws-chunked"
    ):
        raise _Refused(400, "InvalidRequest", "The headers do not say what the body is.")
    if name != request.header("x-amz-trailer") or name in headers:
        raise _Refused(
            400, "MalformedTrailerError", "The trailer is not the one that was announced."
        )
    if str(len(request.body)) != request.header("x-amz-decoded-content-length"):
        raise _Refused(400, "IncompleteBody", "The body has another length than was announced.")
    headers["content-encoding"] = ",".join(kept).encode()
    if not kept:
        del headers["content-encoding"]
    headers[name] = value.encode()
    request.framed = framed


def _unframed(request: Request) -> tuple[str, str]:
    """Put the bytes without their frame into the request. Returns name and value of the trailer."""
    chunks: list[bytes] = []
    rest = memoryview(request.body)
    while True:
        head, _, _ = bytes(rest[:18]).partition(b"\r\n")
        size = int(head, 16)
        if chunks and size and len(chunks[-1]) < 8192:
            raise _Refused(
                400, "InvalidChunkSizeError", "Only the last chunk may have less than 8192 bytes."
            )
        chunk, end = rest[len(head) + 2 :][:size], rest[len(head) + 2 + size :]
        if not size:
            break
        if len(chunk) != size or bytes(end[:2]) != b"\r\n":
            raise _Refused(400, "IncompleteBody", "The request body terminated unexpectedly.")
        chunks.append(bytes(chunk))
        rest = end[2:]
    request.body = b"".join(chunks)
    trailer = bytes(end).decode()
    name, _, value = trailer.partition(":")
    if not trailer.endswith("\r\n\r\n"):
        raise _Refused(400, "MalformedTrailerError", "The body does not end as it should.")
    return name, value.strip()


# ---------------------------------------------------------------------------------------- documents


def _document(name: str, fields: str) -> Reply:
    return Reply(body=_XML + _bytes(f"<{name}{_NAMESPACE}>{fields}</{name}>"))


def _entry(key: str, stored: Stored) -> str:
    return (
        f"<Contents><Key>{key}</Key><LastModified>{_iso(stored.modified)}</LastModified>"
        f"<ETag>&quot;{escape(stored.etag)}&quot;</ETag><Size>{len(stored.body)}</Size>"
        f"<StorageClass>{stored.storage_class}</StorageClass></Contents>"
    )


def _copy_result(stored: Stored) -> str:
    return f"<LastModified>{_iso(stored.modified)}</LastModified><ETag>&quot;{stored.etag}&quot;</ETag>"


def _elements(body: bytes, name: str) -> list[dict[str, str]]:
    """The children of all elements with this name, as text by name."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise _Refused(400, "MalformedXML", "The XML you provided was not well-formed") from None
    return [
        {child.tag.rpartition("}")[2]: child.text or "" for child in element}
        for element in root.iter()
        if element.tag.rpartition("}")[2] == name
    ]


def _precondition(condition: str) -> _Refused:
    text = "At least one of the pre-conditions you specified did not hold"
    return _Refused(412, "PreconditionFailed", text, f"<Condition>{condition}</Condition>")


def _span(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a Range header; None for the whole."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if not match or not (match[1] or match[2]):
        return None
    first = int(match[1]) if match[1] else max(size - int(match[2]), 0)
    last = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
    if first > last:
        raise _Refused(416, "InvalidRange", "The requested range is not satisfiable")
    return first, last


def _digest(etag: str) -> bytes:
    with contextlib.suppress(ValueError):
        return bytes.fromhex(etag)
    return etag.encode()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


# ----------------------------------------------------------------------------------------- the wire


class _TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    store: OddStore

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.discard(request)

    def disconnect(self) -> None:
        """End the connections that wait for a next request."""
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(2)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may go at any time."""


class _Connection(socketserver.StreamRequestHandler):
    """HTTP/1.1 as bytes: the parser of the standard library decodes headers."""

    server: _TcpServer
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def handle(self) -> None:
        while request := self._read():
            reply = self.server.store.answer(request)
            self._write(reply, head=request.method == "HEAD")
            if request.header("connection").lower() == "close":
                return

    def _read(self) -> Request | None:
        line = self.rfile.readline().split()
        if len(line) != 3:
            return None
        headers: dict[str, bytes] = {}
        while (header := self.rfile.readline().rstrip(b"\r\n")) != b"":
            name, _, value = header.partition(b":")
            headers[name.decode("latin-1").lower()] = value.strip(b" \t")
        if headers.get("expect", b"").lower() == b"100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        if headers.get("transfer-encoding", b"").lower() == b"chunked":
            body = b"".join(self._chunks())
        else:
            size = int(headers.get("content-length", b"0"))
            body = self.rfile.read(size)
            if len(body) < size:
                return None
        return Request(line[0].decode(), line[1].decode("latin-1"), headers, body)

    def _chunks(self) -> Iterable[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _write(self, reply: Reply, *, head: bool) -> None:
        headers: list[tuple[str, str | bytes]] = [
            ("Server", "odd"),
            ("Date", formatdate(usegmt=True)),
            ("x-amz-request-id", "0DD"),
            *reply.headers,
        ]
        empty = reply.status in (204, 304)
        if reply.content_type and reply.body:
            headers.append(("Content-Type", reply.content_type))
        if reply.chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        elif not empty:
            headers.append(("Content-Length", str(len(reply.body))))
        lines = [f"HTTP/1.1 {reply.status} Odd".encode()]
        for name, value in headers:
            text = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
            lines.append(name.encode() + b": " + text)
        self.wfile.write(b"\r\n".join([*lines, b"", b""]))
        if not head and not empty:
            if reply.chunked and reply.body:
                self.wfile.write(b"%x\r\n" % len(reply.body) + reply.body + b"\r\n")
            elif not reply.chunked:
                self.wfile.write(reply.body)
            if reply.chunked:
                self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
