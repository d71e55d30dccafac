"""What a task would do, before it does it: objects, bytes, requests, time and cost, each as far as it can be known.

Counts come from the comparison itself, which goes through both listings as a run would, and are exact if it comes to
its end. Where it does not in the time that it has, they are what was seen so far: the least, and nobody knows the most.
Time follows from a few objects that are really read, and from what the task allows itself; cost from list prices.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from dth.errors import TransferError
from dth.platforms.ports import Counts
from dth.s3.comparison import Comparison
from dth.s3.estimate import Estimate, estimate
from dth.s3.finder import refuse_deletes
from dth.s3.listing import Entry
from dth.s3.parameters import MIB, DeleteMode, S3Parameters
from dth.s3.relay import Route
from dth.s3.retry import retry
from dth.s3.task import LANE_REQUESTS

LISTING_TIME = 240.0  # seconds that the comparison may take
SAMPLES = 12  # objects that are read
SAMPLE_SIZE = 8 * MIB  # bytes at most of each
SPREAD = (
    2.0  # what writing, other users and the hour of the day may make of a time that was measured by reading
)


@dataclass(frozen=True, slots=True)
class Range:
    """A number that is not sure: what it probably is, and between what. `high` None: nobody knows."""

    likely: float
    low: float
    high: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """`complete`: both sides were compared to the end, and the counts are exact. `seconds` is None where nothing could
    be read to measure by; `notes` say so."""

    complete: bool
    listed: int
    same: int
    objects: Range
    bytes: Range
    deletes: int
    archived: int
    requests: Range
    seconds: Range | None
    cost_between_regions: Range  # USD: requests and transfer
    cost_to_internet: Range
    estimate: Estimate
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The same, safe for JSON."""
        return {**asdict(self), "estimate": self.estimate.as_dict()}


@dataclass(frozen=True, slots=True)
class Speed:
    """What reading a few objects showed: seconds until an answer comes, and bytes a second of one request."""

    latencies: Sequence[float]
    rates: Sequence[float]


async def forecast(route: Route, workdir: Path, *, listing_time: float = LISTING_TIME) -> Forecast:
    """Compare both sides and read a few of the objects that would be copied; nothing is written. Raises what a
    comparison raises."""
    counts, size, large, parts = Counts(), 0, 0, 0
    sample: list[Entry] = []
    comparison = Comparison(route, workdir)
    complete = True
    deadline = time.monotonic() + listing_time
    async for decided in comparison:
        _add(counts, decided.counts)
        counts.enqueued += len(decided.transfer)
        for pick in decided.transfer:
            entry = pick.source
            size += max(0, entry.size)
            if entry.size > route.parameters.multipart_threshold:
                large += 1
                parts += -(-entry.size // route.parameters.part_size)
            _keep(sample, entry, counts.listed)
        if time.monotonic() > deadline:
            complete = False
            break
    notes = list(comparison.notes)
    deletes = _deletes(route.parameters, counts, notes, complete=complete)
    if not complete:
        notes.append(
            f"the comparison was ended after {listing_time:g} s, with {counts.listed} objects listed: these numbers "
            "are the least"
        )
    speed = await _measure(route, sample, notes)
    cost = estimate(counts, size, large, parts, deletes)
    requests = cost.list_requests + cost.get_requests + cost.put_requests
    return Forecast(
        complete=complete,
        listed=counts.listed,
        same=counts.same,
        objects=_counted(counts.enqueued, complete),
        bytes=_counted(size, complete),
        deletes=deletes,
        archived=counts.archived,
        requests=_counted(requests, complete),
        seconds=_seconds(route.parameters, counts.enqueued - large + parts, size, speed, complete),
        cost_between_regions=_counted(cost.requests_usd + cost.between_regions_usd, complete),
        cost_to_internet=_counted(cost.requests_usd + cost.to_internet_usd, complete),
        estimate=cost,
        notes=notes,
    )


def _add(total: Counts, more: Counts) -> None:
    for name in Counts.__dataclass_fields__:
        setattr(total, name, getattr(total, name) + getattr(more, name))


def _keep(sample: list[Entry], entry: Entry, seen: int) -> None:
    """A few of all that would be copied: the first ones, then ever fewer of the later ones in place of earlier ones."""
    if len(sample) < SAMPLES:
        sample.append(entry)
    elif hash((entry.key, seen)) % max(1, seen) < SAMPLES:
        sample[seen % SAMPLES] = entry


def _deletes(parameters: S3Parameters, counts: Counts, notes: list[str], *, complete: bool) -> int:
    if parameters.delete_mode is not DeleteMode.MIRROR or not complete or not counts.extra:
        return 0
    refusal = refuse_deletes(counts, parameters.delete_max_percent)
    if refusal:
        notes.append(refusal)
        return 0
    return counts.extra


async def _measure(route: Route, sample: Sequence[Entry], notes: list[str]) -> Speed:
    """Read the sample, four at a time. What cannot be read is told, and measures nothing."""
    latencies: list[float] = []
    rates: list[float] = []
    places = asyncio.Semaphore(4)

    async def one(entry: Entry) -> None:
        # A cap holds for this, too: no more than it lets through in a second.
        cap = route.parameters.max_bytes_per_second or SAMPLE_SIZE
        length = min(max(entry.size, 0), SAMPLE_SIZE, cap)
        async with places:
            try:
                began = time.monotonic()
                await retry(lambda: route.source.head(entry.key), attempts=2)
                answered = time.monotonic()
                latencies.append(answered - began)
                if length:
                    span = (0, length - 1) if length < entry.size else None
                    await retry(lambda: route.source.get(entry.key, size=entry.size, span=span), attempts=2)
                    rates.append(length / max(time.monotonic() - answered, 1e-6))
            except TransferError as error:
                notes.append(f"an object of the sample could not be read: {error}")

    await asyncio.gather(*map(one, sample))
    return Speed(latencies, rates)


def _seconds(parameters: S3Parameters, pieces: int, size: int, speed: Speed, complete: bool) -> Range | None:
    """The time that it takes: by requests, by bytes, by the caps, whichever is longest."""
    if not speed.latencies:
        return None if pieces else Range(0.0, 0.0, 0.0)
    workers = max(1, parameters.desired_capacity)
    lanes = LANE_REQUESTS * parameters.worker_number * workers
    by_requests = pieces * 2 * median(speed.latencies) / lanes  # a GET and a PUT
    streams = min(lanes, max(1, parameters.memory_budget // parameters.part_size) * workers)
    by_bytes = size / (median(speed.rates) * streams) * 2 if speed.rates else 0.0
    likely = max(by_requests, by_bytes)
    floor = 0.0
    if parameters.max_bytes_per_second:
        floor = max(floor, size / parameters.max_bytes_per_second)
    if parameters.max_requests_per_second:
        floor = max(floor, pieces / parameters.max_requests_per_second)
    most = max(likely * SPREAD, floor * 1.1) if complete else None
    return Range(max(likely, floor), max(likely / SPREAD, floor), most)


def _counted(value: float, complete: bool) -> Range:
    return Range(value, value, value if complete else None)
