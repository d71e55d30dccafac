"""The control plane of ECR: against one whose images are in a real registry, and against moto."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import (
    ConnectionFailed,
    EndpointRefused,
    ObjectRefused,
    Throttled,
    TransferError,
    Transient,
)
from dth.images.registry import control as module
from dth.images.registry.aws import AwsAccess
from dth.images.registry.client import Registry, RegistryAddress
from dth.images.registry.control import (
    EcrControl,
    EcrLogin,
    Mutability,
    RepositoryTemplate,
    TagRule,
)
from dth.images.registry.manifest import OCI_MANIFEST
from tests.images import Secrets
from tests.servers.registry import (
    PASSWORD,
    USER,
    EcrServer,
    RegistryServer,
    artifact,
    image,
    index,
    layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dth.core.transport import Transport
    from tests.servers.moto_server import MotoServer

needs_registry = pytest.mark.skipif(
    shutil.which("docker-registry") is None, reason="docker-registry is not installed"
)


def keys(**more: str) -> str:
    return json.dumps({"access_key_id": "test", "secret_access_key": "test", **more})


@pytest.fixture(scope="module")
def there() -> Iterator[RegistryServer]:
    with RegistryServer(auth=True) as server:
        yield server


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore tries again without a pause."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)


def connect(url: str, account: str = "", **access: Any) -> EcrControl:
    access = {"region": "eu-west-1", "secret": "mine", **access}
    return EcrControl(AwsAccess(endpoint=url, **access), Secrets(mine=keys()), account=account)


@needs_registry
async def test_all_pages_of_repositories_and_images(there: RegistryServer, ecr: EcrServer) -> None:
    base = layer("base", 1000)
    ecr.page = 10
    first = image("0", [base])
    there.push("many/images", "t000", first)
    built = [image(str(number), [base]) for number in range(15)]
    for number, each in enumerate(built):
        there.push("many/images", f"t{number:03}", each)
    ecr.make("many/images", *(f"repo/{number:03}" for number in range(12)))
    control = connect(ecr.url)
    assert len(await control.repositories()) == 13
    assert ecr.calls == ["DescribeRepositories"] * 2
    images = await control.images("many/images")
    assert images is not None
    assert {each.digest: each.tags for each in images} == {
        each.digest: (f"t{number:03}",) for number, each in enumerate(built)
    }
    assert control.calls == {"describe_repositories": 2, "describe_images": 2}


@needs_registry
async def test_what_is_known_of_an_image(there: RegistryServer, ecr: EcrServer) -> None:
    both = index(
        image("a", [layer("base", 1000)]), image("a", [layer("base", 1000)], architecture="arm64")
    )
    sbom = artifact("application/spdx+json", b"{}", subject=both)
    there.push("known/app", "v1", both)
    there.push("known/app", "v1.0", both)
    there.push("known/app", "", sbom)
    ecr.make("known/app")
    ecr.pushed[both.digest] = 1_750_000_000.0
    found = await connect(ecr.url).images("known/app")
    assert found is not None
    by_digest = {each.digest: each for each in found}
    assert len(by_digest) == 4
    assert by_digest[both.digest].tags == ("v1", "v1.0")
    assert by_digest[both.digest].pushed == 1_750_000_000
    assert by_digest[both.digest].media_type == both.media_type
    assert by_digest[sbom.digest].subject == both.digest
    assert by_digest[both.children[0].digest].tags == ()
    assert by_digest[both.children[0].digest].size > 1000


@needs_registry
async def test_repositories_by_name(ecr: EcrServer) -> None:
    ecr.make("aa", "bb", *(f"c/{number:03}" for number in range(20)))
    control = connect(ecr.url, account="210987654321")
    assert await control.repositories([]) == {}
    for names, there, calls in (
        (["bb", "aa"], 2, 1),
        (["aa", "none"], 1, 3),  # one after the other, where some are not there
        (["none"], 0, 1),
        ([f"c/{number:03}" for number in range(20)], 20, 1),
        (
            [f"c/{number:03}" for number in range(30)],
            20,
            2,
        ),  # all are listed, where many were asked for
        ([f"c/{number:03}" for number in range(101)], 20, 1),
    ):
        ecr.calls.clear()
        found = await control.repositories(names)
        assert list(found) == [name for name in names if name in ecr.repositories]
        assert (len(found), len(ecr.calls)) == (there, calls)
    assert set(ecr.accounts) == {"210987654321"}
    assert await control.images("none") is None


@needs_registry
async def test_repositories_are_made_by_a_template(ecr: EcrServer) -> None:
    control = connect(ecr.url)
    made = await control.create("plain", RepositoryTemplate())
    assert (made.name, made.host) == ("plain", ecr.registry.host)
    assert not made.tag_rule.fixed("v1")
    assert ecr.repositories["plain"]["imageTagMutability"] == "MUTABLE"
    template = RepositoryTemplate(
        TagRule(Mutability.IMMUTABLE_WITH_EXCLUSION, ("latest", "dev-*")),
        True,
        "arn:aws:kms:::key/1",
        (("team", "x"),),
    )
    made = await control.create("team/app", template)
    stored = ecr.repositories["team/app"]
    assert stored["encryptionConfiguration"] == {
        "encryptionType": "KMS",
        "kmsKey": "arn:aws:kms:::key/1",
    }
    assert stored["imageScanningConfiguration"] == {"scanOnPush": True}
    assert stored["tags"] == [{"Key": "team", "Value": "x"}]
    assert made.tag_rule == template.tag_rule
    again = await control.create("team/app", RepositoryTemplate())
    assert again == made  # it stays as it is


@pytest.mark.parametrize(
    ("rule", "fixed", "free"),
    [
        (TagRule(), [], ["v1", "latest"]),
        (TagRule(Mutability.IMMUTABLE), ["v1", "latest"], []),
        (
            TagRule(Mutability.IMMUTABLE_WITH_EXCLUSION, ("latest", "dev-*")),
            ["v1", "x-dev-1"],
            ["latest", "dev-1"],
        ),
        (TagRule(Mutability.MUTABLE_WITH_EXCLUSION, ("v*",)), ["v1"], ["latest"]),
    ],
)
def test_tags_that_stay(rule: TagRule, fixed: list[str], free: list[str]) -> None:
    assert [tag for tag in fixed + free if rule.fixed(tag)] == fixed


@needs_registry
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AccessDeniedException", EndpointRefused),
        ("KmsException", EndpointRefused),
        ("UnrecognizedClientException", EndpointRefused),
        ("ExpiredTokenException", EndpointRefused),
        ("LimitExceededException", ObjectRefused),
        ("InvalidParameterException", ObjectRefused),
    ],
)
async def test_refusals_are_told_with_their_reason(
    ecr: EcrServer, code: str, kind: type[TransferError]
) -> None:
    ecr.refuse["CreateRepository"] = (code, "because\nof this")
    with pytest.raises(kind) as told:
        await connect(ecr.url, account="1" * 12).create("team/app", RepositoryTemplate())
    assert type(told.value) is kind
    assert str(told.value) == (
        f"repository 'team/app' cannot be made in account 111111111111, eu-west-1: {code}: "
        "because of this"
    )
    ecr.refuse["DescribeImages"] = (code, "no")
    with pytest.raises(kind, match=rf"ecr:DescribeImages was refused: {code}: no"):
        await connect(ecr.url).images("aa")


@needs_registry
async def test_passing_refusals(ecr: EcrServer) -> None:
    ecr.refuse["DescribeImages"] = ("ThrottlingException", "Rate exceeded")
    with pytest.raises(Throttled):
        await connect(ecr.url).images("aa")
    assert len(ecr.calls) == 5
    ecr.refuse["DescribeImages"] = ("ServerException", "sorry")
    with pytest.raises(Transient):
        await connect(ecr.url).images("aa")


async def test_no_way_to_it() -> None:
    with pytest.raises(ConnectionFailed, match="ecr cannot be reached"):
        await connect("http://127.0.0.1:9").images("aa")
    with pytest.raises(EndpointRefused, match="no credentials: set a profile"):
        await connect("http://127.0.0.1:9", secret="").images("aa")
    with pytest.raises(EndpointRefused, match="no secret 'none'"):
        await connect("http://127.0.0.1:9", secret="none").images("aa")
    with pytest.raises(EndpointRefused, match=r"profile \(none\)"):
        await connect("http://127.0.0.1:9", secret="", profile="none").images("aa")
    with pytest.raises(ObjectRefused, match="Invalid length for parameter repositoryName"):
        await connect("http://127.0.0.1:9").images("a")


@pytest.mark.parametrize(
    "text", ["x", "[]", "{}", '{"access_key_id": "a", "secret_access_key": 1}']
)
async def test_secrets_that_are_none(text: str) -> None:
    control = EcrControl(AwsAccess("eu-west-1", "http://127.0.0.1:9", "mine"), Secrets(mine=text))
    with pytest.raises(EndpointRefused, match="secret 'mine' is not JSON of the form") as told:
        await control.images("aa")
    assert text not in str(told.value) or text in ("x", "{}", "[]")


@needs_registry
async def test_a_secret_that_changes(ecr: EcrServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dth.images.registry.aws.SECRET_CHECK", 0.0)
    secrets = Secrets(mine=keys())
    control = EcrControl(AwsAccess("eu-west-1", ecr.url, "mine"), secrets)
    assert await control.images("aa") is None
    first = control._client._client
    assert await control.images("aa") is None
    assert control._client._client is first
    secrets["mine"] = keys(session_token="t")
    assert await control.images("aa") is None
    assert control._client._client is not first
    second = control._client._client
    del secrets["mine"]  # for a moment, while it is written
    assert await control.images("aa") is None
    assert control._client._client is second


@needs_registry
async def test_signing_in_with_tokens_that_are_renewed(
    transport: Transport, there: RegistryServer, ecr: EcrServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.push("login/app", "v1", image("a", [layer("base", 1000)]))
    login = EcrLogin(connect(ecr.url))
    assert await login.host() == there.host
    client = Registry(transport, RegistryAddress(there.host), login)
    assert await client.tags("login/app") == ["v1"]
    assert await client.tags("login/app") == ["v1"]
    assert ecr.calls == ["GetAuthorizationToken"]
    found = await login.get()
    assert found is not None
    assert (found.user, found.password) == (USER, PASSWORD)
    now = module.time.time
    for seconds, calls in (
        (43200 - 7300, 1),
        (43200 - 7100, 2),
    ):  # it is renewed two hours before its end
        monkeypatch.setattr(module.time, "time", lambda seconds=seconds: now() + seconds)
        await login.get()
        await login.get()
        assert len(ecr.calls) == calls


@needs_registry
async def test_tokens_refused_are_asked_for_again_but_not_for_ever(
    ecr: EcrServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = EcrLogin(connect(ecr.url))
    found = await asyncio.gather(*(login.get() for _ in range(5)))
    assert len(ecr.calls) == 1
    await login.get(refused=found[0])
    assert len(ecr.calls) == 1  # it is new: another would be as good
    monkeypatch.setattr(module, "TOKEN_LEAST", 0.0)
    await login.get(refused=found[0])
    assert len(ecr.calls) == 2


def test_partitions_have_their_own_endpoints() -> None:
    for region, host in (
        ("eu-west-1", "api.ecr.eu-west-1.amazonaws.com"),
        ("cn-north-1", "api.ecr.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "api.ecr.us-gov-west-1.amazonaws.com"),
    ):
        control = EcrControl(AwsAccess(region, secret="mine"), Secrets(mine=keys()))
        assert control._client._ready().meta.endpoint_url == f"https://{host}"


async def test_moto_agrees(s3_moto: MotoServer) -> None:
    control = connect(s3_moto.url, region="us-west-2")
    made = await control.create("moto/app", RepositoryTemplate(TagRule(Mutability.IMMUTABLE), True))
    assert made.tag_rule.fixed("v1")
    assert made.host.endswith(".dkr.ecr.us-west-2.amazonaws.com")
    assert await control.create("moto/app", RepositoryTemplate()) == made
    assert (await control.repositories(["moto/app", "moto/none"])) == {"moto/app": made}
    assert (await control.repositories())["moto/app"] == made
    assert await control.images("moto/none") is None
    assert await control.images("moto/app") == []
    boto = s3_moto.boto("ecr", region="us-west-2")
    manifest = json.dumps(
        {"schemaVersion": 2, "config": {"digest": f"sha256:{'1' * 64}", "size": 7}, "layers": []}
    )
    boto.put_image(
        repositoryName="moto/app",
        imageManifest=manifest,
        imageManifestMediaType=OCI_MANIFEST,
        imageTag="v1",
    )
    (found,) = await control.images("moto/app") or []
    assert found.tags == ("v1",)
    assert found.pushed > 1.7e9
    login = EcrLogin(control)
    assert await login.host() == made.host
    user = await login.get()
    assert user is not None
    assert user.user == "AWS"


async def test_a_role_is_assumed(s3_moto: MotoServer) -> None:
    secrets = Secrets(
        mine=keys(role_arn="arn:aws:iam::210987654321:role/reader", external_id="secret")
    )
    access = AwsAccess("us-west-2", s3_moto.url, "mine", sts_endpoint=s3_moto.url)
    control = EcrControl(access, secrets)
    made = await control.create("of/the/other", RepositoryTemplate())
    assert made.host.startswith("210987654321.")  # moto takes the role's account for the caller's
