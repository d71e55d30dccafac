"""Fixtures of the tests that run the whole engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dth.core.transport import Transport
from tests import images
from tests.engine import Dth, Engine, Side, bodies, hurry
from tests.hub import Hub
from tests.servers.proxy import Delay
from tests.servers.registry import EcrServer, PlainProxy, RegistryServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.servers.ministack import MiniStack
    from tests.servers.proxy import Proxy


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    """HTTP on the loop of the test."""
    with Transport() as transport:
        yield transport


@pytest.fixture
def source(s3_a: MiniStack, bucket_a: str) -> Side:
    """An empty bucket to copy from."""
    return Side(s3_a, bucket_a)


@pytest.fixture
def dest(s3_b: MiniStack, bucket_b: str) -> Side:
    """An empty bucket to copy to."""
    return Side(s3_b, bucket_b)


@pytest.fixture
def engine(
    tmp_path: Path,
    proxy_a: Proxy,
    proxy_b: Proxy,
    source: Side,
    dest: Side,
    monkeypatch: pytest.MonkeyPatch,
) -> Engine:
    """A task from `source` to `dest`, through a proxy on either side, that never waits for long."""
    hurry(monkeypatch)
    return Engine(tmp_path / "state", Side(proxy_a, source.bucket), Side(proxy_b, dest.bucket))


@pytest.fixture
def dth(tmp_path: Path) -> Dth:
    """The command, in a home of its own."""
    return Dth(tmp_path)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that runs."""
    with Hub(tmp_path) as hub:
        yield hub


@pytest.fixture
def slow(source: Side, dest: Side, proxy_a: Proxy) -> tuple[Side, Side]:
    """Sides between which a hundred objects take some seconds."""
    source.put(bodies(f"{n:03}" for n in range(100)))
    proxy_a.rule(Delay(1.5), key="[0-9]")
    return Side(proxy_a, source.bucket), dest


@pytest.fixture
def here() -> Iterator[RegistryServer]:
    """A registry that wants a login: where images come from."""
    with RegistryServer(auth=True) as server:
        yield server


@pytest.fixture
def there() -> Iterator[RegistryServer]:
    """Another one: where they go to."""
    with RegistryServer(auth=True) as server:
        yield server


@pytest.fixture
def front(here: RegistryServer) -> Iterator[PlainProxy]:
    """In front of the registry that images come from."""
    with PlainProxy(here) as proxy:
        yield proxy


@pytest.fixture
def gate(there: RegistryServer) -> Iterator[PlainProxy]:
    """In front of the registry that they go to."""
    with PlainProxy(there) as proxy:
        yield proxy


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks for images never wait for long."""
    images.hurry(monkeypatch)


@pytest.fixture
def ecr(there: RegistryServer) -> Iterator[EcrServer]:
    """The same, as a registry of Amazon ECR."""
    with EcrServer(there) as server:
        yield server
