"""One bucket of one S3-compatible store: every request the hub makes, and the class of every error.

A method is one request; retrying is the caller's (see `retry`). Keys go on the wire byte for byte.
"""

import asyncio
import calendar
import contextlib
import email.utils
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape, unescape

from dth.errors import (
    ConnectionFailed,
    Corrupted,
    Disposition,
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
)
from dth.s3.checksums import checksum, header_name
from dth.s3.credentials import Credentials
from dth.s3.endpoints import Addressing, ChecksumMode, Endpoint
from dth.s3.listing import is_web_page
from dth.s3.pace import Cap, Gate, Supply
from dth.s3.signing import EMPTY_SHA256, UNSIGNED, Signer, quote_key, quote_query
from dth.s3.transport import Body, Pipe, Response, Transport, Valve

T = TypeVar("T")

BUCKET_CHECK = 5.0  # seconds for which a bucket that was there is taken to be there
SLOW_ANSWER = 900.0  # seconds a store may take to complete or copy a large object, without a byte in between

ENDPOINT_CODES = {
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidBucketName",
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
CORRUPT_CODES = {"BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}

CHECKSUM_HEADERS = frozenset(header_name(mode) for mode in ChecksumMode if mode is not ChecksumMode.NONE)
UPLOAD_CHECKSUM = "x-amz-checksum-algorithm"  # of CreateMultipartUpload: a checksum of the whole will be kept
REFUSED_WORDS = (
    r"checksum|digest|md5",
    r"\bacl|accesscontrollist",
    r"\btag",
)  # in a refusal that names what it is about
VAGUE_CODES = {"InvalidArgument", "InvalidHeader", "InvalidRequest"}
SETTINGS = {  # query of each setting of a bucket, and the document that answers it
    "versioning": "VersioningConfiguration",
    "object-lock": "ObjectLockConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "encryption": "ServerSideEncryptionConfiguration",
    "ownershipControls": "OwnershipControls",
}
OPTIONAL_HEADERS = CHECKSUM_HEADERS | {UPLOAD_CHECKSUM, "x-amz-acl", "x-amz-tagging"}


@dataclass(slots=True)
class Capabilities:
    """What this store turned out to take; starts from its profile. Each change leaves a note for the user."""

    checksum: ChecksumMode
    tags: bool
    acl: bool
    if_match: bool = True
    upload_checksum: bool = True
    proven: set[str] = field(default_factory=set)  # headers it has taken: it does not refuse those for good
    notes: list[str] = field(default_factory=list)
    lessons: dict[str, tuple[Any, str]] = field(
        default_factory=dict
    )  # on trial: what was changed, and its note

    def lesser(self, host: str, error: TransferError, headers: Mapping[str, str]) -> "Capabilities | None":
        """What to try after a refused write: the same with less asked of the store. None where the refusal is for good.
        It counts once it is adopted."""
        if error.status not in (400, 403, 501) or isinstance(error, EndpointRefused):
            return None
        suspects = headers.keys() - self.proven
        text = f"{error.code} {error.said}".lower()
        sums, acl, tags = (bool(re.search(words, text)) for words in REFUSED_WORDS)
        if not (sums or acl or tags) and (error.status == 501 or error.code in VAGUE_CODES):
            sums = acl = tags = True  # one after the other
        if sums and UPLOAD_CHECKSUM in suspects:
            note = f"keeps no checksum of a multipart upload ({error.code}); its parts are covered one by one"
            return self._without("upload_checksum", False, f"{host} {note}")
        if sums and header_name(self.checksum) in suspects:
            if "checksum" in self.lessons or self.checksum is ChecksumMode.MD5:
                note = f"{host} refuses checksums ({error.code}); bodies go without"
                return self._without("checksum", ChecksumMode.NONE, note)
            note = f"{host} refuses {self.checksum} checksums ({error.code}); bodies go with Content-MD5"
            return self._without("checksum", ChecksumMode.MD5, note)
        if acl and "x-amz-acl" in suspects:
            note = f"{host} takes no ACLs ({error.code}); objects are written without"
            return self._without("acl", False, note)
        if tags and "x-amz-tagging" in suspects and error.code != "InvalidTag":
            note = f"{host} takes no tags ({error.code}); objects are written without"
            return self._without("tags", False, note)
        return None

    def _without(self, name: str, value: Any, note: str) -> "Capabilities":
        changed = replace(self, lessons={**self.lessons, name: (value, note)})
        setattr(changed, name, value)
        return changed

    def adopt(self, tried: "Capabilities", headers: Mapping[str, str]) -> None:
        """A write has passed: what it carried is proven, and what it did without is learned."""
        self.proven |= OPTIONAL_HEADERS & headers.keys()
        for name, (value, note) in tried.lessons.items():
            if getattr(self, name) != value:  # or else another request was first
                setattr(self, name, value)
                self.notes.append(note)


@dataclass(frozen=True, slots=True)
class UploadInProgress:
    key: str
    upload_id: str
    initiated: float  # seconds since the epoch, by the store's clock


class S3Client:
    """Requests to one bucket. `gate` and the caps are shared by all clients of the endpoint in this process."""

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        bucket: str,
        credentials: Credentials,
        *,
        gate: Gate | None = None,
        request_cap: Cap | None = None,
        byte_cap: Cap | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.bucket = bucket
        self.credentials = credentials
        self.gate = gate or Gate()
        self.capabilities = Capabilities(endpoint.checksum, endpoint.profile.tags, endpoint.profile.acl)
        self._bucket_seen = -BUCKET_CHECK
        self.clock_offset = 0.0  # the store's clock minus ours, in seconds
        self.held_back = 0  # requests that wait for a cap before they are sent
        self._transport = transport
        self._request_cap = request_cap
        self._byte_cap = byte_cap
        self._connect = replace(endpoint.connect, receive_buffer=byte_cap.buffer if byte_cap else 0)
        self._signer = Signer(endpoint.region)
        scheme, _, host = endpoint.url.partition("://")
        if endpoint.addressing is Addressing.VIRTUAL and "." not in bucket:
            host = f"{bucket}.{host}"
            self._root = ""
        else:
            self._root = f"/{bucket}"
        self._host = host
        self._origin = f"{scheme}://{host}"

    # ------------------------------------------------------------------------------------------ one request

    async def request(
        self,
        method: str,
        key: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        sink: Pipe | None = None,
        limit: int = 0,
        slow: bool = False,
    ) -> Response:
        """Send one signed request. `limit`: bytes of body expected in the answer; `sink`: where a good answer's body
        goes instead of memory; `slow`: the store may think for minutes. Raises TransferError for any status >= 300."""
        size = sum(map(len, body)) if isinstance(body, list) else len(body)
        send = partial(self._send, method, key, query, headers, body, sink, limit, slow, size)
        if self._request_cap or self._byte_cap:
            send = partial(self._pace, send, size, limit)
        if isinstance(body, Pipe):  # its other end holds a place already
            return await send()
        async with self.gate:
            return await send()

    async def _pace(self, send: Callable[..., Awaitable[Response]], size: int, limit: int) -> Response:
        """Send when the caps let it: a small body once all of it is granted, a large one as it is granted."""
        if self._request_cap:
            await self._granted(self._request_cap.take(1))
        cap, amount = self._byte_cap, size or limit
        if cap is None or amount <= cap.slice:
            if cap and amount:
                await self._granted(cap.take(amount))
            return await send()
        async with cap.large:
            supply, valve = Supply(cap, amount, received=not size), Valve()
            valve.grant(await self._granted(supply.next()))
            feeder = asyncio.create_task(supply.feed(valve))
            try:
                return await send(valve)
            finally:
                feeder.cancel()

    async def _granted(self, grant: Awaitable[T]) -> T:
        """Wait for a cap, and let it be seen."""
        self.held_back += 1
        try:
            return await grant
        finally:
            self.held_back -= 1

    async def _send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: Body,
        sink: Pipe | None,
        limit: int,
        slow: bool,
        size: int,
        valve: Valve | None = None,
    ) -> Response:
        path = f"{self._root}/{quote_key(key)}" if key or not self._root else self._root
        line = quote_query(query) if query else ""
        signed = {"host": self._host}
        if headers:
            signed.update(headers)
        if self.endpoint.requester_pays:
            signed["x-amz-request-payer"] = "requester"
        keys = await self.credentials.keys()
        if keys:
            self._signer.sign(keys, method, path, line, signed, UNSIGNED if size else EMPTY_SHA256)
        del signed["host"]  # libcurl sends the same one
        sent = time.monotonic()
        try:
            response = await self._transport.send(
                method,
                f"{self._origin}{path}?{line}" if line else self._origin + path,
                signed,
                body,
                options=self._connect,
                sink=sink,
                limit=limit,
                stall_timeout=SLOW_ANSWER if slow else 0.0,
                valve=valve,
            )
        except TransferError as failure:
            self.gate.errors += 1
            if isinstance(failure, ConnectionFailed):
                self.gate.slow_down()  # a server that refuses connections is one that is overrun
            raise
        if response.status < 300:
            self.gate.succeeded(time.monotonic() - sent)
            return response
        error = self._error(method, key, response)
        self.gate.errors += error.disposition is not Disposition.GONE
        if isinstance(error, Throttled):
            self.gate.slow_down()
        raise error

    def _error(self, method: str, key: str, response: Response) -> TransferError:
        code, message = parse_error(response.body)
        if not code and is_web_page(response.body):
            message = "the answer is a web page"
        if response.status == 403:
            self._note_clock(response)
        where = f"{method} {self._host}/{self.bucket}" + (f" key {key!r}" if key else "")
        return classify(response, code, message, where)

    def _note_clock(self, response: Response) -> None:
        stamp = email.utils.parsedate_tz(response.headers.get("date", ""))
        if stamp:
            self.clock_offset = email.utils.mktime_tz(stamp) - time.time()

    def for_bucket(self, bucket: str) -> "S3Client":
        """The same store and credentials, another bucket."""
        if bucket == self.bucket:
            return self
        return S3Client(
            self._transport,
            self.endpoint,
            bucket,
            self.credentials,
            gate=self.gate,
            request_cap=self._request_cap,
            byte_cap=self._byte_cap,
        )

    async def find_region(self) -> str:
        """The bucket's region as AWS tells it to anybody; "" where the store says nothing."""
        response = await self._transport.send(
            "HEAD", self._origin + self._root, {}, options=self.endpoint.connect
        )
        return response.headers.get("x-amz-bucket-region", "")

    # ------------------------------------------------------------------------------------------------ reading

    async def get(
        self,
        key: str,
        *,
        size: int,
        etag: str = "",
        span: tuple[int, int] | None = None,
        sink: Pipe | None = None,
    ) -> Response:
        """The object, or bytes `span` (first, last) of it. With `etag` the answer is that very object or
        ObjectChanged is raised, also on stores that ignore If-Match."""
        headers: dict[str, str] = {}
        expected = size
        if span:
            headers["range"] = f"bytes={span[0]}-{span[1]}"
            expected = span[1] - span[0] + 1
        else:
            headers["x-amz-checksum-mode"] = "ENABLED"
        response = await self._if_match("GET", key, headers, etag, sink, expected)
        self._check_answer(key, response, etag, size, span)
        if sink is None:
            got = sum(map(len, response.chunks))
            if got != expected:
                raise Corrupted(
                    f"GET {self._host}/{self.bucket} key {key!r}: {got} bytes came, {expected} were due",
                    code="TruncatedBody",
                )
        return response

    async def _if_match(
        self,
        method: str,
        key: str,
        headers: dict[str, str],
        etag: str,
        sink: Pipe | None = None,
        limit: int = 0,
    ) -> Response:
        """Ask for the object with this very ETag, of a store that refuses If-Match too: answers are compared anyway."""
        known = self.capabilities
        if not etag or not known.if_match:
            return await self.request(method, key, headers=headers, sink=sink, limit=limit)
        try:
            response = await self.request(
                method, key, headers={**headers, "if-match": f'"{etag}"'}, sink=sink, limit=limit
            )
            known.proven.add("if-match")
            return response
        except ObjectRefused as error:
            unknown = isinstance(error, NotSupported) or error.status == 400
            if not unknown or "if-match" in known.proven:
                raise
        response = await self.request(method, key, headers=headers, sink=sink, limit=limit)
        if known.if_match:
            known.if_match = False
            known.notes.append(f"{self._host} knows no If-Match; ETags of answers are compared instead")
        return response

    def _check_etag(self, key: str, response: Response, etag: str) -> None:
        answered = response.headers.get("etag", "").strip('"')
        if etag and answered and answered != etag:
            raise ObjectChanged(
                f"{self._host}/{self.bucket} key {key!r}: ETag is {answered}, listed was {etag}",
                code="ETagChanged",
            )

    def _check_answer(
        self, key: str, response: Response, etag: str, size: int, span: tuple[int, int] | None
    ) -> None:
        self._check_etag(key, response, etag)
        where = f"{self._host}/{self.bucket} key {key!r}"
        content_range = response.headers.get("content-range", "")
        if span:
            wanted = f"bytes {span[0]}-{span[1]}/{size}"
            if content_range != wanted:
                raise ObjectChanged(
                    f"{where}: asked for {wanted}, got {content_range or 'the whole object'}",
                    code="RangeChanged",
                )
        elif int(response.headers.get("content-length", size)) != size:
            raise ObjectChanged(
                f"{where}: {response.headers['content-length']} bytes, listed were {size}", code="SizeChanged"
            )

    async def head(self, key: str, *, etag: str = "", checksums: bool = False) -> Response:
        """The object's headers. With `etag` they are those of that very object, or ObjectChanged is raised."""
        headers = {"x-amz-checksum-mode": "ENABLED"} if checksums else {}
        try:
            response = await self._if_match("HEAD", key, headers, etag)
        except ObjectRefused as error:
            if error.status in (400, 403):
                # An answer to HEAD has no body: ask in a way that tells the reason.
                await self.request("GET", key, headers={"range": "bytes=0-0"}, limit=1)
            raise
        except SourceGone:
            await self._check_bucket()
            raise
        self._check_etag(key, response, etag)
        return response

    async def head_bucket(self) -> Response:
        return await self.request("HEAD")

    async def setting(self, name: str) -> ElementTree.Element | None:
        """A setting of the bucket (one of `SETTINGS`), its elements without namespaces; None where it is not set.
        Raises NotSupported where the store answers something else."""
        try:
            response = await self.request("GET", query={name: ""})
        except SourceGone:
            return None
        root = _plain(response.body)
        if root.tag != SETTINGS[name]:  # it knows no such query, and lists the bucket
            raise NotSupported(
                f"GET {self._host}/{self.bucket}: no {name} in the answer", code="NotImplemented", status=501
            )
        return root

    async def versions(self, key: str) -> list[str]:
        """Ids of all versions and delete markers of exactly this key, of the first thousand that begin with it."""
        response = await self.request("GET", query={"versions": "", "prefix": key, "encoding-type": "url"})
        root = _plain(response.body)
        encoded = root.findtext("EncodingType") == "url"
        return [
            item.findtext("VersionId") or ""
            for item in root
            if item.tag in ("Version", "DeleteMarker")
            and _decoded(item.findtext("Key") or "", encoded) == key
        ]

    async def _check_bucket(self) -> None:
        """A HEAD that finds no object does not tell whether the bucket is missing: see now and then."""
        if time.monotonic() - self._bucket_seen < BUCKET_CHECK:
            return
        try:
            await self.head_bucket()
        except SourceGone as error:
            raise EndpointRefused(
                f"HEAD {self._host}: there is no bucket {self.bucket!r}", code="NoSuchBucket", status=404
            ) from error
        except ObjectRefused:
            pass  # no right to look at it: it is there
        self._bucket_seen = time.monotonic()

    async def tags(self, key: str) -> str:
        """The object's tags as the `x-amz-tagging` header takes them."""
        response = await self.request("GET", key, query={"tagging": ""})
        pairs: dict[str, str] = {}
        for tag in _xml(response.body).iter():
            if _local(tag.tag) == "Tag":
                values = {_local(child.tag): child.text or "" for child in tag}
                pairs[values.get("Key", "")] = values.get("Value", "")
        return "&".join(f"{quote_query({name: value})}" for name, value in pairs.items())

    # ------------------------------------------------------------------------------------------------ writing

    async def put(self, key: str, chunks: list[bytes], headers: Mapping[str, str]) -> tuple[Response, str]:
        """Write a whole object. Returns the answer and the proof, `mode:base64` ("" where the store takes none)."""
        known = self.capabilities
        while True:
            sent, proof = _covered(known, chunks, _allowed(known, headers))
            try:
                response = await self.request("PUT", key, headers=sent, body=_body(chunks))
            except ObjectRefused as error:
                lesser = known.lesser(self._host, error, sent)
                if not lesser:
                    raise
                known = lesser
                continue
            except SourceGone as error:  # a destination that answers 404 to a PUT has lost no source
                raise ObjectRefused(str(error), code=error.code, status=error.status) from None
            self.capabilities.adopt(known, sent)
            self._verify(key, response, proof)
            return response, proof

    async def create_upload(self, key: str, headers: Mapping[str, str]) -> str:
        """Begin a multipart upload; returns its id."""
        known = self.capabilities
        while True:
            sent = _allowed(known, headers)
            if known.checksum is ChecksumMode.CRC64NVME and known.upload_checksum:
                sent |= {UPLOAD_CHECKSUM: "CRC64NVME", "x-amz-checksum-type": "FULL_OBJECT"}
            try:
                response = await self.request("POST", key, query={"uploads": ""}, headers=sent)
                break
            except ObjectRefused as error:
                lesser = known.lesser(self._host, error, sent)
                if not lesser:
                    raise
                known = lesser
            except SourceGone as error:
                raise ObjectRefused(str(error), code=error.code, status=error.status) from None
        self.capabilities.adopt(known, sent)
        upload_id = _find_text(response.body, "UploadId")
        if not upload_id:
            raise self._bad_answer("POST", key, "no upload id")
        return upload_id

    async def upload_part(
        self, key: str, upload_id: str, number: int, body: list[bytes] | Pipe
    ) -> tuple[str, str]:
        """Write one part. Returns its ETag and proof; for a pipe, whose checksum is known only afterwards, what
        the store answered ("" if it answered none)."""
        query = {"partNumber": str(number), "uploadId": upload_id}
        known = self.capabilities
        while True:
            headers: dict[str, str] = {}
            proof = ""
            if not isinstance(body, Pipe):
                headers, proof = _covered(known, body, {})
            try:
                sent = body if isinstance(body, Pipe) else _body(body)
                response = await self.request("PUT", key, query=query, headers=headers, body=sent)
            except ObjectRefused as error:
                lesser = known.lesser(self._host, error, headers)
                if not lesser:
                    raise
                known = lesser
                continue
            except SourceGone as error:
                raise NoSuchUpload(str(error), code=error.code, status=error.status) from None
            etag = response.headers.get("etag", "").strip('"')
            if not etag:
                raise self._bad_answer("PUT", key, "no ETag")
            self.capabilities.adopt(known, headers)
            if isinstance(body, Pipe):
                mode = known.checksum
                answered = response.headers.get(header_name(mode), "")
                return etag, f"{mode}:{answered}" if answered else ""
            self._verify(key, response, proof)
            return etag, proof

    async def complete_upload(
        self, key: str, upload_id: str, parts: Sequence[tuple[int, str, str]]
    ) -> tuple[str, str]:
        """Join the parts (number, etag, proof). Returns the object's ETag and its checksum header's value if the store
        answered a CRC64NVME of the whole."""
        items = []
        for number, etag, proof in parts:
            mode, _, value = proof.partition(":")
            sum_ = f"<ChecksumCRC64NVME>{value}</ChecksumCRC64NVME>" if mode == ChecksumMode.CRC64NVME else ""
            items.append(f'<Part><PartNumber>{number}</PartNumber><ETag>"{escape(etag)}"</ETag>{sum_}</Part>')
        body = "".join(["<CompleteMultipartUpload>", *items, "</CompleteMultipartUpload>"]).encode()
        response = await self.request(
            "POST",
            key,
            query={"uploadId": upload_id},
            headers={"content-type": "application/xml"},
            body=body,
            slow=True,
        )
        return self._late_etag("POST", key, response), _find_text(response.body, "ChecksumCRC64NVME")

    async def abort_upload(self, key: str, upload_id: str) -> None:
        """Throw an upload away; one that is gone already is no error."""
        with contextlib.suppress(NoSuchUpload, SourceGone):
            await self.request("DELETE", key, query={"uploadId": upload_id})

    async def uploads(self, key: str) -> list[UploadInProgress]:
        """Multipart uploads in progress of exactly this key."""
        found: list[UploadInProgress] = []
        # Encoded, because XML cannot hold every key.
        query = {"uploads": "", "prefix": key, "encoding-type": "url"}
        while True:
            try:
                response = await self.request("GET", query=query)
            except NoSuchUpload:  # how rclone says that there are none
                return found
            self._note_clock(response)
            root = _xml(response.body)
            values = {_local(child.tag): child.text or "" for child in root}
            encoded = values.get("EncodingType") == "url"
            for item in root:
                if _local(item.tag) == "Upload":
                    upload = {_local(child.tag): child.text or "" for child in item}
                    if _decoded(upload.get("Key", ""), encoded) == key:
                        found.append(
                            UploadInProgress(
                                key, upload.get("UploadId", ""), parse_time(upload.get("Initiated", ""))
                            )
                        )
            marker = _decoded(values.get("NextKeyMarker", ""), encoded)
            if values.get("IsTruncated") != "true" or not marker or marker > key:  # longer keys follow
                return found
            query |= {"key-marker": marker, "upload-id-marker": values.get("NextUploadIdMarker", "")}

    async def copy(
        self, source: "S3Client", source_key: str, key: str, etag: str, headers: Mapping[str, str]
    ) -> str:
        """Copy within the store, without the bytes passing here. Returns the new ETag."""
        sent = _allowed(self.capabilities, headers) | _copy_source(source, source_key, etag)
        response = await self.request("PUT", key, headers=sent, slow=True)
        return self._late_etag("PUT", key, response)

    async def copy_part(
        self,
        source: "S3Client",
        source_key: str,
        key: str,
        upload_id: str,
        number: int,
        etag: str,
        span: tuple[int, int],
    ) -> str:
        """Copy bytes `span` of the source as one part. Returns the part's ETag."""
        headers = _copy_source(source, source_key, etag) | {
            "x-amz-copy-source-range": f"bytes={span[0]}-{span[1]}"
        }
        query = {"partNumber": str(number), "uploadId": upload_id}
        response = await self.request("PUT", key, query=query, headers=headers, slow=True)
        return self._late_etag("PUT", key, response)

    async def delete(self, key: str) -> None:
        """Delete the object; one that is gone already is no error."""
        with contextlib.suppress(SourceGone):
            await self.request("DELETE", key)

    async def restore(self, key: str, days: int, tier: str) -> bool:
        """Ask for a readable copy of an archived object. False when that is under way already."""
        body = (
            f"<RestoreRequest><Days>{days}</Days>"
            f"<GlacierJobParameters><Tier>{escape(tier)}</Tier></GlacierJobParameters></RestoreRequest>"
        ).encode()
        headers = {"content-type": "application/xml"}
        headers[header_name(ChecksumMode.MD5)] = checksum(ChecksumMode.MD5, [body])
        try:
            await self.request("POST", key, query={"restore": ""}, headers=headers, body=body)
        except ObjectRefused as error:
            if error.code == "RestoreAlreadyInProgress":
                return False
            raise
        return True

    # ------------------------------------------------------------------------------------------------ details

    def _verify(self, key: str, response: Response, proof: str) -> None:
        """A store that answers a checksum of what it stored must answer ours."""
        mode, _, value = proof.partition(":")
        answered = response.headers.get(f"x-amz-checksum-{mode}", value) if mode else value
        if answered != value:
            raise Corrupted(
                f"PUT {self._host}/{self.bucket} key {key!r}: stored {mode} is {answered}, sent was {value}",
                code="ChecksumMismatch",
            )

    def _late_etag(self, method: str, key: str, response: Response) -> str:
        """The ETag in the body of an operation that answers 200 first and may fail later, in the body."""
        code, message = parse_error(response.body)
        if code:
            status = 404 if code == "NoSuchUpload" else 500 if code in TRANSIENT_CODES else 400
            where = f"{method} {self._host}/{self.bucket} key {key!r}"
            raise classify(Response(status, response.headers), code, message, where)
        etag = _find_text(response.body, "ETag").strip('"')
        if not etag:
            raise self._bad_answer(method, key, "no ETag")
        return etag

    def _bad_answer(self, method: str, key: str, lacks: str) -> Transient:
        return Transient(
            f"{method} {self._host}/{self.bucket} key {key!r}: {lacks} in the answer", code="BadAnswer"
        )


def _allowed(known: Capabilities, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers without those this store was found to refuse."""
    sent = dict(headers)
    if not known.acl:
        sent.pop("x-amz-acl", None)
    if not known.tags:
        sent.pop("x-amz-tagging", None)
    return sent


def _covered(known: Capabilities, chunks: list[bytes], headers: dict[str, str]) -> tuple[dict[str, str], str]:
    """The headers with the body's checksum, and the proof that it makes."""
    mode = known.checksum
    if mode is ChecksumMode.NONE:
        return headers, ""
    value = checksum(mode, chunks)
    headers[header_name(mode)] = value
    return headers, f"{mode}:{value}"


def _body(chunks: list[bytes]) -> Body:
    return chunks[0] if len(chunks) == 1 else chunks or b""


def _copy_source(source: S3Client, key: str, etag: str) -> dict[str, str]:
    headers = {"x-amz-copy-source": f"/{source.bucket}/{quote_key(key)}"}
    if etag:
        headers["x-amz-copy-source-if-match"] = f'"{etag}"'
    if source.endpoint.requester_pays:
        headers["x-amz-request-payer"] = "requester"
    return headers


# ----------------------------------------------------------------------------------------------------- errors


def parse_error(body: bytes) -> tuple[str, str]:
    """Code and message of an <Error> document; empty strings when it is none. Where it names a header or argument, the
    message ends with that."""
    if b"<Error" not in body[:2000]:
        return "", ""
    message = _find_text(body, "Message")
    named = _find_text(body, "Header") or _find_text(body, "ArgumentName")
    return _find_text(body, "Code"), f"{message} ({named})" if named and named not in message else message


def classify(response: Response, code: str, message: str, where: str) -> TransferError:
    """The error class for an answer, by its code first and its status second."""
    status = response.status
    code = code or _code_of(status)
    said = " ".join(message.split())
    return _class_of(status, code, said)(
        f"{where}: {status} {code}" + (f": {said}" if said else ""),
        code=code,
        status=status,
        said=said,
        request_id=response.headers.get("x-amz-request-id", ""),
        retry_after=_seconds(response.headers.get("retry-after", "")),
        location=_location(response) if 300 <= status < 400 else "",
    )


def _location(response: Response) -> str:
    """Where a redirection leads, as the header or the error document says it."""
    return response.headers.get("location", "") or _find_text(response.body, "Endpoint")


def _class_of(status: int, code: str, message: str) -> type[TransferError]:
    if code in THROTTLE_CODES or status in (429, 503):
        return Throttled
    if code in CORRUPT_CODES:
        return Corrupted
    if code in ENDPOINT_CODES or code.startswith("KMS.") or status in (401, 407) or 300 <= status < 400:
        return EndpointRefused
    if code == "AccessDenied" and "kms:GenerateDataKey" in message:  # of the key that encrypts all we write
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


def _code_of(status: int) -> str:
    names = {
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
    return names.get(status, f"HTTP{status}")


def _seconds(text: str) -> float:
    return float(text) if text.isdigit() else 0.0


def parse_time(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time in UTC; 0 when it is none."""
    match = re.match(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?", text)
    if not match:
        return 0.0
    whole = calendar.timegm((*map(int, match.groups()[:6]), 0, 0, 0))
    return whole + float(match.group(7) or 0)


def _xml(body: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise Transient(f"the answer is not XML: {error}", code="BadAnswer") from None


def _plain(body: bytes) -> ElementTree.Element:
    root = _xml(body)
    for element in root.iter():
        element.tag = _local(element.tag)
    return root


def _decoded(key: str, encoded: bool) -> str:
    return unquote_plus(key, errors="surrogateescape") if encoded else key


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _find_text(body: bytes, name: str) -> str:
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        # It may repeat a key that XML cannot hold, which takes nothing from what else it says.
        found = re.search(rf"<(?:\w+:)?{name}>([^<]*)</".encode(), body)
        return unescape(found[1].decode(errors="replace"), {"&quot;": '"', "&#34;": '"'}) if found else ""
    for element in root.iter():
        if _local(element.tag) == name:
            return element.text or ""
    return ""
