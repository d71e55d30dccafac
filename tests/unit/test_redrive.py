"""Failed items are sent again in pages of which each is sent once, whoever sends it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from dth.core import redrive
from dth.core.ports.platform import Platform
from dth.core.ports.records import Enqueued, Outcome, Page, Record
from dth.core.ports.runs import Counts, RunKind, RunState
from dth.core.ports.status import Status
from dth.platforms.local.platform import open_platform

KEYS = [f"k{number}" for number in range(7)]


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    monkeypatch.setattr(redrive, "BATCH", 2)
    with open_platform(tmp_path, "hub") as opened:
        yield opened


async def fail(platform: Platform, keys: Sequence[str], reason: str = "DENIED") -> int:
    run, _ = await platform.records.begin_run(RunKind.SYNC)
    page = Page(
        Counts(listed=len(keys)),
        enqueued=[Enqueued(key, 0, "", "") for key in keys],
        settled=[Outcome(key, run.id, Status.FAILED, reason=reason) for key in keys],
    )
    await platform.records.commit(run.id, page)
    await platform.records.set_run(run.id, RunState.DONE)
    return run.id


class Sender:
    """Enqueues what it is given, and writes it down."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def again(self, run: int, failed: Sequence[Record]) -> Page:
        self.sent += [record.key for record in failed]
        return Page(
            Counts(listed=len(failed)), enqueued=[Enqueued(each.key, 0, "", "") for each in failed]
        )


async def test_a_call_sends_so_many_pages_and_the_next_goes_on(platform: Platform) -> None:
    await fail(platform, KEYS)
    sender = Sender()
    await redrive.begin(platform.records)
    assert sender.sent == []
    runs = await platform.records.list_runs()
    assert (runs[0].kind, redrive.are_left(runs)) == (RunKind.REDRIVE, True)
    assert await redrive.go_on(platform.records, sender.again, 2) == 4
    (run, _) = runs = await platform.records.list_runs()
    assert (run.counts.listed, run.state, redrive.are_left(runs)) == (4, RunState.LISTING, True)
    assert await redrive.go_on(platform.records, sender.again, 2) == 3
    assert sender.sent == KEYS
    (run, _) = runs = await platform.records.list_runs()
    assert (run.counts.enqueued, run.state) == (7, RunState.TRANSFERRING)
    assert not redrive.are_left(runs)


async def test_what_fails_again_meanwhile_is_not_sent_again(platform: Platform) -> None:
    """Otherwise a retry of what fails at once would never end."""
    await fail(platform, KEYS)
    sender = Sender()
    await redrive.begin(platform.records)
    while redrive.are_left(runs := await platform.records.list_runs()):
        await redrive.go_on(platform.records, sender.again, 1)
        outcomes = [Outcome(key, runs[0].id, Status.FAILED, reason="DENIED") for key in sender.sent]
        await platform.records.settle(outcomes)
    assert sender.sent == KEYS


async def test_reasons_are_asked_for_one_after_the_other(platform: Platform) -> None:
    await fail(platform, KEYS[:3])
    await fail(platform, KEYS[3:5], "SLOW")
    await fail(platform, KEYS[5:], "GONE")
    sender = Sender()
    await redrive.begin(platform.records, "SLOW")
    await redrive.begin(platform.records, "GONE")
    await redrive.begin(platform.records, "none")
    (run, *_) = await platform.records.list_runs()
    while redrive.are_left(await platform.records.list_runs()):
        await redrive.go_on(platform.records, sender.again, 1)
    assert sorted(sender.sent) == KEYS[3:]
    again = await platform.records.get_run(run.id)
    assert (again.kind, again.counts.enqueued) == (RunKind.REDRIVE, 4)


async def test_where_nothing_failed_no_run_begins(platform: Platform) -> None:
    await redrive.begin(platform.records)
    assert await platform.records.list_runs() == []


async def test_a_named_item_is_sent_at_once_beside_a_retry_of_all(platform: Platform) -> None:
    await fail(platform, KEYS)
    sender = Sender()
    await redrive.begin(platform.records)
    assert await redrive.send(platform.records, sender.again, ["k6", "none"]) == 1
    while redrive.are_left(await platform.records.list_runs()):
        await redrive.go_on(platform.records, sender.again, 1)
    assert sender.sent == ["k6", *KEYS[:6]]


async def test_a_stopped_task_sends_no_more(platform: Platform) -> None:
    await fail(platform, KEYS)
    await redrive.begin(platform.records)
    await platform.records.cancel_pending("stopped")
    assert not redrive.are_left(await platform.records.list_runs())
