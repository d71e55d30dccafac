"""The template of an S3 task, as CloudFormation will read it. What it does is tested in
tests/aws/test_s3_stack.py."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import cfnlint
import pytest

from dth.objects.parameters import S3Parameters
from dth.platforms.aws.tables import TABLES
from tests.infra.checks import Findings, Resolved, inline, resources

NOT_ALONE = [  # they need a hub, or a file on the machine
    "transferWindow", "bandwidthTimetable", "budget", "srcProfile", "destProfile", "srcCaBundle",
    "destCaBundle",
    "srcStore", "destStore", "links",
]  # fmt: skip
ACCEPTED = {
    # What the rule finds: why it is so.
    ("MachineRole", "IAM5", "<assetPrefix>/*"): (
                                                "all of this version's code, and nothing else of "
                                                "the bucket"
                                                ),
    ("MachineRole", "IAM5", "autoScalingGroup:*"): (
                                                   "the part of the ARN before the group's name "
                                                   "is a number of AWS's"
                                                   ),
    ("ControlRole", "IAM5", ""): (
                                 "the rule does not read a policy under a condition; a test below "
                                 "does"
                                 ),
    ("SetupRole", "IAM5", ""): (
                               "the rule does not read a policy under a condition; a test below "
                               "does"
                               ),
    ("ZoneRole", "IAM5", ""): "the rule does not read a policy under a condition; test_schedules does",
    ("TaskRights", "IAM5", "/index/*"): "the indexes of the task's own tables",
    ("TaskRights", "IAM5", ":log-group:"): "the streams of the task's own log group",
    ("ReadRights", "IAM5", "<srcBucket>/*"): "the objects that are copied",
    ("RestoreRights", "IAM5", "<srcBucket>/*"): "the objects that are copied",
    ("WriteRights", "IAM5", "<destBucket>/*"): "the copies",
    ("DeleteRights", "IAM5", "<destBucket>/*"): "the copies",
    ("PrefixListRights", "IAM5", "<srcPrefixListBucket>/*"): (
                                                             "the list's key is not known to "
                                                             "begin with"
                                                             ),
    ("InventoryRights", "IAM5", "${Bucket}/*"): "the report's files are wherever its manifest says",
    ("StoreKeyRights", "IAM5", "key/*"): (
                                         "whichever keys encrypt buckets and secrets; through "
                                         "these services only"
                                         ),
    ("Setup", "L1", ""): (
                         "the newest Python that Amazon Linux 2023 has packages of in every "
                         "partition, for both"
                         ),
    ("Tick", "L1", ""): (
                        "the newest Python that Amazon Linux 2023 has packages of in every "
                        "partition, for both"
                        ),
    ("Start", "L1", ""): (
                         "the newest Python that Amazon Linux 2023 has packages of in every "
                         "partition, for both"
                         ),
    ("WorkerGroup", "EC26", ""): "the rule does not read launch templates; a test below does",
    ("FinderGroup", "EC26", ""): "the rule does not read launch templates; a test below does",
    ("WorkerGroup", "AS3", ""): "machines come and go all the time, and metrics show it",
    ("FinderGroup", "AS3", ""): "machines come and go all the time, and metrics show it",
    ("ObjectsTable", "DDB3", ""): "a run compares again what is lost",
    ("PartsTable", "DDB3", ""): "a run compares again what is lost",
    ("StateTable", "DDB3", ""): "on unless a parameter says NONE; a test below sees that",
}  # fmt: skip


@pytest.fixture(scope="module")
def template(templates: dict[str, Path]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(templates["s3"].read_text("utf-8"))
    return found


def test_cdk_nag_finds_nothing_that_has_no_reason() -> None:
    found = Findings.of("dth.infra.s3_stack", "S3Stack")

    assert found.unexplained(ACCEPTED) == []
    assert found.outdated(ACCEPTED) == []


def test_every_parameter_of_the_model_is_there_with_its_default(template: dict[str, Any]) -> None:
    declared = template["Parameters"]
    names = {field.alias for field in S3Parameters.model_fields.values()}
    assert names - declared.keys() == set(NOT_ALONE)
    for field in S3Parameters.model_fields.values():
        if field.alias in NOT_ALONE:
            continue
        found = declared[field.alias]
        assert len(found["Description"]) > 5
        if isinstance(field.default, bool):
            assert (found["Default"], found["AllowedValues"]) == (
                str(field.default).lower(),
                ["true", "false"],
            )
    assert {name for name, found in declared.items() if "Default" not in found} == {
        "srcBucket", "destBucket", "ec2VpcId", "ec2Subnets", "assetBucket", "assetPrefix",
    }  # fmt: skip
    assert declared["ec2CronExpression"]["Default"] == "0/60 * * * ? *"
    assert declared["destStorageClass"]["Default"] == "INTELLIGENT_TIERING"
    assert declared["maxCapacity"]["Default"] == "20"
    grouped = template["Metadata"]["AWS::CloudFormation::Interface"]
    shown = [name for group in grouped["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(shown) == sorted(declared)
    assert grouped["ParameterLabels"].keys() == declared.keys()


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("srcBucket", "my-bucket.eu", "*"),
        ("destBucket", "my_Bucket", "a/b"),
        ("srcCredentials", "key-of_a", "*"),
        ("srcRoleArn", "arn:aws-cn:iam::123456789012:role/a/b", "arn:aws:iam::123456789012:role/*"),
        ("permissionsBoundary", "arn:aws-us-gov:iam::123456789012:policy/p", "*"),
        ("kmsKeyArn", "arn:aws:kms:eu-west-1:123456789012:key/ab-12",
        "arn:aws:kms:eu-west-1:123456789012:key/*"),
    ],
)  # fmt: skip
def test_nothing_widens_a_policy(template: dict[str, Any], name: str, good: str, bad: str) -> None:
    pattern = template["Parameters"][name]["AllowedPattern"]
    assert re.fullmatch(pattern, good)
    assert not re.fullmatch(pattern, bad)


def test_tables_are_those_of_the_adapters(template: dict[str, Any]) -> None:
    tables = resources(template, "AWS::DynamoDB::Table")
    assert tables.keys() == {"ObjectsTable", "PartsTable", "StateTable"}
    for name, made in tables.items():
        table = TABLES[name.removesuffix("Table").lower()]
        assert made["KeySchema"][0]["AttributeName"] == table.partition.name
        recovery = made["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]
        assert recovery == {
            "Fn::If": ["NoRecovery", False, True]
            if name == "StateTable"
            else ["FullRecovery", True, False]
        }
        assert made["SSESpecification"]["SSEEnabled"] is True
        assert template["Resources"][name]["Condition"] == "OwnTables"
    lives = {
        name: made["TimeToLiveSpecification"]
        for name, made in tables.items()
        if "TimeToLiveSpecification" in made
    }
    assert lives == {
        "StateTable": {"AttributeName": "expires", "Enabled": True},
        "ObjectsTable": {"AttributeName": "Expires", "Enabled": True},
    }


def test_machines_are_closed_and_encrypted(template: dict[str, Any]) -> None:
    for found in resources(template, "AWS::EC2::LaunchTemplate").values():
        data = found["LaunchTemplateData"]
        assert data["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
        assert [each["Ebs"]["Encrypted"] for each in data["BlockDeviceMappings"]] == [True]
        assert "KeyName" not in data
    [group] = resources(template, "AWS::EC2::SecurityGroup").values()
    assert "SecurityGroupIngress" not in group


def test_a_start_script_is_good_bash_and_downloads_nothing_of_others(
    template: dict[str, Any],
) -> None:
    for name, found in resources(template, "AWS::EC2::LaunchTemplate").items():
        script, values = found["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Sub"]
        assert values.keys() <= set(re.findall(r"\$\{(\w+)\}", script))
        script = re.sub(r"\$\{[\w:]+\}", "x", script)
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        assert (
            script.index("tar -xzf")
            < script.index("-m compileall -q")
            < script.index("systemctl enable")
        )
        assert len(script) < 8000  # EC2 takes 16 KiB
        assert re.findall(r"https?://\S+|\bpip\b|\bcurl\b", script) == []
        assert f"-m dth.compose.aws.agent {name.removesuffix('Template').lower()}" in script


class Boot:
    """Runs the start script of a worker to where the service begins, in a folder, with stand-ins
    for commands.

    `failing`: by command, how often it fails first.
    """

    def __init__(self, template: dict[str, Any], folder: Path, digest: str, **failing: int) -> None:
        found = resources(template, "AWS::EC2::LaunchTemplate")["WorkerTemplate"]
        script, values = found["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Sub"]
        assert values["Digest"] == {
            "Fn::If": ["OnArm", {"Ref": "bundleArm64"}, {"Ref": "bundleX8664"}]
        }
        script = script[: script.index("export PYTHONPATH")].replace("${Digest}", digest)
        script = re.sub(r"\$\{[\w:]+\}", "x", script).replace(
            'PAUSES="5 15 45 90"', 'PAUSES="0 0 0 0"'
        )
        for part in ("/opt", "/var", "/dev/console"):
            script = script.replace(part, f"{folder}{part}")
        self.folder, self.calls = folder, folder / "calls"
        for each in ("opt/dth", "var/log", "var/lib/cloud/data", "dev", "bin"):
            (folder / each).mkdir(parents=True)
        (folder / "var/lib/cloud/data/instance-id").write_text("i-0abc\n")
        for name in ("aws", "dnf", "useradd", "install", "modprobe", "sysctl", "shutdown"):
            command = folder / "bin" / name
            command.write_text(
                f'#!/bin/bash\necho "{name} $*" >> {self.calls}\n'
                f'if [ $(grep -c "^{name} " {self.calls}) -le {failing.get(name, 0)} ]; then\n'
                f'  echo "{name} is broken" >&2; exit 1\nfi\n'
                # aws s3 cp --only-show-errors SOURCE DESTINATION
                f'if [ "$1" = s3 ]; then cp {folder}/bundle.tar.gz "$5"; fi\n'
            )
            command.chmod(0o755)
        self.ran = subprocess.run(
            ["bash", "-c", script],
            env={"PATH": f"{folder}/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )

    def called(self, command: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith(command)]


@pytest.fixture
def digest(tmp_path: Path) -> str:
    """Makes the published bundle."""
    with tarfile.open(tmp_path / "bundle.tar.gz", "w:gz") as archive:
        archive.add(__file__, "code.py")
    return hashlib.sha256((tmp_path / "bundle.tar.gz").read_bytes()).hexdigest()


def test_a_machine_comes_up_after_some_failures(
    template: dict[str, Any], tmp_path: Path, digest: str
) -> None:
    boot = Boot(template, tmp_path, digest, dnf=2, aws=3)
    assert boot.ran.returncode == 0, boot.ran.stdout
    assert (tmp_path / "opt/dth/code.py").exists()
    assert (len(boot.called("dnf")), len(boot.called("aws s3"))) == (3, 4)
    assert boot.called("shutdown") == []


def test_a_machine_that_does_not_come_up_says_why_and_ends(
    template: dict[str, Any], tmp_path: Path, digest: str
) -> None:
    boot = Boot(template, tmp_path, digest, dnf=99)
    assert boot.ran.returncode != 0
    assert len(boot.called("dnf")) == 5
    why = "Data Transfer Hub: the machine i-0abc did not come up: dnf is broken"
    assert (tmp_path / "dev/console").read_text() == why + "\n"
    [sent] = boot.called("aws logs put-log-events")
    assert why in sent
    [written] = boot.called("aws dynamodb put-item")
    item = json.loads(written.partition("--item ")[2])
    assert item.pop("at").keys() == {"N"}
    texts = {"pk": "machine", "sk": "i-0abc", "kind": "worker", "failed": why}
    assert item == {name: {"S": text} for name, text in texts.items()}
    assert boot.called("shutdown") == ["shutdown -h +5"]
    for found in resources(template, "AWS::EC2::LaunchTemplate").values():
        assert found["LaunchTemplateData"]["InstanceInitiatedShutdownBehavior"] == "terminate"


def test_a_machine_runs_the_bundle_that_was_published_and_no_other(
    template: dict[str, Any], tmp_path: Path, digest: str
) -> None:
    with (tmp_path / "bundle.tar.gz").open("ab") as bundle:
        bundle.write(b"\0")
    boot = Boot(template, tmp_path, digest)
    assert boot.ran.returncode != 0
    assert not (tmp_path / "opt/dth/code.py").exists()
    assert "is not what was published" in (tmp_path / "dev/console").read_text()
    assert boot.called("shutdown")


def test_a_shell_on_machines_is_for_those_who_ask(template: dict[str, Any]) -> None:
    role = resources(template, "AWS::IAM::Role")["MachineRole"]
    policy = {"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"}
    assert role["ManagedPolicyArns"] == {
        "Fn::If": ["IsSessionManager", [policy], {"Ref": "AWS::NoValue"}]
    }
    assert template["Parameters"]["sessionManager"]["Default"] == "false"


REGIONS_OF_TYPES = json.loads(
    (
        Path(cfnlint.__file__).parent
        / "data/schemas/extensions/aws_ec2_instance/instancetype_enum.json"
    ).read_text("utf-8")
)
REGIONS = REGIONS_OF_TYPES.keys() - {"all", "description"}


def _types(template: dict[str, Any], group: str, **given: str) -> list[str]:
    """The types that CloudFormation makes of the parameters."""
    policy = resources(template, "AWS::AutoScaling::AutoScalingGroup")[group][
        "MixedInstancesPolicy"
    ]
    resolved = Resolved(template, given)
    found = [resolved.value(each) for each in policy["LaunchTemplate"]["Overrides"]]
    return [resolved.value(each["InstanceType"]) for each in found if each]


@pytest.mark.parametrize("architecture", ["arm64", "x86-64"])
def test_machines_have_no_credits_and_their_types_are_in_the_regions(
    template: dict[str, Any], architecture: str
) -> None:
    workers = _types(template, "WorkerGroup", architecture=architecture)
    finders = _types(template, "FinderGroup", architecture=architecture)
    assert len(workers) > 1  # Spot needs a choice
    assert len(finders) == 1
    assert [each for each in (*workers, *finders) if each.startswith("t")] == []
    regions = {
        name: set(each["enum"]) for name, each in REGIONS_OF_TYPES.items() if name in REGIONS
    }
    assert len(regions) > 30
    missing = {name for name, known in regions.items() if not {*workers, *finders} <= known}
    assert missing == (set() if architecture == "arm64" else {"ap-southeast-4", "eu-south-2"})


def test_types_of_machines_can_be_chosen(template: dict[str, Any]) -> None:
    assert _types(template, "WorkerGroup", workerTypes="c7gn.medium") == ["c7gn.medium"]
    two = _types(template, "WorkerGroup", workerTypes="c7gn.large,c6gn.large")
    assert two == ["c7gn.large", "c6gn.large"]
    assert _types(template, "FinderGroup", finderType="r7g.large") == ["r7g.large"]
    pattern = template["Parameters"]["workerTypes"]["AllowedPattern"]
    for good in ("", "c7gn.medium", "m7i-flex.large,c5.large"):
        assert re.fullmatch(pattern, good)
    for bad in ("c7gn", "a.b,", "a.b, c.d", "a.b,a.c,a.d,a.e,a.f"):
        assert not re.fullmatch(pattern, bad)


def test_machines_drain_before_they_go(template: dict[str, Any]) -> None:
    [hook] = resources(template, "AWS::AutoScaling::LifecycleHook").values()
    assert hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    assert hook["HeartbeatTimeout"] >= 100 + 30  # as long as the agent drains, and more


def test_rights_are_given_where_they_are_needed_only(template: dict[str, Any]) -> None:
    for name, condition in (
        ("ReadRights", "OwnRoleReads"),
        ("WriteRights", "OwnRoleWrites"),
        ("DeleteRights", "OwnRoleDeletes"),
        ("RestoreRights", "OwnRoleRestores"),
        ("SrcSecretRights", "HasSrcCredentials"),
        ("DestRoleRights", "HasDestRoleArn"),
        ("SubscriptionRights", "SubscribesToEvents"),
    ):
        assert template["Resources"][name]["Condition"] == condition


def test_control_and_setup_have_few_rights_of_their_own(template: dict[str, Any]) -> None:
    own = {
        name: [
            (statement["Action"], statement["Resource"])
            for policy in inline(role)
            for statement in policy["PolicyDocument"]["Statement"]
        ]
        for name, role in resources(template, "AWS::IAM::Role").items()
    }
    # Lambda asks for them for functions in a VPC, and they take no resource.
    [in_vpc] = own["SetupRole"]
    assert in_vpc[1] == "*"
    assert {action.partition(":")[0] for action in in_vpc[0]} == {"ec2"}
    looks, scales, misses, warms, also = own["ControlRole"]
    # Only the table of records may become faster, and no machine may do that.
    assert warms[0] == ["dynamodb:UpdateTable"]
    assert "ObjectsTable" in json.dumps(warms[1])
    assert all("dynamodb:UpdateTable" not in actions for actions, _ in own["MachineRole"])
    assert misses == (
        ["sqs:GetQueueAttributes", "sqs:SendMessage"], {"Fn::GetAtt": ["MissedStarts", "Arn"]},
    )  # fmt: skip
    describes = ["autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeScalingActivities"]
    assert looks == (describes, "*")
    assert all("autoScalingGroupName/${AWS::StackName}-" in each["Fn::Sub"] for each in scales[1])
    assert also == in_vpc


def test_a_minute_looks_after_a_task_alone(template: dict[str, Any]) -> None:
    """A hub looks after its own with one rule for all."""
    look = template["Resources"]["Look"]
    assert look["Properties"]["ScheduleExpression"] == "rate(1 minute)"
    assert look["Properties"]["Targets"][0]["Arn"] == {"Fn::GetAtt": ["Tick", "Arn"]}
    assert look["Condition"] == template["Resources"]["LookMayTick"]["Condition"] == "Alone"
    assert template["Resources"]["Schedule"]["Condition"] == "Scheduled"
    functions = resources(template, "AWS::Lambda::Function")
    handlers = {
        f"dth.compose.aws.functions.objects.{name}" for name in ("tick", "start", "resource")
    }
    assert {each["Handler"] for each in functions.values()} == handlers
    assert max(each["Timeout"] for each in functions.values()) <= 300


def test_a_task_that_waits_costs_little(template: dict[str, Any]) -> None:
    """Each metric of an alarm is 0.10 USD a month, and no machine waits."""
    alarms = resources(template, "AWS::CloudWatch::Alarm").values()
    assert sum(len(each.get("Metrics", [each])) for each in alarms) == 2
    assert template["Parameters"]["minCapacity"]["Default"] == "0"
    assert not resources(template, "AWS::StepFunctions::StateMachine")


def test_a_hub_pays_for_no_dashboards(template: dict[str, Any]) -> None:
    assert template["Resources"]["Dashboard"]["Condition"] == "Alone"
    assert template["Outputs"]["Dashboard"]["Condition"] == "Alone"


def test_failures_are_told_by_mail(template: dict[str, Any]) -> None:
    alarm = resources(template, "AWS::CloudWatch::Alarm")["Failures"]
    assert alarm["AlarmActions"] == [{"Ref": "Alarms"}]
    assert alarm["Threshold"] == 0
    assert template["Resources"]["AlarmMail"]["Condition"] == "HasAlarmEmail"


def test_which_tables_can_be_restored_is_a_parameter(template: dict[str, Any]) -> None:
    """A hub makes the tables of its tasks in the same way."""
    parameter = template["Parameters"]["pointInTimeRecovery"]
    assert parameter["Default"] == "STATE"
    ask = {"Ref": "pointInTimeRecovery"}
    assert template["Conditions"]["NoRecovery"] == {"Fn::Equals": [ask, "NONE"]}
    assert template["Conditions"]["FullRecovery"] == {"Fn::Equals": [ask, "ALL"]}
    recovered = {
        chosen: {name for name, table in TABLES.items() if table.is_recoverable(chosen)}
        for chosen in parameter["AllowedValues"]
    }
    assert recovered == {"STATE": {"state", "images"}, "ALL": set(TABLES), "NONE": set()}
