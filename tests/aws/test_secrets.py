"""Secrets Manager: what is read is fresh enough, and nothing outside of the prefix."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dth.errors import UsageError
from dth.platforms.aws import secrets as secrets_module
from dth.s3.credentials import CredentialSource, resolve_credentials

if TYPE_CHECKING:
    from dth.platforms.aws.platform import AwsNames, AwsPlatform
    from tests.aws.cloud import Calls
    from tests.servers.ministack import MiniStack

KEYS = {"access_key_id": "AKIA", "secret_access_key": "one"}


def create(cloud: MiniStack, name: str, **value: object) -> None:
    cloud.boto("secretsmanager").create_secret(Name=name, **value)


async def test_a_rotation_is_seen_and_calls_are_few(
    aws: AwsPlatform, names: AwsNames, cloud: MiniStack, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(cloud, f"{names.secret_prefix}source", SecretString=json.dumps(KEYS))
    credentials = resolve_credentials(CredentialSource(secret="source"), aws.secrets)
    for _ in range(20):
        keys = await credentials.keys()
        assert keys is not None
    assert keys.secret == "one"
    assert aws.secrets.read("source") == json.dumps(KEYS)
    assert calls.calls["secretsmanager"] == 1
    rotated = json.dumps({**KEYS, "secret_access_key": "two"})
    cloud.boto("secretsmanager").put_secret_value(
        SecretId=f"{names.secret_prefix}source", SecretString=rotated
    )
    assert aws.secrets.read("source") != rotated
    monkeypatch.setattr(secrets_module, "KEPT", 0.0)
    assert aws.secrets.read("source") == rotated


async def test_only_names_below_the_prefix(aws: AwsPlatform, names: AwsNames, cloud: MiniStack) -> None:
    create(cloud, f"other-{names.task}", SecretString="{}")
    create(cloud, f"{names.secret_prefix}binary", SecretBinary=b"\x00")
    for name in (f"other-{names.task}", f"../other-{names.task}", f"arn:aws:{names.task}", "", "a/b"):
        with pytest.raises(UsageError):
            aws.secrets.read(name)
    with pytest.raises(UsageError, match="is not text"):
        aws.secrets.read("binary")
    with pytest.raises(UsageError, match=r"there is no secret '.*/missing' in Secrets Manager"):
        aws.secrets.read("missing")
