"""Uploads in parts, and who completes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from dth.core.ports.queue import Outgoing
from dth.core.ports.status import Verified


class UploadState(StrEnum):
    INTENT = "INTENT"  # written before CreateMultipartUpload
    UPLOADING = "UPLOADING"
    COMPLETING = "COMPLETING"  # one owner, by a lease that expires
    DONE = "DONE"
    ABORTED = "ABORTED"


@dataclass(slots=True)
class Upload:
    """One giant object on its way. `begun` is when the intent was written; only uploads of the exact key begun after it
    and unknown here may be reaped."""

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
    modified: float = 0.0  # of the last part done
    sequencer: str | None = None  # of the last event known when it was begun, for its outcome
    source_part: int = 0  # bytes of the source's parts, whose MD5s are to be computed; 0: none are

    @property
    def done_bytes(self) -> int:
        """Bytes of the parts that are done."""
        return min(self.size, self.parts_done * self.part_size)


@dataclass(slots=True)
class Part:
    number: int  # from 1
    etag: str = ""  # "" until done
    checksum: str = ""  # `algorithm:base64` of what was sent; "" where the store takes none
    attempts: int = 0
    verified: Verified = Verified.NOT
    digests: str = ""  # MD5s of the source's parts in it, in hexadecimal, one after the other


class Uploads(Protocol):
    """The records of giant uploads and their parts; at most one live upload a key. It belongs to its run."""

    async def intend(self, upload: Upload) -> bool:
        """Write the intent if the key has no live upload (INTENT, UPLOADING or COMPLETING). False: somebody else is at
        it, do nothing."""
        ...

    async def start(
        self, key: str, upload_id: str, parts: Sequence[Part], messages: Sequence[Outgoing]
    ) -> bool:
        """INTENT -> UPLOADING with its parts and their messages (safe together). False when the intent is gone:
        abort the upload just created."""
        ...

    async def get(self, key: str) -> Upload | None: ...

    async def parts(self, key: str) -> list[Part]: ...

    async def part_done(self, key: str, upload_id: str, part: Part) -> Upload | None:
        """Write the part once (counted in parts_done once). None when that upload is not UPLOADING any more."""
        ...

    async def claim(self, key: str, upload_id: str, owner: str, lease: float) -> bool:
        """UPLOADING (or COMPLETING with an expired lease) -> COMPLETING for `owner`. True for exactly one owner."""
        ...

    async def unclaim(self, key: str, upload_id: str, owner: str) -> None:
        """COMPLETING by `owner` -> UPLOADING, when completing failed for a passing reason."""
        ...

    async def end(self, key: str, upload_id: str, state: UploadState) -> bool:
        """-> DONE or ABORTED. True for the one call that did it. Its parts are forgotten."""
        ...

    async def live(self) -> list[Upload]:
        """All uploads that are INTENT, UPLOADING or COMPLETING."""
        ...

    async def resend(self, key: str, messages: Sequence[Outgoing]) -> None:
        """Send part messages again, those whose id is not in the queue now."""
        ...
