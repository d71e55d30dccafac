"""What a task would do, told beforehand; and that nothing is written for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from dth.s3.forecast import forecast
from dth.s3.parameters import DeleteMode
from tests.engine import GIANT, MIB, Engine, Side, bodies
from tests.servers.proxy import Reply

if TYPE_CHECKING:
    from pathlib import Path


def told(engine: Engine, tmp_path: Path, **changes: Any) -> dict[str, Any]:
    listing_time = changes.pop("listing_time", 60.0)

    async def run() -> dict[str, Any]:
        parameters = engine._parameters(changes)
        async with engine.opened("forecast", parameters) as (route, _):
            return (await forecast(route, tmp_path, listing_time=listing_time)).as_dict()

    return uvloop.run(run())


def test_counts_are_exact_and_nothing_is_written(
    engine: Engine, source: Side, dest: Side, tmp_path: Path
) -> None:
    source.put(bodies(f"{n:03}" for n in range(30)) | {"large": b"x" * (3 * MIB)})
    dest.put(bodies(f"{n:03}" for n in range(10)) | {"extra": b""})
    before = dest.etags()
    found = told(engine, tmp_path, **GIANT, delete_mode=DeleteMode.MIRROR, delete_max_percent=50)
    assert (found["complete"], found["listed"], found["same"], found["deletes"]) == (True, 31, 10, 1)
    assert found["objects"] == {"likely": 21, "low": 21, "high": 21}
    assert found["bytes"]["likely"] == 3 * MIB + sum(
        len(body) for body in list(bodies(f"{n:03}" for n in range(10, 30)).values())
    )
    assert found["seconds"]["low"] <= found["seconds"]["likely"] <= found["seconds"]["high"]
    assert found["estimate"]["prices"]
    assert dest.etags() == before
    assert not dest.uploads()
    assert engine.dest.server.seen("PUT") == []


def test_caps_bound_the_time(engine: Engine, source: Side, tmp_path: Path) -> None:
    source.put({"a": b"x" * 100_000})
    assert told(engine, tmp_path, max_bytes_per_second=1024)["seconds"]["low"] == pytest.approx(
        100_000 / 1024
    )


def test_a_comparison_that_takes_too_long_gives_the_least(
    engine: Engine, source: Side, tmp_path: Path
) -> None:
    source.put(bodies("ab"))
    found = told(engine, tmp_path, listing_time=-1.0)
    assert not found["complete"]
    assert found["objects"]["high"] is None
    assert "the least" in found["notes"][-1]


def test_what_cannot_be_read_is_told(engine: Engine, source: Side, tmp_path: Path) -> None:
    source.put(bodies("ab"))
    engine.source.server.rule(Reply(403, "AccessDenied"), key="[ab]")
    found = told(engine, tmp_path)
    assert found["seconds"] is None
    assert any("could not be read" in note for note in found["notes"])


def test_an_empty_source_takes_no_time(engine: Engine, tmp_path: Path) -> None:
    found = told(engine, tmp_path)
    assert (found["objects"]["likely"], found["seconds"]["high"]) == (0, 0.0)
