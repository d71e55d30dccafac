"""DynamoDB as the adapters use it: items as plain dictionaries, and batches that are always
completed.

In expressions, every attribute name has the prefix `#`, and every value the prefix `:`.
"""

import asyncio
import itertools
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from dth.core.errors import StateError
from dth.core.retry_policy import RetryPolicy
from dth.platforms.aws.client import PARTIAL, Aws, Refused
from dth.platforms.aws.items import Item, from_item, to_item, to_value

T = TypeVar("T")
R = TypeVar("R")

GET_AT_ONCE = 100  # keys per BatchGetItem
WRITE_AT_ONCE = 25  # items per BatchWriteItem
INSERT_AT_ONCE = 25  # statements per BatchExecuteStatement
# A transaction waits for others on the same items.
TURN = RetryPolicy(first=0.05, last=2.0, jitter=(0.2, 1.2), attempts=20)
# Calls of one operation that run at the same time.
AT_ONCE = 16

_NAMES = re.compile(r"#(\w+)")


@dataclass(slots=True)
class ConditionalWrite:
    """The result of a conditional write. `old` is the previous item, if there was one."""

    ok: bool
    old: Item = field(default_factory=dict)


@dataclass(slots=True)
class TransactItem:
    """One part of a transaction."""

    table: str
    key: Item = field(default_factory=dict)
    item: Item | None = None  # to put
    # Without item and update: a check, or a delete with `delete`.
    update: str = ""
    delete: bool = False
    condition: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


class Dynamo:
    """The tables of a task, by their short names."""

    def __init__(self, aws: Aws, tables: Mapping[str, str]) -> None:
        self._aws = aws
        self._tables = tables
        # Whether our role may insert in batches.
        self._inserts = True

    async def get(self, table: str, key: Item) -> Item:
        """The item, read consistently; empty if there is none."""
        answer = await self._call(
            "get_item", TableName=self._tables[table], Key=to_item(key), ConsistentRead=True
        )
        return from_item(answer.get("Item", {}))

    async def put(
        self, table: str, item: Item, condition: str = "", values: Mapping[str, Any] | None = None
    ) -> bool:
        """False if the condition does not hold."""
        arguments = _expressions(condition, values or {}, ConditionExpression=condition)
        written = await self._conditional(
            "put_item", TableName=self._tables[table], Item=to_item(item), **arguments
        )
        return written.ok

    async def update(
        self,
        table: str,
        key: Item,
        update: str,
        condition: str = "",
        values: Mapping[str, Any] | None = None,
    ) -> ConditionalWrite:
        """Update an item if the condition holds; creates it if it does not exist."""
        arguments = _expressions(
            f"{update} {condition}",
            values or {},
            UpdateExpression=update,
            ConditionExpression=condition,
        )
        return await self._conditional(
            "update_item",
            TableName=self._tables[table],
            Key=to_item(key),
            ReturnValues="ALL_OLD",
            **arguments,
        )

    async def delete(self, table: str, key: Item) -> None:
        await self._call("delete_item", TableName=self._tables[table], Key=to_item(key))

    async def get_many(
        self, table: str, keys: Sequence[Item], attributes: Sequence[str] = ()
    ) -> list[Item]:
        """The existing items among these keys, in no order, read consistently. `keys` must not
        contain duplicates."""
        pieces = [keys[first : first + GET_AT_ONCE] for first in range(0, len(keys), GET_AT_ONCE)]
        found = await each_of(lambda piece: self._get_piece(table, piece, attributes), pieces)
        return [item for items in found for item in items]

    async def _get_piece(
        self, table: str, keys: Sequence[Item], attributes: Sequence[str]
    ) -> list[Item]:
        name = self._tables[table]
        wanted: dict[str, Any] = {"Keys": [to_item(key) for key in keys], "ConsistentRead": True}
        if attributes:
            projection = ", ".join(f"#{attribute}" for attribute in attributes)
            wanted |= _expressions(projection, {}, ProjectionExpression=projection)
        found: list[Item] = []
        async for _ in PARTIAL.tries():
            answer = await self._call("batch_get_item", RequestItems={name: wanted})
            found += map(from_item, answer.get("Responses", {}).get(name, []))
            left = answer.get("UnprocessedKeys", {}).get(name)
            if not left:
                return found
            wanted = left
        raise StateError(f"dynamodb: table {name} does not keep up: items are left unread")

    async def write_many(
        self, table: str, puts: Sequence[Item] = (), deletes: Sequence[Item] = ()
    ) -> None:
        """Put and delete without conditions, in no order."""
        requests: list[Item] = [{"PutRequest": {"Item": to_item(item)}} for item in puts]
        requests += [{"DeleteRequest": {"Key": to_item(key)}} for key in deletes]
        pieces = [
            requests[first : first + WRITE_AT_ONCE]
            for first in range(0, len(requests), WRITE_AT_ONCE)
        ]
        await each_of(lambda piece: self._write_piece(self._tables[table], piece), pieces)

    async def _write_piece(self, name: str, requests: Sequence[Item]) -> None:
        async for _ in PARTIAL.tries():
            answer = await self._call("batch_write_item", RequestItems={name: list(requests)})
            requests = answer.get("UnprocessedItems", {}).get(name, [])
            if not requests:
                return
        raise StateError(f"dynamodb: table {name} does not keep up: items are left unwritten")

    async def insert_many(self, table: str, items: Sequence[Item]) -> list[bool]:
        """Put each item unless there is one with its key, in no order. True for those that were
        put. The others exist, or cannot be put in this way: a batch does not say more, and does
        without a right that a role may lack."""
        if not self._inserts:
            return [False] * len(items)
        name = self._tables[table]
        pieces = [
            items[first : first + INSERT_AT_ONCE] for first in range(0, len(items), INSERT_AT_ONCE)
        ]
        put = await each_of(lambda piece: self._insert_piece(name, piece), pieces)
        return [each for piece in put for each in piece]

    async def _insert_piece(self, name: str, items: Sequence[Item]) -> list[bool]:
        left = {number: _insertion(name, to_item(item)) for number, item in enumerate(items)}
        put = [False] * len(items)
        async for _ in PARTIAL.tries():
            try:
                answer = await self._call("batch_execute_statement", Statements=list(left.values()))
            except Refused as error:
                if error.code != DENIED:
                    raise
                self._inserts = False
                return put
            throttled = {}
            for (number, statement), each in zip(
                left.items(), answer.get("Responses", []), strict=True
            ):
                code = each.get("Error", {}).get("Code", "")
                put[number] = not code
                if code in THROTTLED:
                    throttled[number] = statement
                elif code and DENIED.startswith(code):
                    self._inserts = False
            if not throttled:
                break
            left = throttled
        return put

    async def transact(self, actions: Sequence[TransactItem]) -> list[str]:
        """Carry out all actions, or none. Returns an empty list on success; otherwise one code per
        action ("None" if that action was possible). Waits for other transactions on the same
        items."""
        token = str(uuid.uuid4())  # makes a repeated call count once
        requests = [self._action(action) for action in actions]
        async for _ in TURN.tries():
            try:
                await self._call(
                    "transact_write_items", TransactItems=requests, ClientRequestToken=token
                )
                return []
            except Refused as error:
                if error.code == "TransactionInProgressException":
                    codes = ["TransactionConflict"]
                elif error.code == "TransactionCanceledException":
                    codes = [
                        str(each.get("Code"))
                        for each in error.answer.get("CancellationReasons", [])
                    ]
                else:
                    raise
                if "ConditionalCheckFailed" in codes:
                    return codes
                if not any(code in PASSING for code in codes):
                    raise
        raise StateError("dynamodb: a transaction does not get its turn")

    def _action(self, action: TransactItem) -> Item:
        named: dict[str, Any] = {"TableName": self._tables[action.table]}
        named |= _expressions(
            f"{action.update} {action.condition}",
            action.values,
            ConditionExpression=action.condition,
        )
        if action.item is not None:
            return {"Put": {**named, "Item": to_item(action.item)}}
        named["Key"] = to_item(action.key)
        if action.update:
            return {"Update": {**named, "UpdateExpression": action.update}}
        return {"Delete" if action.delete else "ConditionCheck": named}

    async def query(
        self,
        table: str,
        condition: str,
        values: Mapping[str, Any],
        *,
        index: str = "",
        filter: str = "",
        limit: int = 0,
        newest: bool = False,
        most: int = 0,
    ) -> AsyncIterator[Item]:
        """Items in the order of their sort key (`newest`: in reverse order). `limit`: items per
        read. `most`: reads, as in `scan`."""
        arguments = _expressions(
            f"{condition} {filter}",
            values,
            KeyConditionExpression=condition,
            FilterExpression=filter,
        )
        if index:
            arguments["IndexName"] = index
        else:
            arguments["ConsistentRead"] = True
        if limit:
            arguments["Limit"] = limit
        arguments["ScanIndexForward"] = not newest
        async for item in self._pages("query", table, most, **arguments):
            yield item

    async def scan(
        self,
        table: str,
        filter: str = "",
        values: Mapping[str, Any] | None = None,
        after: Item | None = None,
        most: int = 0,
    ) -> AsyncIterator[Item]:
        """All items, in DynamoDB's own order; with `after`, those after it in that order. `most`:
        reads. If there is more after these, the last item is only the key where to continue."""
        arguments = _expressions(filter, values or {}, FilterExpression=filter)
        if after:
            arguments["ExclusiveStartKey"] = to_item(after)
        async for item in self._pages("scan", table, most, ConsistentRead=True, **arguments):
            yield item

    async def _pages(
        self, operation: str, table: str, most: int, **arguments: Any
    ) -> AsyncIterator[Item]:
        for read in itertools.count(1):
            answer = await self._call(operation, TableName=self._tables[table], **arguments)
            for item in answer.get("Items", []):
                yield from_item(item)
            last = answer.get("LastEvaluatedKey")
            if not last:
                return
            if read == most:
                yield from_item(last)
                return
            arguments["ExclusiveStartKey"] = last

    async def _conditional(self, operation: str, **arguments: Any) -> ConditionalWrite:
        try:
            answer = await self._call(
                operation, ReturnValuesOnConditionCheckFailure="ALL_OLD", **arguments
            )
            return ConditionalWrite(True, from_item(answer.get("Attributes", {})))
        except Refused as error:
            if error.code != "ConditionalCheckFailedException":
                raise
            return ConditionalWrite(False, from_item(error.answer.get("Item", {})))

    async def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return await self._aws.call("dynamodb", operation, **arguments)


PASSING = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
# Codes of single statements: names of exceptions without their end.
THROTTLED = {
    "ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded",
    "TransactionConflict", "InternalServerError",
}  # fmt: skip
DENIED = "AccessDeniedException"


async def each_of(work: Callable[[T], Awaitable[R]], things: Sequence[T]) -> list[R]:
    """Call `work` on each of the things, several at the same time; results are in order. After a
    failure nothing new starts, and work in progress has ended when the error is raised."""
    if len(things) == 1:
        return [await work(things[0])]
    gate = asyncio.Semaphore(AT_ONCE)
    failed = False

    async def one(thing: T) -> R:
        nonlocal failed
        async with gate:
            if failed:
                raise asyncio.CancelledError
            try:
                return await work(thing)
            except BaseException:
                failed = True
                raise

    results = await asyncio.gather(*map(one, things), return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    for error in sorted(errors, key=lambda error: isinstance(error, asyncio.CancelledError)):
        raise error
    return [result for result in results if not isinstance(result, BaseException)]


def _insertion(name: str, item: Item) -> Item:
    return {"Statement": _statement(name, tuple(item)), "Parameters": list(item.values())}


@cache
def _statement(name: str, attributes: tuple[str, ...]) -> str:
    """One text for all items with these attributes: DynamoDB reads a text that it knows faster."""
    values = ", ".join(f"'{attribute}': ?" for attribute in attributes)
    return f'INSERT INTO "{name}" VALUE {{{values}}}'


def _expressions(text: str, values: Mapping[str, Any], **expressions: str) -> dict[str, Any]:
    """The expressions that are not empty, with the names and values that occur in `text`."""
    arguments: dict[str, Any] = {name: given for name, given in expressions.items() if given}
    if names := {f"#{name}": name for name in _NAMES.findall(text)}:
        arguments["ExpressionAttributeNames"] = names
    used = {
        f":{name}": to_value(value)
        for name, value in values.items()
        if re.search(rf":{name}\b", text)
    }
    if used:
        arguments["ExpressionAttributeValues"] = used
    return arguments
