"""Estimating how many keys there are: right on average, with a band that holds, and exact where all
was read."""

from __future__ import annotations

import random
from bisect import bisect_right

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dth.objects.forecast.survey import Unsteerable, survey
from dth.objects.listing.pages import ListedObject, ListPage

DICE = random.Random(7)


class Keys:
    """A listing with small pages, so that few keys make a deep tree."""

    name, prefix, seekable = "keys", "", True

    def __init__(self, keys: list[str], page: int = 20) -> None:
        self.keys = sorted(keys)
        self.size = page
        self.pages = 0

    async def page(self, after: str = "", token: str = "", limit: int = 1000) -> ListPage:
        self.pages += 1
        start = bisect_right(self.keys, token or after)
        keys = self.keys[start : start + min(limit, self.size)]
        more = start + len(keys) < len(self.keys)
        return ListPage([ListedObject(key, 1) for key in keys], keys[-1] if more else "")


def numbered(count: int) -> list[str]:
    return [f"obj-{n:08d}" for n in range(count)]


def hexadecimal(count: int) -> list[str]:
    return [f"{DICE.getrandbits(64):016x}" for _ in range(count)]


def dated(count: int) -> list[str]:
    return [
        f"logs/2024/{DICE.randint(1, 12):02d}/{int(DICE.triangular(1, 28, 25)):02d}/"
        f"{DICE.choice(['a', 'b', 'server', 'web'])}-{DICE.getrandbits(32):08x}.gz"
        for _ in range(count)
    ]


@pytest.mark.parametrize("keys", [numbered(20_000), hexadecimal(20_000), dated(20_000)])
async def test_the_band_holds_the_truth(keys: list[str]) -> None:
    held, off = 0, []
    for seed in range(10):
        listing = Keys(keys)
        found = await survey(listing, seed)
        assert found.seen <= len(keys)
        assert sum(piece.count for piece in found.pieces) == found.seen
        weighed = sum(piece.weight * piece.count for piece in found.pieces)
        assert weighed == pytest.approx(found.total)
        held += abs(found.total - len(keys)) <= found.error
        off.append(found.total / len(keys) - 1)
    assert held >= 9
    assert abs(sum(off) / len(off)) < 0.08  # on average it is right
    assert max(map(abs, off)) < 0.5


async def test_the_same_seed_has_the_same_answer() -> None:
    keys = dated(5_000)
    first, second = [await survey(Keys(keys), 3) for _ in range(2)]
    assert (first.total, first.error) == (second.total, second.error)
    assert [(p.after, p.weight) for p in first.pieces] == [
        (p.after, p.weight) for p in second.pieces
    ]


async def test_pages_tile_the_keys() -> None:
    """What is compared as a piece is what was listed as one."""
    listing = Keys(dated(5_000))
    found = await survey(listing, 1)
    ends = [(piece.after, piece.upto) for piece in found.pieces]
    assert len(set(ends)) == len(ends)
    for piece in found.pieces:
        upto = bisect_right(listing.keys, piece.upto) if piece.upto else len(listing.keys)
        assert piece.count == upto - bisect_right(listing.keys, piece.after)


@settings(max_examples=50)
@given(
    st.sets(st.text("ab/0\x7fé\ud7ff\ue000￿😀 \n+%&<", min_size=1, max_size=6), max_size=120),
    st.integers(2, 30),
)
async def test_few_keys_are_counted(keys: set[str], page: int) -> None:
    found = await survey(Keys(list(keys), page), 0)
    assert found.total - found.error <= len(keys) or found.error > 0
    assert found.seen <= len(keys)
    if found.error == 0:
        assert found.total == len(keys)


async def test_a_store_that_ignores_where_to_start_is_found_out() -> None:
    class Deaf(Keys):
        async def page(self, after: str = "", token: str = "", limit: int = 1000) -> ListPage:
            return await super().page("", token, limit)

    with pytest.raises(Unsteerable):
        await survey(Deaf(numbered(500)), 0)
