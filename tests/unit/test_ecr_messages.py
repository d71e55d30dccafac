"""Messages: what is sent arrives as it was, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.core.ports.queue import BadMessage
from dth.core.ports.status import Status
from dth.images.items import ImageAction, ImageItem
from dth.images.messages import (
    MANIFESTS_LIMIT,
    CopyOrder,
    decode,
    encode,
    has_place,
    key_of,
    record_key,
)
from dth.images.registry.manifest import OCI_INDEX, Manifest
from dth.images.registry.reference import Reference

DIGEST = f"sha256:{'a' * 64}"
texts = st.text(st.characters(exclude_categories=["Cs"]))
references = st.builds(Reference, texts, texts, texts, texts)
manifests = st.builds(
    Manifest,
    texts,
    texts,
    st.dictionaries(texts, texts).map(
        lambda fields: json.dumps(fields, ensure_ascii=False).encode()
    ),
)
orders = st.builds(
    CopyOrder,
    st.integers(1, 2**40),
    references,
    references,
    texts,
    texts,
    st.integers(0, 2**60),
    st.none() | st.integers(0, 2**60),
    st.lists(texts).map(tuple),
    st.lists(texts).map(tuple),
    st.none() | manifests,
    st.lists(st.tuples(texts, texts)).map(tuple),
    st.booleans(),
    st.lists(manifests).map(tuple),
)
APP = CopyOrder(
    7, Reference("quay.io", "team/app", "v1"), Reference("here:5000", "x/app", "v1"), DIGEST
)


@given(orders)
def test_what_is_sent_arrives_as_it_was(order: CopyOrder) -> None:
    assert decode(encode(order).body) == order


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_what_is_none_is_told(body: str) -> None:
    with pytest.raises(BadMessage) as told:
        decode(body)
    assert "\n" not in str(told.value)


@given(st.data())
def test_what_lacks_or_has_something_is_none(data: st.DataObject) -> None:
    fields = json.loads(encode(APP).body)
    needed = ["version", "run", "source", "dest", "after", "platforms", "narrowed"]
    name = data.draw(st.sampled_from([*needed, "other"]))
    if name in fields:
        del fields[name]
    else:
        fields[name] = 1
    with pytest.raises(BadMessage):
        decode(json.dumps(fields))


def test_messages_of_the_version_before_are_read() -> None:
    """They had no manifests: the copy reads them itself."""
    fields = json.loads(encode(APP).body)
    del fields["manifests"]
    assert decode(json.dumps(fields)) == APP


def test_manifests_that_are_too_large_stay_behind() -> None:
    """A queue takes no message of any size."""
    random = Random(1)
    several = tuple(
        Manifest(DIGEST, OCI_INDEX, json.dumps({"layers": random.randbytes(20_000).hex()}).encode())
        for _ in range(10)
    )
    assert decode(encode(replace(APP, manifests=several[:1])).body).manifests == several[:1]
    large = encode(replace(APP, manifests=several))
    assert decode(large.body) == APP
    assert len(large.body) < MANIFESTS_LIMIT
    assert len(encode(replace(APP, manifests=several[:3])).body) < 200_000


@pytest.mark.parametrize("text", ["x", "~~~", 7, [1], {"a": 1}])
def test_manifests_that_are_none(text: object) -> None:
    fields = json.loads(encode(APP).body)
    with pytest.raises(BadMessage):
        decode(json.dumps({**fields, "manifests": text}))


def test_another_version_is_told() -> None:
    fields = json.loads(encode(APP).body)
    with pytest.raises(BadMessage, match="another version"):
        decode(json.dumps({**fields, "version": 2}))


def test_the_same_image_in_a_run_is_one_message() -> None:
    assert encode(APP).id == encode(replace(APP, digest="")).id == "7-x/app:v1"
    assert encode(replace(APP, run=8)).id != encode(APP).id


def test_keys() -> None:
    assert APP.key == "x/app:v1"
    assert key_of(Reference("here:5000", "here", "", DIGEST)) == f"here@{DIGEST}"
    item = ImageItem(APP.source, APP.dest)
    assert record_key(item) == "x/app:v1"
    assert has_place("x/app:v1")
    item.action, item.homeless = ImageAction.REFUSED, True
    assert record_key(item) == "x/app:v1 (quay.io/team/app:v1)"
    assert not has_place(record_key(item))


def test_the_record_of_an_order() -> None:
    index = Manifest(DIGEST, OCI_INDEX, b"{}")
    order = replace(
        APP, size=10, moves=None, platforms=("linux/amd64", "linux/arm64"), narrowed=index
    )
    record = order.record(attempts=2)
    assert (record.key, record.run, record.source) == ("x/app:v1", 7, "quay.io/team/app:v1")
    assert (record.status, record.size, record.moved, record.attempts) == (Status.PENDING, 10, 0, 2)
    assert record.platforms == "linux/amd64,linux/arm64"
    assert str(order.exactly) == f"quay.io/team/app@{DIGEST}"
