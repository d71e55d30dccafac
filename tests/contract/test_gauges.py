"""What holds of all reports that processes make of themselves."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dth.core.ports.gauges import Gauge

if TYPE_CHECKING:
    from dth.core.ports.gauges import Gauges
    from dth.core.ports.platform import Platform
    from tests.contract.platforms import OpenTask


@pytest.fixture
def gauges(platform: Platform) -> Gauges:
    return platform.gauges


async def test_nobody_has_reported(gauges: Gauges) -> None:
    assert await gauges.all() == []


async def test_a_report_is_seen_by_all_as_it_was(task: OpenTask) -> None:
    now = float(int(time.time()))
    gauge = Gauge(
        "w1", "worker", now, 1, 2**53, 3, 4, 5, "waits for é", now - 0.5, 6, 7.5, 8.25, 9, 10
    )  # fmt: skip
    await task.platform.gauges.report(gauge)
    async with task.beside("w2") as other:
        assert await other.gauges.all() == [gauge]


async def test_a_report_replaces_the_one_before(gauges: Gauges) -> None:
    first = Gauge("w1", "worker", time.time() - 60, bytes_in=5, note="slow")
    await gauges.report(first)
    second = replace(first, at=first.at + 30, bytes_in=6, note="")
    await gauges.report(second)
    assert await gauges.all() == [second]


async def test_who_reports_may_go_on_with_its_own(gauges: Gauges) -> None:
    gauge = Gauge("w1", "worker", time.time(), bytes_in=5)
    await gauges.report(gauge)
    gauge.bytes_in = 6
    assert [each.bytes_in for each in await gauges.all()] == [5]


async def test_the_reports_of_all_processes_come_by_name(task: OpenTask) -> None:
    now = time.time()
    async with task.beside("w2") as second, task.beside("f1") as finder:
        for process, gauges in (
            ("w2", second.gauges),
            ("w1", task.platform.gauges),
            ("f1", finder.gauges),
        ):
            await gauges.report(Gauge(process, "worker", now))
        assert [each.process for each in await task.platform.gauges.all()] == ["f1", "w1", "w2"]


async def test_who_has_said_nothing_for_a_day_is_forgotten(task: OpenTask) -> None:
    now = time.time()
    async with task.beside("w2") as other:
        await other.gauges.report(Gauge("w2", "worker", now - 90_000))
    await task.platform.gauges.report(Gauge("w1", "worker", now))
    assert [each.process for each in await task.platform.gauges.all()] == ["w1"]


async def test_a_note_that_is_no_text_becomes_one(gauges: Gauges) -> None:
    await gauges.report(Gauge("w1", "worker", time.time(), note="key 'b\udcff'"))
    [found] = await gauges.all()
    found.note.encode()
    assert "key 'b" in found.note
