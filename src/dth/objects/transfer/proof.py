"""Checks whether a copy is right, with all evidence available before and after a body is written.

What the source states (its ETag if that is an MD5, checksums of any algorithm) is compared with the
bytes that arrived. What the destination answers (a checksum, its ETag) is compared with the bytes
that were sent. A contradiction means that the copy is damaged, whatever the other evidence says.
"""

import asyncio
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dth.core.errors import Corrupted, Damaged, ObjectRefused, SourceGone, TransferError
from dth.core.ports.status import Verified
from dth.objects.store.capabilities import CONTENT_MD5
from dth.objects.store.checksums import ALGORITHMS, Checksum, checksum
from dth.objects.store.client import S3Client
from dth.objects.store.covers import md5_of
from dth.objects.store.endpoints import ChecksumMode, EtagKind
from dth.objects.store.etags import bare_etag, is_encrypted, is_md5
from dth.objects.store.objects import StoreWrite

# Headers that state a checksum, with the algorithm of each.
STATED = {f"x-amz-checksum-{mode}": mode for mode in ALGORITHMS}
# Bytes per range when an object is read back.
STEP = 8 * 1024 * 1024


@dataclass(slots=True)
class Stated:
    """What the source states about an object.

    `md5`: of its bytes, in hexadecimal; "" if its ETag is not one. `agreed`: a checksum that the
    source states matches the bytes. `compared`: the bytes have been compared with everything that
    the source states.
    """

    md5: str = ""
    agreed: bool = False
    compared: bool = True


def stated_checksums(headers: Mapping[str, str]) -> dict[str, str]:
    """The checksums of the whole object in an answer, in base64. Checksums of checksums are left
    out."""
    found: dict[str, str] = {}
    if not headers.keys().isdisjoint(STATED):
        found = {mode: headers[name] for name, mode in STATED.items() if name in headers}
        composite = headers.get("x-amz-checksum-type", "").upper() == "COMPOSITE"
        found = {mode: value for mode, value in found.items() if "-" not in value and not composite}
    if hashes := headers.get("x-goog-hash", ""):
        # Google states several checksums in one header.
        pairs = [each.strip().partition("=") for each in hashes.split(",")]
        found |= {name: value for name, _, value in pairs if name in ALGORITHMS}
    if md5 := headers.get(CONTENT_MD5, ""):
        found[ChecksumMode.MD5] = md5
    return found


def check_source(
    source: S3Client,
    key: str,
    headers: Mapping[str, str],
    etag: str,
    chunks: Sequence[bytes],
    *,
    thorough: bool,
) -> Stated:
    """Compare the bytes of a whole object with what the source states: `headers` of the answer, and
    the ETag. Raises Corrupted if they differ.

    For a large body, an MD5 costs more than all other work. The destination's answer shows whether
    the bytes have the MD5 in the source's ETag. So the MD5 is computed here only if that would be
    too late (`thorough`), or if it is not known yet whether the ETags of this source are MD5s.
    """
    agreed = False
    for mode, value in stated_checksums(headers).items():
        found = checksum(mode, chunks)
        if found != value:
            raise Corrupted(
                f"key {key!r}: the source states {mode} {value}, the bytes that came have {found}",
                code="ChecksumMismatch",
            )
        agreed = True
    known = source.capabilities
    md5 = source_md5(source, headers, etag)
    if not md5 or not (thorough or known.etags is EtagKind.UNKNOWN):
        return Stated(md5, agreed, compared=not md5)
    found = md5_of(chunks)
    if found == md5:
        known.learn_etags(md5s=True)
        return Stated(md5, agreed)
    if agreed:
        known.learn_etags(md5s=False)
        return Stated("", agreed)
    raise Corrupted(_not_the_md5(key, md5, found), code="EtagMismatch")


def source_md5(source: S3Client, headers: Mapping[str, str], etag: str) -> str:
    """The MD5 of an object according to its ETag; "" if the ETag is something else."""
    encrypted = bool(source.endpoint.customer_key) or is_encrypted(headers)
    opaque = source.capabilities.etags is EtagKind.OPAQUE or encrypted
    return etag.lower() if is_md5(etag) and not opaque else ""


def _not_the_md5(key: str, md5: str, found: str) -> str:
    return (
        f"key {key!r}: the source's ETag is {md5}, the bytes that came have the MD5 {found}. If "
        "the ETags of this store are not MD5s, say so: --src-etags OPAQUE"
    )


class DigestInOrder:
    """Computes a digest that the source states for the whole object, from parts that arrive in any
    order.

    Each part waits for the one before it, so no part has to be kept longer than its own buffer.
    """

    def __init__(self, key: str, mode: str, stated: str) -> None:
        self._key = key
        self._stated = stated
        self._sum = Checksum(mode)
        self._added = 0
        self._turn = asyncio.Condition()

    async def add(self, number: int, chunks: Sequence[bytes]) -> None:
        """Add part `number` (from 1). Adding a part again does nothing."""
        async with self._turn:
            await self._turn.wait_for(lambda: self._added >= number - 1)
            if self._added < number:
                # In a thread, so that the event loop can do other work.
                adding = asyncio.ensure_future(asyncio.to_thread(self._sum.update, *chunks))
                try:
                    await asyncio.shield(adding)
                finally:
                    # A cancelled caller leaves no part half added.
                    await adding
                    self._added = number
                    self._turn.notify_all()

    def check(self) -> None:
        """Raises Corrupted if the parts do not give the stated digest."""
        if self._sum.mode is ChecksumMode.MD5:
            found = self._sum.hex()
            if found != self._stated:
                raise Corrupted(_not_the_md5(self._key, self._stated, found), code="EtagMismatch")
        elif (found := self._sum.base64()) != self._stated:
            raise Corrupted(
                f"key {self._key!r}: the source states {self._sum.mode} {self._stated}, the "
                f"bytes that came have {found}",
                code="ChecksumMismatch",
            )


async def in_order(
    source: S3Client, key: str, size: int, etag: str, *, joined: bool
) -> DigestInOrder | None:
    """What to compare the parts of an object with. None if the source states nothing, or states a
    CRC64NVME that the checksums of the parts give anyway (`joined`)."""
    try:
        headers = (await source.head(key, etag=etag, checksums=True)).headers
    except (ObjectRefused, SourceGone):
        # Some callers may not ask for checksums, and some stores do not answer them. A range gives
        # everything else.
        headers = (await source.get(key, size=size, etag=etag, span=(0, 0))).headers
    stated = stated_checksums(headers)
    if joined and ChecksumMode.CRC64NVME in stated:
        return None
    for mode, value in stated.items():
        return DigestInOrder(key, mode, value)
    md5 = source_md5(source, headers, etag)
    return DigestInOrder(key, ChecksumMode.MD5, md5) if md5 else None


async def confirm(
    dest: S3Client,
    key: str,
    chunks: Sequence[bytes],
    headers: Mapping[str, str],
    written: StoreWrite,
    stated: Stated,
) -> Verified:
    """Who confirms what was written. Raises Damaged if the store's ETag contradicts it, or the
    bytes contradict the source.

    An ETag that looks like an MD5 but is not the body's means damage, or that it is not an MD5.
    Reading the copy back shows which. An empty part shows whether the ETags of this store are MD5s.
    """
    known = dest.capabilities
    md5 = written.md5 or stated.md5
    # A folder holds exactly the bytes that were compared with the MD5 in the source's ETag.
    agreed = stated.agreed or (dest.endpoint.is_folder and bool(stated.md5 and stated.compared))
    by_store = Verified.STORE if written.confirmed else Verified.SOURCE if agreed else Verified.NOT
    encrypted = written.encrypted or bool(dest.endpoint.customer_key)
    if encrypted or (md5 and not is_md5(written.etag)):
        # A bucket that encrypts one object by default encrypts all of them.
        known.learn_etags(md5s=False)
    if known.etags is EtagKind.OPAQUE or not md5:
        if not stated.compared and (found := md5_of(chunks)) != stated.md5:
            # This check was left to the ETag of the copy, which turned out not to be an MD5.
            raise Damaged(
                _not_the_md5(key, stated.md5, found),
                code="EtagMismatch",
                etag=written.etag,
                version=written.version,
            )
        return by_store
    if written.etag.lower() == md5:
        known.learn_etags(md5s=True)
        return Verified.STORE if written.confirmed else Verified.ETAG
    md5s = known.etags is EtagKind.MD5 or await dest.etags_are_md5(key, headers)
    try:
        size = sum(map(len, chunks))
        stored = b64decode(await read_back(dest, key, size, written.etag, ChecksumMode.MD5)).hex()
    except ObjectRefused:
        if md5s is not False:
            raise
        # Whoever may write may not always read.
        known.learn_etags(md5s=False)
        return await confirm(dest, key, chunks, headers, written, stated)
    if stored == md5:
        # Some stores encrypt some of their objects without saying so. For the other objects, ETags
        # may be MD5s.
        known.learn_etags(md5s=bool(md5s))
        return Verified.CONTENT
    if md5s:
        known.learn_etags(md5s=True)
    raise Damaged(
        (
            f"key {key!r}: the destination's ETag is {written.etag}, the bytes that were sent have "
            f"the MD5 {md5}"
        ),
        code="EtagMismatch",
        etag=written.etag,
        version=written.version,
    )


async def compare_stated(
    dest: S3Client, key: str, stated: Mapping[str, str], written: StoreWrite
) -> Verified:
    """Who confirms a copy made inside the store: the source, if both objects state the same
    checksum. Raises Damaged if they state different ones."""
    verified = Verified.NOT
    try:
        there = stated_checksums((await dest.head(key, checksums=True)).headers) if stated else {}
    except ObjectRefused:
        # Whoever may write may not always read.
        return verified
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


async def read_back(client: S3Client, key: str, size: int, etag: str, mode: ChecksumMode) -> str:
    """The base64 checksum of the stored bytes of the object with this ETag. Uses `STEP` bytes of
    memory. Raises ObjectChanged if the object is a different one now."""
    running = Checksum(mode)
    # Read an empty object too, because it might not exist.
    for first in range(0, max(size, 1), STEP):
        running.update(*await read_range(client, key, size, etag, first))
    return running.base64()


async def read_range(
    client: S3Client, key: str, size: int, etag: str, first: int
) -> Sequence[bytes]:
    """The `STEP` bytes from `first`, or a small object as a whole."""
    span = (first, min(first + STEP, size) - 1) if size > STEP else None
    return (await client.get(key, size=size, etag=etag, span=span)).chunks


async def remove_damaged(dest: S3Client, key: str, damage: Damaged) -> None:
    """Delete a damaged copy: exactly that version, or the object if it is still the damaged one. If
    it stayed, a later run that compares only sizes would accept it."""
    try:
        if damage.version and damage.version != "null":
            await _take_away(dest, key, damage.version)
            return
        now = (await dest.head(key)).headers
        if bare_etag(now.get("etag", "")).lower() == damage.etag.lower():
            # In a bucket with versions, deleting without the version would also hide the version
            # before it.
            version = now.get("x-amz-version-id", "")
            await _take_away(dest, key, "" if version == "null" else version)
    except SourceGone:
        return
    except ObjectRefused as error:
        dest.capabilities.note(
            f"damaged copies could not be removed ({error.code}): look at all that failed"
        )
    except TransferError:
        # The next try of the object overwrites it.
        return


async def _take_away(dest: S3Client, key: str, version: str) -> None:
    """Delete a damaged version or object. If that is refused, hide it behind a delete marker, or
    else overwrite it with an empty object, so that no later run takes it for the source's
    object."""
    code = ""
    for each in dict.fromkeys((version, "")):
        try:
            await dest.delete(key, each)
            return
        except ObjectRefused as error:
            code = error.code
    await dest.put(key, [], {})
    dest.capabilities.note(
        f"damaged copies could not be removed ({code}); empty objects were written over them"
    )
