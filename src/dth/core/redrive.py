"""Sending failed items again, in a run of its own.

There may be millions of them, so no call sends them all. `begin` only stores in a run what is to be
sent: all that failed, or what failed for one reason. While this run is LISTING, `go_on` sends the
next few pages. Its counts are the progress. It commits each page together with the position, as a
listing does: whoever continues sends nothing twice, and an item that fails again in the meantime is
not sent again.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from dth.core.ports.records import Page, Record, Records
from dth.core.ports.runs import KEPT_RUNS, Cursor, Run, RunKind, RunState
from dth.core.ports.status import Status

# The page that enqueues these failed items in this run; for some of them, or for none.
Again = Callable[[int, Sequence[Record]], Awaitable[Page]]

BATCH = 1000  # records in one page
PAGES = 10  # sent by one call
# Before the reason, in the id of the cursor: an id is never empty.
REASON = "reason:"


def are_left(runs: Sequence[Run]) -> bool:
    """Whether there is something for `go_on` to do."""
    return any(_is_sending(run) for run in runs)


async def send(records: Records, again: Again, keys: Sequence[str]) -> int:
    """Send the failed ones of these items at once. Returns how many."""
    found = await records.get(keys)
    failed = [record for record in found.values() if record.status is Status.FAILED]
    if not failed:
        return 0
    run, _ = await records.begin_run(RunKind.REDRIVE)
    page = await again(run.id, failed)
    await records.commit(run.id, page)
    if not await _unfinished(records, run.id):
        await records.set_run(run.id, RunState.TRANSFERRING)
    return len(page.enqueued)


async def begin(records: Records, reason: str = "") -> None:
    """Have all failed items sent again, or those with this reason. Begins no run if there are
    none."""
    found, more = await records.page(status=Status.FAILED, reason=reason, limit=1)
    if not found and not more:
        return
    run, _ = await records.begin_run(RunKind.REDRIVE, beside=True)
    start = Cursor(f"{REASON}{reason}", 0, "", "", "")
    await records.commit(run.id, Page(cursors=[start]))
    # Last: until now, `go_on` may have seen a run with nothing left to send.
    await records.set_run(run.id, RunState.LISTING)


async def go_on(records: Records, again: Again, pages: int = PAGES) -> int:
    """Send the next pages of what was begun. Returns the number of items."""
    sent = 0
    for run in filter(_is_sending, await records.list_runs(KEPT_RUNS)):
        while cursors := await _unfinished(records, run.id):
            if pages == 0:
                return sent
            pages -= 1
            sent += await _send_page(records, again, run.id, cursors[0])
        await records.set_run(run.id, RunState.TRANSFERRING)
        # Another request may have come just before.
        if await _unfinished(records, run.id):
            await records.set_run(run.id, RunState.LISTING)
    return sent


async def _send_page(records: Records, again: Again, run: int, cursor: Cursor) -> int:
    failed, position = await records.page(
        status=Status.FAILED,
        reason=cursor.id.removeprefix(REASON),
        after=cursor.position,
        limit=BATCH,
    )
    page = await again(run, failed) if failed else Page()
    page.cursors = [replace(cursor, position=position, finished=not position)]
    await records.commit(run, page)
    return len(page.enqueued)


async def _unfinished(records: Records, run: int) -> list[Cursor]:
    return [cursor for cursor in await records.cursors(run) if not cursor.finished]


def _is_sending(run: Run) -> bool:
    return run.kind is RunKind.REDRIVE and run.state is RunState.LISTING
