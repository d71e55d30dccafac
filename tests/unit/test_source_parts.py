"""What the ETag of a source object says of bytes that came in pieces."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.core.errors import Corrupted
from dth.core.ports.uploads import GiantUpload
from dth.objects.store.endpoints import ChecksumMode
from dth.objects.transfer.proof import DigestInOrder
from dth.objects.transfer.source_parts import Sums, aligned, guess
from tests.engine import MIB, blob


@pytest.mark.parametrize(
    ("size", "count", "expected"),
    [
        (17 * MIB, 3, 8 * MIB),
        (11 * MIB, 3, 5 * MIB),
        (100 * MIB, 7, 16 * MIB),
        (100 * MIB, 2, 64 * MIB),
        (29 * MIB, 2, 16 * MIB),
        (150 * MIB, 10, 16 * MIB),
        (1000_000_000, 100, 10_000_000),
        # Of more than one MiB too little, and of less than the least that stores take.
        (100, 3, 0),
        (10_000 * MIB, 2, 0),
    ],
)
def test_the_likeliest_part_size(size: int, count: int, expected: int) -> None:
    assert guess(size, count, {}) == expected


def test_a_size_that_was_wrong_is_not_guessed_again_unless_it_was_right_as_often() -> None:
    assert guess(17 * MIB, 3, {8 * MIB: 0}) == 8 * MIB
    assert guess(17 * MIB, 3, {8 * MIB: -1}) == 6 * MIB


def test_a_size_that_was_right_before_is_guessed_first() -> None:
    assert guess(150 * MIB, 10, {15 * MIB: 1, 5 * MIB: 3}) == 15 * MIB


@pytest.mark.parametrize(
    ("source_part", "expected"), [(0, 16), (5, 20), (8, 16), (16, 16), (64, 64), (100, 16)]
)
def test_no_part_of_the_source_is_divided(source_part: int, expected: int) -> None:
    assert aligned(16, source_part, 100) == expected


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 50))
def test_sums_do_not_depend_on_how_the_bytes_come(lengths: list[int], part: int) -> None:
    body = blob(sum(lengths))
    sums = Sums(GiantUpload("k", 1, "e", len(body) + part + 1, 100, source_part=part))
    rest = body
    for length in lengths:
        sums.update(rest[:length])
        rest = rest[length:]
    parts = [body[first : first + part] for first in range(0, len(body), part)]
    assert sums.hex() == "".join(hashlib.md5(each).hexdigest() for each in parts)


def test_pieces_that_come_in_any_order_are_hashed_in_theirs() -> None:
    pieces = {number: blob(1000, number) for number in range(1, 6)}

    async def add(md5: str) -> None:
        whole = DigestInOrder("k", ChecksumMode.MD5, md5)
        await asyncio.gather(
            *(whole.add(number, [pieces[number]]) for number in (3, 5, 1, 4, 2, 1))
        )
        whole.check()

    asyncio.run(add(hashlib.md5(b"".join(pieces.values())).hexdigest()))
    with pytest.raises(Corrupted):
        asyncio.run(add(hashlib.md5(b"").hexdigest()))
