"""One object alone: how much of it is in memory."""

from __future__ import annotations

import asyncio
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from dth.core.ports.status import Verified
from dth.objects.store.endpoints import EtagKind
from dth.objects.transfer import single
from dth.objects.transfer.messages import ObjectItem

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest


class Piece(bytearray):
    """Bytes that say when they are gone."""


class Source:
    """A store with one object in parts, which it says nothing about."""

    capabilities = SimpleNamespace(etags=EtagKind.UNKNOWN)
    endpoint = SimpleNamespace(customer_key=b"")

    async def head(self, key: str, **_: Any) -> Any:
        return SimpleNamespace(headers={})

    async def get(self, key: str, *, size: int, etag: str, span: tuple[int, int]) -> Any:
        await asyncio.sleep(0)
        piece = Piece(f"{span[0]:03}".encode())
        return SimpleNamespace(chunks=[piece], headers={})


def test_an_object_is_read_in_order_and_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single, "PIECE", 3)
    alive: list[weakref.ref[Piece]] = []
    most = 0
    read = bytearray()

    async def write(chunks: Sequence[bytes]) -> None:
        nonlocal most
        for chunk in chunks:
            read.extend(chunk)
            alive.append(weakref.ref(chunk))  # type: ignore[arg-type]
        most = max(most, sum(each() is not None for each in alive))

    item = ObjectItem("key", 90, "0123-2")
    verified = asyncio.run(single.read_object(Source(), item, write))  # type: ignore[arg-type]
    assert verified is Verified.NOT
    assert read == b"".join(f"{first:03}".encode() for first in range(0, 90, 3))
    # What was written is gone when the next piece comes.
    assert most <= 2
