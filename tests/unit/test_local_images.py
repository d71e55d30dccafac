"""The history of a task's images over SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dth.core.ports.images import ImageRecord
from dth.core.ports.runs import RunKind, RunState
from dth.core.ports.status import Status
from dth.platforms.local.platform import LocalPlatform, open_platform

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[LocalPlatform]:
    with open_platform(tmp_path, "test") as opened:
        yield opened


def record(key: str, run: int, status: Status = Status.DONE, **more: object) -> ImageRecord:
    return ImageRecord(key, run, f"quay.io/{key}", status, **more)  # type: ignore[arg-type]


async def runs(platform: LocalPlatform, count: int) -> None:
    for _ in range(count):
        run, _ = await platform.records.begin_run(RunKind.SYNC)
        await platform.records.set_run(run.id, RunState.DONE)


async def test_many_keys_at_once(platform: LocalPlatform) -> None:
    keys = [f"team/app:v{number}" for number in range(1234)]
    await platform.images.write([record(key, 1) for key in keys])
    assert set(await platform.images.latest(keys)) == set(keys)


async def test_pruning_keeps_the_newest_of_an_image_and_what_it_was_copied_as(
    platform: LocalPlatform,
) -> None:
    await runs(platform, 6)
    await platform.images.write(
        [
            *(record("copied:v1", run) for run in (1, 2)),
            *(record("failed:v1", run, Status.FAILED) for run in (1, 2)),
            record("both:v1", 1),
            record("both:v1", 2, Status.CANCELLED),
            record("both:v1", 3, Status.FAILED),
            record("again:v1", 3),
            record("again:v1", 6, Status.FAILED),
            record("again:v1", 2, Status.FAILED),
        ]
    )
    await platform.prune(2)

    async def kept(key: str) -> list[int]:
        return [each.run for each in await platform.images.history(key)]

    assert await kept("copied:v1") == [2]
    assert await kept("failed:v1") == [2]  # or it could not be tried again
    assert await kept("both:v1") == [3, 1]
    assert await kept("again:v1") == [6, 3]
    copied = await platform.images.copied()
    assert {key: each.run for key, each in copied.items()} == {
        "copied:v1": 2,
        "both:v1": 1,
        "again:v1": 3,
    }
