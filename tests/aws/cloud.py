"""A task's queues and tables on MiniStack, and what tests do to the calls that reach them."""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dth.platforms.aws.platform import AwsNames
from dth.platforms.aws.tables import TABLES, create_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from dth.platforms.aws.client import Aws
    from tests.servers.ministack import MiniStack

_numbers = itertools.count()


def make_task(cloud: MiniStack, max_receives: int = 5) -> AwsNames:
    """Queues and tables as the deployment makes them."""
    name = f"task-{os.getpid()}-{next(_numbers)}"
    sqs, dynamodb = cloud.boto("sqs"), cloud.boto("dynamodb")
    dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    policy = {"deadLetterTargetArn": arn, "maxReceiveCount": max_receives}
    queue = sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": json.dumps(policy)})[
        "QueueUrl"
    ]
    for table, keys in TABLES.items():
        dynamodb.create_table(**create_table(f"{name}-{table}", keys))
    tables = {table: f"{name}-{table}" for table in TABLES}
    return AwsNames(
        name, cloud.region, queue, dead, **tables, secret_prefix=f"{name}/", endpoint=cloud.url,
        max_receives=max_receives,
    )  # fmt: skip


def drop_task(cloud: MiniStack, names: AwsNames) -> None:
    for url in (names.queue_url, names.dead_letter_url):
        cloud.boto("sqs").delete_queue(QueueUrl=url)
    for table in TABLES:
        cloud.boto("dynamodb").delete_table(TableName=getattr(names, table))


@dataclass
class Calls:
    """Counts the calls of an `Aws`, and what they write; `on` has them answered otherwise."""

    calls: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)  # items, by table
    _rules: list[Callable[[str, dict[str, Any]], dict[str, Any] | BaseException | None]] = field(
        default_factory=list
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def watch(self, aws: Aws) -> None:
        original = aws.call_now

        def call_now(service: str, operation: str, **arguments: Any) -> dict[str, Any]:
            with self._lock:
                self.calls[service] += 1
                self.calls[f"{service}:{operation}"] += 1
                for table in _writes(operation, arguments):
                    self.written[table] += 1
                answers = [
                    answer
                    for rule in self._rules
                    if (answer := rule(operation, arguments)) is not None
                ]
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
                return answer
            return original(service, operation, **arguments)

        aws.call_now = call_now  # type: ignore[method-assign]

    def on(
        self, rule: Callable[[str, dict[str, Any]], dict[str, Any] | BaseException | None]
    ) -> None:
        """`rule` is asked at each call: it returns an answer, an error, or None to let it pass. It
        may change the arguments."""
        self._rules.append(rule)


def _writes(operation: str, arguments: dict[str, Any]) -> list[str]:
    """The table of each item that a call writes."""
    match operation:
        case "put_item" | "update_item" | "delete_item":
            return [arguments["TableName"]]
        case "batch_write_item":
            return [
                table for table, requests in arguments["RequestItems"].items() for _ in requests
            ]
        case "batch_execute_statement":
            texts = [each["Statement"] for each in arguments["Statements"]]
            return [text.partition('INSERT INTO "')[2].partition('"')[0] for text in texts]
        case "transact_write_items":
            actions = [action for each in arguments["TransactItems"] for action in each.values()]
            return [
                action["TableName"] for action in actions for _ in range(2)
            ]  # which cost twice as much
    return []
