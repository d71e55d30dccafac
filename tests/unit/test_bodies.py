"""Bodies as libcurl reads them."""

from collections.abc import Callable

import pycurl
from hypothesis import given
from hypothesis import strategies as st

from dth.core.transport import Pieces

SIZES = st.lists(st.integers(1, 40), min_size=1)


def read_all(read: Callable[[int], bytes], sizes: list[int]) -> bytes:
    """Read to the end, asking for `sizes` over and over."""
    found = b""
    turn = 0
    while taken := read(sizes[turn % len(sizes)]):
        assert len(taken) <= sizes[turn % len(sizes)]
        found += taken
        turn += 1
    return found


@given(st.lists(st.binary(max_size=50)), SIZES, SIZES)
def test_pieces_of_any_size_are_read_whole_and_again(
    chunks: list[bytes], sizes: list[int], other: list[int]
) -> None:
    body = b"".join(chunks)
    pieces = Pieces(chunks)
    pieces.read(sizes[0])
    assert pieces.seek(0, 0) == pycurl.SEEKFUNC_OK
    assert read_all(pieces.read, sizes) == body
    assert pieces.seek(0, 0) == pycurl.SEEKFUNC_OK
    assert read_all(pieces.read, other) == body
    assert pieces.seek(1, 0) == pycurl.SEEKFUNC_FAIL


def test_small_pieces_are_read_together() -> None:
    pieces = Pieces([b"12", b"34", b"5", b"6"])
    assert [pieces.read(4), pieces.read(4), pieces.read(4)] == [b"1234", b"56", b""]
