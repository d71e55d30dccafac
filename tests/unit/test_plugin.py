"""What the hub asks of the S3 plugin: places, conflicts, and what a task has cost."""

from __future__ import annotations

import pytest

from dth.core.errors import UsageError
from dth.core.ports.runs import Counts
from dth.core.prices import Price
from dth.hub.parameters import form
from dth.objects.parameters import S3Parameters
from dth.objects.plugin import PLUGIN

GIB = 1024**3


def task(**given: str) -> S3Parameters:
    values = {
        "srcBucket": "a",
        "destBucket": "b",
        "srcRegion": "eu-west-1",
        "destRegion": "eu-west-1",
        **given,
    }
    return S3Parameters.model_validate(values, by_alias=True, by_name=False)


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ({}, 0.005, 0.006),
        ({"destRegion": "us-east-1"}, 0.025, 0.026),
        ({"destEndpoint": "https://minio.example.org"}, 0.09, 0.091),
        ({"srcEndpoint": "https://minio.example.org"}, 0.005, 0.006),
        (
            {"srcEndpoint": "https://one.example.org", "destEndpoint": "https://two.example.org"},
            0,
            0,
        ),
    ],
)
def test_what_a_task_has_cost(given: dict[str, str], least: float, most: float) -> None:
    run = Counts(listed=1000, enqueued=1000, done=1000, done_bytes=GIB)
    prices = {f"{name}.example.org": Price() for name in ("minio", "one", "two")}
    assert least <= PLUGIN.spent(task(**given), [run], prices) <= most
    assert PLUGIN.spent(task(**given), [], prices) == 0.0


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ({}, "s3://a/"),
        ({"srcPrefix": "2026/"}, "s3://a/2026/"),
        ({"srcEndpoint": "https://minio.example.org"}, "minio.example.org: a"),
        (
            {"srcEndpoint": "https://two:9000,https://one:9000", "srcPrefix": "2026/"},
            "one:9000: a/2026",
        ),
        ({"srcEndpoint": "https://minio.example.org", "srcStore": "old-minio"}, "old-minio: a"),
    ],
)
def test_a_place_is_shown_with_its_store_or_its_host(given: dict[str, str], source: str) -> None:
    assert PLUGIN.ends(task(**given)).source == source


def test_two_tasks_that_write_one_place_are_in_conflict_in_any_region() -> None:
    assert PLUGIN.conflict(task(), task(destRegion="us-east-1", srcBucket="c"))
    assert not PLUGIN.conflict(task(destPrefix="x"), task(destPrefix="y"))


@pytest.mark.parametrize("side", ["source", "destination"])
def test_one_side_alone_needs_its_bucket_and_an_endpoint_that_can_be(side: str) -> None:
    start = {"source": "src", "destination": "dest"}[side]
    PLUGIN.check_side(S3Parameters.model_validate({f"{start}Bucket": "a"}), side)
    for given, said in (
        ({}, f"{start}Bucket: a bucket is needed"),
        ({f"{start}Bucket": "a", f"{start}Endpoint": "ftp://x"}, "endpoint URL"),
        ({f"{start}Bucket": "a", f"{start}Type": "MinIO"}, "needs an endpoint URL"),
    ):
        with pytest.raises(UsageError, match=said):
            PLUGIN.check_side(S3Parameters.model_validate(given), side)


def test_what_a_form_calls_required_is_what_a_task_cannot_be_without() -> None:
    required = {each["name"] for each in form("S3EC2") if each["required"]}
    refused = set()
    values = {"srcBucket": "a", "destBucket": "b"}
    for field in S3Parameters.model_fields.values():
        try:
            PLUGIN.check(S3Parameters.model_validate({**values, str(field.alias): field.default}))
        except UsageError:
            refused.add(field.alias)
    assert required == refused
