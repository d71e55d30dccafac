"""Secrets Manager: what is read is fresh enough, and nothing outside of the prefix."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import UsageError
from dth.core.secrets import WrongHost
from dth.objects.store.credentials import CredentialSource, resolve_credentials
from dth.platforms.aws import secrets as secrets_module
from dth.platforms.aws.bindings import binding_key, hosts_text
from dth.platforms.aws.client import Aws
from dth.platforms.aws.hub.tables import HUB_TABLES
from dth.platforms.aws.items import to_item
from dth.platforms.aws.secrets import AwsSecrets
from dth.platforms.aws.tables import create_table

if TYPE_CHECKING:
    from dth.platforms.aws.platform import AwsNames, AwsPlatform
    from tests.aws.cloud import Calls
    from tests.servers.ministack import MiniStack

KEYS = {"access_key_id": "AKIA", "secret_access_key": "one"}


def create(cloud: MiniStack, name: str, **value: object) -> None:
    cloud.boto("secretsmanager").create_secret(Name=name, **value)


async def test_a_rotation_is_seen_and_calls_are_few(
    aws: AwsPlatform,
    names: AwsNames,
    cloud: MiniStack,
    calls: Calls,
    monkeypatch: pytest.MonkeyPatch,
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


async def test_only_names_below_the_prefix(
    aws: AwsPlatform, names: AwsNames, cloud: MiniStack
) -> None:
    create(cloud, f"other-{names.task}", SecretString="{}")
    create(cloud, f"{names.secret_prefix}binary", SecretBinary=b"\x00")
    for name in (
        f"other-{names.task}",
        f"../other-{names.task}",
        f"arn:aws:{names.task}",
        "",
        "a/b",
    ):
        with pytest.raises(UsageError):
            aws.secrets.read(name)
    with pytest.raises(UsageError, match="is not text"):
        aws.secrets.read("binary")
    with pytest.raises(UsageError, match=r"there is no secret '.*/missing' in Secrets Manager"):
        aws.secrets.read("missing")


async def test_a_secret_goes_to_the_hosts_that_the_hub_s_table_says(
    cloud: MiniStack, names: AwsNames
) -> None:
    table = f"bindings-{names.task}"
    cloud.boto("dynamodb").create_table(**create_table(table, HUB_TABLES["hub"]))
    aws = Aws(cloud.region, cloud.url)
    prefix = names.secret_prefix
    secrets = AwsSecrets(aws, prefix, table)
    for name, hosts in (("bound", ["a.example.com"]), ("new", []), ("old", None)):
        create(cloud, prefix + name, SecretString=json.dumps(KEYS))
        if hosts is not None:
            item = to_item({**binding_key(prefix + name), "Hosts": hosts_text(hosts)})
            cloud.boto("dynamodb").put_item(TableName=table, Item=item)
    here, there = secrets.at(["a.example.com"]), secrets.at(["a.example.com", "b.example.com"])
    assert here.read("bound") == here.read("old") == there.read("old") == json.dumps(KEYS)
    assert [secrets.is_unbound(name) for name in ("bound", "new", "old")] == [False, False, True]
    with pytest.raises(WrongHost, match=r"b\.example\.com: it is bound to a\.example\.com"):
        there.read("bound")
    with pytest.raises(WrongHost, match="bound to no host yet: resume the task"):
        here.read("new")
    aws.close()
