"""The plan of a run: decides by digest what happens to each image before any byte moves.

An unchanged image costs no pull: Amazon ECR needs about one call per repository, other registries
one HEAD per side. The planner reads only the images to be copied, down to their layers. This shows
how many bytes move and which image goes first, so that a layer shared by several images is
transferred once. The same answers produce the same plan.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from dth.core.confinement import foreign
from dth.core.errors import (
    HubError,
    ListingFailed,
    ObjectRefused,
    SourceGone,
    TransferError,
    UsageError,
)
from dth.images.concurrency import gather, led
from dth.images.destination import Destination
from dth.images.holdings import Holdings
from dth.images.items import EarlierCopy, ImageAction, ImageItem, Plan
from dth.images.listing import Image, Source, is_fallback, subject_of
from dth.images.narrow import narrow
from dth.images.patterns import Patterns
from dth.images.registry.client import Registry
from dth.images.registry.control import TagRule
from dth.images.registry.manifest import INDEXES, Descriptor, Manifest
from dth.images.registry.reference import Reference
from dth.images.renames import Renames
from dth.images.sequence import blobs_of, in_order
from dth.images.skopeo import command as skopeo
from dth.images.trouble import Judge, ListingTrouble, in_words, reason_of

T = TypeVar("T")

DEPTH = 3  # a signature of an SBOM of an image


class Absent(HubError):
    """An image is not in its repository."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """How to make the plan.

    `known`: the results of earlier copies, by the destination's name:tag or name@digest.
    """

    renames: Renames = field(default_factory=Renames)
    referrers: bool = True
    platforms: tuple[str, ...] = ()
    # Tags that are not requested again once they are at the destination.
    immutable: Patterns = field(default_factory=lambda: Patterns(()))
    known: Mapping[str, EarlierCopy] = field(default_factory=dict)
    repair: bool = False  # look for parts the destination lost
    # Costs one GET per manifest to be copied: on Docker Hub, a pull.
    look_inside: bool = True


async def make_plan(
    images: Sequence[Image],
    source_of: Callable[[str], Source],
    destination: Destination,
    wishes: Wishes,
    *,
    digest_tags: Sequence[Image] = (),
    troubles: Sequence[ListingTrouble] = (),
) -> Plan:
    """Plan what happens to each of `images`.

    An error that concerns one image is recorded in its item. `digest_tags` are copied even if the
    images that they describe are not found. `troubles` from the listing become items. Raises
    TransferError if a side as a whole does not answer.
    """
    return await _Planner(source_of, destination, wishes).plan(images, digest_tags, troubles)


class _Planner:
    def __init__(
        self, source_of: Callable[[str], Source], destination: Destination, wishes: Wishes
    ) -> None:
        self._source_of = source_of
        self._destination = destination
        self._wishes = wishes
        self._judge = Judge()
        self._several = False  # images are from several registries
        self._items: dict[Reference, ImageItem] = {}  # by destination
        # Items that have no place of their own at the destination.
        self._refused: list[ImageItem] = []
        # The (registry, repository, digest) triples whose referrers have been requested.
        self._asked: set[tuple[str, str, str]] = set()
        self._notes: set[str] = set()
        # Images with layers that are stored outside a registry.
        self._foreign: set[str] = set()
        self._rules: dict[str, TagRule] = {}
        # By repository and digest.
        self._reading: dict[tuple[str, str], asyncio.Task[Manifest | None]] = {}
        self._manifests: dict[tuple[str, str], Manifest] = {}  # manifests read so far
        self._holdings = Holdings(destination, self._concerns_dest)

    async def plan(
        self,
        images: Sequence[Image],
        digest_tags: Sequence[Image],
        troubles: Sequence[ListingTrouble],
    ) -> Plan:
        try:
            return await self._plan(images, digest_tags, troubles)
        finally:
            for task in self._reading.values():
                task.cancel()
            await asyncio.gather(*self._reading.values(), return_exceptions=True)
            await self._holdings.close()

    async def _plan(
        self,
        images: Sequence[Image],
        digest_tags: Sequence[Image],
        troubles: Sequence[ListingTrouble],
    ) -> Plan:
        self._several = len({image.registry for image in images}) > 1
        for trouble in troubles:
            self._add_trouble(trouble)
        await self._add(sorted(images))
        if self._wishes.referrers:
            found = {item.source for item in self._items.values()}
            loose = [image for image in sorted(digest_tags) if image.reference not in found]
            await self._add([replace(image, subject=subject_of(image.tag)) for image in loose])
        await self._compare()
        copies = [item for item in self._items.values() if item.action is ImageAction.COPY]
        self._see_what_skopeo_can(copies)
        if self._wishes.look_inside:
            await gather(self._look(item) for item in copies)
            self._fold(copies)
        if self._foreign:
            self._notes.add(
                f"{len(self._foreign)} images have layers that lie elsewhere than in a registry "
                "(as Windows has): these layers are not copied"
            )
        copies = [item for item in copies if item.action is ImageAction.COPY]
        ordered = await self._order(copies)
        others = [
            item
            for item in (*self._items.values(), *self._refused)
            if item.action is not ImageAction.COPY
        ]
        others.sort(key=lambda item: (item.dest, item.source))
        make = {item.dest.repository for item in ordered} - self._rules.keys()
        repositories = sorted(make) if self._destination.makes_repositories else []
        return Plan(
            [*ordered, *others], repositories, self._wishes.look_inside, sorted(self._notes)
        )

    def _see_what_skopeo_can(self, copies: Iterable[ImageItem]) -> None:
        """Refuse the images that only skopeo may copy if skopeo cannot run.

        For other images it is not known yet whether they need conversion.
        """
        for item in copies:
            why = skopeo.obstacle(item.source.registry, self._host)
            if skopeo.policy_checks(item.source):
                if why := why or skopeo.lacking():
                    item.action, item.code = ImageAction.REFUSED, skopeo.Unusable.CODE
                    item.reason = (
                        f"the machine's policy wants {item.source} to be checked by skopeo: {why}"
                    )
            elif why:
                self._notes.add(f"an image fails if {self._host} does not take it as it is: {why}")

    # ---------------------------------------------------------------------------------------- items

    def _add_trouble(self, trouble: ListingTrouble) -> None:
        source = trouble.source
        if source.tag:
            item = self._item(Image(source.registry, source.repository, source.tag))
            if item:
                _fail(item, trouble.error)
            return
        dest = replace(source, registry=self._host)
        code = reason_of(trouble.error)
        self._refused.append(
            ImageItem(
                source, dest, ImageAction.UNLISTED, str(trouble.error), code=code, homeless=True
            )
        )

    async def _add(self, images: Iterable[Image], depth: int = 0) -> None:
        """Add items for the images and for everything attached to them."""
        fresh = [item for image in images if (item := self._item(image))]
        await led(self._resolve(item) for item in fresh)
        if not self._wishes.referrers or depth >= DEPTH:
            return
        there = [
            item
            for item in fresh
            if item.digest and item.action in (ImageAction.COPY, ImageAction.SAME)
        ]
        found = await led(self._attached(item, item.digest) for item in there)
        if depth == 0 and self._wishes.look_inside:
            found += await gather(
                self._attached_to_parts(item) for item in await self._with_more(there)
            )
        if attached := sorted({image for several in found for image in several}):
            await self._add(attached, depth + 1)

    async def _with_more(self, items: Sequence[ImageItem]) -> list[ImageItem]:
        """Return the items whose repository may contain something attached to parts of images."""
        digests: dict[tuple[str, str], set[str]] = {}
        for item in items:
            digests.setdefault((item.source.registry, item.source.repository), set()).add(
                item.digest
            )
        more = {
            (registry, repository): await self._source_of(registry).more_attached(repository, known)
            for (registry, repository), known in digests.items()
        }
        return [item for item in items if more[item.source.registry, item.source.repository]]

    async def _attached_to_parts(self, item: ImageItem) -> list[Image]:
        """Return what refers to one of the manifests of an index."""
        if item.digest in self._registry(item).without_parts:
            return []
        top = item.narrowed or await self._ask(item, self._manifest(item, item.digest))
        parts = await self._parts(item, top) if top else []
        several = await gather(self._attached(item, part.digest) for part in parts)
        return [image for found in several for image in found]

    async def _parts(self, item: ImageItem, index: Manifest) -> list[Manifest]:
        """Return the manifests of an index and of its nested indexes, except unreadable ones."""
        found: list[Manifest] = []
        for child in index.children:
            with contextlib.suppress(TransferError, Absent):
                if child.media_type not in INDEXES:
                    found.append(Manifest(child.digest, child.media_type, b""))
                    continue
                part = await self._manifest(item, child.digest)
                found += [part, *await self._parts(item, part)]
        return found

    def _item(self, image: Image) -> ImageItem | None:
        """Return a new item, or None if the image already has one or has no place."""
        source = image.reference
        try:
            dest = self._wishes.renames.dest(source, self._host)
        except UsageError as error:
            nowhere = Reference(self._host, image.repository, source.tag, source.digest)
            self._refused.append(
                ImageItem(source, nowhere, ImageAction.REFUSED, str(error), homeless=True)
            )
            return None
        item = ImageItem(source, dest, digest=image.digest, about=image.subject)
        before = self._items.setdefault(dest, item)
        if before is item:
            return item
        if before.source == source:
            before.about = before.about or image.subject
        elif not source.digest:  # a digest is the same image everywhere
            item.action, item.reason = (
                ImageAction.REFUSED,
                f"{before.source} goes to {dest} already",
            )
            item.homeless = True
            self._refused.append(item)
        return None

    async def _resolve(self, item: ImageItem) -> None:
        """Set the digest that the source has now."""
        if item.action is not ImageAction.COPY:
            return
        known = self._known(item)
        unchanging = item.source.tag and self._wishes.immutable.match(item.source.tag)
        if known and unchanging and not self._wishes.repair:
            item.action, item.digest = ImageAction.SAME, known.source_digest
            item.wanted = item.found = known.dest_digest
            return
        if not item.digest or not self._was_told(item):
            found = await self._ask(item, self._head(item))
            if found is None and item.action is ImageAction.COPY:
                item.action, item.reason = ImageAction.MISSING, f"{item.source} is not there"
            item.digest = found or ""
        item.wanted = item.digest
        if is_fallback(item.source.tag) and item.digest in (
            item.about,
            subject_of(item.source.tag),
        ):
            # Some registries resolve such a tag to the digest itself.
            item.action = ImageAction.ALONG
        if (
            self._wishes.platforms
            and item.digest
            and not (known and known.source_digest == item.digest)
        ):
            await self._ask(item, self._narrow(item))

    def _known(self, item: ImageItem) -> EarlierCopy | None:
        """Return the record of an earlier copy, if it was made with the same platforms."""
        found = self._wishes.known.get(str(item.dest))
        return found if found and found.platforms == self._wishes.platforms else None

    def _was_told(self, item: ImageItem) -> bool:
        """Whether the source just reported this digest.

        A digest that the user named may not exist.
        """
        return bool(item.source.tag or item.about) or self._source_of(item.source.registry).in_bulk

    async def _head(self, item: ImageItem) -> str | None:
        return await self._registry(item).head(item.source.repository, item.source.pointer)

    async def _narrow(self, item: ImageItem) -> None:
        top = await self._manifest(item, item.digest)
        narrowed = narrow(top, self._wishes.platforms)
        if narrowed is None:
            item.action = ImageAction.REFUSED
            item.reason = (
                f"{item.source} has none of the platforms {', '.join(self._wishes.platforms)}"
            )
        elif narrowed is not top:
            item.narrowed, item.wanted = narrowed, narrowed.digest
            if item.dest.digest:
                item.dest = replace(item.dest, digest=narrowed.digest)

    async def _attached(self, item: ImageItem, digest: str) -> list[Image]:
        """Return what refers to a manifest of the image. Requests each manifest once."""
        source = item.source
        place = (source.registry, source.repository, digest)
        if place in self._asked:
            return []
        self._asked.add(place)
        try:
            found = await self._source_of(source.registry).attached(source.repository, digest)
        except (TransferError, ListingFailed) as error:
            await self._concerns_one(self._source_of(source.registry).registry, error)
            # Without its signature the image is incomplete, and nobody would notice.
            said = ListingFailed(
                f"what is attached to {source.name}@{digest} cannot be found: {error}"
            )
            self._add_trouble(
                ListingTrouble(Reference(source.registry, source.repository, "", digest), said)
            )
            return []
        return [replace(image, subject=digest) for image in found]

    # ------------------------------------------------------------------------------------ comparing

    async def _compare(self) -> None:
        by_repository: dict[str, list[ImageItem]] = {}
        for item in self._items.values():
            if item.action is ImageAction.COPY:
                by_repository.setdefault(item.dest.repository, []).append(item)
        self._rules = (
            await self._destination.repositories(sorted(by_repository)) if by_repository else {}
        )
        await led(
            self._compare_repository(name, items)
            for name, items in by_repository.items()
            if name in self._rules
        )
        if self._wishes.platforms:
            copies = [item for item in self._items.values() if item.action is ImageAction.COPY]
            await gather(self._ask(item, self._narrow(item)) for item in copies)

    async def _compare_repository(self, name: str, items: list[ImageItem]) -> None:
        there = await self._destination.digests(name, [item.dest.pointer for item in items])
        await gather(self._compare_one(item, there.get(item.dest.pointer, "")) for item in items)

    async def _compare_one(self, item: ImageItem, found: str | TransferError) -> None:
        if isinstance(found, TransferError):
            await self._concerns_one(self._destination.registry, found)
            if found.status in (401, 403):
                # Registries also return this status for a repository that does not exist yet. If it
                # exists, the copy is refused.
                item.reason, item.code = (
                    f"the destination does not let us look: {found}",
                    reason_of(found),
                )
            else:
                _fail(item, found)
            return
        item.found = found
        known = self._known(item)
        if known and (known.source_digest, known.dest_digest) == (item.digest, found):
            item.wanted = found
        if not found:
            return
        if found == item.wanted or (
            is_fallback(item.dest.tag) and await self._ask(item, self._has_entries(item))
        ):
            item.action = ImageAction.SAME if item.action is ImageAction.COPY else item.action
            if self._wishes.repair:
                await self._ask(item, self._check(item))
        elif item.dest.tag and self._rules[item.dest.repository].fixed(item.dest.tag):
            item.action = ImageAction.CONFLICT
            item.reason = (
                f"{item.dest} is another image ({found}), and the repository's tags cannot be moved"
            )

    async def _has_entries(self, item: ImageItem) -> bool:
        """Whether the destination's list of referrers includes the source's. It may have more."""
        ours = await self._manifest(item, item.digest)
        theirs = await self._destination.registry.manifest(item.dest.repository, item.found)
        if not ours.is_index or not theirs or not theirs.is_index:
            return False
        return {each.digest for each in ours.children} <= {each.digest for each in theirs.children}

    async def _check(self, item: ImageItem) -> None:
        """Check whether the destination has every part of the image."""
        lost = await self._holdings.lost(item.dest.repository, item.found)
        if lost:
            item.action, item.damaged = ImageAction.COPY, True
            item.reason = f"the destination has lost {lost[0]}"
            item.reason += f" and {len(lost) - 1} more of it" if len(lost) > 1 else ""

    # ------------------------------------------------------------------------------- looking inside

    async def _look(self, item: ImageItem) -> None:
        """Read the manifests of an image to be copied."""
        await self._ask(item, self._descend(item))

    async def _descend(self, item: ImageItem) -> None:
        await self._read(item, item.narrowed or await self._manifest(item, item.digest))

    async def _read(self, item: ImageItem, manifest: Manifest) -> None:
        """Read what is below a manifest of the image, and check that all of it can be copied."""
        if len(manifest.blobs) < manifest.blob_count:
            self._foreign.add(str(item.source))
        lists_referrers = is_fallback(item.source.tag)
        for child in manifest.children:
            try:
                part = await self._manifest(item, child.digest)
            except Absent:
                if not lists_referrers:
                    raise ObjectRefused(_incomplete(item, child), code="INCOMPLETE") from None
                self._notes.add(
                    f"{item.source} lists {child.digest}, which the source has lost: it is left out"
                )
                continue
            await self._read(item, part)

    async def _manifest(self, item: ImageItem, digest: str) -> Manifest:
        place = (item.source.name, digest)
        if place not in self._reading:
            asking = self._registry(item).manifest(item.source.repository, digest)
            self._reading[place] = asyncio.ensure_future(asking)
        found = await asyncio.shield(self._reading[place])
        if found is None:
            raise Absent(f"{item.source.name}@{digest} is not there")
        self._manifests[place] = found
        return found

    def _under(self, item: ImageItem) -> list[Manifest]:
        """Return the item's manifests that have been read, starting at the top."""
        top = item.narrowed or self._manifests.get((item.source.name, item.digest))
        found = [top] if top else []
        for manifest in found:  # grows during the loop
            below = (
                self._manifests.get((item.source.name, child.digest)) for child in manifest.children
            )
            found += [each for each in below if each and each not in found]
        return found

    def _fold(self, copies: list[ImageItem]) -> None:
        """Mark the parts of an index that is copied as coming along with it.

        Amazon ECR lists these parts as images without a tag.
        """
        parts = {
            (item.dest.repository, part.digest)
            for item in copies
            if item.action is ImageAction.COPY
            for part in self._under(item)[1:]
        }
        for item in copies:
            if item.dest.digest and (item.dest.repository, item.digest) in parts and not item.about:
                item.action = ImageAction.ALONG

    # ------------------------------------------------------------------------------------- ordering

    async def _order(self, copies: list[ImageItem]) -> list[ImageItem]:
        blobs = {id(item): blobs_of(self._under(item)) for item in copies}
        names = {item.dest.repository for item in copies} & self._rules.keys()
        found = {item.dest.repository for item in self._items.values() if item.found}
        known = await self._holdings.repositories(names, found)
        places: dict[str, set[str]] = {}
        for item in copies:
            if item.dest.repository in known:
                for digest in blobs[id(item)]:
                    places.setdefault(digest, set()).add(item.dest.repository)
        there = await self._holdings.where(places)
        same = {
            item.dest.repository: item.found
            for item in self._items.values()
            if item.action is ImageAction.SAME
        }
        there |= await self._holdings.neighbours(set().union(*blobs.values()) - there.keys(), same)
        return in_order(copies, self._under, there)

    # --------------------------------------------------------------------------------------- asking

    @property
    def _host(self) -> str:
        return self._destination.registry.host

    def _registry(self, item: ImageItem) -> Registry:
        return self._source_of(item.source.registry).registry

    async def _ask(self, item: ImageItem, asking: Coroutine[Any, Any, T]) -> T | None:
        """Return the answer, or None if an error concerns this item alone.

        The error is then recorded in the item.
        """
        if (whole := self._judge.known(item.source.registry)) and self._several:
            asking.close()
            _fail(item, whole)
            return None
        try:
            return await asking
        except (TransferError, ListingFailed, Absent) as error:
            for registry in (self._registry(item), self._destination.registry):
                if getattr(error, "host", "") in ("", registry.host):
                    await self._concerns_one(registry, error)
            _fail(item, error)
            return None

    async def _concerns_dest(self, error: HubError) -> None:
        await self._concerns_one(self._destination.registry, error)

    async def _concerns_one(self, registry: Registry, error: HubError) -> None:
        """Raise `error` if the registry as a whole failed.

        One of several public registries is not the whole source.
        """
        whole = await self._judge.whole(registry, error)
        if whole and not (self._several and registry is not self._destination.registry):
            raise error


def _fail(item: ImageItem, error: HubError) -> None:
    item.action = (
        ImageAction.MISSING if isinstance(error, SourceGone | Absent) else ImageAction.REFUSED
    )
    item.reason = in_words(error)
    item.code = "" if isinstance(error, Absent) else reason_of(error)


def _incomplete(item: ImageItem, child: Descriptor) -> str:
    what = foreign(f"the platform {child.platform} ") if child.platform else ""
    advice = "; --platform takes those that are there" if child.platform else ""
    return f"{item.source} is not whole: the source does not have {what}({child.digest}){advice}"
