"""Who transfers an object: only the run in which its record is PENDING.

Messages may arrive more than once, late, and from runs that overlap. So a worker that takes a
message first checks which of its objects the run still waits for. If the task follows events, it
also reads the last event that took effect on each object: a transfer that began before a later
event may have read the old object, so its outcome ends nothing, and the object is transferred
again.
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace

from dth.core.errors import TransferError
from dth.core.ports.queue import Outgoing
from dth.core.ports.records import Outcome, Record, Records
from dth.core.ports.status import Status
from dth.core.ports.uploads import GiantUpload, UploadState
from dth.objects.parameters import EventMode, S3Parameters
from dth.objects.transfer.messages import (
    ObjectItem,
    ObjectsMessage,
    PartMessage,
    encode,
    message_id,
)
from dth.objects.transfer.relay import ObjectRoute


async def take(
    records: Records, message: ObjectsMessage, parameters: S3Parameters
) -> frozenset[str]:
    """Prepare the items of a message for their transfers. Returns the keys for which the run does
    not wait any more: they were settled, or belong to another run."""
    keys = [item.key for item in message.items]
    if parameters.src_event is not EventMode.NO:
        # Read before the transfer begins, because later events may be too late for it.
        found = await records.get(keys)
        for item in message.items:
            item.sequencer = found[item.key].sequencer if item.key in found else ""
    return frozenset(await records.settled(message.run, keys))


async def settle(
    records: Records, route: ObjectRoute, outcomes: Sequence[Outcome]
) -> list[Outgoing]:
    """Write the outcomes. Returns messages for the objects whose outcomes end nothing because an
    event came in between. Send them before the messages of their transfers are deleted."""
    await records.settle(outcomes)
    known = [outcome for outcome in outcomes if outcome.sequencer is not None]
    if not known:
        return []
    found = await records.get([outcome.key for outcome in known])
    messages: list[Outgoing] = []
    confirmed: list[Outcome] = []
    for outcome in known:
        record = found.get(outcome.key)
        if record is None or (record.status, record.run) != (Status.PENDING, outcome.run):
            continue
        if await _noticed(route, outcome, record):
            confirmed.append(replace(outcome, sequencer=record.sequencer))
        else:
            messages.append(again(outcome.run, outcome.key))
    return messages + (await settle(records, route, confirmed) if confirmed else [])


async def _noticed(route: ObjectRoute, outcome: Outcome, record: Record) -> bool:
    """Whether the transfer itself detected that its object had changed, and copied the current one.
    If the ETag is the one that was enqueued, maybe only the metadata changed: then the object is
    transferred again."""
    if outcome.status is not Status.DONE or outcome.etag.lower() == record.etag.lower():
        return False
    try:
        await route.source.head(outcome.key, etag=outcome.etag)
        return True
    except TransferError:
        return False


async def left_behind(records: Records, upload: GiantUpload, part: PartMessage) -> list[Outgoing]:
    """A message for the object of a discarded upload, if its run still waits for it."""
    if upload.state is not UploadState.ABORTED or await records.settled(upload.run, [upload.key]):
        return []
    item = ObjectItem(upload.key, -1, "", upload.attempts)
    return [encode(ObjectsMessage(f"{part.id.partition('.')[0]}.o", upload.run, [item]))]


def again(run: int, key: str) -> Outgoing:
    """A message for the current state of an object. Its id is unique, because a message with the
    usual id may be about to be deleted."""
    item = ObjectItem(key, -1, "")
    return encode(ObjectsMessage(f"{message_id(run, item)}.{secrets.token_hex(4)}", run, [item]))
