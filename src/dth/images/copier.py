"""Copies one image with everything below it: blobs first, then manifests, byte for byte.

skopeo converts what the destination does not accept as it is. skopeo also copies images whose
signatures the machine's policy checks, because it does these checks.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from dth.core.errors import (
    EndpointRefused,
    NotSupported,
    ObjectRefused,
    SourceGone,
    Throttled,
    TransferError,
    Transient,
)
from dth.images.crowd import gather
from dth.images.items import ImageAction
from dth.images.listing import Image, is_fallback
from dth.images.messages import CopyOrder
from dth.images.plan import make_plan
from dth.images.registry.blobs import Blobs
from dth.images.registry.client import Registry
from dth.images.registry.manifest import Descriptor, Manifest
from dth.images.registry.reference import Reference
from dth.images.registry.referrers import keep_fallback, merge
from dth.images.skopeo import command as skopeo
from dth.images.skopeo.said import THROTTLED, UNAVAILABLE
from dth.images.task import ImageRoute

PARTS = 4  # parts of one image copied at once
# Status codes of a registry that does not accept a manifest as it is.
NOT_TAKEN = (400, 405, 415, 422, 501)


class CannotCopy(ObjectRefused):
    """The image has no place at the destination: its tag is another image there and cannot be
    moved.
    """


class NotTaken(ObjectRefused):
    """The destination does not accept a manifest as it is."""


@dataclass(slots=True)
class CopiedImage:
    """The result of a copy. `order` is the order as it was carried out."""

    order: CopyOrder
    dest_digest: str
    # The destination already had it: nothing was copied.
    there: bool = False


class Copier:
    """Copies images for one task in one process."""

    def __init__(self, route: ImageRoute) -> None:
        self._route = route
        self._entering: dict[tuple[str, str], asyncio.Lock] = {}
        self._door = asyncio.Lock()
        self._let_in: set[str] = set()  # registries that accepted the sign-in
        self._blobs = Blobs(route.dest.registry)

    async def copy(self, order: CopyOrder, progress: Callable[[int], None]) -> CopiedImage:
        """Copy the image.

        Calls `progress` with the number of bytes read for it so far. If the call is cancelled,
        skopeo ends first. Raises TransferError.
        """
        await self._sign_in(order)
        seconds = self._route.parameters.copy_timeout
        try:
            async with asyncio.timeout(seconds):
                copied = await self._copy(order, progress)
        except TimeoutError:
            raise Transient(
                f"{order.source} -> {order.dest}: not copied within {seconds:g} s", code="TimeLimit"
            ) from None
        except Transient as error:
            # One code for all registries, because the answer to a HEAD has none.
            if isinstance(error, Throttled):
                error.code = THROTTLED
            elif error.status >= 500:
                error.code = UNAVAILABLE
            raise
        if order.about and not copied.order.dest.tag:
            await self._enter(copied.order)
        return copied

    async def _sign_in(self, order: CopyOrder) -> None:
        """Check once that each registry accepts the sign-in, before several copies start in
        parallel.

        Registries lock accounts after a few wrong passwords.
        """
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
                        pass  # the copy reports the error
                self._let_in.add(host)

    async def _copy(self, order: CopyOrder, progress: Callable[[int], None]) -> CopiedImage:
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
        return await self._copy_whole(order, progress)

    async def plan(self, order: CopyOrder) -> CopiedImage:
        """Look up what the source has now under this reference, and whether to copy it.

        Creates the repository if there is none. Raises SourceGone or CannotCopy.
        """
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
            case ImageAction.MISSING:
                raise SourceGone(item.reason, code="MANIFEST_UNKNOWN")
            case ImageAction.CONFLICT:
                raise CannotCopy(item.reason, code="IMMUTABLE")
            case ImageAction.REFUSED:
                raise CannotCopy(item.reason, code=item.code or "REFUSED")
        if route.dest.control:
            for name in plan.repositories:
                await route.dest.control.create(name, route.parameters.template)
        fresh = CopyOrder(
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
        return CopiedImage(fresh, item.found, there=item.action is ImageAction.SAME)

    def _pinned(self, source: Reference) -> str:
        """Return the digest that the user named with the tag; "" if the tag may be any image."""
        wanted = (each.reference for each in self._route.origin.selection.wanted or ())
        return next(
            (each.digest for each in wanted if each.digest and replace(each, digest="") == source),
            "",
        )

    def _wanted(self, order: CopyOrder) -> str:
        return order.narrowed.digest if order.narrowed else order.digest

    async def _found(self, order: CopyOrder) -> CopiedImage | None:
        """Return the image if the destination already has all of it, else None.

        It may be there under another tag, or because an interrupted copy was almost complete. (A
        tag that cannot be moved refuses even the image that it already names.)
        """
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
                return CopiedImage(order, wanted, there=True)
            await registry.put_manifest(repository, order.dest.tag, found)
        except (Throttled, EndpointRefused):
            raise
        except TransferError:
            return None  # the copy reports the error
        return CopiedImage(order, wanted)

    async def _copy_whole(self, order: CopyOrder, progress: Callable[[int], None]) -> CopiedImage:
        checked = skopeo.policy_checks(order.source)
        meter = _Meter(progress)
        if order.narrowed is None and checked:
            return await self._convert(order, meter)
        top = order.narrowed or await self._manifest(order, order.digest)
        if not checked and any(each.digest == order.digest for each in order.manifests):
            await self._still_there(order)
        try:
            await self._bring(order, top, order.dest.pointer, meter)
        except NotTaken as refusal:
            if order.narrowed or checked:
                raise
            try:
                return await self._convert(order, meter)
            except skopeo.Unusable as error:
                raise NotTaken(
                    f"{refusal}; {error}", code=refusal.code, status=refusal.status
                ) from None
        return CopiedImage(order, top.digest)

    async def _still_there(self, order: CopyOrder) -> None:
        """Check that the source has not deleted the image since the plan read it."""
        if not await self._source(order).head(order.source.repository, order.digest):
            raise SourceGone(f"{order.exactly} is not there", code="MANIFEST_UNKNOWN")

    async def _manifest(self, order: CopyOrder, digest: str) -> Manifest:
        """Return a manifest of the image, from the plan or else from the source."""
        for each in order.manifests:
            if each.digest == digest:
                return each
        found = await self._source(order).manifest(order.source.repository, digest)
        if found is None and digest == order.digest:
            raise SourceGone(f"{order.exactly} is not there", code="MANIFEST_UNKNOWN")
        if found is None:
            raise NotSupported(f"{order.source.name}@{digest} is not there", code="INCOMPLETE")
        return found

    async def _bring(
        self, order: CopyOrder, manifest: Manifest, pointer: str, meter: "_Meter"
    ) -> None:
        """Copy a manifest of the image with everything below it."""
        await gather(
            (self._bring_part(order, child.digest, meter) for child in manifest.children), PARTS
        )
        await gather(
            (self._bring_blob(order, blob, meter) for blob in _each_once(manifest.blobs)), PARTS
        )
        await self._put(order.dest, pointer, manifest)

    async def _bring_part(self, order: CopyOrder, digest: str, meter: "_Meter") -> None:
        if not skopeo.policy_checks(order.source):
            await self._bring(order, await self._manifest(order, digest), digest, meter)
            return
        manifest = await self._manifest(order, digest)
        if manifest.is_index:
            await self._bring(order, manifest, digest, meter)
            return
        source, dest = (
            Reference(each.registry, each.repository, "", digest)
            for each in (order.source, order.dest)
        )
        await self._skopeo(source, dest, meter.part())

    async def _bring_blob(self, order: CopyOrder, blob: Descriptor, meter: "_Meter") -> None:
        mount = dict(order.mounts).get(blob.digest, "")
        source, repository = self._source(order), order.dest.repository
        await self._blobs.bring(blob, source, order.source.repository, repository, mount, meter.add)

    async def _put(self, dest: Reference, pointer: str, manifest: Manifest) -> None:
        kind: type[ObjectRefused]
        try:
            await self._route.dest.registry.put_manifest(dest.repository, pointer, manifest)
        except ObjectRefused as error:
            if re.search("immutable", f"{error.code} {error.said}", re.IGNORECASE):
                kind, code = CannotCopy, "IMMUTABLE"
            elif error.status in NOT_TAKEN:
                kind, code = NotTaken, error.code
            else:
                raise
            raise kind(
                str(error), code=code, status=error.status, said=error.said, host=error.host
            ) from None

    async def _convert(self, order: CopyOrder, meter: "_Meter") -> CopiedImage:
        """Let skopeo copy the image: unchanged if possible, else as the destination accepts it."""
        try:
            copied = await self._skopeo(order.exactly, order.dest, meter.part())
        except ObjectRefused as error:
            top = await self._manifest(order, order.digest)
            if (
                error.code != "UNSUPPORTED"
                or not top.is_index
                or not skopeo.policy_checks(order.source)
            ):
                raise
            # skopeo does not copy nested indexes: copy the parts, and write the index as it is.
            await self._bring(order, top, order.dest.pointer, meter)
            return CopiedImage(order, top.digest)
        return CopiedImage(order, copied.digest)

    async def _merge(
        self, order: CopyOrder, ours: Manifest, progress: Callable[[int], None]
    ) -> CopiedImage:
        """Add the source's list of referrers to the destination's, which may have its own
        entries."""
        registry, place = self._route.dest.registry, (order.dest.repository, order.about)
        meter, lost = _Meter(progress), set()
        for child in ours.children:
            if await registry.head(order.dest.repository, child.digest):
                continue
            found = await self._source(order).manifest(order.source.repository, child.digest)
            if found is None:
                lost.add(child.digest)  # the list names deleted manifests
            else:
                await self._bring(order, found, child.digest, meter)
        async with self._entering.setdefault(place, asyncio.Lock()):
            theirs = await registry.manifest(order.dest.repository, order.dest.tag)
            merged = merge(theirs, ours, order.about, lost)
            if theirs and merged.digest == theirs.digest:
                return CopiedImage(order, merged.digest, there=True)
            await registry.put_manifest(order.dest.repository, order.dest.tag, merged)
        return CopiedImage(order, merged.digest)

    def _source(self, order: CopyOrder) -> Registry:
        return self._route.origin.at(order.source.registry).registry

    async def _skopeo(
        self, source: Reference, dest: Reference, progress: Callable[[int], None]
    ) -> skopeo.SkopeoCopy:
        route = self._route
        fronts = (route.origin.at(source.registry), source), (route.dest, dest)
        sides = [await front.side(reference) for front, reference in fronts]
        timeout = route.parameters.copy_timeout
        try:
            async with fronts[0][0].registry.pace.turn(), route.dest.registry.pace.turn():
                return await skopeo.copy(*sides, timeout=timeout, progress=progress)
        except TransferError as error:
            if error.code not in ("UNAUTHORIZED", "ExpiredToken"):
                raise
            # A token may expire early, and a secret may change while it is in use.
            newer = [
                await front.side(reference, side.login)
                for (front, reference), side in zip(fronts, sides, strict=True)
            ]
            if newer == sides:
                raise
        return await skopeo.copy(*newer, timeout=timeout, progress=progress)

    async def _enter(self, order: CopyOrder) -> None:
        """Make a referrer discoverable at the destination if the registry does not do so itself.

        If the source does not either, its index of referrers is copied as it is.
        """
        registry = self._route.dest.registry
        source = self._source(order)
        if await source.ask_referrers(order.source.repository, order.about) is None:
            return
        place = (order.dest.repository, order.about)
        async with self._entering.setdefault(place, asyncio.Lock()):
            referrer = await source.manifest(order.source.repository, order.digest)
            if referrer:
                await keep_fallback(registry, order.dest.repository, order.about, referrer)


class _Meter:
    """Counts the bytes read for one image and reports the total."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress = progress
        self.read = 0

    def add(self, count: int) -> None:
        self.read += count
        self._progress(self.read)

    def part(self) -> Callable[[int], None]:
        """Return a progress function for a part. It takes the total bytes read of that part."""
        before = 0

        def told(read: int) -> None:
            nonlocal before
            self.add(read - before)
            before = read

        return told


def _each_once(blobs: Iterable[Descriptor]) -> list[Descriptor]:
    return list({blob.digest: blob for blob in blobs}.values())
