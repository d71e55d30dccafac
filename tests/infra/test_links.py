"""Links that create a stack in CloudFormation's console."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from dth.core.errors import UsageError
from dth.infra.links import CONSOLES, quick_create

TEMPLATE = "https://assets.s3.REGION.amazonaws.com/dth/1-ab/templates/hub.json"


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "us-east-1.console.aws.amazon.com"),
        ("eu-west-1", "eu-west-1.console.aws.amazon.com"),
        ("cn-north-1", "console.amazonaws.cn"),
        ("cn-northwest-1", "console.amazonaws.cn"),
        ("us-gov-west-1", "console.amazonaws-us-gov.com"),
    ],
)
def test_a_link_leads_to_the_console_of_the_partition(region: str, host: str) -> None:
    partition = boto3.Session(region_name=region).get_partition_for_region(region)
    image = "1.dkr.ecr.us-east-1.amazonaws.com/data-transfer-hub:1.0-ab"
    link = urlsplit(quick_create(partition, region, TEMPLATE, "dth", {"taskImage": image}))
    assert (link.scheme, link.netloc, link.path) == ("https", host, "/cloudformation/home")
    assert link.query == f"region={region}"
    page, _, asked = link.fragment.partition("?")
    assert page == "/stacks/create/review"
    assert parse_qs(asked) == {
        "templateURL": [TEMPLATE],
        "stackName": ["dth"],
        "param_taskImage": [image],
    }


def test_every_partition_of_the_templates_has_a_console() -> None:
    assert CONSOLES.keys() == {"aws", "aws-cn", "aws-us-gov"}
    with pytest.raises(UsageError, match="no address of a console is known in the partition"):
        quick_create("aws-iso", "us-iso-east-1", TEMPLATE, "dth", {})
