"""The preflight against real stores: each missing permission is named, each trouble told, and
nothing is left."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.checks import CheckState
from dth.core.transport import Transport
from dth.objects.checks.preflight import ObjectPreflight, preflight
from dth.objects.parameters import S3Parameters
from dth.objects.task import open_route
from tests.engine import Keyring, Side, hurry
from tests.servers.process import listening_socket
from tests.servers.proxy import Delay, Drop, Hook, Proxy, Reply, Request, Reset, ResponseHeaders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.servers.ministack import MiniStack
    from tests.servers.rclone_serve import RcloneServe

pytestmark = pytest.mark.quick

OBJECTS = {"in/a": b"one", "in/b": b"two", "in/empty": b""}
SOURCE_ACTIONS = ("ListBucket", "GetObject", "GetObjectTagging")
DEST_ACTIONS = (
    *("ListBucket", "GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload"),
    *("GetBucketVersioning", "GetBucketObjectLockConfiguration", "GetLifecycleConfiguration"),
    *(
        "GetEncryptionConfiguration",
        "GetBucketOwnershipControls",
        "DeleteObjectVersion",
        "ListBucketVersions",
    ),
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


class Task:
    """A task from `in/` of one bucket to `out/` of another."""

    def __init__(self, source: Side, dest: Side, **parameters: Any) -> None:
        self.source, self.dest = source, dest
        self.keyring = Keyring(source=source.server, dest=dest.server)
        self.parameters = {
            "src_bucket": source.bucket,
            "src_prefix": "in/",
            "src_endpoint": source.server.url,
            "src_credentials": "source",
            "dest_bucket": dest.bucket,
            "dest_prefix": "out/",
            "dest_endpoint": dest.server.url,
            "dest_credentials": "dest",
            "dest_keeps_src_prefix": False,
            **parameters,
        }

    async def check(self, **changes: Any) -> ObjectPreflight:
        parameters = S3Parameters.model_validate({**self.parameters, **changes})
        transport = Transport()
        try:
            report = await preflight(
                await open_route(parameters, transport, self.keyring), self.keyring
            )
        finally:
            transport.close()
        for check in report.checks:
            assert "\n" not in check.found + check.todo
            assert check.todo or check.state in (
                CheckState.OK,
                CheckState.UNKNOWN,
                CheckState.WARNING,
            ), check
        assert json.loads(json.dumps(report.as_dict())) == report.as_dict()
        assert report.requests <= 40
        return report

    async def failed(self, **changes: Any) -> dict[str, str]:
        """By side and name: what was found and what to do."""
        return told(await self.check(**changes), CheckState.FAILED)


def told(report: ObjectPreflight, *states: CheckState) -> dict[str, str]:
    return {
        f"{check.side} {check.name}": f"{check.found}; {check.todo}"
        for check in report.checks
        if check.state in states
    }


def state(report: ObjectPreflight, side: str, name: str) -> CheckState:
    [found] = [check.state for check in report.checks if (check.side, check.name) == (side, name)]
    return found


def left(side: Side) -> list[str]:
    """Everything in the bucket: objects, versions, delete markers, uploads."""
    s3 = side.direct.server.boto()
    found = s3.list_object_versions(Bucket=side.bucket)
    keys = [item["Key"] for kind in ("Versions", "DeleteMarkers") for item in found.get(kind, [])]
    return keys + [upload["Key"] for upload in side.direct.uploads()]


@pytest.fixture
def task(proxy_a: Proxy, proxy_b: Proxy, source: Side, dest: Side) -> Task:
    """Between stores that take any credentials, through a proxy on either side."""
    source.put(OBJECTS)
    return Task(Side(proxy_a, source.bucket), Side(proxy_b, dest.bucket))


# -------------------------------------------------------------------------------------- permissions


def allow(actions: Mapping[str, str]) -> dict[str, object]:
    statements = [
        {"Effect": "Allow", "Action": f"s3:{action}", "Resource": resource}
        for action, resource in actions.items()
    ]
    return {"Version": "2012-10-17", "Statement": statements}


@pytest.fixture
def guarded(s3_auth: MiniStack) -> Iterator[Callable[..., Task]]:
    """A task whose users lack some actions: `guarded(source={...}, dest={...})`."""
    buckets = [s3_auth.bucket("source"), s3_auth.bucket("destination")]
    sides = [Side(s3_auth, bucket) for bucket in buckets]
    sides[0].put(OBJECTS)
    sides[0].put({"in/tagged": b"three"}, **{"x-amz-tagging": "a=b"})

    def make(
        source: set[str] | None = None, dest: set[str] | None = None, **parameters: Any
    ) -> Task:
        made = Task(*sides, **parameters)
        for name, bucket, actions, lacking in (
            ("source", buckets[0], SOURCE_ACTIONS, source or set()),
            ("dest", buckets[1], DEST_ACTIONS, dest or set()),
        ):
            arn = f"arn:aws:s3:::{bucket}"
            granted = {
                action: arn if "Bucket" in action or "Configuration" in action else f"{arn}/*"
                for action in actions
                if action not in lacking
            }
            access, secret = s3_auth.user(allow({**granted, "ListAllMyBuckets": "*"}))
            made.keyring.secrets[name] = {"access_key_id": access, "secret_access_key": secret}
        return made

    yield make
    for bucket in buckets:
        s3_auth.drop(bucket)


async def test_nothing_is_missing(guarded: Callable[..., Task]) -> None:
    task = guarded(delete_mode="Mirror")
    report = await task.check()
    assert told(report, CheckState.FAILED, CheckState.UNKNOWN) == {}
    assert report.as_dict()["policies"] == {"source": {}, "destination": {}}
    for name in (
        "ListBucket",
        "PutObject",
        "probe object",
        "GetObject",
        "DeleteObject",
        "clean-up",
    ):
        assert state(report, "destination", name) is CheckState.OK
    assert left(task.dest) == []


@pytest.mark.parametrize("action", SOURCE_ACTIONS)
async def test_a_missing_action_at_the_source_is_named(
    guarded: Callable[..., Task], action: str
) -> None:
    task = guarded(
        source={action}, src_prefix="in/tagged" if action == "GetObjectTagging" else "in/"
    )
    report = await task.check()
    assert list(told(report, CheckState.FAILED)) == [f"source {action}"]
    prefix = task.parameters["src_prefix"]
    arn = f"arn:aws:s3:::{task.source.bucket}"
    expected: dict[str, Any] = {
        "Effect": "Allow",
        "Action": [f"s3:{action}"],
        "Resource": f"{arn}/{prefix}*",
    }
    if action == "ListBucket":
        expected |= {"Resource": arn, "Condition": {"StringLike": {"s3:prefix": "in/*"}}}
    assert report.policy("source") == {"Version": "2012-10-17", "Statement": [expected]}
    assert report.policy("destination") == {}


@pytest.mark.parametrize("action", DEST_ACTIONS[:5])
async def test_a_missing_action_at_the_destination_is_named(
    guarded: Callable[..., Task], action: str
) -> None:
    task = guarded(dest={action}, delete_mode="Mirror")
    report = await task.check()
    assert list(told(report, CheckState.FAILED)) == [f"destination {action}"]
    [statement] = report.policy("destination")["Statement"]
    assert statement["Action"] == [f"s3:{action}"]
    assert left(task.dest) == []


@pytest.mark.parametrize("action", DEST_ACTIONS[5:10])
async def test_a_setting_that_may_not_be_read_is_unknown(
    guarded: Callable[..., Task], action: str
) -> None:
    task = guarded(dest={action})
    report = await task.check()
    assert told(report, CheckState.FAILED) == {}
    [check] = [check for check in report.checks if check.statement]
    assert (check.state, check.statement["Action"]) == (CheckState.UNKNOWN, [f"s3:{action}"])
    assert report.policy("destination") == {}  # the task does not need it
    assert left(task.dest) == []


async def test_every_missing_action_is_in_one_policy(guarded: Callable[..., Task]) -> None:
    task = guarded(dest={"ListBucket", "PutObject", "DeleteObject"}, delete_mode="Mirror")
    report = await task.check()
    listing, objects = report.policy("destination")["Statement"]
    assert listing["Action"] == ["s3:ListBucket"]
    assert objects["Action"] == ["s3:DeleteObject", "s3:PutObject"]
    assert objects["Resource"] == f"arn:aws:s3:::{task.dest.bucket}/out/*"


async def test_the_policy_of_the_report_is_all_that_was_missing(
    guarded: Callable[..., Task], s3_auth: MiniStack
) -> None:
    task = guarded(source=set(SOURCE_ACTIONS), dest=set(DEST_ACTIONS), delete_mode="Mirror")
    for _ in range(4):  # one thing may hide another
        report = await task.check()
        if report.state in (CheckState.OK, CheckState.UNKNOWN):
            break
        for name, side in (("source", "source"), ("dest", "destination")):
            if added := report.policy(side):
                task.statements = getattr(task, "statements", {"source": [], "dest": []})
                task.statements[name] += added["Statement"]
                access, secret = s3_auth.user(
                    {"Version": "2012-10-17", "Statement": task.statements[name]}
                )
                task.keyring.secrets[name] = {"access_key_id": access, "secret_access_key": secret}
    assert told(report, CheckState.FAILED, CheckState.WARNING) == {}
    assert left(task.dest) == []


async def test_rights_that_only_writing_needs(guarded: Callable[..., Task]) -> None:
    """Without the right to delete, or to know whether it could, no probe object is written."""
    for lacking in ({"DeleteObject"}, set(DEST_ACTIONS[5:])):
        task = guarded(dest=lacking)
        report = await task.check()
        assert told(report, CheckState.FAILED) == {}
        assert state(report, "destination", "PutObject") is CheckState.OK
        assert state(report, "destination", "probe object") is CheckState.UNKNOWN
        assert left(task.dest) == []


async def test_what_could_not_be_taken_away_is_not_begun(guarded: Callable[..., Task]) -> None:
    task = guarded(dest={"AbortMultipartUpload", "DeleteObject"})
    report = await task.check()
    assert list(told(report, CheckState.FAILED)) == ["destination AbortMultipartUpload"]
    assert state(report, "destination", "PutObject") is CheckState.UNKNOWN
    assert left(task.dest) == []


async def test_a_header_that_is_refused_is_named(task: Task, proxy_b: Proxy) -> None:
    said = (
        "User: arn:aws:iam::1:user/u is not authorized to perform: s3:PutObjectTagging on "
        "resource: arn:aws:s3:::b"
    )
    rule = proxy_b.rule(Reply(403, "AccessDenied", said), method="POST", query="uploads")
    failed = await task.failed()
    assert list(failed) == ["destination PutObjectTagging"]
    assert "copyTags" in failed["destination PutObjectTagging"]
    proxy_b.remove(rule)
    # Stores that say nothing: what passes without the header tells.
    for header, name in (("x-amz-tagging", "PutObjectTagging"), ("x-amz-acl", "PutObjectAcl")):
        rule = proxy_b.rule(Reply(403, "AccessDenied"), when=lambda r, h=header: h in r.headers)
        before = len(proxy_b.requests)
        assert list(await task.failed(dest_acl="private")) == [f"destination {name}"]
        assert len(proxy_b.requests) - before <= 30
        proxy_b.remove(rule)
    assert left(task.dest) == []


async def test_kms_keys_are_named(task: Task, proxy_a: Proxy, proxy_b: Proxy) -> None:
    key = "arn:aws:kms:eu-west-1:123456789012:key/k"
    said = (
        f"User: u is not authorized to perform: kms:GenerateDataKey on resource: {key} because "
        "no policy"
    )
    proxy_b.rule(Reply(403, "AccessDenied", said), method="POST")
    said = f"User: u is not authorized to perform: kms:Decrypt on resource: {key} because no policy"
    proxy_a.rule(Reply(403, "AccessDenied", said), method="GET", key="^in/")
    report = await task.check()
    assert set(told(report, CheckState.FAILED)) == {"source KMS", "destination KMS"}
    [statement] = report.policy("source")["Statement"]
    assert statement == {"Effect": "Allow", "Action": ["kms:Decrypt"], "Resource": key}
    [statement] = report.policy("destination")["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": key,
    }


async def test_an_encryption_that_a_bucket_demands_is_told(task: Task, proxy_b: Proxy) -> None:
    said = (
        "User: u is not authorized to perform: s3:PutObject on resource: r with an explicit "
        "deny in a policy"
    )
    plain = proxy_b.rule(
        Reply(403, "AccessDenied", said),
        when=lambda r: (
            "x-amz-server-side-encryption" not in r.headers and "uploadId" not in r.query
        ),
        method="POST|PUT",
    )
    failed = await task.failed()
    assert list(failed) == ["destination encryption"]
    assert "destPutObjectSSEType to AES256" in failed["destination encryption"]
    assert await task.failed(dest_put_object_sse_type="AES256") == {}
    proxy_b.remove(plain)
    proxy_b.rule(Reply(403, "AccessDenied", said), method="POST|PUT")
    failed = await task.failed()
    assert "a statement would not help" in failed["destination PutObject"]
    assert left(task.dest) == []


# ----------------------------------------------------------------------------------------- settings


async def test_versions_of_the_probe_go_too(task: Task, dest: Side) -> None:
    s3 = dest.server.boto()
    for status in ("Enabled", "Suspended"):
        s3.put_bucket_versioning(Bucket=dest.bucket, VersioningConfiguration={"Status": status})
        report = await task.check(delete_mode="Mirror")
        assert told(report, CheckState.FAILED, CheckState.UNKNOWN) == {}
        assert state(report, "destination", "DeleteObject") is CheckState.OK
        assert left(dest) == []


async def test_a_version_that_could_not_be_deleted_is_not_written(
    guarded: Callable[..., Task], s3_auth: MiniStack
) -> None:
    task = guarded(dest={"DeleteObjectVersion"}, delete_mode="Mirror")
    versioning = {"Status": "Enabled"}
    s3_auth.boto().put_bucket_versioning(
        Bucket=task.dest.bucket, VersioningConfiguration=versioning
    )
    report = await task.check()
    assert state(report, "destination", "PutObject") is CheckState.OK
    assert "s3:DeleteObjectVersion" in told(report, CheckState.UNKNOWN)["destination probe object"]
    assert state(report, "destination", "DeleteObject") is CheckState.UNKNOWN
    assert left(task.dest) == []


async def test_object_lock_lets_no_probe_be_written(
    proxy_a: Proxy, proxy_b: Proxy, source: Side, s3_b: MiniStack
) -> None:
    bucket = f"locked-{source.bucket}"
    s3 = s3_b.boto()
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    retention = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}}
    s3.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention}
    )
    source.put(OBJECTS)
    task = Task(Side(proxy_a, source.bucket), Side(proxy_b, bucket))
    report = await task.check()
    assert "GOVERNANCE for 30 days" in told(report, CheckState.UNKNOWN)["destination probe object"]
    assert state(report, "destination", "object-lock") is CheckState.WARNING
    assert state(report, "destination", "PutObject") is CheckState.OK
    assert not [r for r in proxy_b.requests if r.method == "PUT" and "uploadId" not in r.query]
    assert "destination object-lock" in await task.failed(checksum_mode="none")
    assert left(task.dest) == []
    s3_b.drop(bucket)


async def test_acls_that_a_bucket_does_not_take(task: Task) -> None:
    failed = await task.failed(dest_acl="public-read")
    assert "destAcl public-read" in failed["destination ownershipControls"]
    assert await task.failed(dest_acl="bucket-owner-full-control") == {}


async def test_lifecycle_rules_that_meet_the_copies(task: Task, dest: Side) -> None:
    rules = [
        {"ID": "all", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}},
        {
            "ID": "part",
            "Filter": {"Prefix": "out/logs/"},
            "Expiration": {"Date": "2030-01-01T00:00:00Z"},
        },
        {"ID": "tagged", "Filter": {"Tag": {"Key": "a", "Value": "b"}}, "Expiration": {"Days": 1}},
        {"ID": "cold", "Prefix": "ou", "Transitions": [{"Days": 7, "StorageClass": "GLACIER"}]},
        {"ID": "other", "Filter": {"Prefix": "elsewhere/"}, "Expiration": {"Days": 1}},
        {"ID": "off", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}, "Status": "Disabled"},
        {
            "ID": "old",
            "Filter": {"Prefix": ""},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        },
    ]
    dest.server.boto().put_bucket_lifecycle_configuration(
        Bucket=dest.bucket,
        LifecycleConfiguration={"Rules": [{"Status": "Enabled", **rule} for rule in rules]},
    )
    found = [check.found for check in (await task.check()).checks if check.name == "lifecycle"]
    assert found == [
        "rule 'all' takes the copies and deletes them after 30 days",
        "rule 'part' takes objects below 'out/logs/' and deletes them on 2030-01-01",
        "rule 'tagged' takes the copies that have certain tags and deletes them after 1 days",
        "rule 'cold' takes the copies and moves them to GLACIER after 7 days",
    ]


async def test_a_quirky_store_is_told_apart(
    s3_rclone: RcloneServe, source: Side, proxy_a: Proxy
) -> None:
    bucket = s3_rclone.bucket()
    source.put(OBJECTS)
    task = Task(
        Side(proxy_a, source.bucket),
        Side(s3_rclone, bucket),
        dest_acl=None,
        dest_storage_class=None,
    )
    report = await task.check()
    assert told(report, CheckState.FAILED) == {}
    assert state(report, "destination", "lifecycle") is CheckState.UNKNOWN
    assert state(report, "destination", "clean-up") is CheckState.OK
    assert s3_rclone.keys(bucket) == []
    s3_rclone.drop(bucket)


# --------------------------------------------------------------------------------------- the source


async def test_an_empty_source_is_a_warning(task: Task) -> None:
    report = await task.check(src_prefix="nothing/")
    assert state(report, "source", "ListBucket") is CheckState.WARNING


async def test_lists_of_what_to_copy(task: Task, source: Side) -> None:
    inventory = {
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key",
        "files": [{"key": "inv/data.csv"}],
    }
    source.put(
        {
            "list": b"\r\nin/b\r\n",
            "manifest": b"in/a\n",
            "inv/manifest.json": json.dumps(inventory).encode(),
        }
    )
    report = await task.check(src_prefixs_list_file="list")
    assert state(report, "source", "list") is CheckState.OK
    assert "in/b" in next(check.found for check in report.checks if check.name == "ListBucket")
    assert state(await task.check(src_manifest="manifest"), "source", "list") is CheckState.OK
    failed = await task.failed(src_inventory=f"s3://{source.bucket}/inv/manifest.json")
    assert "inv/data.csv" in failed["source list"]
    source.put({"inv/data.csv": b"x"})
    assert await task.failed(src_inventory=f"s3://{source.bucket}/inv/manifest.json") == {}
    for nowhere in (
        {"src_manifest": "none"},
        {"src_prefixs_list_file": "none"},
        {"src_inventory": "s3://none/x"},
    ):
        assert [name.split()[0] for name in await task.failed(**nowhere)] == ["source"]


async def test_requester_pays_is_proven(task: Task, proxy_a: Proxy) -> None:
    proxy_a.rule(ResponseHeaders(set={"x-amz-request-charged": "requester"}), key="^in/")
    report = await task.check(is_payer_request=True)
    assert "charged to us" in told(report, CheckState.OK)["source requester pays"]
    asked = [r.headers.get("x-amz-request-payer") for r in proxy_a.requests]
    assert set(asked) == {"requester"}


# ----------------------------------------------------------------------------------------- troubles


async def test_wrong_credentials_are_told(guarded: Callable[..., Task]) -> None:
    task = guarded()
    task.keyring.secrets["source"]["secret_access_key"] += "x"
    task.keyring.secrets["dest"]["access_key_id"] = "AKIANOBODY"
    failed = await task.failed()
    assert "the secret key is not that of the access key" in failed["source credentials"]
    assert "the store does not know the access key" in failed["destination credentials"]


async def test_a_secret_that_is_none_is_told(task: Task) -> None:
    del task.keyring.secrets["source"]["access_key_id"]
    assert "srcCredentials" in (await task.failed())["source credentials"]


async def test_missing_buckets_are_told(task: Task) -> None:
    failed = await task.failed(src_bucket="no-such-bucket", dest_bucket="no-such-bucket")
    assert "srcBucket" in failed["source bucket"]
    assert "destBucket" in failed["destination bucket"]


async def test_a_clock_that_is_off_is_told(task: Task, proxy_a: Proxy) -> None:
    late = ResponseHeaders(set={"Date": "Thu, 01 Jan 2032 00:00:00 GMT"})
    proxy_a.rule(Reply(403, "RequestTimeTooSkewed", headers=late.set))
    failed = await task.failed()
    assert "NTP" in failed["source clock"]


async def test_a_region_that_is_another_is_told(task: Task, proxy_b: Proxy) -> None:
    proxy_b.rule(ResponseHeaders(set={"x-amz-bucket-region": "eu-west-1"}), method="HEAD")
    failed = await task.failed(
        dest_type="Amazon_S3", dest_addressing_style="path", dest_region="us-east-1"
    )
    assert "set destRegion" in failed["destination region"]
    assert "eu-west-1" in failed["destination region"]


async def test_who_cannot_be_reached_is_told(task: Task, s3_tls: MiniStack) -> None:
    bucket = s3_tls.bucket()
    with listening_socket() as listener:
        port = listener.getsockname()[1]
    failed = await task.failed(src_endpoint=f"http://127.0.0.1:{port}", dest_endpoint=s3_tls.url)
    assert "srcEndpoint" in failed["source connection"]
    assert "destCaBundle" in failed["destination TLS"]
    assert len(failed) == 2
    failed = await task.failed(dest_endpoint="https://no-such-host.invalid")
    assert "destEndpoint" in failed["destination connection"]
    assert (
        await task.failed(
            dest_endpoint=s3_tls.url, dest_ca_bundle=str(s3_tls.ca), dest_bucket=bucket
        )
        == {}
    )


async def test_a_store_that_never_answers_ends_the_preflight(
    task: Task, proxy_a: Proxy, proxy_b: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.objects.checks.notes.PATIENCE", 0.3)
    proxy_a.rule(Delay(30))
    proxy_b.rule(Delay(30), method="PUT")
    report = await task.check()
    assert set(told(report, CheckState.FAILED)) == {"source connection", "destination connection"}
    assert left(task.dest) == []


@pytest.mark.parametrize("status", [500, 503])
async def test_a_store_in_trouble_is_told(task: Task, proxy_a: Proxy, status: int) -> None:
    proxy_a.rule(Reply(status, headers={"Retry-After": "1"}))
    assert set(await task.failed()) == {"source connection"}


# ---------------------------------------------------------------------------------- nothing is left


async def test_passing_faults_leave_nothing(task: Task, proxy_b: Proxy) -> None:
    for action, target in (
        *(
            (Reset(), {"method": "PUT"}),
            (Reset(), {"method": "POST"}),
            (Reset(), {"method": "DELETE"}),
        ),
        *(
            (Reply(500), {"method": "DELETE"}),
            (Drop(), {"method": "HEAD"}),
            (Reply(503), {"method": "PUT"}),
        ),
    ):
        rule = proxy_b.rule(action, nth=1, **target)
        report = await task.check(delete_mode="Mirror")
        proxy_b.remove(rule)
        assert told(report, CheckState.FAILED) == {}
        assert left(task.dest) == [], (
            action,
            target,
            [(r.method, r.target, r.status) for r in proxy_b.requests][-30:],
        )


@pytest.mark.parametrize("versioned", [False, True])
async def test_a_lost_answer_to_every_put_leaves_nothing(
    task: Task, dest: Side, proxy_b: Proxy, versioned: bool
) -> None:
    if versioned:
        status = {"Status": "Enabled"}
        dest.server.boto().put_bucket_versioning(Bucket=dest.bucket, VersioningConfiguration=status)
    proxy_b.rule(Reset(), method="PUT", when=lambda r: "uploadId" not in r.query)
    report = await task.check()
    assert ".dth-preflight-" in told(report, CheckState.WARNING)["destination clean-up"]
    assert left(dest) == []
    proxy_b.rule(Reset(), method="POST")
    await task.check()
    assert left(dest) == []


async def test_what_cannot_be_deleted_is_named(task: Task, proxy_b: Proxy) -> None:
    written = False

    def note(request: Request) -> None:
        nonlocal written
        written = True

    proxy_b.rule(Hook(note), method="PUT", when=lambda r: "uploadId" not in r.query)
    proxy_b.rule(Reply(500), method="DELETE", when=lambda r: written and "uploadId" not in r.query)
    report = await task.check()
    [key] = left(task.dest)
    failed = told(report, CheckState.FAILED)
    assert list(failed) == ["destination clean-up"]
    assert f"{key!r} in s3://{task.dest.bucket} is left" in failed["destination clean-up"]


async def test_an_upload_that_cannot_be_aborted_is_named(task: Task, proxy_b: Proxy) -> None:
    proxy_b.rule(
        Reply(500),
        method="DELETE",
        when=lambda r: "uploadId=" in r.query and "=none" not in r.query,
    )
    failed = await task.failed()
    [upload] = task.dest.direct.uploads()
    assert upload["UploadId"] in failed["destination clean-up"]


@pytest.mark.parametrize(
    ("method", "nth"),
    [("PUT", 1), ("PUT", 2), ("POST", 1), ("HEAD", 1), ("DELETE", 1), ("DELETE", 4)],
)
async def test_a_preflight_that_is_cancelled_leaves_nothing(
    task: Task, proxy_b: Proxy, method: str, nth: int
) -> None:
    loop, running = asyncio.get_running_loop(), asyncio.Event()
    proxy_b.rule(Hook(lambda _: loop.call_soon_threadsafe(running.set)), method=method, nth=nth)
    proxy_b.rule(Delay(0.2), method=method, nth=nth)
    checking = asyncio.create_task(task.check(delete_mode="Mirror"))
    await running.wait()
    checking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await checking
    assert left(task.dest) == []
