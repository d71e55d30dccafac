"""Statements of IAM policies, and constants for those of the hub. Does not import the CDK, which
starts slowly.
"""

from collections.abc import Sequence
from typing import Any

Statement = dict[str, Any]  # as in a policy document
# The tag key of the hub's secrets, and of everything of its tasks.
TAG = "DataTransferHub"
# The tag key of everything that a stack makes, for bills: its value is the stack's name.
STACK_TAG = "DataTransferHubStack"
# The path of every role: two hubs with one name in two regions share no role.
ROLES = "/dth/${AWS::Region}/"
# Log groups are named with this prefix and the stack's name. Step Functions needs an own entry in
# the account's resource policy, which has room for some forty, for each log group that begins
# otherwise.
LOGS = "/aws/vendedlogs/dth"
# Actions that change a bucket, or the objects in it.
CHANGES = (
    "s3:PutObject*",
    "s3:DeleteObject*",
    "s3:PutBucket*",
    "s3:DeleteBucket*",
    "s3:Put*Configuration",
    "s3:Replicate*",
    "s3:RestoreObject",
    "s3:AbortMultipartUpload",
    "s3:BypassGovernanceRetention",
)
BUNDLES = {"arm64": "bundleArm64", "x86_64": "bundleX8664"}  # the parameters with their digests


def template_parameter(kind: str) -> str:
    """Return the hub's parameter with the digest of the template of a kind of task."""
    return f"template{kind.title()}"


def allow(actions: Sequence[str], resources: Any, **conditions: Any) -> Statement:
    """Return a statement that allows. Conditions as in a policy: StringEquals={...}."""
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resources}
    return {**statement, "Condition": conditions} if conditions else statement


def deny(actions: Sequence[str], resources: Any) -> Statement:
    """Return a statement that denies; no other statement overrides it."""
    return {"Effect": "Deny", "Action": list(actions), "Resource": resources}


def policy(statements: Sequence[Any]) -> dict[str, Any]:
    """Return a policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def not_by_tasks(resources: Any) -> Statement:
    """Return a bucket policy statement: no role of a task or of its preflights changes the content.

    All of these roles have the tag `TAG`, and no other role has it.
    """
    return {
        "Sid": "NotByTasks",
        "Effect": "Deny",
        "Principal": "*",
        "Action": list(CHANGES),
        "Resource": resources,
        "Condition": {"Null": {f"aws:PrincipalTag/{TAG}": "false"}},
    }


def only_by_tls(resources: Any, action: str) -> Statement:
    """Return a resource policy statement that denies access without TLS. `action` such as
    "sqs:*"."""
    return {
        "Sid": "OnlyByTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": resources,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
