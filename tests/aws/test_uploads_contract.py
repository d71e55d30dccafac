"""What holds of all records of giant uploads, on both platforms."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from dth.core.ports.queue import Outgoing
from dth.core.ports.uploads import Part, Upload, UploadState

if TYPE_CHECKING:
    from dth.core.ports.platform import Platform
    from dth.core.ports.uploads import Uploads

MESSAGES = [Outgoing("m.1", "1"), Outgoing("m.2", "2")]


@pytest.fixture
def uploads(platform: Platform) -> Uploads:
    return platform.uploads


def giant(key: str = "k\udcff", etag: str = "e") -> Upload:
    return Upload(key, run=1, etag=etag, size=100, part_size=50, source_part=25)


async def begun(uploads: Uploads, key: str = "k\udcff") -> None:
    assert await uploads.intend(giant(key))
    assert await uploads.start(key, "u1", [Part(1), Part(2)], MESSAGES)


async def test_one_live_upload_a_key(uploads: Uploads) -> None:
    assert await uploads.intend(giant())
    assert not await uploads.intend(giant(etag="other"))
    assert await uploads.intend(giant("elsewhere"))
    assert await uploads.end("k\udcff", "", UploadState.ABORTED)
    again = giant(etag="new")
    again.upload_id, again.state, again.parts = "old", UploadState.ABORTED, 9
    assert await uploads.intend(again)
    found = await uploads.get("k\udcff")
    assert found is not None
    assert abs(found.begun - time.time()) < 60
    found.begun = 0
    assert found == giant(etag="new")


@pytest.mark.parametrize("sequencer", ["", "0A", None])
async def test_an_upload_remembers_the_event_before_it(uploads: Uploads, sequencer: str | None) -> None:
    intent = giant("k")
    intent.sequencer = sequencer
    assert await uploads.intend(intent)
    assert await uploads.start("k", "u1", [Part(1)], [])
    found = await uploads.part_done("k", "u1", Part(1, "e"))
    assert found is not None
    assert found.sequencer == sequencer


async def test_start_writes_parts_and_messages_together(uploads: Uploads, platform: Platform) -> None:
    await begun(uploads)
    found = await uploads.get("k\udcff")
    assert found is not None
    assert (found.state, found.upload_id, found.parts, found.parts_done) == (
        UploadState.UPLOADING,
        "u1",
        2,
        0,
    )
    assert found.source_part == 25
    assert await uploads.parts("k\udcff") == [Part(1), Part(2)]
    assert (await platform.queue.depth()).visible == 2


async def test_start_without_the_intent_writes_nothing(uploads: Uploads, platform: Platform) -> None:
    assert not await uploads.start("k", "u1", [Part(1)], MESSAGES)
    await begun(uploads, "k")
    assert not await uploads.start("k", "u2", [Part(3)], [Outgoing("m.3", "3")])
    assert (await platform.queue.depth()).visible == 2


async def test_a_part_counts_once_and_keeps_the_last_etag(uploads: Uploads) -> None:
    await begun(uploads)
    first = await uploads.part_done("k\udcff", "u1", Part(1, "e1", "c1", 2))
    again = await uploads.part_done("k\udcff", "u1", Part(1, "e2", "c1", 3, digests="d1d2"))
    assert first is not None
    assert again is not None
    assert (first.parts_done, again.parts_done) == (1, 1)
    assert await uploads.parts("k\udcff") == [Part(1, "e2", "c1", 3, digests="d1d2"), Part(2)]
    second = await uploads.part_done("k\udcff", "u1", Part(2, "e"))
    assert second is not None
    assert second.parts_done == second.parts == 2
    assert second.modified > 0


async def test_a_part_of_another_upload_is_nothing(uploads: Uploads) -> None:
    assert await uploads.part_done("k\udcff", "u1", Part(1, "e")) is None
    await begun(uploads)
    assert await uploads.part_done("k\udcff", "u0", Part(1, "e")) is None
    assert await uploads.claim("k\udcff", "u1", "me", 60)
    assert await uploads.part_done("k\udcff", "u1", Part(1, "e")) is None


async def test_completing_has_one_owner_until_its_lease_expires(uploads: Uploads) -> None:
    assert not await uploads.claim("k\udcff", "u1", "a", 60)
    await begun(uploads)
    assert await uploads.claim("k\udcff", "u1", "a", 60)
    assert not await uploads.claim("k\udcff", "u1", "b", 60)
    assert not await uploads.claim("k\udcff", "u1", "a", 60)
    await uploads.unclaim("k\udcff", "u1", "b")  # not the owner: nothing happens
    assert not await uploads.claim("k\udcff", "u1", "b", 60)
    await uploads.unclaim("k\udcff", "u1", "a")
    assert await uploads.claim("k\udcff", "u1", "b", 0)
    assert await uploads.claim("k\udcff", "u1", "c", 60)
    found = await uploads.get("k\udcff")
    assert found is not None
    assert (found.state, found.owner) == (UploadState.COMPLETING, "c")


async def test_the_end_happens_once_and_forgets_the_parts(uploads: Uploads) -> None:
    await begun(uploads)
    assert [upload.key for upload in await uploads.live()] == ["k\udcff"]
    assert not await uploads.end("k\udcff", "u0", UploadState.DONE)
    assert await uploads.end("k\udcff", "u1", UploadState.DONE)
    assert not await uploads.end("k\udcff", "u1", UploadState.ABORTED)
    assert await uploads.parts("k\udcff") == []
    assert await uploads.live() == []
    found = await uploads.get("k\udcff")
    assert found is not None
    assert found.state is UploadState.DONE
