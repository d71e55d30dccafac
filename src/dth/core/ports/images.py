"""What is known of each image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dth.core.ports.status import Status


@dataclass(slots=True)
class ImageRecord:
    """What one run did with one image. `key` is that of its `Record`: what it is called at the destination, without the
    registry. `moved` are the bytes that had to cross, of the `size` of its layers; the rest was there already."""

    key: str
    run: int
    source: str  # reference
    status: Status
    source_digest: str = ""
    dest_digest: str = ""
    size: int = 0
    moved: int = 0  # planned, while it is PENDING
    seconds: float = 0.0
    attempts: int = 0
    reason: str = ""
    detail: str = ""
    platforms: str = ""  # those it was narrowed to, with commas between; "" = all
    about: str = ""  # digest of the image with which it goes along
    ended: float = 0.0


class Images(Protocol):
    """The history of a task's images: one record an image and run, for those that a run had to do something with."""

    async def write(self, images: Sequence[ImageRecord]) -> None:
        """Insert, or replace what is written of the same image and run; but nothing that has ended becomes PENDING."""
        ...

    async def cancel_pending(self, reason: str) -> None:
        """Nothing is in flight any more: what is PENDING becomes CANCELLED."""
        ...

    async def copied(self) -> dict[str, ImageRecord]:
        """By key, the newest record of each image that was copied."""
        ...

    async def latest(self, keys: Sequence[str]) -> dict[str, ImageRecord]:
        """By key, the newest record of each of these."""
        ...

    async def history(self, key: str, limit: int = 100) -> list[ImageRecord]:
        """Of one image, newest first."""
        ...

    async def page(
        self,
        run: int | None = None,
        *,
        status: Status | None = None,
        prefix: str = "",
        reason: str = "",
        after: str = "",
        limit: int = 100,
    ) -> list[ImageRecord]:
        """Up to `limit` records above the key `after`, in key order: of a run, or else the newest of each image."""
        ...
