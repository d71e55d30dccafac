"""The finder: lists the source, plans by digest, creates repositories, and enqueues the copies.

Listing and planning cost little, so a finder that was killed repeats them. What it has already
enqueued stays, and is counted once.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from dth.core import clock
from dth.core.errors import HubError, ListingFailed, TransferError, UsageError
from dth.core.ports.images import ImageRecord, Images
from dth.core.ports.platform import Platform
from dth.core.ports.records import Enqueued, Outcome, Page, Record
from dth.core.ports.runs import Counts, Run, RunState
from dth.core.ports.status import Status
from dth.images.items import EarlierCopy, ImageAction, ImageItem, Plan
from dth.images.listing import Listed, list_images
from dth.images.messages import CopyOrder, encode, is_unlisted, key_of, order_of, record_key
from dth.images.plan import make_plan
from dth.images.task import ImageRoute
from dth.images.trouble import told

BATCH = 500  # images per commit

log = logging.getLogger(__name__)

REASONS = {
    ImageAction.CONFLICT: "IMMUTABLE",
    ImageAction.MISSING: "MANIFEST_UNKNOWN",
    ImageAction.REFUSED: "REFUSED",
    ImageAction.UNLISTED: "CANNOT_LIST",
}


async def list_and_plan(route: ImageRoute, known: dict[str, EarlierCopy]) -> tuple[Listed, Plan]:
    """List the source and plan a run, without writing anything.

    Raises TransferError or ListingFailed if a side does not answer.
    """
    source_of, selection, wishes = (
        route.origin.sources(),
        route.origin.selection,
        route.wishes(known),
    )
    listed = await list_images(selection, source_of, route.origin.host)
    plan = await make_plan(
        listed.images,
        source_of,
        route.dest.destination(),
        wishes,
        digest_tags=listed.digest_tags if selection.every_tag else (),
        troubles=listed.troubles,
    )
    taken = {item.source for item in plan.items}
    left = sum(image.reference not in taken for image in listed.digest_tags)
    listed.left_out += left
    if not wishes.referrers:
        listed.notes.append(
            "what is attached to images (signatures, attestations, SBOMs) is left out"
        )
    elif left:
        listed.notes.append(
            f"{left} tags are about images that are not taken, and are left out with them"
        )
    return listed, plan


async def known_images(images: Images, host: str) -> dict[str, EarlierCopy]:
    """Return the results of earlier copies, by the image's name at the destination `host`."""
    return {
        f"{host}/{key}": EarlierCopy(
            each.source_digest, each.dest_digest, tuple(p for p in each.platforms.split(",") if p)
        )
        for key, each in (await images.copied()).items()
    }


class ImageFinder:
    """One pass for one run."""

    def __init__(self, route: ImageRoute, platform: Platform) -> None:
        self._route = route
        self._platform = platform

    async def run(self, run: Run) -> None:
        """List, plan, and enqueue. Leaves the run in the state TRANSFERRING.

        If a side does not answer, the run fails.
        """
        if run.state is not RunState.LISTING:
            return
        if run.counts.listed:  # the last value written of a plan
            await self._platform.records.set_run(run.id, RunState.TRANSFERRING)
            return
        try:
            await self._find(run)
        except (ListingFailed, TransferError, UsageError) as error:
            counts = (await self._platform.records.get_run(run.id)).counts
            begun = Counts(listed=counts.enqueued + counts.pending)  # by a finder that was killed
            await self._platform.records.commit(run.id, Page(begun))
            await self._platform.records.set_run(run.id, RunState.FAILED, told(error, self._route))
            raise

    async def _find(self, run: Run) -> None:
        records = self._platform.records
        known = await known_images(self._platform.images, self._route.dest.registry.host)
        listed, plan = await list_and_plan(self._route, known)
        refused = await self._make_repositories(plan.repositories)
        for note in (*listed.notes, *plan.notes):
            await records.add_note(run.id, note)
        if not plan.items and not listed.left_out:
            await records.add_note(run.id, "nothing found at the source: there is no such image")
        before = {record.key async for record in records.scan(run=run.id)}
        work = [
            item
            for item in plan.items
            if item.action not in (ImageAction.SAME, ImageAction.ALONG)
            and record_key(item) not in before
        ]
        for first in range(0, len(work), BATCH):
            await self._commit(run, plan, work[first : first + BATCH], refused)
        await self._remember(run, plan, known)
        await self._count(run, plan, listed.left_out, before)
        await records.set_run(run.id, RunState.TRANSFERRING)

    async def _make_repositories(self, names: Sequence[str]) -> dict[str, HubError]:
        """Create the repositories. Return those that cannot be created, with the reason."""
        control = self._route.dest.control
        if not names or not control:
            return {}
        gate = asyncio.Semaphore(4)  # ECR allows few of these per second

        async def make(name: str) -> HubError | None:
            async with gate:
                try:
                    await control.create(name, self._route.parameters.template)
                    log.info("repository made", extra={"fields": {"repository": name}})
                    return None
                except TransferError as error:
                    return error

        made = await asyncio.gather(*map(make, names))
        return {name: error for name, error in zip(names, made, strict=True) if error}

    async def _commit(
        self, run: Run, plan: Plan, items: Sequence[ImageItem], refused: dict[str, HubError]
    ) -> None:
        orders = [order_of(run.id, item, plan, self._route.parameters.platforms) for item in items]
        page = Page()
        pending: list[ImageRecord] = []
        failed: list[ImageRecord] = []
        for item, order in zip(items, orders, strict=True):
            image = replace(order.record(), key=record_key(item))
            if failure := _failure(run, item, image.key, refused):
                page.settled.append(failure)
                image.status, image.reason, image.detail = (
                    failure.status,
                    failure.reason,
                    failure.detail,
                )
                image.moved, image.ended = 0, clock.now()
                failed.append(image)
            else:
                page.messages.append(encode(order))
                pending.append(image)
            page.enqueued.append(Enqueued(image.key, order.moves or 0, order.digest, ""))
        # A failure without its image could not be retried; an image without its record would be
        # pending forever.
        await self._write(
            run, failed, lambda record: record is None or record.status is not Status.PENDING
        )
        await self._platform.records.commit(run.id, page)
        await self._write(run, pending, lambda record: record is not None and record.run == run.id)

    async def _write(
        self, run: Run, images: Sequence[ImageRecord], ours: Callable[[Record | None], bool]
    ) -> None:
        """Write this run's images. What is in progress in an earlier run stays with that run."""
        records = await self._platform.records.get([image.key for image in images])
        await self._platform.images.write(
            [image for image in images if ours(records.get(image.key))]
        )

    async def _remember(self, run: Run, plan: Plan, known: dict[str, EarlierCopy]) -> None:
        """Remember immutable tags that already exist at the destination, so they are not requested
        again.
        """
        immutable = self._route.wishes({}).immutable
        await self._platform.images.write(
            [
                _same(order_of(run.id, item, plan, self._route.parameters.platforms), item)
                for item in plan.items
                if item.action is ImageAction.SAME
                and item.source.tag
                and str(item.dest) not in known
                and immutable.match(item.source.tag)
            ]
        )

    async def _count(self, run: Run, plan: Plan, left_out: int, before: Iterable[str]) -> None:
        """Count the other images, so the ledger balances however often the finder started."""
        counts = (await self._platform.records.get_run(run.id)).counts
        there = set(before)
        same = sum(
            item.action in (ImageAction.SAME, ImageAction.ALONG) and key_of(item.dest) not in there
            for item in plan.items
        )
        listed = left_out + same + counts.enqueued + counts.pending
        mended = await self._mended(run, plan)
        page = Page(Counts(listed=listed, filtered=left_out, same=same), same=mended)
        await self._platform.records.commit(run.id, page)

    async def _mended(self, run: Run, plan: Plan) -> list[Record]:
        """Return failures of earlier runs that are resolved: the image exists, or can be listed."""
        there = {key_of(item.dest): item for item in plan.items if item.action is ImageAction.SAME}
        unlisted = {record_key(item) for item in plan.items if item.action is ImageAction.UNLISTED}
        mended = []
        async for record in self._platform.records.scan(status=Status.FAILED):
            if item := there.get(record.key):
                mended.append(
                    Record(
                        record.key,
                        Status.DONE,
                        run.id,
                        etag=item.digest,
                        size=record.size,
                        dest_etag=item.found,
                    )
                )
            elif is_unlisted(record.key) and record.key not in unlisted:
                mended.append(Record(record.key, Status.DONE, run.id))
        again = [each.key for each in mended if is_unlisted(each.key)]
        await self._platform.images.write(
            [
                replace(
                    before, run=run.id, status=Status.DONE, reason="", detail="", ended=clock.now()
                )
                for before in (await self._platform.images.latest(again)).values()
            ]
        )
        return mended


def _failure(run: Run, item: ImageItem, key: str, refused: dict[str, HubError]) -> Outcome | None:
    """Return the failure of an item that cannot be copied; None if it can."""
    if item.action is ImageAction.COPY and item.dest.repository not in refused:
        return None
    if item.action is ImageAction.COPY:
        error = refused[item.dest.repository]
        reason, detail = getattr(error, "code", "") or "REPOSITORY_REFUSED", str(error)
    else:
        reason, detail = item.code or REASONS[item.action], item.reason
    return Outcome(key, run.id, Status.FAILED, etag=item.digest, reason=reason, detail=detail)


def _same(order: CopyOrder, item: ImageItem) -> ImageRecord:
    image = order.record(Status.DONE)
    image.dest_digest, image.moved, image.ended = item.found, 0, clock.now()
    return image
