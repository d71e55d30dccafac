"""A hub on an emulated AWS: the template that users deploy, with IAM enforced; users sign in at its
user pool, and its tasks are stacks that it makes and deletes.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.ports.records import Enqueued, Page
from dth.core.ports.runs import RunState
from dth.objects.transfer.messages import ObjectItem, encode, pack
from dth.objects.transfer.multipart import Multipart
from tests.aws.emulator.command import Command
from tests.aws.emulator.machines import Machines
from tests.aws.emulator.region import ASSETS, Region, wait_for
from tests.aws.hub import ADMIN, Hub, deploy_hub, deploy_template, stacks
from tests.aws.task import (
    MIB,
    SIZES,
    keys,
    make_stores,
    opened,
    over,
    put,
    put_all_kinds,
    route_of,
    until,
)
from tests.identity import issuer_running
from tests.servers.registry import NEEDED, USER, RegistryServer, image, layer
from tests.servers.registry import PASSWORD as PASSWORD_OF_REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = b"<!doctype html><title>Data Transfer Hub</title>"


def _zip(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, body in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), body)
    return packed.getvalue()


MANY = 2_991  # and nine others: three thousand
CONSOLE = _zip(index_html=PAGE, assets__app_js=b"1")


@pytest.fixture
def hub(fresh_region: Region, templates: dict[str, Path], machines: Machines) -> Hub:
    return deploy_hub(fresh_region, templates, CONSOLE)


@pytest.fixture
def machines(fresh_region: Region, tmp_path: Path) -> Iterator[Machines]:
    log = tmp_path / "machines.log"
    log.touch()
    with Machines(fresh_region, log) as running:
        yield running
    print(log.read_text())
    client = fresh_region.boto("logs")
    for group in client.describe_log_groups()["logGroups"]:
        for page in client.get_paginator("filter_log_events").paginate(
            logGroupName=group["logGroupName"]
        ):
            for event in page["events"]:
                print(event["logStreamName"], event["message"])


def test_a_task_from_the_api_to_its_copies(hub: Hub, fresh_region: Region) -> None:
    given = make_stores(fresh_region)
    for number in range(20):
        fresh_region.boto("s3").put_object(Bucket="source", Key=f"{number:03}", Body=b"x" * number)
    assert hub.call("{ whoAmI { name role via } }") == {
        "name": ADMIN,
        "role": "admin",
        "via": "oidc",
    }

    task = hub.create(**given)
    done = hub.wait(task, "DONE")

    assert done["progressInfo"] == {"total": 20, "replicated": 20, "failed": 0, "run": 1}
    found = fresh_region.boto("s3").list_objects_v2(Bucket="copies")["Contents"]
    assert [each["Key"] for each in found] == [f"{number:03}" for number in range(20)]
    # Its stack has gone, and its memory has not.
    wait_for(lambda: stacks(fresh_region) == ["dth"], 60)
    assert hub.call("query ($id: ID!) { listRuns(id: $id) { id state } }", id=task) == [
        {"id": 1, "state": "DONE"}
    ]
    listed = hub.call(
        'query ($id: ID!) { listRecords(id: $id, prefix: "00") { items { key status } } }', id=task
    )
    assert len(listed["items"]) == 10
    streams = hub.call(
        (
            "query ($group: String!) { listLogStreams(logGroupName: $group) { logStreams { "
            "logStreamName } } }"
        ),
        group=f"/dth/tasks/{task}",
    )
    assert any(each["logStreamName"].startswith("machine/") for each in streams["logStreams"])
    certificate = hub.call("query ($id: ID!) { getCertificate(id: $id, run: 1) }", id=task)
    assert json.loads(certificate)["task"]["id"] == task
    job = hub.call("mutation ($id: ID!) { certify(id: $id, run: 1) { id state } }", id=task)
    ended = ended_job(hub, job["id"])
    assert ended["error"] == ""
    assert (
        json.loads(ended["result"])["certificate"]["records"] == json.loads(certificate)["records"]
    )

    deletes = "mutation ($id: ID!) { deleteTask(id: $id) { id } }"
    wait_for(
        lambda: not hub.ask(deletes, id=task).get("errors"), 60
    )  # refused until the hub has seen that it has gone
    tables = fresh_region.boto("dynamodb").list_tables()["TableNames"]
    assert not [name for name in tables if task in name]
    groups = fresh_region.boto("logs").describe_log_groups()["logGroups"]
    assert not [each for each in groups if task in each["logGroupName"]]


async def test_all_that_objects_meet_on_their_way(
    hub: Hub, fresh_region: Region, machines: Machines
) -> None:
    """Three thousand of all kinds, one that crashes its workers, a giant whose workers are gone,
    and one of which an event tells."""
    machines.frozen = True
    given = make_stores(fresh_region)
    total = put_all_kinds(fresh_region, MANY)
    # A machine waits for events.
    here = {"srcInCurrentAccount": "true", "serverSideCopy": "false", "minCapacity": "1"}
    task = hub.create("FIXED_RATE", **{**given, **SIZES, **here, "srcEvent": "Create"})
    hub.wait(task, "IN_PROGRESS")
    query = "query ($id: ID!) { getTask(id: $id) { stackOutputs { OutputKey OutputValue } } }"
    outputs = {
        each["OutputKey"]: each["OutputValue"] for each in hub.call(query, id=task)["stackOutputs"]
    }
    tables = [f"dth-task-{task}-{name}" for name in ("objects", "parts", "state")]
    sqs, queue = fresh_region.boto("sqs"), outputs["QueueUrl"]

    def receive() -> list[dict[str, Any]]:
        answer = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0, MaxNumberOfMessages=10)
        found: list[dict[str, Any]] = answer.get("Messages", [])
        return found

    async with (
        opened(fresh_region, task, outputs, *tables) as platform,
        route_of(platform) as route,
    ):
        [run] = await until(platform.records.list_runs)
        etag = fresh_region.boto("s3").head_object(Bucket="source", Key="giant")["ETag"].strip('"')
        giant, poison = ObjectItem("giant", 17 * MIB, etag), ObjectItem("poison", 3, "etag")
        message = encode(next(pack(run.id, [poison])))
        enqueued = [
            Enqueued(giant.key, giant.size, giant.etag, "lost"),
            Enqueued(poison.key, poison.size, poison.etag, message.id),
        ]
        for told in receive():  # the bucket tries its queue when it is subscribed
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=told["ReceiptHandle"])
        await platform.records.commit(run.id, Page(enqueued=enqueued, messages=[message]))
        await platform.records.set_run(run.id, RunState.TRANSFERRING)
        multipart = Multipart(route, platform.uploads, "gone")
        upload = await multipart.begin(run.id, giant)
        for number in range(1, upload.parts + 1):
            part = await multipart.copy_part(upload, number)
            await platform.uploads.part_done(upload.key, upload.upload_id, part)
        sqs = fresh_region.boto("sqs")
        for _ in range(5):  # workers take it, and die
            wait_for(
                lambda: sqs.receive_message(QueueUrl=outputs["QueueUrl"], VisibilityTimeout=0).get(
                    "Messages"
                ),
                30,
            )
        machines.frozen = False
        ended = await over(platform)
        assert keys(fresh_region) == {"giant": 17 * MIB}
        hub.call("mutation ($id: ID!) { startRun(id: $id) { id } }", id=task)
        await over(platform, 2, timeout=300)

    assert (ended.state, ended.counts.done, ended.counts.failed) == (RunState.DONE, 1, 1)
    query = "query ($id: ID!) { listRecords(id: $id, status: FAILED) { items { key reason } } }"
    assert hub.call(query, id=task)["items"] == [{"key": "poison", "reason": "WorkerCrashed"}]
    alarms = fresh_region.boto("cloudwatch").describe_alarms()["MetricAlarms"]
    assert [outputs["Topic"]] in [each["AlarmActions"] for each in alarms]

    query = "query ($id: ID!) { listRuns(id: $id) { id state counts { listed same done } } }"
    [newest, _] = hub.call(query, id=task)
    counted = newest["counts"]
    assert (newest["id"], newest["state"]) == (2, "DONE")
    assert (counted["listed"], counted["same"], counted["done"]) == (total, 1, total - 1)
    assert keys(fresh_region) == keys(fresh_region, "source")
    pages = fresh_region.boto("dynamodb").get_paginator("scan").paginate(TableName=tables[0])
    status = [item["Status"]["S"] for page in pages for item in page["Items"]]
    assert (status.count("DONE"), status.count("FAILED")) == (total, 1)

    put(fresh_region, "later/é", b"22")
    wait_for(lambda: keys(fresh_region).get("later/é") == 2, 20)
    hub.call("mutation ($id: String) { stopTask(id: $id) { id } }", id=task)
    hub.wait(task, "STOPPED")
    assert stacks(fresh_region) == ["dth"]
    assert not sqs.list_queues().get("QueueUrls")
    told = fresh_region.boto("s3").get_bucket_notification_configuration(Bucket="source")
    assert "QueueConfigurations" not in told


def test_stopping_leaves_nothing_behind_but_records(
    hub: Hub, fresh_region: Region, machines: Machines
) -> None:
    given = make_stores(fresh_region)
    fresh_region.boto("s3").put_object(Bucket="source", Key="one", Body=b"1")
    task = hub.create("FIXED_RATE", **given, srcEvent="Create", srcInCurrentAccount="true")
    for asked in ("listRuns(id: $id) { id }", "failureGroups(id: $id) { reason }"):
        assert hub.call(f"query ($id: ID!) {{ {asked} }}", id=task) == []
    assert hub.call("query ($id: ID!) { listRecords(id: $id) { items { key } } }", id=task) == {
        "items": []
    }
    for change in ("pauseTask", "resumeTask"):  # before there is anything of it
        hub.call(f"mutation ($id: ID!) {{ {change}(id: $id) {{ id }} }}", id=task)
    hub.wait(task, "IN_PROGRESS")
    stack = f"dth-s3-{task}"
    assert stack in stacks(fresh_region)
    query = """query ($id: ID!) { getTask(id: $id) {
        stackId stackName stackStatus stackOutputs { OutputKey OutputValue Description } } }"""
    told = hub.call(query, id=task)
    assert (told["stackName"], told["stackStatus"]) == (stack, "CREATE_COMPLETE")
    assert f":stack/{stack}/" in told["stackId"]
    outputs = {each["OutputKey"]: each for each in told["stackOutputs"]}
    assert outputs["QueueUrl"]["OutputValue"].startswith(fresh_region.url)
    assert outputs["QueueUrl"]["Description"]
    code, _, err = Command(fresh_region)("destroy", "dth", "--yes")
    assert (code, f"stop them first ({stack})" in err) == (2, True)

    paused = hub.call("mutation ($id: ID!) { pauseTask(id: $id) { progress } }", id=task)
    assert paused["progress"] == "PAUSED"
    wait_for(lambda: not machines.of(f"{stack}-worker"), 60)
    hub.call("mutation ($id: ID!) { resumeTask(id: $id) { progress } }", id=task)
    hub.wait(task, "IN_PROGRESS")

    hub.call("mutation ($id: String) { stopTask(id: $id) { progress } }", id=task)
    hub.wait(task, "STOPPED")
    assert hub.call(query, id=task) == {
        "stackId": None, "stackName": None, "stackStatus": None, "stackOutputs": [],
    }  # fmt: skip
    assert stacks(fresh_region) == ["dth"]
    assert not fresh_region.boto("sqs").list_queues().get("QueueUrls")
    assert not fresh_region.boto("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    assert (
        len([n for n in fresh_region.boto("dynamodb").list_tables()["TableNames"] if task in n])
        == 3
    )


def test_why_a_stack_could_not_be_made_stays_with_the_task(hub: Hub, fresh_region: Region) -> None:
    given = make_stores(fresh_region)
    task = hub.create(**{**given, "srcRoleArn": "arn:aws:iam::123456789012:role/*"})
    failed = hub.wait(task, "ERROR")
    assert "srcRoleArn" in failed["reason"]
    told = hub.call(
        "query ($id: String!) { getErrorMessage(id: $id) { errMessage errCode } }", id=task
    )
    assert told == {"errMessage": failed["reason"], "errCode": "CFN_ERROR"}
    assert stacks(fresh_region) == ["dth"]


def test_who_may_call_and_what_is_refused(hub: Hub, fresh_region: Region) -> None:
    asked = "{ listTasksV2 { total } }"
    assert hub.call(asked) == {"total": 0}
    head, claims, signature = hub.token.split(".")
    for token in ("nonsense", f"{head}.{claims}.{signature[:-8]}AAAAAAAA"):
        assert hub.ask(asked, token)["errors"][0]["errorType"] == "UnauthorizedException"

    made = hub.call('mutation { createToken(name: "ci", role: viewer) { token } }')["token"]
    assert hub.ask("{ whoAmI { name role via } }", made)["data"]["whoAmI"] == {
        "name": "ci", "role": "viewer", "via": "token",
    }  # fmt: skip
    [refused] = hub.ask('mutation { deleteTask(id: "x") { id } }', made)["errors"]
    assert (refused["errorType"], refused["message"]) == (
        "FORBIDDEN", "deleteTask needs the role operator; you have viewer",
    )  # fmt: skip
    [missing] = hub.ask('{ getTask(id: "x") { id } }')["errors"]
    assert (missing["errorType"], missing["message"]) == ("NOT_FOUND", "there is no task 'x'")

    query = (
        "mutation ($name: String!, $value: String!) { createSecret(name: $name, value: $value) "
        "{ name } }"
    )
    keys = json.dumps({"access_key_id": "AK", "secret_access_key": "SK"})
    assert hub.call(query, name="keys", value=keys) == {"name": "keys"}
    assert hub.call("{ listSecrets { name } }") == [{"name": "keys"}]
    user = (
        'mutation { createUser(name: "ann", password: "An-0ther-Passw0rd", role: operator) { '
        "name role } }"
    )
    assert hub.call(user) == {"name": "ann", "role": "operator"}
    audit = hub.call("{ listAudit { items { what who outcome } total } }")
    assert audit["total"] == 4
    assert [each["what"] for each in audit["items"]][::-1] == [
        "createToken",
        "useToken",
        "createSecret",
        "createUser",
    ]
    assert {"what": "createSecret", "who": ADMIN, "outcome": "ok"} in audit["items"]


def test_no_task_writes_where_the_hub_itself_is(hub: Hub) -> None:
    query = "mutation ($i: CreateTaskInput!) { %s(input: $i) { id } }"
    console = hub.stack.resources["Console"]
    ways = [
        {"destBucket": ASSETS},
        {"destBucket": console},
        {"destBucket": ASSETS, "destEndpoint": "https://s3.us-east-1.amazonaws.com."},
        # The bucket before the host, and a part of the key in its place.
        {"destBucket": "dth", "destEndpoint": f"https://{ASSETS}.s3.us-east-1.amazonaws.com"},
        {
            "destBucket": "assets",
            "destEndpoint": f"https://{console.upper()}.s3.dualstack.us-east-1.amazonaws.com:443",
        },
    ]
    for values in ways:
        pairs = [
            {"ParameterKey": key, "ParameterValue": value}
            for key, value in {"srcBucket": "a", **values}.items()
        ]
        for operation in ("createTask", "preflight", "forecast"):
            [error] = hub.ask(query % operation, i={"type": "S3EC2", "parameters": pairs})["errors"]
            assert "is a bucket of the hub itself" in error["message"], (operation, values)


async def test_users_of_an_issuer(
    fresh_region: Region, templates: dict[str, Path], machines: Machines
) -> None:
    """Of the template for regions without Cognito."""
    async with issuer_running() as issuer:
        issuer.url = issuer.url.replace("http:", "https:")
        issuer.discovery = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/jwks"}
        given = {"oidcIssuer": issuer.url, "oidcClientId": "hub", "oidcAudience": "transfers"}
        stack = await asyncio.to_thread(
            deploy_template,
            fresh_region,
            templates,
            "hub-oidc",
            CONSOLE,
            **given,
            oidcRoleClaim="realm.roles",
        )
        hub = Hub(
            stack,
            issuer.token(aud="transfers", azp=None, realm={"roles": ["operator"]}, name="Ann"),
        )

        async def ask(query: str, token: str | None = None, **variables: Any) -> dict[str, Any]:
            return await asyncio.to_thread(hub.ask, query, token, **variables)

        told = (await ask("{ whoAmI { name role via } }"))["data"]["whoAmI"]
        assert told == {"name": "Ann", "role": "operator", "via": "oidc"}
        [refused] = (await ask("{ listTokens { id } }"))["errors"]
        assert refused["errorType"] == "FORBIDDEN"
        for wrong in ({"aud": "others", "azp": None}, {"exp": 1}, {"iss": "https://example.org"}):
            [refused] = (await ask("{ whoAmI { name } }", issuer.token(**wrong)))["errors"]
            assert refused["errorType"] == "UnauthorizedException"
        nobody = {"aud": "transfers", "azp": None, "realm": {"roles": ["Building Admin"]}}
        [refused] = (await ask("{ whoAmI { name } }", issuer.token(**nobody)))["errors"]
        assert refused["errorType"] == "FORBIDDEN"
        bare = {"aud": ["transfers", "hub"], "azp": "hub", "typ": None, "scope": None}
        [refused] = (
            await ask("{ whoAmI { name } }", issuer.token(**bare, realm={"roles": ["admin"]}))
        )["errors"]
        assert refused["errorType"] == "UNAUTHENTICATED"
        own = issuer.token(
            azp="hub", aud="hub", realm={"roles": ["admin"]}
        )  # for the client, not for the API
        [refused] = (await ask("{ whoAmI { name } }", own))["errors"]
        assert "the token is for somebody else" in refused["message"]

        store = make_stores(fresh_region)
        fresh_region.boto("s3").put_object(Bucket="source", Key="one", Body=b"1")
        task = await asyncio.to_thread(hub.create, **store)
        await asyncio.to_thread(hub.wait, task, "DONE")
        config = fresh_region.boto("s3").get_object(
            Bucket=stack.resources["Console"], Key="config.json"
        )
        oidc = json.load(config["Body"])["oidc"]
        assert (oidc["authority"], oidc["clientId"], oidc["audience"]) == (
            issuer.url,
            "hub",
            "transfers",
        )


def ended_job(hub: Hub, job: str) -> dict[str, Any]:
    """A job when it has ended."""

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = hub.call(
            "query ($id: ID!) { getJob(id: $id) { state error result } }", id=job
        )
        return found if found["state"] != "RUNNING" else None

    return wait_for(ended, 60)


def test_a_store_is_tried_before_there_is_a_task(hub: Hub, fresh_region: Region) -> None:
    given = make_stores(fresh_region)
    fresh_region.boto("s3").put_object(Bucket="source", Key="one", Body=b"1")
    pairs = [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()]
    query = (
        "mutation ($input: CreateTaskInput!, $side: Side!) { testConnection(input: $input, "
        "side: $side) { id } }"
    )
    job = hub.call(query, input={"type": "S3EC2", "parameters": pairs}, side="SOURCE")["id"]
    done = ended_job(hub, job)
    assert (done["state"], done["error"]) == ("DONE", "")
    assert "one" in done["result"]


def test_a_preflight_looks_at_the_subnets_of_the_hub(hub: Hub, fresh_region: Region) -> None:
    given = make_stores(fresh_region)
    pairs = [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()]
    query = "mutation ($input: CreateTaskInput!) { preflight(input: $input) { id } }"
    job = hub.call(query, input={"type": "S3EC2", "parameters": pairs})["id"]
    done = ended_job(hub, job)
    assert (done["state"], done["error"]) == ("DONE", "")
    [check] = [each for each in json.loads(done["result"])["checks"] if each["side"] == "network"]
    assert (check["name"], check["state"]) == ("subnets", "OK")
    assert "subnet-" in check["found"]


def test_the_console_comes_from_cloudfront(hub: Hub, fresh_region: Region) -> None:
    assert hub.stack.outputs["Url"].startswith("https://")
    host = hub.stack.outputs["Url"].partition("//")[2]

    def get(path: str) -> tuple[bytes, dict[str, str]]:
        request = urllib.request.Request(
            f"{fresh_region.url}{path}", headers={"host": host, "x-forwarded-proto": "https"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read(), {name.lower(): value for name, value in answer.headers.items()}

    body, headers = get("/tasks/1")
    assert body == PAGE
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    config = json.loads(get("/config.json")[0])
    assert config["url"] == hub.stack.outputs["Url"]
    assert config["graphqlEndpoint"] == "/graphql"
    client = fresh_region.boto("cognito-idp").describe_user_pool_client(
        UserPoolId=hub.stack.outputs["UserPool"], ClientId=config["oidc"]["clientId"]
    )["UserPoolClient"]
    assert f"{config['url']}/auth/callback" in client["CallbackURLs"]
    assert f"http://127.0.0.1:{config['oidc']['cliPort']}/callback" in client["CallbackURLs"]
    assert config["oidc"]["authority"].endswith(hub.stack.outputs["UserPool"])
    bucket = hub.stack.resources["Console"]
    kept = fresh_region.boto("s3").head_object(Bucket=bucket, Key="assets/app.js")
    assert "immutable" in kept["CacheControl"]


@NEEDED
def test_a_task_for_images_and_one_of_them_tried_again(hub: Hub) -> None:
    """With skopeo and real registries; who reads the secret is a role of the task's stack, within
    its bounds."""
    keys = json.dumps({"username": USER, "password": PASSWORD_OF_REGISTRY})
    query = 'mutation ($value: String!) { createSecret(name: "login", value: $value) { name } }'
    hub.call(query, value=keys)
    with RegistryServer(auth=True) as here, RegistryServer(auth=True) as there:
        here.push("team/app", "v1", image("app", [layer("app", 1000)]))
        task = hub.create(
            "FIXED_RATE",
            "ECR",
            sourceType="Registry",
            srcRegistry=here.host,
            srcCredential="login",
            srcList="SELECTED",
            srcImageList="team/app:v1,team/late:v1",
            destType="Registry",
            destRegistry=there.host,
            destCredential="login",
            destPrefix="copies",
        )
        both = {"failed": 1, "replicated": 1}
        hub.wait_for(task, lambda found: both.items() <= found["progressInfo"].items())
        assert there.digest("copies/team/app", "v1")
        [group] = hub.call("query ($id: ID!) { failureGroups(id: $id) { reason keys } }", id=task)
        assert (group["reason"], group["keys"]) == ("MANIFEST_UNKNOWN", ["copies/team/late:v1"])

        for change, progress in (("pauseTask", "PAUSED"), ("resumeTask", "IN_PROGRESS")):
            hub.call(f"mutation ($id: ID!) {{ {change}(id: $id) {{ id }} }}", id=task)
            hub.wait(task, progress)
        here.push("team/late", "v1", image("late", [layer("late", 1000)]))
        hub.call("mutation ($id: ID!) { retryFailed(id: $id) { id } }", id=task)
        mended = {"failed": 0, "replicated": 2}
        hub.wait_for(task, lambda found: mended.items() <= found["progressInfo"].items())
        assert there.digest("copies/team/late", "v1")
        hub.call("mutation ($id: String) { stopTask(id: $id) { id } }", id=task)
        hub.wait(task, "STOPPED")
    assert stacks(hub.stack.region) == ["dth"]


def test_the_command_line_uses_it_as_any_hub(hub: Hub, fresh_region: Region) -> None:
    """With an API token, and at the API's own address: the emulator's CloudFront does not lead
    there."""
    given = make_stores(fresh_region)
    fresh_region.boto("s3").put_object(Bucket="source", Key="one", Body=b"1")
    made = hub.call('mutation { createToken(name: "ci", role: operator) { token } }')["token"]
    api = hub.stack.resources["Api"].rpartition("/")[2]

    def dth(*words: str, **env: str) -> tuple[int, str, str]:
        ran = subprocess.run(
            [Path(sys.executable).with_name("dth"), *words],
            env={
                "PATH": os.environ["PATH"],
                "HOME": os.devnull,
                "DTH_HUB": f"{fresh_region.url}/v1/apis/{api}",
                **(env or {"DTH_TOKEN": made}),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.returncode, ran.stdout, ran.stderr

    code, out, err = dth(
        "task", "create", "--once", "--watch", *(f"{name}={text}" for name, text in given.items())
    )
    assert code == 0, err
    task = out.strip()
    code, out, err = dth("task", "list")
    assert (code, task[:8] in out, "DONE" in out) == (0, True, True), err
    assert dth("task", "show", "nothing") == (2, "", "dth: there is no task 'nothing'\n")
    assert dth("user", "list")[::2] == (
        2,
        "dth: listUsers needs the role admin; you have operator\n",
    )

    signed = {**user_who_may_read(fresh_region, api), "DTH_AUTH": "iam", "AWS_REGION": "us-east-1"}
    code, out, err = dth("task", "list", **signed)
    assert (code, task[:8] in out) == (0, True), err
    code, _, err = dth("task", "delete", task, **signed)
    assert (code, "refused the call: Permission denied (" in err) == (2, True), err
    code, _, err = dth("task", "list", **{**signed, "AWS_SECRET_ACCESS_KEY": "wrong"})
    assert (code, "refused the call: The request signature we calculated" in err) == (2, True), err


def user_who_may_read(region: Region, api: str) -> dict[str, str]:
    """What the environment of somebody says who may query the API, by IAM."""
    iam = region.boto("iam")
    account = region.boto("sts").get_caller_identity()["Account"]
    iam.create_user(UserName="ann")
    fields = f"arn:aws:appsync:us-east-1:{account}:apis/{api}/types/Query/fields/*"
    statement = {"Effect": "Allow", "Action": "appsync:GraphQL", "Resource": fields}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="ann", PolicyName="reads", PolicyDocument=policy)
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }
