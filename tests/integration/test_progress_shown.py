"""A large object shows its bytes while it is on its way: in the command and in the hub."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.engine import PARTED_OPTIONS, Dth, Side, between, wait_for

if TYPE_CHECKING:
    from tests.hub import Hub

BODY = b"x" * 30_000_000
LINE = re.compile(
    r"copying: 0/1 objects, ([0-9.]+) MiB of 28\.6 MiB \(([0-9]+)%\), "
    r"([0-9.]+) [KM]iB/s, 0/s, ETA 0:[0-9]{2}, 1 worker"
)
PROGRESS = """query ($id: ID!) { getTask(id: $id) { progress
    progressInfo { total replicated totalBytes doneBytes percent rate eta state note } } }"""


@pytest.mark.parametrize("options", [(), PARTED_OPTIONS], ids=["whole", "in parts"])
def test_the_command_shows_bytes_percent_rate_and_time_left_of_one_object(
    dth: Dth, source: Side, dest: Side, options: tuple[str, ...]
) -> None:
    source.put({"large": BODY})
    # Bytes that come in and bytes that go out are capped apart, one after the other of a whole
    # object.
    done = dth.run("s3", "sync", *between(source, dest), "--max-bytes-per-second", "3M", *options)
    assert done.code == 0
    told = [LINE.fullmatch(line) for line in done.progress]
    shown = [(float(found[1]), int(found[2]), float(found[3])) for found in told if found]
    assert len(shown) >= 1
    assert shown == sorted(shown, key=lambda each: each[0])
    for amount, percent, _ in shown:
        assert 0 < percent < 100
        assert abs(amount / 28.6 * 100 - percent) <= 1.5


def test_the_hub_shows_bytes_of_an_object_that_is_not_whole(
    hub: Hub, source: Side, dest: Side
) -> None:
    source.put({"large": BODY})
    task = hub.create(source, dest, maxBytesPerSecond="3M")
    seen: list[dict[str, float]] = []

    def ended() -> bool:
        found = hub.call(PROGRESS, id=task)
        seen.append(found["progressInfo"])
        return bool(found["progress"] == "DONE")

    wait_for(ended)
    under_way = [info for info in seen if info["replicated"] == 0 and info["doneBytes"] > 0]
    assert under_way
    # Between its last byte and the store's answer, all bytes are sent and the object is not done.
    assert all(info["doneBytes"] <= info["totalBytes"] == len(BODY) for info in under_way)
    assert all(0 <= info["percent"] < 100 for info in under_way)
    assert any(info["doneBytes"] < len(BODY) for info in under_way)
    assert any(info["rate"] > 0 and info["eta"] for info in under_way)
    assert {info["state"] for info in under_way} == {"COPYING"}
    done = [info["doneBytes"] for info in seen]
    assert done == sorted(done)
    assert (seen[-1]["doneBytes"], seen[-1]["state"]) == (len(BODY), "ENDED")


def test_nothing_at_the_source_is_told(hub: Hub, source: Side, dest: Side) -> None:
    task = hub.create(source, dest)
    hub.wait(task, "DONE")
    info = hub.call(PROGRESS, id=task)["progressInfo"]
    assert (info["state"], info["note"]) == ("EMPTY", "nothing found at the source")
