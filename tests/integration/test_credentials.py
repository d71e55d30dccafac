"""Who we are to a store: every way keys are found, and how they change while a task runs."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from dth.core.errors import EndpointRefused, UsageError
from dth.core.transport import Transport
from dth.objects.store import credentials as module
from dth.objects.store.credentials import (
    Credentials,
    CredentialSource,
    FileSecrets,
    SecretCredentials,
    resolve_credentials,
)
from dth.objects.store.signing import AccessKeys
from tests.clients import connect
from tests.servers.proxy import Action, Proxy, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers.ministack import MiniStack
    from tests.servers.proxy import Request

pytestmark = pytest.mark.quick

ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    transport = Transport()
    yield transport
    transport.close()


@pytest.fixture
def secrets(tmp_path: Path) -> FileSecrets:
    return FileSecrets(tmp_path)


def write_secret(folder: Path, name: str = "mine", mode: int = 0o600, **values: Any) -> Path:
    """Put a secret in its place at once, as a careful tool does."""
    new = folder / f"{name}.new"
    new.write_text(json.dumps(values))
    new.chmod(mode)
    return new.rename(folder / f"{name}.json")


def secret(name: str = "mine", **options: Any) -> CredentialSource:
    return CredentialSource(secret=name, **options)


async def refused(credentials: Credentials) -> str:
    """What is said when there are no keys to be had, which is one line."""
    with pytest.raises(EndpointRefused) as error:
        await credentials.keys()
    assert error.value.code == "NoCredentials"
    assert "\n" not in str(error.value)
    return str(error.value)


# ---------------------------------------------------------------------------------------- the chain


async def test_keys_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, secrets: FileSecrets
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert await resolve_credentials(CredentialSource(), secrets).keys() == AccessKeys(
        "AKIDENV", "secret"
    )
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert await resolve_credentials(CredentialSource(), secrets).keys() == AccessKeys(
        "AKIDENV", "secret", "token"
    )


async def test_half_a_key_in_the_environment_is_told(
    monkeypatch: pytest.MonkeyPatch, secrets: FileSecrets
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(EndpointRefused, match="missing: AWS_SECRET_ACCESS_KEY"):
        await resolve_credentials(CredentialSource(), secrets).keys()


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file; append to it."""
    path = tmp_path / "config"
    path.write_text("[default]\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    return path


def add_profile(path: Path, name: str, **values: str) -> None:
    with path.open("a") as file:
        file.write(
            f"[profile {name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
        )


async def test_keys_of_a_profile(profiles: Path, secrets: FileSecrets) -> None:
    add_profile(profiles, "work", aws_access_key_id="AKIDWORK", aws_secret_access_key="secret")
    found = resolve_credentials(CredentialSource(profile="work"), secrets)
    assert (
        await asyncio.gather(*(found.keys() for _ in range(5)))
        == [AccessKeys("AKIDWORK", "secret")] * 5
    )


async def test_a_profile_that_is_missing_is_named(
    profiles: Path, secrets: FileSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolve_credentials(CredentialSource(profile="nobody"), secrets)
    assert await refused(asked) == "profile 'nobody' is not in the AWS configuration files"
    monkeypatch.setenv("AWS_PROFILE", "somebody")
    by_environment = resolve_credentials(CredentialSource(), secrets)
    assert (
        await refused(by_environment) == "profile 'somebody' is not in the AWS configuration files"
    )


async def test_no_keys_anywhere(secrets: FileSecrets, profiles: Path) -> None:
    nobody = resolve_credentials(CredentialSource(), secrets)
    assert (
        "no credentials: set a profile, the environment (AWS_ACCESS_KEY_ID), a secret"
        in await refused(nobody)
    )
    profiles.write_text("[default\n")
    assert "credentials are not available" in await refused(
        resolve_credentials(CredentialSource(), secrets)
    )


async def test_nobody_signs_nothing(
    transport: Transport, s3_a: MiniStack, bucket_a: str, proxy_a: Proxy, secrets: FileSecrets
) -> None:
    s3_a.put(bucket_a, "k", b"body")
    nobody = resolve_credentials(CredentialSource(anonymous=True, secret="ignored"), secrets)
    assert await nobody.keys() is None
    client = connect(transport, proxy_a, bucket_a, credentials=nobody, requester_pays=True)
    assert (await client.get("k", size=4)).body == b"body"
    (request,) = proxy_a.requests
    names = {name.lower() for name, _ in request.headers.items}
    assert names.isdisjoint(
        {"authorization", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"}
    )
    assert "host" in names


async def test_a_session_token_is_sent_and_signed(
    transport: Transport, bucket_a: str, proxy_a: Proxy, tmp_path: Path, secrets: FileSecrets
) -> None:
    write_secret(tmp_path, access_key_id="ASIA1", secret_access_key="s", session_token="the token")
    client = connect(
        transport, proxy_a, bucket_a, credentials=resolve_credentials(secret(), secrets)
    )
    proxy_a.rule(Reply(200))
    await client.head("k")
    assert proxy_a.requests[0].headers.get("x-amz-security-token") == "the token"
    assert "x-amz-security-token" in (proxy_a.requests[0].headers.get("authorization") or "")


# ------------------------------------------------------------------------------------------ secrets


async def test_a_rotated_secret_is_used_while_running(
    transport: Transport,
    s3_auth: MiniStack,
    tmp_path: Path,
    secrets: FileSecrets,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SECRET_CHECK", 0.05)
    old, new = s3_auth.user(ALL), s3_auth.user(ALL)
    bucket = s3_auth.bucket()
    write_secret(tmp_path, access_key_id=old[0], secret_access_key=old[1])
    client = connect(transport, s3_auth, bucket, credentials=resolve_credentials(secret(), secrets))
    await client.put("k1", [b"x"], {})
    iam = s3_auth.boto("iam")
    owner = next(
        user["UserName"]
        for user in iam.list_users()["Users"]
        for key in iam.list_access_keys(UserName=user["UserName"])["AccessKeyMetadata"]
        if key["AccessKeyId"] == old[0]
    )
    iam.delete_access_key(UserName=owner, AccessKeyId=old[0])
    with pytest.raises(EndpointRefused, match="InvalidAccessKeyId"):
        await client.put("k2", [b"x"], {})
    write_secret(tmp_path, access_key_id=new[0], secret_access_key=new[1])
    async with asyncio.timeout(5):
        while (await client.credentials.keys()) != AccessKeys(*new):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.gather(*(client.put(f"k{n}", [b"x"], {}) for n in range(10)))
    s3_auth.drop(bucket)


async def test_many_who_ask_first_are_all_given_keys(tmp_path: Path) -> None:
    """While the secret is read for the first time, nobody may go unsigned."""

    class Slow(FileSecrets):
        reads = 0

        def read(self, name: str) -> str:
            self.reads += 1
            time.sleep(0.05)
            return super().read(name)

    write_secret(tmp_path, access_key_id="AKID", secret_access_key="s")
    slow = Slow(tmp_path)
    credentials = resolve_credentials(secret(), slow)
    assert (
        await asyncio.gather(*(credentials.keys() for _ in range(20)))
        == [AccessKeys("AKID", "s")] * 20
    )
    assert slow.reads == 1


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
async def test_a_secret_that_others_can_read_is_refused(
    tmp_path: Path, secrets: FileSecrets, mode: int
) -> None:
    path = write_secret(tmp_path, mode=mode, access_key_id="AKID", secret_access_key="hunter2")
    said = await refused(resolve_credentials(secret(), secrets))
    assert said == f"secret {path} can be read by others; run: chmod 600 {path}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        '"hunter2"',
        "{}",
        '{"access_key_id": "hunter2"}',
        '{"access_key_id": "a", "secret_access_key": 5}',
        '{"access_key_id": null, "secret_access_key": "hunter2"}',
        '{"access_key_id": "a", "secret_access_key": "hunter2", "session_token": 5}',
        '{"access_key_id": "a", "secret_access_key": "hunter2", "role_arn": {"x": 1}}',
        "[default]\naws_access_key_id = hunter2\n",
    ],
)
async def test_a_malformed_secret_is_refused_and_not_shown(
    tmp_path: Path, secrets: FileSecrets, text: str
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text)
    path.chmod(0o600)
    said = await refused(resolve_credentials(secret(), secrets))
    assert said.startswith("secret 'mine' is not JSON of the form {\"access_key_id\": ")
    assert "hunter2" not in said


async def test_a_secret_that_cannot_be_read_is_refused(
    tmp_path: Path, secrets: FileSecrets
) -> None:
    said = await refused(resolve_credentials(secret("none"), secrets))
    assert (
        said == f"secret 'none' cannot be read: {tmp_path / 'none.json'}: No such file or directory"
    )
    path = tmp_path / "mine.json"
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    assert "is not text" in await refused(resolve_credentials(secret(), secrets))


@pytest.mark.parametrize("name", ["../mine", "a/b", "", ".hidden", "a b", "a\nb"])
def test_a_secret_lies_in_its_directory(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    write_secret(tmp_path, access_key_id="AKID", secret_access_key="s")
    with pytest.raises(UsageError, match="is not a valid name for a secret"):
        FileSecrets(folder).read(name)


async def test_a_secret_that_is_being_written_is_waited_for(
    tmp_path: Path, secrets: FileSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECRET_CHECK", 0.0)
    path = write_secret(tmp_path, access_key_id="AKID1", secret_access_key="s")
    credentials = resolve_credentials(secret(), secrets)
    assert isinstance(credentials, SecretCredentials)
    for text in ("", '{"access_key_id": "AK'):
        assert await credentials.keys() == AccessKeys("AKID1", "s")
        path.write_text(text)
        assert await credentials.keys() == AccessKeys("AKID1", "s")
        path.write_text('{"access_key_id": "AKID1", "secret_access_key": "s"}')
    assert await credentials.keys() == AccessKeys("AKID1", "s")
    # What stays broken is of no use any more.
    path.unlink()
    for _ in range(module.SECRET_TRIES - 1):
        assert await credentials.keys() == AccessKeys("AKID1", "s")
    assert "No such file" in await refused(credentials)
    assert "No such file" in await refused(credentials)
    write_secret(tmp_path, access_key_id="AKID2", secret_access_key="s")
    assert await credentials.keys() == AccessKeys("AKID2", "s")


# -------------------------------------------------------------------------------------------- roles


@dataclass
class Forms(Action):
    """Remembers the forms that are posted."""

    seen: list[dict[str, str]] = field(default_factory=list)

    async def request(self, request: Request) -> Reply | None:
        body = b"".join([chunk async for chunk in request.body])
        self.seen.append({name: values[0] for name, values in parse_qs(body.decode()).items()})

        async def again() -> AsyncIterator[bytes]:
            yield body

        request.body = again()
        return None


@pytest.fixture
def sts(s3_auth: MiniStack) -> Any:
    """A proxy before STS, with a role that may do everything: (proxy, its forms, the role's
    ARN)."""
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
    }
    iam = s3_auth.boto("iam")
    name = f"role-{time.monotonic_ns()}"
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(ALL))
    with Proxy(s3_auth) as proxy:
        forms = Forms()
        proxy.rule(forms, method="POST")
        yield proxy, forms.seen, arn


@pytest.mark.parametrize("where", ["in the secret", "in the task"])
async def test_a_role_is_assumed_with_a_secret_and_an_external_id(
    transport: Transport,
    s3_auth: MiniStack,
    tmp_path: Path,
    secrets: FileSecrets,
    sts: Any,
    where: str,
) -> None:
    proxy, forms, arn = sts
    access, secret_key = s3_auth.user(ALL)
    role = {"role_arn": arn, "external_id": "an external id"}
    options: dict[str, Any] = {"region": "eu-west-1", "sts_endpoint": proxy.url}
    if where == "in the secret":
        write_secret(tmp_path, access_key_id=access, secret_access_key=secret_key, **role)
    else:
        write_secret(tmp_path, access_key_id=access, secret_access_key=secret_key)
        options |= role
    credentials = resolve_credentials(secret(**options), secrets)
    found = await asyncio.gather(*(credentials.keys() for _ in range(5)))
    assert len(forms) == 1
    assert forms[0]["RoleArn"] == arn
    assert forms[0]["ExternalId"] == "an external id"
    assert forms[0]["RoleSessionName"] == "data-transfer-hub"
    assert access in (proxy.requests[0].headers.get("authorization") or "")
    keys = found[0]
    assert keys is not None
    assert set(found) == {keys}
    assert keys.access != access
    assert keys.token
    bucket = s3_auth.bucket()
    client = connect(transport, s3_auth, bucket, credentials=credentials)
    await client.put("k", [b"x"], {})
    assert s3_auth.keys(bucket) == ["k"]
    s3_auth.drop(bucket)


async def test_a_role_is_assumed_on_top_of_a_profile(
    profiles: Path, secrets: FileSecrets, sts: Any
) -> None:
    proxy, forms, arn = sts
    add_profile(profiles, "base", aws_access_key_id="test", aws_secret_access_key="test")
    source = CredentialSource(profile="base", role_arn=arn, sts_endpoint=proxy.url)
    keys = await resolve_credentials(source, secrets).keys()
    assert keys is not None
    assert keys.token
    assert "ExternalId" not in forms[0]


async def test_a_role_that_is_not_given_is_told(
    tmp_path: Path, secrets: FileSecrets, sts: Any
) -> None:
    proxy, _, arn = sts
    write_secret(tmp_path, access_key_id="test", secret_access_key="test", role_arn=arn)
    proxy.rule(
        Reply(403, "AccessDenied", "not authorized to perform: sts:AssumeRole"), method="POST"
    )
    said = await refused(resolve_credentials(secret(sts_endpoint=proxy.url), secrets))
    assert said == (
        f"credentials are not available: the role {arn} cannot be assumed: AssumeRole was refused: "
        "HTTP 403; see that the role is right, and that these credentials may assume it"
    )


async def test_sts_that_does_not_answer_is_told(tmp_path: Path, secrets: FileSecrets) -> None:
    arn = "arn:aws:iam::123456789012:role/theirs"
    write_secret(tmp_path, access_key_id="test", secret_access_key="test", role_arn=arn)
    said = await refused(resolve_credentials(secret(sts_endpoint="http://127.0.0.1:9"), secrets))
    assert said == (
        f"credentials are not available: the role {arn} cannot be assumed: no answer from "
        "http://127.0.0.1:9/; see that the role is right, and that these credentials may assume it"
    )


async def test_another_role_in_a_rotated_secret_is_assumed(
    tmp_path: Path, secrets: FileSecrets, sts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECRET_CHECK", 0.0)
    proxy, forms, arn = sts
    write_secret(tmp_path, access_key_id="test", secret_access_key="test", role_arn=arn)
    credentials = resolve_credentials(secret(sts_endpoint=proxy.url), secrets)
    first = await credentials.keys()
    assert await credentials.keys() == first
    write_secret(
        tmp_path, access_key_id="test", secret_access_key="test", role_arn=arn, external_id="new"
    )
    second = await credentials.keys()
    assert second != first
    assert [form.get("ExternalId") for form in forms] == [None, "new"]


# ------------------------------------------------------------------------------------------- expiry


class ShortLived:
    """A profile whose keys a program makes, for so many seconds each time; it may be told to
    fail."""

    def __init__(self, folder: Path, profiles: Path, seconds: float) -> None:
        self._count = folder / "count"
        self._fail = folder / "fail"
        program = folder / "program.sh"
        program.write_text(
            "set -e\n"
            f"test ! -e {self._fail}\n"
            f"echo x >> {self._count}\n"
            f"n=$(wc -l < {self._count})\n"
            f"end=$(date -u -d '+{seconds} seconds' +%Y-%m-%dT%H:%M:%S.%NZ)\n"
            """printf '{"Version": 1, "AccessKeyId": "AKID%d", "SecretAccessKey": "s", "Expiration": "%s"}'"""
            ' "$n" "$end"\n'
        )
        add_profile(profiles, "short", credential_process=f"sh {program}")

    @property
    def made(self) -> int:
        return len(self._count.read_text().split())

    @property
    def newest(self) -> AccessKeys:
        return AccessKeys(f"AKID{self.made}", "s")

    def fail(self, fails: bool) -> None:
        if fails:
            self._fail.touch()
        else:
            self._fail.unlink()


async def until_expired(credentials: Credentials) -> None:
    found: Any = credentials
    async with asyncio.timeout(20):
        while not module._refresh_needed(found._credentials, 0):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_keys_that_expire_are_made_anew_before_they_do(
    tmp_path: Path, profiles: Path, secrets: FileSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = ShortLived(tmp_path, profiles, 600)
    credentials = resolve_credentials(CredentialSource(profile="short"), secrets)
    # Botocore would like to renew them from the start, ten minutes before their end: not at every
    # request.
    for _ in range(20):
        assert await credentials.keys() == program.newest
    assert program.made <= 2
    monkeypatch.setattr(module, "REFRESH_PAUSE", 0.0)
    before = program.made
    assert await credentials.keys() == program.newest
    assert program.made == before + 1
    # A source that fails meanwhile does not matter while the keys are good.
    program.fail(True)
    assert await credentials.keys() == program.newest
    program.fail(False)
    assert None not in await asyncio.gather(*(credentials.keys() for _ in range(5)))


async def test_keys_that_expired_are_made_anew_at_once(
    tmp_path: Path, profiles: Path, secrets: FileSecrets
) -> None:
    program = ShortLived(tmp_path, profiles, 1.5)
    credentials = resolve_credentials(CredentialSource(profile="short"), secrets)
    first = await credentials.keys()
    assert first == program.newest
    await until_expired(credentials)
    second = await credentials.keys()
    assert second == program.newest != first
    program.fail(True)
    await until_expired(credentials)
    assert "credentials are not available: " in await refused(credentials)
    program.fail(False)
    assert await credentials.keys() == program.newest != second
