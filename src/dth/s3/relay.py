"""Carrying one object: GET from the source into memory, PUT to the destination, or a copy inside one store.

Objects up to the multipart threshold go here whole; larger ones part by part (`multipart`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from dth.errors import Damaged, NotSupported, ObjectRefused
from dth.platforms.ports import Verified
from dth.s3.checksums import checksum
from dth.s3.client import S3Client
from dth.s3.compare import SOURCE_ETAG
from dth.s3.contents import check_contents
from dth.s3.endpoints import ChecksumMode, EtagKind
from dth.s3.etags import bare_etag, is_md5
from dth.s3.listing import Entry, KeyMap
from dth.s3.messages import Item
from dth.s3.pace import Budget
from dth.s3.parameters import Encryption, S3Parameters
from dth.s3.proof import (
    Stated,
    check_source,
    confirm,
    read_back,
    remove_damaged,
    source_md5,
    stated_checksums,
)
from dth.s3.store.objects import Written
from dth.transport import Transport

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
TAGS_REFUSED = "the destination takes no tags"
# Objects of a source that does not say whether it counts tags, which are asked for theirs all the same.
TAG_LOOKS = 100


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied: the source's ETag, the destination's, the proof (`algorithm:base64`), who confirmed it, and the
    bytes. `reason` and `detail` say what the copy lacks; "" where it has everything."""

    etag: str
    dest_etag: str
    proof: str
    size: int
    verified: Verified = Verified.NOT
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Properties:
    """What goes along with an object besides its bytes: headers of the write, and what could not be had of them."""

    headers: dict[str, str]
    reason: str = ""
    detail: str = ""


class Tally:
    """What a process has in hand, for its gauge."""

    def __init__(self) -> None:
        self.held = 0  # bytes of bodies that were received, and are being sent
        self.recorded = 0  # bytes of parts that were written down as done; only grows

    def holding(self, size: int) -> "Holding":
        """To be entered (`with`) while a body that was received is being sent."""
        return Holding(self, size)


class Holding:
    """A class for what a generator would do: it is made for every object."""

    __slots__ = ("_size", "_tally")

    def __init__(self, tally: Tally, size: int) -> None:
        self._tally = tally
        self._size = size

    def __enter__(self) -> None:
        self._tally.held += self._size

    def __exit__(self, *_: object) -> None:
        self._tally.held -= self._size


@dataclass
class Route:
    """One task's way from source to destination, as the parts of the engine share it in one process."""

    source: S3Client
    dest: S3Client
    keys: KeyMap
    parameters: S3Parameters
    budget: Budget
    transport: Transport
    # Both sides are one store and one credential.
    server_side: bool
    tally: Tally = field(default_factory=Tally)
    # Whether a write has shown what kind of ETags the destination gives. Until then one object goes alone.
    _learned: bool = False
    _learning: asyncio.Lock = field(default_factory=asyncio.Lock)
    # The first one goes alone.
    _tag_looks: int = TAG_LOOKS - 1
    _looked: bool = False
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def properties(
        self, key: str, answer: Mapping[str, str], *, whole: bool, stated_md5: str = ""
    ) -> Properties:
        """What an object has besides its bytes, from the answer to a GET or HEAD. `whole`: the body goes in one PUT, so
        that its ETag at the destination can be the MD5 that it is at the source."""
        tags, reason, detail = await self._tags_of(key, answer)
        if "x-amz-missing-meta" in answer and self.parameters.include_metadata:
            reason = reason or "MetadataUnread"
            detail = (
                detail
                or f"{answer['x-amz-missing-meta']} entries of its metadata cannot be stated by the source"
            )
        headers = self._carried(answer)
        if not (whole and self._etags_will_be_equal(stated_md5)):
            add_mark(headers, bare_etag(answer.get("etag", "")))
        if tags:
            headers["x-amz-tagging"] = tags
        return Properties(headers | self.asked_for, reason, detail)

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
            name: value for name, value in answer.items() if name in CARRIED or name.startswith("x-amz-meta-")
        }
        # Of the copy before this one.
        headers.pop(SOURCE_ETAG, None)
        if encoding := headers.pop("content-encoding", ""):
            # aws-chunked was a way of sending it, not a property of the object.
            encodings = [part.strip() for part in encoding.split(",")]
            if kept := [part for part in encodings if part and part != "aws-chunked"]:
                headers["content-encoding"] = ", ".join(kept)
        return headers

    @cached_property
    def asked_for(self) -> dict[str, str]:
        """Headers that the task asks for on every object."""
        parameters = self.parameters
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

    @cached_property
    def insisted(self) -> frozenset[str]:
        """Headers that somebody asked for by name. A store that refuses one refuses the object."""
        parameters = self.parameters
        named = parameters.dest_acl and "dest_acl" in parameters.model_fields_set
        return frozenset({"x-amz-acl"} if named else ())

    async def _tags_of(self, key: str, answer: Mapping[str, str]) -> tuple[str, str, str]:
        """The object's tags, and what is lacking of them (reason, detail).

        Most stores count an object's tags in the answer to a GET. AWS does so only for those who may read them, and
        some stores never do: the first objects without a count are asked for their tags all the same.
        """
        count = answer.get("x-amz-tagging-count", "0")
        here = self.source.capabilities
        if not self.parameters.copy_tags:
            return "", "", ""
        if count == "0" and here.counts_tags is not False:
            # One look tells whether they may be read at all. All others wait for it.
            async with self._looking:
                if not self._looked:
                    self._looked = True
                    return await self._ask_for_tags(key, count)
            counted = self.source.capabilities.counts_tags
            if counted or (counted is None and not self._goes_on_looking()):
                return "", "", ""
        return await self._ask_for_tags(key, count)

    async def _ask_for_tags(self, key: str, count: str) -> tuple[str, str, str]:
        known, here = self.dest.capabilities, self.source.capabilities
        if not known.tags:
            if count == "0":
                return "", "", ""
            known.note(f"{self.dest.endpoint.profile.name} takes no tags; objects are written without")
            return "", "TagsRefused", TAGS_REFUSED
        try:
            tags = await self.source.tags(key)
        except NotSupported:
            if count != "0":
                raise
            here.counts_tags = self._looked = True
            return "", "", ""
        except ObjectRefused as error:
            if count != "0":
                raise
            here.note(f"tags of the source cannot be read ({error.code}); objects are written without")
            # Nor are they counted for who may not read them: each object is asked, and counted as lacking.
            here.counts_tags = False
            return "", "TagsUnread", f"its tags, if it has any, cannot be read: {error}"
        if count != "0":
            here.counts_tags = True
        elif tags and here.counts_tags is not False:
            here.counts_tags = False
            here.note(f"{self.source.endpoint.host} does not count tags; each object is asked for its tags")
        return tags, "", ""

    def _goes_on_looking(self) -> bool:
        """Whether to ask for the tags of an object, where nobody knows whether they would have been counted."""
        self._tag_looks -= 1
        if self._tag_looks == -1:
            self.source.capabilities.note(
                f"{self.source.endpoint.host} counts no tags, and the first {TAG_LOOKS} objects have none; "
                "the others are not asked for theirs"
            )
        return self._tag_looks >= 0

    def copied_headers(self, answer: Mapping[str, str], md5: str) -> dict[str, str]:
        """Headers of a copy inside the store."""
        headers = self._carried(answer)
        if not self._etags_will_be_equal(md5):
            add_mark(headers, bare_etag(answer.get("etag", "")))
        headers |= self.asked_for
        headers["x-amz-metadata-directive"] = "REPLACE"
        wanted = self.parameters.copy_tags and self.dest.capabilities.tags
        headers["x-amz-tagging-directive"] = "COPY" if wanted else "REPLACE"
        return headers

    async def write(self, item: Item, chunks: list[bytes], properties: Properties, stated: Stated) -> Copied:
        """Write a whole object and find out who confirms it. The first one goes alone: it shows what the store's ETags
        are, and what it refuses."""
        if not self._learned:
            async with self._learning:
                # Those who have waited here meanwhile go together.
                if not self._learned:
                    copied = await self._write(item, chunks, properties, stated)
                    self._learned = True
                    return copied
        return await self._write(item, chunks, properties, stated)

    async def _write(self, item: Item, chunks: list[bytes], properties: Properties, stated: Stated) -> Copied:
        key, headers = self.keys.to_dest(item.key), properties.headers
        try:
            written, verified = await self._put(key, item, chunks, headers, stated)
            differs = written.etag.lower() != item.etag.lower()
            if differs and SOURCE_ETAG not in headers and add_mark(headers, item.etag):
                # Nothing else tells a later run that this is the source's object.
                written, verified = await self._put(key, item, chunks, headers, stated)
            if self.parameters.verify_after:
                await self._compare_stored(key, item, chunks, written)
                verified = Verified.CONTENT
        except Damaged as damage:
            await remove_damaged(self.dest, key, damage)
            raise
        lacks = self.lacking(properties)
        return Copied(item.etag, written.etag, written.proof, item.size, verified, lacks.reason, lacks.detail)

    def lacking(self, properties: Properties) -> Properties:
        """The same, after the write: a store may have shown only then that it takes no tags."""
        if properties.reason or "x-amz-tagging" not in properties.headers or self.dest.capabilities.tags:
            return properties
        return replace(properties, reason="TagsRefused", detail=TAGS_REFUSED)

    async def _put(
        self, key: str, item: Item, chunks: list[bytes], headers: dict[str, str], stated: Stated
    ) -> tuple[Written, Verified]:
        written = await self.dest.put(key, chunks, headers, md5=stated.md5, insist=self.insisted)
        return written, await confirm(self.dest, key, item.size, headers, written, stated)

    async def _compare_stored(self, key: str, item: Item, chunks: Sequence[bytes], written: Written) -> None:
        stored = await read_back(self.dest, key, item.size, written.etag, ChecksumMode.CRC64NVME)
        sent = checksum(ChecksumMode.CRC64NVME, chunks)
        if stored != sent:
            raise Damaged(
                f"key {key!r}: the copy that was read back has crc64nvme {stored}, sent was {sent}",
                code="ContentMismatch",
                etag=written.etag,
                version=written.version,
            )


def add_mark(headers: dict[str, str], etag: str) -> bool:
    """Leave the source's ETag on the copy. False where the metadata is full."""
    used = sum(len(k) - 11 + len(v) for k, v in headers.items() if k.startswith("x-amz-meta-"))
    if used + len(SOURCE_ETAG) - 11 + len(etag) <= METADATA_LIMIT:
        headers[SOURCE_ETAG] = etag
    return SOURCE_ETAG in headers


async def relay_whole(route: Route, item: Item) -> Copied:
    """Copy one object of known size and ETag: one GET into memory, one PUT from it."""
    await route.budget.acquire(item.size)
    try:
        response = await route.source.get(item.key, size=item.size, etag=item.etag)
        if not item.etag:
            item = replace(item, etag=bare_etag(response.headers.get("etag", "")))
        # Where something lies at the destination, damage has to be found before it is written over.
        thorough = not item.fresh or route.dest.capabilities.etags is not EtagKind.MD5
        stated = check_source(
            route.source, item.key, response.headers, item.etag, response.chunks, thorough=thorough
        )
        properties = await route.properties(item.key, response.headers, whole=True, stated_md5=stated.md5)
        with route.tally.holding(item.size):
            return await route.write(item, response.chunks, properties, stated)
    finally:
        route.budget.release(item.size)


async def copy_in_store(route: Route, item: Item) -> Copied | None:
    """CopyObject, up to `COPY_LIMIT`; None where the store does not let this credential copy: relay the bytes then."""
    source, dest, key = route.source, route.dest, route.keys.to_dest(item.key)
    answer = await source.head(item.key, etag=item.etag, checksums=True)
    etag = bare_etag(answer.headers.get("etag", "")) or item.etag
    md5 = source_md5(source, answer.headers, etag)
    headers = route.copied_headers(answer.headers, md5)
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
        verified = await _judge_copy(route, item, headers, written, md5, stated_checksums(answer.headers))
    except Damaged as damage:
        await remove_damaged(dest, key, damage)
        raise
    return Copied(etag, written.etag, "", item.size, verified)


async def _judge_copy(
    route: Route, item: Item, headers: dict[str, str], written: Written, md5: str, stated: Mapping[str, str]
) -> Verified:
    """Who confirms a copy inside the store. `md5`, `stated`: what the source object has by its ETag, and its checksums.
    Raises Damaged for what contradicts it."""
    dest, key = route.dest, route.keys.to_dest(item.key)
    differs = written.etag.lower() != md5
    contradicts = md5 and differs and is_md5(written.etag) and not written.encrypted
    if contradicts and await dest.gives_md5s(key, headers):
        raise Damaged(
            f"key {key!r}: the copy's ETag is {written.etag}, the source's is {md5}",
            code="EtagMismatch",
            etag=written.etag,
            version=written.version,
        )
    if route.parameters.verify_after:
        source = Entry(item.key, item.size, item.etag)
        await check_contents(route, source, written.etag, written.version)
        return Verified.CONTENT
    if not differs:
        return Verified.ETAG
    verified = Verified.NOT
    there = stated_checksums((await dest.head(key, checksums=True)).headers) if stated else {}
    for name in stated.keys() & there.keys():
        if there[name] != stated[name]:
            raise Damaged(
                f"key {key!r}: the copy has {name} {there[name]}, the source states {stated[name]}",
                code="ChecksumMismatch",
                etag=written.etag,
                version=written.version,
            )
        verified = Verified.SOURCE
    return verified


def copying_refused(route: Route, error: ObjectRefused) -> bool:
    """Whether the store refuses to copy at all (remembered: this task relays from then on)."""
    if error.code not in ("AccessDenied", "NotImplemented", "MethodNotAllowed"):
        return False
    if route.server_side:
        route.server_side = False
        host = route.dest.endpoint.host
        route.dest.capabilities.note(
            f"{host} refuses to copy by itself ({error.code}); bytes pass through here"
        )
    return True
