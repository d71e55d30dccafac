"""Whether what runs in the subnets that somebody chose reaches AWS's services: by a way out of the
VPC, or by endpoints. Without either, a deployment succeeds and its machines do nothing.
"""

from collections.abc import Mapping
from typing import Any

from dth.core.errors import UsageError

# The parameters of templates with subnets.
SUBNETS = {
    "s3": ("ec2Subnets",),
    "ecr": ("ecsSubnetA", "ecsSubnetB"),
    "hub": ("subnetIds",),
    "hub-oidc": ("subnetIds",),
}
OBJECTS = {"s3", "dynamodb", "sqs", "logs", "autoscaling"}
IMAGES = {"s3", "dynamodb", "sqs", "logs", "ecr.api", "ecr.dkr"}
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
OFF = ("", "false")
EVERYWHERE = "0.0.0.0/0"
DENIED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")


def check_network(session: Any, template: str, given: Mapping[str, str]) -> None:
    """Raise UsageError if machines or containers in one of the given subnets would not reach what
    they need. `session`: boto3's. Who may not look at networks gets no check.
    """
    import botocore.exceptions

    named = ",".join(given.get(name, "") for name in SUBNETS[template]).split(",")
    ids = list(dict.fromkeys(each.strip() for each in named if each.strip()))
    if not ids:
        return
    client = session.client("ec2")
    try:
        subnets = client.describe_subnets(SubnetIds=ids)["Subnets"]
        vpc = [{"Name": "vpc-id", "Values": sorted({each["VpcId"] for each in subnets})}]
        tables = _all(client, "describe_route_tables", "RouteTables", vpc)
        endpoints = _all(client, "describe_vpc_endpoints", "VpcEndpoints", vpc)
    except botocore.exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
        if code in DENIED:
            return
        if code == "InvalidSubnetID.NotFound":
            raise UsageError(f"there is no subnet {', '.join(ids)} here") from None
        raise
    has_address = given.get("publicIp", "ENABLED") == "ENABLED"
    wanted = USED[template].union(
        *(services for name, services in MORE.items() if given.get(name, "") not in OFF)
    )
    for subnet in sorted(subnets, key=lambda each: ids.index(each["SubnetId"])):
        table = _table_of(subnet, tables)
        targets = [each for each in table["Routes"] if _leads_out(each)]
        public = [each for each in targets if each.get("GatewayId", "").startswith("igw-")]
        if len(targets) > len(public) or (public and has_address):
            continue
        there = {_service(each, session.region_name) for each in endpoints if _serves(each, table)}
        if missing := sorted(wanted - there):
            advice = ", or publicIp=ENABLED" if public else ""
            raise UsageError(
                f"from {subnet['SubnetId']} machines reach nothing outside of their VPC, which "
                f"lacks endpoints for {', '.join(missing)}: make them, or choose subnets with a "
                f"NAT gateway{advice}"
            )


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
