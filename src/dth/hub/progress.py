"""How far a run is and how long it will take, from what its ledger and its processes say.

The command and the hub both ask here, so that both say the same. Nothing here knows a clock or a platform: a `Meter` is
fed with readings.
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

SILENT_AFTER = 30.0  # seconds without a report, after which what a process had under way is as good as lost
SETTLING = 10.0  # seconds for which the ledger may be ahead of the reports
RETRIED = (
    2.5  # seconds after which bytes that vanished are believed to be lost: a report may have come between
)
STEP = 1.0  # seconds that are measured together: processes report each second
STILL = 5.0  # seconds without any progress, after which a run that says why waits
REQUEST = 128 * 1024  # bytes that take as long as one more request does, as long as nothing tells otherwise
PRIOR = 1e-3  # the weight of that against what was measured
FIRST_ANSWER = "waiting for the source's first answer"
NOTHING_FOUND = "nothing found at the source"


class State(StrEnum):
    """What a run is doing."""

    LISTING = "LISTING"
    COPYING = "COPYING"
    WAITING = "WAITING"  # nothing moves, and a note says why
    DELETING = "DELETING"
    EMPTY = "EMPTY"  # there was nothing at the source
    ENDED = "ENDED"


class Result(StrEnum):
    """What became of a run."""

    DONE = "DONE"  # what was to be copied was
    INCOMPLETE = "INCOMPLETE"  # some of it failed
    EMPTY = "EMPTY"  # there was nothing at the source
    FAILED = "FAILED"  # the run itself failed


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands. `done_bytes` holds what is under way; `percent` is -1 where the whole is not known, and `eta`
    (seconds) is -1 where it cannot be told."""

    state: State
    note: str
    total: int
    ended: int
    failed: int
    total_bytes: int
    done_bytes: int
    percent: int
    rate: float  # bytes a second
    objects: float  # a second
    eta: float


class Rate:
    """Units a second, smoothed: what was `HALF_LIFE` seconds ago counts half. Time that is not told does not count:
    say nothing while a task is paused, and it goes on with the rate it had."""

    HALF_LIFE = 30.0

    def __init__(self) -> None:
        self._sum = 0.0
        # Of what is in the sum: it fades alike, so that the rate is right from the first moment.
        self._weight = 0.0

    def add(self, amount: float, seconds: float) -> None:
        """`amount` units came in the `seconds` since the last call."""
        if seconds <= 0:
            return
        kept = 0.5 ** (seconds / self.HALF_LIFE)
        self._sum = self._sum * kept + amount / seconds * (1 - kept)
        self._weight = self._weight * kept + 1 - kept

    @property
    def per_second(self) -> float:
        return self._sum / self._weight if self._weight else 0.0


class Cost:
    """The time that objects and bytes take. Of many small objects it is the requests, of a few large ones the bytes;
    which of both it was is learned from the recent past by least squares. Where that does not tell, a request takes as
    long as `REQUEST` bytes do."""

    HALF_LIFE = 30.0

    def __init__(self) -> None:
        self._objects = self._bytes = self._seconds = 0.0  # sums, of which the past fades
        self._oo = self._ob = self._bb = self._os = self._bs = 0.0  # sums of products

    def add(self, objects: float, size: float, seconds: float) -> None:
        """So many objects ended, and so many bytes passed, in so many seconds."""
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
        """The time for so many more; -1 where nothing moves."""
        prior = PRIOR * (self._oo + self._bb)
        oo, ob, bb = self._oo + prior, self._ob - prior, self._bb + prior
        determinant = oo * bb - ob * ob
        if determinant <= 0:
            return -1.0
        an_object = max(0.0, self._os * bb - self._bs * ob) / determinant
        a_byte = max(0.0, self._bs * oo - self._os * ob) / determinant
        measured = an_object * self._objects + a_byte * self._bytes
        # Below one object a day nothing moves any more: what is left of the sums has merely not faded yet.
        if measured <= 0 or self._objects + self._bytes < self._seconds / 86_400:
            return -1.0
        return self._seconds * (an_object * objects + a_byte * size / REQUEST) / measured


class Meter:
    """Follows one task from reading to reading.

    The bytes that have moved are those that the processes report: what each has counted in the ledger (or as parts of
    uploads) and what it has under way. Both are of one moment, so that nothing is missing or counted twice while an
    object goes from one to the other. What the ledger holds beyond that came from others, and changes seldom.
    """

    def __init__(self) -> None:
        self.cap = 0.0  # bytes a second that the task may move; 0: no limit
        self._before: Reading | None = None
        self._settled = 0.0  # bytes, since the first reading
        self._others: deque[tuple[float, float]] = (
            deque()
        )  # when, and what the ledger held beyond the reports
        self._seen: deque[tuple[float, float]] = deque()  # when, and what had moved
        self._lives: frozenset[tuple[str, float]] = frozenset()
        self._moved = 0.0
        self._rate, self._objects, self._cost = Rate(), Rate(), Cost()
        self._step = (0.0, 0.0, 0.0)  # objects, bytes, seconds since the last step
        self._progressed = 0.0  # when something ended or moved last
        self._note = ""

    def update(self, now: Reading, *, moving: bool = True) -> None:
        """Take a reading. Not `moving`: the task is paused, or waits for its window; that time does not count."""
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
        """The bytes that have moved since the first reading, and what was under way or done in parts before."""
        lives = frozenset((gauge.process, gauge.started) for gauge in now.gauges)
        if self._lives - lives:  # what one had counted is not reported any more
            self._others.clear()
        self._lives = lives
        counted = sum(gauge.counted for gauge in now.gauges)
        under_way = sum(gauge.under_way for gauge in _speaking(now))
        # The ledger is written before it is reported: it is ahead for moments, and the least is right.
        self._others.append((now.at, self._settled + now.parts - counted))
        _forget(self._others, now.at - SETTLING)
        moved = max(self._settled, min(each for _, each in self._others) + counted + under_way)
        # Between two reports a part may be neither under way nor counted.
        self._seen.append((now.at, moved))
        _forget(self._seen, now.at - RETRIED)
        return max(each for _, each in self._seen)

    def standing(self, run: Run) -> Standing:
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
        """How the run stands, as lists show it. While it is being listed nobody knows how much there is to come."""
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

    def _state(self, run: Run) -> tuple[State, str]:
        counts = run.counts
        match run.state:
            case RunState.LISTING:
                heard = counts.listed or counts.dest_listed
                return State.LISTING, self._note or ("" if heard else FIRST_ANSWER)
            case _ if run.kind is RunKind.SYNC and not counts.listed and run.state is not RunState.FAILED:
                return State.EMPTY, NOTHING_FOUND
            case RunState.DONE | RunState.FAILED if counts.balanced:
                return State.ENDED, ""
            case RunState.DELETING if counts.enqueued == counts.done + counts.failed + counts.cancelled:
                return State.DELETING, self._note
        at = self._before.at if self._before else 0.0
        waits = self._note and at - self._progressed >= STILL
        return (State.WAITING if waits else State.COPYING), self._note

    def _eta(self, counts: Counts, ended: int, done: int) -> float:
        objects = counts.enqueued - ended
        if objects <= 0:
            return 0.0
        # What failed or was cancelled leaves bytes that will never come: of mean size, for all we know.
        lost = (counts.failed + counts.cancelled) * counts.enqueued_bytes / counts.enqueued
        size = max(0.0, counts.enqueued_bytes - lost - done)
        eta = self._cost.seconds(objects, size)
        return max(eta, size / self.cap) if self.cap and eta >= 0 else eta


def with_last_run(summary: "Summary", before: "Summary", runs: Sequence[Run]) -> "Summary":
    """The summary with the last run that has ended, of the newest `runs`; where none of them has, the one of before."""
    for run in runs:
        if run.kind is RunKind.SYNC and (run.state is RunState.FAILED or not run.is_open):
            seconds = max(0.0, run.ended - run.started) if run.ended else 0.0
            result = _result(with_retries(run, runs))
            return replace(
                summary, last_run=run.id, last_result=result, last_ended=run.ended, last_seconds=seconds
            )
    return replace(
        summary,
        last_run=before.last_run,
        last_result=before.last_result,
        last_ended=before.last_ended,
        last_seconds=before.last_seconds,
    )


def _result(run: Run) -> Result:
    if run.state is RunState.FAILED:
        return Result.FAILED
    if run.counts.failed or run.counts.delete_failed:
        return Result.INCOMPLETE
    return Result.DONE if run.counts.listed else Result.EMPTY


def percent_of(summary: "Summary") -> int | None:
    """How much of a run is through, as lists show it; None where there is nothing to copy (yet)."""
    if summary.total <= 0:
        return None
    if summary.state == State.ENDED:  # also where some of it was cancelled
        return 100
    counts = Counts(
        enqueued=summary.total,
        done=summary.replicated,
        failed=summary.failed,
        enqueued_bytes=summary.total_bytes,
    )
    return percent(counts, summary.done_bytes)


def percent(counts: Counts, done_bytes: float) -> int:
    """How much of a run is through: by bytes, where there are any. Never a hundred before the last object has ended."""
    ended = counts.done + counts.failed + counts.cancelled
    if ended >= counts.enqueued:
        return 100
    done, whole = (done_bytes, counts.enqueued_bytes) if counts.enqueued_bytes else (ended, counts.enqueued)
    return min(99, math.floor(100 * done / whole))


def _speaking(now: Reading) -> Iterable[Gauge]:
    return (gauge for gauge in now.gauges if now.at - gauge.at < SILENT_AFTER)


def _forget(series: deque[tuple[float, float]], before: float) -> None:
    while len(series) > 1 and series[0][0] < before:
        series.popleft()


def grown(before: Reading, now: Reading, count: str) -> int:
    """By how much a count of the ledger grew, over all runs. One that `before` did not know has begun since."""
    known = {run.id: getattr(run.counts, count) for run in before.runs}
    return sum(max(0, getattr(run.counts, count) - known.get(run.id, 0)) for run in now.runs)
