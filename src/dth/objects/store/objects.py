"""Requests about single objects of a bucket: read, write, copy, delete."""

import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from html import escape

from dth.core.errors import (
    Corrupted,
    Damaged,
    EndpointRefused,
    NotSupported,
    ObjectChanged,
    ObjectRefused,
    SourceGone,
    TransferError,
    Transient,
)
from dth.core.transport import Body, Pipe, Response, is_range
from dth.objects.listing.pages import is_web_page, parse_page
from dth.objects.store.answers import find_text, is_document, is_error, parse_xml
from dth.objects.store.base import Requests
from dth.objects.store.capabilities import CHECKSUM_MODE, SUMS, Feature, dressed
from dth.objects.store.checksums import checksum, header_name
from dth.objects.store.covers import Cover
from dth.objects.store.endpoints import ChecksumMode
from dth.objects.store.etags import bare_etag, is_encrypted, same_etag
from dth.objects.store.request import Request
from dth.objects.store.sign import ACCEPT_ENCODING
from dth.objects.store.signing import quote_key, quote_query

# Seconds for which a bucket that existed is assumed to exist.
BUCKET_CHECK = 5.0
# Headers that a write can omit, unless the user asked for them explicitly.
OPTIONAL = frozenset({"x-amz-acl", "x-amz-tagging"})
# The maximum bytes of a list of tags.
TAGS_LIMIT = 64 * 1024
# The statuses of a store that has written something. 202 is a promise, and 206 is about reading.
WRITTEN = (200, 201, 204)
# The codes of a 404 that mean that an object has no tags.
NO_TAG_SET = frozenset({"NoSuchTagSet", "NoSuchTagSetError"})
# How a body may be sent.
GZIP, PLAIN = "gzip", "identity"
MISFITS = frozenset({"SizeChanged", "RangeChanged", "SizeUnknown"})


@dataclass(slots=True)
class StoreWrite:
    """The store's answer to a write. `proof` (`algorithm:base64`) is the checksum sent with the
    body; `confirmed` says that the store answered the same one. `md5` is the body's MD5 in
    hexadecimal, if it is known. `encrypted` says that the ETag is not a digest of the body."""

    etag: str
    proof: str = ""
    confirmed: bool = False
    md5: str = ""
    encrypted: bool = False
    version: str = ""


class Objects(Requests):
    """Requests about single objects."""

    _bucket_seen = -BUCKET_CHECK

    # -------------------------------------------------------------------------------------- reading

    async def get(
        self,
        key: str,
        *,
        size: int,
        etag: str = "",
        span: tuple[int, int] | None = None,
        sink: Pipe | None = None,
    ) -> Response:
        """Read the object, or the bytes `span` (first, last) of it. With `etag`, returns exactly
        that object or raises ObjectChanged, even on stores that ignore If-Match."""
        headers = {ACCEPT_ENCODING: self._encoding, **self._customer}
        options = {"if-match": f'"{etag}"'} if etag else {}
        expected = size
        if span:
            headers["range"] = f"bytes={span[0]}-{span[1]}"
            expected = span[1] - span[0] + 1
        else:
            options[CHECKSUM_MODE] = "ENABLED"

        def check(response: Response) -> None:
            self._check_answer(key, response, etag, size, span)
            if sink is None:
                self._check_length(key, response, expected, whole=span is None)

        return await self._read(
            Request(
                "GET", key, headers=headers, options=options, sink=sink, limit=expected, check=check
            ),
            etag,
        )

    async def head(
        self, key: str, *, etag: str = "", checksums: bool = False, attempts: int = 0, part: int = 0
    ) -> Response:
        """The object's headers. With `etag`, they are those of exactly that object, or
        ObjectChanged is raised. `part`: the headers of this part, if the store knows the object's
        parts."""
        options = {"if-match": f'"{etag}"'} if etag else {}
        if checksums:
            options[CHECKSUM_MODE] = "ENABLED"

        def check(response: Response) -> None:
            self._check_etag(key, response, etag)
            if "content-length" not in response.headers:
                raise ObjectChanged(
                    f"{self.where('HEAD', key)}: no size in the answer", code="SizeUnknown"
                )

        query = {"partNumber": str(part)} if part else None
        headers = {ACCEPT_ENCODING: self._encoding, **self._customer}
        request = Request(
            "HEAD", key, query, headers=headers, options=options, attempts=attempts, check=check
        )
        try:
            try:
                return await self._read(request, etag)
            except ObjectRefused as error:
                if error.status not in (400, 403):
                    raise
                # An answer to HEAD has no body. Ask in a way that shows the reason, which may be
                # the region.
                first = {**self._customer, "range": "bytes=0-0"}
                await self.send(Request("GET", key, headers=first, limit=1))
                return await self._read(request, etag)
        except SourceGone:
            await self._check_bucket()
            raise

    async def _read(self, request: Request, etag: str) -> Response:
        """Read with an Accept-Encoding that keeps the object as it is stored.

        Some stores unpack objects for clients that do not accept gzip (GCS); others pack objects
        for clients that do. If an answer has a different size, the request is repeated with the
        other encoding, which is kept if it fits.
        """
        known = self.capabilities
        try:
            return await self._matching(request, etag)
        except ObjectRefused as error:
            if error.status != 400 or not self._customer:
                raise
            # Some objects may not be encrypted with the customer's key.
            try:
                return await self._matching(request.without_headers(self._customer), etag)
            except TransferError:
                raise error from None
        except ObjectChanged as error:
            if error.code not in MISFITS:
                raise
            misfit = error
        asked = (request.headers or {}).get(ACCEPT_ENCODING) == GZIP
        try:
            response = await self._matching(
                request.with_header(ACCEPT_ENCODING, PLAIN if asked else GZIP), etag
            )
        except TransferError:
            raise misfit from None
        known.accept_gzip = not asked
        known.note(
            f"{self.endpoint.host} changes bodies on the way; objects are read with "
            f"Accept-Encoding: {self._encoding}"
        )
        return response

    @property
    def _encoding(self) -> str:
        return GZIP if self.capabilities.accept_gzip else PLAIN

    async def _matching(self, request: Request, etag: str) -> Response:
        """Send the request. A store that answers 412 to the ETag that it lists is asked without
        If-Match from then on."""
        known = self.capabilities
        try:
            return await self.send(request)
        except ObjectChanged as error:
            if error.status != 412 or Feature.IF_MATCH in known.refused:
                raise
            plain = Request(
                "HEAD", request.key, headers={ACCEPT_ENCODING: self._encoding, **self._customer}
            )
            try:
                now = await self.send(plain)
            except TransferError:
                raise error from None
            if not same_etag(bare_etag(now.headers.get("etag", "")), etag):
                raise
        known.refused.add(Feature.IF_MATCH)
        known.note(
            f"{self.endpoint.host} refuses If-Match with its own ETags; ETags of answers are "
            "compared instead"
        )
        return await self.send(request)

    def _check_etag(self, key: str, response: Response, etag: str) -> None:
        answered = bare_etag(response.headers.get("etag", ""))
        if etag and answered and not same_etag(answered, etag):
            raise ObjectChanged(
                f"{self.where('GET', key)}: ETag is {answered}, listed was {etag}",
                code="ETagChanged",
            )

    def _check_answer(
        self, key: str, response: Response, etag: str, size: int, span: tuple[int, int] | None
    ) -> None:
        self._check_etag(key, response, etag)
        content_range = response.headers.get("content-range", "")
        if span:
            if not is_range(content_range, *span, size):
                raise ObjectChanged(
                    (
                        f"{self.where('GET', key)}: asked for bytes {span[0]}-{span[1]}/{size}, "
                        f"got {content_range or 'the whole object'}"
                    ),
                    code="RangeChanged",
                )
        elif (length := response.headers.get("content-length", "")) and length != str(size):
            raise ObjectChanged(
                f"{self.where('GET', key)}: {length} bytes, listed were {size}", code="SizeChanged"
            )

    def _check_length(self, key: str, response: Response, expected: int, *, whole: bool) -> None:
        got = sum(map(len, response.chunks))
        if got == expected:
            return
        if whole and "content-length" not in response.headers:
            raise ObjectChanged(
                f"{self.where('GET', key)}: {got} bytes came, listed were {expected}",
                code="SizeChanged",
            )
        raise Corrupted(
            f"{self.where('GET', key)}: {got} bytes came, {expected} were due", code="TruncatedBody"
        )

    async def _check_bucket(self) -> None:
        """Check now and then that the bucket exists, because a HEAD of an object does not tell
        whether it does."""
        if time.monotonic() - self._bucket_seen < BUCKET_CHECK:
            return
        try:
            await self.send(Request("HEAD"))
        except SourceGone as error:
            raise EndpointRefused(
                f"HEAD {self.endpoint.host}: there is no bucket {self.bucket!r}",
                code="NoSuchBucket",
                status=404,
            ) from error
        except ObjectRefused:
            # Looking at it is not permitted, so it exists.
            pass
        self._bucket_seen = time.monotonic()

    async def is_listed(self, key: str) -> bool:
        """Whether a listing shows exactly this key. False if listing is not permitted."""
        query = {"list-type": "2", "prefix": key, "max-keys": "100", "encoding-type": "url"}
        try:
            response = await self.send(Request("GET", query=query))
        except ObjectRefused:
            return False
        return any(entry.key == key for entry in parse_page(response.body).entries)

    async def tags(self, key: str, *, attempts: int = 0) -> str:
        """The object's tags in the format of the `x-amz-tagging` header. Raises NotSupported if the
        store answers something else."""
        unknown = NotSupported(
            f"{self.where('GET', key)}: no tags in the answer", code="NotImplemented", status=501
        )

        def check(response: Response) -> None:
            # An answer with an ETag is the object, which may itself be a web page or a document
            # about an error.
            body = response.body
            if "etag" not in response.headers and (is_error(body) or is_web_page(body)):
                where, status = self.where("GET", key), response.status
                raise Transient(f"{where}: no tags in the answer", code="BadAnswer", status=status)

        try:
            response = await self.send(
                Request(
                    "GET",
                    key,
                    query={"tagging": ""},
                    limit=TAGS_LIMIT,
                    attempts=attempts,
                    check=check,
                )
            )
        except ObjectChanged as error:
            # A store that does not know this query sends the object, which may be large.
            raise unknown from error
        except SourceGone as error:
            # Some stores report an object without tags in this way.
            if error.code in NO_TAG_SET:
                return ""
            raise
        if b"Tagging" not in response.body:
            raise unknown
        pairs = {
            tag.findtext("Key") or "": tag.findtext("Value") or ""
            for tag in parse_xml(response.body).iter("Tag")
        }
        return "&".join(f"{quote_query({name: value})}" for name, value in pairs.items())

    def as_copy_source(self, key: str, etag: str) -> dict[str, str]:
        """The headers that name this object as the source of a copy."""
        headers = {"x-amz-copy-source": f"/{self.bucket}/{quote_key(key)}"}
        if etag:
            headers["x-amz-copy-source-if-match"] = f'"{etag}"'
        if self.endpoint.requester_pays:
            headers["x-amz-request-payer"] = "requester"
        for name, value in self._customer.items():
            headers[name.replace("x-amz-", "x-amz-copy-source-", 1)] = value
        return headers

    # -------------------------------------------------------------------------------------- writing

    async def put(
        self,
        key: str,
        chunks: list[bytes],
        headers: Mapping[str, str],
        *,
        md5: str = "",
        insist: AbstractSet[str] = frozenset(),
    ) -> StoreWrite:
        """Write a whole object.

        `md5`: the known MD5 of the body, in hexadecimal. `insist`: headers that the user asked for
        explicitly; a store that refuses them refuses the object. Raises Damaged if the store
        answers that it holds something else.
        """
        must, options = split(headers, insist)
        must |= self._customer
        cover = Cover(self.capabilities, chunks, md5)

        def dress(without: AbstractSet[Feature]) -> Request:
            sent = dressed(must, options, without) | cover.headers(without)
            return Request("PUT", key, headers=sent, body=whole(chunks), check=check)

        def check(response: Response) -> None:
            self.check_etag_answered("PUT", key, response)

        try:
            response = await self.send_dressed(dress)
        except SourceGone as error:
            raise not_written(error) from None
        return self.written("PUT", key, response, cover)

    def check_etag_answered(self, method: str, key: str, response: Response) -> None:
        """A store answers a write with an ETag, and with no body or a document. A proxy, a sign-in
        page or a broken gateway does not."""
        if not bare_etag(response.headers.get("etag", "")):
            raise self.bad_answer(method, key, "no ETag")
        text = response.body.strip() if response.chunks else b""
        if response.status not in WRITTEN or (text and not is_document(text)):
            what = (
                f"status {response.status} and {len(text)} bytes that S3 does not answer to a write"
            )
            raise Transient(f"{self.where(method, key)}: {what}", code="BadAnswer")

    def written(self, method: str, key: str, response: Response, cover: Cover) -> StoreWrite:
        """The result of a write. Raises Damaged if the answer contradicts what was sent."""
        headers = response.headers
        etag, version = bare_etag(headers.get("etag", "")), headers.get("x-amz-version-id", "")
        algorithm = cover.proof.partition(":")[0]
        answered = headers.get(f"x-amz-checksum-{algorithm}", "")
        for name in SUMS.intersection(headers):
            mode = name.removeprefix("x-amz-checksum-")
            sent = cover.sum_of(mode)
            if headers[name] != sent:
                raise Damaged(
                    (
                        f"{self.where(method, key)}: the store holds {mode} {headers[name]}, sent "
                        f"was {sent}"
                    ),
                    code="ChecksumMismatch",
                    etag=etag,
                    version=version,
                )
        self._learn_echo(algorithm, answered)
        return StoreWrite(
            etag, cover.proof, bool(answered), cover.md5, is_encrypted(headers), version
        )

    def _learn_echo(self, algorithm: str, answered: str) -> None:
        known = self.capabilities
        if algorithm in ("", ChecksumMode.MD5) or known.echoes is not None:
            return
        known.echoes = bool(answered)
        if not answered:
            known.note(
                f"{self.endpoint.host} does not answer {algorithm} checksums; bodies go with "
                "Content-MD5 as well"
            )

    async def copy(
        self,
        source: "Objects",
        source_key: str,
        key: str,
        etag: str,
        headers: Mapping[str, str],
        *,
        insist: AbstractSet[str] = frozenset(),
    ) -> StoreWrite:
        """Copy within the store. The bytes do not pass through this process."""
        must, options = split(headers, insist)
        must |= self._customer | source.as_copy_source(source_key, etag)

        def dress(without: AbstractSet[Feature]) -> Request:
            sent = dressed(must, options, without)
            return Request("PUT", key, headers=sent, slow=True, check=check)

        def check(response: Response) -> None:
            self.check_etag_inside("PUT", key, response)

        response = await self.send_dressed(dress)
        return StoreWrite(
            bare_etag(find_text(response.body, "ETag")),
            encrypted=is_encrypted(response.headers),
            version=response.headers.get("x-amz-version-id", ""),
        )

    def check_etag_inside(self, method: str, key: str, response: Response) -> None:
        """As `check_etag_answered`, for an answer that has the ETag in its body."""
        if not bare_etag(find_text(response.body, "ETag")):
            raise self.bad_answer(method, key, "no ETag")

    async def delete(self, key: str, version: str = "") -> None:
        """Delete the object, or one version of it. It is not an error if it is already gone."""
        query = {"versionId": version} if version else {}
        with suppress(SourceGone):
            await self.send(Request("DELETE", key, query=query))

    async def restore(self, key: str, days: int, tier: str) -> bool:
        """Request a readable copy of an archived object. Returns False if a restore is already in
        progress."""
        body = (
            f"<RestoreRequest><Days>{days}</Days>"
            f"<GlacierJobParameters><Tier>{escape(tier, quote=False)}</Tier></GlacierJobParameters></RestoreRequest>"
        ).encode()
        headers = {"content-type": "application/xml"}
        headers[header_name(ChecksumMode.MD5)] = checksum(ChecksumMode.MD5, [body])
        try:
            await self.send(Request("POST", key, query={"restore": ""}, headers=headers, body=body))
        except ObjectRefused as error:
            if error.code == "RestoreAlreadyInProgress":
                return False
            raise
        return True


def not_written(error: SourceGone) -> ObjectRefused:
    """The error for a destination that answers 404 to a write. This does not mean that the source
    is gone."""
    refused = ObjectRefused(str(error), code=error.code, status=error.status)
    refused.side = error.side
    return refused


def split(
    headers: Mapping[str, str], insist: AbstractSet[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Splits headers into those that must arrive, and those that the request can omit."""
    if OPTIONAL.isdisjoint(headers):
        return dict(headers), {}
    optional = OPTIONAL - insist
    must = {name: value for name, value in headers.items() if name not in optional}
    return must, {name: value for name, value in headers.items() if name in optional}


def whole(chunks: list[bytes]) -> Body:
    """A body in pieces, in the form that the transport takes."""
    return chunks[0] if len(chunks) == 1 else chunks or b""
