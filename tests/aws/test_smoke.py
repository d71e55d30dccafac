"""`dth aws smoke` on an emulated AWS: all of it works, and nothing is left, whatever fails."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from dth.infra import deploy, smoke
from dth.infra.publish import Published, PublishedTemplate, with_defaults
from dth.infra.smoke import OBJECTS, Smoke, Step, field_of, report
from tests.aws.emulator.machines import Machines
from tests.aws.emulator.region import ASSETS, PREFIX, Region
from tests.aws.hub import ADMIN
from tests.servers.registry import NEEDED, RegistryServer, image, layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

NAME = "dth-smoke-tested"
STEPS = {
    "make_buckets": "two buckets with objects",
    "deploy": "a hub",
    "connect": "its API",
    "copy_objects": "a task for objects",
    "copy_images": "a task for images",
}
REMOVED = [
    "the tasks' stacks removed",
    "the hub removed",
    "what tasks left removed",
    "images removed",
    "buckets removed",
    "nothing is left",
]


@pytest.fixture
def session(region: Region, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL", region.url)
    # Each look is a function that starts: more of them would take the time of those that work.
    monkeypatch.setattr(smoke, "PAUSE", 2.0)
    monkeypatch.setattr(smoke, "WAIT", 180)
    monkeypatch.setattr(deploy, "PAUSE", 0.3)
    return boto3.Session("test", "test", region_name="us-east-1")


@pytest.fixture
def published(fresh_region: Region, templates: dict[str, Path]) -> Published:
    """The templates in the asset bucket, with the defaults that publishing fills in."""
    made = {}
    for name, file in templates.items():
        body = with_defaults(
            file.read_text("utf-8"),
            assetBucket=ASSETS,
            assetPrefix=PREFIX,
            # The region, and every store and registry, is on this machine.
            allowedNetworks="loopback,private",
        )
        key = f"{PREFIX}/templates/{name}.json"
        fresh_region.boto("s3").put_object(Bucket=ASSETS, Key=key, Body=body.encode())
        declared = json.loads(body)["Parameters"]
        made[name] = PublishedTemplate(
            f"{fresh_region.url}/{ASSETS}/{key}",
            {each: "Default" not in about for each, about in declared.items()},
        )
    archive = b"PK\x05\x06" + bytes(18)
    fresh_region.boto("s3").put_object(Bucket=ASSETS, Key=f"{PREFIX}/console.zip", Body=archive)
    return Published("1.0-ab", made)


@pytest.fixture
def machines(fresh_region: Region, tmp_path: Path) -> Iterator[Machines]:
    log = tmp_path / "machines.log"
    log.touch()
    with Machines(fresh_region, log) as running:
        yield running
    print(log.read_text())


def tried(
    session: Any, published: Published, region: Region, images: Mapping[str, str] | None = None
) -> Smoke:
    network = region.network()
    given = {
        "adminEmail": ADMIN,
        "vpcId": network["ec2VpcId"],
        "subnetIds": network["ec2Subnets"],
        "taskImage": "123456789012.dkr.ecr.us-east-1.amazonaws.com/data-transfer-hub:tested",
    }
    return Smoke(session, published, print, given, NAME, images, lambda _: api_of(region))


def api_of(region: Region) -> Callable[..., Any]:
    """Calls as the root user: the address in the outputs leads to the real AppSync."""
    [api] = region.boto("appsync").list_graphql_apis()["graphqlApis"]

    def call(query: str, **variables: Any) -> Any:
        request = urllib.request.Request(
            f"{region.url}/v1/apis/{api['apiId']}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"content-type": "application/json", **signed(region, api["apiId"], query)},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return field_of(json.load(answer))

    return call


def signed(region: Region, api: str, query: str) -> dict[str, str]:
    key = "Credential=test/20260101/us-east-1/appsync/aws4_request"
    return {"authorization": f"AWS4-HMAC-SHA256 {key}, SignedHeaders=host, Signature=00"}


def left(region: Region) -> dict[str, list[Any]]:
    """What there is in the region besides our assets and what every account has."""
    buckets = [each["Name"] for each in region.boto("s3").list_buckets()["Buckets"]]
    found = {
        "buckets": [each for each in buckets if each != ASSETS],
        "tables": region.boto("dynamodb").list_tables()["TableNames"],
        "functions": region.boto("lambda").list_functions()["Functions"],
        "roles": region.boto("iam").list_roles()["Roles"],
        "queues": region.boto("sqs").list_queues().get("QueueUrls", []),
        "topics": region.boto("sns").list_topics()["Topics"],
        "pools": region.boto("cognito-idp").list_user_pools(MaxResults=60)["UserPools"],
        "secrets": region.boto("secretsmanager").list_secrets()["SecretList"],
        "apis": region.boto("appsync").list_graphql_apis()["graphqlApis"],
        "machines": region.boto("stepfunctions").list_state_machines()["stateMachines"],
    }
    return {what: each for what, each in found.items() if each}


@NEEDED
def test_all_of_it_works_and_goes(
    session: Any, published: Published, fresh_region: Region, machines: Machines
) -> None:
    with RegistryServer() as here, RegistryServer() as there:
        here.push("team/app", "v1", image("app", [layer("app", 1000)]))
        images = {
            "sourceType": "Registry",
            "srcRegistry": here.host,
            "srcList": "SELECTED",
            "srcImageList": "team/app:v1",
            "destType": "Registry",
            "destRegistry": there.host,
            "destPrefix": NAME,
        }
        smoked = tried(session, published, fresh_region, images)
        worked = smoked.run()
        print(report(NAME, "us-east-1", smoked.steps))
        assert [step.what for step in smoked.steps if step.error] == []
        assert worked
        assert there.digest(f"{NAME}/team/app", "v1")
    assert [step.what for step in smoked.steps] == [*STEPS.values(), *REMOVED]
    assert left(fresh_region) == {}


@pytest.mark.parametrize("failing", STEPS)
def test_nothing_is_left_when_a_step_fails(
    session: Any,
    published: Published,
    fresh_region: Region,
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
) -> None:
    """The step does what it does, and fails then. Later ones are left out."""
    done = getattr(Smoke, failing)

    def fail(self: Smoke, *arguments: Any) -> None:
        done(self, *arguments)
        raise OSError("out of luck")

    # These need machines and containers; that they can be removed is seen above.
    for name in ("copy_objects", "copy_images"):
        monkeypatch.setattr(Smoke, name, lambda self, call: None)
    done = getattr(Smoke, failing)
    monkeypatch.setattr(Smoke, failing, fail)
    smoked = tried(session, published, fresh_region)

    assert not smoked.run()

    names = [*STEPS]
    before = names[: names.index(failing) + 1]
    assert [step.what for step in smoked.steps] == [*(STEPS[each] for each in before), *REMOVED]
    assert {step.what: step.error for step in smoked.steps if step.error} == {
        STEPS[failing]: "out of luck"
    }
    assert left(fresh_region) == {}


def test_what_cannot_be_removed_is_named(
    session: Any, published: Published, fresh_region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Smoke) -> None:
        raise OSError("denied")

    monkeypatch.setattr(Smoke, "deploy", refuse)
    monkeypatch.setattr(Smoke, "_remove_buckets", refuse)
    smoked = tried(session, published, fresh_region)
    assert not smoked.run()
    errors = {step.what: step.error for step in smoked.steps if step.error}
    assert errors.keys() == {"a hub", "buckets removed", "nothing is left"}
    assert errors["nothing is left"].startswith("remove these by hand: bucket dth-smoke-tested-")


def test_the_report_has_a_line_for_each_step() -> None:
    steps = [Step("a hub", 312.4), Step("a task for objects", 61, "the task is ERROR: no rights")]
    assert report("dth-smoke-1", "eu-west-1", steps).splitlines() == [
        "dth-smoke-1 in eu-west-1",
        "ok         312 s  a hub",
        "FAILED      61 s  a task for objects: the task is ERROR: no rights",
    ]
    assert len({*OBJECTS}) == len(OBJECTS) > 200
