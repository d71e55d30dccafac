"""What only AWS has: queues and tables of a test's own, and a whole region in which IAM is
enforced.

What holds on every platform is in `tests/contract`.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from dth.platforms.aws import platform as aws_platform
from tests.aws.cloud import Calls, drop_task, make_task
from tests.aws.emulator.region import Region

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from dth.platforms.aws.platform import AwsNames, AwsPlatform
    from tests.servers.ministack import MiniStack


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture(scope="session")
def region() -> Iterator[Region]:
    """A whole region, in which IAM is enforced; for `fresh_region`."""
    with Region() as emulated:
        yield emulated


@pytest.fixture
def fresh_region(region: Region) -> Region:
    """The region as nobody has touched it, with our assets published."""
    region.reset()
    region.publish()
    return region


@pytest.fixture
def names(cloud: MiniStack) -> Iterator[AwsNames]:
    made = make_task(cloud)
    yield made
    drop_task(cloud, made)


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
async def aws(names: AwsNames, calls: Calls) -> AsyncIterator[AwsPlatform]:
    """The platform on MiniStack. Its calls are counted by `calls`."""
    async with aws_platform.open_platform(names, "w1", io.StringIO()) as opened:
        calls.watch(opened.aws)
        yield opened
