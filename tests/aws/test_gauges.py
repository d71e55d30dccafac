"""Metrics as lines that CloudWatch reads."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from dth.core.ports.gauges import Gauge
from dth.platforms.aws.gauges import AwsGauges

if TYPE_CHECKING:
    from dth.platforms.aws.dynamo import Dynamo
    from dth.platforms.aws.platform import AwsPlatform


class Nowhere:
    """A table that forgets."""

    async def put(self, table: str, item: dict[str, Any]) -> bool:
        return True


async def lines(*reports: Gauge) -> list[dict[str, Any]]:
    stream = io.StringIO()
    gauges = AwsGauges("task-1", stream, cast("Dynamo", Nowhere()))
    for report in reports:
        await gauges.report(report)
    gauges.flush()
    gauges.flush()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def test_a_minute_is_one_line_with_what_grew_in_it() -> None:
    def at(seconds: float) -> Gauge:
        grown = int(seconds)
        return Gauge(
            "w1",
            "worker",
            1000.0 + seconds,
            grown * 10,
            grown * 20,
            grown,
            in_flight=grown,
            source_latency=5.5,
        )

    first, second, rest = await lines(*(at(second) for second in range(151)))
    assert (first["BytesIn"], first["BytesOut"], first["Requests"]) == (600, 1200, 60)
    assert (second["BytesIn"], rest["BytesIn"]) == (600, 300)
    assert first["Task"] == "task-1"
    assert (first["Kind"], first["Process"]) == ("worker", "w1")
    assert first["_aws"]["Timestamp"] == 1_060_000
    [directive] = first["_aws"]["CloudWatchMetrics"]
    named = {each["Name"]: each["Unit"] for each in directive["Metrics"]}
    assert named["BytesIn"] == "Bytes"
    assert named["SourceLatency"] == "Milliseconds"
    assert "DestinationLatency" not in named
    assert set(named) <= first.keys()
    assert len(first["InFlight"]) <= 100
    assert directive["Dimensions"] == [["Task"]]
    assert {name for names in directive["Dimensions"] for name in names} <= first.keys()


async def test_the_end_writes_what_is_left_once() -> None:
    [line] = await lines(Gauge("w1", "worker", 5.0, bytes_in=7))
    assert line["BytesIn"] == 7
    assert await lines() == []


async def test_a_worker_that_waits_writes_no_metrics() -> None:
    """Each metric costs 0.30 USD a month, whatever its value."""
    assert await lines(*(Gauge("w1", "worker", 1000.0 + second) for second in range(200))) == []


async def test_processes_know_of_each_other_as_they_were_some_seconds_ago(aws: AwsPlatform) -> None:
    dynamo = aws.dynamo
    now = time.time()
    one, other = (AwsGauges("task-1", io.StringIO(), dynamo) for _ in range(2))
    assert await one.all() == []
    old = Gauge("w0", "worker", now - 90_000)
    await AwsGauges("task-1", io.StringIO(), dynamo).report(old)
    first = Gauge(
        "w1", "worker", now, bytes_in=5, under_way=7, counted=3, note="é\udcff", started=now - 0.5
    )
    await one.report(first)
    report = replace(first, at=now + 1, bytes_in=6)
    await one.report(report)
    report.bytes_in = 99  # the worker goes on with its own
    await other.report(Gauge("w2", "worker", now))
    told = replace(first, note="é\\udcff")
    assert await one.all() == [replace(told, at=now + 1, bytes_in=6), Gauge("w2", "worker", now)]
    assert await other.all() == [told, Gauge("w2", "worker", now)]
    await one.report(replace(first, at=now + 11, under_way=8))
    assert [gauge.under_way for gauge in await other.all()] == [8, 0]
