"""The queue of one task: SQS, with the dead letters in a separate queue.

A message carries its id as an attribute. A message without one was not sent by this program: it is
an S3 event notification, direct or through SNS. Its id is that of SQS, and the worker reads it
unchanged (`s3.messages.decode`).
"""

import asyncio
import contextlib
import itertools
import math
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from dth.core.errors import StateError, UsageError
from dth.core.ports.queue import Delivery, Depth, Outgoing
from dth.platforms.aws.client import Aws, Refused, pauses, unbroken
from dth.platforms.aws.dynamo import each_of

T = TypeVar("T")

AT_ONCE = 10  # messages per call
# Bytes of a message, and of all messages in one call. Newer regions accept more.
MAX_BYTES = 256 * 1024
MAX_WAIT = 20  # seconds of a long poll
# Seconds. A message with a longer delay is sent again until it is due.
MAX_DELAY = 900
# Seconds for which dead letters are invisible after they were read.
DEAD_LEASE = 120
# Seconds between tries to purge: SQS allows one per minute.
PURGE_PAUSE = 5.0

ID, UNTIL, BEFORE = "id", "until", "receives"  # attributes of a message
NO_LEASE = frozenset({"ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"})
# First letter of a receipt: says which queue it belongs to.
_ALIVE, _DEAD = "q", "d"


class AwsQueue:
    """`ports.Queue` over SQS. `max_receives` is the value of the queue's redrive policy."""

    def __init__(self, aws: Aws, url: str, dead_url: str, max_receives: int = 5) -> None:
        self._aws = aws
        self._urls = {_ALIVE: url, _DEAD: dead_url}
        self._max_receives = max_receives
        self._polls: set[asyncio.Task[None]] = set()

    async def send(self, messages: Sequence[Outgoing], delay: float = 0.0) -> None:
        entries = [_entry(message, delay) for message in messages]
        await unbroken(self._send(_ALIVE, entries))

    async def receive(self, limit: int, lease: float, wait: float) -> list[Delivery]:
        receiving = asyncio.ensure_future(self._receive(limit, lease, wait))
        try:
            return await asyncio.shield(receiving)
        except asyncio.CancelledError:
            # A long poll cannot be cancelled: the messages that it still returns are given back
            # later.
            task = asyncio.ensure_future(self._give_back(receiving))
            self._polls.add(task)
            task.add_done_callback(self._polls.discard)
            raise

    async def extend(self, deliveries: Sequence[Delivery], lease: float) -> set[str]:
        lost = await self._by_receipt(
            "change_message_visibility_batch", deliveries, {"VisibilityTimeout": math.ceil(lease)}
        )
        dead = [each for each in deliveries if each.receipt.startswith(_DEAD)]
        return {delivery.id for delivery in (*lost, *dead)}

    async def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """SQS counts every receive, and a message that was received too often becomes a dead
        letter. So this sends a copy that knows how often the message was received, and then deletes
        the original. If the lease was lost, the original stays beside the copy, which does no
        harm."""
        alive = [each for each in deliveries if each.receipt.startswith(_ALIVE)]
        if alive:
            await unbroken(self._send_back(alive, delay, [each.receives - 1 for each in alive]))

    async def delete(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries:
            await unbroken(self._by_receipt("delete_message_batch", deliveries, {}))

    async def depth(self) -> Depth:
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        answer = await self._call("get_queue_attributes", _ALIVE, AttributeNames=names)
        return Depth(*(int(answer.get("Attributes", {}).get(name, 0)) for name in names))

    async def purge(self) -> None:
        for kind in (_ALIVE, _DEAD):
            deadline = time.monotonic() + 75
            while True:
                try:
                    await self._call("purge_queue", kind)
                    break
                except Refused as error:
                    if (
                        not error.code.endswith("PurgeQueueInProgress")
                        or time.monotonic() > deadline
                    ):
                        raise
                await asyncio.sleep(PURGE_PAUSE)

    async def receive_dead(self, limit: int) -> list[Delivery]:
        return await unbroken(self._take(_DEAD, limit, DEAD_LEASE, 0))

    async def close(self) -> None:
        """Give back the messages that polls still return."""
        while self._polls:
            await asyncio.gather(*self._polls, return_exceptions=True)

    # -------------------------------------------------------------------------------------- sending

    async def _send(self, kind: str, entries: list[dict[str, Any]]) -> None:
        await each_of(lambda batch: self._send_batch(kind, batch), list(_batches(entries)))

    async def _send_batch(self, kind: str, entries: list[dict[str, Any]]) -> None:
        for pause in pauses():
            answer = await self._call("send_message_batch", kind, Entries=entries)
            failed = {each["Id"]: each for each in answer.get("Failed", [])}
            if not failed:
                return
            for each in failed.values():
                if each.get("SenderFault"):
                    raise StateError(f"sqs does not take a message: {_said(each)}")
            entries = [entry for entry in entries if entry["Id"] in failed]
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        raise StateError(
            f"sqs does not take {len(entries)} messages: {_said(next(iter(failed.values())))}"
        )

    async def _send_back(
        self,
        deliveries: Sequence[Delivery],
        delay: float,
        receives: Sequence[int],
        to: str = _ALIVE,
    ) -> None:
        """Send copies with these receive counts, then delete the originals."""
        entries = [
            _entry(Outgoing(each.id, each.body), delay, count)
            for each, count in zip(deliveries, receives, strict=True)
        ]
        await self._send(to, entries)
        await self._by_receipt("delete_message_batch", deliveries, {})

    # ------------------------------------------------------------------------------------ receiving

    async def _receive(self, limit: int, lease: float, wait: float) -> list[Delivery]:
        deadline = time.monotonic() + wait
        while True:
            left = max(0.0, deadline - time.monotonic())
            if deliveries := await self._take(_ALIVE, limit, lease, left):
                return deliveries
            left = deadline - time.monotonic()
            if left <= 0:
                return []
            if left < 1:  # too short for a long poll
                await asyncio.sleep(min(left, 0.25))

    async def _take(self, kind: str, limit: int, lease: float, wait: float) -> list[Delivery]:
        taken: list[Delivery] = []
        while len(taken) < limit:
            answer = await self._call(
                "receive_message",
                kind,
                MaxNumberOfMessages=min(AT_ONCE, limit - len(taken)),
                VisibilityTimeout=math.ceil(lease),
                WaitTimeSeconds=0 if taken else min(MAX_WAIT, math.floor(wait)),
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
                MessageAttributeNames=[ID, UNTIL, BEFORE],
            )
            messages = answer.get("Messages", [])
            if not messages:
                break
            for message in messages:
                delivery = self._delivery(kind, message)
                if kind == _DEAD:
                    taken.append(delivery)
                elif (delay := float(_attribute(message, UNTIL)) - time.time()) > 0:
                    await self._send_back([delivery], delay, [delivery.receives - 1])
                elif delivery.receives > self._max_receives:
                    # Together with the receives before it was given back.
                    await self._send_back([delivery], 0, [0], to=_DEAD)
                else:
                    taken.append(delivery)
            if len(messages) < AT_ONCE and kind == _ALIVE:
                break
        return taken

    def _delivery(self, kind: str, message: dict[str, Any]) -> Delivery:
        name = _attribute(message, ID, message["MessageId"])
        receives = int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1))
        receives += int(_attribute(message, BEFORE))
        if kind == _DEAD:
            receives = self._max_receives  # reading the dead letters counts, too
        return Delivery(name, message["Body"], receives, kind + message["ReceiptHandle"])

    async def _give_back(self, receiving: asyncio.Future[list[Delivery]]) -> None:
        with contextlib.suppress(StateError):  # their lease expires
            await self.release(await receiving)

    # ------------------------------------------------------------------------------------- receipts

    async def _by_receipt(
        self, operation: str, deliveries: Sequence[Delivery], more: dict[str, Any]
    ) -> list[Delivery]:
        """Call the operation for each receipt. Returns the deliveries whose lease was lost."""
        deliveries = [each for each in deliveries if not (more and each.receipt.startswith(_DEAD))]
        pieces = [
            (kind, piece)
            for kind, group in itertools.groupby(deliveries, lambda each: each.receipt[0])
            for piece in _pieces(list(group), AT_ONCE)
        ]
        lost = await each_of(lambda each: self._receipts(operation, *each, more), pieces)
        return [delivery for piece in lost for delivery in piece]

    async def _receipts(
        self, operation: str, kind: str, deliveries: list[Delivery], more: dict[str, Any]
    ) -> list[Delivery]:
        lost: list[Delivery] = []
        left = {str(number): delivery for number, delivery in enumerate(deliveries)}
        for pause in pauses():
            entries = [
                {"Id": n, "ReceiptHandle": each.receipt[1:], **more} for n, each in left.items()
            ]
            answer = await self._call(operation, kind, Entries=entries)
            failed = {each["Id"]: each for each in answer.get("Failed", [])}
            left = {number: delivery for number, delivery in left.items() if number in failed}
            for number, each in failed.items():
                if each.get("Code", "").rpartition(".")[2] in NO_LEASE:
                    lost.append(left.pop(number))
                elif each.get("SenderFault"):
                    raise StateError(f"sqs refuses a receipt: {_said(each)}")
            if not left:
                return lost
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        raise StateError(f"sqs does not answer for {len(left)} messages")

    async def _call(self, operation: str, kind: str, **arguments: Any) -> dict[str, Any]:
        return await self._aws.call("sqs", operation, QueueUrl=self._urls[kind], **arguments)


def check(messages: Sequence[Outgoing]) -> None:
    """Raises the error that `send` would raise, for messages that SQS can never accept."""
    for message in messages:
        _entry(message, 0)


def _entry(message: Outgoing, delay: float, receives: int = 0) -> dict[str, Any]:
    attributes = {ID: {"DataType": "String", "StringValue": message.id}}
    if receives:
        attributes[BEFORE] = {"DataType": "Number", "StringValue": str(receives)}
    if delay > MAX_DELAY:
        attributes[UNTIL] = {"DataType": "Number", "StringValue": f"{time.time() + delay:.3f}"}
    entry = {
        "MessageBody": message.body,
        "DelaySeconds": min(MAX_DELAY, max(0, math.ceil(delay))),
        "MessageAttributes": attributes,
    }
    if (size := _size(entry)) > MAX_BYTES:
        raise UsageError(f"message {message.id} has {size} bytes, and SQS takes {MAX_BYTES}")
    return entry


def _size(entry: dict[str, Any]) -> int:
    attributes = entry["MessageAttributes"].items()
    return len(entry["MessageBody"].encode()) + sum(
        len(name) + len(each["DataType"]) + len(each["StringValue"].encode())
        for name, each in attributes
    )


def _batches(entries: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Numbered batches, each as large as one call allows."""
    batch: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) == AT_ONCE or size + _size(entry) > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append({"Id": str(len(batch)), **entry})
        size += _size(entry)
    if batch:
        yield batch


def _attribute(message: dict[str, Any], name: str, default: str = "0") -> str:
    return str(message.get("MessageAttributes", {}).get(name, {}).get("StringValue", default))


def _pieces(things: list[T], size: int) -> Iterator[list[T]]:
    for first in range(0, len(things), size):
        yield things[first : first + size]


def _said(failed: dict[str, Any]) -> str:
    return f"{failed.get('Code', '')} {failed.get('Message', '')}".strip()
