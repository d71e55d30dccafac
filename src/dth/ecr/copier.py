"""Copying one image: with skopeo, and what skopeo cannot do with the registry's own API."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from dth.ecr import skopeo
from dth.ecr.crowd import gather
from dth.ecr.listing import Image, is_fallback
from dth.ecr.manifest import INDEXES, Manifest
from dth.ecr.messages import Order
from dth.ecr.plan import Action, make_plan
from dth.ecr.reference import Reference
from dth.ecr.referrers import keep_fallback, merge
from dth.ecr.registry import Registry
from dth.ecr.task import Route
from dth.errors import EndpointRefused, NotSupported, ObjectRefused, SourceGone, Throttled, TransferError


class CannotCopy(ObjectRefused):
    """The image has no place at the destination: its tag is another image there and cannot be moved."""


@dataclass(slots=True)
class Copied:
    """What came of it. `order` is as it was carried out."""

    order: Order
    dest_digest: str
    read: int = 0  # bytes that skopeo read
    there: bool = False  # the destination had it: nothing was copied


class Copier:
    """For one task in one process."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._entering: dict[tuple[str, str], asyncio.Lock] = {}
        self._door = asyncio.Lock()
        self._let_in: set[str] = set()  # registries that are known to let us in
        self._mounts = True  # the destination lets repositories share layers, as far as we know

    async def copy(self, order: Order, progress: Callable[[int], None]) -> Copied:
        """Copy the image. `progress` hears how many bytes have been read for it. When the call is cancelled, skopeo is
        ended first. Raises TransferError."""
        await self._sign_in(order)
        copied = await self._copy(order, progress)
        if order.about and not copied.order.dest.tag:
            await self._enter(copied.order)
        return copied

    async def _sign_in(self, order: Order) -> None:
        """See once that each registry lets us in, before several copies ask at the same time: registries lock accounts
        after a few wrong passwords."""
        for front in (self._route.origin.at(order.source.registry), self._route.dest):
            host = front.registry.host
            if host in self._let_in:
                continue
            async with self._door:
                if host not in self._let_in and await front.login.get():
                    try:
                        await front.registry.ping()
                    except EndpointRefused:
                        raise
                    except TransferError:
                        pass  # the copy will tell
                self._let_in.add(host)

    async def _copy(self, order: Order, progress: Callable[[int], None]) -> Copied:
        if not order.digest:
            planned = await self.plan(order)
            if planned.there:
                return planned
            order = planned.order
        if is_fallback(order.dest.tag) and order.about:
            ours = await self._source(order).manifest(order.source.repository, order.digest)
            if ours is None:
                raise SourceGone(f"{order.exactly} is not there", code="MANIFEST_UNKNOWN")
            if ours.is_index:
                return await self._merge(order, ours, progress)
        if not order.repair and (found := await self._found(order)):
            return found
        if not await self._mount(order):
            order = replace(order, moves=None)  # more has to cross than was planned; skopeo tells how much
        if order.narrowed:
            return await self._copy_parts(order, order.narrowed, progress)
        return await self._copy_whole(order, progress)

    async def plan(self, order: Order) -> Copied:
        """What is at the source now under this reference, and whether it is to be copied. Makes the repository where
        there is none. Raises SourceGone, or CannotCopy."""
        route = self._route
        image = Image(
            order.source.registry,
            order.source.repository,
            order.source.tag,
            order.source.digest or self._pinned(order.source),
            subject=order.about,
        )
        wishes = replace(route.wishes({}), referrers=False)
        plan = await make_plan([image], route.origin.sources(), route.dest.destination(), wishes)
        item = next(each for each in plan.items if each.source == order.source)
        match item.action:
            case Action.MISSING:
                raise SourceGone(item.reason, code="MANIFEST_UNKNOWN")
            case Action.CONFLICT:
                raise CannotCopy(item.reason, code="IMMUTABLE")
            case Action.REFUSED:
                raise CannotCopy(item.reason, code=item.code or "REFUSED")
        if route.dest.control:
            for name in plan.repositories:
                await route.dest.control.create(name, route.parameters.template)
        fresh = Order(
            order.run,
            order.source,
            item.dest,
            item.digest,
            order.about,
            item.size,
            item.moves if plan.looked_inside else None,
            platforms=route.parameters.platforms,
            narrowed=item.narrowed,
            repair=item.damaged,
        )
        return Copied(fresh, item.found, there=item.action is Action.SAME)

    def _pinned(self, source: Reference) -> str:
        """The digest with which the user named the tag; "" for a tag that may be any image."""
        wanted = (each.reference for each in self._route.origin.selection.wanted or ())
        return next(
            (each.digest for each in wanted if each.digest and replace(each, digest="") == source), ""
        )

    def _wanted(self, order: Order) -> str:
        return order.narrowed.digest if order.narrowed else order.digest

    async def _found(self, order: Order) -> Copied | None:
        """The image as the destination has it already: under another tag, or because a copy that was cut off was at its
        end. None where it has not, or not all of it. (A tag that cannot be moved refuses even what it is.)"""
        registry, repository = self._route.dest.registry, order.dest.repository
        wanted = self._wanted(order)
        try:
            found = await registry.manifest(repository, wanted)
            for child in found.children if found else ():
                if not await registry.head(repository, child.digest):
                    return None
            if not found:
                return None
            if not order.dest.tag or await registry.head(repository, order.dest.tag) == wanted:
                return Copied(order, wanted, there=True)
            await registry.put_manifest(repository, order.dest.tag, found)
        except (Throttled, EndpointRefused):
            raise
        except TransferError:
            return None  # copying will tell
        return Copied(order, wanted)

    async def _mount(self, order: Order) -> bool:
        """Let the repository have the layers that others of the destination have. (skopeo finds those only that it has
        put there itself, on this machine.) False where it cannot have them all so: skopeo copies the rest."""
        registry, repository = self._route.dest.registry, order.dest.repository

        async def mount(digest: str, source: str) -> bool:
            if not self._mounts:
                return False
            try:
                self._mounts = await registry.mount(repository, digest, source)
            except (Throttled, EndpointRefused):
                raise
            except TransferError:
                return False
            return self._mounts

        return all(await gather(mount(*each) for each in order.mounts))

    async def _copy_whole(self, order: Order, progress: Callable[[int], None]) -> Copied:
        source = self._source(order)
        try:
            copied = await self._skopeo(order.exactly, order.dest, progress)
        except ObjectRefused as error:
            if error.code != "UNSUPPORTED":
                raise
            # skopeo copies no index within an index, and under a digest none that it would have to change.
            top = await source.manifest(order.source.repository, order.digest)
            if not top or not top.is_index:
                raise
            return await self._copy_parts(order, top, progress)
        digest = copied.digest
        if not copied.preserved:
            # skopeo has put every part there, and an index of its own. The registry may well take ours.
            top = await source.manifest(order.source.repository, order.digest)
            if top and await self._put(order.dest, top):
                digest = top.digest
        return Copied(order, digest, copied.read)

    async def _copy_parts(self, order: Order, index: Manifest, progress: Callable[[int], None]) -> Copied:
        """The parts by their digests, then the index that names them."""
        read = await self._bring_all(order, index, progress)
        await self._route.dest.registry.put_manifest(order.dest.repository, order.dest.pointer, index)
        return Copied(order, index.digest, read)

    async def _bring_all(self, order: Order, index: Manifest, progress: Callable[[int], None]) -> int:
        """Copy the manifests of an index, with all that is under them. Returns the bytes read."""
        read = 0
        for child in index.children:
            told = _after(read, progress)
            if child.media_type in INDEXES:
                part = await self._source(order).manifest(order.source.repository, child.digest)
                if part is None:
                    raise NotSupported(f"{order.source.name}@{child.digest} is not there", code="INCOMPLETE")
                read += await self._bring_all(order, part, told)
                await self._route.dest.registry.put_manifest(order.dest.repository, part.digest, part)
            else:
                read += await self._bring(order, child.digest, told)
        return read

    async def _bring(self, order: Order, digest: str, progress: Callable[[int], None]) -> int:
        """Copy one manifest by its digest, with all that is under it."""
        source = Reference(order.source.registry, order.source.repository, "", digest)
        dest = Reference(order.dest.registry, order.dest.repository, "", digest)
        return (await self._skopeo(source, dest, progress)).read

    async def _merge(self, order: Order, ours: Manifest, progress: Callable[[int], None]) -> Copied:
        """Add the source's list of referrers to that of the destination, which may have some of its own."""
        registry, place = self._route.dest.registry, (order.dest.repository, order.about)
        read, lost = 0, set()
        for child in ours.children:
            if await registry.head(order.dest.repository, child.digest):
                continue
            try:
                read += await self._bring(order, child.digest, _after(read, progress))
            except SourceGone:
                lost.add(child.digest)  # the list is older than what it names
        async with self._entering.setdefault(place, asyncio.Lock()):
            theirs = await registry.manifest(order.dest.repository, order.dest.tag)
            merged = merge(theirs, ours, order.about, lost)
            if theirs and merged.digest == theirs.digest:
                return Copied(order, merged.digest, read, there=True)
            await registry.put_manifest(order.dest.repository, order.dest.tag, merged)
        return Copied(order, merged.digest, read)

    def _source(self, order: Order) -> Registry:
        return self._route.origin.at(order.source.registry).registry

    async def _skopeo(
        self, source: Reference, dest: Reference, progress: Callable[[int], None]
    ) -> skopeo.Copied:
        route = self._route
        fronts = (route.origin.at(source.registry), source), (route.dest, dest)
        sides = [await front.side(reference) for front, reference in fronts]
        timeout = route.parameters.copy_timeout
        try:
            return await skopeo.copy(*sides, timeout=timeout, progress=progress)
        except TransferError as error:
            if error.code not in ("UNAUTHORIZED", "ExpiredToken"):
                raise
            # A token may end early, and a secret be changed while we use it.
            newer = [
                await front.side(reference, side.login)
                for (front, reference), side in zip(fronts, sides, strict=True)
            ]
            if newer == sides:
                raise
        return await skopeo.copy(*newer, timeout=timeout, progress=progress)

    async def _put(self, dest: Reference, manifest: Manifest) -> bool:
        try:
            await self._route.dest.registry.put_manifest(dest.repository, dest.pointer, manifest)
        except ObjectRefused:
            return False  # it stays as skopeo has put it
        return True

    async def _enter(self, order: Order) -> None:
        """Let a referrer be found at the destination, if the registry does not see to that itself. Where the source
        does not either, its index of referrers goes along as it is."""
        registry = self._route.dest.registry
        source = self._source(order)
        if await source.ask_referrers(order.source.repository, order.about) is None:
            return
        place = (order.dest.repository, order.about)
        async with self._entering.setdefault(place, asyncio.Lock()):
            referrer = await source.manifest(order.source.repository, order.digest)
            if referrer:
                await keep_fallback(registry, order.dest.repository, order.about, referrer)


def _after(before: int, progress: Callable[[int], None]) -> Callable[[int], None]:
    """The progress of one part, told as that of the whole."""
    return lambda read: progress(before + read)
