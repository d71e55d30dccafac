"""Prices, IAM statements and bucket settings: pure functions."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from dth.core.errors import ObjectRefused
from dth.core.ports.runs import Counts
from dth.core.prices import Price, read_prices
from dth.objects.checks import bucket_settings as buckets
from dth.objects.checks import policies
from dth.objects.forecast.estimate import (
    Tariff,
    Way,
    cost_of,
    estimate,
    spent,
    tariff_of,
    unpriced,
    way,
)
from dth.objects.parameters import S3Parameters, StorageClass
from dth.objects.store.endpoints import Endpoint, folder_endpoint, resolve_endpoint

GIB = 1024**3


IRELAND = resolve_endpoint(region="eu-west-1")
VIRGINIA = resolve_endpoint(region="us-east-1")
BEIJING = resolve_endpoint(region="cn-north-1")
OWN = resolve_endpoint(url="http://minio.example.org:9000")
PRICES = {"minio.example.org:9000": Price(gb=0.01, requests=0.002)}


def tariff(source: Endpoint, dest: Endpoint, storage_class: str | None = None) -> Tariff:
    found = tariff_of(source, dest, PRICES, storage_class)
    assert found
    return found


def test_a_transfer_costs_its_requests_its_class_and_its_way() -> None:
    cost = cost_of(
        tariff(IRELAND, VIRGINIA, StorageClass.GLACIER), 10 * GIB, 1000, lists=1, dest_lists=1
    )
    assert cost.requests == pytest.approx(1000 * 0.0004 / 1000 + 1002 * 0.005 / 1000)
    assert cost.storage_class == pytest.approx(1000 * 0.025 / 1000)
    assert cost.transfer == pytest.approx(0.2)
    assert cost.total == pytest.approx(cost.requests + cost.storage_class + cost.transfer)
    assert cost_of(tariff(IRELAND, IRELAND), GIB, 1).transfer == 0
    assert cost_of(tariff(IRELAND, OWN), GIB, 1).transfer == pytest.approx(0.09)
    parted = cost_of(tariff(IRELAND, IRELAND), GIB, 1, parted=1, parts=64)
    assert parted.requests == pytest.approx(64 * 0.0004 / 1000 + 66 * 0.005 / 1000)


def test_a_folder_costs_nothing() -> None:
    folder = folder_endpoint(follows_links=False)
    assert unpriced(folder, OWN, {}) == ["minio.example.org:9000"]
    assert cost_of(tariff(folder, IRELAND), GIB, 1000).total == pytest.approx(1000 * 0.005 / 1000)
    assert "localhost" not in tariff(folder, IRELAND).prices


def test_a_store_costs_what_the_administrator_says() -> None:
    cost = cost_of(tariff(OWN, OWN), 10**9, 1000, lists=1, dest_lists=1, heads=8)
    assert cost.requests == pytest.approx(2010 * 0.002 / 1000)
    assert (cost.transfer, cost.storage_class) == (pytest.approx(0.01), 0)
    assert tariff(OWN, OWN, StorageClass.GLACIER).dearer == 0
    assert tariff(OWN, OWN).prices == "minio.example.org:9000: as the administrator says"
    assert "Amazon S3 Standard" in tariff(IRELAND, OWN).prices


def test_where_nobody_knows_the_prices_there_is_no_cost() -> None:
    for source, dest, unknown in (
        (OWN, OWN, ["minio.example.org:9000"]),
        (IRELAND, OWN, ["minio.example.org:9000"]),
        (BEIJING, IRELAND, ["s3.cn-north-1.amazonaws.com.cn"]),
    ):
        assert tariff_of(source, dest, {}) is None
        assert unpriced(source, dest, {}) == unknown
    shown = estimate(OWN, OWN, Counts(listed=5), 1, 0, 0, 0)
    assert (shown.requests_usd, shown.between_regions_usd, shown.to_internet_usd) == (
        None,
        None,
        None,
    )
    assert [name for name, _ in shown.rows()] == ["requests", "prices"]
    assert shown.prices == "no prices are known for minio.example.org:9000"
    task = S3Parameters(
        src_bucket="a", src_endpoint=OWN.url, dest_bucket="b", dest_endpoint=OWN.url
    )
    assert spent(task, [Counts(done=1)], {}) is None
    assert spent(task, [Counts(done=1)], PRICES) == pytest.approx(2 * 0.002 / 1000, rel=0.01)


@pytest.mark.parametrize(
    "given",
    [
        {"gb": -1},
        {"requests": "much"},
        {"gb": float("nan")},
        {"gb": True},
        {"gigabyte": 1},
        5,
        None,
    ],
)
def test_a_price_that_cannot_be_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"minio\.example"):
        read_prices(**{"minio.example": given})


def test_a_dry_run_and_a_forecast_use_one_table() -> None:
    counts = Counts(listed=5000, dest_listed=100, enqueued=1000)
    shown = estimate(IRELAND, VIRGINIA, counts, 7 * GIB, 10, 640, 5)
    cost = cost_of(
        tariff(IRELAND, VIRGINIA),
        7 * GIB,
        1000,
        lists=6,
        dest_lists=2,
        parts=640,
        parted=10,
        heads=15,
    )
    assert shown.requests_usd == pytest.approx(cost.requests, abs=1e-6)
    assert (shown.list_requests, shown.get_requests, shown.put_requests) == (8, 1645, 1650)
    assert (shown.between_regions_usd, shown.to_internet_usd) == (0.14, 0.63)


@pytest.mark.parametrize(
    ("source", "dest", "expected"),
    [
        ({"region": "eu-west-1"}, {"region": "eu-west-1"}, Way.SAME_REGION),
        ({"region": "eu-west-1"}, {"region": "us-east-1"}, Way.BETWEEN_REGIONS),
        ({"region": "eu-west-1"}, {"url": "http://minio:9000"}, Way.TO_INTERNET),
        ({"url": "http://minio:9000"}, {"region": "eu-west-1"}, Way.FROM_ELSEWHERE),
    ],
)
def test_where_bytes_go(source: dict[str, str], dest: dict[str, str], expected: Way) -> None:
    assert way(resolve_endpoint(**source), resolve_endpoint(**dest)) is expected


def test_what_runs_have_spent_grows_with_what_they_moved() -> None:
    task = S3Parameters(
        src_bucket="a", src_region="eu-west-1", dest_bucket="b", dest_region="us-east-1"
    )
    runs = [
        Counts(listed=1000, done=1000, done_bytes=50 * GIB),
        Counts(listed=1000, dest_listed=1000),
    ]
    assert spent(task, [], {}) == 0
    one = spent(task, runs[:1], {})
    assert one is not None
    assert one == pytest.approx(1.0, rel=0.05)
    assert spent(task, runs, {}) == pytest.approx(one + 2 * 0.005 / 1000)


# --------------------------------------------------------------------------------------- statements


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-west-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
        ("eusc-de-east-1", "aws-eusc"),
    ],
)
def test_statements_are_in_the_partition_of_the_region(region: str, partition: str) -> None:
    endpoint = resolve_endpoint(region=region)
    statement = policies.on_objects(endpoint, "b", "in/", "s3:GetObject")
    assert statement["Resource"] == f"arn:{partition}:s3:::b/in/*"
    assert (
        policies.on_key(endpoint, "", "kms:Decrypt")["Resource"]
        == f"arn:{partition}:kms:{region}:*:key/*"
    )


def test_statements_match_a_prefix_to_the_letter() -> None:
    endpoint = resolve_endpoint(url="http://minio:9000", region="cn-north-1")
    statement = policies.on_objects(endpoint, "b", "a*b?${x}\udcff", "s3:PutObject")
    assert statement["Resource"] == "arn:aws:s3:::b/a${*}b${?}${$}{x}?*"
    assert "Condition" not in policies.on_listing(endpoint, "b", "")


def test_keys_are_named_however_they_are_given() -> None:
    endpoint = resolve_endpoint(region="eu-west-1")
    arn = "arn:aws:kms:eu-west-1:1:key/k"
    assert policies.on_key(endpoint, arn, "kms:Decrypt")["Resource"] == arn
    assert (
        policies.on_key(endpoint, "k", "kms:Decrypt")["Resource"] == "arn:aws:kms:eu-west-1:*:key/k"
    )
    for alias in ("alias/mine", "arn:aws:kms:eu-west-1:1:alias/mine"):
        statement = policies.on_key(endpoint, alias, "kms:Decrypt")
        assert statement["Condition"] == {
            "ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/mine"}
        }


def test_a_policy_has_one_statement_for_each_resource() -> None:
    endpoint = resolve_endpoint(region="eu-west-1")
    one = policies.on_objects(endpoint, "b", "x", "s3:PutObject")
    merged = policies.policy(
        [
            one,
            policies.on_objects(endpoint, "b", "x", "s3:GetObject"),
            policies.on_listing(endpoint, "b", "x"),
            one,
        ]
    )
    assert [each["Action"] for each in merged["Statement"]] == [
        ["s3:GetObject", "s3:PutObject"],
        ["s3:ListBucket"],
    ]
    assert one["Action"] == ["s3:PutObject"]
    assert policies.policy([]) == {}


def test_a_refusal_that_names_its_action_is_read() -> None:
    said = (
        'User: u is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" '
        "because no policy"
    )
    assert policies.denied(ObjectRefused("", said=said)) == ("s3:PutObject", "arn:aws:s3:::b/k")
    assert policies.denied(ObjectRefused("", said="Access Denied")) == ("", "")


# ----------------------------------------------------------------------------------------- settings


def test_settings_that_are_not_there_mean_nothing() -> None:
    assert buckets.versioning(None) == buckets.retention(None) == ""
    assert buckets.encryption(None) == ("", "")
    assert buckets.takes_acls(None)
    assert buckets.lifecycle(None, "p") == []


def test_settings_are_read() -> None:
    lock = "<C><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Years>2</Years></DefaultRetention></Rule></C>"
    assert buckets.retention(ElementTree.fromstring(lock)) == "COMPLIANCE for 2 years"
    assert (
        buckets.retention(
            ElementTree.fromstring("<C><ObjectLockEnabled>Enabled</ObjectLockEnabled></C>")
        )
        == ""
    )
    kms = "<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>k</KMSMasterKeyID>"
    default = f"<S><Rule><ApplyServerSideEncryptionByDefault>{kms}</ApplyServerSideEncryptionByDefault></Rule></S>"
    assert buckets.encryption(ElementTree.fromstring(default)) == ("aws:kms", "k")
