"""Tags of objects are asked for by one first, and whatever it meets, by the others together."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from dth.core.errors import Throttled
from dth.objects.store.capabilities import Capabilities
from dth.objects.store.endpoints import ChecksumMode, EtagKind
from dth.objects.store.tags import TagReader


async def test_a_source_that_throttles_the_first_look_is_not_asked_one_by_one() -> None:
    asked: list[str] = []
    released = {key: asyncio.Event() for key in "abcd"}

    async def tags(key: str, *, attempts: int = 0) -> str:
        asked.append(key)
        await released[key].wait()
        raise Throttled(f"no tags of {key} now", status=503)

    side: Any = SimpleNamespace(
        capabilities=Capabilities(ChecksumMode.CRC64NVME, EtagKind.MD5), tags=tags
    )
    reader = TagReader(side, side)
    looks = [asyncio.create_task(reader.of(key, {})) for key in "abcd"]
    await asyncio.sleep(0.01)
    assert asked == ["a"]
    released["a"].set()
    with pytest.raises(Throttled, match="of a"):
        await looks[0]
    await asyncio.sleep(0.01)
    assert sorted(asked) == ["a", "b", "c", "d"]
    for event in released.values():
        event.set()
    found = await asyncio.gather(*looks, return_exceptions=True)
    assert [type(each) for each in found] == [Throttled] * 4
