"""Whose STS gives a role."""

from __future__ import annotations

import botocore.session
import pytest

from dth.objects.store.credentials import CredentialSource, _sts_region


@pytest.mark.parametrize(
    ("ours", "role", "store", "endpoint", "region"),
    [
        ("eu-west-1", "arn:aws:iam::123456789012:role/r", "us-west-2", "", "eu-west-1"),
        ("eu-west-1", "arn:aws-cn:iam::123456789012:role/r", "cn-north-1", "", "cn-north-1"),
        ("here", "arn:aws:iam::123456789012:role/r", "us-west-2", "", "us-west-2"),
        ("", "arn:aws:iam::123456789012:role/r", "us-west-2", "", "us-west-2"),
        ("", "arn:aws:iam::123456789012:role/r", "", "", "us-east-1"),
        ("eu-west-1", "arn:aws:iam::123456789012:role/r", "lab", "https://sts.example.org", "lab"),
    ],
)
def test_it_is_that_of_our_own_region_if_it_knows_the_role(
    ours: str, role: str, store: str, endpoint: str, region: str
) -> None:
    session = botocore.session.Session()
    session.set_config_variable("region", ours)
    source = CredentialSource(role_arn=role, region=store, sts_endpoint=endpoint)
    assert _sts_region(session, source) == region
