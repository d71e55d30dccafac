"""Reads the forms in which S3 event notifications are delivered into one form: the `Records` of
AWS.

| from | form |
|---|---|
| AWS S3, to a queue | `Records`, keys URL-encoded; a test event when notifications are set up |
| MinIO | the same, with `EventName` and `Key` in addition |
| Ceph | `Records` with keys that are not encoded, and sequencers that do not compare as text |
| SNS | an envelope whose `Message` is one of these forms; at first a request to confirm |
| EventBridge | one event with a `detail-type`, and a key that is not encoded |

A body may contain one notification or an array of them. Notifications that do not concern an
object's content (a restore, a change of tags) give no records, or records that `events` leaves out.
"""

import hashlib
import json
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from dth.core.errors import UsageError

# In the format of AWS: eventName, eventTime, s3.bucket.name, s3.object.key...
Record = dict[str, Any]

MAX_BODY = 1024 * 1024  # bytes
MAX_RECORDS = 1000
MAX_DEPTH = 4  # of arrays and envelopes

FAMILIES = {"Object Created": "ObjectCreated", "Object Deleted": "ObjectRemoved"}

_SUBSCRIBE_URL = re.compile(
    r"https://sns(-fips)?\.[a-z0-9-]+\.amazonaws\.(com|com\.cn|eu)/[!-~]{1,2000}"
)


@dataclass(frozen=True, slots=True)
class StoreNotification:
    """The content of a delivery."""

    records: list[Record]
    # The address where an operator confirms a subscription of SNS. The hub itself never opens it.
    confirm: str = ""


def parse(body: bytes) -> StoreNotification:
    """Read the body of a request. Raises UsageError if it is too large or not a notification."""
    if len(body) > MAX_BODY:
        raise UsageError(f"notification: {len(body)} bytes are too many; {MAX_BODY} are the most")
    # Ceph does not encode keys, so a body may contain bytes that are not UTF-8.
    return read(_load(body.decode("utf-8", "surrogateescape")))


def read(delivered: Any) -> StoreNotification:
    """Read parsed JSON. Raises UsageError."""
    records: list[Record] = []
    confirm = ""
    for each in _unwrap(delivered):
        if each.get("Type") == "SubscriptionConfirmation":
            confirm = _subscribe_url(each)
        else:
            records += _records(each)
        if len(records) > MAX_RECORDS:
            raise UsageError(f"notification: more than {MAX_RECORDS} records; send them in several")
    return StoreNotification(records, confirm)


def event_id(records: Sequence[Record]) -> str:
    """The id of the message for these records. It is the same if they are delivered again."""
    named = json.dumps([_name(record) for record in records])
    return f"event-{hashlib.sha256(named.encode()).hexdigest()[:32]}"


def _name(record: Record) -> Any:
    """What distinguishes an event from others: bucket, key, what happened, and the store's own
    order."""
    try:
        described = record["s3"]
        thing = described["object"]
        order = thing.get("sequencer") or record.get("eventTime")
        return [described["bucket"]["name"], thing["key"], record["eventName"], order]
    except (KeyError, TypeError, AttributeError):
        return record


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"notification: this is not JSON: {error}") from None


def _unwrap(delivered: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    if depth > MAX_DEPTH:
        raise UsageError(f"notification: arrays and envelopes are nested deeper than {MAX_DEPTH}")
    match delivered:
        case [_, *_]:
            for each in delivered:
                yield from _unwrap(each, depth + 1)
        case {"Type": "Notification", "Message": str(text)}:
            yield from _unwrap(_load(text), depth + 1)
        case {}:
            yield delivered
        case _:
            raise UsageError("notification: this is neither an object nor an array of objects")


def _records(delivered: dict[str, Any]) -> list[Record]:
    match delivered:
        case {"Records": list(records)}:
            return [_aligned(record) for record in records if isinstance(record, dict)]
        case {"detail-type": str(kind)}:
            return [_from_eventbridge(delivered, FAMILIES[kind])] if kind in FAMILIES else []
        case {"Event": "s3:TestEvent"} | {"Type": "UnsubscribeConfirmation"}:
            return []
    raise UsageError(
        "notification: this is none of S3; it has neither a list of Records nor a detail-type"
    )


def _aligned(record: Record) -> Record:
    """The record in the format of AWS."""
    if record.get("eventSource") != "ceph:s3":
        return record
    try:
        described = record["s3"]
        thing = {**described["object"]}
        thing["key"] = _encoded(thing["key"])
        thing["sequencer"] = _comparable(str(thing.get("sequencer") or ""))
    except (KeyError, TypeError, ValueError):
        # Not about an object: `events` leaves it out.
        return record
    return {**record, "s3": {**described, "object": thing}}


def _comparable(sequencer: str) -> str:
    """Ceph writes the time as it is in its memory: seconds, then nanoseconds, each with the lowest
    byte first. The result has the bytes reversed, so later times are greater."""
    if not re.fullmatch("[0-9A-Fa-f]{16}", sequencer):
        return sequencer
    seconds, nanoseconds = struct.unpack("<II", bytes.fromhex(sequencer))
    return f"{seconds:08X}{nanoseconds:08X}"


def _from_eventbridge(event: dict[str, Any], family: str) -> Record:
    try:
        detail = event["detail"]
        bucket, thing = detail["bucket"]["name"], detail["object"]
        described = {"key": _encoded(thing["key"])}
        for theirs, ours in (("size", "size"), ("etag", "eTag"), ("sequencer", "sequencer")):
            if theirs in thing:
                described[ours] = thing[theirs]
        # The part after the colon differs from S3's own names, but no code reads it.
        name = f"{family}:{detail.get('reason', '')}"
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageError(
            "notification: an event of EventBridge lacks detail.bucket.name or detail.object.key"
        ) from None
    return {
        "eventSource": event.get("source"),
        "eventTime": event.get("time"),
        "eventName": name,
        "s3": {"bucket": {"name": bucket}, "object": described},
    }


def _encoded(key: str) -> str:
    return quote(key, errors="surrogateescape")


def _subscribe_url(envelope: dict[str, Any]) -> str:
    url = str(envelope.get("SubscribeURL"))
    if not _SUBSCRIBE_URL.fullmatch(url):
        raise UsageError(
            "notification: SubscribeURL is not an address of Amazon SNS; it is not to be opened"
        )
    return url
