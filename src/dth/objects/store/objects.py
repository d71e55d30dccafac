"""Objects of a bucket: read, written, copied, deleted."""

import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from xml.sax.saxutils import escape

from dth.core.errors import (
    Corrupted,
    Damaged,
    EndpointRefused,
    NotSupported,
    ObjectChanged,
    ObjectRefused,
    SourceGone,
    TransferError,
)
from dth.core.transport import Body, Pipe, Response
from dth.objects.listing.pages import parse_page
from dth.objects.store.answers import find_text, parse_xml
from dth.objects.store.base import Requests
from dth.objects.store.capabilities import CHECKSUM_MODE, SUMS, Feature, dressed
from dth.objects.store.checksums import checksum, header_name
from dth.objects.store.covers import Cover
from dth.objects.store.endpoints import ChecksumMode
from dth.objects.store.etags import bare_etag, is_encrypted
from dth.objects.store.request import Request
from dth.objects.store.sign import ACCEPT_ENCODING
from dth.objects.store.signing import quote_key, quote_query

# Seconds for which a bucket that was there is taken to be there.
BUCKET_CHECK = 5.0
# Headers of a write that it can do without, unless somebody asked for them by name.
OPTIONAL = frozenset({"x-amz-acl", "x-amz-tagging"})
# Bytes of the longest list of tags.
TAGS_LIMIT = 64 * 1024
# Codes of a 404 that says that an object has no tags.
NO_TAG_SET = frozenset({"NoSuchTagSet", "NoSuchTagSetError"})
# Ways of sending a body.
GZIP, PLAIN = "gzip", "identity"
MISFITS = frozenset({"SizeChanged", "RangeChanged", "SizeUnknown"})


@dataclass(slots=True)
class Written:
    """How the store answered a write. `proof` (`algorithm:base64`) is the checksum that was sent with the body, and
    `confirmed` that the store answered the same one; `md5` the body's in hexadecimal, where it is known; `encrypted`
    that the ETag is no digest of the body."""

    etag: str
    proof: str = ""
    confirmed: bool = False
    md5: str = ""
    encrypted: bool = False
    version: str = ""


class Objects(Requests):
    """Requests about single objects."""

    _bucket_seen = -BUCKET_CHECK

    # ------------------------------------------------------------------------------------------- reading

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
            Request("GET", key, headers=headers, options=options, sink=sink, limit=expected, check=check),
            etag,
        )

    async def head(
        self, key: str, *, etag: str = "", checksums: bool = False, attempts: int = 0, part: int = 0
    ) -> Response:
        """The object's headers. With `etag` they are those of that very object, or ObjectChanged is raised. `part`: of
        this part of it, where the store knows its parts."""
        options = {"if-match": f'"{etag}"'} if etag else {}
        if checksums:
            options[CHECKSUM_MODE] = "ENABLED"

        def check(response: Response) -> None:
            self._check_etag(key, response, etag)
            if "content-length" not in response.headers:
                raise ObjectChanged(f"{self.where('HEAD', key)}: no size in the answer", code="SizeUnknown")

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
                # An answer to HEAD has no body: ask in a way that tells the reason, which may be the region.
                first = {**self._customer, "range": "bytes=0-0"}
                await self.send(Request("GET", key, headers=first, limit=1))
                return await self._read(request, etag)
        except SourceGone:
            await self._check_bucket()
            raise

    async def _read(self, request: Request, etag: str) -> Response:
        """Ask with an Accept-Encoding that leaves the object as it is stored.

        Some stores unpack objects for clients that do not accept gzip (GCS), others pack them for those that do. An
        answer of another size is asked for once more in the other way, which is kept if it fits.
        """
        known = self.capabilities
        try:
            return await self._matching(request, etag)
        except ObjectRefused as error:
            if error.status != 400 or not self._customer:
                raise
            # Not every object needs to be encrypted with the customer's key.
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
            f"{self.endpoint.host} changes bodies on the way; objects are read with Accept-Encoding: {self._encoding}"
        )
        return response

    @property
    def _encoding(self) -> str:
        return GZIP if self.capabilities.accept_gzip else PLAIN

    async def _matching(self, request: Request, etag: str) -> Response:
        """Send. A store that answers 412 to the very ETag that it lists is asked without If-Match from then on."""
        known = self.capabilities
        try:
            return await self.send(request)
        except ObjectChanged as error:
            if error.status != 412 or Feature.IF_MATCH in known.refused:
                raise
            plain = Request("HEAD", request.key, headers={ACCEPT_ENCODING: self._encoding, **self._customer})
            try:
                now = await self.send(plain)
            except TransferError:
                raise error from None
            if bare_etag(now.headers.get("etag", "")) != etag:
                raise
        known.refused.add(Feature.IF_MATCH)
        known.note(
            f"{self.endpoint.host} refuses If-Match with its own ETags; ETags of answers are compared instead"
        )
        return await self.send(request)

    def _check_etag(self, key: str, response: Response, etag: str) -> None:
        answered = bare_etag(response.headers.get("etag", ""))
        if etag and answered and answered != etag and answered.lower() != etag.lower():
            raise ObjectChanged(
                f"{self.where('GET', key)}: ETag is {answered}, listed was {etag}", code="ETagChanged"
            )

    def _check_answer(
        self, key: str, response: Response, etag: str, size: int, span: tuple[int, int] | None
    ) -> None:
        self._check_etag(key, response, etag)
        content_range = response.headers.get("content-range", "")
        if span:
            wanted = f"bytes {span[0]}-{span[1]}/{size}"
            if content_range != wanted:
                raise ObjectChanged(
                    f"{self.where('GET', key)}: asked for {wanted}, got {content_range or 'the whole object'}",
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
                f"{self.where('GET', key)}: {got} bytes came, listed were {expected}", code="SizeChanged"
            )
        raise Corrupted(
            f"{self.where('GET', key)}: {got} bytes came, {expected} were due", code="TruncatedBody"
        )

    async def _check_bucket(self) -> None:
        """A HEAD that finds no object does not tell whether the bucket is missing: see now and then."""
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
            # No right to look at it: it is there.
            pass
        self._bucket_seen = time.monotonic()

    async def is_listed(self, key: str) -> bool:
        """Whether a listing shows exactly this key. No, where there is no right to list."""
        query = {"list-type": "2", "prefix": key, "max-keys": "100", "encoding-type": "url"}
        try:
            response = await self.send(Request("GET", query=query))
        except ObjectRefused:
            return False
        return any(entry.key == key for entry in parse_page(response.body).entries)

    async def tags(self, key: str, *, attempts: int = 0) -> str:
        """The object's tags as the `x-amz-tagging` header takes them. Raises NotSupported where the store answers
        something else."""
        unknown = NotSupported(
            f"{self.where('GET', key)}: no tags in the answer", code="NotImplemented", status=501
        )
        try:
            response = await self.send(
                Request("GET", key, query={"tagging": ""}, limit=TAGS_LIMIT, attempts=attempts)
            )
        except ObjectChanged as error:
            # A store that knows no such query sends the object, which may be large.
            raise unknown from error
        except SourceGone as error:
            # So some stores say that there are none.
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
        """Headers that name this object as what is copied."""
        headers = {"x-amz-copy-source": f"/{self.bucket}/{quote_key(key)}"}
        if etag:
            headers["x-amz-copy-source-if-match"] = f'"{etag}"'
        if self.endpoint.requester_pays:
            headers["x-amz-request-payer"] = "requester"
        for name, value in self._customer.items():
            headers[name.replace("x-amz-", "x-amz-copy-source-", 1)] = value
        return headers

    # ------------------------------------------------------------------------------------------- writing

    async def put(
        self,
        key: str,
        chunks: list[bytes],
        headers: Mapping[str, str],
        *,
        md5: str = "",
        insist: AbstractSet[str] = frozenset(),
    ) -> Written:
        """Write a whole object.

        `md5`: what the body's is known to be, in hexadecimal. `insist`: headers that somebody asked for by name; a
        store that refuses them refuses the object. Raises Damaged where the store answers that it holds something else.
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
        """A store that has written something says what: a proxy or a sign-in page does not."""
        if not bare_etag(response.headers.get("etag", "")):
            raise self.bad_answer(method, key, "no ETag")

    def written(self, method: str, key: str, response: Response, cover: Cover) -> Written:
        """What an answer to a write says. Raises Damaged where it contradicts what was sent."""
        headers = response.headers
        etag, version = bare_etag(headers.get("etag", "")), headers.get("x-amz-version-id", "")
        algorithm = cover.proof.partition(":")[0]
        answered = headers.get(f"x-amz-checksum-{algorithm}", "")
        for name in SUMS.intersection(headers):
            mode = name.removeprefix("x-amz-checksum-")
            sent = cover.sum_of(mode)
            if headers[name] != sent:
                raise Damaged(
                    f"{self.where(method, key)}: the store holds {mode} {headers[name]}, sent was {sent}",
                    code="ChecksumMismatch",
                    etag=etag,
                    version=version,
                )
        self._learn_echo(algorithm, answered)
        return Written(etag, cover.proof, bool(answered), cover.md5, is_encrypted(headers), version)

    def _learn_echo(self, algorithm: str, answered: str) -> None:
        known = self.capabilities
        if algorithm in ("", ChecksumMode.MD5) or known.echoes is not None:
            return
        known.echoes = bool(answered)
        if not answered:
            known.note(
                f"{self.endpoint.host} does not answer {algorithm} checksums; bodies go with Content-MD5 as well"
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
    ) -> Written:
        """Copy within the store, without the bytes passing here."""
        must, options = split(headers, insist)
        must |= self._customer | source.as_copy_source(source_key, etag)

        def dress(without: AbstractSet[Feature]) -> Request:
            sent = dressed(must, options, without)
            return Request("PUT", key, headers=sent, slow=True, check=check)

        def check(response: Response) -> None:
            self.check_etag_inside("PUT", key, response)

        response = await self.send_dressed(dress)
        return Written(
            bare_etag(find_text(response.body, "ETag")),
            encrypted=is_encrypted(response.headers),
            version=response.headers.get("x-amz-version-id", ""),
        )

    def check_etag_inside(self, method: str, key: str, response: Response) -> None:
        """As `check_etag_answered`, of an answer that has it in its body."""
        if not bare_etag(find_text(response.body, "ETag")):
            raise self.bad_answer(method, key, "no ETag")

    async def delete(self, key: str, version: str = "") -> None:
        """Delete the object, or one version of it; one that is gone already is no error."""
        query = {"versionId": version} if version else {}
        with suppress(SourceGone):
            await self.send(Request("DELETE", key, query=query))

    async def restore(self, key: str, days: int, tier: str) -> bool:
        """Ask for a readable copy of an archived object. False when that is under way already."""
        body = (
            f"<RestoreRequest><Days>{days}</Days>"
            f"<GlacierJobParameters><Tier>{escape(tier)}</Tier></GlacierJobParameters></RestoreRequest>"
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
    """A destination that answers 404 to a write has lost no source."""
    refused = ObjectRefused(str(error), code=error.code, status=error.status)
    refused.side = error.side
    return refused


def split(headers: Mapping[str, str], insist: AbstractSet[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Headers that must arrive, and those that the request can do without."""
    if OPTIONAL.isdisjoint(headers):
        return dict(headers), {}
    optional = OPTIONAL - insist
    must = {name: value for name, value in headers.items() if name not in optional}
    return must, {name: value for name, value in headers.items() if name in optional}


def whole(chunks: list[bytes]) -> Body:
    return chunks[0] if len(chunks) == 1 else chunks or b""
