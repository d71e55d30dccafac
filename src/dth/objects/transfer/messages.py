"""The messages of a task: the content of one unit of work in the queue.

They are JSON with a version, and only the json module builds them, so no key can break them. Ids
are deterministic: the children of a message are `id.1`, `id.2`..., and the finder derives a
message's id from its first object.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dth.core.errors import UsageError
from dth.core.ports.queue import BadMessage, Outgoing
from dth.objects.transfer.notifications import read

VERSION = 1
# Bytes. Smaller objects are sent in packs.
PACK_BELOW = 1024 * 1024
PACK_OBJECTS = 100
PACK_BYTES = 64 * 1024 * 1024
PACK_ENCODED = 200_000  # bytes of JSON; SQS takes 256 KiB


@dataclass(slots=True)
class ObjectItem:
    """One object to transfer. `size` -1: not known yet. `etag` "": the current object, whatever it
    is. `fresh`: there was nothing at the destination when it was listed."""

    key: str
    size: int
    etag: str
    attempts: int = 0  # spent so far
    fresh: bool = False
    # Seconds since the epoch of the first failure; 0 if there was none.
    failing_since: float = 0.0
    # Of the last event known when its transfer began. It is not part of the message.
    sequencer: str | None = None


@dataclass(slots=True)
class ObjectsMessage:
    """One object, or a pack of small ones."""

    id: str
    run: int
    items: list[ObjectItem]


@dataclass(slots=True)
class PartMessage:
    """One part of a giant object's upload."""

    id: str
    run: int
    key: str
    upload_id: str
    etag: str
    size: int  # of the object
    part_size: int
    number: int  # from 1
    attempts: int = 0
    failing_since: float = 0.0


@dataclass(slots=True)
class DeleteMessage:
    """Destination keys without a source. Each is looked up at the source once more, then
    deleted."""

    id: str
    run: int
    keys: list[str]  # destination keys


@dataclass(slots=True)
class EventMessage:
    """An S3 event notification as it arrived, with any number of records."""

    id: str
    records: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class EventDeleteMessage:
    """A source object that was deleted, according to an event. Its copy is deleted if the source
    confirms it."""

    id: str
    # Source key.
    key: str
    attempts: int = 0
    failing_since: float = 0.0


@dataclass(slots=True)
class RangeMessage:
    """A part of a listing that the finder leaves to others. `range`: the id of its cursor."""

    id: str
    run: int
    range: str


Message = (
    ObjectsMessage | PartMessage | DeleteMessage | EventMessage | EventDeleteMessage | RangeMessage
)


def encode(message: Message) -> Outgoing:
    """The message in the form that is sent. json escapes non-ASCII characters and lone surrogates,
    so no key is damaged."""
    match message:
        case ObjectsMessage():
            items = [_fields(item) for item in message.items]
            body: dict[str, Any] = {"kind": "objects", "run": message.run, "objects": items}
        case PartMessage():
            body = {
                "kind": "part",
                "run": message.run,
                "key": message.key,
                "upload": message.upload_id,
                "etag": message.etag,
                "size": message.size,
                "partSize": message.part_size,
                "number": message.number,
                "attempts": message.attempts,
                "failingSince": message.failing_since,
            }
        case EventDeleteMessage():
            body = {
                "kind": "event-delete",
                "key": message.key,
                "attempts": message.attempts,
                "failingSince": message.failing_since,
            }
        case DeleteMessage():
            body = {"kind": "delete", "run": message.run, "keys": message.keys}
        case RangeMessage():
            body = {"kind": "range", "run": message.run, "range": message.range}
        case EventMessage():
            body = {"kind": "event", "Records": message.records}
    return Outgoing(message.id, json.dumps({"v": VERSION, **body}, separators=(",", ":")))


def _fields(item: ObjectItem) -> list[Any]:
    """The fields of an item, without trailing fields that have their default."""
    fields = [item.key, item.size, item.etag, item.attempts, item.fresh, item.failing_since]
    while len(fields) > 4 and not fields[-1]:
        fields.pop()
    return fields


def decode(id: str, body: str) -> Message:
    """Read a message. Other content is read as an S3 notification, in any form that `notifications`
    knows. Raises BadMessage."""
    try:
        fields = json.loads(body)
        if not isinstance(fields, dict) or "v" not in fields:
            notification = read(fields)
            if notification.confirm:
                raise BadMessage(
                    f"message {id} asks to confirm a subscription: open {notification.confirm}"
                )
            return EventMessage(id, notification.records)
        if fields["v"] != VERSION:
            raise BadMessage(
                f"message {id} is of version {fields['v']}, this worker reads {VERSION}"
            )
        match fields["kind"]:
            case "objects":
                return ObjectsMessage(
                    id, fields["run"], [ObjectItem(*item) for item in fields["objects"]]
                )
            case "part":
                return PartMessage(
                    id,
                    fields["run"],
                    fields["key"],
                    fields["upload"],
                    fields["etag"],
                    fields["size"],
                    fields["partSize"],
                    fields["number"],
                    fields["attempts"],
                    fields.get("failingSince", 0.0),
                )
            case "event-delete":
                return EventDeleteMessage(
                    id, fields["key"], fields["attempts"], fields["failingSince"]
                )
            case "delete":
                return DeleteMessage(id, fields["run"], fields["keys"])
            case "range":
                return RangeMessage(id, fields["run"], fields["range"])
            case "event":
                return EventMessage(id, fields["Records"])
            case kind:
                raise BadMessage(f"message {id} is of unknown kind {kind!r}")
    except (ValueError, KeyError, TypeError, RecursionError, UsageError) as error:
        raise BadMessage(f"message {id} cannot be read: {error}") from None


def pack(run: int, items: Iterable[ObjectItem]) -> Iterator[ObjectsMessage]:
    """The messages for items, in their order: small objects packed up to the limits of a pack,
    others alone."""
    held: list[ObjectItem] = []
    held_bytes = held_encoded = 0
    for item in items:
        if item.size < 0 or item.size >= PACK_BELOW:
            yield ObjectsMessage(message_id(run, item), run, [item])
            continue
        encoded = _encoded_length(item)
        if held and (
            len(held) == PACK_OBJECTS
            or held_bytes + item.size > PACK_BYTES
            or held_encoded + encoded > PACK_ENCODED
        ):
            yield ObjectsMessage(message_id(run, held[0]), run, held)
            held, held_bytes, held_encoded = [], 0, 0
        held.append(item)
        held_bytes += item.size
        held_encoded += encoded
    if held:
        yield ObjectsMessage(message_id(run, held[0]), run, held)


def message_id(run: int, first: ObjectItem) -> str:
    """The id of a message, from its first object. It is the same when a finder repeats a page."""
    digest = hashlib.sha256(
        f"{first.key}\0{first.etag}".encode("utf-8", "surrogateescape")
    ).hexdigest()
    return f"{run}-{digest[:20]}"


def child(message: ObjectsMessage, index: int, item: ObjectItem) -> ObjectsMessage:
    """A message for one object of another message. `index` starts from 1."""
    return ObjectsMessage(f"{message.id}.{index}", message.run, [item])


def part_message(
    run: int,
    key: str,
    upload_id: str,
    etag: str,
    size: int,
    part_size: int,
    number: int,
    attempts: int = 0,
    failing_since: float = 0.0,
) -> PartMessage:
    """A message for one part. Each attempt has a different id."""
    digest = hashlib.sha256(f"{key}\0{upload_id}".encode("utf-8", "surrogateescape")).hexdigest()
    suffix = f".{attempts}" if attempts else ""
    return PartMessage(
        f"{run}-p{digest[:20]}.{number}{suffix}",
        run,
        key,
        upload_id,
        etag,
        size,
        part_size,
        number,
        attempts,
        failing_since,
    )


def _encoded_length(item: ObjectItem) -> int:
    return len(json.dumps(item.key)) + len(item.etag) + 40
