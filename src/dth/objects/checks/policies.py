"""IAM statements to add if a permission is missing, in the right partition and only for the prefix
of the task."""

import re
from collections.abc import Iterable
from typing import Any

from dth.core.errors import TransferError
from dth.objects.store.endpoints import Endpoint

Statement = dict[str, Any]  # as in a policy document

# By the beginning of a region's name, with longer beginnings first.
PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "us-iso-": "aws-iso",
    "eu-isoe-": "aws-iso-e",
    "eusc-": "aws-eusc",
}
_DENIED = re.compile(r"not authorized to perform: ([\w-]+:\w+)(?: on resource: \"?(arn:[^\s\"]+))?")
_SPECIAL = re.compile(r"[*?$]")


def partition(endpoint: Endpoint) -> str:
    """The partition in the ARNs of the endpoint. Other stores with policies use `aws`."""
    region = endpoint.region if endpoint.is_aws else ""
    return next((name for start, name in PARTITIONS.items() if region.startswith(start)), "aws")


def on_bucket(endpoint: Endpoint, bucket: str, *actions: str) -> Statement:
    """Allow actions on the bucket itself."""
    return _statement(actions, f"arn:{partition(endpoint)}:s3:::{bucket}")


def on_listing(endpoint: Endpoint, bucket: str, prefix: str) -> Statement:
    """Allow listing the keys that begin with the prefix."""
    statement = on_bucket(endpoint, bucket, "s3:ListBucket")
    if prefix:
        statement["Condition"] = {"StringLike": {"s3:prefix": f"{_literal(prefix)}*"}}
    return statement


def on_objects(endpoint: Endpoint, bucket: str, prefix: str, *actions: str) -> Statement:
    """Allow actions on the objects whose keys begin with the prefix."""
    return _statement(actions, f"arn:{partition(endpoint)}:s3:::{bucket}/{_literal(prefix)}*")


def on_key(endpoint: Endpoint, key: str, *actions: str) -> Statement:
    """Allow actions on a KMS key, given as its ARN, id or alias; "" means any key."""
    if ":key/" in key:
        return _statement(actions, key)
    alias = key[key.find("alias/") :] if "alias/" in key else ""
    name = "*" if alias or not key else key
    statement = _statement(actions, f"arn:{partition(endpoint)}:kms:{endpoint.region}:*:key/{name}")
    # Policies do not accept aliases as resources.
    if alias:
        statement["Condition"] = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}}
    return statement


def policy(statements: Iterable[Statement]) -> dict[str, Any]:
    """One policy document with one statement per resource and condition; empty if there is nothing
    to add."""
    merged: list[Statement] = []
    for statement in statements:
        for other in merged:
            if _scope(other) == _scope(statement):
                other["Action"] = sorted({*other["Action"], *statement["Action"]})
                break
        else:
            merged.append(dict(statement))
    return {"Version": "2012-10-17", "Statement": merged} if merged else {}


def denied(error: TransferError) -> tuple[str, str]:
    """The action and the resource that a refusal by AWS names; "" for those that it does not
    name."""
    found = _DENIED.search(error.said)
    return (found[1], found[2] or "") if found else ("", "")


def _statement(actions: Iterable[str], resource: str) -> Statement:
    return {"Effect": "Allow", "Action": sorted(actions), "Resource": resource}


def _scope(statement: Statement) -> tuple[str, Any]:
    return statement["Resource"], statement.get("Condition")


def _literal(text: str) -> str:
    """The text in a form that a policy matches literally. A wildcard stands for what is not valid
    Unicode, because nothing else can match it."""
    escaped = _SPECIAL.sub(lambda found: f"${{{found[0]}}}", text)
    return "".join("?" if "\ud800" <= char <= "\udfff" else char for char in escaped)
