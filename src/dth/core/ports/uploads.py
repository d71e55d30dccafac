"""Multipart uploads, and who completes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from dth.core.ports.queue import Outgoing
from dth.core.ports.status import Verified


class UploadState(StrEnum):
    """How far a multipart upload is."""

    INTENT = "INTENT"  # written before CreateMultipartUpload
    UPLOADING = "UPLOADING"
    COMPLETING = "COMPLETING"  # by one owner, whose lease expires
    DONE = "DONE"
    ABORTED = "ABORTED"


@dataclass(slots=True)
class GiantUpload:
    """One giant object in progress.

    `begun` is when the intent was written. Only uploads of exactly this key that began after that
    time, and that are not recorded here, may be removed.
    """

    key: str
    run: int
    etag: str
    size: int
    part_size: int
    state: UploadState = UploadState.INTENT
    upload_id: str = ""
    begun: float = 0.0
    owner: str = ""
    lease_until: float = 0.0
    attempts: int = 1
    parts: int = 0
    parts_done: int = 0
    modified: float = 0.0  # when the last part was done
    # Of the last event known when the upload began; goes into the outcome.
    sequencer: str | None = None
    # Size in bytes of the source's parts whose MD5s are computed; 0: none are.
    source_part: int = 0

    @property
    def done_bytes(self) -> int:
        """Bytes of the parts that are done."""
        return min(self.size, self.parts_done * self.part_size)


@dataclass(slots=True)
class Part:
    """One part of an upload, as it is recorded."""

    number: int  # from 1
    etag: str = ""  # "" until done
    # `algorithm:base64` of what was sent; "" if the store takes no checksum.
    checksum: str = ""
    attempts: int = 0
    verified: Verified = Verified.NOT
    # MD5s of the source's parts within this part, in hexadecimal, concatenated.
    digests: str = ""


class Uploads(Protocol):
    """The records of giant uploads and their parts. A key has at most one live upload, which
    belongs to its run."""

    async def intend(self, upload: GiantUpload) -> bool:
        """Write the intent if the key has no live upload (INTENT, UPLOADING or COMPLETING). Returns
        False if another worker has one: do nothing."""
        ...

    async def start(
        self, key: str, upload_id: str, parts: Sequence[Part], messages: Sequence[Outgoing]
    ) -> bool:
        """INTENT -> UPLOADING, with its parts and their messages, all or nothing. Returns False if
        the intent is gone: abort the upload just created."""
        ...

    async def get(self, key: str) -> GiantUpload | None:
        """The upload of this key, live or ended; None if there is none."""
        ...

    async def parts(self, key: str) -> list[Part]:
        """The parts of the live upload of this key, done or not."""
        ...

    async def part_done(self, key: str, upload_id: str, part: Part) -> GiantUpload | None:
        """Record that the part is done; it counts once. Returns None if that upload is not
        UPLOADING any more."""
        ...

    async def claim(self, key: str, upload_id: str, owner: str, lease: float) -> bool:
        """UPLOADING (or COMPLETING with an expired lease) -> COMPLETING for `owner`. True for
        exactly one owner."""
        ...

    async def unclaim(self, key: str, upload_id: str, owner: str) -> None:
        """COMPLETING by `owner` -> UPLOADING, after completing failed for a temporary reason."""
        ...

    async def end(self, key: str, upload_id: str, state: UploadState) -> bool:
        """-> DONE or ABORTED. True for the one call that did it. Deletes the records of the
        parts."""
        ...

    async def live(self) -> list[GiantUpload]:
        """All uploads that are INTENT, UPLOADING or COMPLETING."""
        ...

    async def resend(self, key: str, messages: Sequence[Outgoing]) -> None:
        """Send part messages again, except those whose id is in the queue now."""
        ...
