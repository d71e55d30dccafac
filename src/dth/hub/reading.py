"""A task at one moment, the input of samples and progress. A separate module for commands, which
measure nothing else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dth.core.ports.gauges import Gauge
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Run, RunKind


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of a task at one moment. `runs`: the newest runs, ended or not, so that the end of
    each is counted. `parts`: bytes done of unfinished uploads. Gauges are read first, then uploads,
    then runs, so that the ledger contains everything that was reported."""

    at: float
    gauges: Sequence[Gauge]
    runs: Sequence[Run]
    depth: Depth
    desired: int
    workers: int
    parts: int = 0


def with_retries(run: Run, runs: Iterable[Run]) -> Run:
    """A run in its current state: objects that failed in it and were retried later (in runs of
    their own) count by the result of the retry."""
    counts = run.counts
    again = [each.counts for each in runs if each.kind is RunKind.REDRIVE and each.id > run.id]
    failed = max(0, counts.failed - sum(each.enqueued - each.failed for each in again))
    cancelled = counts.cancelled + sum(each.cancelled for each in again)
    done = counts.done + sum(each.done for each in again)
    done_bytes = counts.done_bytes + sum(each.done_bytes for each in again)
    return replace(
        run,
        counts=replace(
            counts,
            failed=failed,
            cancelled=cancelled,
            # Failures of older runs.
            done=min(done, max(counts.done, counts.enqueued - failed - cancelled)),
            done_bytes=min(done_bytes, max(counts.done_bytes, counts.enqueued_bytes)),
        ),
    )
