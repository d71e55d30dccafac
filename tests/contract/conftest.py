"""Each suite runs on each platform of `PLATFORMS`, or of `HUBS` if it is about a hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.platforms import HUBS, PLATFORMS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dth.core.ports.platform import Platform
    from tests.contract.platforms import OpenHub, OpenTask, PlatformUnderTest


@pytest.fixture(params=PLATFORMS)
def under_test(request: pytest.FixtureRequest) -> PlatformUnderTest:
    return PLATFORMS[request.param](request)


@pytest.fixture
async def task(under_test: PlatformUnderTest) -> AsyncIterator[OpenTask]:
    async with under_test.task() as opened:
        yield opened


@pytest.fixture
def platform(task: OpenTask) -> Platform:
    """The ports of a task, as one process of it gets them."""
    return task.platform


@pytest.fixture(params=HUBS)
async def hub(request: pytest.FixtureRequest) -> AsyncIterator[OpenHub]:
    async with HUBS[request.param](request).hub() as opened:
        yield opened
