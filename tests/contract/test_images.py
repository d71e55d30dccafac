"""What holds of every history of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dth.core.ports.images import ImageRecord
from dth.core.ports.status import Status

if TYPE_CHECKING:
    from dth.core.ports.platform import Platform


def record(key: str, run: int, status: Status = Status.DONE, **more: object) -> ImageRecord:
    return ImageRecord(key, run, f"quay.io/{key}", status, **more)  # type: ignore[arg-type]


async def test_a_record_comes_back_as_it_was(platform: Platform) -> None:
    image = ImageRecord(
        "team/app:v1", 3, "quay.io/team/app:v1", Status.FAILED, "sha256:a", "sha256:b", 10, 4, 1.5,
        2, "DENIED",
        "not for you", "linux/amd64", "sha256:c", 99.5,
    )  # fmt: skip
    await platform.images.write([image])
    assert await platform.images.page(3) == [image]
    assert await platform.images.history("team/app:v1") == [image]
    assert await platform.images.latest(["team/app:v1", "no/such:one"]) == {"team/app:v1": image}
    assert await platform.images.copied() == {}
    await platform.images.write([])


async def test_the_history_of_an_image_is_newest_first(platform: Platform) -> None:
    for run in range(1, 6):
        await platform.images.write(
            [record("a:v1", run, source_digest=str(run)), record("b:v1", run)]
        )
    assert [each.run for each in await platform.images.history("a:v1")] == [5, 4, 3, 2, 1]
    assert [each.run for each in await platform.images.history("a:v1", limit=2)] == [5, 4]


async def test_nothing_that_has_ended_becomes_pending(platform: Platform) -> None:
    """Who planned an image may write that later than who copied it."""
    await platform.images.write([record("a:v1", 1, Status.PENDING)])
    await platform.images.write([record("a:v1", 1, Status.PENDING, attempts=1)])
    await platform.images.write([record("a:v1", 1, dest_digest="sha256:a")])
    await platform.images.write([record("a:v1", 1, Status.PENDING)])
    (found,) = await platform.images.page(1)
    assert (found.status, found.dest_digest) == (Status.DONE, "sha256:a")
    await platform.images.write(
        [record("a:v1", 2, Status.PENDING)]
    )  # another run is another matter
    assert (await platform.images.latest(["a:v1"]))["a:v1"].status is Status.PENDING


async def test_what_images_were_copied_as(platform: Platform) -> None:
    await platform.images.write(
        [
            record("a:v1", 1, dest_digest="one"),
            record("a:v1", 2, dest_digest="two"),
            record("a:v1", 3, Status.FAILED),
            record("b:v1", 2, Status.CANCELLED),
            record("c:v1", 1, dest_digest="c"),
        ]
    )
    copied = await platform.images.copied()
    assert {key: each.dest_digest for key, each in copied.items()} == {"a:v1": "two", "c:v1": "c"}
    latest = await platform.images.latest(["a:v1", "b:v1"])
    assert {key: (each.run, each.status) for key, each in latest.items()} == {
        "a:v1": (3, Status.FAILED),
        "b:v1": (2, Status.CANCELLED),
    }


async def test_pages_of_a_run(platform: Platform) -> None:
    keys = ["a/x:v1", "a/x:v2", "a/x@sha256:1", "b:v1", "é:v1"]
    await platform.images.write([record(key, 1) for key in keys])
    await platform.images.write([record("b:v1", 1, Status.FAILED), record("z", 2)])

    async def found(**which: object) -> list[str]:
        return [each.key for each in await platform.images.page(1, **which)]  # type: ignore[arg-type]

    assert await found() == keys
    assert await found(limit=2) == keys[:2]
    assert await found(after="a/x:v2", limit=2) == keys[2:4]
    assert await found(prefix="a/x:") == keys[:2]
    assert await found(prefix="a/x", after="a/x:v1") == keys[1:3]
    assert await found(status=Status.FAILED) == ["b:v1"]
    assert await found(prefix="none") == []


async def test_pages_of_the_newest_of_each_image(platform: Platform) -> None:
    await platform.images.write(
        [
            record("a:v1", 1),
            record("a:v1", 2, Status.FAILED, reason="DENIED"),
            record("b:v1", 1, Status.FAILED, reason="DENIED"),
            record("b:v1", 3),
            record("c:v1", 1, Status.FAILED, reason="IMMUTABLE"),
        ]
    )

    async def found(**which: object) -> list[tuple[str, int]]:
        return [(each.key, each.run) for each in await platform.images.page(**which)]  # type: ignore[arg-type]

    assert await found() == [("a:v1", 2), ("b:v1", 3), ("c:v1", 1)]
    assert await found(status=Status.FAILED) == [("a:v1", 2), ("c:v1", 1)]
    assert await found(reason="DENIED") == [("a:v1", 2)]  # not what has been mended since
    assert await found(after="a:v1", limit=1) == [("b:v1", 3)]
    assert await found(run=1, reason="DENIED") == [("b:v1", 1)]


async def test_what_is_cancelled_was_pending(platform: Platform) -> None:
    await platform.images.write(
        [
            record("a:v1", 1, Status.PENDING, moved=5),
            record("b:v1", 1),
            record("c:v1", 1, Status.FAILED),
        ]
    )
    await platform.images.cancel_pending("stopped")
    found = {each.key: each for each in await platform.images.page(1)}
    assert {key: each.status for key, each in found.items()} == {
        "a:v1": Status.CANCELLED,
        "b:v1": Status.DONE,
        "c:v1": Status.FAILED,
    }
    assert (found["a:v1"].reason, found["a:v1"].moved) == ("stopped", 0)
    assert found["a:v1"].ended
