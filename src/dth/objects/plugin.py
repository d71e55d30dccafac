"""What the hub knows of this plugin (entry point `dth.plugins`)."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from dth.core.errors import UsageError
from dth.core.hosts import host_of
from dth.core.ports.platform import Platform
from dth.core.ports.queue import Outgoing
from dth.core.ports.records import Enqueued, Page, Record, Records
from dth.core.ports.runs import Counts, RunKind, RunState
from dth.core.ports.status import Status
from dth.core.prices import Prices
from dth.objects.compare.merge import Place, overlaps
from dth.objects.forecast import estimate
from dth.objects.forecast.estimate import spent
from dth.objects.listing.filters import build
from dth.objects.parameters import DeleteMode, EventMode, S3Parameters, missing
from dth.objects.task import (
    check_storage_class,
    endpoint_of,
    key_map,
    object_filter,
    resolve_endpoints,
    secret_uses,
    shared_rates,
)
from dth.objects.transfer import ownership
from dth.objects.transfer.messages import EventMessage, encode
from dth.objects.transfer.notifications import event_id, parse

__all__ = [
    "LIVE",
    "THINGS",
    "TYPE",
    "Parameters",
    "buckets_written",
    "check",
    "check_side",
    "conflict",
    "deletes",
    "follows_events",
    "read_notification",
    "route",
    "spent",
    "unpriced",
]
__all__ += [
    "bandwidth",
    "budget",
    "capacity",
    "rates",
    "redrive",
    "secret_uses",
]

TYPE = "S3EC2"
THINGS = "objects"
Parameters = S3Parameters
LIVE = frozenset(
    {"maxBytesPerSecond", "maxRequestsPerSecond", "bandwidthTimetable", "transferWindow", "budget"}
)
SIDES = ("source", "destination")
BATCH = 1000  # records that are sent again in one transaction


def check(parameters: S3Parameters) -> None:
    """What the model alone cannot tell. Raises UsageError."""
    for side in SIDES:
        check_side(parameters, side)
    check_storage_class(parameters)
    build(object_filter(parameters))
    here, there = places(parameters)
    if overlaps(here, there):
        raise UsageError(
            f"destBucket: source and destination overlap ({shown(here)} and {shown(there)} in one store)"
        )


def check_side(parameters: S3Parameters, side: str) -> None:
    """What "source" or "destination" alone cannot do without. Raises UsageError."""
    for name in missing(parameters, side):
        raise UsageError(f"{name}: a bucket is needed")
    endpoint_of(parameters, side)


@dataclass(frozen=True, slots=True)
class Way:
    """Where objects come from and go to, as the hub keeps it."""

    source: str
    destination: str
    writes: str


def route(parameters: S3Parameters) -> Way:
    here, there = places(parameters)
    return Way(shown(here), shown(there), f"{there.store} {there.bucket}")


def capacity(parameters: S3Parameters) -> S3Parameters:
    return parameters


def bandwidth(parameters: S3Parameters) -> tuple[str, int | None]:
    return parameters.bandwidth_timetable, parameters.max_bytes_per_second


def rates(parameters: S3Parameters, cap: int | None) -> dict[str, float]:
    return shared_rates(parameters.model_copy(update={"max_bytes_per_second": cap}))


def budget(parameters: S3Parameters) -> float | None:
    return parameters.budget


def unpriced(parameters: S3Parameters, prices: Prices) -> str:
    """Whose prices are not known, in words; "" where all are."""
    return " and ".join(estimate.unpriced(*resolve_endpoints(parameters), prices))


def places(parameters: S3Parameters) -> tuple[Place, Place]:
    """What is read and what is written."""
    source, dest = resolve_endpoints(parameters)
    prefix = key_map(parameters).to_dest(parameters.src_prefix)
    return (
        Place(source.store, parameters.src_bucket, parameters.src_prefix),
        Place(dest.store, parameters.dest_bucket, prefix),
    )


def shown(place: Place) -> str:
    """A place as people read it."""
    return f"s3://{place.bucket}/{place.prefix}"


def buckets_written(parameters: S3Parameters) -> frozenset[str]:
    """The bucket may stand before the host of an endpoint as well: what the task calls so is a part of the key then."""
    _, dest = resolve_endpoints(parameters)
    hosts = [host_of(url) for url in dest.urls]
    before = {host[: place.start()] for host in hosts if (place := re.search(r"\.s3[.-]", host))}
    return frozenset({parameters.dest_bucket, parameters.dest_bucket.strip("/").lower(), *before})


def conflict(one: S3Parameters, other: S3Parameters) -> str:
    """Why two tasks may not run beside each other, as the end of a sentence about the second; "" where they may."""
    here, there = places(one)[1], places(other)[1]
    return f"writes {shown(there)} in the same store" if overlaps(here, there) else ""


def follows_events(parameters: S3Parameters) -> bool:
    return parameters.src_event is not EventMode.NO


def deletes(parameters: S3Parameters) -> bool:
    """Whether the task may delete at its destination."""
    return parameters.delete_mode is DeleteMode.MIRROR or parameters.src_event is EventMode.CREATE_AND_DELETE


@dataclass(frozen=True, slots=True)
class Taken:
    """What a store's notification amounts to: messages for the queue, and where a subscription is confirmed."""

    messages: list[Outgoing]
    confirm: str = ""


def read_notification(body: bytes) -> Taken:
    """Read what a store tells of its objects. Raises UsageError for what is no notification."""
    found = parse(body)
    if not found.records:
        return Taken([], found.confirm)
    return Taken([encode(EventMessage(event_id(found.records), found.records))], found.confirm)


async def redrive(
    platform: Platform, parameters: S3Parameters, *, keys: Sequence[str] = (), reason: str = ""
) -> int:
    """Send failed objects again, in a run of its own: all, those named, or those of one reason. What is there now is
    copied, whatever it was when it failed. Returns how many. Doing it again sends nothing twice: what was sent is
    PENDING, and no longer failed."""
    records, run, sent = platform.records, 0, 0
    open_runs = [each.id for each in await records.list_runs() if each.kind is RunKind.SYNC and each.is_open]
    async for failed in _failed(records, keys, reason):
        batch = await _unclaimed(records, failed, open_runs)
        if not batch:
            continue
        if not run:
            run = (await records.begin_run(RunKind.REDRIVE))[0].id
        messages = [ownership.again(run, record.key) for record in batch]
        enqueued = [
            Enqueued(record.key, record.size, record.etag, message.id)
            for record, message in zip(batch, messages, strict=True)
        ]
        await records.commit(run, Page(Counts(listed=len(batch)), enqueued=enqueued, messages=messages))
        sent += len(batch)
    if run:
        await records.set_run(run, RunState.TRANSFERRING)
    return sent


async def _unclaimed(records: Records, failed: list[Record], open_runs: Sequence[int]) -> list[Record]:
    """Those that no listing under way may have enqueued, or is about to: where a platform does not see what is in
    flight, they would be copied twice. The listing takes care of the others."""
    if records.overlapping:
        return failed
    keys = [record.key for record in failed]
    settled = {run: await records.settled(run, keys) for run in open_runs}
    return [
        record
        for record in failed
        if all(record.run >= run or record.key in settled[run] for run in open_runs)
    ]


async def _failed(records: Records, keys: Sequence[str], reason: str) -> AsyncIterator[list[Record]]:
    if keys:
        found = await records.get(keys)
        if failed := [record for record in found.values() if record.status is Status.FAILED]:
            yield failed
        return
    after = ""  # each once, even if it fails again meanwhile
    while batch := await records.page(status=Status.FAILED, reason=reason, after=after, limit=BATCH):
        yield batch
        after = batch[-1].key
