"""Listing, planning and copying together: what is there in the end is what was there at the
source."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dth.images.destination import Destination, EcrDestination, OciDestination
from dth.images.items import ImageAction, ImageItem, Plan
from dth.images.listing import EcrSource, OciSource, Selection, Source, list_images
from dth.images.parameters import EcrParameters
from dth.images.plan import Wishes, make_plan
from dth.images.registry.aws import AwsAccess
from dth.images.registry.client import Registry, RegistryAddress
from dth.images.registry.control import EcrControl, EcrLogin
from dth.images.registry.login import FixedLogin, Login, UserPassword
from dth.images.renames import Renames
from dth.images.skopeo import command as skopeo
from tests.servers.registry import (
    NEEDED,
    PASSWORD,
    USER,
    EcrServer,
    PlainProxy,
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
    from dth.core.transport import Transport

pytestmark = NEEDED

LOGIN = FixedLogin(UserPassword(USER, PASSWORD))


class Secrets:
    def read(self, name: str) -> str:
        return '{"access_key_id": "a", "secret_access_key": "b"}'


async def carry_out(
    plan: Plan, source: Source, destination: Destination, logins: tuple[Login, Login]
) -> None:
    """Copy what the plan says, each image after those that it waits for."""
    done = [asyncio.Event() for _ in plan.items]

    async def one(item: ImageItem, ended: asyncio.Event) -> None:
        for place in item.after:
            await done[place].wait()
        ends = [
            skopeo.CopyEnd(reference, registry.address, await login.get())
            for reference, registry, login in (
                (item.source, source.registry, logins[0]), (item.dest, destination.registry,
                logins[1])
            )
        ]  # fmt: skip
        copied = await skopeo.copy(*ends)
        if not copied.preserved:  # every part is there now; the index itself goes as it is
            top = await source.registry.manifest(item.source.repository, item.digest)
            assert top is not None
            await destination.registry.put_manifest(item.dest.repository, item.dest.pointer, top)
        ended.set()

    await asyncio.gather(*(one(item, done[place]) for place, item in enumerate(plan.copies)))


async def test_between_registries_every_layer_crosses_once(
    transport: Transport, here: RegistryServer, there: RegistryServer
) -> None:
    base, middle = layer("whole-base", 900_000), layer("whole-middle", 300_000)
    own = {name: layer(f"whole-{name}", 20_000) for name in "abcdefgh"}
    for name, each in own.items():
        here.push(
            f"team/{name}", "v1", image(name, [base, middle, each] if name < "f" else [base, each])
        )
    both = index(image("x", [base, middle]), image("y", [middle], architecture="arm64"))
    here.push("team/both", "v1", both)
    here.push("team/both", *signature(both))
    sbom = artifact("application/spdx+json", b'{"spdxVersion": "SPDX-2.3"}', subject=both)
    here.push("team/both", "", sbom)
    here.push("team/both", *fallback(both, ("application/spdx+json", sbom)))
    with PlainProxy(here) as front:
        source = OciSource(
            Registry(transport, RegistryAddress(front.url.partition("//")[2]), LOGIN)
        )
        destination = OciDestination(Registry(transport, RegistryAddress(there.host), LOGIN))

        async def planned() -> Plan:
            host = source.registry.host
            listed = await list_images(Selection(), lambda _: source, host)
            return await make_plan(
                listed.images, lambda _: source, destination, Wishes(Renames(prefix="mirror"))
            )

        plan = await planned()
        assert plan.counts()[ImageAction.COPY] == 12
        expected = sum(map(len, (base, middle, *own.values())))
        assert expected < plan.bytes < expected + 10_000  # the configs
        front.forget()
        await carry_out(plan, source, destination, (LOGIN, LOGIN))
        layers = [each.path.rpartition("/")[2] for each in front.seen("GET", "/blobs/", status=200)]
        assert sorted(each for each in layers if each in map(digest_of, (base, middle))) == sorted(
            map(digest_of, (base, middle))
        )
        for item in plan.items:
            assert there.digest(item.dest.repository, item.dest.pointer) == item.digest
        again = await planned()
        assert again.counts() == {**dict.fromkeys(ImageAction, 0), ImageAction.SAME: 12}


async def test_between_ecrs_with_repositories_that_are_made(
    transport: Transport, here: RegistryServer, there: RegistryServer
) -> None:
    both = index(
        image("x", [layer("x", 50_000)]), image("y", [layer("y", 50_000)], architecture="arm64")
    )
    alone = image("alone", [layer("alone", 1000)])
    with EcrServer(here) as ecr_here, EcrServer(there) as ecr_there:
        ecr_here.make("team/app", "team/host")
        here.push("team/app", "v1", both)
        here.push("team/app", "v1.0", both)
        here.push("team/host", "", alone)
        parameters = EcrParameters.model_validate(
            {"destPrefix": "copies", "destTagMutability": "IMMUTABLE"}, by_alias=True, by_name=False
        )
        controls = [
            EcrControl(AwsAccess("eu-west-1", each.url, "keys"), Secrets())
            for each in (ecr_here, ecr_there)
        ]
        logins = (EcrLogin(controls[0]), EcrLogin(controls[1]))
        registries = [
            Registry(transport, RegistryAddress(await login.host()), login) for login in logins
        ]

        async def planned() -> Plan:
            source = EcrSource(controls[0], registries[0])
            destination = EcrDestination(controls[1], registries[1])
            listed = await list_images(
                Selection.of(parameters, registries[0].host), lambda _: source, registries[0].host
            )
            plan = await make_plan(
                listed.images,
                lambda _: source,
                destination,
                Wishes(Renames(parameters.rename_rules, parameters.dest_prefix)),
            )
            for name in plan.repositories:
                await controls[1].create(name, parameters.template)
            await carry_out(plan, source, destination, logins)
            return plan

        plan = await planned()
        assert plan.repositories == ["copies/team/app", "copies/team/host"]
        assert ecr_there.repositories["copies/team/app"]["imageTagMutability"] == "IMMUTABLE"
        assert {str(item.dest).partition("/")[2] for item in plan.copies} == {
            "copies/team/app:v1", "copies/team/app:v1.0", f"copies/team/host@{alone.digest}"
        }  # fmt: skip
        for repository in ("team/app", "team/host"):
            images = [await control.images(name) for control, name in zip(
                controls, (repository, f"copies/{repository}"), strict=True
            )]  # fmt: skip
            assert [(each.digest, each.tags) for each in images[0] or []] == [
                (each.digest, each.tags) for each in images[1] or []
            ]
        ecr_there.calls.clear()
        again = await planned()
        assert again.copies == []
        assert (
            again.counts()[ImageAction.SAME] == 5
        )  # the parts of the index are there, each by its digest
        # An immutable repository takes no pushes, not even of the same: nothing was pushed.
        assert ecr_there.calls == ["DescribeRepositories", "DescribeImages", "DescribeImages"]
