"""What a run will do, image by image, found out by digest before anything moves.

What has not changed costs no pull: on Amazon ECR about one call a repository, elsewhere a HEAD on either side. Only
what is to be copied is looked into, for its layers: how many bytes move, and which image goes first, so that a layer
that several images share crosses once. The same answers make the same plan.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from dth.ecr.control import TagRule
from dth.ecr.crowd import gather
from dth.ecr.destination import Destination
from dth.ecr.listing import Image, Source
from dth.ecr.manifest import Manifest
from dth.ecr.narrow import narrow
from dth.ecr.patterns import Patterns
from dth.ecr.reference import Reference
from dth.ecr.registry import Registry
from dth.ecr.renames import Renames
from dth.errors import HubError, ListingFailed, ObjectRefused, SourceGone, UsageError

T = TypeVar("T")

SHARED_LEAST = 64 * 1024  # bytes of a layer for whose sake another image waits
NEIGHBOURS = 100  # repositories that are looked into for layers
DEPTH = 3  # a signature of an SBOM of an image


class Absent(HubError):
    """A part of an image is not in its repository."""


class Action(StrEnum):
    SAME = "same"  # the destination has it
    COPY = "copy"
    ALONG = "along"  # comes with another image, of which it is a part
    CONFLICT = "conflict"  # the destination's tag is another image, and cannot be moved
    MISSING = "missing"  # the source has it no longer, or never had it
    REFUSED = "refused"  # it cannot be looked at, or has no place; `reason` says why


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
    mounts: tuple[tuple[str, str], ...] = ()  # layers, and the repository of the destination that has each
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
    def bytes(self) -> int:
        return sum(item.moves for item in self.items)

    def counts(self) -> dict[Action, int]:
        return {action: sum(item.action is action for item in self.items) for action in Action}

    def as_dict(self) -> dict[str, Any]:
        return {
            "items": [item.as_dict() for item in self.items],
            "repositories": list(self.repositories),
            "counts": {action.value: number for action, number in self.counts().items()},
            "bytes": self.bytes if self.looked_inside else None,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Wishes:
    """How the plan is made. `known`: what earlier copies ended with, by the destination's name:tag or name@digest."""

    renames: Renames = field(default_factory=Renames)
    referrers: bool = True
    platforms: tuple[str, ...] = ()
    immutable: Patterns = field(default_factory=lambda: Patterns(()))  # tags that are not asked for again
    known: Mapping[str, Known] = field(default_factory=dict)
    look_inside: bool = True  # costs a GET for every manifest to be copied: on Docker Hub, a pull


async def make_plan(
    images: Sequence[Image], source_of: Callable[[str], Source], destination: Destination, wishes: Wishes
) -> Plan:
    """Raises TransferError when a side as a whole cannot be asked; what concerns one image is in its item."""
    return await _Planner(source_of, destination, wishes).plan(images)


class _Planner:
    def __init__(self, source_of: Callable[[str], Source], destination: Destination, wishes: Wishes) -> None:
        self._source_of = source_of
        self._destination = destination
        self._wishes = wishes
        self._items: dict[Reference, Item] = {}  # by destination
        self._refused: list[Item] = []  # those that have none of their own
        self._notes: set[str] = set()
        self._rules: dict[str, TagRule] = {}
        self._reading: dict[tuple[str, str], asyncio.Task[Manifest | None]] = {}  # by repository and digest
        self._manifests: dict[tuple[str, str], Manifest] = {}  # what has been read

    async def plan(self, images: Sequence[Image]) -> Plan:
        try:
            return await self._plan(images)
        finally:
            for task in self._reading.values():
                task.cancel()
            await asyncio.gather(*self._reading.values(), return_exceptions=True)

    async def _plan(self, images: Sequence[Image]) -> Plan:
        await self._add(sorted(images))
        await self._compare()
        copies = [item for item in self._items.values() if item.action is Action.COPY]
        if self._wishes.look_inside:
            await gather(self._look(item) for item in copies)
            self._fold(copies)
        copies = [item for item in copies if item.action is Action.COPY]
        ordered = await self._order(copies)
        others = [item for item in (*self._items.values(), *self._refused) if item.action is not Action.COPY]
        others.sort(key=lambda item: (item.dest, item.source))
        make = {item.dest.repository for item in ordered} - self._rules.keys()
        repositories = sorted(make) if self._destination.makes_repositories else []
        return Plan([*ordered, *others], repositories, self._wishes.look_inside, sorted(self._notes))

    # ---------------------------------------------------------------------------------------------- items

    async def _add(self, images: Iterable[Image], depth: int = 0) -> None:
        """Items for the images, and for what goes along with them."""
        fresh = [item for image in images if (item := self._item(image))]
        await gather(self._resolve(item) for item in fresh)
        if self._wishes.referrers and depth < DEPTH:
            about = {
                (item.source.registry, item.source.repository, item.digest): None
                for item in fresh
                if item.digest
            }
            found = await gather(self._attached(*place) for place in about)
            if attached := sorted({image for several in found for image in several}):
                await self._add(attached, depth + 1)

    def _item(self, image: Image) -> Item | None:
        """None where there is one already, or where it has no place."""
        source = image.reference
        try:
            dest = self._wishes.renames.dest(source, self._host)
        except UsageError as error:
            nowhere = Reference(self._host, image.repository, source.tag, source.digest)
            self._refused.append(Item(source, nowhere, Action.REFUSED, str(error), homeless=True))
            return None
        item = Item(source, dest, digest=image.digest, about=image.subject)
        before = self._items.setdefault(dest, item)
        if before is item:
            return item
        if before.source == source:
            before.about = before.about or image.subject
        elif not source.digest:  # of one digest there is only one, wherever it comes from
            item.action, item.reason = Action.REFUSED, f"{before.source} goes to {dest} already"
            item.homeless = True
            self._refused.append(item)
        return None

    async def _resolve(self, item: Item) -> None:
        """The digest that the source has now."""
        known = self._known(item)
        if known and item.source.tag and self._wishes.immutable.match(item.source.tag):
            item.action, item.digest = Action.SAME, known.source_digest
            item.wanted = item.found = known.dest_digest
            return
        if not item.digest or not self._was_told(item):
            found = await self._ask(item, self._head(item))
            if found is None and item.action is Action.COPY:
                item.action, item.reason = Action.MISSING, f"{item.source} is not there"
            item.digest = found or ""
        item.wanted = item.digest
        if self._wishes.platforms and item.digest and not (known and known.source_digest == item.digest):
            await self._ask(item, self._narrow(item))

    def _known(self, item: Item) -> Known | None:
        """What is remembered of the item, if it was copied as it would be now."""
        found = self._wishes.known.get(str(item.dest))
        return found if found and found.platforms == self._wishes.platforms else None

    def _was_told(self, item: Item) -> bool:
        """Whether the source told us the digest just now; one that the user named may not be there."""
        return bool(item.source.tag or item.about) or self._source_of(item.source.registry).in_bulk

    async def _head(self, item: Item) -> str | None:
        return await self._registry(item).head(item.source.repository, item.source.pointer)

    async def _narrow(self, item: Item) -> None:
        top = await self._manifest(item, item.digest)
        narrowed = narrow(top, self._wishes.platforms)
        if narrowed is None:
            item.action = Action.REFUSED
            item.reason = f"{item.source} has none of the platforms {', '.join(self._wishes.platforms)}"
        elif narrowed is not top:
            item.narrowed, item.wanted = narrowed, narrowed.digest
            if item.dest.digest:
                item.dest = replace(item.dest, digest=narrowed.digest)

    async def _attached(self, registry: str, repository: str, digest: str) -> list[Image]:
        try:
            found = await self._source_of(registry).attached(repository, digest)
        except (ObjectRefused, ListingFailed) as error:
            self._notes.add(f"what refers to images of {registry}/{repository} cannot be found: {error}")
            return []
        return [replace(image, subject=digest) for image in found]

    # ------------------------------------------------------------------------------------------ comparing

    async def _compare(self) -> None:
        by_repository: dict[str, list[Item]] = {}
        for item in self._items.values():
            if item.action is Action.COPY:
                by_repository.setdefault(item.dest.repository, []).append(item)
        self._rules = await self._destination.repositories(sorted(by_repository)) if by_repository else {}
        await gather(
            self._compare_repository(name, items)
            for name, items in by_repository.items()
            if name in self._rules
        )
        if self._wishes.platforms:
            copies = [item for item in self._items.values() if item.action is Action.COPY]
            await gather(self._ask(item, self._narrow(item)) for item in copies)

    async def _compare_repository(self, name: str, items: list[Item]) -> None:
        there = await self._destination.digests(name, [item.dest.pointer for item in items])
        for item in items:
            item.found = there.get(item.dest.pointer, "")
            known = self._known(item)
            if known and (known.source_digest, known.dest_digest) == (item.digest, item.found):
                item.wanted = item.found
            if item.found and item.found == item.wanted:
                item.action = Action.SAME
            elif item.found and item.dest.tag and self._rules[name].fixed(item.dest.tag):
                item.action = Action.CONFLICT
                item.reason = (
                    f"{item.dest} is another image ({item.found}), and the repository's tags cannot be moved"
                )

    # -------------------------------------------------------------------------------------- looking inside

    async def _look(self, item: Item) -> None:
        """Read the manifests of what is to be copied."""
        await self._ask(item, self._descend(item))

    async def _descend(self, item: Item) -> None:
        top = item.narrowed or await self._manifest(item, item.digest)
        for child in top.children:
            await self._manifest(item, child.digest)

    async def _manifest(self, item: Item, digest: str) -> Manifest:
        place = (item.source.name, digest)
        if place not in self._reading:
            asking = self._registry(item).manifest(item.source.repository, digest)
            self._reading[place] = asyncio.ensure_future(asking)
        found = await asyncio.shield(self._reading[place])
        if found is None:
            raise Absent(f"{item.source.name}@{digest} is not there")
        self._manifests[place] = found
        return found

    def _under(self, item: Item) -> list[Manifest]:
        """All that is known of the item's manifests, from the top."""
        top = item.narrowed or self._manifests.get((item.source.name, item.digest))
        if top is None:
            return []
        children = (self._manifests.get((item.source.name, child.digest)) for child in top.children)
        return [top, *(child for child in children if child)]

    def _fold(self, copies: list[Item]) -> None:
        """Parts of an index that is copied come with it: Amazon ECR lists them as images without a tag."""
        parts = {
            (item.dest.repository, part.digest)
            for item in copies
            if item.action is Action.COPY
            for part in self._under(item)[1:]
        }
        for item in copies:
            if item.dest.digest and (item.dest.repository, item.digest) in parts and not item.about:
                item.action = Action.ALONG

    # -------------------------------------------------------------------------------------------- ordering

    async def _order(self, copies: list[Item]) -> list[Item]:
        blobs = {id(item): self._blobs(item) for item in copies}
        there = await self._there(copies, blobs)
        there |= await self._neighbours(set().union(*blobs.values()) - there.keys())
        sharers: dict[str, int] = {}
        for item in copies:
            for digest in blobs[id(item)]:
                sharers[digest] = sharers.get(digest, 0) + 1

        def saves(item: Item) -> int:
            """Bytes that others are spared if this one goes first."""
            return sum(
                size * (sharers[digest] - 1)
                for digest, size in blobs[id(item)].items()
                if digest not in there and size >= SHARED_LEAST
            )

        ordered = sorted(copies, key=lambda item: (bool(item.about), -saves(item), item.dest, item.source))
        first: dict[str, int] = {}  # by digest of a layer: the item that brings it
        subjects = {
            (item.dest.repository, item.digest): place
            for place, item in reversed(list(enumerate(ordered)))
            if not item.about
        }
        twins: dict[tuple[str, str], int] = {}  # by what they are: one image under several tags crosses once
        for place, item in enumerate(ordered):
            before = set()
            if (twin := twins.setdefault((item.dest.repository, item.wanted), place)) != place:
                before.add(twin)
            if item.about and (subject := subjects.get((item.dest.repository, item.about))) is not None:
                before.add(subject)
            mounts: dict[str, str] = {}
            for digest, size in blobs[id(item)].items():
                if digest in there:
                    mounts[digest] = there[digest]
                    continue
                brings = first.setdefault(digest, place)
                if brings == place:
                    item.moves += size
                elif size >= SHARED_LEAST:
                    before.add(brings)
                    mounts[digest] = ordered[brings].dest.repository
            item.mounts = tuple((d, where) for d, where in mounts.items() if where != item.dest.repository)
            item.size = sum(blobs[id(item)].values())
            item.after = tuple(sorted(before))
        return ordered

    def _blobs(self, item: Item) -> dict[str, int]:
        """Config and layers, by digest."""
        return {blob.digest: blob.size for manifest in self._under(item) for blob in manifest.blobs}

    async def _there(self, copies: list[Item], blobs: dict[int, dict[str, int]]) -> dict[str, str]:
        """The layers that the destination has in one of the repositories that need them, and in which."""
        places: dict[str, set[str]] = {}
        for item in copies:
            if item.dest.repository in self._rules:
                for digest in blobs[id(item)]:
                    places.setdefault(digest, set()).add(item.dest.repository)
        found = await gather(self._has(digest, sorted(names)) for digest, names in places.items())
        return {digest: has for digest, has in zip(places, found, strict=True) if has}

    async def _has(self, digest: str, repositories: list[str]) -> str:
        for name in repositories:
            if await self._destination.registry.has_blob(name, digest):
                return name
        return ""

    async def _neighbours(self, wanted: set[str]) -> dict[str, str]:
        """Those of the layers that are in other repositories of the destination, as far as one unchanged image of each
        tells: whichever machine put them there."""
        if not wanted:
            return {}
        one = {item.dest.repository: item for item in self._items.values() if item.action is Action.SAME}
        looked = dict(sorted(one.items())[:NEIGHBOURS])
        inside = await gather(self._inside(name, item.found) for name, item in looked.items())
        return {blob: name for name, has in zip(looked, inside, strict=True) for blob in sorted(has & wanted)}

    async def _inside(self, repository: str, digest: str) -> set[str]:
        """The layers under a manifest of the destination; those that cannot be read are left out."""
        registry = self._destination.registry
        try:
            top = await registry.manifest(repository, digest)
            parts = [
                await registry.manifest(repository, part.digest) for part in (top.children if top else ())
            ]
        except (SourceGone, ObjectRefused):
            return set()
        return {blob.digest for each in (top, *parts) if each for blob in each.blobs}

    # ------------------------------------------------------------------------------------------- asking

    @property
    def _host(self) -> str:
        return self._destination.registry.host

    def _registry(self, item: Item) -> Registry:
        return self._source_of(item.source.registry).registry

    async def _ask(self, item: Item, asking: Coroutine[Any, Any, T]) -> T | None:
        """The answer; None where there is none for reasons that concern this item alone, which are then in it."""
        try:
            return await asking
        except (SourceGone, ObjectRefused, Absent) as error:
            item.action = Action.MISSING if isinstance(error, SourceGone | Absent) else Action.REFUSED
            item.reason = str(error)
            return None
