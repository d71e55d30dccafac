"""A hub on an emulated AWS: the template that users deploy, with IAM enforced; users sign in at its user pool, and its
tasks are stacks that it makes and deletes.
"""

from __future__ import annotations

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

from tests.aws.emulator.command import Command
from tests.aws.emulator.machines import Machines
from tests.aws.emulator.region import ASSETS, PREFIX, Region, Stack, wait_for
from tests.servers.registry import NEEDED, USER, RegistryServer, image, layer
from tests.servers.registry import PASSWORD as PASSWORD_OF_REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = b"<!doctype html><title>Data Transfer Hub</title>"


def _zip(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, body in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), body)
    return packed.getvalue()


CONSOLE = _zip(index_html=PAGE, assets__app_js=b"1")
ADMIN, PASSWORD = "admin@example.com", "A-l0ng-Passw0rd"
TASK = """id progress reason stackStatusReason
  progressInfo { total replicated failed run } """


class Hub:
    """A hub that was deployed, as a user calls it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        cognito, pool = stack.region.boto("cognito-idp"), stack.outputs["UserPool"]
        cognito.admin_set_user_password(UserPoolId=pool, Username=ADMIN, Password=PASSWORD, Permanent=True)
        client = cognito.create_user_pool_client(
            UserPoolId=pool, ClientName="test", ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"]
        )["UserPoolClient"]["ClientId"]
        signed_in = cognito.initiate_auth(
            ClientId=client,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": ADMIN, "PASSWORD": PASSWORD},
        )
        self.token = signed_in["AuthenticationResult"]["AccessToken"]

    def ask(self, query: str, token: str | None = None, **variables: Any) -> dict[str, Any]:
        """The whole answer, errors included."""
        api = self.stack.resources["Api"].rpartition("/")[2]
        request = urllib.request.Request(
            f"{self.stack.region.url}/v1/apis/{api}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"content-type": "application/json", "authorization": token or self.token},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            found = json.load(error)
        return found

    def call(self, query: str, **variables: Any) -> Any:
        """The one field of the answer."""
        found = self.ask(query, **variables)
        assert not found.get("errors"), found
        [field] = found["data"].values()
        return field

    def create(self, schedule: str = "ONE_TIME", type: str = "S3EC2", **parameters: str) -> str:
        pairs = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
        given = {"type": type, "scheduleType": schedule, "parameters": pairs}
        query = "mutation ($input: CreateTaskInput!) { createTask(input: $input) { id progress } }"
        return str(self.call(query, input=given)["id"])

    def task(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call(f"query ($id: ID!) {{ getTask(id: $id) {{ {TASK} }} }}", id=id)
        return found

    def wait_for(self, id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The task, once that holds of it."""

        def look() -> dict[str, Any] | None:
            found = self.task(id)
            assert found["progress"] != "ERROR", found
            return found if holds(found) else None

        found: dict[str, Any] = wait_for(look, 90)
        return found

    def wait(self, id: str, *progress: str, timeout: float = 90) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.task(id)
            assert found["progress"] != "ERROR" or "ERROR" in progress, found
            return found if found["progress"] in progress else None

        found: dict[str, Any] = wait_for(look, timeout)
        return found


@pytest.fixture
def machines(fresh_region: Region, tmp_path: Path) -> Iterator[Machines]:
    log = tmp_path / "machines.log"
    log.touch()
    with Machines(fresh_region, log) as running:
        yield running
    print(log.read_text())
    client = fresh_region.boto("logs")
    for group in client.describe_log_groups()["logGroups"]:
        for page in client.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
            for event in page["events"]:
                print(event["logStreamName"], event["message"])


@pytest.fixture
def hub(fresh_region: Region, templates: dict[str, Path], machines: Machines) -> Hub:
    for name, template in templates.items():
        key = f"{PREFIX}/templates/{name}.json"
        fresh_region.boto("s3").put_object(Bucket=ASSETS, Key=key, Body=template.read_bytes())
    fresh_region.boto("s3").put_object(Bucket=ASSETS, Key=f"{PREFIX}/console.zip", Body=CONSOLE)
    network = fresh_region.network()
    return Hub(
        fresh_region.deploy(
            "dth",
            templates["hub"],
            adminEmail=ADMIN,
            vpcId=network["ec2VpcId"],
            subnetIds=network["ec2Subnets"],
            taskImage="123456789012.dkr.ecr.us-east-1.amazonaws.com/data-transfer-hub:tested",
        )
    )


def stores(region: Region) -> dict[str, str]:
    for name in ("source", "copies"):
        region.boto("s3").create_bucket(Bucket=name)
    return {
        "srcBucket": "source",
        "destBucket": "copies",
        "srcEndpoint": region.url,
        "destEndpoint": region.url,
        "srcRegion": "us-east-1",
        "destRegion": "us-east-1",
        "ec2CronExpression": "",
    }


def test_a_task_from_the_api_to_its_copies(hub: Hub, fresh_region: Region) -> None:
    given = stores(fresh_region)
    for number in range(20):
        fresh_region.boto("s3").put_object(Bucket="source", Key=f"{number:03}", Body=b"x" * number)
    assert hub.call("{ whoAmI { name role via } }") == {"name": ADMIN, "role": "admin", "via": "oidc"}

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
        "query ($group: String!) { listLogStreams(logGroupName: $group) { logStreams { logStreamName } } }",
        group=f"/dth/tasks/{task}",
    )
    assert any(each["logStreamName"].startswith("machine/") for each in streams["logStreams"])
    certificate = hub.call("query ($id: ID!) { getCertificate(id: $id, run: 1) }", id=task)
    assert json.loads(certificate)["task"]["id"] == task

    deletes = "mutation ($id: ID!) { deleteTask(id: $id) { id } }"
    wait_for(
        lambda: not hub.ask(deletes, id=task).get("errors"), 60
    )  # refused until the hub has seen that it has gone
    tables = fresh_region.boto("dynamodb").list_tables()["TableNames"]
    assert not [name for name in tables if task in name]
    groups = fresh_region.boto("logs").describe_log_groups()["logGroups"]
    assert not [each for each in groups if task in each["logGroupName"]]


def stacks(region: Region) -> list[str]:
    """The names of those that there are."""
    found = region.boto("cloudformation").describe_stacks()["Stacks"]
    return sorted(each["StackName"] for each in found if each["StackStatus"] != "DELETE_COMPLETE")


def test_stopping_leaves_nothing_behind_but_records(
    hub: Hub, fresh_region: Region, machines: Machines
) -> None:
    given = stores(fresh_region)
    fresh_region.boto("s3").put_object(Bucket="source", Key="one", Body=b"1")
    task = hub.create("FIXED_RATE", **given, srcEvent="Create", srcInCurrentAccount="true")
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
    assert len([n for n in fresh_region.boto("dynamodb").list_tables()["TableNames"] if task in n]) == 3


def test_why_a_stack_could_not_be_made_stays_with_the_task(hub: Hub, fresh_region: Region) -> None:
    given = stores(fresh_region)
    task = hub.create(**{**given, "srcRoleArn": "arn:aws:iam::123456789012:role/*"})
    failed = hub.wait(task, "ERROR")
    assert "srcRoleArn" in failed["reason"]
    told = hub.call("query ($id: ID!) { getErrorMessage(id: $id) { errMessage errCode } }", id=task)
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

    query = "mutation ($name: String!, $value: String!) { createSecret(name: $name, value: $value) { name } }"
    keys = json.dumps({"access_key_id": "AK", "secret_access_key": "SK"})
    assert hub.call(query, name="keys", value=keys) == {"name": "keys"}
    assert hub.call("{ listSecrets { name } }") == [{"name": "keys"}]
    user = 'mutation { createUser(name: "ann", password: "An-0ther-Passw0rd", role: operator) { name role } }'
    assert hub.call(user) == {"name": "ann", "role": "operator"}
    audit = hub.call("{ listAudit { items { what who outcome } total } }")
    assert audit["total"] == 3
    assert {"what": "createSecret", "who": ADMIN, "outcome": "ok"} in audit["items"]


def test_a_store_is_tried_before_there_is_a_task(hub: Hub, fresh_region: Region) -> None:
    given = stores(fresh_region)
    fresh_region.boto("s3").put_object(Bucket="source", Key="one", Body=b"1")
    pairs = [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()]
    query = "mutation ($input: CreateTaskInput!, $side: Side!) { testConnection(input: $input, side: $side) { id } }"
    job = hub.call(query, input={"type": "S3EC2", "parameters": pairs}, side="SOURCE")["id"]

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = hub.call(
            "query ($id: ID!) { getJob(id: $id) { state error result } }", id=job
        )
        return found if found["state"] != "RUNNING" else None

    done = wait_for(ended, 60)
    assert (done["state"], done["error"]) == ("DONE", "")
    assert "one" in done["result"]


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
    """With skopeo and real registries; who reads the secret is a role of the task's stack, within its bounds."""
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
    """With an API token, and at the API's own address: the emulator's CloudFront does not lead there."""
    given = stores(fresh_region)
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
    assert (code, task in out, "DONE" in out) == (0, True, True), err
    assert dth("task", "show", "nothing") == (2, "", "dth: there is no task 'nothing'\n")
    assert dth("user", "list")[::2] == (1, "dth: listUsers needs the role admin; you have operator\n")

    signed = {**user_who_may_read(fresh_region, api), "DTH_AUTH": "iam", "AWS_REGION": "us-east-1"}
    code, out, err = dth("task", "list", **signed)
    assert (code, task in out) == (0, True), err
    code, _, err = dth("task", "delete", task, **signed)
    assert (code, "refused the call: Permission denied (" in err) == (1, True), err
    code, _, err = dth("task", "list", **{**signed, "AWS_SECRET_ACCESS_KEY": "wrong"})
    assert (code, "refused the call: The request signature we calculated" in err) == (1, True), err


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
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
