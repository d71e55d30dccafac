"""The preflight of tasks for images, and what a connection's test tells, against real
registries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import EndpointRefused
from dth.core.retry_policy import RetryPolicy
from dth.core.transport import Transport
from dth.images.parameters import EcrParameters
from dth.images.preflight import CheckState, preflight
from dth.images.preview import preview
from dth.images.probe import probe
from tests.images import KEYS, Secrets
from tests.servers.proxy import Reply
from tests.servers.registry import (
    NEEDED,
    PASSWORD,
    USER,
    EcrServer,
    PlainProxy,
    RegistryServer,
    image,
    layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = NEEDED

APP = image("preflight", [layer("preflight", 1000)])
JSON = {"Content-Type": "application/json"}


SECRETS = Secrets(
    login=json.dumps({"username": USER, "password": PASSWORD}),
    wrong=json.dumps({"username": USER, "password": "hunter2"}),
    odd="no JSON at all",
    keys=KEYS,
)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dth.images.registry.client.POLICY", RetryPolicy(0.0, 0.05))
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)


@pytest.fixture(scope="module")
def here() -> Iterator[RegistryServer]:
    with RegistryServer(auth=True) as server:
        server.push("team/app", "v1", APP)
        server.push("team/other", "v1", APP)
        yield server


@pytest.fixture(scope="module")
def there() -> Iterator[RegistryServer]:
    with RegistryServer(auth=True) as server:
        yield server


def task(source: Any, dest: Any, **more: Any) -> EcrParameters:
    values = {
        "source_type": "Registry",
        "src_registry": source.url.partition("//")[2],
        "src_credential": "login",
    }
    if isinstance(dest, EcrServer):
        values |= {"dest_region": dest.region, "dest_endpoint": dest.url, "dest_credential": "keys"}
    else:
        values |= {
            "dest_type": "Registry",
            "dest_registry": dest.url.partition("//")[2],
            "dest_credential": "login",
        }
    return EcrParameters.model_validate({**values, **more})


async def check(parameters: EcrParameters) -> dict[str, Any]:
    with Transport() as transport:
        report = await preflight(parameters, transport, SECRETS)
    for each in report.checks:
        assert "\n" not in each.found + each.todo
        assert each.todo or each.state is not CheckState.FAILED, each
        assert "hunter2" not in each.found
    found = report.as_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["requests"] <= 40
    return found


def by_name(found: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(each["side"], each["name"]): each["state"] for each in found["checks"]}


async def test_all_is_well_and_nothing_is_left(
    here: RegistryServer, gate: PlainProxy, there: RegistryServer
) -> None:
    found = await check(task(here, gate))
    assert by_name(found) == {
        ("source", "registry"): "OK",
        ("destination", "registry"): "OK",
        ("source", "listing"): "OK",
        ("source", "pull"): "OK",
        ("destination", "push"): "OK",
        ("destination", "skopeo"): "OK",
    }
    assert found["state"] == "OK"
    assert [r.status for r in gate.requests if r.method == "DELETE"] == [204]
    assert not [each for each in there.data.rglob("_uploads/*/*") if each.is_file()]


@pytest.mark.parametrize(
    ("changes", "side", "name", "said", "todo"),
    [
        (
            {"src_credential": "wrong"},
            "source",
            "credentials",
            "refuses the credentials",
            "correct srcCredential",
        ),
        (
            {"dest_credential": "wrong"},
            "destination",
            "credentials",
            "refuses",
            "correct destCredential",
        ),
        (
            {"dest_credential": "odd"},
            "destination",
            "credentials",
            "is not JSON of the form",
            "destCredential",
        ),
        (
            {"src_registry": "127.0.0.1:9"},
            "source",
            "connection",
            "failed to connect",
            "correct srcRegistry",
        ),
        (
            {"include_repositories": ("none/*",)},
            "source",
            "listing",
            "no repository that",
            "patterns are right",
        ),
        (
            {"src_list": "SELECTED", "src_image_list": "team/app:v1,team/app:none"},
            "source",
            "/team/app:none",
            "it is not there",
            "correct srcImageList",
        ),
        (
            {"src_list": "SELECTED", "src_image_list": "team/none:ALL_TAGS"},
            "source",
            "/team/none",
            "it is not there",
            "correct srcImageList",
        ),
        (
            {"rename_rules": ("team/*=*",), "dest_prefix": "x" * 255},
            "destination",
            "names",
            "longer",
            "renameRules",
        ),
    ],
)
async def test_what_is_wrong_is_told_with_what_to_do(
    here: RegistryServer,
    there: RegistryServer,
    changes: dict[str, Any],
    side: str,
    name: str,
    said: str,
    todo: str,
) -> None:
    found = await check(task(here, there, **changes))
    bad = [each for each in found["checks"] if each["state"] in ("FAILED", "WARNING")]
    assert bad
    assert {(each["side"], each["name"].removeprefix(here.host)) for each in bad} == {(side, name)}
    assert said in bad[0]["found"]
    assert todo in bad[0]["todo"]
    assert found["policies"] == {"source": {}, "destination": {}}


async def test_a_destination_that_takes_no_pushes(here: RegistryServer, gate: PlainProxy) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "read only"}]}'
    gate.rule(Reply(403, body=body, headers=JSON), method="POST")
    found = await check(task(here, gate))
    (bad,) = (each for each in found["checks"] if each["state"] == "FAILED")
    assert (bad["name"], bad["todo"]) == ("push", "allow pushing")
    assert "read only" in bad["found"]


async def test_a_limit_says_nothing_about_the_rights(
    here: RegistryServer, gate: PlainProxy
) -> None:
    gate.rule(Reply(429, headers={"Retry-After": "3600"}, body=b""), method="POST")
    found = await check(task(here, gate))
    assert by_name(found)[("destination", "push")] == "UNKNOWN"


async def test_rights_at_amazon_ecr_come_with_the_statement_to_add(
    here: RegistryServer, ecr: EcrServer
) -> None:
    ecr.make("mirror/team/app", "mirror/team/other")
    good = await check(task(here, ecr, dest_prefix="mirror"))
    assert good["state"] == "OK"
    ecr.refuse["DescribeRepositories"] = ("AccessDeniedException", "not authorized")
    found = await check(task(here, ecr, dest_prefix="mirror", dest_account_id=ecr.account))
    (statement,) = found["policies"]["destination"]["Statement"]
    assert statement["Action"] == ["ecr:DescribeImages", "ecr:DescribeRepositories"]
    assert statement["Resource"] == f"arn:aws:ecr:eu-west-1:{ecr.account}:repository/mirror/*"
    ecr.refuse["GetAuthorizationToken"] = ("AccessDeniedException", "not authorized")
    found = await check(task(here, ecr))
    (statement,) = found["policies"]["destination"]["Statement"]
    assert statement["Action"] == ["ecr:GetAuthorizationToken"]
    assert found["policies"]["source"] == {}


async def test_repositories_that_will_be_made(here: RegistryServer, ecr: EcrServer) -> None:
    ecr.make("team/app")
    found = await check(task(here, ecr))
    (unknown,) = (each for each in found["checks"] if each["state"] == "UNKNOWN")
    assert unknown["found"].startswith("1 of 2 repositories will be made")
    assert ecr.calls.count("CreateRepository") == 0


async def test_trouble_with_tls(here: RegistryServer, there: RegistryServer) -> None:
    """A registry without it, and one whose certificate is of another authority."""

    def sided(found: dict[str, Any]) -> tuple[str, str, str]:
        (failed,) = (each for each in found["checks"] if each["state"] == "FAILED")
        return failed["side"], failed["name"], failed["todo"]

    authorities = "/etc/ssl/certs/ca-certificates.crt"
    plain = await check(task(here, there, src_ca_bundle=authorities))
    assert sided(plain) == (
        "source",
        "TLS",
        "set srcPlainHttp if that is meant, or correct srcRegistry",
    )
    with RegistryServer(tls=True) as server:
        strange = await check(task(here, server, dest_ca_bundle=authorities))
        todo = "give the registry's authority in destCaBundle, or correct destRegistry"
        assert sided(strange) == ("destination", "TLS", todo)


async def test_no_skopeo(
    here: RegistryServer, there: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = await check(task(here, there))
    assert by_name(found)[("destination", "skopeo")] == "UNKNOWN"


async def test_what_the_test_of_a_connection_tells(
    transport: Transport, here: RegistryServer, there: RegistryServer, ecr: EcrServer
) -> None:
    async def told(side: str, **changes: Any) -> dict[str, Any]:
        parameters = task(here, changes.pop("dest", there), **changes)
        found = (await probe(parameters, side, transport, SECRETS)).as_dict()
        assert json.loads(json.dumps(found)) == found
        return found

    source = await told("source")
    assert (source["ok"], source["sample"], source["more"]) == (
        True,
        ["team/app", "team/other"],
        False,
    )
    assert (await told("destination"))["ok"]
    named = await told(
        "source", src_list="SELECTED", src_image_list="team/app:v1,team/none:ALL_TAGS"
    )
    assert (named["ok"], named["sample"]) == (False, [f"{here.host}/team/app:v1"])
    wrong = await told("source", src_credential="wrong")
    assert not wrong["ok"]
    assert "refuses the credentials" in wrong["detail"]
    ecr.make("one", "two")
    amazon = await told("destination", dest=ecr)
    assert (amazon["ok"], amazon["sample"], amazon["region"]) == (True, ["one", "two"], "eu-west-1")
    ecr.refuse["DescribeRepositories"] = ("AccessDeniedException", "not authorized to list")
    closed = await told("destination", dest=ecr)
    assert "not authorized to list" in closed["detail"]


async def test_a_forecast_is_the_plan_and_writes_nothing(
    transport: Transport, here: RegistryServer, gate: PlainProxy
) -> None:
    plan = await preview(task(here, gate), transport, SECRETS)
    assert json.loads(json.dumps(plan)) == plan
    assert (plan["counts"]["copy"], plan["more"], plan["left_out"]) == (2, 0, 0)
    assert 1000 < plan["bytes"] < plan["size"]
    assert {request.method for request in gate.requests} <= {"GET", "HEAD"}
    with pytest.raises(EndpointRefused, match="refuses the credentials"):
        await preview(task(here, gate, dest_credential="wrong"), transport, SECRETS)


async def test_a_registry_at_an_ipv6_address(here: RegistryServer) -> None:
    """What skopeo would have to convert there would fail."""
    found = await check(task(here, here, dest_registry="[::1]:1"))
    (told,) = (each for each in found["checks"] if each["name"] == "conversion")
    assert told["state"] == "WARNING"
    assert (
        "skopeo takes no registry at an IPv6 address such as [::1]:1; name it by a host name"
        in told["found"]
    )
