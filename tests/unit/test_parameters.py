"""A task's parameters keep the names, defaults and values that existing tasks use, and say what is
wrong."""

import ast
import re
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dth.cli.options import validated
from dth.cli.s3_options import build_parameters
from dth.core.errors import UsageError
from dth.core.parameters import (
    GIB,
    KIB,
    MIB,
    choices,
    commands_differ,
    in_templates,
    options,
    parse_moment,
    parse_size,
)
from dth.hub.parameters import read_parameters
from dth.images.parameters import EcrParameters
from dth.objects.parameters import S3Parameters
from tests.servers.process import REPOSITORY

# What carries over from tasks of the AWS solution: name, default, and the allowed values where they
# are listed.
KEPT: list[tuple[str, Any, list[str]]] = [
    ("srcBucket", "", []),
    ("srcPrefix", "", []),
    ("srcPrefixsListFile", "", []),
    ("srcPrefixListBucket", "", []),
    ("srcRegion", "", []),
    ("srcEndpoint", "", []),
    ("srcCredentials", "", []),
    ("srcSkipCompare", False, []),
    ("isPayerRequest", False, []),
    ("srcEvent", "No", ["No", "Create", "CreateAndDelete"]),
    ("destBucket", "", []),
    ("destPrefix", "", []),
    ("destRegion", "", []),
    ("destCredentials", "", []),
    ("destPutObjectSSEKmsKeyId", "", []),
    ("destStorageClass", "INTELLIGENT_TIERING", ["STANDARD", "STANDARD_IA", "ONEZONE_IA"]),
    (
        "destAcl",
        "bucket-owner-full-control",
        [
            *("private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read"),
            *("bucket-owner-read", "bucket-owner-full-control"),
        ],
    ),
    ("destPutObjectSSEType", "None", ["None", "AES256", "AWS_KMS"]),
    ("includeMetadata", True, []),
    ("workerNumber", 4, []),
    ("maxCapacity", 20, []),
]
GROUPS = ("source", "destination", "comparison", "engine", "schedule", "compatibility")
FIELDS = {str(field.alias): field for field in S3Parameters.model_fields.values()}


@pytest.mark.parametrize(("name", "default", "values"), KEPT, ids=[name for name, _, _ in KEPT])
def test_names_defaults_and_values_of_existing_tasks_hold(
    name: str, default: Any, values: list[str]
) -> None:
    assert FIELDS[name].default == default
    assert set(values) <= set(choices(FIELDS[name]))
    for value in values:
        S3Parameters.model_validate(
            {name: value, "destPutObjectSSEType": "AWS_KMS"} | {name: value}
        )


def test_store_types_of_existing_tasks_hold() -> None:
    for kind in ("Amazon_S3", "Aliyun_OSS", "Qiniu_Kodo", "Tencent_COS"):
        assert S3Parameters.model_validate({"srcType": kind}).src_type == kind


@pytest.mark.parametrize("number", ["1", "4", "10"])
def test_values_come_as_text_too(number: str) -> None:
    task = {
        "workerNumber": number,
        "maxCapacity": number,
        "includeMetadata": "false",
        "srcSkipCompare": "true",
    }
    parameters = S3Parameters.model_validate(task)
    assert (parameters.worker_number, parameters.max_capacity) == (int(number), int(number))
    assert (parameters.include_metadata, parameters.src_skip_compare) == (False, True)


def test_every_parameter_can_be_shown() -> None:
    for name, field in FIELDS.items():
        assert field.title, name
        assert field.description, name
        assert field.description.endswith("."), name
        assert field.json_schema_extra["group"] in GROUPS, name
    flags = [field.json_schema_extra["cli"].split("/")[0] for _, field in options(S3Parameters)]
    assert len(flags) == len(set(flags))


def test_parameters_go_through_json_unchanged() -> None:
    given = S3Parameters.model_validate(
        {
            "srcBucket": "b",
            "includePatterns": ["*.jpg"],
            "partSize": "8M",
            "modifiedSince": "7d",
            "minSize": 1,
        }
    )
    text = given.model_dump_json(by_alias=True)
    assert S3Parameters.model_validate_json(text) == given


def test_a_help_text_is_written_once() -> None:
    """So that a parameter of both plugins, or of both sides, is declared in one place."""
    written: Counter[str] = Counter()
    for path in (REPOSITORY / "src").rglob("*parameters.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "parameter":
                written[ast.unparse(call.args[3])] += 1
    assert len(written) > 80
    assert [text for text, count in written.items() if count > 1] == []


def test_a_template_has_the_parameters_that_a_stack_can_act_on() -> None:
    assert FIELDS.keys() - in_templates(S3Parameters) == {
        *("transferWindow", "bandwidthTimetable", "budget", "srcStore", "destStore"),
        *("srcProfile", "destProfile", "srcCaBundle", "destCaBundle", "links"),
    }
    assert {str(each.alias) for each in EcrParameters.model_fields.values()} - in_templates(
        EcrParameters
    ) == {"transferWindow", "srcProfile", "destProfile", "srcCaBundle", "destCaBundle"}


def test_defaults_of_commands_differ_only_where_the_declaration_says_so() -> None:
    unset = build_parameters({})
    for name, field in S3Parameters.model_fields.items():
        if name in ("dest_storage_class", "dest_acl"):
            assert getattr(unset, name) is None
        elif name != "max_capacity":
            assert getattr(unset, name) == field.default
    assert commands_differ(S3Parameters) == ["dest_storage_class", "dest_acl", "max_capacity"]


# -------------------------------------------------------------------------------------------- units


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", MIB),
        ("16MiB", 16 * MIB),
        ("16M", 16 * MIB),
        ("16mb", 16 * MIB),
        (" 16 MiB ", 16 * MIB),
        ("100k", 100 * KIB),
        ("1.5G", GIB + GIB // 2),
        ("2T", 2048 * GIB),
        ("0.5K", 512),
        ("10B", 10),
    ],
)
def test_a_size_is_read_in_binary_units(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.integers(0, 10**30))
def test_a_number_of_bytes_stays_exact(size: int) -> None:
    assert parse_size(str(size)) == parse_size(size) == size
    assert parse_size(f"{size}K") == size * KIB


@pytest.mark.parametrize("text", ["", "M", "-1", "1,5G", "16 MiB/s", "16P", "1e6", "a lot", "1 2"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write 16MiB, 100K or a number of bytes"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+08:00", datetime(2026, 1, 31, 4, tzinfo=UTC)),
    ],
)
def test_a_date_is_utc_unless_it_says_otherwise(text: str, moment: datetime) -> None:
    assert parse_moment(text) == moment.timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("36h", 129600), ("7d", 604800)]
)
def test_an_age_is_a_moment_before_now(text: str, seconds: int) -> None:
    before = time.time()
    assert before - seconds - 1 <= parse_moment(text) <= time.time() - seconds + 1


def test_an_age_of_forever_is_the_beginning_of_time() -> None:
    assert parse_moment("99999w") == 0.0


@pytest.mark.parametrize("text", ["", "yesterday", "7", "7 d", "2026-13-01", "d"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match="is neither a date such as 2026-01-31 nor an age such as 7d"
    ):
        parse_moment(text)


# ----------------------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"min_size": "much"},
            "--min-size: 'much' is not a size; write 16MiB, 100K or a number of bytes",
        ),
        ({"part_size": "1M"}, "--part-size: .* it must be at least 5 MiB"),
        ({"part_size": "6G"}, "--part-size: .* it must be at most 5120 MiB"),
        ({"worker_number": 0}, "--worker-number: .* it must be at least 1"),
        ({"delete_max_percent": 101}, "--delete-max-percent: .* it must be at most 100"),
        ({"max_requests_per_second": 0}, "--max-requests-per-second: .* it must be more than 0"),
        (
            {"max_requests_per_second": "inf"},
            "--max-requests-per-second: 'inf' is not a number",
        ),
        ({"budget": "1e400"}, "budget: '1e400' is not a number"),
        (
            {"max_bytes_per_second": "1000"},
            "--max-bytes-per-second: .* it must be at least 1024",
        ),
        (
            {"dest_storage_class": "COLD\r\nx: y"},
            "--storage-class: .* is not a valid name of a storage class",
        ),
        ({"dest_acl": "mine"}, "--acl: 'mine' is none of 'private', "),
        ({"modified_since": "soon"}, "--modified-since: 'soon' is neither a date"),
        ({"nonsense": 1}, "nonsense: there is no such parameter"),
        (
            {"src_manifest": "a", "src_inventory": "b"},
            "give one of prefix list, manifest and inventory",
        ),
        (
            {"src_anonymous": True, "src_profile": "p"},
            "the source is anonymous, yet it has credentials",
        ),
        (
            {"src_anonymous": True, "src_credentials": "s"},
            "the source is anonymous, yet it has credentials",
        ),
        (
            {"src_anonymous": True, "src_role_arn": "r"},
            "the source is anonymous, yet it has credentials",
        ),
        (
            {"src_role_arn": "bad"},
            "source: 'bad' is not the ARN of a role; write arn:aws:iam::ACCOUNT:role/NAME",
        ),
        ({"dest_role_arn": "bad"}, "destination: 'bad' is not the ARN of a role"),
        ({"dest_put_object_sse_kms_key_id": "k"}, "a KMS key needs encryption AWS_KMS"),
        ({"delete_mode": "Mirror", "src_manifest": "m"}, "mirror deletes need "),
        ({"delete_mode": "Mirror", "src_skip_compare": True}, "mirror deletes need "),
        ({"min_size": "2M", "max_size": "1M"}, "the smallest size is above the largest"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_option(
    values: dict[str, Any], line: str
) -> None:
    with pytest.raises(UsageError) as error:
        validated(S3Parameters, values)
    assert re.match(line, str(error.value))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("standard_ia", "STANDARD_IA"),
        ("GLACIER", "GLACIER"),
        ("ssd-pool", "ssd-pool"),
        ("", None),
        (None, None),
    ],
)
def test_a_storage_class_is_one_of_aws_or_of_the_store_itself(
    given: str | None, kept: str | None
) -> None:
    assert S3Parameters.model_validate({"destStorageClass": given}).dest_storage_class == kept


@pytest.mark.parametrize("text", ["AWS_KMS", "aws:kms", "AWS:KMS"])
def test_kms_has_two_names(text: str) -> None:
    assert (
        S3Parameters.model_validate({"destPutObjectSSEType": text}).dest_put_object_sse_type
        == "AWS_KMS"
    )


def test_a_customer_key_comes_alone() -> None:
    with pytest.raises(UsageError, match="a customer key is an encryption of its own"):
        validated(
            S3Parameters, {"dest_sse_customer_key": "k", "dest_put_object_sse_type": "AES256"}
        )


def test_parameters_do_not_change() -> None:
    parameters = S3Parameters()
    with pytest.raises(ValidationError):
        parameters.src_bucket = "other"  # type: ignore[misc]


@pytest.mark.parametrize("text", ["inf", "-Infinity", "1e400", "nan"])
@pytest.mark.parametrize("name", ["budget", "maxRequestsPerSecond", "deleteMaxPercent"])
def test_a_task_has_no_number_without_end(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name}: '{text}' is "):
        read_parameters("S3EC2", {"srcBucket": "a", "destBucket": "b", name: text})
