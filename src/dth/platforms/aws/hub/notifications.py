"""Notifications on AWS: an outbox in the hub's table, emptied every minute through webhooks and the
hub's topic.

In the hub table:

| pk | sk | |
|---|---|---|
| `channel` | its id | where notifications go |
| `outbox` | channel and number | a notice waiting to be sent |
| `told` | a notification with `once` | prevents repetition; expires |

An e-mail address is a subscription of the topic. It receives only the messages of its channel,
after its owner has confirmed it.
"""

import hashlib
import json
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dth.core.errors import Conflict, HubError, NotFound
from dth.core.retry_policy import RetryPolicy
from dth.hub.model import Task
from dth.hub.notifications import (
    Message,
    Notice,
    NotifiedEvent,
    check_channel,
    compose,
    line,
    notice,
    trial,
)
from dth.hub.ports import Channel
from dth.hub.webhooks import Post, post_once, post_webhook
from dth.platforms.aws.client import Aws, Refused
from dth.platforms.aws.dynamo import Dynamo, TransactItem
from dth.platforms.aws.items import Item

AGAIN = RetryPolicy(first=60.0, last=3600.0)
# Seconds after which the hub gives up on a notice.
GIVE_UP = 86_400.0
# Seconds during which a notification with `once` is not repeated.
TOLD_ONCE = 90 * 86_400.0
MAX_SUBJECT = 99  # characters that SNS accepts

log = logging.getLogger(__name__)


class AwsNotifications:
    """`hub.ports.Notifications`. `topic`: ARN of the hub's topic. `deliver` is called every
    minute."""

    def __init__(self, aws: Aws, dynamo: Dynamo, topic: str, post: Post = post_once) -> None:
        self._aws = aws
        self._dynamo = dynamo
        self._topic = topic
        self._post = post

    async def channels(self) -> list[Channel]:
        items = self._dynamo.query("hub", "#pk = :pk", {"pk": "channel"})
        return [_channel(item) async for item in items]

    async def put_channel(self, channel: Channel) -> None:
        check_channel(channel)
        before = await self._dynamo.get("hub", _channel_key(channel.id))
        subscription = before.get("subscription", "")
        if (before.get("kind"), before.get("target")) != (channel.kind, channel.target):
            await self._unsubscribe(subscription)
            subscription = await self._subscribe(channel) if channel.kind == "email" else ""
        values = asdict(channel) | {
            "events": json.dumps(channel.events),
            "subscription": subscription,
        }
        await self._dynamo.put("hub", {**_channel_key(channel.id), **values})

    async def remove_channel(self, id: str) -> None:
        """Raises NotFound."""
        item = await self._dynamo.get("hub", _channel_key(id)) if id else {}
        if not item:
            raise NotFound(f"there is no channel {id!r}")
        await self._unsubscribe(item.get("subscription", ""))
        await self._dynamo.delete("hub", _channel_key(id))

    async def test_channel(self, id: str) -> str:
        """Raises NotFound."""
        found = {each.id: each for each in await self.channels()}
        if id not in found:
            raise NotFound(f"there is no channel {id!r}")
        return await self._try(found[id], compose([trial()]), uuid.uuid4().hex)

    async def notify(self, event: str, task: Task, text: str, *, once: str = "") -> None:
        """A task's own `alarmEmail` receives failures from the topic of the task's stack."""
        new = notice(NotifiedEvent(event), task, text)
        wanting = [
            each
            for each in await self.channels()
            if each.enabled and (not each.events or new.event in each.events)
        ]
        waiting = [TransactItem("hub", item=_outbox_item(each.id, new)) for each in wanting]
        if once:
            expires = int(time.time() + TOLD_ONCE)
            told = {
                "pk": "told",
                "sk": hashlib.sha256(once.encode()).hexdigest(),
                "expires": expires,
            }
            waiting.insert(0, TransactItem("hub", item=told, condition="attribute_not_exists(#pk)"))
        if waiting:
            await self._dynamo.transact(waiting)  # refused if sent before

    async def deliver(self) -> None:
        """Send the waiting notices, one message per channel. A message that does not arrive waits
        for its next try."""
        now = time.time()
        waiting: dict[str, list[Item]] = defaultdict(list)
        async for item in self._dynamo.query("hub", "#pk = :pk", {"pk": "outbox"}):
            waiting[item["channel"]].append(item)
        channels = {each.id: each for each in await self.channels() if each.enabled}
        for name, items in waiting.items():
            if name not in channels:
                await self._drop(items)
            elif max(item["due"] for item in items) <= now:
                await self._empty(channels[name], items, now)

    async def _empty(self, channel: Channel, items: Sequence[Item], now: float) -> None:
        message = compose([_notice(item) for item in items])
        name = hashlib.sha256(" ".join(item["sk"] for item in items).encode()).hexdigest()[:32]
        error = await self._try(channel, message, name)
        if not error:
            await self._drop(items)
            return
        log.warning("channel %s does not take notifications: %s", channel.name or channel.id, error)
        old = [item for item in items if now - item["at"] >= GIVE_UP]
        await self._drop(old)
        kept = [item for item in items if item not in old]
        pause = AGAIN.pause(1 + max([item["attempts"] for item in kept], default=0))
        again = [{**item, "attempts": item["attempts"] + 1, "due": now + pause} for item in kept]
        await self._dynamo.write_many("hub", puts=again)

    async def _drop(self, items: Sequence[Item]) -> None:
        await self._dynamo.write_many(
            "hub", deletes=[{"pk": item["pk"], "sk": item["sk"]} for item in items]
        )

    async def _try(self, channel: Channel, message: Message, name: str) -> str:
        """Send a message once. Returns "", or one line that says why it did not arrive."""
        try:
            if channel.kind == "email":
                await self._publish(channel.id, message)
            else:
                await post_webhook(channel.target, message, name, self._post)
        except HubError as error:
            return line(str(error))
        return ""

    # ------------------------------------------------------------------------------------ the topic

    async def _publish(self, channel: str, message: Message) -> None:
        subject = message.subject.encode("ascii", "replace").decode()[:MAX_SUBJECT]
        await self._aws.call(
            "sns",
            "publish",
            TopicArn=self._topic,
            Subject=subject,
            Message=message.text,
            MessageAttributes={"channel": {"DataType": "String", "StringValue": channel}},
        )

    async def _subscribe(self, channel: Channel) -> str:
        chosen = {"FilterPolicy": json.dumps({"channel": [channel.id]})}
        try:
            answer = await self._aws.call(
                "sns",
                "subscribe",
                TopicArn=self._topic,
                Protocol="email",
                Endpoint=channel.target,
                Attributes=chosen,
                ReturnSubscriptionArn=True,
            )
        except Refused as error:
            if "already exists" in str(error):
                raise Conflict(
                    f"target: {channel.target} is another channel's; change that one"
                ) from None
            raise
        return str(answer["SubscriptionArn"])

    async def _unsubscribe(self, subscription: str) -> None:
        if not subscription:
            return
        try:
            await self._aws.call("sns", "unsubscribe", SubscriptionArn=subscription)
        except Refused as error:
            # A subscription that nobody has confirmed cannot be removed; it expires by itself.
            log.info("subscription %s: %s", subscription, error)


def _channel_key(id: str) -> Item:
    return {"pk": "channel", "sk": id}


def _channel(item: Item) -> Channel:
    texts: dict[str, Any] = {name: item.get(name, "") for name in ("kind", "target", "name")}
    return Channel(
        item["sk"], **texts, events=tuple(json.loads(item["events"])), enabled=item["enabled"]
    )


def _outbox_item(channel: str, new: Notice) -> Item:
    values = asdict(new) | {"event": new.event.value}
    number = f"{new.at:017.6f}-{uuid.uuid4().hex[:8]}"
    return {
        "pk": "outbox",
        "sk": f"{channel}#{number}",
        "channel": channel,
        "attempts": 0,
        "due": new.at,
        **values,
    }


def _notice(item: Item) -> Notice:
    texts = {name: item.get(name, "") for name in ("task", "subject", "text")}
    return Notice(NotifiedEvent(item["event"]), **texts, at=item["at"])
