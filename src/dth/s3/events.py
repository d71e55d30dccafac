"""S3 event notifications: what was created or deleted at the source since, applied to the destination.

Notifications come at least once, late, and in any order. The sequencer decides: of two events on one key the greater
one is later; sequencers are hexadecimal texts of different lengths, compared after padding on the right, never as
numbers. A deletion counts only if the source confirms that the object is gone. The task's filters hold for events too,
as far as these tell: none names a storage class, and a deletion nothing but the key. `notifications` reads the forms
in which they are delivered.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote_plus

from dth.errors import SourceGone
from dth.platforms.ports import Counts, Enqueued, Page, Platform, RunKind
from dth.s3.filters import Filter, build
from dth.s3.listing import Entry
from dth.s3.messages import EventDeleteMessage, EventMessage, Item, ObjectsMessage, encode, message_id
from dth.s3.parameters import EventMode, S3Parameters
from dth.s3.relay import Route
from dth.s3.task import object_filter

SEQUENCER_LENGTH = 64  # characters; longer than any store's

_SEQUENCER = re.compile("[0-9A-F]*")
_ETAG = re.compile("[!#-~]+")


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one source object."""

    key: str
    created: bool
    sequencer: str  # padded
    time: str = ""  # as in `Entry.modified`
    size: int = -1
    etag: str = ""


def read_events(message: EventMessage, bucket: str) -> list[Event]:
    """The events of a notification that concern this bucket, in the order in which they happened. What is neither a
    creation nor a deletion (a test event, a restore) is left out."""
    events = [event for record in message.records if (event := _read(record, bucket))]
    return sorted(events, key=lambda event: (event.key, event.sequencer))


def _read(record: dict[str, Any], bucket: str) -> Event | None:
    try:
        name = str(record["eventName"]).removeprefix("s3:")
        described = record["s3"]
        if described["bucket"]["name"] != bucket:
            return None
        thing = described["object"]
        key = unquote_plus(thing["key"], errors="surrogateescape")
        key.encode("utf-8", "surrogateescape")  # or it is no key of any store
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    created = name.startswith("ObjectCreated:")
    if not key or (not created and not name.startswith("ObjectRemoved:")):
        return None
    # What no store writes counts as not given: these go into requests and tables.
    sequencer = str(thing.get("sequencer") or "").upper()
    etag = str(thing.get("eTag") or "").strip('"')
    if not _ETAG.fullmatch(etag):
        etag = ""
    size = thing.get("size")
    return Event(
        key=key,
        created=created,
        sequencer=(sequencer if _SEQUENCER.fullmatch(sequencer) else "").ljust(SEQUENCER_LENGTH, "0"),
        time=str(record.get("eventTime") or "")[:19].replace(" ", "T"),
        size=size if etag and type(size) is int and 0 <= size < 2**63 else -1,
        etag=etag,
    )


def _takes_part(event: Event, parameters: S3Parameters) -> bool:
    wanted = object_filter(parameters)
    by_key = build(Filter(include=wanted.include, exclude=wanted.exclude), parameters.src_prefix)
    by_properties = build(replace(wanted, include=(), exclude=(), storage_classes=frozenset()))
    entry = Entry(event.key, event.size, event.etag, event.time)
    return (
        event.key.startswith(parameters.src_prefix)
        and (by_key is None or by_key(entry))
        and (by_properties is None or event.size < 0 or by_properties(entry))
    )


async def apply(route: Route, platform: Platform, message: EventMessage) -> list[EventDeleteMessage]:
    """Apply a notification: creations become object messages of the task's run of events. Returns the deletions, each
    as a message to be sent. Doing it again changes nothing."""
    records = platform.records
    items: list[Item] = []
    deletions: list[EventDeleteMessage] = []
    for event in read_events(message, route.source.bucket):
        if not _takes_part(event, route.parameters):
            continue
        if not await records.apply_event(event.key, event.sequencer):
            # A later event took effect already.
            continue
        if event.created:
            items.append(Item(event.key, event.size, event.etag))
        elif route.parameters.src_event is EventMode.CREATE_AND_DELETE:
            deletions.append(EventDeleteMessage(_deletion_id(event), event.key))
    if items:
        run, _ = await records.begin_run(RunKind.EVENTS)
        # One an object: a pack would go by the name of its first, which may be in the queue with others.
        messages = [ObjectsMessage(message_id(run.id, item), run.id, [item]) for item in items]
        enqueued = [
            Enqueued(item.key, max(item.size, 0), item.etag, packed.id)
            for packed in messages
            for item in packed.items
        ]
        page = Page(
            Counts(listed=len(items)), enqueued=enqueued, messages=[encode(packed) for packed in messages]
        )
        await records.commit(run.id, page)
    return deletions


def _deletion_id(event: Event) -> str:
    digest = hashlib.sha256(f"{event.key}\0{event.sequencer}".encode("utf-8", "surrogateescape")).hexdigest()
    return f"x{digest[:20]}"


async def delete_if_gone(route: Route, key: str) -> None:
    """Delete the copy of a source object, if the source confirms that the object is gone."""
    try:
        await route.source.head(key)
    except SourceGone:
        await route.dest.delete(route.keys.to_dest(key))
