"""The content of a plan: what to do with each image, and the totals for the whole run. Plain
data."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dth.images.registry.manifest import Manifest
from dth.images.registry.reference import Reference


class ImageAction(StrEnum):
    """What to do with an image, or why it cannot be copied."""

    SAME = "same"  # the destination has it
    COPY = "copy"
    ALONG = "along"  # part of another image, copied with it
    # The destination's tag is another image and cannot be moved.
    CONFLICT = "conflict"
    MISSING = "missing"  # not, or no longer, at the source
    # It cannot be read or has no place at the destination; `reason` says why.
    REFUSED = "refused"
    # A repository or catalog that cannot be listed, or the attachments of an image.
    UNLISTED = "unlisted"


@dataclass(frozen=True, slots=True)
class EarlierCopy:
    """The result of an earlier copy of an image.

    Some registries store content under another digest than was sent, and an index may have been
    narrowed to some platforms.
    """

    source_digest: str
    dest_digest: str
    platforms: tuple[str, ...] = ()


@dataclass(slots=True)
class ImageItem:
    """One image. `digest` is the source's, `wanted` the one the destination should have, `found`
    the one it has.
    """

    source: Reference
    dest: Reference
    action: ImageAction = ImageAction.COPY
    reason: str = ""
    digest: str = ""
    wanted: str = ""
    found: str = ""
    # Bytes of its config and layers, each counted once.
    size: int = 0
    # Bytes that its copy moves after the copies before it.
    moves: int = 0
    # Positions in the plan of items that must end first.
    after: tuple[int, ...] = ()
    # Digest of the image that it is attached to.
    about: str = ""
    # The index to write at the destination instead of the source's.
    narrowed: Manifest | None = None
    manifests: tuple[Manifest, ...] = ()  # manifests read so far
    # Layers, each with the destination repository that has it.
    mounts: tuple[tuple[str, str], ...] = ()
    # Groups failures, if `reason` came with a code.
    code: str = ""
    damaged: bool = False  # the destination lost a part of it
    # No place at the destination: `dest` names another image or nothing.
    homeless: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "source": str(self.source),
            "destination": str(self.dest),
            "action": self.action.value,
            "reason": self.reason,
            "digest": self.digest,
            "wanted": self.wanted,
            "found": self.found,
            "size": self.size,
            "bytes": self.moves,
            "after": list(self.after),
            "about": self.about,
        }


@dataclass(slots=True)
class Plan:
    """The items to be copied, in the order in which they start, then the others by name."""

    items: list[ImageItem]
    repositories: list[str]  # to be created at the destination
    looked_inside: bool = True  # whether the number of bytes is known
    notes: list[str] = field(default_factory=list)  # information for the user

    @property
    def copies(self) -> list[ImageItem]:
        """The items to be copied."""
        return [item for item in self.items if item.action is ImageAction.COPY]

    @property
    def attached(self) -> int:
        """The number of items attached to an image: signatures, attestations, SBOMs, and so on."""
        return sum(bool(item.about) for item in self.items)

    @property
    def impossible(self) -> int:
        """The number of items that cannot be copied."""
        passing = (ImageAction.SAME, ImageAction.COPY, ImageAction.ALONG)
        return sum(item.action not in passing for item in self.items)

    @property
    def bytes(self) -> int:
        """The bytes that all copies have to move."""
        return sum(item.moves for item in self.items)

    def counts(self) -> dict[ImageAction, int]:
        """Return the number of items per action."""
        return {action: sum(item.action is action for item in self.items) for action in ImageAction}

    def as_dict(self) -> dict[str, Any]:
        return {
            "items": [item.as_dict() for item in self.items],
            "repositories": list(self.repositories),
            "counts": {action.value: number for action, number in self.counts().items()},
            "attached": self.attached,
            "bytes": self.bytes if self.looked_inside else None,
            "notes": list(self.notes),
        }
