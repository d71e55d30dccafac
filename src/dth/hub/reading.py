"""A task at one moment, as its samples and its progress are made of it. It stands alone for commands, which measure no
more than that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dth.core.ports.gauges import Gauge
from dth.core.ports.queue import Depth
from dth.core.ports.runs import Run, RunKind


@dataclass(frozen=True, slots=True)
class Reading:
    """A task as it stands at one moment. `runs`: its newest ones, ended or not, so that the last of each is counted.
    `parts`: bytes of what is done of uploads that are not. Gauges are read first, then uploads, runs last: what was
    reported is in the ledger by then."""

    at: float
    gauges: Sequence[Gauge]
    runs: Sequence[Run]
    depth: Depth
    desired: int
    workers: int
    parts: int = 0


def with_retries(run: Run, runs: Iterable[Run]) -> Run:
    """A run as it stands by now: what failed in it and was tried again since (in runs of their own) counts by how that
    ended."""
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
            done=min(done, max(counts.done, counts.enqueued - failed - cancelled)),  # failures of older runs
            done_bytes=min(done_bytes, max(counts.done_bytes, counts.enqueued_bytes)),
        ),
    )
