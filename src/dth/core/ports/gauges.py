"""What each process reports of itself."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True)
class Gauge:
    """What one process reports of itself, replaced at each report. Byte and request counters only grow. `started` tells
    one life of a name from the next; the latencies are the mean milliseconds of the requests that were answered since
    the report before, 0 where there were none. `note` says what it waits for, "" if for nothing."""

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
    errors: int = 0  # requests that failed, other than for what is merely not there
    source_latency: float = 0.0
    dest_latency: float = 0.0
    counted: int = 0  # bytes that it has written into ledgers as done, or as done parts of uploads
    under_way: int = 0  # bytes of what it has in hand that have moved, and are not counted yet


class Gauges(Protocol):
    async def report(self, gauge: Gauge) -> None:
        """Replace what this process reported before. Others may see it some seconds later. The note becomes one line of
        text."""
        ...

    async def all(self) -> list[Gauge]:
        """What each process reported last, by its name. Who has said nothing for a day is left out."""
        ...
