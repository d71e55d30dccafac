"""One bad item fails alone, and nothing that belongs to an image is left behind without a word."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.errors import HubError
from dth.core.ports.status import Status
from dth.platforms.local.platform import open_platform
from tests.images import JSON, Engine, said
from tests.servers.proxy import Reply
from tests.servers.registry import (
    NEEDED,
    OCI_INDEX,
    PASSWORD,
    USER,
    Built,
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
    from pathlib import Path

pytestmark = [NEEDED, pytest.mark.usefixtures("hurried")]

BASE = layer("lost-base", 100_000)
SPDX = "application/spdx+json"


def one(name: str, **more: Any) -> Built:
    return image(name, [BASE, layer(f"lost-{name}", 2000)], **more)


def tag_of(built: Built, end: str = "") -> str:
    return built.digest.replace(":", "-") + end


def lose(server: RegistryServer, blob: bytes) -> None:
    """What a garbage collection does that runs while somebody pushes."""
    value = digest_of(blob).partition(":")[2]
    shutil.rmtree(server.data / "docker/registry/v2/blobs/sha256" / value[:2] / value)


def broken(status: int) -> Reply:
    return Reply(status, body=said("UNKNOWN", "injected"), headers=JSON)


# ------------------------------------------------------------------------- one bad item fails alone


@pytest.mark.parametrize("status", [400, 401, 403, 405, 418, 500, 502])
@pytest.mark.parametrize(
    ("where", "key", "bad"),
    [
        ("a tag", "^team/bad/manifests/v1", "team/bad:v1"),
        ("the tags of a repository", "^team/bad/tags/list", "team/bad (cannot be listed)"),
    ],
)
async def test_what_the_source_refuses(
    tmp_path: Path,
    front: PlainProxy,
    here: RegistryServer,
    there: RegistryServer,
    where: str,
    key: str,
    bad: str,
    status: int,
) -> None:
    for name in ("bad", "fine"):
        here.push(f"team/{name}", "v1", one(name))
        here.push(f"team/{name}", "v2", one(f"{name}2"))
    front.rule(broken(status), key=key)
    engine = Engine(tmp_path, front, there)
    ran = await engine.run()
    assert (ran.counts.failed, ran.images[bad].status) == (1, Status.FAILED), where
    assert f"HTTP {status}" in ran.images[bad].detail or status == 401
    assert there.digest("team/fine", "v1") == one("fine").digest
    if bad.endswith(":v1"):
        assert there.digest("team/bad", "v2") == one("bad2").digest
    # When it is well again, it is copied, and is not a failure any more.
    front.clear()
    assert (await engine.run()).counts.failed == 0
    with open_platform(tmp_path, "test") as platform:
        assert await platform.records.failure_groups() == []
    assert there.digest("team/bad", "v1") == one("bad").digest


async def test_bytes_that_are_not_those_of_their_digest(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    for name in ("bad", "fine"):
        here.push(f"team/{name}", "v1", one(name))
    other = one("other")
    kind = {"Content-Type": other.media_type}
    front.rule(
        Reply(200, body=other.body, headers=kind),
        method="GET",
        key=f"^team/bad/manifests/{one('bad').digest}",
    )
    ran = await Engine(tmp_path, front, there).run()
    assert ran.reasons == {"team/bad:v1": "DIGEST_INVALID", "team/fine:v1": "DONE"}


@pytest.mark.parametrize(
    "body",
    [b"no JSON", b"[]", b"[" * 100_000, (
                                        b'{"schemaVersion": 2, "mediaType": "%s", "manifests": '
                                        b'7}'
                                        ) % OCI_INDEX.encode(),
     b'{"schemaVersion": 2, "config": {"digest": "sha256:x"}, "layers": [{}]}'],
)  # fmt: skip
async def test_a_manifest_that_is_none(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer, body: bytes
) -> None:
    for name in ("bad", "fine"):
        here.push(f"team/{name}", "v1", one(name))
    headers = {"Content-Type": "application/json", "Docker-Content-Digest": digest_of(body)}
    front.rule(Reply(200, body=body, headers=headers), key="^team/bad/manifests/")
    ran = await Engine(tmp_path, front, there).run()
    assert ran.images["team/bad:v1"].status is Status.FAILED
    assert ran.images["team/fine:v1"].status is Status.DONE


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_what_the_destination_refuses(
    tmp_path: Path, gate: PlainProxy, here: RegistryServer, there: RegistryServer, status: int
) -> None:
    """All that is asked of one repository."""
    for name in ("bad", "fine"):
        here.push(f"team/{name}", "v1", one(name))
    gate.rule(broken(status), key="^team/bad/")
    engine = Engine(tmp_path, here, gate, retries=0)
    ran = await engine.run()
    assert ran.images["team/bad:v1"].status is Status.FAILED
    assert ran.images["team/fine:v1"].status is Status.DONE


async def test_a_page_of_the_catalogue_and_a_page_of_tags_that_fail(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    for name in ("a", "b"):
        here.push(f"team/{name}", "v1", one(name))
    more = {**JSON, "Link": '</v2/_catalog?n=1&last=x>; rel="next"'}
    front.rule(broken(500), when=lambda r: "last=x" in r.path)
    front.rule(
        Reply(200, body=b'{"repositories": ["team/a", "team/b"]}', headers=more),
        when=lambda r: "_catalog" in r.path,
    )
    more = {**JSON, "Link": '</v2/team/b/tags/list?n=1&last=x>; rel="next"'}
    front.rule(
        Reply(200, body=b'{"name": "team/b", "tags": ["v1"]}', headers=more), key="^team/b/tags"
    )
    ran = await Engine(tmp_path, front, there).run()
    assert {
        key.replace(there.host, "dest"): each.status.value for key, each in ran.images.items()
    } == {
        "dest (cannot be listed)": "FAILED",
        "team/b (cannot be listed)": "FAILED",
        "team/a:v1": "DONE",
        "team/b:v1": "DONE",
    }


async def test_a_config_that_is_lost_where_ages_are_asked_for(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("team/app", "v1", one("v1", created="2026-01-01T00:00:00Z"))
    here.push("team/app", "v2", one("v2", created="2026-02-01T00:00:00Z"))
    here.push("team/app", "v3", one("v3", created="2026-03-01T00:00:00Z"))
    lose(here, one("v3", created="2026-03-01T00:00:00Z").blobs[0])
    ran = await Engine(tmp_path, here, there, newest_tags=1).run()
    assert {key: each.status.value for key, each in ran.images.items()} == {
        "team/app:v2": "DONE", "team/app:v3": "FAILED"
    }  # fmt: skip
    assert (ran.counts.listed, ran.counts.filtered) == (3, 1)


async def test_a_repository_of_amazon_ecr_that_must_not_be_listed(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    """At the source and at the destination."""
    here.push("team/app", "v1", one("app"))
    with EcrServer(there) as ecr:
        ecr.make("team/app")
        ecr.refuse["DescribeImages"] = (
            "AccessDeniedException",
            "not authorized to perform: ecr:DescribeImages",
        )
        ran = await Engine(tmp_path / "dest", here, ecr).run()
        assert ran.reasons == {"team/app:v1": "AccessDeniedException"}
    with EcrServer(here) as ecr:
        ecr.make("team/app")
        ecr.refuse["DescribeImages"] = (
            "AccessDeniedException",
            "not authorized to perform: ecr:DescribeImages",
        )
        ran = await Engine(tmp_path / "source", ecr, there).run()
        assert ran.reasons == {"team/app (cannot be listed)": "AccessDeniedException"}


async def test_one_of_several_public_registries_that_is_not_there(
    tmp_path: Path, there: RegistryServer
) -> None:
    with RegistryServer() as public:
        public.push("team/app", "v1", one("app"))
        engine = Engine(tmp_path, public, there)
        for name in ("src_registry", "src_credential"):
            engine.parameters.pop(name)
        names = f"{public.host}/team/app:v1,127.0.0.1:1/team/b:v1,127.0.0.1:1/team/c:ALL_TAGS"
        engine.parameters |= {
            "source_type": "Public",
            "src_list": "SELECTED",
            "src_image_list": names,
        }
        ran = await engine.run()
    assert {key: each.status.value for key, each in ran.images.items()} == {
        "team/app:v1": "DONE", "team/b:v1": "FAILED", "team/c (cannot be listed)": "FAILED"
    }  # fmt: skip


def refused_sign_ins(proxy: PlainProxy) -> int:
    return sum(bool(each.headers.get("authorization")) for each in proxy.seen(status=401))


async def test_credentials_that_are_refused_everywhere_are_refused_once(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer, gate: PlainProxy
) -> None:
    for number in range(30):
        here.push(f"team/app{number}", "v1", one("app"))
    wrong = json.dumps({"username": USER, "password": "wrong"})
    engine = Engine(tmp_path, front, gate)
    engine.secrets["login"] = wrong
    with pytest.raises(HubError, match="refuses the credentials"):
        await engine.find()
    assert refused_sign_ins(front) <= 2
    # And while images are copied: the task pauses, and goes on when it is resumed.
    engine.secrets["login"] = json.dumps({"username": USER, "password": PASSWORD})
    run = await engine.find()
    gate.forget()
    engine.secrets["login"] = wrong
    await engine.work()
    with open_platform(tmp_path, "test") as platform:
        assert "refuses the credentials" in await platform.records.paused()
        assert {each.status for each in await platform.images.page(run.id)} == {Status.PENDING}
        await platform.records.resume()
    assert refused_sign_ins(front) + refused_sign_ins(gate) <= 4
    engine.secrets["login"] = json.dumps({"username": USER, "password": PASSWORD})
    await engine.work()
    assert (await engine.ended(run.id)).counts.done == 30


# ---------------------------------------------------------------------- what is attached goes along


def attach(
    server: RegistryServer, repository: str, built: Built, *, sign_parts: bool = True
) -> dict[str, str]:
    """An image of two platforms with all that there is about it and about one of its platforms;
    digests by tag."""
    amd64 = built.children[0]
    server.push(repository, "v1", built)
    pushed = {"v1": built.digest}
    for each in (built, amd64) if sign_parts else (built,):
        tag, signed = signature(each)
        pushed[tag] = server.push(repository, tag, signed)
    sbom = artifact(SPDX, b"sbom of amd64", subject=amd64)
    server.push(repository, "", sbom)
    tag, listed = fallback(amd64, (SPDX, sbom))
    pushed[tag] = server.push(repository, tag, listed)
    for end in (".src", ".dockerfile", ".att.json", ".my-own_thing.v2"):
        tag = tag_of(built, end)
        pushed[tag] = server.push(repository, tag, artifact("application/x", end.encode()))
    return pushed


@pytest.mark.parametrize(
    "filters",
    [{}, {"include_tags": ("v*",)}, {"src_list": "SELECTED", "src_image_list": "team/app:v1"}],
)
@pytest.mark.parametrize("refused", [None, 400, 401, 403, 404, 500])
async def test_all_that_is_attached_goes_along(
    tmp_path: Path,
    front: PlainProxy,
    here: RegistryServer,
    there: RegistryServer,
    refused: int | None,
    filters: dict[str, Any],
) -> None:
    built = index(one("x"), one("y", architecture="arm64"))
    pushed = attach(here, "team/app", built)
    if refused:
        front.rule(Reply(refused), key="/referrers/")
    ran = await Engine(tmp_path, front, there, **filters).run()
    assert set(ran.statuses.values()) == {Status.DONE}
    assert {tag: there.digest("team/app", tag) for tag in pushed} == pushed
    assert sum(bool(each.about) for each in ran.images.values()) >= 7
    again = await Engine(tmp_path / "fresh", front, there, **filters).run()
    assert (again.counts.enqueued, again.counts.same) == (0, ran.counts.done)


async def test_what_refers_to_a_platform_at_a_source_with_the_api(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    built = index(one("x"), one("y", architecture="arm64"))
    sbom = artifact(SPDX, b"sbom of arm64", subject=built.children[1])
    here.push("team/app", "v1", built)
    here.push("team/app", "", sbom)
    kind = {"Content-Type": OCI_INDEX}
    found = index(sbom, artifact_types=[SPDX]).body
    front.rule(Reply(200, body=found, headers=kind), key=f"referrers/{built.children[1].digest}")
    front.rule(Reply(200, body=index().body, headers=kind), key="referrers/")
    ran = await Engine(tmp_path, front, there).run()
    assert ran.images[f"team/app@{sbom.digest}"].about == built.children[1].digest
    assert there.digest("team/app", sbom.digest) == sbom.digest
    assert there.manifest("team/app", tag_of(built.children[1])) is not None  # where it is found
    # One that fails while the others answer is told: something may be left behind.
    front.clear()
    front.rule(broken(500), key=f"referrers/{built.children[0].digest}")
    front.rule(Reply(200, body=index().body, headers=kind), key="referrers/")
    ran = await Engine(tmp_path, front, there).run()
    (failed,) = [each for each in ran.images.values() if each.status is Status.FAILED]
    assert "what is attached to" in failed.detail


async def test_unchanged_images_of_one_platform_are_not_read(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    """Where the source has the API, what refers to parts of an image is asked for in every run. An
    image that is no index has none, as a HEAD tells."""
    here.push("team/app", "plain", one("x"))
    here.push("team/app", "several", index(one("y"), one("z", architecture="arm64")))
    front.rule(Reply(200, body=index().body, headers={"Content-Type": OCI_INDEX}), key="referrers/")
    await Engine(tmp_path, front, there).run()
    front.forget()
    ran = await Engine(tmp_path, front, there).run()
    assert ran.counts.same == 2
    assert front.count("GET", "manifests") == 1
    assert front.count("GET", "referrers") == 4


async def test_left_out_knowingly(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    pushed = attach(here, "team/app", index(one("x"), one("y", architecture="arm64")))
    ran = await Engine(tmp_path, here, there, include_referrers=False).run()
    assert list(ran.images) == ["team/app:v1"]
    assert ran.counts.filtered == len(pushed) - 1
    assert any("is left out" in note for note in ran.run.notes)


async def test_lists_of_referrers_are_merged(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    app = one("app")
    for server, kind in ((here, SPDX), (there, "application/vnd.acme.approval")):
        each = artifact(kind, kind.encode(), subject=app)
        server.push("team/app", "v1", app)
        server.push("team/app", "", each)
        server.push("team/app", *fallback(app, (kind, each)))
    ran = await Engine(tmp_path, here, there).run()
    assert set(ran.statuses.values()) == {Status.DONE}

    def kinds() -> list[str]:
        listed = json.loads(there.manifest("team/app", tag_of(app)) or b"{}")
        return [each["artifactType"] for each in listed["manifests"]]

    assert kinds() == ["application/vnd.acme.approval", SPDX]
    for state in (tmp_path, tmp_path / "fresh"):  # with and without what was remembered
        assert (await Engine(state, here, there).run()).counts.enqueued == 0
    # What comes later is added, and an entry of which nothing is left is not copied.
    late, stale = (
        artifact("application/late", b"late", subject=app),
        artifact("application/stale", b"", subject=app),
    )
    here.push("team/app", "", late)
    here.push("team/app", "", stale)
    here.push("team/app", *fallback(app, ("application/late", late), ("application/stale", stale)))
    here.delete("team/app", stale.digest)
    await Engine(tmp_path, here, there).run()
    assert kinds() == ["application/vnd.acme.approval", SPDX, "application/late"]


async def test_a_list_of_referrers_never_replaces_an_image(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    app, sbom = one("app"), artifact(SPDX, b"sbom", subject=one("app"))
    here.push("team/app", "v1", app)
    here.push("team/app", *fallback(app, (SPDX, sbom)))
    there.push("team/app", tag_of(app), one("mine"))
    ran = await Engine(tmp_path, here, there).run()
    assert ran.images[f"team/app:{tag_of(app)}"].reason == "CONFLICT"
    assert there.digest("team/app", tag_of(app)) == one("mine").digest


async def test_tags_of_digests_whose_image_is_not_there(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    """They may be about anything, and be no lists of referrers at all."""
    here.push("team/app", "v1", one("app"))
    pushed = {
        f"sha256-{'0' * 64}.sig": one("orphan"),
        f"sha256-{'1' * 64}": index(one("several"), one("platforms", architecture="arm64")),
        f"sha256-{'2' * 64}": one("plain"),
    }
    for tag, built in pushed.items():
        here.push("team/app", tag, built)
    here.tag(
        "team/app", tag_of(one("app")), one("app")
    )  # as if the registry took the tag for the digest
    ran = await Engine(tmp_path, here, there).run()
    assert set(ran.statuses.values()) == {Status.DONE}
    assert {tag: there.digest("team/app", tag) for tag in pushed} == {
        tag: b.digest for tag, b in pushed.items()
    }
    assert (await Engine(tmp_path / "fresh", here, there).run()).counts.enqueued == 0
    # Of those that are left out, the result tells how many.
    ran = await Engine(tmp_path / "few", here, there, include_tags=("v*",)).run()
    assert (ran.counts.same, ran.counts.filtered) == (2, 3)


async def test_a_copy_of_one_image_does_not_list_its_repository(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    """A registry with pages of fifty tags, whether it begins where it is asked to or not; and one
    that lists none."""
    app = one("app")
    here.push("team/app", "v1", app)
    here.push("team/app", *signature(app))
    tags = sorted([*(f"a{number:04}" for number in range(5000)), "v1", tag_of(app, ".sig")])
    asked = {"src_list": "SELECTED", "src_image_list": "team/app:v1"}
    for honours in (True, False):
        begin = next(n for n, tag in enumerate(tags) if tag > tag_of(app)[:-1]) if honours else 0
        front.clear()
        front.forget()
        more = {**JSON, "Link": '</v2/team/app/tags/list?n=50&last=zz>; rel="next"'}
        body = json.dumps({"tags": tags[begin : begin + 50]}).encode()
        front.rule(Reply(200, body=body, headers=more if not honours else JSON), key="tags/list")
        ran = await Engine(tmp_path / str(honours), front, there, **asked).run()
        assert len(front.seen("GET", "tags/list")) == 2  # for the image, and for its signature
        assert (ran.counts.failed, ran.counts.done + ran.counts.same) == (0, 2)
    front.clear()
    for status in (500, 403):
        front.rule(broken(status), key="tags/list")
        with RegistryServer(auth=True) as other:
            ran = await Engine(tmp_path / str(status), front, other, **asked).run()
            assert (ran.counts.done, ran.counts.failed) == (2, 0)
        front.clear()


# ------------------------------------------------------------------- lost at the source, or damaged


@pytest.mark.parametrize("part", ["layer", "config"])
@pytest.mark.parametrize("named", [{}, {"src_list": "SELECTED", "src_image_list": "team/app:v1"}])
async def test_what_the_source_has_lost_is_a_failure(
    tmp_path: Path, here: RegistryServer, there: RegistryServer, part: str, named: dict[str, Any]
) -> None:
    built = one("app")
    here.push("team/app", "v1", built)
    lose(here, built.blobs[-1] if part == "layer" else built.blobs[0])
    ran = await Engine(tmp_path, here, there, **named).run()
    lost = ran.images["team/app:v1"]
    assert (lost.status, lost.reason, lost.attempts) == (Status.FAILED, "BLOB_UNKNOWN", 1)


async def test_an_image_that_is_gone_after_the_plan_is_cancelled_by_tag_and_by_digest(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("team/app", "v1", one("a"))
    here.push("team/b", "", one("b"))
    names = f"team/app:v1,team/b@{one('b').digest}"
    engine = Engine(tmp_path, here, there, src_list="SELECTED", src_image_list=names)
    run = await engine.find()
    here.delete("team/app", one("a").digest)
    here.delete("team/b", one("b").digest)
    await engine.work()
    assert set((await engine.ended(run.id)).statuses.values()) == {Status.CANCELLED}


async def test_bytes_that_are_wrong_each_time_are_not_read_for_minutes(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    for name in ("layer", "config"):
        built = one(name)
        here.push("team/app", name, built)
        blob = built.blobs[-1 if name == "layer" else 0]
        front.rule(Reply(200, body=b"x" * len(blob)), method="GET", key=f"blobs/{digest_of(blob)}")
    ran = await Engine(tmp_path, front, there, retries=10).run()
    assert {each.reason for each in ran.images.values()} == {"Corrupted"}
    assert {each.attempts for each in ran.images.values()} == {2}


@pytest.mark.parametrize("what", ["layer", "config", "manifest"])
async def test_repair(
    tmp_path: Path, here: RegistryServer, there: RegistryServer, what: str
) -> None:
    built = index(one("x"), one("y", architecture="arm64"))
    here.push("team/app", "v1", built)
    here.push("team/app", "fine", one("fine"))
    await Engine(tmp_path, here, there).run()
    part = built.children[1]
    lose(there, {"layer": part.blobs[-1], "config": part.blobs[0], "manifest": part.body}[what])
    assert (await Engine(tmp_path, here, there).run()).counts.enqueued == 0
    ran = await Engine(tmp_path, here, there, repair=True).run()
    assert ran.reasons == {"team/app:v1": "DONE"}
    for blob in part.blobs:
        assert there.has_blob("team/app", digest_of(blob))
    assert there.digest("team/app", part.digest) == part.digest
    assert (
        await Engine(tmp_path, here, there, repair=True, immutable_tags=("*",)).run()
    ).counts.enqueued == 0


# ---------------------------------------------------------------------------- what skopeo cannot do


async def test_an_index_within_an_index(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    inner = index(one("a"), index(one("b")))
    outer = index(one("c"), inner)
    here.push("team/app", "v1", outer)
    here.push("team/app", "", index(one("d"), index(one("e"))))
    ran = await Engine(tmp_path, here, there).run()
    assert ran.reasons == {"team/app:v1": "DONE"}
    for each in (outer, inner, *inner.children, one("b")):
        assert there.digest("team/app", each.digest) == each.digest
    assert there.digest("team/app", "v1") == outer.digest
    assert (await Engine(tmp_path / "again", here, there).run()).counts.same == 1
    # It can be copied without a plan that has looked inside, too.
    engine = Engine(tmp_path / "platforms", here, there, platforms=("linux/amd64",))
    assert (await engine.run()).reasons == {"team/app:v1": "NESTED"}


async def test_an_index_that_is_not_whole_is_refused_in_the_plan(
    tmp_path: Path, front: PlainProxy, here: RegistryServer, there: RegistryServer
) -> None:
    built = index(one("x"), one("y", architecture="arm64"))
    here.push("team/app", "v1", built)
    here.push("team/app", "fine", one("fine"))
    here.delete("team/app", built.children[1].digest)
    run = await Engine(tmp_path, here, there).find()
    assert run.counts.failed == 1
    ran = await Engine(tmp_path / "narrow", here, there, platforms=("linux/amd64",)).run()
    assert set(ran.statuses.values()) == {Status.DONE}
