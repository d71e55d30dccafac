from collections.abc import Iterator
from pathlib import Path

import pytest

from dth.core.ports.queue import Outgoing
from dth.core.ports.uploads import GiantUpload, Part, Uploads
from dth.platforms.local.platform import LocalPlatform, open_platform
from dth.platforms.local.uploads import LocalUploads

MESSAGES = [Outgoing("m.1", "1"), Outgoing("m.2", "2")]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[LocalPlatform]:
    with open_platform(tmp_path, "w1") as opened:
        yield opened


@pytest.fixture
def uploads(platform: LocalPlatform) -> Uploads:
    assert isinstance(platform.uploads, LocalUploads)
    return platform.uploads


def giant(key: str = "k\udcff", etag: str = "e") -> GiantUpload:
    return GiantUpload(key, run=1, etag=etag, size=100, part_size=50)


async def begun(uploads: Uploads, key: str = "k\udcff") -> None:
    assert await uploads.intend(giant(key))
    assert await uploads.start(key, "u1", [Part(1), Part(2)], MESSAGES)


async def test_what_a_dead_process_had_taken_is_free_at_once(
    uploads: Uploads, platform: LocalPlatform
) -> None:
    await begun(uploads)
    await begun(uploads, "other")
    assert await uploads.claim("k\udcff", "u1", "w1", 300)
    assert await uploads.claim("other", "u1", "w2", 300)
    assert len(await platform.queue.receive(1, 300, 0)) == 1
    await platform.release_owner("w1")
    assert (await platform.queue.depth()).in_flight == 0
    assert await uploads.claim("k\udcff", "u1", "w2", 300)
    assert not await uploads.claim("other", "u1", "w3", 300)


async def test_resend_adds_only_what_is_missing(uploads: Uploads, platform: LocalPlatform) -> None:
    await begun(uploads)
    await platform.queue.delete(await platform.queue.receive(1, 60, 0))
    await uploads.resend("k\udcff", MESSAGES)
    assert (await platform.queue.depth()).visible == 2
