"""A listing that the finder shares with workers that wait for work: every object is compared once,
whoever dies."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.ports.records import ListingTakenOver
from dth.core.ports.runs import RunState
from dth.objects import finder
from dth.objects.listing import ranges
from dth.objects.listing.pages import ListPage, PrefixListing
from dth.objects.listing.ranges import Sweep, given_root
from tests.engine import Crash, Engine, Side, bodies
from tests.servers.proxy import Delay, Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.servers.postgres import Postgres

COUNT = 600
NEW = 50  # every so many objects, one is not at the destination
PAGE = 10


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing counts as long soon, and has many pages."""
    page = PrefixListing.page

    async def short(
        self: PrefixListing, after: str = "", token: str = "", limit: int = 0
    ) -> ListPage:
        return await page(self, after, token, min(limit or PAGE, PAGE))

    monkeypatch.setattr(PrefixListing, "page", short)
    monkeypatch.setattr(ranges, "LONG", 1)
    monkeypatch.setitem(Sweep.__init__.__kwdefaults__, "parallel", 2)
    for name in ("ALONE", "LOOK"):
        monkeypatch.setattr(finder, name, 0)
    monkeypatch.setattr(finder, "WAIT", 0.05)


@pytest.fixture
def sides(source: Side, dest: Side, proxy_a: Proxy) -> tuple[Side, Side]:
    """A long listing that answers slowly, and a destination that has nearly all of it."""
    objects = bodies(f"{n:05}" for n in range(COUNT))
    source.put(objects)
    dest.put({key: body for n, (key, body) in enumerate(objects.items()) if n % NEW})
    proxy_a.rule(Delay(0.15), method="GET", query="list-type")
    return Side(proxy_a, source.bucket), dest


class PostgresEngine(Engine):
    """A task whose processes meet in PostgreSQL."""

    address = ""

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[Any]:
        from dth.platforms.postgres.platform import open_platform

        async with open_platform(self.address, "task", name) as platform:
            yield platform


@pytest.fixture(params=["local", "postgres"])
def engine(
    request: pytest.FixtureRequest, tmp_path: Path, sides: tuple[Side, Side]
) -> Iterator[Engine]:
    options = {"compare_policy": "size"}
    if request.param == "local":
        yield Engine(tmp_path, *sides, **options)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    engine = PostgresEngine(tmp_path, *sides, **options)
    engine.address = postgres.database()
    yield engine
    postgres.drop(engine.address)


def expect_all(engine: Engine, ran: Any) -> None:
    counts = ran.counts
    assert ran.run.state is RunState.DONE
    assert (counts.listed, counts.dest_listed) == (COUNT, COUNT - COUNT // NEW)
    assert (counts.enqueued, counts.done) == (COUNT // NEW, COUNT // NEW)
    assert counts.same == COUNT - COUNT // NEW
    assert len(engine.dest.listed()) == COUNT


class Helped:
    """Counts what workers list, and may let them die or be slow."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parts: list[str] = []
        self.pages = 0
        self.taken_over = 0
        self.fuse = -1  # pages until a worker dies; none while it is negative
        self.pause = 0.0  # seconds that a worker waits before it stores a page
        commit = finder.ObjectFinder._commit

        async def counted(each: finder.ObjectFinder, *words: Any) -> None:
            if len(words) == 4:
                self.pages += 1
                self.parts += [given_root(cursor) for cursor in words[1].cursors]
                if self.pages == self.fuse:
                    raise Crash
                pause, self.pause = self.pause, 0.0
                await asyncio.sleep(pause)
            try:
                await commit(each, *words)
            except ListingTakenOver:
                self.taken_over += 1
                raise

        monkeypatch.setattr(finder.ObjectFinder, "_commit", counted)


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch) -> Helped:
    return Helped(monkeypatch)


def test_workers_that_wait_list_ranges(engine: Engine, helped: Helped) -> None:
    ran = engine.run(workers=3)
    expect_all(engine, ran)
    assert helped.parts


def test_the_range_of_a_worker_that_died_is_continued(engine: Engine, helped: Helped) -> None:
    helped.fuse = 3
    ran = engine.run(workers=2)
    assert ran.crashes
    expect_all(engine, ran)


def test_a_range_that_makes_no_progress_is_continued_by_the_finder(
    engine: Engine, helped: Helped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finder, "LEFT", 3.0)
    helped.pause = 12.0
    expect_all(engine, engine.run(workers=1))
    assert helped.parts
    assert helped.taken_over == 1


def test_a_finder_that_died_waits_for_the_ranges_of_others(
    engine: Engine, helped: Helped, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = finder.ObjectFinder._finish_given
    died = 0

    async def dies(self: finder.ObjectFinder, run: Any) -> None:
        nonlocal died
        died += 1
        if died == 1:
            raise Crash
        await finish(self, run)

    monkeypatch.setattr(finder.ObjectFinder, "_finish_given", dies)
    ran = engine.run(workers=2)
    assert ran.crashes == ["finder"]
    expect_all(engine, ran)
    assert helped.parts
