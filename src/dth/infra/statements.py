"""Statements of IAM policies, and what those of the hub are about. Nothing here needs the CDK, whose start is slow."""

from collections.abc import Sequence
from typing import Any

Statement = dict[str, Any]  # as in a policy document
TAG = "DataTransferHub"  # the key of what marks secrets of the hub, and everything of its tasks
# What changes a bucket, or the objects in it.
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


def allow(actions: Sequence[str], resources: Any, **conditions: Any) -> Statement:
    """A statement. Conditions as in a policy: StringEquals={...}."""
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resources}
    return {**statement, "Condition": conditions} if conditions else statement


def deny(actions: Sequence[str], resources: Any) -> Statement:
    """A statement that no other can undo."""
    return {"Effect": "Deny", "Action": list(actions), "Resource": resources}


def policy(statements: Sequence[Any]) -> dict[str, Any]:
    """A policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def not_by_tasks(resources: Any) -> Statement:
    """A statement of a bucket's policy: no role of a task, nor of its preflights, changes what is there. All of them
    have the tag `TAG`, and no other role has."""
    return {
        "Sid": "NotByTasks",
        "Effect": "Deny",
        "Principal": "*",
        "Action": list(CHANGES),
        "Resource": resources,
        "Condition": {"Null": {f"aws:PrincipalTag/{TAG}": "false"}},
    }


def only_by_tls(resources: Any, action: str) -> Statement:
    """A statement of a resource's policy: whoever comes without TLS is refused. `action` such as "sqs:*"."""
    return {
        "Sid": "OnlyByTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": resources,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
