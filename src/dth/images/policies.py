"""IAM statements for Amazon ECR: what to add if a permission is missing."""

from typing import Any

from dth.images.parameters import EcrParameters

Statement = dict[str, Any]  # as in a policy document

PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}  # by the start of a region's name
TOKEN = ("ecr:GetAuthorizationToken",)
LIST = ("ecr:DescribeRepositories", "ecr:DescribeImages")
PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
PUSH = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:InitiateLayerUpload",
    "ecr:UploadLayerPart",
    "ecr:CompleteLayerUpload",
    "ecr:PutImage",
)
CREATE = ("ecr:CreateRepository", "ecr:TagResource")


def token() -> Statement:
    """Allow signing in, which has no resource."""
    return {"Effect": "Allow", "Action": list(TOKEN), "Resource": "*"}


def on_repositories(parameters: EcrParameters, side: str, *actions: str) -> Statement:
    """Allow actions on the side's repositories; at the destination, those below the prefix."""
    source = side == "source"
    region = parameters.src_region if source else parameters.dest_region
    account = (parameters.src_account_id if source else parameters.dest_account_id) or "*"
    prefix = f"{parameters.dest_prefix}/" if parameters.dest_prefix and not source else ""
    partition = next(
        (name for start, name in PARTITIONS.items() if region.startswith(start)), "aws"
    )
    resource = f"arn:{partition}:ecr:{region}:{account}:repository/{prefix}*"
    return {"Effect": "Allow", "Action": sorted(actions), "Resource": resource}


def policy(statements: list[Statement]) -> dict[str, Any]:
    """Return one policy document; an empty one if there is nothing to add."""
    return {"Version": "2012-10-17", "Statement": statements} if statements else {}
