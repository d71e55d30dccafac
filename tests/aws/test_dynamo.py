"""DynamoDB that takes things in part only, a page at a time, or not now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import StateError
from dth.core.retry_policy import RetryPolicy
from dth.platforms.aws import dynamo as dynamo_module
from dth.platforms.aws.client import Refused
from dth.platforms.aws.dynamo import Dynamo, TransactItem
from dth.platforms.aws.tables import TABLES

if TYPE_CHECKING:
    from dth.platforms.aws.platform import AwsNames, AwsPlatform
    from tests.aws.cloud import Calls


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamo_module, "PARTIAL", RetryPolicy(0.001, 0.001, attempts=5))
    monkeypatch.setattr(dynamo_module, "TURN", RetryPolicy(0.001, 0.001, attempts=5))


@pytest.fixture
def dynamo(aws: AwsPlatform, names: AwsNames) -> Dynamo:
    return Dynamo(aws.aws, {table: getattr(names, table) for table in TABLES})


def items(count: int) -> list[dict[str, Any]]:
    return [{"pk": "p", "sk": f"{n:04}", "n": n} for n in range(count)]


async def test_what_was_not_processed_is_written_and_read_again(
    dynamo: Dynamo, calls: Calls
) -> None:
    left: list[int] = []

    def rule(operation: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        [(table, wanted)] = arguments.get("RequestItems", {"": []}).items()
        if operation == "batch_write_item" and len(left) < 3:
            left.append(len(wanted))
            return {"UnprocessedItems": {table: wanted}}
        if operation == "batch_get_item" and len(left) < 6:
            left.append(len(wanted["Keys"]))
            return {"Responses": {table: []}, "UnprocessedKeys": {table: wanted}}
        return None

    calls.on(rule)
    await dynamo.write_many("state", items(60))
    found = await dynamo.get_many(
        "state", [{"pk": each["pk"], "sk": each["sk"]} for each in items(150)], ["n"]
    )
    assert sorted(each["n"] for each in found) == list(range(60))
    assert len(left) == 6
    await dynamo.write_many(
        "state", deletes=[{"pk": each["pk"], "sk": each["sk"]} for each in items(60)]
    )
    assert [each async for each in dynamo.scan("state")] == []


async def test_what_is_never_processed_is_an_error(dynamo: Dynamo, calls: Calls) -> None:
    calls.on(
        lambda operation, arguments: (
            {"UnprocessedItems": arguments["RequestItems"]}
            if operation == "batch_write_item"
            else None
        )
    )
    with pytest.raises(StateError, match="items are left unwritten"):
        await dynamo.write_many("state", items(1))


async def test_every_page_is_read(dynamo: Dynamo, calls: Calls) -> None:
    await dynamo.write_many("state", items(23))

    def small(operation: str, arguments: dict[str, Any]) -> None:
        if operation in ("query", "scan"):
            arguments["Limit"] = 4

    calls.on(small)
    values = {"pk": "p"}
    assert [each["n"] async for each in dynamo.query("state", "#pk = :pk", values)] == list(
        range(23)
    )
    newest = [each["n"] async for each in dynamo.query("state", "#pk = :pk", values, newest=True)]
    assert newest == list(range(22, -1, -1))
    odd = dynamo.query("state", "#pk = :pk", {**values, "n": 20}, filter="#n >= :n")
    assert [each["n"] async for each in odd] == [20, 21, 22]
    assert len([each async for each in dynamo.scan("state")]) == 23
    assert calls.calls["dynamodb:scan"] >= 6


async def test_a_transaction_waits_for_others_and_says_which_condition_failed(
    dynamo: Dynamo, calls: Calls
) -> None:
    tokens: list[str] = []

    def conflict(operation: str, arguments: dict[str, Any]) -> Refused | None:
        if operation != "transact_write_items":
            return None
        tokens.append(arguments["ClientRequestToken"])
        if len(tokens) > 2:
            return None
        reasons = [{"Code": "TransactionConflict"}, {"Code": "None"}]
        return Refused("conflict", "TransactionCanceledException", {"CancellationReasons": reasons})

    calls.on(conflict)
    one, other = items(2)
    new = "attribute_not_exists(#pk)"
    actions = [
        TransactItem("state", item=one, condition=new),
        TransactItem("state", item=other, condition=new),
    ]
    assert await dynamo.transact(actions) == []
    assert len(tokens) == 3
    assert len(set(tokens)) == 1
    actions[1] = TransactItem("state", item=items(3)[2], condition=new)
    assert await dynamo.transact(actions) == ["ConditionalCheckFailed", "None"]
    assert await dynamo.get("state", {"pk": "p", "sk": "0002"}) == {}


async def test_a_table_that_is_not_there_is_one_line(aws: AwsPlatform) -> None:
    with pytest.raises(StateError, match="dynamodb:GetItem was refused: ResourceNotFoundException"):
        await Dynamo(aws.aws, {"state": "nothing"}).get("state", {"pk": "a", "sk": "b"})
