"""What the hub knows about each image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dth.core.ports.status import Status


@dataclass(slots=True)
class ImageRecord:
    """What one run did with one image.

    `key` is the key of its `Record`: its name at the destination, without the registry. `size` is
    the total of its layers in bytes; `moved` are the bytes of it that had to be sent. The rest was
    already there.
    """

    key: str
    run: int
    source: str  # reference
    status: Status
    source_digest: str = ""
    dest_digest: str = ""
    size: int = 0
    moved: int = 0  # planned, while PENDING
    seconds: float = 0.0
    attempts: int = 0
    reason: str = ""
    detail: str = ""
    # The platforms it was narrowed to, separated by commas; "" for all.
    platforms: str = ""
    about: str = ""  # digest of the image it belongs to
    ended: float = 0.0


class Images(Protocol):
    """The history of a task's images: one record per image and run, for images that a run had to
    handle."""

    async def write(self, images: Sequence[ImageRecord]) -> None:
        """Insert the records, or replace those of the same image and run. An ended record never
        becomes PENDING."""
        ...

    async def cancel_pending(self, reason: str) -> None:
        """Mark every PENDING record as CANCELLED. Call it when nothing is in flight any more."""
        ...

    async def copied(self) -> dict[str, ImageRecord]:
        """The newest record of each copied image, by key."""
        ...

    async def latest(self, keys: Sequence[str]) -> dict[str, ImageRecord]:
        """The newest record of each of these images, by key."""
        ...

    async def history(self, key: str, limit: int = 100) -> list[ImageRecord]:
        """The records of one image, newest first."""
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
        """Up to `limit` records above the key `after`, in key order. With `run`: those of that run.
        Without: the newest of each image."""
        ...
