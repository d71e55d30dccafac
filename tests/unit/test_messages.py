"""Messages survive every key, packs keep their limits, and ids are the same again."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dth.core.ports.queue import BadMessage
from dth.objects.transfer.messages import (
    PACK_BELOW,
    PACK_BYTES,
    PACK_ENCODED,
    PACK_OBJECTS,
    DeleteMessage,
    EventMessage,
    Message,
    ObjectItem,
    ObjectsMessage,
    PartMessage,
    child,
    decode,
    encode,
    message_id,
    pack,
    part_message,
)

# What a listing can give: any UTF-8, and single bytes that are none (`surrogateescape`).
KEYS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),
    ),
    min_size=1,
    max_size=40,
)
ITEMS = st.builds(
    ObjectItem,
    key=KEYS,
    size=st.integers(-1, 2**45),
    etag=st.text(max_size=20),
    attempts=st.integers(0, 5),
)
PARTS = st.builds(
    PartMessage,
    id=st.just("m"),
    run=st.integers(1),
    key=KEYS,
    upload_id=st.text(),
    etag=st.text(),
    size=st.integers(0),
    part_size=st.integers(1),
    number=st.integers(1, 10_000),
    attempts=st.integers(0, 5),
)
RECORDS = st.lists(
    st.dictionaries(st.text(), st.none() | st.integers() | KEYS, max_size=3), max_size=3
)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        ObjectsMessage, id=st.just("m"), run=st.integers(1), items=st.lists(ITEMS, max_size=5)
    ),
    PARTS,
    st.builds(DeleteMessage, id=st.just("m"), run=st.integers(1), keys=st.lists(KEYS, max_size=5)),
    st.builds(EventMessage, id=st.just("m"), records=RECORDS),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
BREAKERS = [
    '"',
    "\\",
    "\n",
    "\r",
    '\\"',
    "\\n",
    '","number":1,"x":"',
    "{}",
    "%s",
    "{key}",
    "\x00",
    "\u2028",
]


@given(MESSAGES)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    sent = encode(message)
    assert sent.body.isascii()
    assert decode(sent.id, sent.body) == message


@pytest.mark.parametrize("text", [*BREAKERS, "".join(BREAKERS)])
def test_fault_04_no_key_breaks_a_part_message(text: str) -> None:
    message = part_message(3, f"a{text}b", text, text, 10, 5, 2)
    sent = encode(message)
    assert decode(sent.id, sent.body) == message
    assert sent.id.isascii()
    assert len(sent.id) < 80


@given(
    st.lists(
        st.builds(
            ObjectItem,
            key=KEYS | st.integers(1, 1024).map(lambda n: "\x01" * n),
            size=st.integers(-1, PACK_BELOW + 2) | st.just(PACK_BELOW - 1),
            etag=st.just("0123456789abcdef0123456789abcdef"),
        ),
        max_size=400,
    )
)
@settings(max_examples=40)
def test_packs_hold_every_object_once_in_order_and_within_their_limits(
    items: list[ObjectItem],
) -> None:
    messages = list(pack(7, items))
    # In order among the packed and among the single ones: a single one goes ahead of the pack being
    # filled.
    packed = [item for item in items if 0 <= item.size < PACK_BELOW]
    single = [item for item in items if not 0 <= item.size < PACK_BELOW]
    assert [i for m in messages for i in m.items if 0 <= i.size < PACK_BELOW] == packed
    assert [m.items for m in messages if not 0 <= m.items[0].size < PACK_BELOW] == [
        [i] for i in single
    ]
    for message in messages:
        assert message.run == 7
        assert message.id == message_id(7, message.items[0])
        assert 1 <= len(message.items) <= PACK_OBJECTS
        if len(message.items) > 1:
            assert sum(item.size for item in message.items) <= PACK_BYTES
            assert len(encode(message).body) <= PACK_ENCODED


def test_a_pack_ends_at_the_first_limit_it_meets() -> None:
    def sizes(count: int, key: str, size: int) -> list[int]:
        return [
            len(m.items)
            for m in pack(1, [ObjectItem(f"{key}{n:05}", size, "e") for n in range(count)])
        ]

    assert sizes(250, "k", 10) == [100, 100, 50]
    assert sizes(100, "k", PACK_BELOW - 1) == [64, 36]
    longest = "\x01" * 1019  # six characters each in JSON
    assert sizes(64, longest, 1) == [32, 32]
    assert sizes(3, "k", PACK_BELOW) == [1, 1, 1]
    assert sizes(3, "k", -1) == [1, 1, 1]


@given(st.lists(ITEMS, max_size=30), st.integers(1, 10**9))
def test_ids_are_the_same_again(items: list[ObjectItem], run: int) -> None:
    again = [ObjectItem(item.key, item.size, item.etag, item.attempts) for item in items]
    first, second = list(pack(run, items)), list(pack(run, again))
    assert [encode(message) for message in first] == [encode(message) for message in second]
    for message in first:
        assert child(message, 2, message.items[0]).id == f"{message.id}.2"


def test_ids_tell_apart_what_differs() -> None:
    ids = {
        message_id(run, ObjectItem(key, 1, etag))
        for run in (1, 2)
        for key in ("a", "ab")
        for etag in ("", "b")
    }
    parts = {
        part_message(run, key, upload, "e", 9, 1, number, attempts).id
        for run in (1, 2)
        for key in ("a", "ab")
        for upload in ("", "b")
        for number in (1, 2)
        for attempts in (0, 1)
    }
    assert len(ids) == 8
    assert len(parts) == 32


@given(JSON)
def test_what_is_no_message_of_ours_is_told_so(value: Any) -> None:
    with contextlib.suppress(BadMessage):
        assert isinstance(decode("m", json.dumps(value)), EventMessage)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "7",
        "[" * 100_000,
        '{"v":2,"kind":"objects"}',
        '{"v":1}',
        '{"v":1,"kind":"else"}',
        '{"v":1,"kind":"objects","run":1}',
        '{"v":1,"kind":"objects","run":1,"objects":[["k"]]}',
        '{"v":1,"kind":"part","run":1,"key":"k"}',
    ],
)
def test_a_bad_message_is_no_crash(body: str) -> None:
    with pytest.raises(BadMessage, match="message m "):
        decode("m", body)


def test_notifications_are_read_as_s3_writes_them() -> None:
    record = {"eventName": "ObjectCreated:Put"}
    assert decode("m", json.dumps({"Records": [record, "odd"]})) == EventMessage("m", [record])
    assert decode("m", json.dumps({"Event": "s3:TestEvent"})) == EventMessage("m", [])
