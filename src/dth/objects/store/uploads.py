"""Multipart uploads: begin, write parts, complete or abort."""

import hashlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from html import escape

from dth.core.errors import NoSuchUpload, ObjectRefused, SourceGone, TransferError
from dth.core.transport import Pipe, Response
from dth.objects.store.answers import find_text, parse_time
from dth.objects.store.capabilities import UPLOAD_CHECKSUM, UPLOAD_CHECKSUM_TYPE, Feature, dressed
from dth.objects.store.checksums import header_name
from dth.objects.store.chunked import Trailed
from dth.objects.store.covers import Cover
from dth.objects.store.endpoints import ChecksumMode, EtagKind
from dth.objects.store.etags import bare_etag, is_encrypted
from dth.objects.store.folders.store import PART_SIZE
from dth.objects.store.key_lists import of_key
from dth.objects.store.objects import Objects, StoreWrite, not_written, split, whole
from dth.objects.store.request import Request

EMPTY_MD5 = hashlib.md5(b"", usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class UploadInProgress:
    """A multipart upload that the store lists."""

    key: str
    upload_id: str
    # Seconds since the epoch, by the store's clock.
    initiated: float


class MultipartUploads(Objects):
    """Requests about multipart uploads."""

    async def create_upload(
        self,
        key: str,
        headers: Mapping[str, str],
        *,
        insist: AbstractSet[str] = frozenset(),
        part_size: int = 0,
    ) -> str:
        """Begin a multipart upload. Returns its id. A folder has to know the size of its parts."""
        must, options = split(headers, insist)
        must |= self._customer
        if self.endpoint.is_folder:
            must[PART_SIZE] = str(part_size)

        def dress(without: AbstractSet[Feature]) -> Request:
            more: dict[str, str] = {}
            if self.capabilities.wanted is ChecksumMode.CRC64NVME and Feature.SUM not in without:
                more = {UPLOAD_CHECKSUM: "CRC64NVME", UPLOAD_CHECKSUM_TYPE: "FULL_OBJECT"}
            sent = dressed(must, options | more, without)
            return Request("POST", key, query={"uploads": ""}, headers=sent, check=check)

        def check(response: Response) -> None:
            if not find_text(response.body, "UploadId"):
                raise self.bad_answer("POST", key, "no upload id")

        try:
            response = await self.send_dressed(dress)
        except SourceGone as error:
            raise not_written(error) from None
        return find_text(response.body, "UploadId")

    async def upload_part(
        self, key: str, upload_id: str, number: int, body: list[bytes]
    ) -> StoreWrite:
        """Write one part. Raises NoSuchUpload if the upload is gone."""
        query = {"partNumber": str(number), "uploadId": upload_id}
        cover = Cover(self.capabilities, body)

        def dress(without: AbstractSet[Feature]) -> Request:
            headers = cover.headers(without) | self._customer
            return Request("PUT", key, query, headers, body=whole(body), check=check)

        def check(response: Response) -> None:
            self.check_etag_answered("PUT", key, response)

        try:
            response = await self.send_dressed(dress)
        except SourceGone as error:
            raise NoSuchUpload(str(error), code=error.code, status=error.status) from None
        return self.written("PUT", key, response, cover)

    async def stream_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        pipe: Pipe,
        mode: ChecksumMode,
        *,
        stated: str = "",
    ) -> StoreWrite:
        """Write one part from a pipe, without retries: bytes that have passed are gone, so the
        caller that holds both ends starts over.

        `stated` is the part's checksum in base64, if it is known in advance. The `proof` of the
        result is the checksum in `mode` that the store answers ("" if it answers none).
        """
        headers = dict(self._customer)
        if isinstance(pipe, Trailed):
            headers |= pipe.headers
        elif stated:
            headers[header_name(mode)] = stated
        request = Request(
            "PUT",
            key,
            {"partNumber": str(number), "uploadId": upload_id},
            headers,
            body=pipe,
            check=lambda response: self.check_etag_answered("PUT", key, response),
        )
        try:
            response = await self.send(request)
        except SourceGone as error:
            raise NoSuchUpload(str(error), code=error.code, status=error.status) from None
        answered = response.headers.get(header_name(mode), "")
        etag = bare_etag(response.headers.get("etag", ""))
        proof = f"{mode}:{answered}" if answered else ""
        return StoreWrite(etag, proof, bool(answered), encrypted=is_encrypted(response.headers))

    async def complete_upload(
        self, key: str, upload_id: str, parts: Sequence[tuple[int, str, str]]
    ) -> tuple[str, str]:
        """Join the parts (number, ETag, proof). Returns the object's ETag, and the CRC64NVME of the
        whole if the store answered one."""
        items = []
        for number, etag, proof in parts:
            mode, _, value = proof.partition(":")
            sum_ = (
                f"<ChecksumCRC64NVME>{value}</ChecksumCRC64NVME>"
                if mode == ChecksumMode.CRC64NVME
                else ""
            )
            if (
                Feature.UPLOAD_SUM in self.capabilities.refused
                or Feature.SUM in self.capabilities.refused
            ):
                sum_ = ""
            items.append(
                f'<Part><PartNumber>{number}</PartNumber><ETag>"{escape(etag, quote=False)}"</ETag>{sum_}</Part>'
            )
        body = "".join(["<CompleteMultipartUpload>", *items, "</CompleteMultipartUpload>"]).encode()
        response = await self.send(
            Request(
                "POST",
                key,
                query={"uploadId": upload_id},
                headers={"content-type": "application/xml", **self._customer},
                body=body,
                slow=True,
                check=lambda response: self.check_etag_inside("POST", key, response),
            )
        )
        return bare_etag(find_text(response.body, "ETag")), find_text(
            response.body, "ChecksumCRC64NVME"
        )

    async def abort_upload(self, key: str, upload_id: str) -> None:
        """Abort an upload. It is not an error if it is already gone."""
        with suppress(NoSuchUpload, SourceGone):
            await self.send(Request("DELETE", key, query={"uploadId": upload_id}))

    async def uploads(self, key: str) -> list[UploadInProgress]:
        """The multipart uploads in progress of exactly this key."""
        try:
            return [
                UploadInProgress(
                    key,
                    item.findtext("UploadId") or "",
                    parse_time(item.findtext("Initiated") or ""),
                )
                async for item in of_key(self, "uploads", key)
            ]
        except NoSuchUpload:
            # rclone answers this if there are none.
            return []

    async def copy_part(
        self,
        source: Objects,
        source_key: str,
        key: str,
        upload_id: str,
        number: int,
        etag: str,
        span: tuple[int, int],
    ) -> str:
        """Copy bytes `span` of the source as one part. Returns the part's ETag."""
        headers = source.as_copy_source(source_key, etag) | {
            "x-amz-copy-source-range": f"bytes={span[0]}-{span[1]}"
        }
        query = {"partNumber": str(number), "uploadId": upload_id}
        request = Request(
            "PUT",
            key,
            query=query,
            headers=headers | self._customer,
            slow=True,
            check=lambda response: self.check_etag_inside("PUT", key, response),
        )
        return bare_etag(find_text((await self.send(request)).body, "ETag"))

    async def etags_are_md5(self, key: str, headers: Mapping[str, str]) -> bool | None:
        """Whether ETags of objects written with these headers are MD5s; None if this cannot be
        determined.

        Writes an empty part for this, because nothing of it can be damaged in transfer. It is
        aborted at once.
        """
        known = self.capabilities
        if known.etags is not EtagKind.UNKNOWN:
            return known.etags is EtagKind.MD5
        try:
            upload_id = await self.create_upload(key, headers)
        except ObjectRefused:
            return None
        try:
            part = await self.upload_part(key, upload_id, 1, [b""])
        except ObjectRefused:
            return None
        finally:
            with suppress(TransferError):
                await self.abort_upload(key, upload_id)
        return part.etag.lower() == EMPTY_MD5

    async def gives_md5s(self, key: str, headers: Mapping[str, str]) -> bool | None:
        """As `etags_are_md5`, and remember the result."""
        found = await self.etags_are_md5(key, headers)
        if found is not None:
            self.capabilities.learn_etags(md5s=found)
        return found
