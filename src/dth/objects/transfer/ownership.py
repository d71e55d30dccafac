"""Who transfers an object: the run in which its record is PENDING, and nobody else.

Messages come more than once, late, and from runs that overlap; so whoever takes one asks first which of its objects the
run still waits for. A task that follows events asks as well for the last event that took effect on each: a transfer
that began before a later one may have read the old object, so its outcome ends nothing and the object goes again.
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace

from dth.core.errors import TransferError
from dth.core.ports.queue import Outgoing
from dth.core.ports.records import Outcome, Record, Records
from dth.core.ports.status import Status
from dth.core.ports.uploads import Upload, UploadState
from dth.objects.parameters import EventMode, S3Parameters
from dth.objects.transfer.messages import Item, ObjectsMessage, PartMessage, encode, message_id
from dth.objects.transfer.relay import Route


async def take(records: Records, message: ObjectsMessage, parameters: S3Parameters) -> frozenset[str]:
    """Prepare the items of a message for their transfers. Returns the keys of those that its run waits for no more:
    they were settled, or are with another run."""
    keys = [item.key for item in message.items]
    if parameters.src_event is not EventMode.NO:
        # Read before the transfer begins: what comes later may come too late for it.
        found = await records.get(keys)
        for item in message.items:
            item.sequencer = found[item.key].sequencer if item.key in found else ""
    return frozenset(await records.settled(message.run, keys))


async def settle(records: Records, route: Route, outcomes: Sequence[Outcome]) -> list[Outgoing]:
    """Write the outcomes. Returns messages for the objects whose outcomes end nothing, because an event came in
    between: to be sent before the messages of their transfers are deleted."""
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


async def _noticed(route: Route, outcome: Outcome, record: Record) -> bool:
    """Whether the transfer noticed by itself that its object had changed, and copied what is there now. (One with the
    ETag that was enqueued may differ in its metadata alone: it goes again.)"""
    if outcome.status is not Status.DONE or outcome.etag == record.etag:
        return False
    try:
        await route.source.head(outcome.key, etag=outcome.etag)
        return True
    except TransferError:
        return False


async def left_behind(records: Records, upload: Upload, part: PartMessage) -> list[Outgoing]:
    """A message for the object of an upload that was thrown away, if its run waits for it still."""
    if upload.state is not UploadState.ABORTED or await records.settled(upload.run, [upload.key]):
        return []
    item = Item(upload.key, -1, "", upload.attempts)
    return [encode(ObjectsMessage(f"{part.id.partition('.')[0]}.o", upload.run, [item]))]


def again(run: int, key: str) -> Outgoing:
    """A message for an object as it is now. No other message has its id: one of that name may be about to go."""
    item = Item(key, -1, "")
    return encode(ObjectsMessage(f"{message_id(run, item)}.{secrets.token_hex(4)}", run, [item]))
