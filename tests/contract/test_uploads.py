"""What holds of all records of giant uploads."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from dth.core.ports.queue import Outgoing
from dth.core.ports.uploads import GiantUpload, Part, UploadState

if TYPE_CHECKING:
    from dth.core.ports.platform import Platform
    from dth.core.ports.uploads import Uploads
    from tests.contract.platforms import OpenTask

MESSAGES = [Outgoing("m.1", "1"), Outgoing("m.2", "2")]


@pytest.fixture
def uploads(platform: Platform) -> Uploads:
    return platform.uploads


def giant(key: str = "k\udcff", etag: str = "e") -> GiantUpload:
    return GiantUpload(key, run=1, etag=etag, size=100, part_size=50, source_part=25)


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
async def test_an_upload_remembers_the_event_before_it(
    uploads: Uploads, sequencer: str | None
) -> None:
    intent = giant("k")
    intent.sequencer = sequencer
    assert await uploads.intend(intent)
    assert await uploads.start("k", "u1", [Part(1)], [])
    found = await uploads.part_done("k", "u1", Part(1, "e"))
    assert found is not None
    assert found.sequencer == sequencer


async def test_start_writes_parts_and_messages_together(
    uploads: Uploads, platform: Platform
) -> None:
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


async def test_start_without_the_intent_writes_nothing(
    uploads: Uploads, platform: Platform
) -> None:
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


async def test_what_is_live_and_what_is_not(uploads: Uploads) -> None:
    assert await uploads.get("nothing") is None
    assert await uploads.parts("nothing") == []
    assert await uploads.intend(giant("intent"))
    await begun(uploads, "uploading")
    await begun(uploads, "completing")
    assert await uploads.claim("completing", "u1", "me", 60)
    await begun(uploads, "aborted")
    assert await uploads.end("aborted", "u1", UploadState.ABORTED)
    assert {(each.key, each.state) for each in await uploads.live()} == {
        ("intent", UploadState.INTENT),
        ("uploading", UploadState.UPLOADING),
        ("completing", UploadState.COMPLETING),
    }


async def test_a_part_may_come_back_after_completing_failed(uploads: Uploads) -> None:
    await begun(uploads, "k")
    assert await uploads.claim("k", "u1", "me", 60)
    await uploads.unclaim("k", "u0", "me")  # another upload: nothing happens
    assert await uploads.part_done("k", "u1", Part(1, "e")) is None
    await uploads.unclaim("k", "u1", "me")
    found = await uploads.part_done("k", "u1", Part(1, "e"))
    assert found is not None
    assert (found.state, found.parts_done) == (UploadState.UPLOADING, 1)


async def test_who_comes_late_changes_nothing_of_an_upload_that_has_ended(uploads: Uploads) -> None:
    await begun(uploads, "k")
    assert await uploads.claim("k", "u1", "me", 60)
    assert await uploads.end("k", "u1", UploadState.DONE)
    await uploads.unclaim("k", "u1", "me")
    assert not await uploads.claim("k", "u1", "me", 60)
    assert not await uploads.start("k", "u1", [Part(1)], MESSAGES)
    assert await uploads.part_done("k", "u1", Part(1, "e")) is None
    found = await uploads.get("k")
    assert found is not None
    assert found.state is UploadState.DONE
    assert await uploads.parts("k") == []


async def test_of_many_owners_at_once_one_completes(uploads: Uploads, task: OpenTask) -> None:
    await begun(uploads, "k")
    async with task.beside("w2") as other:
        claims = [
            each.claim("k", "u1", str(n), 60) for n, each in enumerate([uploads, other.uploads] * 4)
        ]
        assert sum(await asyncio.gather(*claims)) == 1


async def test_parts_that_were_lost_are_sent_again(uploads: Uploads, platform: Platform) -> None:
    await begun(uploads, "k")
    for delivery in await platform.queue.receive(10, 60, 0):
        await platform.queue.delete([delivery])
    assert (await platform.queue.depth()).visible == 0
    await uploads.resend("k", MESSAGES)
    taken = await platform.queue.receive(10, 60, 0)
    assert {(each.id, each.body) for each in taken} == {("m.1", "1"), ("m.2", "2")}


async def test_more_parts_than_fit_into_one_request(uploads: Uploads) -> None:
    assert await uploads.intend(giant("k"))
    parts = [Part(number) for number in range(1, 251)]
    assert await uploads.start("k", "u1", parts, [])
    assert await uploads.parts("k") == parts
    found = await uploads.part_done("k", "u1", Part(250, "e", "c"))
    assert found is not None
    assert (found.parts, found.parts_done) == (250, 1)
    assert await uploads.end("k", "u1", UploadState.ABORTED)
    assert await uploads.parts("k") == []
