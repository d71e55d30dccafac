"""The header Content-Range in the ways in which servers write it."""

import pytest

from dth.core.transport import is_range


@pytest.mark.parametrize(
    "header", ["bytes 5-9/20", "Bytes 5-9/20", "bytes=5-9/20", "bytes 5-9/*", " bytes  5-9/20 "]
)
def test_a_range_is_recognized(header: str) -> None:
    assert is_range(header, 5, 9, 20)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes */20",
        "bytes 5-9",
        "bytes 5-9/21",
        "bytes 5-8/20",
        "bytes 4-9/20",
        "items 5-9/20",
        "bytes 5-9/20, bytes 10-12/20",
        "bytes \u0665-9/20",
    ],
)
def test_another_range_is_not(header: str) -> None:
    assert not is_range(header, 5, 9, 20)
