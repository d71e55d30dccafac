"""Forecasts: exact where all is listed, honest where it is sampled."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import HubError
from dth.core.prices import Price
from dth.core.transport import Transport
from dth.objects.forecast.forecast import Forecast, forecast
from dth.objects.parameters import S3Parameters
from dth.objects.task import open_route
from tests.engine import Keyring, Side, hurry
from tests.servers.listing_server import Differences, ListingServer
from tests.servers.proxy import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.proxy import Proxy
    from tests.servers.s3 import S3Server

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


async def forecast_of(
    source: S3Server,
    dest: S3Server,
    workdir: Path,
    sample_pages: int | None = 1000,
    **parameters: Any,
) -> Forecast:
    sizes = {
        name: parameters.pop(name)
        for name in ("multipart_threshold", "part_size")
        if name in parameters
    }
    task = S3Parameters.model_validate(
        {
            "src_bucket": "bucket",
            "src_endpoint": source.url,
            "src_credentials": "source",
            "dest_bucket": "bucket",
            "dest_endpoint": dest.url,
            "dest_credentials": "dest",
            "dest_keeps_src_prefix": False,
            **parameters,
        }
    ).model_copy(update=sizes)
    transport = Transport()
    try:
        route = await open_route(task, transport, Keyring(source=source, dest=dest))
        # What the source charges is known where it is taken for Amazon.
        prices = {route.dest.endpoint.host: Price()}
        found = await forecast(route, workdir, sample_pages=sample_pages, prices=prices)
    finally:
        transport.close()
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()
    for amount in (
        found.objects,
        found.copies,
        found.copy_bytes,
        *found.requests.values(),
        *(found.cost or {}).values(),
    ):
        assert 0 <= amount.low <= amount.value <= amount.high
    assert list(workdir.iterdir()) == []
    return found


@pytest.fixture
def sides(proxy_a: Proxy, proxy_b: Proxy, source: Side, dest: Side) -> tuple[Side, Side]:
    objects = {f"in/{n:03d}": bytes([n]) * 10 for n in range(100)}
    source.put({**objects, "in/large": b"x" * (3 * MIB)})
    dest.put({key: objects[key] for key in list(objects)[:40]})
    dest.put({"in/extra": b"", "in/000": b"other"})
    return Side(proxy_a, source.bucket), Side(proxy_b, dest.bucket)


async def of_sides(sides: tuple[Side, Side], workdir: Path, **parameters: Any) -> Forecast:
    buckets = {"src_bucket": sides[0].bucket, "dest_bucket": sides[1].bucket}
    return await forecast_of(sides[0].server, sides[1].server, workdir, **{**buckets, **parameters})


async def test_a_small_source_is_counted(sides: tuple[Side, Side], tmp_path: Path) -> None:
    found = await of_sides(
        sides, tmp_path, multipart_threshold=MIB, part_size=MIB, delete_mode="Mirror",
        src_type="Amazon_S3", src_addressing_style="path",
    )  # fmt: skip
    assert not found.sampled
    counts = {
        name: getattr(found, name).value
        for name in ("objects", "same", "copies", "copy_bytes", "deletes", "archived", "refused")
    }
    assert counts == {
        "objects": 101, "same": 39, "copies": 62, "copy_bytes": 610 + 3 * MIB, "deletes": 1,
        "archived": 0,
        "refused": 0,
    }  # fmt: skip
    assert found.copies.low == found.copies.high == 62
    kinds = {kind: amount.value for kind, amount in found.requests.items()}
    assert kinds == {"LIST": 2, "GET": 64, "HEAD": 2, "PUT": 64, "POST": 2, "DELETE": 1}
    assert found.cost
    assert found.cost["transfer"].value == pytest.approx((610 + 3 * MIB) / 1024**3 * 0.09, abs=1e-6)
    assert found.cost["total"].value > 0
    assert found.seconds is not None
    assert found.seconds.low < found.seconds.value < found.seconds.high


async def test_nothing_to_copy_takes_no_time(sides: tuple[Side, Side], tmp_path: Path) -> None:
    found = await of_sides(sides, tmp_path, src_prefix="none/")
    assert (found.objects.value, found.copies.value) == (0, 0)
    assert found.seconds is not None
    assert found.seconds.high == 0


async def test_a_store_without_prices_costs_nobody_knows_what(
    sides: tuple[Side, Side], tmp_path: Path
) -> None:
    found = await of_sides(sides, tmp_path)
    assert found.cost is None
    assert found.prices == f"no prices are known for {sides[0].server.url.removeprefix('http://')}"


async def test_caps_make_it_longer(sides: tuple[Side, Side], tmp_path: Path) -> None:
    found = await of_sides(sides, tmp_path, max_bytes_per_second=1024)
    assert found.seconds is not None
    assert found.seconds.low >= 3 * 1024


async def test_without_a_read_there_is_no_time(
    sides: tuple[Side, Side], proxy_a: Proxy, tmp_path: Path
) -> None:
    proxy_a.rule(Reply(403, "AccessDenied"), key=".")
    found = await of_sides(sides, tmp_path)
    assert found.seconds is None
    assert "no time" in " ".join(found.notes)


async def test_lists_are_forecast_too(sides: tuple[Side, Side], tmp_path: Path) -> None:
    sides[0].put({"list": b"in/00\nin/large\n", "manifest": b"in/001\nin/050\nin/gone\n"})
    assert (await of_sides(sides, tmp_path, src_prefixs_list_file="list")).objects.value == 11
    found = await of_sides(sides, tmp_path, src_manifest="manifest")
    assert (found.objects.value, found.copies.value, found.same.value) == (3, 1, 1)


async def test_a_listing_that_fails_fails_the_forecast(
    sides: tuple[Side, Side], proxy_b: Proxy, tmp_path: Path
) -> None:
    proxy_b.rule(Reply(403, "AccessDenied"), query="list-type")
    with pytest.raises(HubError, match="AccessDenied"):
        await of_sides(sides, tmp_path)


# ------------------------------------------------------------------------------------------ samples

COUNT = 150_000
DIFFERENCES = Differences(missing_every=5, changed_every=50, extra_every=100)


@pytest.fixture(scope="module")
def listings() -> Iterator[tuple[ListingServer, ListingServer]]:
    with (
        ListingServer(COUNT, folders=True) as here,
        ListingServer(COUNT, folders=True, differences=DIFFERENCES) as there,
    ):
        yield here, there


async def test_a_large_source_is_sampled(
    listings: tuple[ListingServer, ListingServer], tmp_path: Path
) -> None:
    here, there = listings
    found = await forecast_of(here, there, tmp_path, sample_pages=20, delete_mode="Mirror")
    exact = await forecast_of(here, there, tmp_path, sample_pages=None, delete_mode="Mirror")
    assert (found.sampled, exact.sampled) == (True, False)
    assert exact.objects.value == COUNT
    assert exact.copies.value == COUNT / 5 + COUNT / 50
    for name in ("objects", "copies", "copy_bytes", "same", "deletes"):
        estimated, true = getattr(found, name), getattr(exact, name).value
        assert estimated.low <= true <= estimated.high, name
        assert estimated.value == pytest.approx(true, rel=0.3), name
        assert estimated.low < estimated.high
    assert found.compared < COUNT / 2
    assert any(note.startswith("sampled") for note in found.notes)


@pytest.mark.parametrize(("worth_a_note", "notes"), [(1.0, 1), (3600.0, 0)])
async def test_a_listing_that_takes_long_is_told(
    listings: tuple[ListingServer, ListingServer],
    tmp_path: Path,
    worth_a_note: float,
    notes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dth.objects.forecast.forecast.LONG_LISTING", worth_a_note)
    found = await forecast_of(*listings, tmp_path, sample_pages=20)
    told = [note for note in found.notes if note.startswith("listing and comparing takes")]
    assert len(told) == notes
    assert all("srcManifest" in note for note in told)


async def test_a_forecast_can_be_cancelled(
    listings: tuple[ListingServer, ListingServer], tmp_path: Path
) -> None:
    for pause in (0.05, 0.3, 0.6):
        running = asyncio.create_task(forecast_of(*listings, tmp_path, sample_pages=10))
        await asyncio.sleep(pause)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert list(tmp_path.iterdir()) == []
