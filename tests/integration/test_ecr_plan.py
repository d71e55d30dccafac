"""Plans: what is to be done to make one registry have what another has, before anything moves."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import EndpointRefused
from dth.images.destination import Destination, EcrDestination, OciDestination
from dth.images.items import EarlierCopy, ImageAction, ImageItem, Plan
from dth.images.listing import EcrSource, Image, OciSource, Selection, Source, list_images
from dth.images.narrow import narrow, runs_on
from dth.images.patterns import Patterns
from dth.images.plan import Wishes, make_plan
from dth.images.registry.client import Registry, RegistryAddress
from dth.images.registry.control import EcrLogin
from dth.images.registry.login import FixedLogin, UserPassword
from dth.images.registry.manifest import OCI_INDEX, Manifest, read_manifest
from dth.images.renames import Renames
from tests.images import control_of
from tests.servers.proxy import Proxy, Reply
from tests.servers.registry import (
    PASSWORD,
    USER,
    Built,
    EcrServer,
    RegistryServer,
    artifact,
    digest_of,
    fallback,
    image,
    index,
    layer,
    signature,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dth.core.transport import Transport

pytestmark = pytest.mark.skipif(
    shutil.which("docker-registry") is None, reason="docker-registry is not installed"
)

BASE, MIDDLE, SMALL = layer("base", 300_000), layer("middle", 200_000), layer("small", 1000)
OWN = {name: layer(name, 100_000) for name in "abcdef"}


@pytest.fixture
def ecr_here(here: RegistryServer) -> Iterator[EcrServer]:
    with EcrServer(here) as server:
        yield server


class Sides:
    """Opens both sides again for each plan, as a run does."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.source: Source
        self.destination: Destination

    def registry(self, server: Any) -> Registry:
        login = FixedLogin(UserPassword(USER, PASSWORD))
        return Registry(
            self.transport, RegistryAddress(server.url.partition("//")[2]), login, attempts=1
        )

    async def plan(
        self, source: Any, destination: Any, images: list[Image] | None = None, **wishes: Any
    ) -> Plan:
        if isinstance(source, EcrServer):
            control = control_of(source)
            registry = Registry(
                self.transport, RegistryAddress(source.registry.host), EcrLogin(control)
            )
            self.source = EcrSource(control, registry)
        else:
            self.source = OciSource(self.registry(source))
        if isinstance(destination, EcrServer):
            self.destination = EcrDestination(
                control_of(destination), self.registry(destination.registry)
            )
        else:
            self.destination = OciDestination(self.registry(destination))
        if images is None:
            host = self.source.registry.host
            images = (await list_images(Selection(), lambda _: self.source, host)).images
        return await make_plan(images, lambda _: self.source, self.destination, Wishes(**wishes))


@pytest.fixture
def sides(transport: Transport) -> Sides:
    return Sides(transport)


def actions(plan: Plan) -> dict[str, ImageAction]:
    return {str(item.dest).partition("/")[2]: item.action for item in plan.items}


def item(plan: Plan, name: str) -> ImageItem:
    return next(each for each in plan.items if str(each.dest).endswith(name))


def size(*blobs: bytes) -> int:
    return sum(map(len, blobs))


async def test_what_is_there_what_is_new_and_what_has_changed(
    sides: Sides, here: RegistryServer, there: RegistryServer
) -> None:
    one, two = image("one", [BASE, OWN["a"]]), image("two", [BASE, OWN["b"]])
    both = index(one, image("arm", [MIDDLE], architecture="arm64"))
    for server in (here, there):
        server.push("team/same", "v1", both)
    here.push("team/new", "v1", two)
    here.push("team/changed", "v1", two)
    there.push("team/changed", "v1", one)
    there.push("team/only-there", "v1", one)
    plan = await sides.plan(here, there)
    assert actions(plan) == {
        "team/same:v1": ImageAction.SAME, "team/new:v1": ImageAction.COPY,
        "team/changed:v1": ImageAction.COPY
    }  # fmt: skip
    changed = item(plan, "changed:v1")
    assert (changed.digest, changed.wanted, changed.found) == (two.digest, two.digest, one.digest)
    # BASE is in the repository that changes; what both need crosses with the first of them.
    new = item(plan, "new:v1")
    assert plan.bytes == size(OWN["b"], two.blobs[0])
    assert {new.moves, changed.moves} == {plan.bytes, 0}
    assert new.size == changed.size == size(*two.blobs)
    assert plan.repositories == []  # a registry makes its own
    assert plan.counts()[ImageAction.COPY] == 2


async def test_what_has_not_changed_costs_two_requests_a_tag(
    sides: Sides, here: RegistryServer, there: RegistryServer
) -> None:
    built = image("one", [SMALL])
    for server in (here, there):
        server.push("team/app", "t00", built)
        for number in range(1, 50):
            server.tag("team/app", f"t{number:02}", built)
    plan = await sides.plan(here, there)
    assert plan.counts() == {**dict.fromkeys(ImageAction, 0), ImageAction.SAME: 50}
    assert plan.bytes == 0
    assert sides.source.registry.calls["HEAD manifests"] == 50
    assert sides.destination.registry.calls == {"HEAD manifests": 50}
    # The tags of what is attached are in the list that was read; whether there is an API is asked
    # once.
    assert sides.source.registry.calls["GET referrers"] <= 1
    assert sides.source.registry.calls["GET manifests"] == 0


async def test_between_ecrs_it_costs_one_call_a_repository(
    sides: Sides, ecr_here: EcrServer, ecr: EcrServer
) -> None:
    for each in (ecr_here, ecr):
        for repository in ("aa", "bb"):
            each.make(repository)
            for name in "ab":
                each.registry.push(
                    repository, name, index(image(name, [SMALL]), image(f"{name}2", [SMALL]))
                )
    plan = await sides.plan(ecr_here, ecr)
    assert plan.counts() == {**dict.fromkeys(ImageAction, 0), ImageAction.SAME: 12}
    assert ecr_here.calls == ["DescribeRepositories", "DescribeImages", "DescribeImages"]
    assert ecr.calls == ["DescribeRepositories", "DescribeImages", "DescribeImages"]
    assert not sides.source.registry.calls
    assert not sides.destination.registry.calls


async def test_repositories_to_be_made_and_parts_that_come_along(
    sides: Sides, ecr_here: EcrServer, ecr: EcrServer
) -> None:
    both = index(image("a", [BASE]), image("b", [MIDDLE]))
    alone = image("untagged", [OWN["c"]])
    ecr_here.make("team/app", "team/old")
    ecr.make("m/team/old")
    ecr_here.registry.push("team/app", "v1", both)
    ecr_here.registry.push("team/app", "", alone)
    ecr_here.registry.push("team/old", "v1", alone)
    ecr.registry.push("m/team/old", "v1", alone)
    plan = await sides.plan(ecr_here, ecr, renames=Renames(prefix="m"))
    assert plan.repositories == ["m/team/app"]
    assert actions(plan) == {
        "m/team/app:v1": ImageAction.COPY,
        f"m/team/app@{alone.digest}": ImageAction.COPY,
        **{f"m/team/app@{child.digest}": ImageAction.ALONG for child in both.children},
        "m/team/old:v1": ImageAction.SAME,
    }
    # What the untagged image has is in another repository there, from which it can be mounted.
    assert plan.bytes == size(BASE, MIDDLE, *(each.blobs[0] for each in both.children))
    mounts = {item.dest.pointer: dict(item.mounts) for item in plan.copies}
    assert mounts[alone.digest] == dict.fromkeys(
        map(digest_of, (alone.blobs[0], OWN["c"])), "m/team/old"
    )


async def test_tags_that_cannot_be_moved(
    sides: Sides, here: RegistryServer, ecr: EcrServer
) -> None:
    one, two = image("one", [SMALL]), image("two", [SMALL])
    ecr.make("fixed", imageTagMutability="IMMUTABLE")
    ecr.make(
        "mixed",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "latest"}],
    )
    for repository in ("fixed", "mixed"):
        here.push(repository, "v1", one)
        here.push(repository, "v2", two)
        here.push(repository, "latest", two)
        for tag in ("v1", "v2", "latest"):
            ecr.registry.push(repository, tag, one)
    here.push("fixed", "v3", two)
    plan = await sides.plan(here, ecr)
    assert actions(plan) == {
        "fixed:v1": ImageAction.SAME, "fixed:v2": ImageAction.CONFLICT,
        "fixed:latest": ImageAction.CONFLICT,
        "fixed:v3": ImageAction.COPY,
        "mixed:v1": ImageAction.SAME, "mixed:v2": ImageAction.CONFLICT,
        "mixed:latest": ImageAction.COPY,
    }  # fmt: skip
    conflict = item(plan, "fixed:v2")
    assert conflict.reason == (
        f"{conflict.dest} is another image ({one.digest}), and the repository's tags cannot be "
        "moved"
    )
    assert conflict.moves == 0


async def test_shared_layers_cross_once_with_the_image_that_goes_first(
    sides: Sides, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("a", "v1", image("a", [MIDDLE, OWN["a"], SMALL]))
    here.push("b", "v1", image("b", [BASE, OWN["b"], SMALL]))
    here.push("c", "v1", image("c", [BASE, MIDDLE, OWN["c"]]))
    here.push("d", "v1", image("d", [OWN["d"], SMALL]))
    here.push("e", "v1", image("e", [BASE, OWN["e"]]))
    plan = await sides.plan(here, there)
    assert [each.dest.repository for each in plan.items] == ["c", "b", "e", "a", "d"]
    assert [each.after for each in plan.items] == [
        (),
        (0,),
        (0,),
        (0,),
        (),
    ]  # SMALL is not worth waiting for
    configs = (
        sum(each.size for each in plan.items) - size(BASE) * 3 - size(MIDDLE) * 2 - size(SMALL) * 3
    )
    configs -= size(*(OWN[name] for name in "abcde"))
    assert plan.bytes == size(BASE, MIDDLE, SMALL, *(OWN[name] for name in "abcde")) + configs
    # And once more: the same to the letter.
    again = await sides.plan(here, there)
    assert json.dumps(again.as_dict()) == json.dumps(plan.as_dict())


async def test_a_plan_as_it_is_shown(
    sides: Sides, here: RegistryServer, there: RegistryServer
) -> None:
    built = image("a", [BASE])
    here.push("a", "v1", built)
    shown = (await sides.plan(here, there)).as_dict()
    total = size(*built.blobs)
    assert json.loads(json.dumps(shown)) == {
        "items": [
            {
                "source": f"{here.host}/a:v1", "destination": f"{there.host}/a:v1",
                "action": "copy", "reason": "",
                "digest": built.digest, "wanted": built.digest, "found": "", "size": total,
                "bytes": total,
                "after": [], "about": "",
            }
        ],
        "repositories": [],
        "counts": {"same": 0, "copy": 1, "along": 0, "conflict": 0, "missing": 0, "refused": 0,
        "unlisted": 0},
        "attached": 0,
        "bytes": total,
        "notes": [],
    }  # fmt: skip
    blind = await sides.plan(here, there, look_inside=False)
    assert blind.as_dict()["bytes"] is None
    assert sides.source.registry.calls["GET manifests"] == 0


async def test_what_is_not_there_or_has_no_place(
    sides: Sides, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("a", "v1", image("a", [SMALL]))
    here.push("b", "v1", image("b", [SMALL]))
    gone = f"sha256:{'0' * 64}"
    images = [
        Image(here.host, *rest)
        for rest in (("a", "v1"), ("a", "v2"), ("b", "v1"), ("a", "", gone), ("x", "v1"))
    ]
    plan = await sides.plan(here, there, images, renames=Renames(["b=a", "x*=x/*"]))
    assert sorted(
        (str(each.source).partition("/")[2], each.action.value, each.reason) for each in plan.items
    ) == [
        ("a:v1", "copy", ""),
        ("a:v2", "missing", f"{here.host}/a:v2 is not there"),
        (f"a@{gone}", "missing", f"{here.host}/a@{gone} is not there"),
        ("b:v1", "refused", f"{here.host}/a:v1 goes to {there.host}/a:v1 already"),
        ("x:v1", "refused", item(plan, "x:v1").reason),
    ]
    assert "cannot be renamed" in item(plan, "x:v1").reason


async def test_one_image_that_is_refused_does_not_stop_the_others(
    sides: Sides, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("a", "v1", image("a", [SMALL]))
    with Proxy(here) as proxy:
        host = proxy.url.partition("//")[2]
        denied = b'{"errors": [{"code": "DENIED", "message": "not yours"}]}'
        proxy.rule(Reply(403, body=denied), key="^b/manifests")
        old = {
            "Content-Type": "application/vnd.docker.distribution.manifest.v1+json",
            "Docker-Content-Digest": "x",
        }
        proxy.rule(Reply(200, body=b'{"schemaVersion": 1}', headers=old), key="^c/manifests")
        proxy.rule(Reply(404), key="^(b|c)/tags")
        plan = await sides.plan(proxy, there, [Image(host, name, "v1") for name in "abc"])
        assert {name: action.value for name, action in actions(plan).items()} == {
            "a:v1": "copy", "b:v1": "refused", "c:v1": "refused"
        }  # fmt: skip
        assert "schema 1" in item(plan, "c:v1").reason


async def test_tags_that_must_not_be_listed(
    sides: Sides, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("a", "v1", image("a", [SMALL]))
    with Proxy(here) as proxy:
        proxy.rule(
            Reply(403, body=b'{"errors": [{"code": "DENIED", "message": "no"}]}'), key="tags/list"
        )
        host = proxy.url.partition("//")[2]
        plan = await sides.plan(proxy, there, [Image(host, "a", "v1")])
        assert set(actions(plan).values()) == {ImageAction.COPY}
        # The names under which something may be attached to it were asked for.
        assert sum("/sha256-" in each.path for each in proxy.seen("HEAD")) == 4


async def test_wrong_credentials_stop_the_plan(
    sides: Sides, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("a", "v1", image("a", [SMALL]))
    login = FixedLogin(UserPassword(USER, "wrong"))
    source = OciSource(Registry(sides.transport, RegistryAddress(here.host), login))
    destination = OciDestination(sides.registry(there))
    with pytest.raises(EndpointRefused, match="refuses the credentials"):
        await make_plan([Image(here.host, "a", "v1")], lambda _: source, destination, Wishes())


async def test_one_image_under_many_tags_is_read_once(
    sides: Sides, here: RegistryServer, there: RegistryServer
) -> None:
    both = index(image("a", [BASE]), image("b", [MIDDLE]))
    here.push("a", "t0", both)
    for number in range(1, 10):
        here.tag("a", f"t{number}", both)
    plan = await sides.plan(here, there)
    assert len(plan.copies) == 10
    assert sides.source.registry.calls["GET manifests"] == 3
    assert sum(each.moves > 0 for each in plan.items) == 1
    assert {each.after for each in plan.items[1:]} == {(0,)}


async def test_a_part_that_is_not_there(
    sides: Sides, here: RegistryServer, there: RegistryServer
) -> None:
    both = index(image("a", [SMALL]), image("b", [MIDDLE]))
    here.push("a", "v1", both)
    with Proxy(here) as proxy:
        proxy.rule(Reply(404), key=both.children[1].digest)
        host = proxy.url.partition("//")[2]
        plan = await sides.plan(proxy, there, [Image(host, "a", "v1")])
        assert (plan.items[0].action, plan.items[0].code) == (ImageAction.REFUSED, "INCOMPLETE")
        platform = f"the platform linux/amd64 ({both.children[1].digest})"
        assert (
            f"{host}/a:v1 is not whole: the source does not have {platform}" in plan.items[0].reason
        )


# ---------------------------------------------------------------------------------- what goes along


async def test_signatures_and_referrers_go_along(
    sides: Sides, here: RegistryServer, there: RegistryServer, ecr_here: EcrServer
) -> None:
    built = image("a", [BASE])
    sbom = artifact("application/spdx+json", b"{}", subject=built)
    of_sbom = artifact("application/vnd.example.signature", b"s", subject=sbom)
    here.push("aa", "v1", built)
    here.push("aa", *signature(built))
    here.push("aa", "", sbom)
    here.push("aa", "", of_sbom)
    here.push("aa", *fallback(built, ("application/spdx+json", sbom)))
    here.push("aa", *fallback(sbom, ("application/vnd.example.signature", of_sbom)))
    tag = built.digest.replace(":", "-")
    expected = {
        "aa:v1", f"aa:{tag}", f"aa:{tag}.sig", f"aa@{sbom.digest}", f"aa@{of_sbom.digest}",
        f"aa:{sbom.digest.replace(':', '-')}",
    }  # fmt: skip
    ecr_here.make("aa")
    for source in (here, ecr_here):
        images = [Image(here.host, "aa", "v1")]
        plan = await sides.plan(source, there, images)
        assert set(actions(plan)) == expected
        assert set(actions(plan).values()) == {ImageAction.COPY}
        assert plan.items[0].dest.tag == "v1"
        assert all(each.about for each in plan.items[1:])
        listed = item(plan, f"a:{tag}")
        assert plan.items.index(item(plan, sbom.digest)) in listed.after
        assert item(plan, f"{tag}.sig").after == (0,)
        assert set(actions(await sides.plan(source, there, images, referrers=False))) == {"aa:v1"}
    # What is attached later is found, though the image itself has not changed.
    there.push("aa", "v1", built)
    late = await sides.plan(here, there, [Image(here.host, "aa", "v1")])
    assert actions(late)["aa:v1"] is ImageAction.SAME
    assert actions(late)[f"aa:{tag}.sig"] is ImageAction.COPY


# ---------------------------------------------------------------- platforms, and what is remembered


async def test_only_some_platforms(
    sides: Sides, here: RegistryServer, there: RegistryServer
) -> None:
    amd, arm = image("a", [BASE]), image("a", [MIDDLE], architecture="arm64")
    both, single = index(amd, arm), image("s", [OWN["a"]])
    here.push("a", "v1", both)
    here.push("a", "s", single)
    plan = await sides.plan(here, there, platforms=("linux/amd64",))
    narrowed = item(plan, "a:v1")
    assert narrowed.digest == both.digest
    assert narrowed.narrowed is not None
    assert narrowed.wanted == narrowed.narrowed.digest == digest_of(narrowed.narrowed.body)
    assert [each.digest for each in narrowed.narrowed.children] == [amd.digest]
    assert narrowed.moves == size(*amd.blobs)
    assert item(plan, "a:s").narrowed is None
    # Done as planned, it is the same; with what is remembered, without a GET.
    there.push("a", "v1", Built(OCI_INDEX, narrowed.narrowed.body, children=(amd,)))
    there.push("a", "s", single)
    again = await sides.plan(here, there, platforms=("linux/amd64",))
    assert set(actions(again).values()) == {ImageAction.SAME}
    known = {
        f"{there.host}/a:v1": EarlierCopy(both.digest, narrowed.wanted, ("linux/amd64",)),
        f"{there.host}/a:s": EarlierCopy(single.digest, single.digest, ("linux/amd64",)),
    }
    again = await sides.plan(here, there, platforms=("linux/amd64",), known=known)
    assert set(actions(again).values()) == {ImageAction.SAME}
    assert sides.source.registry.calls["GET manifests"] == 0
    # What was remembered of other platforms does not count.
    other = await sides.plan(here, there, platforms=("linux/arm64",), known=known)
    assert item(other, "a:v1").action is ImageAction.COPY
    assert item(other, "a:v1").wanted not in (narrowed.wanted, both.digest)
    # What is remembered no longer holds there: it is narrowed all the same.
    there.push("a", "v1", single)
    again = await sides.plan(here, there, platforms=("linux/amd64",), known=known)
    assert item(again, "a:v1").action is ImageAction.COPY
    assert item(again, "a:v1").wanted == narrowed.wanted
    none = await sides.plan(here, there, platforms=("windows/amd64",))
    assert item(none, "a:v1").action is ImageAction.REFUSED
    assert "none of the platforms windows/amd64" in item(none, "a:v1").reason


async def test_a_copy_that_got_another_digest_is_known(
    sides: Sides, here: RegistryServer, there: RegistryServer
) -> None:
    one, other = image("one", [SMALL]), image("as stored", [SMALL])
    here.push("a", "v1", one)
    there.push("a", "v1", other)
    assert actions(await sides.plan(here, there))["a:v1"] is ImageAction.COPY
    known = {f"{there.host}/a:v1": EarlierCopy(one.digest, other.digest)}
    assert actions(await sides.plan(here, there, known=known))["a:v1"] is ImageAction.SAME
    there.push("a", "v1", image("moved", [SMALL]))
    assert actions(await sides.plan(here, there, known=known))["a:v1"] is ImageAction.COPY


async def test_tags_that_never_change_are_not_asked_for_again(
    sides: Sides, here: RegistryServer, there: RegistryServer
) -> None:
    one = image("one", [SMALL])
    for tag in ("v1", "v2", "latest"):
        here.push("a", tag, one)
        there.push("a", tag, one)
    known = {
        f"{there.host}/a:{tag}": EarlierCopy(one.digest, one.digest) for tag in ("v1", "latest")
    }
    plan = await sides.plan(here, there, immutable=Patterns(["v*"]), known=known)
    assert set(actions(plan).values()) == {ImageAction.SAME}
    assert sides.destination.registry.calls == {"HEAD manifests": 2}  # v2 and latest


def manifest(built: Built) -> Manifest:
    return read_manifest(built.body, built.media_type)


@pytest.mark.parametrize(
    ("wanted", "takes", "leaves"),
    [
        (
            "linux/amd64",
            ["linux/amd64", "linux/amd64/v1", "linux/amd64/v3", "linux/x86_64"],
            ["linux/arm64"],
        ),
        ("linux/x86_64", ["linux/amd64"], ["linux/386", "windows/amd64"]),
        ("linux/x86-64", ["linux/amd64"], []),
        ("linux/i386", ["linux/386"], ["linux/amd64"]),
        ("linux/amd64/v1", ["linux/amd64"], ["linux/amd64/v2"]),
        (
            "linux/arm64/v8",
            ["linux/arm64", "linux/arm64/v8", "linux/aarch64"],
            ["linux/arm64/v9", "linux/arm"],
        ),
        ("linux/aarch64", ["linux/arm64", "linux/arm64/v8"], ["linux/arm/v8"]),
        ("linux/arm64/8", ["linux/arm64/v8"], []),
        ("linux/arm", ["linux/arm", "linux/arm/v6", "linux/arm/v7"], ["linux/arm64"]),
        (
            "linux/arm/v7",
            ["linux/arm", "linux/arm/v7", "linux/arm/7", "linux/armhf"],
            ["linux/arm/v6"],
        ),
        ("linux/armhf", ["linux/arm/v7", "linux/arm"], ["linux/arm/v5"]),
        ("linux/armel", ["linux/arm/v6"], ["linux/arm/v7"]),
        ("Linux/AMD64", ["linux/amd64"], []),
        ("macos/arm64", ["darwin/arm64"], ["linux/arm64"]),
    ],
)
def test_one_platform_has_several_names(wanted: str, takes: list[str], leaves: list[str]) -> None:
    assert all(runs_on(each, wanted) for each in takes)
    assert not any(runs_on(each, wanted) for each in [*leaves, "", "unknown/unknown"])


def test_narrowing_an_index() -> None:
    images = [image("a", [SMALL], architecture=each) for each in ("amd64", "arm64")]
    attested = artifact("application/vnd.in-toto+json", b"{}")
    fields = json.loads(index(*images, attested).body)
    fields["annotations"] = {"kept": "é"}
    fields["manifests"][1]["platform"]["variant"] = "v8"
    fields["manifests"][2] |= {
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.digest": images[1].digest},
    }
    top = read_manifest(json.dumps(fields).encode(), OCI_INDEX)
    arm = narrow(top, ["linux/arm64"])
    assert arm is not None
    assert [each.digest for each in arm.children] == [images[1].digest, attested.digest]
    assert json.loads(arm.body)["annotations"] == {"kept": "é"}
    assert arm.digest == digest_of(arm.body)
    assert narrow(top, ["linux/arm64"]) == arm
    assert narrow(top, ["linux/arm64/v8"]) == arm
    assert narrow(top, ["linux/arm64/v7"]) is None
    assert narrow(top, ["linux/arm"]) is None
    assert narrow(top, ["linux/amd64", "linux/arm64"]) is top
    assert narrow(top, []) is top
    single = manifest(images[0])
    assert narrow(single, ["linux/arm64"]) is single
