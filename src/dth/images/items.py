"""What a plan says: for each image what is to be done, and how it looks for the whole run. Plain data."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dth.images.registry.manifest import Manifest
from dth.images.registry.reference import Reference


class Action(StrEnum):
    SAME = "same"  # the destination has it
    COPY = "copy"
    ALONG = "along"  # comes with another image, of which it is a part
    CONFLICT = "conflict"  # the destination's tag is another image, and cannot be moved
    MISSING = "missing"  # the source has it no longer, or never had it
    REFUSED = "refused"  # it cannot be looked at, or has no place; `reason` says why
    UNLISTED = (
        "unlisted"  # a repository or a catalogue that cannot be listed, or what is attached to an image
    )


@dataclass(frozen=True, slots=True)
class Known:
    """What an earlier copy of an image ended with: not every registry stores what it is sent under the same digest, and
    an index may have been narrowed to some platforms."""

    source_digest: str
    dest_digest: str
    platforms: tuple[str, ...] = ()


@dataclass(slots=True)
class Item:
    """One image. `digest` is the source's, `wanted` what the destination should have, `found` what it has."""

    source: Reference
    dest: Reference
    action: Action = Action.COPY
    reason: str = ""
    digest: str = ""
    wanted: str = ""
    found: str = ""
    size: int = 0  # bytes of its config and layers, each once
    moves: int = 0  # bytes that its copy has to move, after those before it
    after: tuple[int, ...] = ()  # places in the plan of items that have to end first
    about: str = ""  # digest of the image with which it goes along
    narrowed: Manifest | None = None  # the index to write at the destination in place of the source's
    manifests: tuple[Manifest, ...] = ()  # what was read of it
    mounts: tuple[tuple[str, str], ...] = ()  # layers, and the repository of the destination that has each
    code: str = ""  # by which failures are grouped, where `reason` came with one
    damaged: bool = False  # the destination has lost a part of it
    homeless: bool = False  # it has no place at the destination: what `dest` names is another's, or nothing

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
    """First the items that are to be copied, in the order in which they begin; then the others, by name."""

    items: list[Item]
    repositories: list[str]  # to be made at the destination
    looked_inside: bool = True  # whether the bytes are known
    notes: list[str] = field(default_factory=list)  # what the user should know

    @property
    def copies(self) -> list[Item]:
        return [item for item in self.items if item.action is Action.COPY]

    @property
    def attached(self) -> int:
        """How many items go along with an image: signatures, attestations, SBOMs and the like."""
        return sum(bool(item.about) for item in self.items)

    @property
    def impossible(self) -> int:
        """How many items cannot be copied."""
        passing = (Action.SAME, Action.COPY, Action.ALONG)
        return sum(item.action not in passing for item in self.items)

    @property
    def bytes(self) -> int:
        return sum(item.moves for item in self.items)

    def counts(self) -> dict[Action, int]:
        return {action: sum(item.action is action for item in self.items) for action in Action}

    def as_dict(self) -> dict[str, Any]:
        return {
            "items": [item.as_dict() for item in self.items],
            "repositories": list(self.repositories),
            "counts": {action.value: number for action, number in self.counts().items()},
            "attached": self.attached,
            "bytes": self.bytes if self.looked_inside else None,
            "notes": list(self.notes),
        }
