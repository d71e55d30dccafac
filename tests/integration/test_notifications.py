"""A store's notifications, delivered to a queue directly, by SNS and by EventBridge, all tell the
same."""

import json
import time

import pytest

from dth.objects.transfer.events import ObjectEvent, read_events
from dth.objects.transfer.messages import EventMessage, decode
from tests.servers.ministack import MiniStack

pytestmark = pytest.mark.quick

KEY = "a b+c/%41/\u00e9"


def test_the_three_ways_to_a_queue_tell_the_same(s3_a: MiniStack, bucket_a: str) -> None:
    s3, sqs, sns, rules = (s3_a.boto(name) for name in ("s3", "sqs", "sns", "events"))
    queues = {}
    for way in ("s3", "sns", "eventbridge"):
        url = sqs.create_queue(QueueName=f"{bucket_a}-{way}")["QueueUrl"]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        queues[way] = (url, found["Attributes"]["QueueArn"])
    topic = sns.create_topic(Name=bucket_a)["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queues["sns"][1])
    pattern = {"source": ["aws.s3"], "detail": {"bucket": {"name": [bucket_a]}}}
    rules.put_rule(Name=bucket_a, EventPattern=json.dumps(pattern))
    rules.put_targets(Rule=bucket_a, Targets=[{"Id": "1", "Arn": queues["eventbridge"][1]}])
    wanted = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
    s3.put_bucket_notification_configuration(
        Bucket=bucket_a,
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": queues["s3"][1], "Events": wanted}],
            "TopicConfigurations": [{"TopicArn": topic, "Events": wanted}],
            "EventBridgeConfiguration": {},
        },
    )
    s3.put_object(Bucket=bucket_a, Key=KEY, Body=b"hello")
    s3.delete_object(Bucket=bucket_a, Key=KEY)

    def delivered(way: str) -> list[ObjectEvent]:
        events: list[ObjectEvent] = []
        deadline = time.monotonic() + 20
        while len(events) < 2 and time.monotonic() < deadline:
            answer = sqs.receive_message(
                QueueUrl=queues[way][0], MaxNumberOfMessages=10, WaitTimeSeconds=1
            )
            for received in answer.get("Messages", []):
                message = decode(received["MessageId"], received["Body"])
                assert isinstance(message, EventMessage)
                events += read_events(message, bucket_a)
        return sorted(events, key=lambda event: event.sequencer)

    directly = delivered("s3")
    assert [(event.key, event.created, event.size) for event in directly] == [
        (KEY, True, 5),
        (KEY, False, -1),
    ]
    assert delivered("sns") == directly
    # EventBridge gives the time in whole seconds of its own, the rest is the store's.
    assert [(e.key, e.created, e.size, e.etag, e.sequencer) for e in delivered("eventbridge")] == [
        (e.key, e.created, e.size, e.etag, e.sequencer) for e in directly
    ]
