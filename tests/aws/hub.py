"""A hub that was deployed in the emulated region, as a user calls it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from tests.aws.emulator.region import ASSETS, PREFIX, Region, Stack, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ADMIN, PASSWORD = "admin@example.com", "A-l0ng-Passw0rd"
TASK = """id progress reason stackStatusReason
  progressInfo { total replicated failed run } """


class Hub:
    """`stack`: what was deployed. `token`: what its calls are made with."""

    def __init__(self, stack: Stack, token: str) -> None:
        self.stack = stack
        self.token = token

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
        pairs = [
            {"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()
        ]
        given = {"type": type, "scheduleType": schedule, "parameters": pairs}
        query = "mutation ($input: CreateTaskInput!) { createTask(input: $input) { id progress } }"
        return str(self.call(query, input=given)["id"])

    def task(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call(
            f"query ($id: ID!) {{ getTask(id: $id) {{ {TASK} }} }}", id=id
        )
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


def deploy_hub(region: Region, templates: dict[str, Path], console: bytes) -> Hub:
    """The template with a user pool, whose administrator signs in. `console`: the archive of its
    pages."""
    stack = deploy_template(
        region, templates, "hub", console, adminEmail=ADMIN, assumableRoles="arn:aws:iam::*:role/*"
    )
    cognito, pool = region.boto("cognito-idp"), stack.outputs["UserPool"]
    cognito.admin_set_user_password(
        UserPoolId=pool, Username=ADMIN, Password=PASSWORD, Permanent=True
    )
    client = cognito.create_user_pool_client(
        UserPoolId=pool, ClientName="test", ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"]
    )["UserPoolClient"]["ClientId"]
    signed_in = cognito.initiate_auth(
        ClientId=client,
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": ADMIN, "PASSWORD": PASSWORD},
    )
    return Hub(stack, signed_in["AuthenticationResult"]["AccessToken"])


def deploy_template(
    region: Region, templates: dict[str, Path], name: str, console: bytes, **parameters: str
) -> Stack:
    for each, template in templates.items():
        key = f"{PREFIX}/templates/{each}.json"
        region.boto("s3").put_object(Bucket=ASSETS, Key=key, Body=template.read_bytes())
    region.boto("s3").put_object(Bucket=ASSETS, Key=f"{PREFIX}/console.zip", Body=console)
    network = region.network()
    return region.deploy(
        "dth",
        templates[name],
        vpcId=network["ec2VpcId"],
        subnetIds=network["ec2Subnets"],
        taskImage="123456789012.dkr.ecr.us-east-1.amazonaws.com/data-transfer-hub:tested",
        **parameters,
    )


def stacks(region: Region) -> list[str]:
    """The names of those that there are."""
    found = region.boto("cloudformation").describe_stacks()["Stacks"]
    return sorted(each["StackName"] for each in found if each["StackStatus"] != "DELETE_COMPLETE")
