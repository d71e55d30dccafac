"""What each process reports about itself."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Gauge:
    """What one process reports about itself. Each report replaces the one before. Byte and request
    counters only grow.

    `started` distinguishes two processes that had the same name one after the other. The latencies
    are the mean milliseconds of the requests answered since the previous report, or 0 if there were
    none. `note` says what the process waits for; "" for nothing.
    """

    process: str
    kind: str  # "finder" or "worker"
    at: float
    bytes_in: int = 0
    bytes_out: int = 0
    requests: int = 0
    throttled: int = 0
    in_flight: int = 0
    note: str = ""
    started: float = 0.0
    # Requests that failed. A missing object does not count.
    errors: int = 0
    source_latency: float = 0.0
    dest_latency: float = 0.0
    # Bytes that the process has recorded in ledgers as done, or as done parts of uploads.
    counted: int = 0
    # Bytes of the work in progress that have moved, but are not counted yet.
    under_way: int = 0


class Gauges(Protocol):
    """The gauges of a task's processes."""

    async def report(self, gauge: Gauge) -> None:
        """Replace the previous report of this process. Others may see it some seconds later. The
        note becomes one line of text."""
        ...

    async def all(self) -> list[Gauge]:
        """The last report of each process, ordered by name. Processes silent for a day are left
        out."""
        ...
