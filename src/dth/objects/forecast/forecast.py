"""What a task will do, how long that takes and what it costs, before it starts.

Up to a million objects are listed and compared completely. Then the counts are exact. For more
objects, `survey` estimates their number. A sample of its pages is then compared like any others.
Pages are drawn in proportion to the number of objects that they represent.
"""

import asyncio
import contextlib
import math
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dth.core.errors import TransferError
from dth.core.parameters import MIB
from dth.core.ports.runs import Counts, Cursor
from dth.core.prices import Prices
from dth.objects.compare.comparison import Comparison, Decided
from dth.objects.compare.merge import Pick, Policy, Verdict
from dth.objects.finder import refuse_deletes
from dth.objects.forecast.estimate import (
    PAGE,
    PriceEstimate,
    Tariff,
    Way,
    cost_of,
    no_prices,
    tariff_of,
    unpriced,
    way,
)
from dth.objects.forecast.survey import Piece, Surveyed, Unsteerable, survey
from dth.objects.listing.pages import Listing
from dth.objects.listing.ranges import PARALLEL, OutOfOrder
from dth.objects.parameters import DeleteMode
from dth.objects.transfer.multipart import part_count, part_size_for
from dth.objects.transfer.relay import ObjectRoute, lanes

# Pages of a source. A source with more is sampled.
SAMPLE_PAGES = 1000
# Fixed, so that a repeated forecast gives the same result.
SEED = 1
COMPARED = 100  # pages drawn from a survey
# The quantile of the normal distribution for 95%.
NORMAL = 1.96
# Seconds for complete listing and comparing, before a sample is taken instead.
FULL_SECONDS = 120.0
# Objects kept to measure the speed with.
KEPT = 64
SMALL_READS = 6
STREAMS = 4  # parallel reads of a large object
STREAM = 4 * MIB  # bytes per read
MEASURING = 20.0  # seconds, at most
# Seconds of one core per small object.
OBJECT_CPU = 0.0005
# Objects per second that the finder lists and compares, at most.
LISTED = 10_000
# Seconds of listing that are worth a note.
LONG_LISTING = 4 * 3600.0
# By which factors the speed of a few reads may be wrong.
SLOWER, FASTER = 3.0, 2.0


@dataclass(frozen=True, slots=True)
class Amount:
    """A number with its band. `low` and `high` equal the value if it was counted."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Amount":
        """The amount, multiplied by a factor."""
        return Amount(self.value * factor, self.low * factor, self.high * factor)


def exactly(value: float) -> Amount:
    """An amount that was counted."""
    return Amount(value, value, value)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of a task's next run."""

    sampled: bool
    objects: Amount  # at the source, in scope
    same: Amount
    filtered: Amount
    archived: Amount
    refused: Amount
    # Objects that would be copied, and their bytes.
    copies: Amount
    copy_bytes: Amount
    deletes: Amount
    requests: dict[str, Amount]  # by kind
    # None: nothing could be read to measure the speed.
    seconds: Amount | None
    # In USD: requests, storage class, transfer, total. None if the prices of a store are unknown.
    cost: dict[str, Amount] | None
    way: Way
    compared: int  # objects that this is based on
    notes: list[str]
    prices: str  # where they come from

    def as_dict(self) -> dict[str, Any]:
        """The forecast as JSON can hold it."""
        return {**asdict(self), "way": self.way.value}


@dataclass(slots=True)
class _Sums:
    """The sums of comparing a range of keys."""

    listed: float = 0
    same: float = 0
    filtered: float = 0
    archived: float = 0
    refused: float = 0
    size: float = 0  # bytes that would be copied
    whole: float = 0  # objects copied in one piece
    parted: float = 0
    parts: float = 0
    # HEADs of the destination that settled a doubt.
    heads: float = 0
    dest_listed: float = 0
    extra: float = 0

    def add(self, decided: Decided, route: ObjectRoute) -> None:
        counts = decided.counts
        self.listed += counts.listed
        self.same += counts.same
        self.filtered += counts.filtered
        self.archived += counts.archived
        self.refused += len(decided.refused)
        self.dest_listed += counts.dest_listed
        self.extra += counts.extra
        self.heads += len(decided.remembered) + counts.unproven
        for pick in decided.transfer:
            size = max(0, pick.source.size)
            self.size += size
            self.heads += pick.verdict in (Verdict.ETAG, Verdict.TIME, Verdict.CHECKSUM)
            if size <= route.parameters.multipart_threshold:
                self.whole += 1
            else:
                self.parted += 1
                self.parts += part_count(size, part_size_for(size, route.parameters.part_size))


@dataclass(slots=True)
class _Examples:
    """Objects to be copied that are used for measuring: a random selection, and the largest."""

    some: list[Pick] = field(default_factory=list)
    largest: Pick | None = None
    seen: int = 0
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))

    def add(self, picks: Sequence[Pick]) -> None:
        for pick in picks:
            self.seen += 1
            if self.largest is None or pick.source.size > self.largest.source.size:
                self.largest = pick
            if len(self.some) < KEPT:
                self.some.append(pick)
            elif (place := self.dice.randrange(self.seen)) < KEPT:
                self.some[place] = pick


async def forecast(
    route: ObjectRoute,
    workdir: Path,
    *,
    sample_pages: int | None = SAMPLE_PAGES,
    prices: Prices | None = None,
) -> Forecast:
    """Forecast the next run of the task. A source with more than `sample_pages` pages of a thousand
    objects is sampled; None lists it completely, however long it takes. `workdir` holds data that
    is sorted on disk. Raises HubError if the stores cannot be listed."""
    notes: list[str] = []
    if route.parameters.compare_policy is Policy.CONTENT:
        notes.append(
            "objects of equal size count as the same here; the run reads and compares them"
        )
    examples = _Examples()
    sums: dict[str, Amount] | None = None
    compared = 0
    limit = math.inf if sample_pages is None else sample_pages * PAGE
    whole = await _whole(route, workdir, limit, examples, notes)
    if whole is None:
        examples = _Examples()
        try:
            sums, compared = await _sampled(route, workdir, examples, notes)
        except (Unsteerable, OutOfOrder) as problem:
            notes.append(
                str(problem)
                or "the source ignores where a listing is to start: it was listed in full"
            )
            examples = _Examples()
            whole = await _whole(route, workdir, math.inf, examples, notes)
    if whole is not None:
        sums = {each.name: exactly(getattr(whole, each.name)) for each in fields(whole)}
        compared = int(whole.listed)
    assert sums is not None
    return _forecast(
        route,
        sums,
        await _measure(route, examples),
        sampled=whole is None,
        compared=compared,
        notes=notes,
        prices=prices or {},
    )


# ---------------------------------------------------------------------------------------- comparing


class _Opened(Comparison):
    """A comparison whose source can be surveyed first, and that can be limited to some ranges of
    the source."""

    _open: tuple[Listing, Listing, bool] | None = None

    async def _listings(self) -> tuple[Listing, Listing, bool]:
        self._open = self._open or await super()._listings()
        return self._open

    async def survey(self) -> Surveyed:
        """Estimate the source. Raises Unsteerable."""
        try:
            return await survey((await self._listings())[0], SEED)
        except BaseException:
            for spool in self._spools:
                spool.close()
            raise

    def confine(self, pieces: Sequence[Piece]) -> dict[str, Piece]:
        """Compare only these pieces. Returns them by the ids of their cursors."""
        owners = {f"0.{number}": piece for number, piece in enumerate(pieces)}
        self._cursors = [
            Cursor(name, 0, piece.after, piece.upto, piece.after) for name, piece in owners.items()
        ]
        return owners


async def _whole(
    route: ObjectRoute, workdir: Path, limit: float, examples: _Examples, notes: list[str]
) -> _Sums | None:
    """The sums of all objects; None if there are more than `limit`, or if it takes too long."""
    whole_source = False
    while True:
        sums = _Sums()
        comparison = Comparison(route, workdir, whole_source=whole_source, sample=0)
        until = time.monotonic() + (FULL_SECONDS if limit < math.inf else math.inf)
        try:
            async with aclosing(aiter(comparison)) as pieces:
                async for decided in pieces:
                    sums.add(decided, route)
                    examples.add(decided.transfer)
                    if sums.listed > limit or time.monotonic() > until:
                        return None
        except OutOfOrder:
            whole_source = True
            continue
        notes += comparison.notes
        return sums


async def _sampled(
    route: ObjectRoute, workdir: Path, examples: _Examples, notes: list[str]
) -> tuple[dict[str, Amount], int]:
    """The same sums as estimates from a survey of the source, and how many objects were
    compared."""
    comparison = _Opened(route, workdir, sample=0)
    surveyed = await comparison.survey()
    pool = [piece for piece in surveyed.pieces if piece.count]
    drawn = random.Random(SEED).choices(
        pool, [piece.weight * piece.count for piece in pool], k=COMPARED
    )
    found = {piece: _Sums() for piece in drawn}
    owners = comparison.confine(sorted(found, key=lambda piece: piece.after))
    async with aclosing(aiter(comparison)) as pieces:
        async for decided in pieces:
            span, *rest = [cursor.id for cursor in decided.cursors]
            # The range was split.
            owners |= dict.fromkeys(rest, owners[span])
            found[owners[span]].add(decided, route)
            examples.add(decided.transfer)
    notes += comparison.notes
    notes.append(
        f"sampled: {surveyed.seen} objects were listed and "
        f"{sum(piece.count for piece in found)} compared; the bands hold in 95 of 100 cases, "
        "less often where few prefixes hold nearly everything"
    )
    least = max(float(surveyed.seen), surveyed.total - surveyed.error)
    total = _counted(surveyed.total, least, surveyed.total + surveyed.error)
    sums = {
        each.name: _share(
            total, [getattr(found[piece], each.name) / piece.count for piece in drawn]
        )
        for each in fields(_Sums)
    }
    return {**sums, "listed": total}, sum(piece.count for piece in found)


def _counted(value: float, low: float, high: float) -> Amount:
    return Amount(round(value), math.floor(low), math.ceil(high))


def _share(total: Amount, shares: Sequence[float]) -> Amount:
    """The share of each object, multiplied by the number of objects."""
    mean = sum(shares) / len(shares)
    deviation = math.sqrt(
        sum((each - mean) ** 2 for each in shares) / (len(shares) - 1) / len(shares)
    )
    value = total.value * mean
    error = math.hypot(total.value * NORMAL * deviation, mean * (total.high - total.value))
    return _counted(value, max(0.0, value - error), value + error)


# ---------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True, slots=True)
class _Speed:
    latency: float  # seconds of a GET of a small object
    # Bytes per second of a few large reads in parallel; 0 if there were none.
    rate: float
    reads: int


async def _measure(route: ObjectRoute, examples: _Examples) -> _Speed | None:
    """The source's speed, measured by reading a few of the objects. None if nothing could be read
    in time."""
    latencies: list[float] = []
    rate = 0.0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(MEASURING):
            small = [pick for pick in examples.some if 0 <= pick.source.size <= MIB]
            for pick in small[:SMALL_READS]:
                seconds = await _timed(route, pick, None)
                latencies += [seconds] if seconds else []
            large = examples.largest
            if large is not None and large.source.size > MIB:
                rate = await _rate(route, large)
    if not latencies and not rate:
        return None
    # The median, because the first read includes connecting.
    latency = sorted(latencies)[len(latencies) // 2] if latencies else STREAM / rate
    return _Speed(latency, rate, len(latencies) + (STREAMS if rate else 0))


async def _rate(route: ObjectRoute, pick: Pick) -> float:
    size = pick.source.size
    length = min(STREAM, size // STREAMS)
    began = time.monotonic()
    read = await asyncio.gather(
        *(_timed(route, pick, (n * length, (n + 1) * length - 1)) for n in range(STREAMS))
    )
    good = sum(1 for seconds in read if seconds)
    return good * length / (time.monotonic() - began)


async def _timed(route: ObjectRoute, pick: Pick, span: tuple[int, int] | None) -> float:
    """The seconds that the read took; 0 if it failed."""
    key, size, etag = pick.source.key, pick.source.size, pick.source.etag
    began = time.monotonic()
    try:
        await route.source.get(key, size=size, etag=etag, span=span)
    except TransferError:
        return 0.0
    return time.monotonic() - began


# ---------------------------------------------------------------------------------------- reckoning


def _forecast(
    route: ObjectRoute,
    sums: Mapping[str, Amount],
    speed: _Speed | None,
    *,
    sampled: bool,
    compared: int,
    notes: list[str],
    prices: Prices,
) -> Forecast:
    deletes = _deletes(route, sums, notes)
    lists = _combined(
        lambda s: math.ceil(s["listed"] / PAGE) + math.ceil(s["dest_listed"] / PAGE), sums
    )
    requests = {
        "LIST": lists,
        "GET": _combined(lambda s: s["whole"] + s["parts"], sums),
        "HEAD": _combined(
            lambda s: s["heads"] + s["parted"] + s["deletes"], {**sums, "deletes": deletes}
        ),
        "PUT": _combined(lambda s: s["whole"] + s["parts"], sums),
        "POST": sums["parted"].times(2),
        "DELETE": deletes,
    }
    copies = _combined(lambda s: s["whole"] + s["parted"], sums)
    seconds = _seconds(route, copies, sums["size"], lists, speed) if copies.high else exactly(0)
    if speed:
        notes.append(
            f"time by {speed.reads} reads of the source just now; what is written is taken to "
            "be as quick"
        )
    if (listing := _listing_seconds(lists, speed)) > LONG_LISTING:
        notes.append(
            f"listing and comparing takes {listing / 3600:.0f} hours by one process, and as long in "
            "each later run: workers that have nothing to do help, except on AWS; several tasks, "
            "each with a part of the prefixes, do it in parallel, and events (srcEvent) or a list of keys "
            "(srcManifest) make it unnecessary"
        )
    if seconds is None:
        notes.append(
            "no object could be read to measure the speed: there is no time in this forecast"
        )
    if route.parameters.transfer_window or route.parameters.bandwidth_timetable:
        notes.append("transfer windows and the bandwidth timetable are not in the time")
    source, dest = route.source.endpoint, route.dest.endpoint
    direction = way(source, dest)
    tariff = tariff_of(source, dest, prices, route.parameters.dest_storage_class)
    if direction in (Way.SAME_REGION, Way.BETWEEN_REGIONS):
        notes.append("workers outside AWS read over the internet: that costs $0.09 a GiB more")
    return Forecast(
        sampled=sampled,
        objects=sums["listed"],
        same=sums["same"],
        filtered=sums["filtered"],
        archived=sums["archived"],
        refused=sums["refused"],
        copies=copies,
        copy_bytes=sums["size"],
        deletes=deletes,
        requests=requests,
        seconds=seconds,
        cost=_costs(tariff, sums, requests) if tariff else None,
        way=direction,
        compared=compared,
        notes=notes,
        prices=tariff.prices if tariff else no_prices(unpriced(source, dest, prices)),
    )


def _combined(
    formula: Callable[[Mapping[str, float]], float], sums: Mapping[str, Amount]
) -> Amount:
    """The result of a formula on sums. Its band is the result if all sums are at the same end of
    theirs."""
    return Amount(
        *(
            formula({name: getattr(amount, bound) for name, amount in sums.items()})
            for bound in ("value", "low", "high")
        )
    )


def _deletes(route: ObjectRoute, sums: Mapping[str, Amount], notes: list[str]) -> Amount:
    if route.parameters.delete_mode is not DeleteMode.MIRROR:
        return exactly(0)
    extra = sums["extra"]
    counts = Counts(
        listed=round(sums["listed"].value),
        dest_listed=round(sums["dest_listed"].value),
        extra=round(extra.value),
    )
    if counts.extra and (refusal := refuse_deletes(counts, route.parameters.delete_max_percent)):
        notes.append(refusal)
        return exactly(0)
    return extra


def _costs(
    tariff: Tariff, sums: Mapping[str, Amount], requests: Mapping[str, Amount]
) -> dict[str, Amount]:
    costs = [_cost(tariff, sums, requests, bound) for bound in ("value", "low", "high")]
    return {
        name: Amount(*(round(getattr(cost, name), 6) for cost in costs))
        for name in ("requests", "storage_class", "transfer", "total")
    }


def _cost(
    tariff: Tariff, sums: Mapping[str, Amount], requests: Mapping[str, Amount], bound: str
) -> PriceEstimate:
    def at(amount: Amount) -> float:
        return float(getattr(amount, bound))

    return cost_of(
        tariff,
        at(sums["size"]),
        at(sums["whole"]) + at(sums["parted"]),
        lists=math.ceil(at(sums["listed"]) / PAGE),
        dest_lists=math.ceil(at(sums["dest_listed"]) / PAGE),
        parts=at(sums["parts"]),
        parted=at(sums["parted"]),
        heads=at(requests["HEAD"]),
    )


def _listing_seconds(lists: Amount, speed: _Speed | None) -> float:
    """How long one finder lists and compares."""
    latency = speed.latency if speed else 0.0
    return lists.value * max(PAGE / LISTED, latency / PARALLEL)


def _seconds(
    route: ObjectRoute, copies: Amount, size: Amount, lists: Amount, speed: _Speed | None
) -> Amount | None:
    """The duration: that of the slowest among the parallel activities (listing, single objects,
    bytes, caps)."""
    if speed is None:
        return None
    parameters = route.parameters
    workers = max(1, min(parameters.max_capacity, os.cpu_count() or 1))
    each_object = max(2 * speed.latency / (lanes(parameters) * workers), OBJECT_CPU / workers)

    def at(bound: str, factor: float) -> float:
        objects, amount, listed = (float(getattr(each, bound)) for each in (copies, size, lists))
        bodies = amount / speed.rate if speed.rate and not route.server_side else 0.0
        longest = factor * max(listed * speed.latency / PARALLEL, objects * each_object, bodies)
        if parameters.max_bytes_per_second:
            longest = max(longest, amount / parameters.max_bytes_per_second)
        if parameters.max_requests_per_second:
            longest = max(longest, objects / parameters.max_requests_per_second)
        return longest

    return Amount(at("value", 1.0), at("low", 1 / FASTER), at("high", SLOWER))
