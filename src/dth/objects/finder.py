"""The finder compares both sides and enqueues what differs. It commits one page after another.

The cursors, counts, records and messages of a page are committed together. So a finder that was
killed resumes exactly where it stopped, and nothing is listed, counted or enqueued twice.

When workers wait for work and the listing is long, the finder leaves ranges of it to them, as
messages. A worker that lists a range may be slow, dead, or replaced by another one: each page is
stored only if its cursors are still as the process saw them last (`Page.before`). So the finder may
continue any range at any time, and does when its own are done and nobody continues the others.
"""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from dth.core import clock
from dth.core.errors import ListingFailed, TransferError, UsageError
from dth.core.ports.platform import Platform
from dth.core.ports.records import Enqueued, ListingTakenOver, Outcome, Page, Record
from dth.core.ports.runs import Counts, Cursor, Run, RunKind, RunState
from dth.core.ports.status import Status
from dth.objects.checks.notes import told
from dth.objects.compare.comparison import NOT_FOUND, Comparison, Decided
from dth.objects.compare.merge import Policy, Verdict
from dth.objects.listing.ranges import OutOfOrder, given_root
from dth.objects.parameters import DeleteMode, EventMode
from dth.objects.transfer.messages import DeleteMessage, ObjectItem, RangeMessage, encode, pack
from dth.objects.transfer.relay import ObjectRoute

DELETES_A_MESSAGE = 100
# The cursor that marks the deletes of a run as counted.
DELETES_CURSOR = "deletes"
RESTORES = 16  # restore requests at once
# Seconds between checks whether the earlier runs have ended.
TURN = 5.0
# Objects that a finder compares alone before it leaves ranges to workers, and seconds between looks
# at whether workers wait.
ALONE = 100_000
LOOK = 5.0
# Seconds since a worker's last report after which it may be dead.
SILENT = 60.0
# Seconds without progress after which the finder continues the ranges that it left to workers, and
# between looks at these ranges.
LEFT = 30.0
WAIT = 1.0


def held_up(run: Run, runs: Sequence[Run]) -> bool:
    """Whether a listing has to wait because it cannot see what is in flight
    (`Records.overlapping`). It waits until the earlier runs have settled everything."""
    return any(
        each.id < run.id and each.kind is not RunKind.EVENTS and not each.counts.balanced
        for each in runs
    )


class ObjectFinder:
    """One pass over both sides for one run."""

    def __init__(self, route: ObjectRoute, platform: Platform, workdir: Path) -> None:
        self._route = route
        self._platform = platform
        self._workdir = workdir
        # Objects compared so far, and when the finder last looked whether workers wait (monotonic).
        self._compared = 0
        self._looked = 0.0
        # An event may ask for the record of any object at any time.
        self._once = route.parameters.src_event is EventMode.NO
        self._always = (
            route.parameters.src_skip_compare or route.parameters.compare_policy is Policy.ALWAYS
        )

    async def run(self, run: Run) -> None:
        """List, compare and enqueue, then enqueue the deletes of mirror mode. Leaves the run
        TRANSFERRING or DELETING. If a listing cannot be read, the run fails and the error is
        raised."""
        try:
            try:
                await self._list(run)
            except OutOfOrder as disorder:
                # What was committed stays. A new run lists the whole source and sorts it.
                await self._platform.records.set_run(run.id, RunState.FAILED, str(disorder))
                run, _ = await self._platform.records.begin_run(RunKind.SYNC)
                await self._list(run, whole_source=True)
        except (ListingFailed, TransferError, UsageError) as error:
            await self._platform.records.set_run(run.id, RunState.FAILED, told(error, self._route))
            raise

    async def _list(self, run: Run, *, whole_source: bool = False) -> None:
        records = self._platform.records
        if self._once and not records.overlapping:
            while held_up(run, await records.list_runs()):  # noqa: ASYNC110 - other processes settle
                await asyncio.sleep(TURN)
        cursors = await records.cursors(run.id)
        listing = [
            cursor for cursor in cursors if cursor.id != DELETES_CURSOR and not given_root(cursor)
        ]
        if run.state is RunState.LISTING:
            began = 0.0 if self._always else clock.now()
            self._route.dest.sweep()
            comparison = Comparison(
                self._route,
                self._workdir,
                records=records,
                cursors=listing,
                whole_source=whole_source,
            )
            async for decided in comparison:
                await self._commit(run, decided, began)
                self._compared += decided.counts.listed
                await self._share(run, comparison)
            for note in comparison.notes:
                await records.add_note(run.id, note)
            await self._finish_given(run)
        await self._enqueue_deletes(run)

    async def _commit(
        self, run: Run, decided: Decided, listed_since: float, before: list[Cursor] | None = None
    ) -> None:
        items = [
            ObjectItem(
                pick.source.key,
                pick.source.size,
                pick.source.etag,
                fresh=pick.verdict is Verdict.MISSING,
            )
            for pick in decided.transfer
        ]
        messages = list(pack(run.id, items))
        page = Page(
            counts=decided.counts,
            cursors=decided.cursors,
            listed_since=listed_since,
            before=before,
        )
        page.messages = [encode(message) for message in messages]
        page.messages += [
            encode(RangeMessage(f"{run.id}-{given.id}", run.id, given.id))
            for given in decided.given
        ]
        page.enqueued = [
            Enqueued(item.key, max(item.size, 0), item.etag, message.id, once=self._once)
            for message in messages
            for item in message.items
        ]
        page.enqueued += [
            Enqueued(refused.source.key, 0, refused.source.etag, "", once=self._once)
            for refused in decided.refused
        ]
        page.enqueued += [Enqueued(entry.key, 0, "", "", once=True) for entry in decided.absent]
        page.settled = [
            Outcome(
                refused.source.key,
                run.id,
                Status.FAILED,
                reason=refused.reason,
                detail=refused.detail,
            )
            for refused in decided.refused
        ]
        page.settled += [
            Outcome(
                entry.key,
                run.id,
                Status.CANCELLED,
                reason=NOT_FOUND,
                detail="the source has no such object",
            )
            for entry in decided.absent
        ]
        if self._route.parameters.delete_mode is DeleteMode.MIRROR:
            page.extras = [entry.key for entry in decided.extra]
        page.same = [
            Record(here.key, Status.DONE, run.id, here.etag, here.size, there.etag)
            for here, there in decided.remembered
        ]
        if decided.archived and self._route.parameters.restore_archived:
            decided.counts.restores = await self._restore(
                run, [entry.key for entry in decided.archived if not entry.restore]
            )
        await self._platform.records.commit(run.id, page)

    async def _restore(self, run: Run, keys: list[str]) -> int:
        """Request readable copies of archived objects. A later run finds them restored. Returns how
        many requests were accepted."""
        parameters, source = self._route.parameters, self._route.source
        gate = asyncio.Semaphore(RESTORES)

        async def one(key: str) -> bool:
            async with gate:
                try:
                    tier = parameters.restore_tier.value
                    return await source.restore(key, parameters.restore_days, tier)
                except TransferError as error:
                    await self._platform.records.add_note(
                        run.id, f"an archived object was not restored: {error}"
                    )
                    return False

        return sum(await asyncio.gather(*map(one, keys)))

    # ------------------------------------------------------------------------ together with workers

    async def _share(self, run: Run, comparison: Comparison) -> None:
        """Leave ranges to workers that have nothing to do, one more than there are workers: it is
        work for which another worker may start."""
        now = time.monotonic()
        if (
            not self._platform.records.shares_listings
            or self._compared < ALONE
            or now - self._looked < LOOK
        ):
            return
        self._looked = now
        if (await self._platform.queue.depth()).visible:
            comparison.share(0)
            return
        given = set(map(given_root, await self._open_given(run)))
        comparison.share(max(0, await self._count_workers() + 1 - len(given)))

    async def _count_workers(self) -> int:
        since = clock.now() - SILENT
        gauges = await self._platform.gauges.all()
        return sum(gauge.kind == "worker" and gauge.at > since for gauge in gauges)

    async def _open_given(self, run: Run) -> list[Cursor]:
        cursors = await self._platform.records.cursors(run.id)
        return [each for each in cursors if given_root(each) and not each.finished]

    async def _finish_given(self, run: Run) -> None:
        """Wait for the ranges that were left to workers. Continue those that nobody reads: their
        messages were lost, their workers died, or the queue is long."""
        seen: list[Cursor] = []
        since = 0.0
        while given := await self._open_given(run):
            now, depth = time.monotonic(), await self._platform.queue.depth()
            if given != seen:
                seen, since = given, now
            elif now - since > LEFT or not depth.visible + depth.in_flight + depth.delayed:
                for part in sorted(set(map(given_root, given))):
                    with contextlib.suppress(ListingTakenOver):
                        await self.help(run.id, part)
                continue
            await asyncio.sleep(WAIT)

    async def help(
        self, number: int, part: str, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        """List the range with this id, which the finder of a run left to others, from where it
        stands, until it is done or `stopping` returns True. Raises ListingTakenOver if another
        process continues it."""
        records = self._platform.records
        run = await records.get_run(number)
        cursors = [each for each in await records.cursors(number) if given_root(each) == part]
        if run.state is not RunState.LISTING or all(each.finished for each in cursors):
            return
        began = 0.0 if self._always else clock.now()
        stored = {cursor.id: cursor for cursor in cursors}
        comparison = Comparison(
            self._route, self._workdir, records=records, cursors=cursors, part=part
        )
        async with contextlib.aclosing(aiter(comparison)) as pages:
            async for decided in pages:
                before = [stored[each.id] for each in decided.cursors if each.id in stored]
                await self._commit(run, decided, began, before)
                stored |= {cursor.id: cursor for cursor in decided.cursors}
                if stopping():
                    return
        for note in comparison.notes:
            await records.add_note(number, note)

    # -------------------------------------------------------------------------------------- deletes

    async def _enqueue_deletes(self, run: Run) -> None:
        """Mirror mode, after the whole source was listed: check the guard, then send every
        destination key without a source in messages.

        The keys are counted first. So a finder that is killed here counts each key exactly once. If
        it sends keys again, workers find them settled."""
        records = self._platform.records
        if not any(cursor.id == DELETES_CURSOR for cursor in await records.cursors(run.id)):
            counts = (await records.get_run(run.id)).counts
            if self._route.parameters.delete_mode is not DeleteMode.MIRROR or not counts.extra:
                await records.set_run(run.id, RunState.TRANSFERRING)
                return
            refusal = refuse_deletes(counts, self._route.parameters.delete_max_percent)
            if refusal:
                await records.add_note(run.id, refusal)
                await records.set_run(run.id, RunState.TRANSFERRING)
                return
            total = sum([len(keys) async for keys in self._extras(run)])
            marker = Cursor(DELETES_CURSOR, 0, "", "", "", finished=True)
            await records.commit(
                run.id, Page(counts=Counts(delete_enqueued=total), cursors=[marker])
            )
        async for keys in self._extras(run):
            digest = hashlib.sha256("\0".join(keys).encode("utf-8", "surrogateescape")).hexdigest()
            message = encode(DeleteMessage(f"{run.id}-d{digest[:20]}", run.id, keys))
            await self._platform.queue.send([message])
        await records.set_run(run.id, RunState.DELETING)

    async def _extras(self, run: Run) -> AsyncIterator[list[str]]:
        """The extra destination keys that are not settled yet, in batches of one message."""
        after = ""
        while keys := await self._platform.records.extras(run.id, after, DELETES_A_MESSAGE):
            yield keys
            after = keys[-1]


def refuse_deletes(counts: Counts, max_percent: float) -> str:
    """Why mirror mode must not delete anything; "" if it may."""
    if counts.listed == 0:
        return "deletes refused: the source is empty, which may be a mistake; nothing was deleted"
    if counts.extra * 100 > max_percent * counts.dest_listed:
        return (
            f"deletes refused: {counts.extra} of {counts.dest_listed} destination objects would "
            f"go, more than {max_percent:g}%; look at them with --dry-run, then raise "
            "--delete-max-percent"
        )
    return ""
