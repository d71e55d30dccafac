"""Whether what runs in the subnets that somebody chose reaches AWS's services: by a way out of the
VPC, or by endpoints. Without either, a deployment succeeds and its machines do nothing.
"""

from collections.abc import Mapping
from typing import Any

from dth.core.checks import Check, CheckState
from dth.core.errors import UsageError
from dth.platforms.aws.hub.settings import HubSettings

# The parameters of templates with subnets.
SUBNETS = {
    "s3": ("ec2Subnets",),
    "ecr": ("ecsSubnetA", "ecsSubnetB"),
    "hub": ("subnetIds",),
    "hub-oidc": ("subnetIds",),
}
TASK = {"s3", "dynamodb", "sqs", "logs"}
OBJECTS = TASK | {"autoscaling"}
IMAGES = TASK | {"ecr.api", "ecr.dkr"}
USED_BY = {"S3EC2": OBJECTS, "ECR": IMAGES}
USED = {"s3": OBJECTS, "ecr": IMAGES, "hub": OBJECTS | IMAGES, "hub-oidc": OBJECTS | IMAGES}
# What parameters with other values than these need besides.
MORE = {
    "srcCredentials": ("secretsmanager",),
    "destCredentials": ("secretsmanager",),
    "srcCredential": ("secretsmanager",),
    "destCredential": ("secretsmanager",),
    "srcSseCustomerKey": ("secretsmanager",),
    "destSseCustomerKey": ("secretsmanager",),
    "srcRoleArn": ("sts",),
    "destRoleArn": ("sts",),
    "sessionManager": ("ssm", "ssmmessages"),
}
OFF = ("", "false", False, None)
EVERYWHERE = "0.0.0.0/0"
# What is allowed to whom looks at networks.
LOOKS = ("ec2:DescribeSubnets", "ec2:DescribeRouteTables", "ec2:DescribeVpcEndpoints")
DENIED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")


def check_network(session: Any, template: str, given: Mapping[str, str]) -> None:
    """Raise UsageError if machines or containers in one of the given subnets would not reach what
    they need. `session`: boto3's. Who may not look at networks gets no check.
    """
    import botocore.exceptions

    named = ",".join(given.get(name, "") for name in SUBNETS[template])
    try:
        closed = _closed(
            session.client("ec2"),
            session.region_name,
            named,
            _wanted(USED[template], given),
            has_address=given.get("publicIp", "ENABLED") == "ENABLED",
        )
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in DENIED:
            return
        raise
    if closed:
        raise UsageError(closed[0])


def check_subnets(client: Any, settings: HubSettings, type: str, task: Mapping[str, Any]) -> Check:
    """Whether what the hub runs for a task reaches what the task needs, from the hub's subnets.
    `client`: botocore's for EC2; `task`: the task's parameters. Blocks."""
    import botocore.exceptions

    state, todo = CheckState.OK, ""
    found = f"{settings.subnets}: a route leads out, or the VPC has the endpoints that are needed"
    wanted = _wanted(USED_BY.get(type, TASK), task)
    has_address = settings.public_ip == "ENABLED"
    try:
        if closed := _closed(client, settings.region, settings.subnets, wanted, has_address):
            state, found = CheckState.FAILED, closed[0]
    except UsageError as error:
        state, found = CheckState.FAILED, str(error)
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        state, found = CheckState.UNKNOWN, f"AWS does not show the subnets: {error}"
        todo = f"allow the hub's role of jobs {', '.join(LOOKS)}"
    return Check("network", "subnets", state, found, todo)


def _wanted(used: set[str], given: Mapping[str, Any]) -> set[str]:
    more = (services for name, services in MORE.items() if given.get(name) not in OFF)
    return used.union(*more)


def _closed(client: Any, region: str, named: str, wanted: set[str], has_address: bool) -> list[str]:
    """For each subnet from which something that is wanted cannot be reached: what, and what to do.
    `named`: the ids of the subnets, separated by commas. Raises UsageError."""
    import botocore.exceptions

    ids = list(dict.fromkeys(each.strip() for each in named.split(",") if each.strip()))
    if not ids:
        return []
    try:
        subnets = client.describe_subnets(SubnetIds=ids)["Subnets"]
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "InvalidSubnetID.NotFound":
            raise UsageError(f"there is no subnet {', '.join(ids)} here") from None
        raise
    vpc = [{"Name": "vpc-id", "Values": sorted({each["VpcId"] for each in subnets})}]
    tables = _all(client, "describe_route_tables", "RouteTables", vpc)
    endpoints = _all(client, "describe_vpc_endpoints", "VpcEndpoints", vpc)
    found = []
    for subnet in sorted(subnets, key=lambda each: ids.index(each["SubnetId"])):
        table = _table_of(subnet, tables)
        targets = [each for each in table["Routes"] if _leads_out(each)]
        public = [each for each in targets if each.get("GatewayId", "").startswith("igw-")]
        if len(targets) > len(public) or (public and has_address):
            continue
        there = {_service(each, region) for each in endpoints if _serves(each, table)}
        if missing := sorted(wanted - there):
            advice = ", or publicIp=ENABLED" if public else ""
            found.append(
                f"from {subnet['SubnetId']} machines reach nothing outside of their VPC, which "
                f"lacks endpoints for {', '.join(missing)}: make them, or choose subnets with a "
                f"NAT gateway{advice}"
            )
    return found


def _all(client: Any, operation: str, name: str, filters: list[Any]) -> list[dict[str, Any]]:
    pages = client.get_paginator(operation).paginate(Filters=filters)
    return [each for page in pages for each in page[name]]


def _table_of(subnet: Mapping[str, Any], tables: list[dict[str, Any]]) -> dict[str, Any]:
    """The subnet's own route table, or the main one of its VPC."""
    of_vpc = [each for each in tables if each["VpcId"] == subnet["VpcId"]]
    own = [
        each
        for each in of_vpc
        if any(one.get("SubnetId") == subnet["SubnetId"] for one in each["Associations"])
    ]
    main = [each for each in of_vpc if any(one.get("Main") for one in each["Associations"])]
    return next(iter([*own, *main]))


def _leads_out(route: Mapping[str, Any]) -> bool:
    """A transit gateway, a VPN or an appliance may lead out as well as NAT does, and a route to a
    part of the world may lead to endpoints that several VPCs share."""
    gateway = route.get("GatewayId", "")
    if route.get("State") == "blackhole" or gateway == "local" or gateway.startswith("vpce-"):
        return False
    return not gateway.startswith("igw-") or route.get("DestinationCidrBlock") == EVERYWHERE


def _serves(endpoint: Mapping[str, Any], table: Mapping[str, Any]) -> bool:
    """Whether the endpoint serves the usual name of its service in subnets with this table."""
    if endpoint["State"].lower() != "available":
        return False
    if endpoint["VpcEndpointType"] == "Gateway":
        return table["RouteTableId"] in endpoint.get("RouteTableIds", [])
    return bool(endpoint.get("PrivateDnsEnabled"))


def _service(endpoint: Mapping[str, Any], region: str) -> str:
    """Such as ecr.api, of com.amazonaws.eu-west-1.ecr.api."""
    return str(endpoint["ServiceName"].partition(f".{region}.")[2])
