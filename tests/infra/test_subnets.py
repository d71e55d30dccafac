"""Subnets from which machines reach what they need, in moto's EC2."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions
import pytest
from moto import mock_aws

from dth.compose.aws.network import MORE, SUBNETS, check_network, check_subnets
from dth.core.checks import CheckState
from dth.core.errors import UsageError
from dth.platforms.aws.hub.settings import HubSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OBJECTS = ("autoscaling", "dynamodb", "logs", "s3", "sqs")
GATEWAYS = ("dynamodb", "s3")


class Network:
    """A VPC with one subnet without a way out."""

    def __init__(self, region: str) -> None:
        self.session = boto3.Session(region_name=region)
        self.ec2 = self.session.client("ec2")
        self.vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.0.0.0/24")["Subnet"]
        self.subnet = subnet["SubnetId"]
        self.table = self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        self.ec2.associate_route_table(RouteTableId=self.table, SubnetId=self.subnet)

    def leads_to(self, to: str = "0.0.0.0/0", **target: str) -> None:
        self.ec2.create_route(RouteTableId=self.table, DestinationCidrBlock=to, **target)

    def internet_gateway(self) -> str:
        made = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=made, VpcId=self.vpc)
        return str(made)

    def nat_gateway(self) -> str:
        address = self.ec2.allocate_address(Domain="vpc")["AllocationId"]
        made = self.ec2.create_nat_gateway(SubnetId=self.subnet, AllocationId=address)
        return str(made["NatGateway"]["NatGatewayId"])

    def endpoints(self, *services: str, private_dns: bool = True, tables: bool = True) -> None:
        region = self.session.region_name
        prefix = "cn." if region.startswith("cn-") else ""
        for each in services:
            name = f"{prefix}com.amazonaws.{region}.{each}"
            more: dict[str, Any] = (
                {"VpcEndpointType": "Gateway", "RouteTableIds": [self.table] if tables else []}
                if each in GATEWAYS
                else {
                    "VpcEndpointType": "Interface", "SubnetIds": [self.subnet],
                    "PrivateDnsEnabled": private_dns,
                }
            )  # fmt: skip
            self.ec2.create_vpc_endpoint(VpcId=self.vpc, ServiceName=name, **more)

    def check(self, template: str = "s3", **given: str) -> None:
        names = {"s3": ("ec2Subnets",), "ecr": ("ecsSubnetA", "ecsSubnetB")}
        subnets = dict.fromkeys(names.get(template, ("subnetIds",)), self.subnet)
        check_network(self.session, template, {**subnets, "publicIp": "DISABLED", **given})


@pytest.fixture
def network() -> Iterator[Network]:
    with mock_aws():
        yield Network("eu-west-1")


def test_what_is_missing_is_named(network: Network) -> None:
    network.endpoints("s3", "dynamodb", "sqs")
    with pytest.raises(UsageError) as told:
        network.check()
    assert str(told.value) == (
        f"from {network.subnet} machines reach nothing outside of their VPC, which lacks endpoints "
        "for autoscaling, logs: make them, or choose subnets with a NAT gateway"
    )


@pytest.mark.parametrize(
    ("template", "given", "missing"),
    [
        ("ecr", {}, "dynamodb, ecr.api, ecr.dkr, logs, s3, sqs"),
        ("hub", {}, "autoscaling, dynamodb, ecr.api, ecr.dkr, logs, s3, sqs"),
        ("s3", {"srcCredentials": "keys"}, "autoscaling, dynamodb, logs, s3, secretsmanager, sqs"),
        (
            "s3",
            {"destRoleArn": "arn:aws:iam::1:role/r"},
            "autoscaling, dynamodb, logs, s3, sqs, sts",
        ),
        (
            "s3",
            {"sessionManager": "true"},
            "autoscaling, dynamodb, logs, s3, sqs, ssm, ssmmessages",
        ),
    ],
)
def test_endpoints_are_those_of_what_is_used(
    network: Network, template: str, given: dict[str, str], missing: str
) -> None:
    with pytest.raises(UsageError, match=f"endpoints for {missing}: make them"):
        network.check(template, **given)


def test_the_parameters_are_those_of_the_templates(templates: dict[str, Path]) -> None:
    declared = {
        name: set(json.loads(templates[name].read_text())["Parameters"]) for name in SUBNETS
    }
    assert all(declared[name] >= {*subnets} for name, subnets in SUBNETS.items())
    assert set.union(*declared.values()) >= MORE.keys()


def test_with_endpoints_no_way_out_is_needed(network: Network) -> None:
    network.endpoints(*OBJECTS)
    network.check()


def test_an_endpoint_without_the_usual_names_does_not_count(network: Network) -> None:
    network.endpoints("s3", "dynamodb")
    network.endpoints("autoscaling", "logs", "sqs", private_dns=False)
    with pytest.raises(UsageError, match="endpoints for autoscaling, logs, sqs"):
        network.check()


def test_a_gateway_counts_where_routes_lead_to_it(network: Network) -> None:
    network.endpoints(*OBJECTS, tables=False)
    with pytest.raises(UsageError, match="endpoints for dynamodb, s3"):
        network.check()


def test_a_nat_gateway_is_a_way_out(network: Network) -> None:
    network.leads_to(NatGatewayId=network.nat_gateway())
    network.check()


def test_endpoints_may_be_in_a_network_that_others_share(network: Network) -> None:
    gateway = network.ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
    network.leads_to("10.20.0.0/16", TransitGatewayId=gateway)
    network.check()


def test_an_internet_gateway_is_a_way_out_with_a_public_address(network: Network) -> None:
    network.leads_to(GatewayId=network.internet_gateway())
    network.check(publicIp="ENABLED")
    with pytest.raises(UsageError, match=r"NAT gateway, or publicIp=ENABLED$"):
        network.check()


def test_a_subnet_has_the_main_routes_of_its_vpc_if_it_has_none(network: Network) -> None:
    other = network.ec2.create_subnet(VpcId=network.vpc, CidrBlock="10.0.1.0/24")["Subnet"]
    main = network.ec2.describe_route_tables(
        Filters=[
            {"Name": "vpc-id", "Values": [network.vpc]},
            {"Name": "association.main", "Values": ["true"]},
        ]
    )["RouteTables"][0]
    network.table = main["RouteTableId"]
    network.leads_to(NatGatewayId=network.nat_gateway())
    network.check(ec2Subnets=other["SubnetId"])
    with pytest.raises(UsageError, match=rf"^from {network.subnet} machines"):
        network.check(ec2Subnets=f"{other['SubnetId']},{network.subnet}")


def test_the_network_that_a_hub_makes_is_not_checked(network: Network) -> None:
    check_network(network.session, "hub", {"adminEmail": "you@example.org"})


def test_a_subnet_that_is_not_there_is_told(network: Network) -> None:
    with pytest.raises(UsageError, match=r"^there is no subnet subnet-0123456789abcdef0 here$"):
        network.check(ec2Subnets="subnet-0123456789abcdef0")


def test_who_may_not_look_deploys_without_the_check(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = network.session.client("ec2")

    def deny(**arguments: object) -> None:
        import botocore.exceptions

        answer: Any = {"Error": {"Code": "UnauthorizedOperation", "Message": "no"}}
        raise botocore.exceptions.ClientError(answer, "DescribeSubnets")

    monkeypatch.setattr(refused, "describe_subnets", deny)
    monkeypatch.setattr(network.session, "client", lambda name: refused)
    network.check()


def test_endpoints_in_china_have_another_name() -> None:
    with mock_aws():
        network = Network("cn-north-1")
        network.endpoints(*OBJECTS)
        network.check()


# --------------------------------------------------------------------------- preflights of a hub


def of_hub(network: Network, subnets: str, public_ip: str = "DISABLED") -> HubSettings:
    values = {each.name: "" for each in fields(HubSettings)}
    region = network.session.region_name
    return HubSettings(**{**values, "region": region, "subnets": subnets, "public_ip": public_ip})


def test_a_preflight_names_what_a_task_would_not_reach(network: Network) -> None:
    network.endpoints("s3", "dynamodb", "sqs", "logs", "autoscaling")
    settings = of_hub(network, network.subnet)
    plain = check_subnets(network.ec2, settings, "S3EC2", {"srcRoleArn": ""})
    assert (plain.side, plain.name, plain.state) == ("network", "subnets", CheckState.OK)
    role = check_subnets(network.ec2, settings, "S3EC2", {"srcRoleArn": "arn:aws:iam::1:role/r"})
    assert role.state is CheckState.FAILED
    assert f"from {network.subnet} " in role.found
    assert "lacks endpoints for sts:" in role.found
    images = check_subnets(network.ec2, settings, "ECR", {})
    assert "lacks endpoints for ecr.api, ecr.dkr:" in images.found


def test_a_subnet_that_is_gone_fails_the_check(network: Network) -> None:
    found = check_subnets(network.ec2, of_hub(network, "subnet-0123456789abcdef0"), "S3EC2", {})
    assert found.state is CheckState.FAILED
    assert found.found == "there is no subnet subnet-0123456789abcdef0 here"


def test_who_may_not_look_gets_no_verdict(network: Network) -> None:
    class Denied:
        def describe_subnets(self, **_: Any) -> None:
            answer = {"Error": {"Code": "UnauthorizedOperation", "Message": "no"}}
            raise botocore.exceptions.ClientError(answer, "DescribeSubnets")

    found = check_subnets(Denied(), of_hub(network, network.subnet), "S3EC2", {})
    assert found.state is CheckState.UNKNOWN
    assert "ec2:DescribeSubnets" in found.todo
