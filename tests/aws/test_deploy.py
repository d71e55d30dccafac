"""`dth aws`, as a user types it, on an emulated AWS."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import UsageError
from dth.infra import deploy
from dth.infra.publish import PublishedTemplate
from tests.aws.emulator.command import Command
from tests.aws.emulator.region import wait_for

if TYPE_CHECKING:
    from tests.aws.emulator.region import Region

X86_64, ARM64 = 62, 183  # as ELF numbers machines
BUCKET = "data-transfer-hub-assets-000000000000-us-east-1"


@pytest.fixture
def dth(region: Region, templates: dict[str, Path]) -> Command:
    region.reset()
    for name in ("source", "copies"):
        region.boto("s3").create_bucket(Bucket=name)
    return Command(region, templates)


def given(region: Region, **more: str) -> list[str]:
    parameters = {
        "srcBucket": "source", "destBucket": "copies", "srcEndpoint": region.url,
        "destEndpoint": region.url,
        "srcRegion": "us-east-1", "destRegion": "us-east-1", "ec2CronExpression": "",
        **region.network(), **more,
    }  # fmt: skip
    return [word for name, value in parameters.items() for word in ("-p", f"{name}={value}")]


def test_a_stack_comes_changes_and_goes(dth: Command, region: Region) -> None:
    cloudformation = region.boto("cloudformation")
    # This one makes the templates, the others take those that were made once. They are the same:
    # "is there" below.
    code, out, err = Command(region)("diff", "photos", *given(region))
    assert (code, "Add      WorkerGroup (AWS::AutoScaling::AutoScalingGroup)" in out) == (
        0,
        True,
    ), err
    wait_for(lambda: not cloudformation.describe_stacks()["Stacks"], 10)

    code, out, err = dth("deploy", "photos", *given(region, minSize="many"))
    assert code == 1
    assert err.splitlines()[-1] == (
        "dth: stack photos is ROLLBACK_COMPLETE: TaskSetup "
        "(AWS::CloudFormation::CustomResource): minSize: 'many' is not a size; write 16MiB, "
        "100K or a number of bytes"
    )
    code, out, err = dth("deploy", "photos", *given(region))
    assert code == 0, err
    assert "photos: a first try failed; what is left of it is deleted" in err
    assert re.search(rf"s3://{BUCKET}/dth/\S+ is there", err)
    assert "WorkerGroup: photos-worker" in out

    code, out, err = dth("status", "photos")
    assert (code, out.splitlines()[0]) == (0, "photos: run 1 LISTING"), err
    pause = {"pk": {"S": "task"}, "sk": {"S": "pause"}, "reason": {"S": "the keys are wrong"}}
    [table] = [
        name for name in region.boto("dynamodb").list_tables()["TableNames"] if "State" in name
    ]
    region.boto("dynamodb").put_item(TableName=table, Item=pause)
    code, out, _ = dth("status", "photos")
    assert (code, out.splitlines()[-1]) == (
        1,
        "paused: the keys are wrong (resume: dth aws run photos)",
    )
    code, out, _ = dth("run", "photos")
    assert (code, out.splitlines()) == (
        0,
        [
            "photos: run 1 LISTING",
            (
                "0 objects listed, 0 the same, 0 of 0 settled, 0 failed, 0 B copied; 0 messages in "
                "the queue"
            ),
        ],
    )
    assert dth("status", "nothing") == (
        2,
        "",
        "dth: there is no stack 'nothing' of Data Transfer Hub here\n",
    )

    assert "photos: nothing to change" in dth("deploy", "photos")[1]
    code, out, _ = dth("diff", "photos", "-p", "maxCapacity=3")
    assert (code, "Modify   WorkerGroup" in out) == (0, True)
    assert dth("deploy", "photos", "-p", "maxCapacity=3")[0] == 0
    groups = region.boto("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert {group["MaxSize"] for group in groups} == {1, 3}

    assert dth("destroy", "photos")[0] == 1  # nobody said yes
    assert dth("destroy", "photos", "--yes")[:2] == (0, "photos: deleted\n")
    assert dth("destroy", "photos", "--yes") == (2, "", "dth: there is no stack 'photos' here\n")

    s3 = region.boto("s3")
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values())
    assert "aws:SecureTransport" in s3.get_bucket_policy(Bucket=BUCKET)["Policy"]
    assert {each["Key"].rpartition("/")[2] for each in s3.list_objects_v2(Bucket=BUCKET)["Contents"]} == {
        "lambda.zip", "bundle-arm64.tar.gz", "bundle-x86_64.tar.gz", "console.zip", "s3.json",
        "ecr.json",
        "hub.json", "hub-oidc.json", "image.json",
    }  # fmt: skip
    prefix = s3.list_objects_v2(Bucket=BUCKET)["Contents"][0]["Key"].rpartition("/")[0]
    for name, machine in (("arm64", ARM64), ("x86_64", X86_64)):
        packed = s3.get_object(Bucket=BUCKET, Key=f"{prefix}/bundle-{name}.tar.gz")["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(packed)) as files:
            libraries = [each for each in files if ".so" in each.name]
            heads = {files.extractfile(each).read(20) for each in libraries}
        assert len(libraries) > 5
        assert {(head[:4], head[18]) for head in heads} == {(b"\x7fELF", machine)}
        hub = json.loads(
            s3.get_object(Bucket=BUCKET, Key=f"{prefix}/templates/hub.json")["Body"].read()
        )
        assert (
            hub["Parameters"]["templateS3"]["Default"]
            == hashlib.sha256(
                s3.get_object(Bucket=BUCKET, Key=f"{prefix}/templates/s3.json")["Body"].read()
            ).hexdigest()
        )
        zipped = s3.head_object(Bucket=BUCKET, Key=f"{prefix}/lambda.zip")["VersionId"]
        assert hub["Parameters"]["lambdaVersion"]["Default"] == zipped
        parameter = {"arm64": "bundleArm64", "x86_64": "bundleX8664"}[name]
        assert hub["Parameters"][parameter]["Default"] == hashlib.sha256(packed).hexdigest()
    assert "NotByTasks" in s3.get_bucket_policy(Bucket=BUCKET)["Policy"]

    # A bucket from before gets what it lacks, and keeps what it has.
    own = {
        "Sid": "Own",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{BUCKET}/x",
    }
    s3.put_bucket_policy(
        Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [own]})
    )
    assert dth("diff", "photos", *given(region))[0] == 0
    kept = [
        each["Sid"]
        for each in json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"]
    ]
    assert kept == ["Own", "OnlyByTls", "NotByTasks"]

    # Somebody changed a template.
    key = f"{prefix}/templates/s3.json"
    text = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    s3.put_object(Bucket=BUCKET, Key=key, Body=text.replace(b"sha256sum", b"true     "))
    code, _, err = dth("deploy", "photos", *given(region))
    assert (code, "is not the template of this version" in err) == (1, True), err


def test_parameters_are_looked_at_before_anything_is_made(region: Region) -> None:
    template = PublishedTemplate("", {"srcBucket": True, "destBucket": True, "maxCapacity": False})
    photos = deploy.DeployedStack(region.boto("cloudformation"), "photos", lambda line: None)
    for given, line in (
        (
            {"srcBucket": "source"},
            "the template needs destBucket: give each with --parameter NAME=VALUE",
        ),
        ({"maxCapacty": "3"}, "the template has no parameter 'maxCapacty'; is it maxCapacity?"),
    ):
        with pytest.raises(UsageError, match=re.escape(line)):
            photos.deploy(template, given)
    assert not photos.status()


def test_what_is_wrong_is_told_in_one_line(dth: Command, region: Region, tmp_path: Path) -> None:
    nothing = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    for arguments, env, code, line in (
        (
            ("publish",),
            {"AWS_REGION": ""},
            2,
            "no region: give one with --region, or set AWS_REGION",
        ),
        (("publish",), nothing, 2, "no AWS credentials: set AWS_PROFILE or "),
        (
            ("publish", "--profile", "nobody"),
            {},
            2,
            "there is no profile 'nobody' in the AWS configuration",
        ),
        (
            ("publish",),
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"},
            1,
            "AWS cannot be asked: no server takes connections at http://127.0.0.1:9/",
        ),
        (("deploy", "x", "-p", "nonsense"), {}, 2, "--parameter 'nonsense': write NAME=VALUE"),
        (("deploy", "x", "--tag", "nonsense"), {}, 2, "--tag 'nonsense': write KEY=VALUE"),
        (
            ("deploy", "x", "--tag", "DataTransferHub=hub"),
            {},
            2,
            "--tag 'DataTransferHub=hub': keys that begin with aws: or DataTransferHub are taken",
        ),
        (("destroy", "x", "--yes"), {}, 2, "there is no stack 'x' here"),
        (("deploy", "x", "--template", "nothing"), {}, 2, "Invalid value for '--template'"),
    ):
        found, _, err = dth(*arguments, **env)
        assert found == code, err
        assert err.splitlines()[-1].startswith(f"dth: {line}"), err


def test_machines_that_would_reach_nothing_are_not_made(dth: Command, region: Region) -> None:
    ec2 = region.boto("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
    code, out, err = dth("deploy", "photos", *given(region, ec2VpcId=vpc, ec2Subnets=subnet))
    assert (code, out) == (2, "")
    assert err == (
        f"dth: from {subnet} machines reach nothing outside of their VPC, which lacks endpoints "
        "for autoscaling, dynamodb, logs, s3, sqs: make them, or choose subnets with a NAT gateway\n"
    )
    assert BUCKET not in {each["Name"] for each in region.boto("s3").list_buckets()["Buckets"]}


def test_templates_are_written(dth: Command, tmp_path: Path) -> None:
    code, out, err = dth("synth", str(tmp_path / "new"))
    assert (code, out.splitlines()) == (
        0,
        [f"{tmp_path}/new/{name}.json" for name in ("ecr", "s3", "hub", "hub-oidc", "image")],
    ), err
