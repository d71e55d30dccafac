"""S3 event notifications: applies to the destination what was created or deleted at the source.

Notifications arrive at least once, late, and in any order. The sequencer decides: of two events on
one key, the greater one is later. Sequencers are hexadecimal texts of different lengths. They are
padded on the right and compared as text, never as numbers. A deletion counts only if the source
confirms that the object is gone. The task's filters also apply to events, as far as the events
contain the data: none states a storage class, and a deletion states only the key. `notifications`
reads the forms in which events are delivered.
"""

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote_plus

from dth.core import clock
from dth.core.errors import SourceGone, Transient
from dth.core.ports.platform import Platform
from dth.core.ports.records import Enqueued, Page, Record, Records
from dth.core.ports.runs import Counts, RunKind
from dth.core.ports.status import Status
from dth.objects.listing.filters import Filter, build
from dth.objects.listing.pages import ListedObject
from dth.objects.parameters import EventMode, S3Parameters
from dth.objects.store.etags import same_etag
from dth.objects.task import object_filter
from dth.objects.transfer.messages import (
    EventDeleteMessage,
    EventMessage,
    ObjectItem,
    ObjectsMessage,
    encode,
    message_id,
)
from dth.objects.transfer.relay import ObjectRoute

SEQUENCER_LENGTH = 64  # characters; longer than any store's
# The end of the stored sequencer of a deletion.
DELETED = "-"
TIME = "%Y-%m-%dT%H:%M:%S"  # the format of `ObjectEvent.time`

_SEQUENCER = re.compile("[0-9A-F]*")
_ETAG = re.compile("[!#-~]+")


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """One change of one source object."""

    key: str
    created: bool
    sequencer: str  # padded
    time: str = ""  # as in `ListedObject.modified`
    size: int = -1
    etag: str = ""


def read_events(message: EventMessage, bucket: str) -> list[ObjectEvent]:
    """The events of a notification that concern this bucket, in the order in which they happened.
    Records that are neither creations nor deletions (test events, restores) are left out."""
    events = [event for record in message.records if (event := _read(record, bucket))]
    return sorted(events, key=lambda event: (event.key, event.sequencer))


def _read(record: dict[str, Any], bucket: str) -> ObjectEvent | None:
    try:
        name = str(record["eventName"]).removeprefix("s3:")
        described = record["s3"]
        if described["bucket"]["name"] != bucket:
            return None
        thing = described["object"]
        key = unquote_plus(thing["key"], errors="surrogateescape")
        # Raises an error if no store could have this key.
        key.encode("utf-8", "surrogateescape")
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    created = name.startswith("ObjectCreated:")
    if not key or (not created and not name.startswith("ObjectRemoved:")):
        return None
    # Values that no store writes count as missing, because these go into requests and tables.
    sequencer = str(thing.get("sequencer") or "").upper()
    etag = str(thing.get("eTag") or "").strip('"')
    if not _ETAG.fullmatch(etag):
        etag = ""
    size = thing.get("size")
    return ObjectEvent(
        key=key,
        created=created,
        sequencer=(sequencer if _SEQUENCER.fullmatch(sequencer) else "").ljust(
            SEQUENCER_LENGTH, "0"
        ),
        time=str(record.get("eventTime") or "")[:19].replace(" ", "T"),
        size=size if etag and type(size) is int and 0 <= size < 2**63 else -1,
        etag=etag,
    )


def _takes_part(event: ObjectEvent, parameters: S3Parameters) -> bool:
    wanted = object_filter(parameters)
    by_key = build(Filter(include=wanted.include, exclude=wanted.exclude), parameters.src_prefix)
    by_properties = build(replace(wanted, include=(), exclude=(), storage_classes=frozenset()))
    entry = ListedObject(event.key, event.size, event.etag, event.time)
    return (
        event.key.startswith(parameters.src_prefix)
        and (by_key is None or by_key(entry))
        and (by_properties is None or event.size < 0 or by_properties(entry))
    )


async def apply(
    route: ObjectRoute, platform: Platform, message: EventMessage
) -> list[EventDeleteMessage]:
    """Apply a notification. Creations become object messages of the task's run of events. Returns
    the deletions, each as a message to send. Applying it again changes nothing.

    For an object in flight, the event is only remembered: the worker that transfers it detects that
    its outcome was overtaken, and transfers the object again or deletes it. So only one process
    works on an object at a time, and the last one sees the object's last state."""
    records = platform.records
    events = [
        each
        for each in read_events(message, route.source.bucket)
        if _takes_part(each, route.parameters)
    ]
    found = await records.get([event.key for event in events])
    in_flight = {key: record for key, record in found.items() if record.status is Status.PENDING}
    items: dict[str, ObjectItem] = {}
    deletions: dict[str, EventDeleteMessage] = {}
    for event in events:
        if event.created and event.key in in_flight and _covered(event, in_flight[event.key]):
            continue
        if not await records.apply_event(event.key, _moment(event)):
            # A later event already took effect.
            continue
        if event.created:
            items[event.key] = ObjectItem(event.key, event.size, event.etag)
            deletions.pop(event.key, None)
        else:
            items.pop(event.key, None)
            deletions[event.key] = EventDeleteMessage(f"x-{secrets.token_hex(8)}", event.key)
    if items:
        run, _ = await records.begin_run(RunKind.EVENTS)
        await _enqueue(records, run.id, list(items.values()))
    follows = route.parameters.src_event is EventMode.CREATE_AND_DELETE
    return list(deletions.values()) if follows else []


async def apply_deletion(route: ObjectRoute, platform: Platform, key: str) -> None:
    """Delete the copy of an object that is gone according to an event. An object in flight is left
    to the worker that transfers it."""
    records = platform.records
    record = (await records.get([key])).get(key)
    in_hand = record is not None and record.status is Status.PENDING
    if not in_hand and await follow_deletion(route, key):
        run, _ = await records.begin_run(RunKind.EVENTS)
        await _enqueue(records, run.id, [ObjectItem(key, -1, "")])


async def _enqueue(records: Records, run: int, items: Sequence[ObjectItem]) -> None:
    """Send one message per object. The id of a pack comes from its first object, so it may be the
    id of another pack in the queue. The same applies to messages with the same object and ETag, so
    each gets an id of its own."""
    messages = [
        ObjectsMessage(f"{message_id(run, item)}.{secrets.token_hex(4)}", run, [item])
        for item in items
    ]
    page = Page(Counts(listed=len(items)), messages=[encode(message) for message in messages])
    page.enqueued = [
        Enqueued(item.key, max(item.size, 0), item.etag, message.id)
        for message, item in zip(messages, items, strict=True)
    ]
    await records.commit(run, page)


def _covered(event: ObjectEvent, record: Record) -> bool:
    """Whether the transfer in flight is about exactly this object: it was enqueued after the
    event."""
    enqueued = time.strftime(TIME, time.gmtime(record.updated))
    return same_etag(event.etag, record.etag) and event.time <= enqueued


def _moment(event: ObjectEvent) -> str:
    """The value that orders the events of one key, and marks deletions. If a store has no
    sequencers, events take effect in the order in which they arrive."""
    moment = event.sequencer
    if not moment.strip("0"):
        moment = f"{int(clock.now() * 1e9):X}".zfill(20).ljust(SEQUENCER_LENGTH, "0")
    return moment if event.created else moment + DELETED


def was_deleted(sequencer: str | None) -> bool:
    """Whether the last event on an object was its deletion."""
    return (sequencer or "").endswith(DELETED)


async def follow_deletion(route: ObjectRoute, key: str) -> bool:
    """Delete the copy of an object whose source is gone, if the task follows deletions. Returns
    whether the source exists again. Then the deleted copy may have been its newest one, so the
    object must be transferred."""
    if route.parameters.src_event is not EventMode.CREATE_AND_DELETE or not await _is_gone(
        route, key
    ):
        return False
    if await route.source.is_listed(key):
        raise Transient(
            f"key {key!r} is listed at the source, but cannot be read: its copy is kept",
            code="Unreadable",
        )
    await route.dest.delete(route.keys.to_dest(key))
    return not await _is_gone(route, key)


async def _is_gone(route: ObjectRoute, key: str) -> bool:
    try:
        await route.source.head(key)
        return False
    except SourceGone:
        return True
