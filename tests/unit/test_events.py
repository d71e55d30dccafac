"""Notifications are read as stores write them, and what happened last is known."""

import itertools
import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.objects.transfer.events import ObjectEvent, _moment, read_events
from dth.objects.transfer.messages import EventMessage

ETAG = "0123456789abcdef0123456789abcdef"


def record(
    key: str = "k", name: str = "ObjectCreated:Put", sequencer: str | None = "0A", **described: Any
) -> dict[str, Any]:
    thing = {"key": key, "size": 3, "eTag": ETAG, "sequencer": sequencer, **described}
    if sequencer is None:
        del thing["sequencer"]
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": name,
        "s3": {"bucket": {"name": "bucket"}, "object": thing},
    }


def read(*records: Any) -> list[ObjectEvent]:
    return read_events(EventMessage("m", list(records)), "bucket")


def test_a_creation_and_a_deletion_are_read() -> None:
    created, deleted = read(record("a"), record("b", "ObjectRemoved:Delete", eTag=None, size=None))
    assert (created.key, created.created, created.size, created.etag) == ("a", True, 3, ETAG)
    assert (deleted.key, deleted.created) == ("b", False)


@pytest.mark.parametrize(
    ("name", "created"),
    [
        ("ObjectCreated:Put", True),
        ("s3:ObjectCreated:CompleteMultipartUpload", True),  # as MinIO and Ceph write it
        ("ObjectCreated:Copy", True),
        ("ObjectRemoved:DeleteMarkerCreated", False),
        ("s3:ObjectRemoved:Delete", False),
        ("ObjectRestore:Completed", None),
        ("ReducedRedundancyLostObject", None),
        ("s3:TestEvent", None),
        ("", None),
    ],
)
def test_what_neither_creates_nor_deletes_is_left_out(name: str, created: bool | None) -> None:
    assert [event.created for event in read(record(name=name))] == (
        [] if created is None else [created]
    )


def test_fault_06_every_record_of_a_notification_counts() -> None:
    records = [record(f"key-{n}", sequencer=f"{n:02X}") for n in range(25)]
    assert {event.key for event in read(*records)} == {f"key-{n}" for n in range(25)}


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("0055AED6DCD90281E5", "0055AED6DCD90281E6"),
        ("0055AED6DCD90281E5", "0055aed6dcd90281e6"),
        ("00", "0001"),  # the shorter one is padded on its right
        ("0F", "10"),
        ("0FFF", "1"),
        ("9", "A"),
        ("a" * 40, "a" * 40 + "1"),  # beyond any integer of 64 bits
        ("", "01"),
        (None, "01"),
    ],
)
def test_fault_06_sequencers_are_compared_as_padded_text(earlier: str | None, later: str) -> None:
    create = record("k", "ObjectCreated:Put", earlier)
    delete = record("k", "ObjectRemoved:Delete", later)
    for order in itertools.permutations([create, delete]):
        events = read(*order)
        assert [event.created for event in events] == [True, False]
        assert events[0].sequencer < events[1].sequencer


def test_fault_06_padding_makes_equal_what_is_equal() -> None:
    first, second = read(record(sequencer="0A"), record(sequencer="0a00"))
    assert first.sequencer == second.sequencer


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_keys_come_url_encoded(key: str) -> None:
    for encoded in (quote_plus(key), quote_plus(key, safe="/"), quote(key)):
        assert [event.key for event in read(record(encoded))] == [key]


def test_bytes_that_are_no_text_stay_what_they_are() -> None:
    (event,) = read(record("a%FF+b%2Bc"))
    assert event.key.encode("utf-8", "surrogateescape") == b"a\xff b+c"


def test_other_buckets_are_left_out() -> None:
    other = record()
    other["s3"]["bucket"]["name"] = "buckets"
    assert read(other) == []


def test_without_an_etag_the_object_is_looked_up() -> None:
    (event,) = read(record(eTag=""))
    assert (event.size, event.etag) == (-1, "")
    for size in ("many", None, []):
        (event,) = read(record(size=size))
        assert (event.size, event.etag) == (-1, ETAG)
    (event,) = read(record(eTag=f'"{ETAG}"', size=0))
    assert (event.size, event.etag) == (0, ETAG)


def test_what_no_store_writes_counts_as_not_given() -> None:
    for etag in ('x"\r\nX-Injected: 1', "a b", "\u00e9", "\udcff"):
        (event,) = read(record(eTag=etag))
        assert (event.size, event.etag) == (-1, "")
    for sequencer in ("\ud800", "0A'", "later", ["0A"], "\u0661"):
        (event,) = read(record(sequencer=sequencer))  # type: ignore[arg-type]
        assert event.sequencer == "0" * 64
    for size in (-5, True, 2**63, 1.5):
        (event,) = read(record(size=size))
        assert (event.size, event.etag) == (-1, ETAG)


@pytest.mark.parametrize(
    "odd",
    [
        {},
        record(key=""),
        {"eventName": "ObjectCreated:Put"},
        {"eventName": "ObjectCreated:Put", "s3": None},
        {"eventName": "ObjectCreated:Put", "s3": {"bucket": "bucket"}},
        {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "bucket"}, "object": "k"}},
        record(key=5),  # type: ignore[arg-type]
        record(key=None),  # type: ignore[arg-type]
        record(key="\ud800"),
    ],
)
def test_an_odd_record_does_not_hide_the_others(odd: dict[str, Any]) -> None:
    assert [event.key for event in read(odd, record("k"))] == ["k"]


def test_events_without_sequencers_have_the_order_in_which_machines_take_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clock of the first machine is a minute ahead of the one that both follow."""
    (event,) = read(record(sequencer=None))
    real = time.time
    moments: list[str] = []
    for ahead in (60.0, 0.0):
        wrong = SimpleNamespace(time=lambda ahead=ahead: real() + ahead)
        monkeypatch.setattr("dth.core.clock.time", wrong)
        monkeypatch.setattr("dth.core.clock._Followed.ahead", -ahead)
        moments.append(_moment(event))
    assert moments == sorted(moments)
