"""Where notifications go."""

import uuid
from dataclasses import asdict
from typing import Any

from dth.errors import UsageError
from dth.hub import notifications
from dth.hub.api.door import Answer, Call, mutation, query
from dth.hub.model import Role
from dth.hub.ports import Channel


@query(Role.ADMIN)
async def list_channels(call: Call) -> Answer:
    return [_channel(channel) for channel in await call.ports.notifications.channels()]


@mutation(Role.ADMIN)
async def put_channel(call: Call, *, input: dict[str, Any]) -> Answer:
    known = {event.value for event in notifications.Event}
    if unknown := sorted(set(input.get("events") or []) - known):
        raise UsageError(f"events: there is no {unknown[0]}; there are {', '.join(sorted(known))}")
    enabled = input.get("enabled")
    channel = Channel(
        id=input.get("id") or str(uuid.uuid4()),
        kind=input["kind"],
        target=input["target"],
        name=input.get("name") or "",
        events=tuple(input.get("events") or ()),
        enabled=True if enabled is None else enabled,
    )
    await call.ports.notifications.put_channel(channel)
    return _channel(channel)


@mutation(Role.ADMIN)
async def delete_channel(call: Call, *, id: str) -> Answer:
    await call.ports.notifications.remove_channel(id)
    return True


@mutation(Role.ADMIN)
async def test_channel(call: Call, *, id: str) -> Answer:
    return await call.ports.notifications.test_channel(id)


def _channel(channel: Channel) -> dict[str, Any]:
    return {**asdict(channel), "events": list(channel.events)}
