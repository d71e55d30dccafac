"""Logs that a process sends itself, on the emulator's CloudWatch Logs."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from dth.core.errors import StateError
from dth.platforms.aws import shipper
from dth.platforms.aws.client import Aws
from dth.platforms.aws.shipper import LogShipper, batches, shipping

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.servers.ministack import MiniStack


def said(cloud: MiniStack, group: str, stream: str) -> list[str]:
    events = cloud.boto("logs").get_log_events(
        logGroupName=group, logStreamName=stream, startFromHead=True
    )
    return [event["message"] for event in events["events"]]


def test_what_is_logged_and_measured_arrives_in_order(cloud: MiniStack) -> None:
    cloud.boto("logs").create_log_group(logGroupName="shipped")
    aws = Aws(cloud.region, cloud.url)
    log = logging.getLogger("dth.test")
    with shipping(aws, "shipped", "worker/1") as lines:
        log.info("run %s", "begun", extra={"fields": {"run": 7}})
        lines.write('{"_aws": {}}\nodd \udc80\n')
        try:
            raise ValueError("wrong")
        except ValueError:
            log.exception("it failed")
    log.info("nobody hears this")
    aws.close()

    first, second, odd, last = said(cloud, "shipped", "worker/1")
    assert {**json.loads(first), "at": 0} == {
        "at": 0,
        "level": "info",
        "message": "run begun",
        "run": 7,
    }
    assert second == '{"_aws": {}}'
    assert odd == "odd \\udc80"
    assert "ValueError: wrong" in json.loads(last)["traceback"]


def test_no_process_fails_for_want_of_a_log(
    cloud: MiniStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "PERIOD", 0.05)
    aws = Aws(cloud.region, cloud.url)
    calls: list[str] = []

    def refused(service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        calls.append(operation)
        if len(calls) == 1:
            raise StateError("logs cannot be asked")
        return dict(original(service, operation, **arguments))

    original: Callable[..., dict[str, Any]] = aws.call_now
    monkeypatch.setattr(aws, "call_now", refused)
    cloud.boto("logs").create_log_group(logGroupName="late")
    lines = LogShipper(aws, "late", "worker/2")
    lines.write("one\ntwo\n")
    while not calls:
        pass
    lines.write("three\n")
    lines.close()
    aws.close()

    told = said(cloud, "late", "worker/2")
    assert "three" in told
    assert any("2 lines were left out" in line for line in told)


def test_batches_are_as_the_service_takes_them() -> None:
    events: list[dict[str, object]] = [
        {"timestamp": 9 - n % 10, "message": "é" * 200_000} for n in range(10)
    ]
    found = list(batches(events))
    times = [event["timestamp"] for batch in found for event in batch]
    assert times == sorted(times, key=lambda each: int(str(each)))
    assert (
        max(sum(len(str(each["message"]).encode()) + 26 for each in batch) for batch in found)
        <= 1_000_000
    )
    assert [len(batch) for batch in batches([{"timestamp": 1, "message": "x"}] * 10_001)] == [
        10_000,
        1,
    ]
