"""How keys and values travel."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from dth.platforms.aws.items import (
    MAX_KEY,
    from_item,
    key_extra,
    key_of,
    key_text,
    line,
    pack,
    to_item,
    unpack,
)

ANY_BYTES = st.one_of(
    st.binary(min_size=1, max_size=64),
    st.text(min_size=1).map(lambda t: t.encode("utf-8", "ignore") or b"x"),
)


@given(raw=ANY_BYTES, other=ANY_BYTES)
@example(raw=b"\xff" * 1024, other=b"\xff" * 1023)
@example(raw="\U0010ff80".encode(), other=b"\x80")
@example(raw="\U0010ff00".encode() + b"\x80", other="\U0010ff00\U0010ff80".encode())
@example(raw="\U0010ff01".encode(), other=b"a")
@example(raw="\U0001f600".encode() * 256, other=b"a" * 1024)
def test_a_key_is_itself_again_and_no_other(raw: bytes, other: bytes) -> None:
    key, another = (each.decode("utf-8", "surrogateescape") for each in (raw, other))
    text = key_text(key)
    assert len(text.encode()) <= MAX_KEY
    assert key_of({"ObjectKey": text, **key_extra(key)}) == key
    assert (text == key_text(another)) == (key == another)


@given(st.text(max_size=200), st.text(max_size=200))
def test_texts_keep_their_order(one: str, other: str) -> None:
    private = any(ord(character) >= 0x10FF00 for character in one + other)
    if not private and not any(0xD800 <= ord(character) < 0xE000 for character in one + other):
        assert (key_text(one) < key_text(other)) == (one < other)


VALUES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(-(2**63), 2**63),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False, width=32), st.binary(), st.sets(st.integers(),
    min_size=1),
)  # fmt: skip


@given(st.dictionaries(st.text(min_size=1), VALUES))
def test_values_are_themselves_again(values: dict[str, object]) -> None:
    assert from_item(to_item(values)) == values


def test_what_says_nothing_is_left_out() -> None:
    assert to_item({"a": "", "b": None, "c": 0, "d": False}) == {
        "c": {"N": "0"},
        "d": {"BOOL": False},
    }


def test_lines_and_packs() -> None:
    assert line("key 'b\udcff' é") == "key 'b\\udcff' é"
    assert len(line("x" * 10_000)) == 4000
    assert unpack(pack(["b\udcff", 1, None])) == ["b\udcff", 1, None]
