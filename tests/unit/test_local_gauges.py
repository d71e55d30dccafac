from collections.abc import Iterator
from pathlib import Path

import pytest

from dth.core.ports.gauges import Gauge, Gauges
from dth.platforms.local.gauges import FORGET_AFTER, LocalGauges
from dth.platforms.local.platform import LocalPlatform, open_platform


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[LocalPlatform]:
    with open_platform(tmp_path, "w1") as opened:
        yield opened


@pytest.fixture
def gauges(platform: LocalPlatform) -> Gauges:
    assert isinstance(platform.gauges, LocalGauges)
    return platform.gauges


async def test_a_report_replaces_the_last_one(gauges: Gauges) -> None:
    await gauges.report(Gauge("w1", "worker", 1.0, bytes_in=5))
    newer = Gauge("w1", "worker", 2.0, 50, 40, 7, 1, 3, "busy \\udcff")
    await gauges.report(newer)
    finder = Gauge("f", "finder", 2.0)
    await gauges.report(finder)
    assert await gauges.all() == [finder, newer]


async def test_processes_long_gone_are_forgotten(gauges: Gauges) -> None:
    await gauges.report(Gauge("old", "worker", 1.0))
    new = Gauge("new", "worker", 2.0 + FORGET_AFTER)
    await gauges.report(new)
    assert await gauges.all() == [new]
