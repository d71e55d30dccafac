"""Channels: where notifications go."""

import uuid
from typing import Any, Self

from dth.core.errors import UsageError
from dth.hub import notifications
from dth.hub.api.answers import answers
from dth.hub.api.resolve import Call, mutation, query
from dth.hub.model import Role
from dth.hub.ports import Channel


@answers("Channel")
class ChannelAnswer:
    id: str
    kind: str
    target: str
    name: str
    events: list[str]
    enabled: bool

    @classmethod
    def of(cls, channel: Channel) -> Self:
        return cls(
            id=channel.id,
            kind=channel.kind,
            target=channel.target,
            name=channel.name,
            events=list(channel.events),
            enabled=channel.enabled,
        )


@query(Role.ADMIN)
async def list_channels(call: Call) -> list[ChannelAnswer]:
    return [ChannelAnswer.of(channel) for channel in await call.ports.notifications.channels()]


@mutation(Role.ADMIN)
async def put_channel(call: Call, *, input: dict[str, Any]) -> ChannelAnswer:
    known = {event.value for event in notifications.NotifiedEvent}
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
    return ChannelAnswer.of(channel)


@mutation(Role.ADMIN)
async def delete_channel(call: Call, *, id: str) -> bool:
    await call.ports.notifications.remove_channel(id)
    return True


@mutation(Role.ADMIN)
async def test_channel(call: Call, *, id: str) -> str:
    return await call.ports.notifications.test_channel(id)
