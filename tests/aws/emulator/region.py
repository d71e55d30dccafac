"""One emulated region, with IAM enforced, in which templates are deployed and what they make is
looked at."""

from __future__ import annotations

import io
import json
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.ministack import MiniStack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ASSETS, PREFIX = "assets", "dth/tested"
SPEED = 30  # schedules run so many times as fast
ROOT = Path(__file__).parents[3]


@dataclass
class Stack:
    """A stack that was deployed."""

    region: Region
    name: str
    id: str
    outputs: dict[str, str]

    @property
    def resources(self) -> dict[str, str]:
        """The names of what it made, by the names in its template."""
        found = self.region.boto("cloudformation").describe_stack_resources(StackName=self.name)
        return {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in found["StackResources"]
        }

    def update(self, **parameters: str) -> None:
        cloudformation = self.region.boto("cloudformation")
        before = cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]["Parameters"]
        names = {each["ParameterKey"] for each in before} - parameters.keys()
        cloudformation.update_stack(
            StackName=self.name,
            UsePreviousTemplate=True,
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                *({"ParameterKey": name, "UsePreviousValue": True} for name in names),
                *(
                    {"ParameterKey": name, "ParameterValue": value}
                    for name, value in parameters.items()
                ),
            ],
        )
        assert self.region.wait_for_stack(self.name) == "UPDATE_COMPLETE", self.region.failures(
            self.name
        )

    def delete(self) -> None:
        self.region.boto("cloudformation").delete_stack(StackName=self.name)
        assert self.region.wait_for_stack(self.id) == "DELETE_COMPLETE", self.region.failures(
            self.id
        )

    def items(self, table: str) -> list[dict[str, Any]]:
        """All items of one of its tables, by its name in the template."""
        pages = (
            self.region.boto("dynamodb")
            .get_paginator("scan")
            .paginate(TableName=self.resources[table])
        )
        return [item for page in pages for item in page["Items"]]

    def invoke(self, function: str, payload: Mapping[str, Any] | None = None) -> Any:
        """Call a function by its name in the template. A failure is an assertion with what it
        said."""
        answer = self.region.boto("lambda").invoke(
            FunctionName=self.resources[function], Payload=json.dumps(payload or {})
        )
        said = answer["Payload"].read().decode()
        assert "FunctionError" not in answer, said
        return json.loads(said)


class Region(MiniStack):
    """Call `reset` between tests: everything is forgotten. `installed`: more folders with packages
    of functions."""

    def __init__(self, *installed: Path) -> None:
        env = {
            "PYTHONPATH": ":".join(map(str, (ROOT, ROOT / "src", *installed))),
            "MINISTACK_HOST": "127.0.0.1",
            "EMULATOR_SPEED": str(SPEED),
            "SFN_WAIT_SCALE": str(1 / SPEED),
        }
        super().__init__(auth=True, env=env, application="tests.aws.emulator.app:app")

    def publish(self) -> None:
        """The asset bucket. What functions run is this checkout, which their Python has: the zip is
        an empty one."""
        self.boto("s3").create_bucket(Bucket=ASSETS)
        empty = io.BytesIO()
        with zipfile.ZipFile(empty, "w") as archive:
            archive.writestr("empty", "")
        self.boto("s3").put_object(Bucket=ASSETS, Key=f"{PREFIX}/lambda.zip", Body=empty.getvalue())

    def deploy(self, name: str, template: Path, **parameters: str) -> Stack:
        """Create a stack. The template goes by the asset bucket, as it is too large to be sent."""
        key = f"{PREFIX}/templates/{template.name}"
        self.boto("s3").put_object(Bucket=ASSETS, Key=key, Body=template.read_bytes())
        # The region, and every store and registry, is on this machine.
        allowed = {"allowedNetworks": "loopback,private"}
        given = {"assetBucket": ASSETS, "assetPrefix": PREFIX, **allowed, **parameters}
        made = self.boto("cloudformation").create_stack(
            StackName=name,
            TemplateURL=f"{self.url}/{ASSETS}/{key}",
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in given.items()
            ],
        )
        status = self.wait_for_stack(name)
        assert status == "CREATE_COMPLETE", self.failures(made["StackId"])
        found = self.boto("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
        return Stack(self, name, made["StackId"], outputs)

    def network(self) -> dict[str, str]:
        """The VPC that every account has, and two of its subnets."""
        ec2 = self.boto("ec2")
        subnets = [each["SubnetId"] for each in ec2.describe_subnets()["Subnets"]]
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        self._lead_out(vpc)
        return {
            "ec2VpcId": vpc,
            "ec2Subnets": ",".join(subnets[:2]),
        }

    def _lead_out(self, vpc: str) -> None:
        """Give the VPC the route to the internet that an account's own one has."""
        ec2 = self.boto("ec2")
        [table] = [
            each
            for each in ec2.describe_route_tables()["RouteTables"]
            if each["VpcId"] == vpc and any(one.get("Main") for one in each["Associations"])
        ]
        if any(each.get("DestinationCidrBlock") == "0.0.0.0/0" for each in table["Routes"]):
            return
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        ec2.create_route(
            RouteTableId=table["RouteTableId"],
            DestinationCidrBlock="0.0.0.0/0",
            GatewayId=gateway,
        )

    def wait_for_stack(self, name: str) -> str:
        def status() -> str:
            found = self.boto("cloudformation").describe_stacks(StackName=name)["Stacks"][0][
                "StackStatus"
            ]
            return "" if found.endswith("IN_PROGRESS") else str(found)

        return wait_for(status, 60)

    def failures(self, name: str) -> str:
        """Why a stack failed: the first reasons."""
        events = self.boto("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
        told = [
            f"{each['LogicalResourceId']}: {each.get('ResourceStatusReason', '')}"
            for each in reversed(events)
            if "FAILED" in each["ResourceStatus"]
        ]
        return "\n".join(told)


def wait_for(look: Callable[[], Any], timeout: float) -> Any:
    """What `look` returns, once that is true."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.2)
    return found
