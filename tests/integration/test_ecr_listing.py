"""What a selection takes of real registries, and of an ECR whose images are in one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import ListingFailed
from dth.images.listing import (
    EcrSource,
    Image,
    Listed,
    OciSource,
    Selection,
    is_attached,
    is_fallback,
    list_images,
    subject_of,
)
from dth.images.parameters import EcrParameters
from dth.images.registry.client import Registry, RegistryAddress
from dth.images.registry.control import EcrLogin
from dth.images.registry.login import FixedLogin, UserPassword
from tests.images import control_of
from tests.servers.registry import (
    PASSWORD,
    USER,
    Built,
    EcrServer,
    RegistryServer,
    artifact,
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

BASE = layer("base", 1000)
BUILT = {
    year: image(str(year), [BASE], created=f"{year}-06-01T00:00:00.123456789Z")
    for year in range(2020, 2026)
}
BOTH = index(
    image("both", [BASE], created="2024-01-01T00:00:00Z"),
    image("both", [BASE], architecture="arm64"),
)
SBOM = artifact("application/spdx+json", b"{}", subject=BOTH)


@pytest.fixture(scope="module")
def server() -> Iterator[RegistryServer]:
    with RegistryServer(auth=True) as server:
        for year, built in BUILT.items():
            server.push("team/app", f"y{year}", built)
        server.push("team/both", "v1", BOTH)
        server.push("team/both", "latest", BOTH)
        server.push("team/both", *signature(BOTH))
        server.push("team/both", "", SBOM)
        server.push("team/both", *fallback(BOTH, ("application/spdx+json", SBOM)))
        server.push("other", "v1", BUILT[2020])
        server.push("other", "", BUILT[2021])
        yield server


@pytest.fixture
def ecr(server: RegistryServer) -> Iterator[EcrServer]:
    with EcrServer(server) as ecr:
        ecr.make("team/app", "team/both", "other")
        for year, built in BUILT.items():
            ecr.pushed[built.digest] = 1.7e9 + year
        yield ecr


@pytest.fixture
def oci(transport: Transport, server: RegistryServer) -> OciSource:
    login = FixedLogin(UserPassword(USER, PASSWORD))
    return OciSource(Registry(transport, RegistryAddress(server.host), login, attempts=2))


@pytest.fixture
def bulk(transport: Transport, server: RegistryServer, ecr: EcrServer) -> EcrSource:
    control = control_of(ecr)
    return EcrSource(control, Registry(transport, RegistryAddress(server.host), EcrLogin(control)))


@pytest.fixture(params=["oci", "bulk"])
async def source(
    request: pytest.FixtureRequest, oci: OciSource, bulk: EcrSource
) -> OciSource | EcrSource:
    return oci if request.param == "oci" else bulk


async def listed(source: Any, **given: Any) -> Listed:
    host = source.registry.host
    if "srcImageList" in given:
        given["srcList"] = "SELECTED"
    kind = "Amazon_ECR" if source.in_bulk else "Registry"
    own = {"srcRegistryHost" if source.in_bulk else "srcRegistry": host}
    parameters = EcrParameters.model_validate(
        {"sourceType": kind, **own, **given}, by_alias=True, by_name=False
    )
    return await list_images(Selection.of(parameters, host), lambda _: source, host)


def names(found: Listed) -> list[str]:
    return [f"{each.repository}:{each.tag or each.digest[:13]}" for each in found.images]


APP = [f"team/app:y{year}" for year in BUILT]


async def test_everything_of_a_registry(oci: OciSource) -> None:
    found = await listed(oci)
    assert names(found) == ["other:v1", *APP, "team/both:latest", "team/both:v1"]
    assert found.notes == [
        f"{oci.registry.host} lists tags only: images without a tag are not found"
    ]
    assert (await listed(oci, includeUntagged="false")).notes == []
    assert found.left_out == 0
    assert all(not each.digest for each in found.images)
    assert oci.registry.calls == {"GET catalog": 2, "GET tags": 3}  # each repository once


async def test_everything_of_an_ecr(bulk: EcrSource, ecr: EcrServer) -> None:
    found = await listed(bulk)
    untagged = sorted(f"team/both:{each.digest[:13]}" for each in BOTH.children)
    assert names(found) == [
        f"other:{BUILT[2021].digest[:13]}", "other:v1", *APP, *untagged, "team/both:latest",
        "team/both:v1"
    ]  # fmt: skip
    assert found.notes == []
    by_tag = {each.tag: each for each in found.images if each.tag}
    assert by_tag["y2022"].digest == BUILT[2022].digest
    assert by_tag["y2022"].made == 1.7e9 + 2022
    assert ecr.calls == ["DescribeRepositories", *["DescribeImages"] * 3]
    tagged = await listed(bulk, includeUntagged="false")
    assert names(tagged) == ["other:v1", *APP, "team/both:latest", "team/both:v1"]
    assert tagged.left_out == 3


async def test_names_of_repositories_and_tags(source: OciSource | EcrSource) -> None:
    found = await listed(
        source, includeRepositories=["team/*"], excludeTags=["v*"], includeUntagged="false"
    )
    assert names(found) == [*APP, "team/both:latest"]
    assert "1 of 3 repositories are left out by their names" in found.notes
    found = await listed(
        source,
        excludeRepositories=["regex:team/.*"],
        includeTags=["regex:v[0-9]"],
        includeUntagged="false",
    )
    assert names(found) == ["other:v1"]


async def test_the_newest_tags_and_those_since(source: OciSource | EcrSource) -> None:
    found = await listed(source, newestTags="2", includeRepositories=["team/app"])
    assert names(found) == ["team/app:y2024", "team/app:y2025"]
    since = "2023-01-01" if not source.in_bulk else 1.7e9 + 2023
    found = await listed(source, includeRepositories=["team/app"], pushedSince=since)
    assert names(found) == ["team/app:y2023", "team/app:y2024", "team/app:y2025"]
    assert found.left_out == 3
    assert all(each.digest for each in found.images)  # they were come upon on the way
    assert (await listed(source, newestTags="1")).left_out > 0


async def test_images_that_do_not_tell_when_they_were_made(
    oci: OciSource, server: RegistryServer
) -> None:
    server.push("undated", "chart", artifact("application/vnd.cncf.helm.config.v1+json", b"x"))
    server.push("undated", "old", BUILT[2020])
    server.push("undated", "new", BUILT[2025])
    found = await listed(
        oci, srcImageList="undated:ALL_TAGS", pushedSince="2024-01-01", includeUntagged="false"
    )
    assert names(found) == ["undated:chart", "undated:new"]
    assert found.notes == ["1 images of undated do not tell when they were made; 1 are taken"]
    found = await listed(
        oci, srcImageList="undated:ALL_TAGS", newestTags="2", includeUntagged="false"
    )
    assert names(found) == ["undated:new", "undated:old"]


def chart(version: str, when: str) -> Built:
    """As Helm and ORAS push, which say in an annotation when."""
    built = artifact("application/vnd.cncf.helm.config.v1+json", version.encode())
    annotations = {"org.opencontainers.image.created": when}
    return replace(
        built, body=json.dumps({**json.loads(built.body), "annotations": annotations}).encode()
    )


@pytest.mark.parametrize("never", ["1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z",
"1980-01-01T00:00:01Z",
                                   "0001-01-01T00:00:00Z", "1980-01-01T00:00:00+02:00", "yesterday",
                                   ""])  # fmt: skip
async def test_times_that_say_nothing_are_no_ages(
    oci: OciSource, server: RegistryServer, never: str
) -> None:
    for tag in ("v1", "v9", "v10"):
        server.push("packs/app", tag, image(tag, [BASE], created=never))
    asked = {"srcImageList": "packs/app:ALL_TAGS", "includeUntagged": "false"}
    found = await listed(oci, **asked, pushedSince="30d")
    assert names(found) == ["packs/app:v1", "packs/app:v10", "packs/app:v9"]
    assert found.notes == ["3 images of packs/app do not tell when they were made; 3 are taken"]
    found = await listed(oci, **asked, newestTags="1")
    assert names(found) == ["packs/app:v10"]
    assert found.notes == [
        "3 images of packs/app do not tell when they were made; 1 are taken by their names"
    ]


async def test_annotations_say_when_an_image_was_made(
    oci: OciSource, server: RegistryServer
) -> None:
    server.push("charts/c", "1.0.0", chart("1.0.0", "2024-01-01T00:00:00Z"))
    server.push("charts/c", "1.2.0", chart("1.2.0", "2026-11-30T00:00:00Z"))
    server.push("charts/c", "9.0.0", chart("9.0.0", "1970-01-01T00:00:00Z"))
    built = image("reproducible", [BASE], created="1970-01-01T00:00:00Z")
    both = index(built)
    said = {
        **json.loads(both.body),
        "annotations": {"org.opencontainers.image.created": "2026-11-29T00:00:00Z"},
    }
    server.push("charts/c", "index", replace(both, body=json.dumps(said).encode()))
    found = await listed(
        oci, srcImageList="charts/c:ALL_TAGS", newestTags="2", includeUntagged="false"
    )
    assert names(found) == ["charts/c:1.2.0", "charts/c:index"]


async def test_images_that_are_named(source: OciSource | EcrSource) -> None:
    host = source.registry.host
    text = (
        "team/app:y2020, "
        f"{host}/team/both:ALL_TAGS,team/app:none,other@{BUILT[2021].digest},nothing"
    )
    found = await listed(
        source, srcImageList=text, excludeTags=["y*", "latest"], includeUntagged="false"
    )
    assert names(found) == [
        "nothing:latest", f"other:{BUILT[2021].digest[:13]}", "team/app:none", "team/app:y2020",
        "team/both:v1"
    ]  # fmt: skip
    if not source.in_bulk:
        assert source.registry.calls == {"GET tags": 1}  # what is named needs no listing
    else:
        assert found.images[3].digest == BUILT[2020].digest


async def test_a_repository_that_is_not_there(source: OciSource | EcrSource) -> None:
    found = await listed(source, srcImageList="none:ALL_TAGS,team/app:y2020")
    (trouble,) = found.troubles
    assert trouble.source.repository == "none"
    assert str(trouble.error).endswith("/none cannot be listed: there is no such repository")
    assert names(found) == ["team/app:y2020"]


async def test_a_source_that_cannot_be_listed_says_why(transport: Transport) -> None:
    source = OciSource(Registry(transport, RegistryAddress("docker.io")))
    with pytest.raises(ListingFailed, match="Docker Hub has no catalogue"):
        await list_images(Selection(), lambda _: source, "docker.io")


async def test_a_registry_without_repositories(transport: Transport) -> None:
    with RegistryServer() as empty:
        registry = Registry(transport, RegistryAddress(empty.host))
        found = await list_images(Selection(), lambda _: OciSource(registry), empty.host)
        assert found == Listed([], 0, [f"{empty.host} has no repositories"])


async def test_public_images_of_several_registries(transport: Transport) -> None:
    with RegistryServer() as one, RegistryServer() as two:
        one.push("team/app", "v1", BOTH)
        two.push("team/app", "v2", BOTH)
        sources = {
            each.host: OciSource(Registry(transport, RegistryAddress(each.host)))
            for each in (one, two)
        }
        text = f"{one.host}/team/app:v1,{two.host}/team/app:ALL_TAGS"
        parameters = EcrParameters.model_validate(
            {"sourceType": "Public", "srcList": "SELECTED", "srcImageList": text},
            by_alias=True,
            by_name=False,
        )
        found = await list_images(
            Selection.of(parameters, "docker.io"), sources.__getitem__, "docker.io"
        )
        assert {str(each.reference) for each in found.images} == {
            f"{one.host}/team/app:v1", f"{two.host}/team/app:v2"
        }  # fmt: skip


async def test_what_goes_along_with_an_image(source: OciSource | EcrSource) -> None:
    found = await source.attached("team/both", BOTH.digest)
    tag = BOTH.digest.replace(":", "-")
    assert {each.tag for each in found if each.tag} == {tag, f"{tag}.sig"}
    assert [each.digest for each in found if not each.tag] == [SBOM.digest]
    assert await source.attached("team/both", BOTH.children[0].digest) == []
    assert await source.attached("none", BOTH.digest) == []


def test_tags_that_are_about_an_image() -> None:
    tag = f"sha256-{'a' * 64}"
    assert all(
        map(is_attached, (tag, f"{tag}.sig", f"{tag}.att", f"{tag}.sbom", f"{tag}.my-own_thing.v2"))
    )
    assert is_fallback(tag)
    assert not is_fallback(f"{tag}.sig")
    assert subject_of(f"{tag}.src") == f"sha256:{'a' * 64}"
    assert subject_of(f"sha512-{'a' * 64}") == ""  # the tag has only half of it
    assert not any(map(is_attached, ("v1", "sha256-abc", f"x{tag}", "")))


def test_a_reference_by_tag_or_else_by_digest() -> None:
    assert str(Image("h:1", "a", "t", "sha256:x").reference) == "h:1/a:t"
    assert str(Image("h:1", "a", "", "sha256:x").reference) == "h:1/a@sha256:x"
