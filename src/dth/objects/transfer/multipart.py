"""Transfers one large object in parts: by one worker, or as a giant object by all workers.

Both ways record the upload, so that after a crash it is resumed or removed: an intent before
CreateMultipartUpload, the parts done, and one owner who completes it. An upload is resumed only if
the source's ETag, size and part size are those of its record.
"""

import email.utils
import hashlib
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress

from dth.core import clock
from dth.core.errors import (
    Corrupted,
    Damaged,
    Disposition,
    HubError,
    NoSuchUpload,
    ObjectRefused,
    SourceGone,
    Throttled,
    TransferError,
    Transient,
)
from dth.core.parameters import MIB
from dth.core.ports.status import Verified
from dth.core.ports.uploads import GiantUpload, Part, Uploads, UploadState
from dth.core.task_group import Group, together
from dth.core.transport import Pipe
from dth.objects.compare.contents import check_contents
from dth.objects.listing.pages import ListedObject
from dth.objects.store.checksums import Checksum, header_name, join_crc64
from dth.objects.store.chunked import Trailed
from dth.objects.store.client import S3Client
from dth.objects.store.endpoints import ChecksumMode, EtagKind
from dth.objects.store.etags import (
    SOURCE_ETAG,
    bare_etag,
    is_encrypted,
    is_hollow,
    is_md5,
    same_etag,
)
from dth.objects.store.immediate_retry import retry
from dth.objects.store.objects import StoreWrite
from dth.objects.transfer import source_parts
from dth.objects.transfer.messages import ObjectItem, PartMessage, encode, part_message
from dth.objects.transfer.proof import (
    DigestInOrder,
    compare_stated,
    in_order,
    read_back,
    remove_damaged,
    stated_checksums,
)
from dth.objects.transfer.relay import CopiedObject, ObjectRoute, Properties, copying_refused

MAX_PARTS = 10_000
# Bytes. Larger parts pass through a pipe instead of memory.
STREAM_ABOVE = 64 * MIB
PIPE_SIZE = 8 * MIB
COPY_PART = 512 * MIB  # part size of copies inside a store
COMPLETE_LEASE = 960.0  # seconds one owner may take to complete
# The ETag that S3 gives an object made of parts.
MULTIPART_ETAG = re.compile(r"[0-9a-fA-F]{32}-\d+")
# The prefix of a checksum to which the checksums of parts can be joined.
CRC64 = f"{ChecksumMode.CRC64NVME}:"
# Seconds that a store's clock may be behind the time that it reported.
CLOCK_TOLERANCE = 5.0


class Busy(HubError):
    """Another worker holds this object's upload; try again later."""


class UploadLost(Transient):
    """The destination does not know the upload any more. The object must start over."""


def part_size_for(size: int, wanted: int, most: int = MAX_PARTS) -> int:
    """The wanted part size, or more: whole MiB, so that at most `most` parts are needed."""
    least = math.ceil(size / most / MIB) * MIB
    return max(wanted, least)


def part_count(size: int, part_size: int) -> int:
    """The number of parts of an object; an empty object has one."""
    return max(1, math.ceil(size / part_size))


def part_span(size: int, part_size: int, number: int) -> tuple[int, int]:
    """The first and last byte of part `number` (from 1)."""
    first = (number - 1) * part_size
    return first, min(first + part_size, size) - 1


class Multipart:
    """The multipart uploads of one task in one process."""

    def __init__(self, route: ObjectRoute, uploads: Uploads, owner: str) -> None:
        self._route = route
        self._uploads = uploads
        self._owner = owner
        # By key: the properties that were not available for objects whose uploads began here.
        self._lacks: dict[str, Properties] = {}
        # By upload id: uploads of which this process reads all parts, and what their bytes are
        # compared with.
        self._whole: dict[str, DigestInOrder | None] = {}

    # ----------------------------------------------------------------------------------- one worker

    async def transfer(self, run: int, item: ObjectItem) -> tuple[GiantUpload, CopiedObject]:
        """Copy the whole object here, resuming where an earlier try stopped. The caller settles the
        outcome, then calls `finish`. Raises Busy if another worker took over."""
        upload = await self.begin(run, item)
        done = {part.number for part in await self._uploads.parts(item.key) if part.etag}
        missing = [n for n in range(1, upload.parts + 1) if n not in done]
        if not done and upload.upload_id not in self._whole:
            self._whole[upload.upload_id] = await self._held_against(upload)
        whole = self._whole.get(upload.upload_id)
        await together(self._transfer_part(upload, number, whole) for number in missing)
        if whole:
            try:
                whole.check()
            except Corrupted:
                # It is unknown which part is damaged, so all are sent again.
                del self._whole[upload.upload_id]
                await self.abort(upload)
                raise
        copied = await self.complete(upload, agreed=whole is not None)
        self._whole.pop(upload.upload_id, None)
        if copied is None:
            raise Busy(f"key {item.key!r} is being completed by another worker")
        return upload, copied

    async def _held_against(self, upload: GiantUpload) -> DigestInOrder | None:
        """What to compare the bytes from the source with as they pass. None unless all parts pass
        here in memory."""
        if self._route.server_side or upload.part_size > STREAM_ABOVE:
            return None
        return await self._in_order(upload)

    async def _in_order(self, upload: GiantUpload) -> DigestInOrder | None:
        route = self._route
        return await in_order(
            route.source, upload.key, upload.size, upload.etag, joined=route.joins_checksums
        )

    async def _transfer_part(
        self, upload: GiantUpload, number: int, whole: DigestInOrder | None
    ) -> None:
        part = await self.copy_part(upload, number, whole)
        if await self.record(upload, part) is None:
            raise Busy(f"the upload of key {upload.key!r} was taken over")

    # ------------------------------------------------------------------------------ steps, for both

    async def begin(self, run: int, item: ObjectItem, *, spread: bool = False) -> GiantUpload:
        """The live upload for exactly this object, resumed or new. `spread`: its parts become
        messages. Raises Busy if another run or worker has the upload."""
        route = self._route
        wanted = (
            max(COPY_PART, route.parameters.part_size)
            if route.server_side
            else route.parameters.part_size
        )
        part_size = part_size_for(item.size, wanted, route.dest.capabilities.most_parts)
        live = await self._uploads.get(item.key)
        if live and live.state in (
            UploadState.INTENT,
            UploadState.UPLOADING,
            UploadState.COMPLETING,
        ):
            if live.run != run:
                # The other run may be waiting for it. If not, the controller discards it.
                raise Busy(f"key {item.key!r} has an upload of run {live.run}")
            same = (live.etag, live.size, live.part_size, live.sequencer)
            aligned = source_parts.aligned(part_size, live.source_part, item.size)
            if live.upload_id and same == (item.etag, item.size, aligned, item.sequencer):
                return live
            await self.abort(live)
        source_part = await source_parts.look(route, item.key, item.etag, item.size)
        part_size = source_parts.aligned(part_size, source_part, item.size)
        upload = GiantUpload(
            key=item.key,
            run=run,
            etag=item.etag,
            size=item.size,
            part_size=part_size,
            begun=clock.now(),
            attempts=item.attempts + 1,
            parts=part_count(item.size, part_size),
            sequencer=item.sequencer,
            source_part=source_part,
        )
        if not await self._uploads.intend(upload):
            raise Busy(f"the upload of key {item.key!r} was begun by another worker")
        # Get the first byte instead of a HEAD, because some stores do not count the tags in their
        # HEAD answers.
        answer = await route.source.get(item.key, size=item.size, etag=item.etag, span=(0, 0))
        properties = await route.properties(item.key, answer.headers, whole=False)
        upload.upload_id = await route.dest.create_upload(
            route.keys.to_dest(item.key),
            properties.headers,
            insist=route.insisted,
            part_size=part_size,
        )
        self._lacks[item.key] = route.lacking(properties)
        parts = [Part(number) for number in range(1, upload.parts + 1)]
        messages = (
            [encode(self._part_message(upload, part.number)) for part in parts] if spread else []
        )
        if not await self._uploads.start(item.key, upload.upload_id, parts, messages):
            await route.dest.abort_upload(route.keys.to_dest(item.key), upload.upload_id)
            raise Busy(f"the upload of key {item.key!r} was taken over")
        upload.state = UploadState.UPLOADING
        return upload

    async def copy_part(
        self, upload: GiantUpload, number: int, whole: DigestInOrder | None = None
    ) -> Part:
        """Transfer one part. The caller records it. UploadLost is raised to one caller only, who
        has to start the object over."""
        try:
            return await self._copy_part(upload, number, whole)
        except NoSuchUpload:
            raise await self._lost(upload) from None
        except ObjectRefused as error:
            if not self._has_fewer_parts(error, number):
                raise
            # The object starts over with larger parts.
            await self.abort(upload)
            raise UploadLost(str(error), code=error.code) from None

    def _has_fewer_parts(self, error: ObjectRefused, number: int) -> bool:
        """Whether the store refuses this part's number and says how many parts it accepts."""
        known = self._route.dest.capabilities
        said = re.search(r"part number.*\bbetween 1 and (\d+)", error.said, re.IGNORECASE)
        if not said or not 1 < int(said[1]) < number:
            return False
        known.most_parts = min(known.most_parts, int(said[1]))
        known.note(f"{self._route.dest.endpoint.host} takes {said[1]} parts of an upload at most")
        return True

    async def record(self, upload: GiantUpload, part: Part) -> GiantUpload | None:
        """Record that a part is done. Returns None if that upload is not live any more."""
        after = await self._uploads.part_done(upload.key, upload.upload_id, part)
        if after:
            first, last = part_span(upload.size, upload.part_size, part.number)
            self._route.tally.recorded += last - first + 1
        return after

    async def _copy_part(
        self, upload: GiantUpload, number: int, whole: DigestInOrder | None
    ) -> Part:
        span = part_span(upload.size, upload.part_size, number)
        length = span[1] - span[0] + 1
        if self._route.server_side:
            try:
                return await self._copy_part_in_store(upload, number, span)
            except ObjectRefused as error:
                if not copying_refused(self._route, error):
                    raise
        held = min(length, PIPE_SIZE) if length > STREAM_ABOVE else length
        await self._route.budget.acquire(held)
        try:
            if length > STREAM_ABOVE:
                return await self._streamed(upload, number, span)
            return await self._relay_part(upload, number, span, whole)
        finally:
            self._route.budget.release(held)

    async def _streamed(self, upload: GiantUpload, number: int, span: tuple[int, int]) -> Part:
        """Send a part that is too large for memory. Its checksum follows its bytes, as a trailer,
        if the store takes that.

        A store that does not know trailers may refuse them, or keep their framing as data. So a
        part that nobody confirms is sent again without one. If that succeeds, the trailer was the
        cause. A part that the store contradicts may be damaged: it is sent again with its checksum
        in front, so that the store checks it.
        """
        known = self._route.dest.capabilities
        if not known.trailing:
            return await self._without_trailer(upload, number, span)
        lesson, contradicted = "unconfirmed", False
        try:
            part = await retry(lambda: self._with_trailer(upload, number, span))
            contradicted = part is None
            if part and part.verified is not Verified.NOT:
                known.trailers = True
                return part
        except TransferError as error:
            if known.trailers or not _may_be_about_trailer(error):
                raise
            lesson = error.code
        part = await self._without_trailer(upload, number, span, stated=contradicted)
        self._give_up_trailers(lesson)
        return part

    def _give_up_trailers(self, lesson: str) -> None:
        known = self._route.dest.capabilities
        known.trailers = False
        known.note(
            f"{self._route.dest.endpoint.host} takes no checksum behind a body ({lesson}); "
            f"parts above {STREAM_ABOVE // MIB} MiB go without"
        )

    async def _with_trailer(
        self, upload: GiantUpload, number: int, span: tuple[int, int]
    ) -> Part | None:
        """The part. None if the store contradicts it and has not shown yet that it knows
        trailers."""
        try:
            return await self._stream_part(upload, number, span, trailing=True)
        except Corrupted:
            if self._route.dest.capabilities.trailers:
                raise
            return None

    async def _without_trailer(
        self, upload: GiantUpload, number: int, span: tuple[int, int], *, stated: bool = False
    ) -> Part:
        """Send the part without a trailer. With `stated`, or if the store requires it, the checksum
        goes before the part, which is then read twice."""
        known = self._route.dest.capabilities
        stated = stated or known.wants_sums
        try:
            return await retry(lambda: self._stream_part(upload, number, span, stated=stated))
        except ObjectRefused as error:
            if stated or not re.search("md5|checksum", error.said, re.IGNORECASE):
                raise
        known.wants_sums = True
        known.note(
            f"{self._route.dest.endpoint.host} wants checksums before bodies; parts above "
            f"{STREAM_ABOVE // MIB} MiB are read twice"
        )
        return await retry(lambda: self._stream_part(upload, number, span, stated=True))

    async def _relay_part(
        self, upload: GiantUpload, number: int, span: tuple[int, int], whole: DigestInOrder | None
    ) -> Part:
        route = self._route
        response = await route.source.get(upload.key, size=upload.size, etag=upload.etag, span=span)
        key = route.keys.to_dest(upload.key)
        with route.tally.holding(span[1] - span[0] + 1):
            written = await route.write_part(key, upload.upload_id, number, response.chunks)
        sums = source_parts.Sums(upload)
        sums.update(*response.chunks)
        part = await self._confirmed(upload, number, written, sums)
        if whole:
            await whole.add(number, response.chunks)
        return part

    async def _confirmed(
        self, upload: GiantUpload, number: int, written: StoreWrite, sums: source_parts.Sums
    ) -> Part:
        """The part as it is recorded, with who confirms it. Raises Damaged if its ETag is not the
        MD5 of what was sent. Sending the part again replaces it."""
        part = Part(number, written.etag, written.proof, digests=sums.hex())
        known = self._route.dest.capabilities
        if (
            written.md5
            and is_md5(written.etag)
            and not written.encrypted
            and known.etags is not EtagKind.OPAQUE
        ):
            if written.etag.lower() == written.md5:
                known.learn_etags(md5s=True)
                part.verified = Verified.ETAG
            elif await self._etags_are_md5(upload):
                raise Damaged(
                    f"part {number} of key {upload.key!r}: the destination's ETag is "
                    f"{written.etag}, the bytes sent have the MD5 {written.md5}",
                    code="EtagMismatch",
                )
        if written.confirmed:
            part.verified = Verified.STORE
        return part

    async def _etags_are_md5(self, upload: GiantUpload) -> bool:
        key = self._route.keys.to_dest(upload.key)
        return await self._route.dest.gives_md5s(key, self._route.asked_for) is not False

    async def _stream_part(
        self,
        upload: GiantUpload,
        number: int,
        span: tuple[int, int],
        *,
        trailing: bool = False,
        stated: bool = False,
    ) -> Part:
        """Stream a part: the GET feeds the PUT through a pipe. The checksum is computed as the
        bytes pass, and compared with the store's answer. It is sent after the body (`trailing`),
        before it (`stated`) or not at all."""
        route, known = self._route, self._route.dest.capabilities
        mode = known.checksum
        running, md5 = Checksum(mode), Checksum(ChecksumMode.MD5)
        before = await self._checksum_of(upload, span, mode) if stated else ""
        # The MD5 is the only evidence if the store answers no checksum, or has not shown yet that
        # it does.
        answers = known.answers_streamed
        sums = source_parts.Sums(upload)

        def passing(chunk: bytes) -> None:
            running.update(chunk)
            sums.update(chunk)
            if not answers:
                md5.update(chunk)

        length = span[1] - span[0] + 1
        if trailing:
            pipe: Pipe = Trailed(length, PIPE_SIZE, passing, header_name(mode), running.base64)
        else:
            pipe = Pipe(length, PIPE_SIZE, passing)
        key = route.keys.to_dest(upload.key)
        async with Group() as group:
            source = group.start(
                route.source.get(
                    upload.key, size=upload.size, etag=upload.etag, span=span, sink=pipe
                )
            )
            source.add_done_callback(
                lambda task: pipe.fail() if task.cancelled() or task.exception() else None
            )
            await pipe.started.wait()
            sink = group.start(
                route.dest.stream_part(key, upload.upload_id, number, pipe, mode, stated=before)
            )
            sink.add_done_callback(
                lambda task: pipe.fail() if task.cancelled() or task.exception() else None
            )
        written = sink.result()
        value = running.base64()
        proof = f"{mode}:{value}" if value else ""
        if written.confirmed and written.proof != proof:
            raise Damaged(
                f"part {number} of key {upload.key!r}: stored {written.proof}, sent {proof}",
                code="ChecksumMismatch",
            )
        if not stated:
            known.answers_streamed = written.confirmed
        hashed = "" if answers else md5.hex()
        return await self._confirmed(
            upload,
            number,
            StoreWrite(written.etag, proof, written.confirmed, hashed, written.encrypted),
            sums,
        )

    async def _checksum_of(
        self, upload: GiantUpload, span: tuple[int, int], mode: ChecksumMode
    ) -> str:
        """The base64 checksum of a part, from reading it once without keeping it."""
        running = Checksum(mode)
        async for chunks in self._pieces(upload, span):
            running.update(*chunks)
        return running.base64()

    async def _pieces(
        self, upload: GiantUpload, span: tuple[int, int]
    ) -> AsyncIterator[Sequence[bytes]]:
        """The bytes of a part at the source, in pieces of `PIPE_SIZE`."""
        first, last = span
        for start in range(first, last + 1, PIPE_SIZE):
            piece = (start, min(start + PIPE_SIZE - 1, last))
            answer = await self._route.source.get(
                upload.key, size=upload.size, etag=upload.etag, span=piece
            )
            yield answer.chunks

    async def _copy_part_in_store(
        self, upload: GiantUpload, number: int, span: tuple[int, int]
    ) -> Part:
        route = self._route
        key = route.keys.to_dest(upload.key)
        etag = await route.dest.copy_part(
            route.source, upload.key, key, upload.upload_id, number, upload.etag, span
        )
        return Part(number, etag)

    async def complete(self, upload: GiantUpload, *, agreed: bool = False) -> CopiedObject | None:
        """Join the parts if this process becomes the owner; None if another process is completing.
        `agreed`: the bytes of the parts are known to be the source's.

        The caller settles the outcome, then calls `finish`. After a crash between the two, the
        upload is gone and the object is in place, which counts as success.
        """
        if not await self._uploads.claim(upload.key, upload.upload_id, self._owner, COMPLETE_LEASE):
            return None
        parts = sorted(await self._uploads.parts(upload.key), key=lambda part: part.number)
        dest, key = self._route.dest, self._route.keys.to_dest(upload.key)
        proof = self._whole_proof(upload, parts)
        lacks = await self._lacking(upload)
        try:
            await self._check_not_replaced(upload)
            agreed = (
                agreed
                or await self._agrees_as_stated(upload, proof)
                or await source_parts.check(self._route, upload, parts)
                or await self._agrees_when_read_again(upload, parts)
            )
            etag, answered = await self._join(upload, key, parts, proof)
        except Corrupted as error:
            # The parts are not what the source has: nothing is joined, and the object starts over.
            await self.abort(upload)
            raise UploadLost(str(error), code=error.code) from None
        except TransferError as error:
            if error.disposition in (Disposition.RETRY, Disposition.ENDPOINT) and not isinstance(
                error, UploadLost
            ):
                await self._uploads.unclaim(upload.key, upload.upload_id, self._owner)
            raise
        try:
            etag, known = await self._look_at_joined(upload, key, parts, etag, answered, proof)
            read = self._route.parameters.verify_after or not known
            verified = await self._judge(
                upload, key, parts, etag, answered, proof, agreed=agreed, read=read
            )
            if verified is Verified.CONTENT and contradicts(
                etag, joined_etag([part.etag for part in parts])
            ):
                dest.capabilities.joins_etags = False
                dest.capabilities.note(
                    f"{dest.endpoint.host} makes the ETags of joined objects in its own way; the "
                    "first one was read back, and is right"
                )
        except Damaged as damage:
            # What was joined is not what was sent, so the object starts over.
            await remove_damaged(dest, key, damage)
            await self._end_used_up(upload)
            raise UploadLost(str(damage), code=damage.code) from None
        return CopiedObject(
            upload.etag, etag, proof, upload.size, verified, lacks.reason, lacks.detail
        )

    async def _check_not_replaced(self, upload: GiantUpload) -> None:
        """If the source's ETag says nothing, see by its time whether the object was written again
        while its parts were read. Raises Corrupted if so."""
        source = self._route.source
        if not is_hollow(upload.etag):
            return
        try:
            headers = (await source.head(upload.key)).headers
        except TransferError:
            # What counts is that it was there while it was read.
            return
        source.note_clock(headers)
        date = email.utils.parsedate_tz(headers.get("last-modified", ""))
        if date and email.utils.mktime_tz(date) >= math.floor(
            clock.here(upload.begun) + source.clock_offset
        ):
            raise Corrupted(
                f"key {upload.key!r}: the source object was written again while it was copied",
                code="ObjectReplaced",
            )

    async def _agrees_as_stated(self, upload: GiantUpload, proof: str) -> bool:
        """Whether the parts give the CRC64NVME that the source states. Raises Corrupted if they
        give another one."""
        stated = await self._source_states(upload) if proof else ""
        if stated and stated != proof.removeprefix(CRC64):
            raise Corrupted(
                (
                    f"key {upload.key!r}: the source states {CRC64}{stated}, the bytes that were "
                    f"sent have {proof}"
                ),
                code="ChecksumMismatch",
            )
        return stated != ""

    async def _agrees_when_read_again(self, upload: GiantUpload, parts: Sequence[Part]) -> bool:
        """Read the source again if the parts did not all pass here in order, and compare it with
        what the source states about the whole object. That shows whether the bytes read now are
        right; the checksums of the parts show whether the same bytes were sent. Raises Corrupted if
        not."""
        if upload.source_part != upload.size or not all(part.checksum for part in parts):
            return False
        whole = await self._in_order(upload)
        if whole is None:
            return False
        number = 0
        for part in parts:
            mode, _, sent = part.checksum.partition(":")
            running = Checksum(mode)
            span = part_span(upload.size, upload.part_size, part.number)
            async for chunks in self._pieces(upload, span):
                running.update(*chunks)
                number += 1
                await whole.add(number, chunks)
            if (found := running.base64()) != sent:
                raise Corrupted(
                    f"part {part.number} of key {upload.key!r}: read again, the source has "
                    f"{mode}:{found}, sent was {part.checksum}",
                    code="ChecksumMismatch",
                )
        whole.check()
        return True

    async def _join(
        self, upload: GiantUpload, key: str, parts: list[Part], proof: str
    ) -> tuple[str, str]:
        """Complete the upload. Returns the object's ETag, and the CRC64NVME of the whole if the
        store answers one."""
        dest = self._route.dest
        try:
            return await dest.complete_upload(
                key, upload.upload_id, [(part.number, part.etag, part.checksum) for part in parts]
            )
        except NoSuchUpload:
            found = await self._find_completed(upload, key, parts, proof)
            if found is None:
                raise await self._lost(upload) from None
            return found, ""

    async def _judge(
        self,
        upload: GiantUpload,
        key: str,
        parts: list[Part],
        etag: str,
        answered: str,
        proof: str,
        *,
        agreed: bool,
        read: bool,
    ) -> Verified:
        """Who confirms the joined object. `read`: read it back. Raises Damaged if something
        contradicts it."""
        if answered and "-" not in answered and proof and proof != CRC64 + answered:
            raise Damaged(
                f"key {upload.key!r}: the store joined {answered}, the parts make {proof}",
                code="ChecksumMismatch",
                etag=etag,
            )
        if read and not proof:
            # There is no checksum of the bytes that were sent.
            await check_contents(
                self._route, ListedObject(upload.key, upload.size, upload.etag), etag
            )
            return Verified.CONTENT
        if read:
            stored = await read_back(
                self._route.dest, key, upload.size, etag, ChecksumMode.CRC64NVME
            )
            if CRC64 + stored != proof:
                raise Damaged(
                    (
                        f"key {upload.key!r}: the copy that was read back has {CRC64}{stored}, "
                        f"sent was {proof}"
                    ),
                    code="ContentMismatch",
                    etag=etag,
                )
            return Verified.CONTENT
        if self._route.server_side:
            return await self._judge_copy(upload, key, etag)
        by_parts = {part.verified for part in parts}
        if by_parts == {Verified.STORE} or (answered and "-" not in answered and proof):
            return Verified.STORE
        if Verified.NOT not in by_parts:
            return Verified.ETAG
        return Verified.SOURCE if agreed else Verified.NOT

    async def _judge_copy(self, upload: GiantUpload, key: str, etag: str) -> Verified:
        try:
            answer = await self._route.source.head(upload.key, etag=upload.etag, checksums=True)
        except TransferError:
            # What counts is that it was there while it was copied.
            return Verified.NOT
        return await compare_stated(
            self._route.dest, key, stated_checksums(answer.headers), StoreWrite(etag)
        )

    async def _look_at_joined(
        self, upload: GiantUpload, key: str, parts: list[Part], etag: str, answered: str, proof: str
    ) -> tuple[str, bool]:
        """The ETag of the joined object, and whether it is known to be the one. Looks at the
        object, unless the answer shows it: an answer may be about another object, or come from
        something before the store. An ETag that is not the one of the parts means damage, or that
        this store makes ETags in another way: it is not known then. Raises Damaged."""
        # A store may confirm a framed body and store the frame too.
        dest = self._route.dest
        framed = upload.part_size > STREAM_ABOVE and dest.capabilities.trailing
        joined = joined_etag([part.etag for part in parts])
        summed = bool(answered) and proof == CRC64 + answered
        contradicted = await self._is_contradicted(key, etag, joined)
        proven = etag.lower() == joined or (summed and not contradicted)
        if proven and not framed:
            return etag, True
        try:
            headers = (await dest.head(key)).headers
        except SourceGone:
            raise await self._not_joined(upload, "no such object") from None
        except TransferError:
            # Whoever may write may not always read.
            if contradicted and not summed:
                raise _etag_mismatch(upload, etag, joined) from None
            return etag, True
        if is_older(dest, clock.here(upload.begun), headers):
            raise await self._not_joined(upload, "an older object")
        found, mark = headers.get("content-length", ""), headers.get(SOURCE_ETAG, "")
        if found and found != str(upload.size):
            if framed:
                self._give_up_trailers("another size")
            raise Damaged(
                f"key {upload.key!r}: the copy has {found} bytes, the source {upload.size}",
                code="SizeMismatch",
                etag=etag,
            )
        if mark and mark != upload.etag:
            raise await self._not_joined(upload, "another object")
        etag = bare_etag(headers.get("etag", "")) or etag
        if is_encrypted(headers):
            dest.capabilities.learn_etags(md5s=False)
        if await self._is_contradicted(key, etag, joined):
            return etag, False
        # Without the mark, it may be an object that was there before.
        return etag, bool(proven or mark or etag.lower() == joined or self._route.server_side)

    async def _is_contradicted(self, key: str, etag: str, joined: str) -> bool:
        """Whether the ETag of the joined object contradicts those of its parts, as far as this
        store's ETags say anything."""
        dest = self._route.dest
        if not dest.capabilities.joins_etags or not contradicts(etag, joined):
            return False
        return bool(await dest.gives_md5s(key, self._route.asked_for))

    async def _not_joined(self, upload: GiantUpload, instead: str) -> UploadLost:
        """The error to raise when a store joined nothing. What is there instead stays: it is not
        damaged."""
        await self._end_used_up(upload)
        text = f"key {upload.key!r}: the store answered that it joined the parts, but has {instead}"
        return UploadLost(text, code="NotStored")

    async def _source_states(self, upload: GiantUpload) -> str:
        """The CRC64NVME of the whole object that the source states; "" if it states none."""
        try:
            answer = await self._route.source.head(upload.key, etag=upload.etag, checksums=True)
        except TransferError:
            # What counts is that it was there while it was read.
            return ""
        return stated_checksums(answer.headers).get(ChecksumMode.CRC64NVME, "")

    async def finish(self, upload: GiantUpload) -> None:
        """Mark a completed upload as done. Call it after its outcome is settled."""
        await self._uploads.end(upload.key, upload.upload_id, UploadState.DONE)

    async def abort(self, upload: GiantUpload) -> bool:
        """Discard a live upload, here and at the destination. True for the one call that did it."""
        key = self._route.keys.to_dest(upload.key)
        if upload.upload_id:
            await self._route.dest.abort_upload(key, upload.upload_id)
        else:
            await self._reap(upload, key)
        return await self._uploads.end(upload.key, upload.upload_id, UploadState.ABORTED)

    async def abort_key(self, key: str, run: int) -> None:
        """Discard any upload that this object has in this run."""
        live = await self._uploads.get(key)
        if live and live.run == run and live.state not in (UploadState.DONE, UploadState.ABORTED):
            await self.abort(live)

    async def resend_missing(self, upload: GiantUpload) -> None:
        """Send the messages of parts that are not done again, except those that are in the queue
        now."""
        parts = await self._uploads.parts(upload.key)
        missing = [
            encode(self._part_message(upload, part.number)) for part in parts if not part.etag
        ]
        await self._uploads.resend(upload.key, missing)

    # -------------------------------------------------------------------------------------- details

    async def _lost(self, upload: GiantUpload) -> HubError:
        """The error to raise when the destination does not know the upload: UploadLost for one
        caller only."""
        if await self._end_used_up(upload):
            return UploadLost(f"the upload of key {upload.key!r} is gone", code="NoSuchUpload")
        return Busy(f"the upload of key {upload.key!r} was taken over")

    async def _end_used_up(self, upload: GiantUpload) -> bool:
        """End an upload that the destination has joined or lost by its own account, and discard
        what it may have kept of it all the same. True for the one call that did it."""
        with suppress(TransferError):
            await self._route.dest.abort_upload(
                self._route.keys.to_dest(upload.key), upload.upload_id
            )
        return await self._uploads.end(upload.key, upload.upload_id, UploadState.ABORTED)

    async def _reap(self, upload: GiantUpload, key: str) -> None:
        """Abort uploads of exactly this key that began after the intent. A crash between
        CreateMultipartUpload and recording its id leaves an upload that no record names."""
        dest = self._route.dest
        # This also determines the store's clock.
        strays = await dest.uploads(key)
        earliest = clock.here(upload.begun) + dest.clock_offset - CLOCK_TOLERANCE
        for stray in strays:
            if stray.initiated >= earliest:
                await dest.abort_upload(key, stray.upload_id)

    async def _find_completed(
        self, upload: GiantUpload, key: str, parts: list[Part], proof: str
    ) -> str | None:
        """The ETag of the destination object if this upload produced it: it has the size, the hub's
        mark or the ETag that the parts give, and no contradicting checksum."""
        try:
            answer = await self._route.dest.head(key, checksums=True)
        except SourceGone:
            return None
        headers = answer.headers
        same_size = headers.get("content-length") == str(upload.size)
        etag = bare_etag(headers.get("etag", ""))
        joined = joined_etag([part.etag for part in parts])
        ours = headers.get(SOURCE_ETAG, "") == upload.etag or same_etag(etag, joined)
        stated = stated_checksums(headers).get(ChecksumMode.CRC64NVME, "")
        contradicts = proof and stated and proof != CRC64 + stated
        return etag if same_size and ours and not contradicts else None

    async def _lacking(self, upload: GiantUpload) -> Properties:
        """What of an object was not available. If another process began its upload, the source is
        asked again."""
        found = self._lacks.pop(upload.key, None)
        if found is not None:
            return found
        route, size = self._route, upload.size
        try:
            answer = await route.source.get(upload.key, size=size, etag=upload.etag, span=(0, 0))
            return route.lacking(await route.properties(upload.key, answer.headers, whole=False))
        except TransferError:
            # What counts is that it was there while it was read.
            return Properties({})

    def _whole_proof(self, upload: GiantUpload, parts: list[Part]) -> str:
        """The CRC64NVME of the whole object, if every part has one; else ""."""
        spans = (part_span(upload.size, upload.part_size, part.number) for part in parts)
        return joined_proof([part.checksum for part in parts], [b - a + 1 for a, b in spans])

    def _part_message(self, upload: GiantUpload, number: int) -> PartMessage:
        return part_message(
            upload.run,
            upload.key,
            upload.upload_id,
            upload.etag,
            upload.size,
            upload.part_size,
            number,
        )


def _may_be_about_trailer(error: TransferError) -> bool:
    """Whether a store that does not know trailers may answer like this. There is no single way: an
    invalid signature, a different checksum, a missing length, an error of its own."""
    dispositions = (Disposition.RETRY, Disposition.REFUSED, Disposition.ENDPOINT)
    answered = error.status and error.side != "source" and not isinstance(error, Throttled)
    return bool(answered and error.disposition in dispositions)


def is_older(dest: S3Client, begun: float, headers: Mapping[str, str]) -> bool:
    """Whether an object at the destination is older than an upload that began at this local time,
    by the store's clock. `headers`: of the answer about the object."""
    dest.note_clock(headers)
    date = email.utils.parsedate_tz(headers.get("last-modified", ""))
    return date is not None and email.utils.mktime_tz(date) < (
        begun + dest.clock_offset - CLOCK_TOLERANCE
    )


def joined_proof(proofs: Sequence[str], lengths: Sequence[int]) -> str:
    """The CRC64NVME of an object made of parts, if each part has one; else ""."""
    if not all(proof.startswith(CRC64) for proof in proofs):
        return ""
    sums = [proof.removeprefix(CRC64) for proof in proofs]
    return CRC64 + join_crc64(list(zip(sums, lengths, strict=True)))


def joined_etag(etags: Sequence[str]) -> str:
    """The ETag that S3 gives an object made of parts with MD5 ETags; "" if the parts have other
    ETags."""
    if not all(map(is_md5, etags)):
        return ""
    joined = hashlib.md5(b"".join(map(bytes.fromhex, etags)), usedforsecurity=False)
    return f"{joined.hexdigest()}-{len(etags)}"


def contradicts(etag: str, joined: str) -> bool:
    """Whether an ETag looks like one made of parts, and is not the one that these parts make."""
    return joined != "" and MULTIPART_ETAG.fullmatch(etag) is not None and etag.lower() != joined


def _etag_mismatch(upload: GiantUpload, etag: str, joined: str) -> Damaged:
    return Damaged(
        f"key {upload.key!r}: the store's ETag is {etag}, the parts make {joined}",
        code="EtagMismatch",
        etag=etag,
    )
