"""The finder: lists the source, plans by digest, makes repositories, and enqueues what is to be copied.

Finding out costs little, so a finder that was killed does it again: what it had enqueued stays, and is counted once.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from dth.ecr import skopeo
from dth.ecr.listing import Listed, list_images
from dth.ecr.messages import Order, encode, key_of, order_of
from dth.ecr.plan import Action, Item, Known, Plan, make_plan
from dth.ecr.task import Route
from dth.errors import HubError, ListingFailed, TransferError, UsageError
from dth.platforms.ports import (
    Counts,
    Enqueued,
    ImageRecord,
    Images,
    Outcome,
    Page,
    Platform,
    Run,
    RunState,
    Status,
)

BATCH = 500  # images that are committed together

log = logging.getLogger(__name__)

REASONS = {Action.CONFLICT: "IMMUTABLE", Action.MISSING: "MANIFEST_UNKNOWN", Action.REFUSED: "REFUSED"}


async def list_and_plan(route: Route, known: dict[str, Known]) -> tuple[Listed, Plan]:
    """What a run would do; nothing is written. Raises TransferError or ListingFailed for a side that cannot be
    asked."""
    source_of = route.origin.sources()
    listed = await list_images(route.origin.selection, source_of, route.origin.host)
    return listed, await make_plan(listed.images, source_of, route.dest.destination(), route.wishes(known))


async def known_images(images: Images, host: str) -> dict[str, Known]:
    """What earlier copies ended with, by what they are called at the destination `host`."""
    return {
        f"{host}/{key}": Known(
            each.source_digest, each.dest_digest, tuple(p for p in each.platforms.split(",") if p)
        )
        for key, each in (await images.copied()).items()
    }


class Finder:
    """One pass for one run."""

    def __init__(self, route: Route, platform: Platform) -> None:
        self._route = route
        self._platform = platform

    async def run(self, run: Run) -> None:
        """Ends with the run TRANSFERRING; a side that cannot be asked fails the run."""
        if run.state is not RunState.LISTING:
            return
        try:
            await self._find(run)
        except (ListingFailed, TransferError, UsageError) as error:
            await self._platform.records.set_run(run.id, RunState.FAILED, str(error))
            raise

    async def _find(self, run: Run) -> None:
        records = self._platform.records
        known = await known_images(self._platform.images, self._route.dest.registry.host)
        listed, plan = await list_and_plan(self._route, known)
        if plan.copies:
            await skopeo.version()
        refused = await self._make_repositories(plan.repositories)
        for note in (*listed.notes, *plan.notes):
            await records.add_note(run.id, note)
        before = {record.key async for record in records.scan(run=run.id)}
        work = [
            item
            for item in plan.items
            if item.action not in (Action.SAME, Action.ALONG) and key_of(item.dest) not in before
        ]
        for first in range(0, len(work), BATCH):
            await self._commit(run, plan, work[first : first + BATCH], refused)
        await self._remember(run, plan, known)
        await self._count(run, plan, listed.left_out, before)
        await records.set_run(run.id, RunState.TRANSFERRING)

    async def _make_repositories(self, names: Sequence[str]) -> dict[str, HubError]:
        """Make them; those that cannot be made, with the reason."""
        control = self._route.dest.control
        if not names or not control:
            return {}
        gate = asyncio.Semaphore(4)  # ECR allows few of these a second

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
        self, run: Run, plan: Plan, items: Sequence[Item], refused: dict[str, HubError]
    ) -> None:
        orders = [order_of(run.id, item, plan, self._route.parameters.platforms) for item in items]
        page = Page()
        images: list[ImageRecord] = []
        for item, order in zip(items, orders, strict=True):
            failure = _failure(run, item, order, refused)
            image = order.record()
            if failure:
                page.settled.append(failure)
                image.status, image.reason, image.detail = failure.status, failure.reason, failure.detail
                image.moved = 0
            else:
                page.messages.append(encode(order))
            page.enqueued.append(Enqueued(order.key, order.moves or 0, order.digest, ""))
            images.append(image)
        await self._platform.images.write(images)
        await self._platform.records.commit(run.id, page)

    async def _remember(self, run: Run, plan: Plan, known: dict[str, Known]) -> None:
        """Tags that never change, and were there already: they are not asked for again."""
        immutable = self._route.wishes({}).immutable
        await self._platform.images.write(
            [
                _same(order_of(run.id, item, plan, self._route.parameters.platforms), item)
                for item in plan.items
                if item.action is Action.SAME
                and item.source.tag
                and str(item.dest) not in known
                and immutable.match(item.source.tag)
            ]
        )

    async def _count(self, run: Run, plan: Plan, left_out: int, before: Iterable[str]) -> None:
        """What there was besides: the ledger balances however often the finder had to begin."""
        counts = (await self._platform.records.get_run(run.id)).counts
        if counts.listed:
            return
        there = set(before)
        same = sum(
            item.action in (Action.SAME, Action.ALONG) and key_of(item.dest) not in there
            for item in plan.items
        )
        listed = left_out + same + counts.enqueued + counts.pending
        page = Page(Counts(listed=listed, filtered=left_out, same=same))
        await self._platform.records.commit(run.id, page)


def _failure(run: Run, item: Item, order: Order, refused: dict[str, HubError]) -> Outcome | None:
    """What is to be copied and cannot be; None where it can."""
    if item.action is Action.COPY and item.dest.repository not in refused:
        return None
    if item.action is Action.COPY:
        error = refused[item.dest.repository]
        reason, detail = getattr(error, "code", "") or "REPOSITORY_REFUSED", str(error)
    else:
        reason, detail = REASONS[item.action], item.reason
    return Outcome(order.key, run.id, Status.FAILED, etag=item.digest, reason=reason, detail=detail)


def _same(order: Order, item: Item) -> ImageRecord:
    image = order.record(Status.DONE)
    image.dest_digest, image.moved = item.found, 0
    return image
