"""Carrying one object: GET from the source into memory, PUT to the destination, or a copy inside one store.

Objects up to the multipart threshold go here whole; larger ones part by part (`multipart`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dth.errors import Corrupted, ObjectRefused
from dth.s3.client import S3Client
from dth.s3.compare import SOURCE_ETAG
from dth.s3.listing import KeyMap
from dth.s3.messages import Item
from dth.s3.pace import Budget
from dth.s3.parameters import Encryption, S3Parameters
from dth.s3.retry import retry
from dth.s3.transport import Transport

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
MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied: the source's ETag, the destination's, the proof (`mode:base64`) and the bytes."""

    etag: str
    dest_etag: str
    proof: str
    size: int


@dataclass
class Route:
    """One task's way from source to destination, as the parts of the engine share it in one process."""

    source: S3Client
    dest: S3Client
    keys: KeyMap
    parameters: S3Parameters
    budget: Budget
    transport: Transport
    server_side: bool  # both sides are one store and one credential

    def write_headers(
        self, answer: Mapping[str, str], tags: str, etag: str, *, whole: bool
    ) -> dict[str, str]:
        """Headers of a PUT or CreateMultipartUpload: the source's metadata and what the task asks for. `whole`: the
        body goes in one PUT, so that a plain MD5 ETag will be the same there."""
        headers = self._carried(answer)
        kms = self.parameters.dest_put_object_sse_type is Encryption.AWS_KMS
        if not (whole and is_md5(etag) and not kms):
            used = sum(len(k) - 11 + len(v) for k, v in headers.items() if k.startswith("x-amz-meta-"))
            if used + len(SOURCE_ETAG) - 11 + len(etag) <= METADATA_LIMIT:
                headers[SOURCE_ETAG] = etag
        if tags:
            headers["x-amz-tagging"] = tags
        return headers | self.asked_for

    def _carried(self, answer: Mapping[str, str]) -> dict[str, str]:
        """The source's metadata, as the answer to a GET or HEAD shows it."""
        if not self.parameters.include_metadata:
            return {}
        headers = {
            name: value for name, value in answer.items() if name in CARRIED or name.startswith("x-amz-meta-")
        }
        headers.pop(SOURCE_ETAG, None)  # of the copy before this one
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

    async def tags_of(self, key: str, answer: Mapping[str, str]) -> str:
        """The object's tags, asked for only where the answer counts some and the task wants them."""
        count = answer.get("x-amz-tagging-count", "0")
        if not self.parameters.copy_tags or count == "0":
            return ""
        known = self.dest.capabilities
        if not known.tags:
            note = f"{self.dest.endpoint.profile.name} takes no tags; objects are written without"
            if not self.dest.endpoint.profile.tags and note not in known.notes:
                known.notes.append(note)
            return ""
        return await retry(lambda: self.source.tags(key))


async def relay_whole(route: Route, item: Item) -> Copied:
    """Copy one object of known size and ETag: one GET into memory, one PUT from it."""
    await route.budget.acquire(item.size)
    try:
        response = await retry(lambda: route.source.get(item.key, size=item.size, etag=item.etag))
        etag = response.headers.get("etag", "").strip('"') or item.etag
        tags = await route.tags_of(item.key, response.headers)
        headers = route.write_headers(response.headers, tags, etag, whole=True)
        answer, proof = await retry(
            lambda: route.dest.put(route.keys.to_dest(item.key), response.chunks, headers)
        )
        _compare_with_source(item.key, response.headers, proof)
        return Copied(etag, answer.headers.get("etag", "").strip('"'), proof, item.size)
    finally:
        route.budget.release(item.size)


async def copy_in_store(route: Route, item: Item) -> Copied | None:
    """CopyObject, up to `COPY_LIMIT`; None where the store does not let this credential copy: relay the bytes then."""
    answer = await retry(lambda: route.source.head(item.key, etag=item.etag))
    etag = answer.headers.get("etag", "").strip('"') or item.etag
    headers = route.write_headers(answer.headers, "", etag, whole=True)
    headers["x-amz-metadata-directive"] = "REPLACE"
    wanted = route.parameters.copy_tags and route.dest.capabilities.tags
    headers["x-amz-tagging-directive"] = "COPY" if wanted else "REPLACE"
    try:
        dest_etag = await retry(
            lambda: route.dest.copy(route.source, item.key, route.keys.to_dest(item.key), etag, headers)
        )
    except ObjectRefused as error:
        if copying_refused(route, error):
            return None
        raise
    return Copied(etag, dest_etag, "", item.size)


def copying_refused(route: Route, error: ObjectRefused) -> bool:
    """Whether the store refuses to copy at all (remembered: this task relays from then on)."""
    if error.code not in ("AccessDenied", "NotImplemented", "MethodNotAllowed"):
        return False
    if route.server_side:
        route.server_side = False
        host = route.dest.endpoint.host
        route.dest.capabilities.notes.append(
            f"{host} refuses to copy by itself ({error.code}); bytes pass through here"
        )
    return True


def _compare_with_source(key: str, answer: Mapping[str, str], proof: str) -> None:
    """Where the source states the whole object's checksum in our mode, what we wrote must have the same one."""
    mode, _, value = proof.partition(":")
    stated = answer.get(f"x-amz-checksum-{mode}", "") if mode else ""
    if stated and "-" not in stated and stated != value:
        raise Corrupted(
            f"key {key!r}: the source states {mode} {stated}, what came has {value}", code="ChecksumMismatch"
        )


def is_md5(etag: str) -> bool:
    """Whether an ETag looks like the MD5 of the content (no multipart suffix)."""
    return MD5.fullmatch(etag) is not None
