"""Notifications are read in every form in which they come, and what is none is refused."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dth.core.errors import UsageError
from dth.core.ports.queue import BadMessage
from dth.objects.transfer.events import ObjectEvent, read_events
from dth.objects.transfer.messages import EventMessage, decode, encode
from dth.objects.transfer.notifications import (
    MAX_BODY,
    MAX_RECORDS,
    StoreNotification,
    event_id,
    parse,
)

ETAG = "0123456789abcdef0123456789abcdef"
CONFIRM = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns&Token=2336412f"


def aws(key: str = "a+b%2Bc/d", sequencer: str = "0055AED6DCD90281E5") -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-west-2",
        "eventTime": "2026-01-02T03:04:05.678Z",
        "eventName": "ObjectCreated:Put",
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "hub",
            "bucket": {
                "name": "bucket",
                "ownerIdentity": {"principalId": "A3"},
                "arn": "arn:aws:s3:::bucket",
            },
            "object": {"key": key, "size": 1024, "eTag": ETAG, "sequencer": sequencer},
        },
    }


AWS = {"Records": [aws()]}
TEST = {
    "Service": "Amazon S3",
    "Event": "s3:TestEvent",
    "Time": "2026-01-02T03:04:05Z",
    "Bucket": "bucket",
}
MINIO = {
    "EventName": "s3:ObjectCreated:Put",
    "Key": "bucket/a b+c/d",
    "Records": [
        {
            "eventVersion": "2.0",
            "eventSource": "minio:s3",
            "awsRegion": "",
            "eventTime": "2026-01-02T03:04:05.678Z",
            "eventName": "s3:ObjectCreated:Put",
            "responseElements": {"x-minio-origin-endpoint": "http://127.0.0.1:9000"},
            "s3": {
                "s3SchemaVersion": "1.0",
                "bucket": {"name": "bucket", "arn": "arn:aws:s3:::bucket"},
                "object": {
                    "key": "a+b%2Bc%2Fd",
                    "size": 1024,
                    "eTag": ETAG,
                    "contentType": "text/plain",
                    "userMetadata": {"content-type": "text/plain"},
                    "sequencer": "0055AED6DCD90281E5",
                },
            },
            "source": {"host": "127.0.0.1", "port": "", "userAgent": "MinIO"},
        }
    ],
}


def ceph(
    key: str = "a b+c/d", sequencer: str = "F7E6D75DC742D108", name: str = "ObjectCreated:Put"
) -> dict[str, Any]:
    return {
        "eventVersion": "2.2",
        "eventSource": "ceph:s3",
        "awsRegion": "zg1",
        "eventTime": "2026-01-02T03:04:05.678901Z",
        "eventName": name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "hub",
            "bucket": {"name": "bucket", "arn": "arn:aws:s3:zg1::bucket", "id": "503a4c37.5332.38"},
            "object": {
                "key": key,
                "size": 1024,
                "eTag": ETAG,
                "versionId": "",
                "sequencer": sequencer,
                "metadata": [],
                "tags": [],
            },
        },
        "eventId": "1767323045.678901.37b51d19",
        "opaqueData": "",
    }


CEPH = {"Records": [ceph()]}


def eventbridge(
    kind: str = "Object Created", key: str = "a b+c/d", **described: Any
) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind,
        "source": "aws.s3",
        "account": "111122223333",
        "time": "2026-01-02T03:04:05Z",
        "region": "ca-central-1",
        "resources": ["arn:aws:s3:::bucket"],
        "detail": {
            "version": "0",
            "bucket": {"name": "bucket"},
            "object": {"key": key, "sequencer": "0055AED6DCD90281E5", **described},
            "request-id": "N4N7GDK58NMKJ12R",
            "reason": "PutObject",
        },
    }


EVENTBRIDGE = eventbridge(size=1024, etag=ETAG)


def sns(inner: Any, kind: str = "Notification", **more: Any) -> dict[str, Any]:
    return {
        "Type": kind,
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:us-west-2:123456789012:hub",
        "Message": inner if isinstance(inner, str) else json.dumps(inner),
        "Timestamp": "2026-01-02T03:04:05.000Z",
        **more,
    }


def said(delivered: Any) -> StoreNotification:
    return parse(json.dumps(delivered).encode())


def events(delivered: Any) -> list[ObjectEvent]:
    return read_events(EventMessage("m", said(delivered).records), "bucket")


FORMS = {
    "aws": AWS,
    "minio": MINIO,
    "ceph": CEPH,
    "ceph with s3:": {"Records": [ceph(name="s3:ObjectCreated:Put")]},
    "eventbridge": EVENTBRIDGE,
    "sns": sns(AWS),
    "sns of eventbridge": sns(EVENTBRIDGE),
    "sns of an array": sns([EVENTBRIDGE]),
    "an array": [CEPH],
    "an array of envelopes": [sns(MINIO)],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(form: str) -> None:
    (event,) = events(FORMS[form])
    sequencer = "5DD7E6F708D142C7" if "ceph" in form or form == "an array" else "0055AED6DCD90281E5"
    assert event == ObjectEvent(
        "a b+c/d", True, sequencer.ljust(64, "0"), time="2026-01-02T03:04:05", size=1024, etag=ETAG
    )


@pytest.mark.parametrize("form", FORMS)
def test_every_form_comes_through_the_queue(form: str) -> None:
    body = json.dumps(FORMS[form])
    message = decode("m", body)
    assert message == EventMessage("m", parse(body.encode()).records)
    sent = encode(message)
    assert decode(sent.id, sent.body) == message  # is not put right a second time


def test_a_mixed_array_is_all_of_it() -> None:
    both = said([AWS, sns(TEST), EVENTBRIDGE, sns([CEPH, MINIO])])
    assert len(both.records) == 4


def test_deletions_come_from_eventbridge_as_well() -> None:
    deleted = eventbridge("Object Deleted", **{"version-id": "1QW9g1Z99LUNbvaaYVpW9xDlOLU.qxgF"})
    (event,) = events(deleted)
    assert (event.key, event.created, event.size, event.etag) == ("a b+c/d", False, -1, "")


@pytest.mark.parametrize(
    "nothing",
    [
        TEST,
        sns(TEST),
        sns("bye", "UnsubscribeConfirmation"),
        {"Records": []},
        {"Records": ["odd", 5, None]},
        eventbridge("Object Restore Completed"),
        eventbridge("Object Tags Added"),
    ],
)
def test_what_changes_no_object_gives_no_records(nothing: Any) -> None:
    assert said(nothing) == StoreNotification([])


def test_a_subscription_waits_for_an_operator() -> None:
    asked = sns(
        "You have chosen to subscribe",
        "SubscriptionConfirmation",
        SubscribeURL=CONFIRM,
        Token="2336412f",
    )
    assert said(asked) == StoreNotification([], confirm=CONFIRM)
    with pytest.raises(
        BadMessage, match="message m asks to confirm a subscription: open https://sns"
    ):
        decode("m", json.dumps(asked))


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "http://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
        "https://sns.eu-west-1.amazonaws.com.evil.example/?Action=ConfirmSubscription",
        "https://evil.example/sns.eu-west-1.amazonaws.com/",
        "https://sns.eu-west-1.amazonaws.com@evil.example/",
        "https://sns.eu-west-1.amazonaws.com/ \nopen http://evil.example",
        "https://sns.eu-west-1.amazonaws.com/" + "a" * 3000,
    ],
)
def test_nobody_is_sent_to_another_address(url: str | None) -> None:
    with pytest.raises(UsageError, match="SubscribeURL is not an address of Amazon SNS") as refused:
        said(sns("", "SubscriptionConfirmation", SubscribeURL=url))
    assert "evil" not in str(refused.value)


@given(st.text(min_size=1, max_size=30))
def test_keys_arrive_as_they_are(key: str) -> None:
    for delivered in (eventbridge(key=key), {"Records": [ceph(key)]}):
        try:
            key.encode()
        except UnicodeEncodeError:
            continue
        assert [event.key for event in events(delivered)] == [key]


def test_bytes_that_are_no_text_arrive_as_they_are() -> None:
    body = json.dumps(CEPH, ensure_ascii=False).encode().replace(b"a b+c/d", b"a\xff b+%41")
    records = parse(body).records
    (event,) = read_events(EventMessage("m", records), "bucket")
    assert event.key.encode("utf-8", "surrogateescape") == b"a\xff b+%41"
    sent = encode(EventMessage(event_id(records), records))
    assert decode(sent.id, sent.body) == EventMessage(sent.id, records)


def test_sequencers_of_ceph_follow_the_clock() -> None:
    moments = [
        (1700000000, 5),
        (1700000000, 256),
        (1700000000, 999_999_999),
        (1700000001, 0),
        (1711111111, 1),
    ]
    texts = [(s.to_bytes(4, "little") + n.to_bytes(4, "little")).hex().upper() for s, n in moments]
    assert texts != sorted(texts)
    found = [events({"Records": [ceph(sequencer=text)]})[0].sequencer for text in texts]
    assert found == sorted(set(found))
    (odd,) = events({"Records": [ceph(sequencer="ABC")]})
    assert odd.sequencer == "ABC".ljust(64, "0")


@pytest.mark.parametrize(
    "odd",
    [
        {"eventSource": "ceph:s3"},
        {**ceph(), "s3": None},
        {**ceph(), "s3": {"object": []}},
        ceph(key=5),  # type: ignore[arg-type]
        ceph(key="\ud800"),
        ceph(key=""),
        ceph(sequencer="\ud800"),
        ceph(sequencer=[5]),  # type: ignore[arg-type]
    ],
)
def test_an_odd_record_does_not_hide_the_others(odd: dict[str, Any]) -> None:
    found = events({"Records": [odd, ceph("k")]})
    assert [event.key for event in found if event.key != "a b+c/d"] == ["k"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"1" * 5000, "not JSON"),
        (b"[]", "neither an object nor an array"),
        (b"7", "neither an object nor an array"),
        (b'"text"', "neither an object nor an array"),
        (b"[null]", "neither an object nor an array"),
        (b"{}", "none of S3"),
        (b'{"Records":{"a":1}}', "none of S3"),
        (b'{"Records":null}', "none of S3"),
        (b'{"detail-type":"Object Created"}', "lacks detail"),
        (b'{"detail-type":"Object Created","detail":[]}', "lacks detail"),
        (json.dumps(eventbridge(key="\ud800")).encode(), "lacks detail"),
        (json.dumps(sns("hello")).encode(), "not JSON"),
        (b"[[[[[{}]]]]]", "nested deeper"),
        (json.dumps(sns(sns(sns(sns(sns(AWS)))))).encode(), "nested deeper"),
        (b" " * (MAX_BODY + 1), "bytes are too many"),
    ],
)
def test_what_is_no_notification_is_told_in_one_line(body: bytes, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as refused:
        parse(body)
    assert str(refused.value).startswith("notification: ")
    assert "\n" not in str(refused.value)


def test_the_number_of_records_is_limited() -> None:
    small = {"eventName": "ObjectCreated:Put"}
    assert len(said({"Records": [small] * MAX_RECORDS}).records) == MAX_RECORDS
    for many in ({"Records": [small] * (MAX_RECORDS + 1)}, [{"Records": [small] * 101}] * 10):
        with pytest.raises(UsageError, match="more than 1000 records"):
            said(many)
    with pytest.raises(BadMessage, match=r"message m .*more than 1000 records"):
        decode("m", json.dumps({"Records": [small] * (MAX_RECORDS + 1)}))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["Notification", "Object Created"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "Records",
                    "Type",
                    "Message",
                    "detail-type",
                    "detail",
                    "bucket",
                    "object",
                    "key",
                    "name",
                    "s3",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_anything_else_is_read_or_refused(delivered: Any) -> None:
    try:
        notification = said(delivered)
    except UsageError:
        return
    event_id(notification.records)
    read_events(EventMessage("m", notification.records), "bucket")


# ------------------------------------------------------------------------------------------- the id


def test_the_same_delivery_has_the_same_id() -> None:
    again = copy.deepcopy(said(AWS).records)
    again[0]["responseElements"] = {"x-amz-request-id": "another"}
    assert event_id(said(AWS).records) == event_id(again)
    assert event_id(said(sns(EVENTBRIDGE)).records) == event_id(said(EVENTBRIDGE).records)
    assert event_id(said(CEPH).records).isascii()


def test_ids_tell_apart_what_differs() -> None:
    deleted = {**aws(), "eventName": "ObjectRemoved:Delete"}
    elsewhere = aws()
    elsewhere["s3"]["bucket"]["name"] = "other"
    untold = [
        {**aws(sequencer=""), "eventTime": time}
        for time in ("2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z")
    ]
    each = [[aws()], [aws("k")], [aws(sequencer="01")], [deleted], [elsewhere], [aws(), deleted]]
    each += [[record] for record in untold] + [[{"odd": 1}], [{"odd": 2}], [{"s3": "\ud800"}]]
    assert len({event_id(records) for records in each}) == len(each)
