"""One bad item among good ones, in every form: it fails alone, and its reason is one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dth.core.ports.status import Status
from tests.images import JSON, Engine, Ran, said
from tests.servers.proxy import Reply, Reset
from tests.servers.registry import (
    EMPTY,
    NEEDED,
    OCI_INDEX,
    OCI_MANIFEST,
    Built,
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
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [NEEDED, pytest.mark.usefixtures("hurried")]

BASE = layer("odd-images", 50_000)
GOOD = image("odd-good", [BASE])
DIGEST = f"sha256:{'1' * 64}"


@pytest.fixture(scope="module")
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as found:
        found.push("team/app", "good", GOOD)
        found.push("team/app", "bad", image("odd-bad", [BASE]))
        yield found


@pytest.fixture
def front(server: RegistryServer) -> Iterator[PlainProxy]:
    with PlainProxy(server) as proxy:
        yield proxy


def manifest(**changes: Any) -> bytes:
    fields = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/x", "digest": digest_of(EMPTY), "size": 2},
        "layers": [],
    }
    return json.dumps({**fields, **changes}).encode()


def one_bad(ran: Ran) -> str:
    """The reason of the one that failed."""
    assert ran.statuses["team/app:good"] is Status.DONE
    (bad,) = (each for each in ran.images.values() if each.status is not Status.DONE)
    assert bad.status is Status.FAILED
    assert "\n" not in bad.detail
    assert bad.detail
    return bad.reason


MANIFESTS: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"<html>not found</html>",
    "no object": b"[]",
    "null": b"null",
    "brackets": b"[" * 100_000,
    "no text": b"\xff\xfe\x00",
    "layers are an object": manifest(layers={}),
    "layers are null": manifest(layers=[None]),
    "layers are numbers": manifest(layers=[1]),
    "config is a list": manifest(config=[1]),
    "config is a text": manifest(config="x"),
    (
    "a digest that is "
    "none"
    ): manifest(layers=[{"mediaType": "x", "digest": "sha256:zz", "size": 1}]),
    (
    "a digest with a "
    "path"
    ): manifest(layers=[{"mediaType": "x", "digest": "../../../x", "size": 1}]),
    "a size that is a text": manifest(layers=[{"mediaType": "x", "digest": DIGEST, "size": "1"}]),
    "a size below zero": manifest(layers=[{"mediaType": "x", "digest": DIGEST, "size": -1}]),
    "a size beyond all": manifest(layers=[{"mediaType": "x", "digest": DIGEST, "size": 2**70}]),
    "a size with a fraction": manifest(layers=[{"mediaType": "x", "digest": DIGEST, "size": 1.5}]),
    "a subject that is a text": manifest(subject="x"),
    "a blob that is not there": manifest(layers=[{"mediaType": "x", "digest": DIGEST, "size": 1}]),
    "too long": manifest(annotations={"x": "y" * 9 * 1024**2}),
    "a platform that is a text": json.dumps({
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 1,
        "platform": "linux"}],
    }).encode(),
    "an index of numbers": json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [1]}
    ).encode(),
    "an index of itself": json.dumps({
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [{"mediaType": OCI_INDEX, "digest": DIGEST, "size": 1}],
    }).encode(),
    "another kind": manifest(mediaType="application/x"),
    "schema 1": json.dumps({"schemaVersion": 1, "name": "x", "fsLayers": []}).encode(),
}  # fmt: skip


@pytest.mark.parametrize("body", MANIFESTS.values(), ids=MANIFESTS.keys())
@pytest.mark.parametrize("platforms", [(), ("linux/amd64",)], ids=["all", "some"])
async def test_a_manifest_that_is_odd(
    tmp_path: Path,
    front: PlainProxy,
    there: RegistryServer,
    body: bytes,
    platforms: tuple[str, ...],
) -> None:
    kind = OCI_INDEX if OCI_INDEX.encode() in body else OCI_MANIFEST
    headers = {"Content-Type": kind if b'"application/x"}' not in body else "application/x"}
    front.rule(Reply(200, body=body, headers=headers), key=rf"manifests/(bad|{digest_of(body)})")
    ran = await Engine(tmp_path, front, there, platforms=platforms).run()
    one_bad(ran)


@pytest.mark.parametrize("status", [400, 402, 403, 405, 410, 451, 500, 501, 504, 599])
@pytest.mark.parametrize("key", ["manifests/bad", "manifests/sha256:"])
async def test_a_manifest_that_is_refused(
    tmp_path: Path, front: PlainProxy, there: RegistryServer, status: int, key: str
) -> None:
    bad = image("odd-bad", [BASE]).digest
    reply = Reply(status, body=b"<html>\nno\n</html>", headers={"Content-Type": "text/html"})
    front.rule(reply, key=key if key.endswith("bad") else f"manifests/{bad}")
    one_bad(await Engine(tmp_path, front, there, retries=0).run())


async def test_an_answer_that_is_cut_off(
    tmp_path: Path, front: PlainProxy, there: RegistryServer
) -> None:
    front.rule(Reset(), key="manifests/bad")
    one_bad(await Engine(tmp_path, front, there, retries=0).run())


@pytest.mark.parametrize("said_digest", ["", "sha256:zz", "md5:1", "sha512:1", DIGEST, "x" * 9000])
async def test_a_digest_that_is_odd(
    tmp_path: Path, front: PlainProxy, there: RegistryServer, said_digest: str
) -> None:
    bad = image("odd-bad", [BASE])
    headers = {"Content-Type": bad.media_type, "Docker-Content-Digest": said_digest}
    front.rule(Reply(200, body=bad.body, headers=headers), key="manifests/bad")
    ran = await Engine(tmp_path, front, there, retries=0).run()
    if said_digest == DIGEST:
        one_bad(ran)
    else:
        assert set(ran.statuses.values()) == {Status.DONE}
        assert there.digest("team/app", "bad") == bad.digest


@pytest.mark.parametrize("status", [400, 405, 501])
async def test_a_destination_that_cannot_be_asked_for_blobs(
    tmp_path: Path, server: RegistryServer, there: RegistryServer, status: int
) -> None:
    """What it has not said that it has is sent."""
    with PlainProxy(there) as gate:
        gate.rule(Reply(status), method="HEAD", key="/blobs/sha256:")
        ran = await Engine(tmp_path, server, gate, retries=0).run()
    assert set(ran.statuses.values()) == {Status.DONE}
    assert there.digest("team/app", "good") == GOOD.digest


# --------------------------------------------------------------------------------- what is attached


async def test_what_is_attached_fails_alone(tmp_path: Path, there: RegistryServer) -> None:
    """A signature whose blob is lost, on an image of two platforms; and what is attached to a
    platform, and to that."""
    arm = image("odd-arm", [BASE], architecture="arm64")
    both = index(GOOD, arm)
    sbom = artifact("application/spdx+json", b"{}", subject=arm)
    proof = artifact("application/vnd.in-toto+json", b"of the SBOM", subject=sbom)
    lost_tag, lost = signature(both)
    with RegistryServer() as source, PlainProxy(source) as front:
        source.push("team/app", "v1", both)
        source.push("team/app", lost_tag, lost)
        source.push("team/app", *signature(arm))
        source.push("team/app", f"sha256-{GOOD.digest[7:]}.anything", image("odd-any", [BASE]))
        for each in (sbom, proof):
            source.push("team/app", "", each)
        source.push("team/app", *fallback(arm, ("application/spdx+json", sbom)))
        source.push("team/app", *fallback(sbom, ("application/vnd.in-toto+json", proof)))
        front.rule(
            Reply(404, body=said("BLOB_UNKNOWN"), headers=JSON),
            key=f"blobs/{digest_of(lost.blobs[1])}",
        )
        ran = await Engine(tmp_path, front, there, retries=0).run()
        tags = {tag for tag in _tags(source) if tag != lost_tag}
    failed = {key for key, status in ran.statuses.items() if status is not Status.DONE}
    assert failed == {f"team/app:{lost_tag}"}
    assert _tags(there) == tags
    assert there.digest("team/app", proof.digest) == proof.digest


def _tags(server: RegistryServer) -> set[str]:
    _, _, body = server._ask("GET", "/v2/team/app/tags/list", "team/app")
    return set(json.loads(body)["tags"])


@pytest.mark.parametrize(
    "theirs", [b"[]", b"", b"{}", manifest(), b'{"schemaVersion":2,"manifests":null}']
)
async def test_a_list_of_referrers_at_the_destination_that_is_none(
    tmp_path: Path, here: RegistryServer, there: RegistryServer, theirs: bytes
) -> None:
    """It is never replaced by ours, and the image itself is copied."""
    sbom = artifact("application/spdx+json", b"{}", subject=GOOD)
    here.push("team/app", "good", GOOD)
    here.push("team/app", "", sbom)
    tag, listed = fallback(GOOD, ("application/spdx+json", sbom))
    here.push("team/app", tag, listed)
    with PlainProxy(there) as gate:
        kind = OCI_MANIFEST if b"config" in theirs else OCI_INDEX
        headers = {"Content-Type": kind, "Docker-Content-Digest": digest_of(theirs)}
        gate.rule(
            Reply(200, body=theirs, headers=headers), method="GET|HEAD", key=f"manifests/{tag}"
        )
        ran = await Engine(tmp_path, here, gate, retries=0).run()
    assert ran.statuses["team/app:good"] is Status.DONE
    lists_nothing = b"null" in theirs
    assert ran.statuses[f"team/app:{tag}"] is (Status.DONE if lists_nothing else Status.FAILED)
    assert (there.digest("team/app", tag) is not None) is lists_nothing


# --------------------------------------------------------------------------------------- odd images


async def test_layers_that_lie_elsewhere(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    """docker-registry takes such a manifest only with addresses that it allows: the rest is copied
    all the same."""
    config = b'{"os": "windows", "architecture": "amd64"}'
    body = manifest(
        config={"mediaType": "application/x", "digest": digest_of(config), "size": len(config)},
        layers=[
            {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "digest": DIGEST, "size": 7},
            {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest_of(BASE),
            "size": len(BASE)},
        ],
    )  # fmt: skip
    windows = Built(OCI_MANIFEST, body, (config, BASE))
    here.push("team/app", "good", GOOD)
    with PlainProxy(here) as front:
        here.push("team/app", "carrier", image("odd-carrier", [BASE]))
        here._push_blob("team/app", config)
        headers = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": windows.digest}
        front.rule(
            Reply(200, body=body, headers=headers), key=f"manifests/(carrier|{windows.digest})"
        )
        ran = await Engine(tmp_path, front, there).run()
    assert ran.statuses["team/app:good"] is Status.DONE
    assert any("lie elsewhere than in a registry" in note for note in ran.run.notes)
    carried = ran.images["team/app:carrier"]
    assert (carried.status is Status.DONE) is (
        there.digest("team/app", "carrier") == windows.digest
    )
    assert there.has_blob("team/app", digest_of(BASE))


async def test_indexes_in_indexes_in_indexes(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    """With a part that is there several times."""
    arm = image("odd-arm", [BASE], architecture="arm64")
    inner = index(arm, GOOD)
    outer = index(GOOD, index(inner, arm), inner)
    here.push("team/app", "good", outer)
    ran = await Engine(tmp_path, here, there).run()
    assert ran.statuses == {"team/app:good": Status.DONE}
    for each in (outer, inner, arm, GOOD, *outer.children):
        assert there.digest("team/app", each.digest) == each.digest


async def test_an_index_of_nothing(
    tmp_path: Path, here: RegistryServer, there: RegistryServer
) -> None:
    here.push("team/app", "good", GOOD)
    here.push("team/app", "none", index())
    ran = await Engine(tmp_path, here, there).run()
    assert set(ran.statuses.values()) == {Status.DONE}
    assert there.digest("team/app", "none") == index().digest


async def test_by_sha512(tmp_path: Path, front: PlainProxy, there: RegistryServer) -> None:
    """A layer that is named by another sum: docker-registry stores none, others do."""
    import hashlib

    wide = f"sha512:{hashlib.sha512(BASE).hexdigest()}"
    body = manifest(layers=[{"mediaType": "application/x", "digest": wide, "size": len(BASE)}])
    headers = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": digest_of(body)}
    front.rule(Reply(200, body=body, headers=headers), key=f"manifests/(bad|{digest_of(body)})")
    front.rule(Reply(200, body=BASE), key=f"blobs/{wide}")
    front.rule(Reply(200, body=EMPTY), key=f"blobs/{digest_of(EMPTY)}")
    ran = await Engine(tmp_path, front, there, retries=0).run()
    assert ran.statuses["team/app:good"] is Status.DONE
    assert ran.statuses["team/app:bad"] in (Status.DONE, Status.FAILED)


async def test_an_image_larger_than_anything(
    tmp_path: Path, front: PlainProxy, there: RegistryServer
) -> None:
    """Many layers of as many bytes as one may say that it has: the sums are kept all the same."""
    layers = [
        {"mediaType": "application/x", "digest": f"sha256:{number:064x}", "size": 2**42}
        for number in range(3000)
    ]
    body = manifest(layers=layers)
    front.rule(Reply(200, body=body, headers={"Content-Type": OCI_MANIFEST}), key="manifests/bad")
    assert one_bad(await Engine(tmp_path, front, there, retries=0).run())
