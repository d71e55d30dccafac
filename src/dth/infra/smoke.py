"""Tries everything in a real account: makes two buckets and a hub, lets it copy objects and an
image, checks what arrived, and removes all that was made, whatever happened.

What an emulator cannot show is seen here: machines that boot, containers that start, rights as IAM
sees them.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dth.core.errors import HubError, StateError
from dth.infra.deploy import DeployedStack, Say
from dth.infra.image import REPOSITORY
from dth.infra.publish import Published
from dth.infra.statements import LOGS

MIB = 1024 * 1024
# Keys that stores and proxies are likely to get wrong, and sizes of each way to copy.
OBJECTS = {
    "empty": b"",
    "sp ace + plus & amp": b"1",
    "ключ/雪.txt": b"2",
    'quote".txt': b"3",
    "parts": b"p" * (12 * MIB),
    **{f"small/{number:03}": b"%d" % number for number in range(200)},
}
WAIT = 1800.0  # seconds for a task, machines and containers included
PAUSE = 5.0
LOOKS = 6  # for what is left
KEPT = ("AWS::DynamoDB::Table", "AWS::Cognito::UserPool", "AWS::SecretsManager::Secret")
CREATE = "mutation ($input: CreateTaskInput!) { createTask(input: $input) { id } }"
LOOK = """query ($id: ID!) { getTask(id: $id) {
  progress reason stackStatusReason progressInfo { replicated failed } } }"""

Call = Callable[..., Any]  # a query and its variables; returns the one field of the answer


@dataclass(frozen=True, slots=True)
class Step:
    """What was done, how long it took, and why it failed; "" if it did not."""

    what: str
    seconds: float
    error: str = ""


@dataclass
class Smoke:
    """`session`: from boto3. `parameters`: more of the hub's. `images`: of the task for images."""

    session: Any
    published: Published
    say: Say
    parameters: Mapping[str, str]
    name: str = field(default_factory=lambda: f"dth-smoke-{uuid.uuid4().hex[:6]}")
    images: Mapping[str, str] | None = None
    # Returns a call of the hub's API with the stack's outputs.
    api: Callable[[Mapping[str, str]], Call] | None = None
    steps: list[Step] = field(default_factory=list)

    def run(self) -> bool:
        """Return whether everything worked, and everything was removed. `steps` is the report."""
        try:
            with self._step("two buckets with objects"):
                self.make_buckets()
            with self._step("a hub"):
                outputs = self.deploy()
            with self._step("its API"):
                call = self.connect(outputs)
            with self._step("a task for objects"):
                self.copy_objects(call)
            with self._step("a task for images"):
                self.copy_images(call)
        except Exception as error:  # noqa: BLE001 - the step has told it; now all is removed
            self.say(f"{type(error).__name__}: the rest is left out")
        finally:
            self._remove()
        return not any(step.error for step in self.steps)

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        self.say(f"{what} ...")
        began = time.monotonic()
        try:
            yield
        except BaseException as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            self.steps.append(Step(what, time.monotonic() - began, reason))
            raise
        self.steps.append(Step(what, time.monotonic() - began))

    # --------------------------------------------------------------------------------- what is done

    @property
    def buckets(self) -> tuple[str, str]:
        account = self.session.client("sts").get_caller_identity()["Account"]
        return f"{self.name}-{account}-source", f"{self.name}-{account}-copies"

    def make_buckets(self) -> None:
        s3, region = self.session.client("s3"), self.session.region_name
        where = (
            {}
            if region == "us-east-1"
            else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        for bucket in self.buckets:
            s3.create_bucket(Bucket=bucket, **where)
        for key, body in OBJECTS.items():
            s3.put_object(Bucket=self.buckets[0], Key=key, Body=body)

    def deploy(self) -> dict[str, str]:
        stack = self._stack()
        stack.deploy(self.published.templates["hub"], self.parameters)
        return stack.outputs()

    def connect(self, outputs: Mapping[str, str]) -> Call:
        call = (self.api or self._signed)(outputs)
        who = call("{ whoAmI { role } }")
        if who["role"] != "admin":
            raise StateError(f"who deploys has the role {who['role']} in the hub, not admin")
        return call

    def copy_objects(self, call: Call) -> None:
        source, copies = self.buckets
        given = {
            "srcBucket": source, "destBucket": copies, "ec2CronExpression": "",
            "multipartThreshold": "8MiB", "partSize": "5MiB",
            "srcRegion": self.session.region_name, "destRegion": self.session.region_name,
        }  # fmt: skip
        address = self.session.client("s3").meta.endpoint_url
        if ".amazonaws." not in address:
            given |= {"srcEndpoint": address, "destEndpoint": address}
        self._run_task(call, "S3EC2", given, len(OBJECTS))
        s3 = self.session.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=copies)
        found = {each["Key"] for page in pages for each in page.get("Contents", [])}
        if found != OBJECTS.keys():
            raise StateError(f"other objects arrived: {sorted(found ^ OBJECTS.keys())[:5]}")
        for key, body in OBJECTS.items():
            arrived = s3.get_object(Bucket=copies, Key=key)["Body"].read()
            if hashlib.sha256(arrived).digest() != hashlib.sha256(body).digest():
                raise StateError(f"{key!r} arrived with other bytes")

    def copy_images(self, call: Call) -> None:
        region = self.session.region_name
        own = {
            "srcRegion": region, "srcList": "SELECTED", "destRegion": region,
            "srcImageList": f"{REPOSITORY}:{self.published.version}-arm64",
            "destPrefix": self.name,
        }  # fmt: skip
        self._run_task(call, "ECR", self.images or own, 1)

    def _run_task(self, call: Call, type: str, given: Mapping[str, str], expected: int) -> None:
        """Create the task, and wait until this many things are copied."""
        pairs = [{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()]
        asked = {"type": type, "scheduleType": "ONE_TIME", "parameters": pairs}
        task = call(CREATE, input=asked)["id"]
        end = time.monotonic() + WAIT
        while True:
            found = call(LOOK, id=task)
            progress = found["progressInfo"] or {"replicated": 0, "failed": 0}
            why = found["reason"] or found["stackStatusReason"] or "no reason is given"
            if found["progress"] in ("ERROR", "PAUSED", "STOPPED") or progress["failed"]:
                raise StateError(
                    f"the task is {found['progress']}, {progress['failed']} failed: {why}"
                )
            if found["progress"] == "DONE":
                break
            if time.monotonic() > end:
                raise StateError(f"the task is {found['progress']} after {WAIT:.0f} s: {why}")
            time.sleep(PAUSE)
        if progress["replicated"] != expected:
            raise StateError(f"{progress['replicated']} of {expected} were copied")

    def _stack(self, name: str = "") -> DeployedStack:
        return DeployedStack(self.session.client("cloudformation"), name or self.name, self.say)

    def _signed(self, outputs: Mapping[str, str]) -> Call:
        """Calls of the API, signed with the session's credentials."""
        import botocore.auth
        import botocore.awsrequest
        import botocore.httpsession

        def call(query: str, **variables: Any) -> Any:
            body = json.dumps({"query": query, "variables": variables})
            request = botocore.awsrequest.AWSRequest(
                "POST", outputs["ApiUrl"], {"content-type": "application/json"}, body
            )
            credentials = self.session.get_credentials().get_frozen_credentials()
            signer = botocore.auth.SigV4Auth(credentials, "appsync", self.session.region_name)
            signer.add_auth(request)
            answer = botocore.httpsession.URLLib3Session().send(request.prepare())
            return field_of(json.loads(answer.content))

        return call

    # -------------------------------------------------------------------------- what is taken away

    def _remove(self) -> None:
        """Remove everything, each independent of what fails before."""
        for what, remove in (
            ("the tasks' stacks removed", self._remove_tasks),
            ("the hub removed", self._remove_hub),
            ("what tasks left removed", self._remove_data),
            ("images removed", self._remove_images),
            ("buckets removed", self._remove_buckets),
            ("nothing is left", self._look_for_leftovers),
        ):
            try:
                with self._step(what):
                    remove()
            except Exception as error:  # noqa: BLE001 - the next ones are removed all the same
                self.say(f"{what}: {error}")

    def _remove_tasks(self) -> None:
        for name in self._stack().beginning_with(f"{self.name}-s3-", f"{self.name}-ecr-"):
            self._stack(name).delete()

    def _remove_hub(self) -> None:
        stack = self._stack()
        if not stack.status():
            return
        client = self.session.client("cloudformation")
        made = client.describe_stack_resources(StackName=self.name)["StackResources"]
        stack.delete()
        for each in made:
            name, kind = each.get("PhysicalResourceId", ""), each["ResourceType"]
            if name and kind in KEPT and each["ResourceStatus"] != "DELETE_COMPLETE":
                self._remove_kept(kind, name)

    def _remove_kept(self, kind: str, name: str) -> None:
        match kind:
            case "AWS::DynamoDB::Table":
                self.session.client("dynamodb").delete_table(TableName=name)
            case "AWS::Cognito::UserPool":
                self.session.client("cognito-idp").delete_user_pool(UserPoolId=name)
            case "AWS::SecretsManager::Secret":
                secrets = self.session.client("secretsmanager")
                secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)

    def _remove_data(self) -> None:
        """Tables and log groups of tasks, which a hub keeps until a task is deleted."""
        dynamodb = self.session.client("dynamodb")
        for table in self._tables():
            dynamodb.delete_table(TableName=table)
        logs = self.session.client("logs")
        for group in self._log_groups():
            logs.delete_log_group(logGroupName=group)

    def _remove_images(self) -> None:
        ecr = self.session.client("ecr")
        for repository in self._repositories():
            ecr.delete_repository(repositoryName=repository, force=True)

    def _remove_buckets(self) -> None:
        s3 = self.session.client("s3")
        for bucket in self._found_buckets():
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
            for page in pages:
                keys = [{"Key": each["Key"]} for each in page.get("Contents", [])]
                if keys:
                    s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
            uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
            for each in uploads:
                s3.abort_multipart_upload(Bucket=bucket, Key=each["Key"], UploadId=each["UploadId"])
            s3.delete_bucket(Bucket=bucket)

    def _look_for_leftovers(self) -> None:
        # The last line of a function may come after its log group went, and make it again.
        for _ in range(LOOKS):
            self._remove_data()
            if not (left := self._leftovers()):
                return
            time.sleep(PAUSE)
        raise StateError(f"remove these by hand: {', '.join(left)}")

    def _leftovers(self) -> list[str]:
        return [
            *(f"stack {each}" for each in self._stack().beginning_with(self.name)),
            *(f"table {each}" for each in self._tables()),
            *(f"log group {each}" for each in self._log_groups()),
            *(f"repository {each}" for each in self._repositories()),
            *(f"bucket {each}" for each in self._found_buckets()),
        ]

    def _tables(self) -> list[str]:
        dynamodb = self.session.client("dynamodb")
        pages = dynamodb.get_paginator("list_tables").paginate()
        named = [each for page in pages for each in page["TableNames"]]
        return [
            each
            for each in named
            if each.startswith(f"{self.name}-")
            and dynamodb.describe_table(TableName=each)["Table"]["TableStatus"] != "DELETING"
        ]

    def _log_groups(self) -> list[str]:
        pages = self.session.client("logs").get_paginator("describe_log_groups")
        found = pages.paginate(logGroupNamePrefix=f"{LOGS}/{self.name}")
        return [each["logGroupName"] for page in found for each in page["logGroups"]]

    def _repositories(self) -> list[str]:
        pages = self.session.client("ecr").get_paginator("describe_repositories").paginate()
        named = [each["repositoryName"] for page in pages for each in page["repositories"]]
        return [each for each in named if each.startswith(f"{self.name}/")]

    def _found_buckets(self) -> list[str]:
        found = self.session.client("s3").list_buckets()["Buckets"]
        return [each["Name"] for each in found if each["Name"].startswith(f"{self.name}-")]


def field_of(answer: Mapping[str, Any]) -> Any:
    """Return the one field of an answer of the API. Raises HubError."""
    if answer.get("errors"):
        raise HubError("; ".join(str(each.get("message", each)) for each in answer["errors"]))
    [found] = answer["data"].values()
    return found


def report(name: str, region: str, steps: list[Step]) -> str:
    """Return what was tried, one step per line."""
    lines = [f"{name} in {region}"]
    for step in steps:
        state = "FAILED" if step.error else "ok"
        reason = f": {step.error}" if step.error else ""
        lines.append(f"{state:<7} {step.seconds:6.0f} s  {step.what}{reason}")
    return "\n".join(lines)
