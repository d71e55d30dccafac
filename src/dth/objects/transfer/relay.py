"""Transfers one object: GET from the source into memory and PUT to the destination, or a copy
inside one store.

Objects up to the multipart threshold are transferred whole here; larger ones in parts
(`multipart`).
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from dth.core.errors import Damaged, ObjectRefused
from dth.core.ports.status import Verified
from dth.core.transport import Transport
from dth.objects.compare.contents import check_contents
from dth.objects.listing.pages import KeyMap, ListedObject
from dth.objects.parameters import Encryption, S3Parameters
from dth.objects.store.checksums import checksum
from dth.objects.store.client import S3Client
from dth.objects.store.endpoints import ChecksumMode, EtagKind
from dth.objects.store.etags import SOURCE_ETAG, bare_etag, is_md5
from dth.objects.store.folders.store import MTIME, written_time
from dth.objects.store.objects import StoreWrite
from dth.objects.store.pace import Budget, Scout
from dth.objects.store.tags import NO_TAGS, REFUSED, TagReader
from dth.objects.transfer.messages import ObjectItem
from dth.objects.transfer.proof import (
    Stated,
    check_source,
    compare_stated,
    confirm,
    read_back,
    remove_damaged,
    source_md5,
    stated_checksums,
)
from dth.objects.transfer.source_parts import agrees_whole

# The most requests in flight to each side: for `workerNumber` 1, and for each unit above 1.
REQUESTS, MORE_REQUESTS = 32, 64
METADATA_LIMIT = 2048  # bytes of user metadata that S3 takes
COPY_LIMIT = 5 * 1024**3  # bytes that one CopyObject may copy
CARRIED = frozenset(
    {
        "content-type",
        "content-encoding",
        "content-disposition",
        "content-language",
        "cache-control",
        "expires",
        "x-amz-website-redirect-location",
    }
)


def requests_at_once(parameters: S3Parameters) -> int:
    """The most requests that one worker has in flight to each side."""
    by_units = REQUESTS + MORE_REQUESTS * (parameters.worker_number - 1)
    return parameters.requests_in_flight or by_units


def lanes(parameters: S3Parameters) -> int:
    """The most objects that one worker transfers at once: enough to keep the requests to both sides
    in flight."""
    return 2 * requests_at_once(parameters)


@dataclass(slots=True)
class CopiedObject:
    """What was copied: the source's and the destination's ETag, the proof (`algorithm:base64`), the
    size in bytes, and who confirmed the copy. `reason` and `detail` say what the copy lacks; "" if
    it is complete."""

    etag: str
    dest_etag: str
    proof: str
    size: int
    verified: Verified = Verified.NOT
    reason: str = ""
    detail: str = ""


@dataclass(slots=True)
class Properties:
    """What an object has besides its bytes: the headers of the write, and what of them was not
    available."""

    headers: dict[str, str]
    reason: str = ""
    detail: str = ""


class Tally:
    """The work in progress of a process, for its gauge."""

    def __init__(self) -> None:
        # Bytes of received bodies that are being sent.
        self.held = 0
        # Bytes of parts that were recorded as done. Only grows.
        self.recorded = 0

    def holding(self, size: int) -> "Holding":
        """A context manager to hold while a received body of this size is being sent."""
        return Holding(self, size)


class Holding:
    """The context manager of `Tally.holding`. A class, because a generator per object would cost
    more."""

    __slots__ = ("_size", "_tally")

    def __init__(self, tally: Tally, size: int) -> None:
        self._tally = tally
        self._size = size

    def __enter__(self) -> None:
        self._tally.held += self._size

    def __exit__(self, *_: object) -> None:
        self._tally.held -= self._size


@dataclass
class ObjectRoute:
    """How one task gets from source to destination. Shared by all parts of the engine in one
    process."""

    source: S3Client
    dest: S3Client
    keys: KeyMap
    parameters: S3Parameters
    budget: Budget
    transport: Transport
    # Both sides are in one store and use one credential.
    server_side: bool
    tally: Tally = field(default_factory=Tally)
    # The first write shows what kind of ETags the destination has, and what it refuses.
    _first_write: Scout = field(default_factory=Scout)
    # The first copy inside the store shows the same.
    first_copy: Scout = field(default_factory=Scout)

    @property
    def joins_checksums(self) -> bool:
        """Whether the checksums sent with the parts give the checksum of the whole object."""
        return self.dest.capabilities.checksum is ChecksumMode.CRC64NVME

    @property
    def width(self) -> float:
        """How many objects are worth transferring at once now, given what both sides accept."""
        return self.source.gate.limit + self.dest.gate.limit

    @cached_property
    def tags(self) -> TagReader:
        """Reads the tags of source objects."""
        return TagReader(self.source, self.dest)

    async def properties(
        self, key: str, answer: Mapping[str, str], *, whole: bool, stated_md5: str = ""
    ) -> Properties:
        """The properties of an object, from the answer to a GET or HEAD. `whole`: the body is sent
        in one PUT, so its ETag at the destination can be the MD5 that it is at the source."""
        tags = await self.tags.of(key, answer) if self.parameters.copy_tags else NO_TAGS
        headers = self._carried(answer)
        if self.dest.endpoint.is_folder and MTIME not in headers:
            headers[MTIME] = written_time(answer)
        if not (whole and self._etags_will_be_equal(stated_md5)):
            add_mark(headers, bare_etag(answer.get("etag", "")))
        if tags.value:
            headers["x-amz-tagging"] = tags.value
        return self._lacking_metadata(
            answer, Properties(headers | self.asked_for, tags.reason, tags.detail)
        )

    def _lacking_metadata(self, answer: Mapping[str, str], properties: Properties) -> Properties:
        """The same properties, with a reason if the source reports metadata that it cannot
        state."""
        missing = answer.get("x-amz-missing-meta", "") if self.parameters.include_metadata else ""
        if properties.reason or missing in ("", "0"):
            return properties
        detail = f"{missing} entries of its metadata cannot be stated by the source"
        return replace(properties, reason="MetadataUnread", detail=detail)

    def _etags_will_be_equal(self, md5: str) -> bool:
        kms = self.parameters.dest_put_object_sse_type is Encryption.AWS_KMS or bool(
            self.dest.endpoint.customer_key
        )
        return bool(md5) and not kms and self.dest.capabilities.etags is not EtagKind.OPAQUE

    def _carried(self, answer: Mapping[str, str]) -> dict[str, str]:
        """The source's metadata, as the answer to a GET or HEAD shows it."""
        if not self.parameters.include_metadata:
            return {}
        headers = {
            name: value
            for name, value in answer.items()
            if name in CARRIED or name.startswith("x-amz-meta-")
        }
        # Left by an earlier copy, not by the source's owner.
        headers.pop(SOURCE_ETAG, None)
        if encoding := headers.pop("content-encoding", ""):
            # aws-chunked describes how the object was sent, not the object.
            encodings = [part.strip() for part in encoding.split(",")]
            if kept := [part for part in encodings if part and part.lower() != "aws-chunked"]:
                headers["content-encoding"] = ", ".join(kept)
        return headers

    @cached_property
    def asked_for(self) -> dict[str, str]:
        """The headers that the task sets on every object."""
        return asked_for(self.parameters)

    @cached_property
    def insisted(self) -> frozenset[str]:
        """The headers that the user asked for explicitly. If a store refuses one, it refuses the
        object."""
        return insisted(self.parameters)

    def copied_properties(self, answer: Mapping[str, str], md5: str) -> Properties:
        """As `properties`, for a copy inside the store, which copies the tags itself."""
        headers = self._carried(answer)
        if not self._etags_will_be_equal(md5):
            add_mark(headers, bare_etag(answer.get("etag", "")))
        headers |= self.asked_for
        headers["x-amz-metadata-directive"] = "REPLACE"
        wanted = self.parameters.copy_tags and self.dest.capabilities.tags
        headers["x-amz-tagging-directive"] = "COPY" if wanted else "REPLACE"
        return self._lacking_metadata(answer, Properties(headers))

    def write(
        self, item: ObjectItem, chunks: list[bytes], properties: Properties, stated: Stated
    ) -> Awaitable[CopiedObject]:
        """Write a whole object and determine who confirms it. The first write goes alone."""
        write = self._write if self._first_write.returned else self._write_first
        return write(item, chunks, properties, stated)

    async def _write_first(
        self, item: ObjectItem, chunks: list[bytes], properties: Properties, stated: Stated
    ) -> CopiedObject:
        async with self._first_write:
            return await self._write(item, chunks, properties, stated)

    async def write_part(
        self, key: str, upload_id: str, number: int, chunks: list[bytes]
    ) -> StoreWrite:
        """Write one part of an upload. The first part goes alone: until it is known which checksums
        the store answers, each part is sent with its MD5 too, which costs more than all other work
        on it."""
        if self._first_write.returned:
            return await self.dest.upload_part(key, upload_id, number, chunks)
        async with self._first_write:
            return await self.dest.upload_part(key, upload_id, number, chunks)

    async def _write(
        self, item: ObjectItem, chunks: list[bytes], properties: Properties, stated: Stated
    ) -> CopiedObject:
        key, headers = self.keys.to_dest(item.key), properties.headers
        if not self._etags_will_be_equal(stated.md5):
            # The first write may have shown in the meantime that they will differ.
            add_mark(headers, item.etag)
        try:
            while True:
                written = await self.dest.put(
                    key, chunks, headers, md5=stated.md5, insist=self.insisted
                )
                verified = await confirm(self.dest, key, chunks, headers, written, stated)
                if SOURCE_ETAG in headers or written.etag.lower() == item.etag.lower():
                    break
                # Without the mark, a later run cannot tell that this is the source's object.
                if not add_mark(headers, item.etag):
                    break
            if self.parameters.verify_after:
                await self._compare_stored(key, item, chunks, written)
                verified = Verified.CONTENT
        except Damaged as damage:
            await remove_damaged(self.dest, key, damage)
            raise
        lacks = self.lacking(properties)
        return CopiedObject(
            item.etag, written.etag, written.proof, item.size, verified, lacks.reason, lacks.detail
        )

    def lacking(self, properties: Properties) -> Properties:
        """The same properties after the write, which may have been the first to show that the store
        takes no tags."""
        if (
            properties.reason
            or "x-amz-tagging" not in properties.headers
            or self.dest.capabilities.tags
        ):
            return properties
        return replace(properties, reason=REFUSED.reason, detail=REFUSED.detail)

    async def _compare_stored(
        self, key: str, item: ObjectItem, chunks: Sequence[bytes], written: StoreWrite
    ) -> None:
        stored = await read_back(self.dest, key, item.size, written.etag, ChecksumMode.CRC64NVME)
        sent = checksum(ChecksumMode.CRC64NVME, chunks)
        if stored != sent:
            raise Damaged(
                f"key {key!r}: the copy that was read back has crc64nvme {stored}, sent was {sent}",
                code="ContentMismatch",
                etag=written.etag,
                version=written.version,
            )


def asked_for(parameters: S3Parameters) -> dict[str, str]:
    """The headers that these parameters set on every object that is written."""
    headers: dict[str, str] = {}
    if parameters.dest_storage_class:
        headers["x-amz-storage-class"] = str(parameters.dest_storage_class)
    if parameters.dest_acl:
        headers["x-amz-acl"] = parameters.dest_acl.value
    if parameters.dest_put_object_sse_type is Encryption.AES256:
        headers["x-amz-server-side-encryption"] = "AES256"
    elif parameters.dest_put_object_sse_type is Encryption.AWS_KMS:
        headers["x-amz-server-side-encryption"] = "aws:kms"
        if parameters.dest_put_object_sse_kms_key_id:
            headers["x-amz-server-side-encryption-aws-kms-key-id"] = (
                parameters.dest_put_object_sse_kms_key_id
            )
    return headers


def insisted(parameters: S3Parameters) -> frozenset[str]:
    """The headers that the user asked for explicitly."""
    named = parameters.dest_acl and "dest_acl" in parameters.model_fields_set
    return frozenset({"x-amz-acl"} if named else ())


def add_mark(headers: dict[str, str], etag: str) -> bool:
    """Record the source's ETag in the copy's metadata. Returns False if the metadata is full."""
    used = sum(len(k) - 11 + len(v) for k, v in headers.items() if k.startswith("x-amz-meta-"))
    if used + len(SOURCE_ETAG) - 11 + len(etag) <= METADATA_LIMIT:
        headers[SOURCE_ETAG] = etag
    return SOURCE_ETAG in headers


async def relay_whole(route: ObjectRoute, item: ObjectItem) -> CopiedObject:
    """Copy one object of known size and ETag: one GET into memory, one PUT from memory."""
    await route.budget.acquire(item.size)
    try:
        response = await route.source.get(item.key, size=item.size, etag=item.etag)
        if not item.etag:
            item = replace(item, etag=bare_etag(response.headers.get("etag", "")))
            if not item.etag:
                raise route.source.bad_answer("GET", item.key, "no ETag")
        # If there is an object at the destination, damage must be detected before it is
        # overwritten.
        thorough = not item.fresh or route.dest.capabilities.etags is not EtagKind.MD5
        stated = check_source(
            route.source, item.key, response.headers, item.etag, response.chunks, thorough=thorough
        )
        if not stated.md5 and not stated.agreed:
            stated.agreed = await agrees_whole(
                route, item.key, item.etag, response.headers, response.chunks
            )
        properties = await route.properties(
            item.key, response.headers, whole=True, stated_md5=stated.md5
        )
        # Not `holding`, for speed: every small object passes here.
        route.tally.held += item.size
        try:
            return await route.write(item, response.chunks, properties, stated)
        finally:
            route.tally.held -= item.size
    finally:
        route.budget.release(item.size)


async def copy_in_store(route: ObjectRoute, item: ObjectItem) -> CopiedObject | None:
    """CopyObject, up to `COPY_LIMIT`. Returns None if the store does not let this credential copy:
    relay the bytes then. The first copy goes alone."""
    if route.first_copy.returned:
        return await _copy_in_store(route, item)
    async with route.first_copy:
        return await _copy_in_store(route, item)


async def _copy_in_store(route: ObjectRoute, item: ObjectItem) -> CopiedObject | None:
    source, dest, key = route.source, route.dest, route.keys.to_dest(item.key)
    answer = await source.head(item.key, etag=item.etag, checksums=True)
    etag = bare_etag(answer.headers.get("etag", "")) or item.etag
    md5 = source_md5(source, answer.headers, etag)
    properties = route.copied_properties(answer.headers, md5)
    headers = properties.headers
    try:
        written = await dest.copy(source, item.key, key, etag, headers, insist=route.insisted)
        differs = written.etag.lower() != etag.lower()
        if differs and SOURCE_ETAG not in headers and add_mark(headers, etag):
            written = await dest.copy(source, item.key, key, etag, headers, insist=route.insisted)
    except ObjectRefused as error:
        if copying_refused(route, error):
            return None
        raise
    try:
        verified = await _judge_copy(
            route, item, headers, written, md5, stated_checksums(answer.headers)
        )
    except Damaged as damage:
        await remove_damaged(dest, key, damage)
        raise
    return CopiedObject(
        etag, written.etag, "", item.size, verified, properties.reason, properties.detail
    )


async def _judge_copy(
    route: ObjectRoute,
    item: ObjectItem,
    headers: dict[str, str],
    written: StoreWrite,
    md5: str,
    stated: Mapping[str, str],
) -> Verified:
    """Who confirms a copy inside the store. `md5`, `stated`: the source object's MD5 according to
    its ETag, and its checksums. Raises Damaged if they contradict the copy."""
    dest, key = route.dest, route.keys.to_dest(item.key)
    differs = written.etag.lower() != md5
    if written.encrypted or (md5 and not is_md5(written.etag)):
        dest.capabilities.learn_etags(md5s=False)
    contradicts = md5 and differs and is_md5(written.etag) and not written.encrypted
    if contradicts and await dest.gives_md5s(key, headers):
        raise Damaged(
            f"key {key!r}: the copy's ETag is {written.etag}, the source's is {md5}",
            code="EtagMismatch",
            etag=written.etag,
            version=written.version,
        )
    if route.parameters.verify_after:
        source = ListedObject(item.key, item.size, item.etag)
        await check_contents(route, source, written.etag, written.version)
        return Verified.CONTENT
    return Verified.ETAG if not differs else await compare_stated(dest, key, stated, written)


def copying_refused(route: ObjectRoute, error: ObjectRefused) -> bool:
    """Whether the store refuses to copy at all. If so, the task relays bytes from then on."""
    if error.code not in ("AccessDenied", "NotImplemented", "MethodNotAllowed"):
        return False
    if route.server_side:
        route.server_side = False
        host = route.dest.endpoint.host
        route.dest.capabilities.note(
            f"{host} refuses to copy by itself ({error.code}); bytes pass through here"
        )
    return True
