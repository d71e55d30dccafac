"""Whether a copy is right: all evidence that is in hand, before a body is written and after.

What the source states (its ETag where it is an MD5, checksums of any algorithm) is held against the bytes that came;
what the destination answers (a checksum, its ETag) is held against the bytes that were sent. A contradiction means that
the copy is damaged, whatever else speaks for it.
"""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dth.errors import Corrupted, Damaged, ObjectRefused, SourceGone, TransferError
from dth.platforms.ports import Verified
from dth.s3.checksums import ALGORITHMS, Checksum, checksum
from dth.s3.client import S3Client
from dth.s3.endpoints import ChecksumMode, EtagKind
from dth.s3.etags import bare_etag, is_encrypted, is_md5
from dth.s3.store.covers import md5_of
from dth.s3.store.objects import Written

# Bytes of one range of an object that is read back.
STEP = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stated:
    """What the source says of an object. `md5` of its bytes, in hexadecimal ("" where its ETag is none); `agreed`: a
    checksum that it states is that of the bytes."""

    md5: str = ""
    agreed: bool = False


def stated_checksums(headers: Mapping[str, str]) -> dict[str, str]:
    """Checksums of the whole object that an answer states, in base64. Checksums of checksums are left out."""
    if headers.get("x-amz-checksum-type", "").upper() == "COMPOSITE":
        return {}
    found = {}
    for mode in ALGORITHMS:
        value = headers.get(f"x-amz-checksum-{mode}", "")
        if value and "-" not in value:
            found[mode] = value
    return found


def check_source(
    source: S3Client, key: str, headers: Mapping[str, str], chunks: Sequence[bytes], *, thorough: bool
) -> Stated:
    """Hold the bytes of a whole object against what the source states of it. Raises Corrupted.

    An MD5 costs more than all other work on a large body. The destination tells whether the bytes have the MD5 that is
    the source's ETag; so it is computed here only where that would be too late (`thorough`), and until it is known that
    the ETags of this source are MD5s.
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
    md5 = source_md5(source, headers)
    if not md5 or not (thorough or known.etags is EtagKind.UNKNOWN):
        return Stated(md5, agreed)
    found = md5_of(chunks)
    if found == md5:
        known.etags = EtagKind.MD5
        return Stated(md5, agreed)
    if agreed:
        known.etags = EtagKind.OPAQUE
        return Stated("", agreed)
    raise Corrupted(
        f"key {key!r}: the source's ETag is {md5}, the bytes that came have the MD5 {found}. If the ETags of "
        "this store are no MD5s, say so: --src-etags OPAQUE",
        code="EtagMismatch",
    )


def source_md5(source: S3Client, headers: Mapping[str, str]) -> str:
    """The MD5 that an object has by its ETag; "" where the ETag is something else."""
    etag = bare_etag(headers.get("etag", ""))
    opaque = source.capabilities.etags is EtagKind.OPAQUE or is_encrypted(headers)
    return etag.lower() if is_md5(etag) and not opaque else ""


async def confirm(
    dest: S3Client, key: str, size: int, headers: Mapping[str, str], written: Written, stated: Stated
) -> Verified:
    """Who confirms what was written. Raises Damaged where the store's ETag contradicts it.

    An ETag that looks like an MD5 and is not the body's means damage, or that this store's ETags are no MD5s. Which of
    both is found out once: by an empty part, and by reading the copy back.
    """
    known = dest.capabilities
    md5 = written.md5 or stated.md5
    by_store = Verified.STORE if written.confirmed else Verified.SOURCE if stated.agreed else Verified.NOT
    if written.encrypted or known.etags is EtagKind.OPAQUE or not md5:
        return by_store
    if not is_md5(written.etag):
        known.etags = EtagKind.OPAQUE
        return by_store
    if written.etag.lower() == md5:
        known.etags = EtagKind.MD5
        return Verified.STORE if written.confirmed else Verified.ETAG
    if known.etags is not EtagKind.MD5 and not await dest.etags_are_md5(key, headers):
        stored = await read_back(dest, key, size, written.etag, ChecksumMode.MD5)
        if b64decode(stored).hex() == md5:
            known.etags = EtagKind.OPAQUE
            return Verified.CONTENT
    else:
        known.etags = EtagKind.MD5
    raise Damaged(
        f"key {key!r}: the destination's ETag is {written.etag}, the bytes that were sent have the MD5 {md5}",
        code="EtagMismatch",
        etag=written.etag,
        version=written.version,
    )


async def read_back(client: S3Client, key: str, size: int, etag: str, mode: ChecksumMode) -> str:
    """The checksum in base64 of the bytes that are stored, of the object with this ETag."""
    [stored] = await read_sums(client, key, size, etag, mode)
    return stored.base64()


async def read_sums(client: S3Client, key: str, size: int, etag: str, *modes: ChecksumMode) -> list[Checksum]:
    """Several checksums of it, from one reading.
    Takes `STEP` bytes of memory. Raises ObjectChanged where it is another object by now."""
    running = [Checksum(mode) for mode in modes]
    # An empty object is read as well: it might not be there.
    for first in range(0, max(size, 1), STEP):
        chunks = await read_range(client, key, size, etag, first)
        for each in running:
            each.update(*chunks)
    return running


async def read_range(client: S3Client, key: str, size: int, etag: str, first: int) -> Sequence[bytes]:
    """The `STEP` bytes from `first` on; a small object whole."""
    span = (first, min(first + STEP, size) - 1) if size > STEP else None
    return (await client.get(key, size=size, etag=etag, span=span)).chunks


async def remove_damaged(dest: S3Client, key: str, damage: Damaged) -> None:
    """Take a damaged copy away: that very version, or the object if it is still the damaged one. A later run would take
    it for the right one where it compares sizes only."""
    try:
        if damage.version and damage.version != "null":
            await dest.delete(key, damage.version)
            return
        now = await dest.head(key)
        if bare_etag(now.headers.get("etag", "")) == damage.etag:
            await dest.delete(key)
    except SourceGone:
        return
    except ObjectRefused as error:
        dest.capabilities.note(f"a damaged copy of key {key!r} could not be removed: {error}")
    except TransferError:
        # The object is tried again, and written over it.
        return
