"""What only SQS has: batches that fail in part, limits of size and delay, messages that are not
ours."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import StateError, UsageError
from dth.core.ports.queue import Depth, Outgoing
from dth.core.retry_policy import RetryPolicy
from dth.objects.transfer.messages import EventMessage, ObjectItem, decode, encode, pack
from dth.platforms.aws import queue as queue_module
from dth.platforms.aws.platform import open_platform

if TYPE_CHECKING:
    from dth.platforms.aws.platform import AwsNames, AwsPlatform
    from tests.aws.cloud import Calls
    from tests.servers.ministack import MiniStack


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "PARTIAL", RetryPolicy(0.001, 0.001, attempts=5))


def partly(calls: Calls, operation: str, times: int, **failure: Any) -> list[list[str]]:
    """Fail every second entry of the first so many calls, and do the others. Returns the ids of
    every call."""
    seen: list[list[str]] = []

    def rule(called: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        if called != operation:
            return None
        entries = arguments["Entries"]
        seen.append([entry["Id"] for entry in entries])
        if len(seen) > times:
            return None
        failed = entries[::2]
        arguments["Entries"] = []
        return {
            "Failed": [{"Id": entry["Id"], "SenderFault": False, **failure} for entry in failed]
        }

    calls.on(rule)
    return seen


async def test_entries_that_failed_are_sent_again_and_those_alone(
    aws: AwsPlatform, calls: Calls
) -> None:
    dropped: list[dict[str, Any]] = []

    def rule(operation: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """SQS takes the first half of a batch, twice."""
        if operation == "send_message_batch" and len(dropped) < 8:
            entries = arguments["Entries"]
            half = len(entries) // 2
            dropped.extend(entries[half:])
            for entry in entries[:half]:
                body = {
                    "MessageBody": entry["MessageBody"],
                    "MessageAttributes": entry["MessageAttributes"],
                }
                aws.aws.client("sqs").send_message(QueueUrl=arguments["QueueUrl"], **body)
            failed = [
                {"Id": e["Id"], "SenderFault": False, "Code": "InternalError"}
                for e in entries[half:]
            ]
            return {"Failed": failed}
        return None

    calls.on(rule)
    await aws.queue.send([Outgoing(f"m{n}", f"body {n}") for n in range(10)])
    deliveries = await aws.queue.receive(20, 60, 0)
    assert sorted(each.id for each in deliveries) == sorted(f"m{n}" for n in range(10))
    assert len(dropped) >= 8


async def test_entries_that_fail_for_good_are_an_error(aws: AwsPlatform, calls: Calls) -> None:
    seen = partly(calls, "send_message_batch", 99, Code="InternalError", Message="try later")
    with pytest.raises(StateError, match="sqs does not take 1 messages: InternalError try later"):
        await aws.queue.send([Outgoing("a", "b")])
    assert len(seen) == 5


async def test_a_fault_of_ours_is_told_at_once(aws: AwsPlatform, calls: Calls) -> None:
    seen = partly(calls, "send_message_batch", 99, Code="InvalidMessageContents", SenderFault=True)
    with pytest.raises(StateError, match="InvalidMessageContents"):
        await aws.queue.send([Outgoing("a", "b")])
    assert len(seen) == 1


async def test_deletes_and_leases_that_failed_are_tried_again(
    aws: AwsPlatform, calls: Calls
) -> None:
    await aws.queue.send([Outgoing(f"m{n}", "b") for n in range(6)])
    deliveries = await aws.queue.receive(10, 60, 0)
    extended = partly(calls, "change_message_visibility_batch", 1, Code="InternalError")
    assert await aws.queue.extend(deliveries, 120) == set()
    assert [len(ids) for ids in extended] == [6, 3]
    deleted = partly(calls, "delete_message_batch", 1, Code="ServiceUnavailable")
    await aws.queue.delete(deliveries)
    assert [len(ids) for ids in deleted] == [6, 3]


@pytest.mark.parametrize(
    "code", ["ReceiptHandleIsInvalid", "AWS.SimpleQueueService.MessageNotInflight"]
)
async def test_a_lost_lease_is_told_and_a_lost_delete_is_nothing(
    aws: AwsPlatform, calls: Calls, code: str
) -> None:
    await aws.queue.send([Outgoing("a", "b")])
    deliveries = await aws.queue.receive(1, 60, 0)
    partly(calls, "change_message_visibility_batch", 1, Code=code, SenderFault=True)
    partly(calls, "delete_message_batch", 1, Code=code, SenderFault=True)
    assert await aws.queue.extend(deliveries, 60) == {"a"}
    await aws.queue.delete(deliveries)


async def test_packs_of_any_size_fit_into_calls(aws: AwsPlatform, calls: Calls) -> None:
    # 1,024 bytes each, and three times as many in JSON
    keys = [f"{n:04}" + "\U0001f600" * 255 for n in range(200)]
    messages = [encode(each) for each in pack(1, [ObjectItem(key, 5, "e" * 32) for key in keys])]
    assert max(len(each.body) for each in messages) > 150_000
    await aws.queue.send(messages)
    assert calls.calls["sqs"] == 3  # the smallest goes with another
    taken = await aws.queue.receive(10, 60, 0)
    assert {each.body for each in taken} == {each.body for each in messages}


async def test_small_messages_go_ten_in_a_call(aws: AwsPlatform, calls: Calls) -> None:
    await aws.queue.send([Outgoing(f"m{n}", "b") for n in range(25)])
    assert calls.calls["sqs:send_message_batch"] == 3


async def test_a_body_that_is_too_large_is_refused_with_its_size(
    aws: AwsPlatform, calls: Calls
) -> None:
    with pytest.raises(UsageError, match=r"message big has 26\d{4} bytes, and SQS takes 262144"):
        await aws.queue.send([Outgoing("small", "b"), Outgoing("big", "x" * 262_144)])
    assert not calls.calls


async def test_a_delay_beyond_what_sqs_knows_goes_round(
    aws: AwsPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "MAX_DELAY", 1)
    begun = time.time()
    await aws.queue.send([Outgoing("a", "b")], delay=2.5)
    received: list[Any] = []
    while not received:
        received = await aws.queue.receive(1, 60, wait=1)
    assert time.time() - begun >= 2.4
    assert [(each.id, each.body, each.receives) for each in received] == [("a", "b", 1)]
    await aws.queue.delete(received)
    assert await aws.queue.depth() == Depth(0, 0, 0)


async def test_messages_of_others_go_by_sqs_own_id(
    aws: AwsPlatform, names: AwsNames, cloud: MiniStack
) -> None:
    body = json.dumps({"Records": [{"eventName": "ObjectCreated:Put"}]})
    sent = cloud.boto("sqs").send_message(QueueUrl=names.queue_url, MessageBody=body)
    [delivery] = await aws.queue.receive(1, 60, 0)
    assert (delivery.id, delivery.body) == (sent["MessageId"], body)
    message = decode(delivery.id, delivery.body)
    assert isinstance(message, EventMessage)
    assert len(message.records) == 1
    await aws.queue.release([delivery])
    [again] = await aws.queue.receive(1, 60, 0)
    assert (again.id, again.receives) == (sent["MessageId"], 1)


async def test_the_copy_is_safe_before_the_original_goes(aws: AwsPlatform, calls: Calls) -> None:
    await aws.queue.send([Outgoing("a", "b")])
    deliveries = await aws.queue.receive(1, 60, 0)
    order: list[str] = []
    calls.on(lambda operation, _: order.append(operation))  # type: ignore[func-returns-value]
    await aws.queue.release(deliveries, 1)
    assert order == ["send_message_batch", "delete_message_batch"]


async def test_what_a_poll_brings_after_the_end_is_given_back(
    names: AwsNames, cloud: MiniStack
) -> None:
    async with open_platform(names, "w1") as platform:
        receiving = asyncio.create_task(platform.queue.receive(1, 60, wait=3))
        await asyncio.sleep(0.3)
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        cloud.boto("sqs").send_message(QueueUrl=names.queue_url, MessageBody="b")
    async with open_platform(names, "w2") as platform:
        assert (await platform.queue.depth()) == Depth(1, 0, 0)


async def test_services_that_cannot_be_reached_are_one_line(
    names: AwsNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.platforms.aws.client.ATTEMPTS", 1)
    async with open_platform(replace(names, endpoint="http://127.0.0.1:9"), "w1") as platform:
        with pytest.raises(StateError, match=r"sqs cannot be asked: .*127\.0\.0\.1:9"):
            await platform.queue.depth()
        with pytest.raises(StateError, match="dynamodb cannot be asked"):
            await platform.limits.lease("bytes", 1)
    async with open_platform(replace(names, queue_url=names.queue_url + "-gone"), "w1") as platform:
        with pytest.raises(
            StateError, match=r"sqs:GetQueueAttributes was refused: .*NonExistentQueue"
        ):
            await platform.queue.depth()
