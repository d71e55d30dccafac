"""The progress of a run and its remaining time, from its ledger and the reports of its processes.

The command and the hub both use this module, so both report the same. It uses no clock and no
platform: the caller passes readings to a `Meter`.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from dth.core.ports.gauges import Gauge
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Counts, Run, RunKind, RunState
from dth.hub.reading import Reading, with_retries

if TYPE_CHECKING:
    from dth.hub.model import Summary  # commands have none

# Seconds without a report after which the bytes that a process had in progress count as lost.
SILENT_AFTER = 30.0
# Seconds for which the ledger may be ahead of the reports.
SETTLING = 10.0
# Seconds after which missing bytes count as lost: until then, they may only be between two reports.
RETRIED = 2.5
# Seconds per measurement: processes report every second.
STEP = 1.0
# Seconds without progress after which a run with a note that explains it counts as waiting.
STILL = 5.0
# Bytes that take as long as one more request, unless measurements say otherwise.
REQUEST = 128 * 1024
PRIOR = 1e-3  # the weight of that prior
FIRST_ANSWER = "waiting for the source's first answer"
RECENT_RUNS = 10  # how many a list shows
NOTHING_FOUND = "nothing found at the source"


class RunActivity(StrEnum):
    """What a run is doing."""

    LISTING = "LISTING"
    COPYING = "COPYING"
    WAITING = "WAITING"  # nothing moves, and a note says why
    DELETING = "DELETING"
    EMPTY = "EMPTY"  # the source was empty
    ENDED = "ENDED"


class Result(StrEnum):
    """The result of a run."""

    DONE = "DONE"  # everything to copy was copied
    INCOMPLETE = "INCOMPLETE"  # some of it failed
    EMPTY = "EMPTY"  # the source was empty
    FAILED = "FAILED"  # the run itself failed


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a run. `done_bytes` includes bytes in progress; `percent` is -1 if the total is
    unknown, and `eta` (seconds) is -1 if unknown."""

    state: RunActivity
    note: str
    total: int
    ended: int
    failed: int
    total_bytes: int
    done_bytes: int
    percent: int
    rate: float  # bytes per second
    objects: float  # per second
    eta: float


class SmoothedRate:
    """Units per second, smoothed: an amount from `HALF_LIFE` seconds ago has half the weight. Time
    that is not reported does not count: report nothing while a task is paused, and the rate stays
    as it was."""

    HALF_LIFE = 30.0

    def __init__(self) -> None:
        self._sum = 0.0
        # The weight of the sum. It decays in the same way, so that the rate is correct from the
        # start.
        self._weight = 0.0

    def add(self, amount: float, seconds: float) -> None:
        """Add `amount` units over the `seconds` since the last call."""
        if seconds <= 0:
            return
        kept = 0.5 ** (seconds / self.HALF_LIFE)
        self._sum = self._sum * kept + amount / seconds * (1 - kept)
        self._weight = self._weight * kept + 1 - kept

    @property
    def per_second(self) -> float:
        """The current rate; 0 before the first report."""
        return self._sum / self._weight if self._weight else 0.0


class TimeCost:
    """The time that objects and bytes take. For many small objects requests dominate, for a few
    large ones bytes; least squares over the recent past tells them apart. If the data does not, a
    request counts as `REQUEST` bytes."""

    HALF_LIFE = 30.0

    def __init__(self) -> None:
        self._objects = self._bytes = self._seconds = 0.0  # decaying sums
        self._oo = self._ob = self._bb = self._os = self._bs = 0.0  # sums of products

    def add(self, objects: float, size: float, seconds: float) -> None:
        """Add that many objects settled and that many bytes moved, over that many seconds."""
        kept = 0.5 ** (seconds / self.HALF_LIFE)
        b = size / REQUEST
        self._objects = self._objects * kept + objects
        self._bytes = self._bytes * kept + b
        self._seconds = self._seconds * kept + seconds
        self._oo = self._oo * kept + objects * objects
        self._ob = self._ob * kept + objects * b
        self._bb = self._bb * kept + b * b
        self._os = self._os * kept + objects * seconds
        self._bs = self._bs * kept + b * seconds

    def seconds(self, objects: float, size: float) -> float:
        """The time for that many more; -1 if nothing moves."""
        prior = PRIOR * (self._oo + self._bb)
        oo, ob, bb = self._oo + prior, self._ob - prior, self._bb + prior
        determinant = oo * bb - ob * ob
        if determinant <= 0:
            return -1.0
        an_object = max(0.0, self._os * bb - self._bs * ob) / determinant
        a_byte = max(0.0, self._bs * oo - self._os * ob) / determinant
        measured = an_object * self._objects + a_byte * self._bytes
        # Below one object per day nothing moves any more: the rest of the sums just has not decayed
        # yet.
        if measured <= 0 or self._objects + self._bytes < self._seconds / 86_400:
            return -1.0
        return self._seconds * (an_object * objects + a_byte * size / REQUEST) / measured


class Meter:
    """Follows one task from reading to reading.

    The bytes moved are those that the processes report: those that each has counted in the ledger
    (or as parts of uploads), plus those it has in progress. Both values are from the same moment,
    so nothing is missing or counted twice while an object changes from one to the other. What the
    ledger contains beyond that came from other processes, and seldom changes.
    """

    def __init__(self) -> None:
        # Bytes per second that the task may move; 0: unlimited.
        self.cap = 0.0
        self._before: Reading | None = None
        self._settled = 0.0  # bytes, since the first reading
        # Times, and what the ledger contained beyond the reports.
        self._others: deque[tuple[float, float]] = deque()
        self._seen: deque[tuple[float, float]] = deque()  # Times, and the bytes moved until then.
        self._lives: frozenset[tuple[str, float]] = frozenset()
        self._moved = 0.0
        self._rate, self._objects, self._cost = SmoothedRate(), SmoothedRate(), TimeCost()
        # Objects, bytes and seconds since the last step.
        self._step = (0.0, 0.0, 0.0)
        self._progressed = 0.0  # when something last settled or moved
        self._note = ""

    def update(self, now: Reading, *, moving: bool = True) -> None:
        """Process a reading. Not `moving`: the task is paused or waits for its window, so the time
        does not count."""
        before, self._before = self._before, now
        if before:
            self._settled += grown(before, now, "done_bytes")
        was, self._moved = self._moved, self._measure(now)
        self._note = "; ".join(sorted({gauge.note for gauge in _speaking(now) if gauge.note}))
        if before is None or not moving:
            self._progressed = now.at
            return
        ended = sum(grown(before, now, name) for name in ("done", "failed", "cancelled"))
        size = max(0.0, self._moved - was)
        if ended or size:
            self._progressed = now.at
        objects, sent, seconds = self._step
        self._step = (objects + ended, sent + size, seconds + now.at - before.at)
        if self._step[2] >= STEP:
            self._take_step()

    def _take_step(self) -> None:
        objects, size, seconds = self._step
        self._step = (0.0, 0.0, 0.0)
        self._rate.add(size, seconds)
        self._objects.add(objects, seconds)
        self._cost.add(objects, size, seconds)

    def _measure(self, now: Reading) -> float:
        """The bytes moved since the first reading, plus those that were in progress or done as
        parts before."""
        lives = frozenset((gauge.process, gauge.started) for gauge in now.gauges)
        # What it had counted is no longer reported.
        if self._lives - lives:
            self._others.clear()
        self._lives = lives
        counted = sum(gauge.counted for gauge in now.gauges)
        under_way = sum(gauge.under_way for gauge in _speaking(now))
        # The ledger is written before it is reported, so it is ahead for moments: the minimum is
        # correct.
        self._others.append((now.at, self._settled + now.parts - counted))
        _forget(self._others, now.at - SETTLING)
        moved = max(self._settled, min(each for _, each in self._others) + counted + under_way)
        # Between two reports, a part may be neither in progress nor counted.
        self._seen.append((now.at, moved))
        _forget(self._seen, now.at - RETRIED)
        return max(each for _, each in self._seen)

    def standing(self, run: Run) -> Standing:
        """The state of a run, from the latest reading."""
        counts = run.counts
        ended = counts.done + counts.failed + counts.cancelled
        unfinished = max(0.0, self._moved - self._settled) if ended < counts.enqueued else 0.0
        done = int(min(counts.enqueued_bytes, counts.done_bytes + unfinished))
        state, note = self._state(run)
        listing = run.state is RunState.LISTING
        return Standing(
            state=state,
            note=note,
            total=counts.enqueued,
            ended=ended,
            failed=counts.failed,
            total_bytes=counts.enqueued_bytes,
            done_bytes=max(done, counts.done_bytes),
            percent=-1 if listing else percent(counts, done),
            rate=self._rate.per_second,
            objects=self._objects.per_second,
            eta=-1.0 if listing else self._eta(counts, ended, done),
        )

    def summary(self, run: Run, depth: Depth, workers: int) -> "Summary":
        """The state of the run, for lists. While listing continues, the total is unknown."""
        from dth.hub.model import Summary

        standing = self.standing(run)
        return Summary(
            run=run.id,
            listing=run.state is RunState.LISTING,
            total=standing.total,
            replicated=run.counts.done,
            failed=standing.failed,
            total_bytes=standing.total_bytes,
            done_bytes=standing.done_bytes,
            rate=standing.rate,
            eta=standing.eta,
            workers=workers,
            waiting=depth.visible + depth.delayed,
            state=standing.state.value,
            note=standing.note,
        )

    def _state(self, run: Run) -> tuple[RunActivity, str]:
        counts = run.counts
        match run.state:
            case RunState.LISTING:
                heard = counts.listed or counts.dest_listed
                return RunActivity.LISTING, self._note or ("" if heard else FIRST_ANSWER)
            case _ if (
                run.kind is RunKind.SYNC and not counts.listed and run.state is not RunState.FAILED
            ):
                return RunActivity.EMPTY, NOTHING_FOUND
            case RunState.DONE | RunState.FAILED if counts.balanced:
                return RunActivity.ENDED, ""
            case RunState.DELETING if (
                counts.enqueued == counts.done + counts.failed + counts.cancelled
            ):
                return RunActivity.DELETING, self._note
        at = self._before.at if self._before else 0.0
        waits = self._note and at - self._progressed >= STILL
        return (RunActivity.WAITING if waits else RunActivity.COPYING), self._note

    def _eta(self, counts: Counts, ended: int, done: int) -> float:
        objects = counts.enqueued - ended
        if objects <= 0:
            return 0.0
        # Failed and cancelled objects leave bytes that will never be copied. Assume mean size.
        lost = (counts.failed + counts.cancelled) * counts.enqueued_bytes / counts.enqueued
        size = max(0.0, counts.enqueued_bytes - lost - done)
        eta = self._cost.seconds(objects, size)
        return max(eta, size / self.cap) if self.cap and eta >= 0 else eta


def with_last_run(summary: "Summary", before: "Summary", runs: Sequence[Run]) -> "Summary":
    """The summary with the ended runs among the newest `runs`, and those that the previous summary
    knew."""
    known = {each[0]: each for each in before.recent_runs}
    # A hub of before `recent_runs` kept only this one.
    if before.last_run and before.last_run not in known:
        known[before.last_run] = (
            before.last_run, before.last_result, before.last_ended, before.last_seconds
        )  # fmt: skip
    found = dict[int, tuple[int, str, float, float]]()
    for run in runs:
        if run.kind is RunKind.SYNC and (run.state is RunState.FAILED or not run.is_open):
            seconds = max(0.0, run.ended - run.started) if run.ended else 0.0
            found[run.id] = (run.id, _result(with_retries(run, runs)).value, run.ended, seconds)
    last = max(found or known, default=0)
    known |= found
    if not last:
        return summary
    number, result, ended, took = known[last]
    return replace(
        summary,
        last_run=number,
        last_result=result,
        last_ended=ended,
        last_seconds=took,
        recent_runs=[known[each] for each in sorted(known)][-RECENT_RUNS:],
    )


def _result(run: Run) -> Result:
    if run.state is RunState.FAILED:
        return Result.FAILED
    if run.counts.failed or run.counts.delete_failed:
        return Result.INCOMPLETE
    return Result.DONE if run.counts.listed else Result.EMPTY


def percent_of(summary: "Summary") -> int | None:
    """The progress of a run in percent, for lists; None if there is nothing to copy (yet)."""
    if summary.total <= 0:
        return None
    if summary.state == RunActivity.ENDED:  # even if some of it was cancelled
        return 100
    counts = Counts(
        enqueued=summary.total,
        done=summary.replicated,
        failed=summary.failed,
        enqueued_bytes=summary.total_bytes,
    )
    return percent(counts, summary.done_bytes)


def percent(counts: Counts, done_bytes: float) -> int:
    """The progress of a run in percent: by bytes, if there are any. Less than 100 until the last
    object is settled."""
    ended = counts.done + counts.failed + counts.cancelled
    if ended >= counts.enqueued:
        return 100
    done, whole = (
        (done_bytes, counts.enqueued_bytes) if counts.enqueued_bytes else (ended, counts.enqueued)
    )
    return min(99, math.floor(100 * done / whole))


def _speaking(now: Reading) -> Iterable[Gauge]:
    return (gauge for gauge in now.gauges if now.at - gauge.at < SILENT_AFTER)


def _forget(series: deque[tuple[float, float]], before: float) -> None:
    while len(series) > 1 and series[0][0] < before:
        series.popleft()


def grown(before: Reading, now: Reading, count: str) -> int:
    """The increase of a counter of the ledger, over all runs. A run that is not in `before` has
    begun since."""
    known = {run.id: getattr(run.counts, count) for run in before.runs}
    return sum(max(0, getattr(run.counts, count) - known.get(run.id, 0)) for run in now.runs)
