"""The messages of a task: each is one image to copy, with its part of the plan.

A message has everything a worker needs, so a copy repeats no request of the planner. A message
without a digest (an image that is retried) is planned by the worker that takes it.
"""

import json
import zlib
from base64 import b85decode, b85encode
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from dth.core.ports.images import ImageRecord
from dth.core.ports.queue import BadMessage, Outgoing
from dth.core.ports.status import Status
from dth.images.items import ImageAction, ImageItem, Plan
from dth.images.registry.manifest import Manifest
from dth.images.registry.reference import Reference

VERSION = 1
# Most bytes of packed manifests per message, because queues limit the size of messages.
MANIFESTS_LIMIT = 64 * 1024
# Suffix of the repository's name in its record.
UNLISTED = " (cannot be listed)"


@dataclass(frozen=True, slots=True)
class CopyOrder:
    """One image to copy. `key` names its record."""

    run: int
    source: Reference
    dest: Reference
    digest: str = ""  # the source's; "" = the current one
    # Digest of the image that it is attached to.
    about: str = ""
    size: int = 0  # bytes of its config and layers
    moves: int | None = 0  # bytes to transfer; None: unknown
    after: tuple[str, ...] = ()  # keys of images that must end first
    platforms: tuple[str, ...] = ()
    # The index to write instead of the source's.
    narrowed: Manifest | None = None
    # Layers, each with the destination repository that has it.
    mounts: tuple[tuple[str, str], ...] = ()
    # The destination has the image, but not all of its parts.
    repair: bool = False
    # The source's manifests that the plan has read. The copy reads the others.
    manifests: tuple[Manifest, ...] = ()

    @property
    def key(self) -> str:
        """The key of the image's record."""
        return key_of(self.dest)

    @property
    def exactly(self) -> Reference:
        """The source by digest, so that the copy matches the plan."""
        return Reference(self.source.registry, self.source.repository, "", self.digest)

    def record(self, status: Status = Status.PENDING, attempts: int = 0) -> ImageRecord:
        """Return the record of the image with this status."""
        return ImageRecord(
            self.key,
            self.run,
            str(self.source),
            status,
            source_digest=self.digest,
            size=self.size,
            moved=self.moves or 0,
            attempts=attempts,
            platforms=",".join(self.platforms),
            about=self.about,
        )


def key_of(dest: Reference) -> str:
    """Return an image's name at the destination, without the registry, which is the same for
    all."""
    return str(dest).removeprefix(f"{dest.registry}/")


def record_key(item: ImageItem) -> str:
    """Return the key of the image's record.

    For an image without a place at the destination, the key includes its source. It therefore
    differs from the key of the image that has the place.
    """
    key = key_of(item.dest)
    if item.action is ImageAction.UNLISTED:
        return f"{key or item.dest.registry}{UNLISTED}"
    return f"{key} ({item.source})" if item.homeless else key


def is_unlisted(key: str) -> bool:
    """Whether a record is about something that could not be listed."""
    return key.endswith(UNLISTED)


def has_place(key: str) -> bool:
    """Whether a record is about an image with a place at the destination."""
    return " " not in key


def order_of(run: int, item: ImageItem, plan: Plan, platforms: tuple[str, ...]) -> CopyOrder:
    """Return the order for an item of a plan."""
    return CopyOrder(
        run,
        item.source,
        item.dest,
        item.digest,
        item.about,
        item.size,
        item.moves if plan.looked_inside else None,
        tuple(key_of(plan.items[place].dest) for place in item.after),
        platforms,
        item.narrowed,
        item.mounts,
        item.damaged,
        tuple(each for each in item.manifests if each is not item.narrowed),
    )


def encode(order: CopyOrder) -> Outgoing:
    """Return the message. The same order sent twice is one message."""
    fields = asdict(replace(order, manifests=()))
    if order.narrowed:
        fields["narrowed"] = [
            order.narrowed.digest,
            order.narrowed.media_type,
            order.narrowed.body.decode(),
        ]
    manifests = _packed(order.manifests)
    fields["manifests"] = manifests if len(manifests) <= MANIFESTS_LIMIT else ""
    return Outgoing(f"{order.run}-{order.key}", json.dumps({"version": VERSION, **fields}))


def decode(body: str) -> CopyOrder:
    """Return the order in a message. Raises BadMessage."""
    try:
        fields = json.loads(body)
        if fields.pop("version") != VERSION:
            raise BadMessage("a message of another version of Data Transfer Hub")
        narrowed = fields["narrowed"]
        if narrowed:
            digest, media_type, text = narrowed
            fields["narrowed"] = Manifest(digest, media_type, text.encode())
        # Earlier versions sent no manifests.
        fields["manifests"] = _unpacked(fields.get("manifests", ""))
        for name in ("source", "dest"):
            fields[name] = Reference(**fields[name])
        for name in ("after", "platforms"):
            fields[name] = tuple(fields[name])
        fields["mounts"] = tuple((digest, name) for digest, name in fields["mounts"])
        return CopyOrder(**fields)
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error):
        raise BadMessage(f"a message that this program did not write: {body[:80]!r}") from None


def _packed(manifests: Iterable[Manifest]) -> str:
    """Return manifests as compressed text: they repeat most of their content."""
    fields = [[each.digest, each.media_type, each.body.decode("latin-1")] for each in manifests]
    return b85encode(zlib.compress(json.dumps(fields).encode(), 1)).decode() if fields else ""


def _unpacked(text: str) -> tuple[Manifest, ...]:
    fields = json.loads(zlib.decompress(b85decode(text))) if text else []
    return tuple(Manifest(digest, kind, body.encode("latin-1")) for digest, kind, body in fields)
