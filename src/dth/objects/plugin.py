"""The plugin for objects, as the hub sees it (entry point `dth.plugins`)."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import urlsplit

from dth.core.errors import UsageError
from dth.core.plugin import SIDES, AwsTask, Capacity, Ends, Notification, Plugin
from dth.core.ports.findings import Finding
from dth.core.ports.platform import Platform
from dth.core.ports.records import Enqueued, Page, Record, Records
from dth.core.ports.runs import Counts, RunKind, RunState
from dth.core.prices import Prices
from dth.core.secret_bindings import host_of
from dth.core.secrets import SecretUse
from dth.core.stores import Store
from dth.objects.compare.merge import ObjectsPlace, overlaps
from dth.objects.forecast import estimate
from dth.objects.listing.filters import build
from dth.objects.parameters import DeleteMode, EventMode, S3Parameters, missing
from dth.objects.stores import parameters_of_stores, settings_of_store, stores_in
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


class ObjectsPlugin(Plugin):
    """Tasks that move objects."""

    type = "S3EC2"
    things = "objects"
    parameters = S3Parameters
    processes = "dth.objects.processes"
    live = frozenset(
        {
            "maxBytesPerSecond",
            "maxRequestsPerSecond",
            "bandwidthTimetable",
            "transferWindow",
            "scheduleTimeZone",
            "budget",
        }
    )
    verifies = True
    compares = True
    looks = frozenset({"buckets", "browse", "object", "createBucket"})
    aws = AwsTask(
        "s3",
        ("objects", "parts", "state"),
        network={"ec2VpcId": "vpc", "ec2Subnets": "subnets", "publicIp": "public_ip"},
        code={"bundleArm64": "bundle_arm64", "bundleX8664": "bundle_x86_64"},
        workers="worker",
        ticks=True,
    )

    def check(self, parameters: S3Parameters) -> None:
        for side in SIDES:
            self.check_side(parameters, side)
        check_storage_class(parameters)
        build(object_filter(parameters))
        here, there = places(parameters)
        if overlaps(here, there):
            raise UsageError(
                f"destBucket: source and destination overlap ({shown(here)} and {shown(there)} "
                "in one store)"
            )

    def check_side(self, parameters: S3Parameters, side: str) -> None:
        for name in missing(parameters, side):
            raise UsageError(f"{name}: a bucket is needed")
        endpoint_of(parameters, side)

    def ends(self, parameters: S3Parameters) -> Ends:
        here, there = places(parameters)
        return Ends(
            shown_in(parameters.src_store, here),
            shown_in(parameters.dest_store, there),
            f"{there.store} {there.bucket}",
        )

    def stores(self, given: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        return stores_in(given)

    def store_parameters(self, side: str) -> Mapping[str, str]:
        return parameters_of_stores(side)

    def store_settings(self, store: Store, side: str) -> dict[str, str]:
        return settings_of_store(store, side)

    async def again(
        self, platform: Platform, parameters: S3Parameters, run: int, failed: Sequence[Record]
    ) -> Page:
        return await again(platform, run, failed)

    def comparison(
        self, parameters: S3Parameters, policy: str, sample: float | None
    ) -> dict[str, str]:
        from dth.objects.compare.job import how

        return how(parameters, policy, sample)

    async def copy(self, platform: Platform, chosen: AsyncIterator[Sequence[Finding]]) -> int:
        return await copy(platform, chosen)

    def secret_uses(
        self, parameters: S3Parameters, sides: Sequence[str] = SIDES
    ) -> list[SecretUse]:
        return secret_uses(parameters, sides)

    def buckets_written(self, parameters: S3Parameters) -> frozenset[str]:
        """Includes buckets that are part of an endpoint's host name. The bucket that the task names
        is then a part of the key."""
        _, dest = resolve_endpoints(parameters)
        hosts = [host_of(url) for url in dest.urls]
        before = {
            host[: place.start()] for host in hosts if (place := re.search(r"\.s3[.-]", host))
        }
        return frozenset(
            {parameters.dest_bucket, parameters.dest_bucket.strip("/").lower(), *before}
        )

    def conflict(self, one: S3Parameters, other: S3Parameters) -> str:
        here, there = places(one)[1], places(other)[1]
        return f"writes {shown(there)} in the same store" if overlaps(here, there) else ""

    def deletes(self, parameters: S3Parameters) -> bool:
        return deletes(parameters)

    def capacity(self, parameters: S3Parameters) -> Capacity:
        return Capacity(
            parameters.min_capacity, parameters.desired_capacity, parameters.max_capacity
        )

    def follows_events(self, parameters: S3Parameters) -> bool:
        return parameters.src_event is not EventMode.NO

    def read_notification(self, body: bytes) -> Notification:
        found = parse(body)
        if not found.records:
            return Notification([], found.confirm)
        return Notification(
            [encode(EventMessage(event_id(found.records), found.records))], found.confirm
        )

    def bandwidth(self, parameters: S3Parameters) -> tuple[str, int | None]:
        return parameters.bandwidth_timetable, parameters.max_bytes_per_second

    def rates(self, parameters: S3Parameters, cap: int | None) -> dict[str, float]:
        return shared_rates(parameters.model_copy(update={"max_bytes_per_second": cap}))

    def budget(self, parameters: S3Parameters) -> float | None:
        return parameters.budget

    def spent(
        self, parameters: S3Parameters, runs: Sequence[Counts], prices: Prices
    ) -> float | None:
        return estimate.spent(parameters, runs, prices)

    def unpriced(self, parameters: S3Parameters, prices: Prices) -> str:
        return " and ".join(estimate.unpriced(*resolve_endpoints(parameters), prices))


PLUGIN = ObjectsPlugin()


def places(parameters: S3Parameters) -> tuple[ObjectsPlace, ObjectsPlace]:
    """The places that the task reads and writes."""
    source, dest = resolve_endpoints(parameters)
    prefix = key_map(parameters).to_dest(parameters.src_prefix)
    return (
        ObjectsPlace(source.store, parameters.src_bucket, parameters.src_prefix),
        ObjectsPlace(dest.store, parameters.dest_bucket, prefix),
    )


def shown(place: ObjectsPlace) -> str:
    """A place in the form shown to people."""
    return f"s3://{place.bucket}/{place.prefix}"


def shown_in(store: str, place: ObjectsPlace) -> str:
    """A place in the form shown to people, with the name of its store, or else the host of its
    endpoint: buckets of the same name in two stores are usual. AWS has no host here."""
    name = store or urlsplit(place.store).netloc
    return f"{name}: {place.bucket}/{place.prefix}".rstrip("/") if name else shown(place)


def deletes(parameters: S3Parameters) -> bool:
    """Whether the task may delete at its destination."""
    return (
        parameters.delete_mode is DeleteMode.MIRROR
        or parameters.src_event is EventMode.CREATE_AND_DELETE
    )


async def again(platform: Platform, run: int, failed: Sequence[Record]) -> Page:
    """A page that sends the failed objects again. The current objects are copied, even if they have
    changed since they failed."""
    batch = await _unclaimed(platform.records, failed)
    messages = [ownership.again(run, record.key) for record in batch]
    enqueued = [
        Enqueued(record.key, record.size, record.etag, message.id)
        for record, message in zip(batch, messages, strict=True)
    ]
    return Page(Counts(listed=len(batch)), enqueued=enqueued, messages=messages)


async def copy(platform: Platform, chosen: AsyncIterator[Sequence[Finding]]) -> int:
    """Send objects in a separate run, whatever is known of them. Returns how many. The run counts
    those that are in flight as pending."""
    run = sent = 0
    async for batch in chosen:
        if not run:
            run = (await platform.records.begin_run(RunKind.CHOSEN))[0].id
        messages = [ownership.again(run, finding.key) for finding in batch]
        enqueued = [
            Enqueued(finding.key, max(finding.size, 0), "", message.id)
            for finding, message in zip(batch, messages, strict=True)
        ]
        await platform.records.commit(
            run, Page(Counts(listed=len(batch)), enqueued=enqueued, messages=messages)
        )
        sent += len(batch)
    if run:
        await platform.records.set_run(run, RunState.TRANSFERRING)
    return sent


async def _unclaimed(records: Records, failed: Sequence[Record]) -> Sequence[Record]:
    """The failed records that no listing in progress has enqueued or may enqueue. If the platform
    does not see what is in flight, the others would be copied twice. The listing takes care of
    them."""
    if records.overlapping:
        return failed
    keys = [record.key for record in failed]
    open_runs = [
        run.id for run in await records.list_runs() if run.kind is RunKind.SYNC and run.is_open
    ]
    settled = {run: await records.settled(run, keys) for run in open_runs}
    return [
        record
        for record in failed
        if all(record.run >= run or record.key in settled[run] for run in open_runs)
    ]
