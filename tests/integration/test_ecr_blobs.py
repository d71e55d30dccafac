"""How blobs get from one registry to another: what is sent, what is not, and what registries do
with it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

import pytest

from dth.core.ports.queue import Outgoing
from dth.core.ports.status import Status
from dth.images.registry.blobs import SMALL
from dth.images.registry.client import STRIKES
from tests.images import JSON, Engine, said
from tests.servers.odd_registry import OddRegistry
from tests.servers.proxy import (
    Reply,
    Request,
    RequestHeaders,
    Reset,
    Response,
    ResponseHeaders,
    Rewrite,
    Rule,
    Truncate,
)
from tests.servers.registry import (
    NEEDED,
    Built,
    PlainProxy,
    RegistryServer,
    artifact,
    digest_of,
    image,
    index,
    layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [NEEDED, pytest.mark.usefixtures("hurried")]

BASE = layer("blobs-base", 300_000)
BIG = layer("blobs-big", 5_000_000)  # passes through a pipe
APP = image("blobs-app", [BASE, BIG])


@pytest.fixture(scope="module")
def source() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        server.push("team/app", "v1", APP)
        server.push("team/other", "v1", image("blobs-other", [BASE, BIG]))
        yield server


@pytest.fixture
def open_there() -> Iterator[RegistryServer]:
    """A destination that wants no password."""
    with RegistryServer() as server:
        yield server


@pytest.mark.parametrize(
    "quirk",
    [
        "upload-relative", "upload-scheme", "upload-elsewhere", "upload-lost", "upload-401",
        "mounts-never",
        "mounts-405", "put-bare", "has-page",
    ],
)  # fmt: skip
async def test_registries_that_take_blobs_in_their_own_way(
    tmp_path: Path, source: RegistryServer, open_there: RegistryServer, quirk: str
) -> None:
    with OddRegistry(open_there, quirk) as odd:
        ran = await Engine(tmp_path, source, odd).run()
        assert ran.reasons == {"team/app:v1": "DONE", "team/other:v1": "DONE"}
        elsewhere = [
            signed for (method, path), signed, host in zip(odd.asked, odd.signed, odd.hosts,
            strict=True)
            if host.startswith("localhost") and method == "PUT" and "/uploads/" in path
        ]  # fmt: skip
    assert open_there.digest("team/app", "v1") == APP.digest
    if quirk == "upload-elsewhere":
        assert elsewhere
        assert not any(elsewhere)


@pytest.mark.parametrize(
    ("quirk", "reason"),
    [
        ("upload-nowhere", "BadUpload"), ("upload-416", "RANGE_INVALID"), ("put-404",
        "NAME_UNKNOWN"),
        ("put-other-digest", "DIGEST_INVALID"), ("put-page", "NotStored"), ("put-empty",
        "NotStored"), ("blobs-page", "NotStored"),
    ],
)  # fmt: skip
async def test_registries_that_take_none(
    tmp_path: Path, source: RegistryServer, open_there: RegistryServer, quirk: str, reason: str
) -> None:
    """What the destination has not is not an image that is gone at the source."""
    with OddRegistry(open_there, quirk) as odd:
        ran = await Engine(tmp_path, source, odd, retries=0).run()
    assert ran.reasons == {"team/app:v1": reason, "team/other:v1": reason}
    assert set(ran.statuses.values()) == {Status.FAILED}


async def test_a_blob_that_two_images_have_crosses_once(
    tmp_path: Path, source: RegistryServer, there: RegistryServer
) -> None:
    """Also where nobody looked into them before: who wants it at the same time waits for it."""
    with PlainProxy(source) as front:
        engine = Engine(tmp_path, front, there)
        run = await engine.find()
        async with engine.opened("test") as (_, platform):
            deliveries = await platform.queue.receive(10, 60.0, 0.0)
            for each in deliveries:
                fields = json.loads(each.body) | {"mounts": [], "after": [], "manifests": ""}
                await platform.queue.send([Outgoing(f"{each.id}x", json.dumps(fields))])
            await platform.queue.delete(deliveries)
        front.forget()
        await engine.work()
        ran = await engine.ended(run.id)
        assert set(ran.statuses.values()) == {Status.DONE}
        for blob in (BASE, BIG):
            assert front.count("GET", f"blobs/{digest_of(blob)}") == 1


@pytest.mark.parametrize("blob", [BASE, BIG], ids=["small", "large"])
@pytest.mark.parametrize("change", ["other", "short", "long", "empty"])
async def test_bytes_that_are_not_those_of_their_digest_are_never_stored(
    tmp_path: Path, source: RegistryServer, there: RegistryServer, blob: bytes, change: str
) -> None:
    wrong = {
        "other": b"x" + blob[1:],
        "short": blob[:-1],
        "long": blob + b"x",
        "empty": b"",
    }[change]
    with PlainProxy(source) as front, PlainProxy(there) as gate:
        front.rule(Reply(200, body=wrong), method="GET", key=f"blobs/{digest_of(blob)}")
        ran = await Engine(tmp_path, front, gate, retries=3).run()
        assert {each.status for each in ran.images.values()} == {Status.FAILED}
        assert {each.reason for each in ran.images.values()} <= {"Corrupted", "TooLarge"}
        assert {each.attempts for each in ran.images.values()} <= {
            1,
            2,
        }  # no second chance to a third lie
        assert not there.has_blob("team/app", digest_of(blob))
        assert not [r for r in gate.requests if r.method == "PUT" and r.status == 201 and "/blobs/" in r.path
                    and digest_of(blob) in r.target]  # fmt: skip


# Bytes of BIG after which an answer breaks off.
BROKEN = 2_000_000


def ranges(front: PlainProxy) -> list[str]:
    """Those that were asked for of BIG, "" for all of it."""
    found = front.seen("GET", f"blobs/{digest_of(BIG)}")
    return [each.headers.get("range") or "" for each in found]


async def test_a_blob_that_breaks_off_is_gone_on_with(
    tmp_path: Path, source: RegistryServer, there: RegistryServer
) -> None:
    with PlainProxy(source) as front, PlainProxy(there) as gate:
        front.rule(Truncate(after=BROKEN), method="GET", key=f"blobs/{digest_of(BIG)}", nth={1, 3})
        ran = await Engine(tmp_path, front, gate, retries=0).run()
        assert ran.reasons == {"team/app:v1": "DONE", "team/other:v1": "DONE"}
        # A byte is asked for first, to see whether the registry answers with what is left.
        first, *more = ranges(front)
        assert first == ""
        starts = [int(each.removeprefix("bytes=").partition("-")[0]) for each in more]
        assert len(more) == 4
        assert 0 < starts[0] == starts[1] <= starts[2] == starts[3] < len(BIG)
        uploads = [
            r for r in gate.seen("PUT", "blobs/uploads/") if digest_of(BIG) in unquote(r.query)
        ]
        assert [each.status for each in uploads] == [201]
    assert there.digest("team/app", "v1") == APP.digest


async def test_a_blob_whose_connections_are_reset(
    tmp_path: Path, source: RegistryServer, there: RegistryServer
) -> None:
    """What was in progress is lost with a reset: there may be nothing to go on with."""
    with PlainProxy(source) as front:
        front.rule(Reset(after=BROKEN), method="GET", key=f"blobs/{digest_of(BIG)}", nth={1, 3})
        ran = await Engine(tmp_path, front, there, retries=0).run()
        assert ran.reasons == {"team/app:v1": "DONE", "team/other:v1": "DONE"}
    assert there.digest("team/app", "v1") == APP.digest


def no_ranges(front: PlainProxy) -> Rule:
    """It ignores them."""
    return front.rule(RequestHeaders(remove="range"), method="GET")


def another_range(front: PlainProxy) -> Rule:
    return front.rule(
        ResponseHeaders(set={"Content-Range": f"bytes 5-5/{len(BIG)}"}), key=digest_of(BIG)
    )


def another_length(front: PlainProxy) -> Rule:
    return front.rule(
        ResponseHeaders(set={"Content-Range": "bytes 2000000-2000000/9"}), key=digest_of(BIG)
    )


def unsaid(front: PlainProxy) -> Rule:
    return front.rule(ResponseHeaders(remove="content-range"), key=digest_of(BIG))


def refused(front: PlainProxy) -> Rule:
    return front.rule(
        Reply(416, body=said("RANGE_INVALID"), headers=JSON), key=digest_of(BIG), nth=2
    )


@pytest.mark.parametrize("quirk", [no_ranges, another_range, another_length, unsaid, refused])
async def test_a_blob_of_a_registry_without_ranges_begins_anew(
    tmp_path: Path,
    source: RegistryServer,
    there: RegistryServer,
    quirk: Callable[[PlainProxy], Rule],
) -> None:
    with PlainProxy(source) as front:
        front.rule(Truncate(after=BROKEN), method="GET", key=f"blobs/{digest_of(BIG)}", nth=1)
        quirk(front)
        ran = await Engine(tmp_path, front, there, retries=2).run()
        assert ran.reasons == {"team/app:v1": "DONE", "team/other:v1": "DONE"}
        begun, asked, again = ranges(front)
        assert begun == again == ""
        assert asked or quirk is no_ranges
    assert there.digest("team/app", "v1") == APP.digest


async def test_the_rest_of_another_blob_is_never_stored(
    tmp_path: Path, source: RegistryServer, there: RegistryServer
) -> None:
    def other(request: Request, response: Response, body: bytes) -> bytes:
        return body[::-1]

    with PlainProxy(source) as front, PlainProxy(there) as gate:
        front.rule(Truncate(after=BROKEN), method="GET", key=f"blobs/{digest_of(BIG)}", nth=1)
        front.rule(Rewrite(other), method="GET", key=f"blobs/{digest_of(BIG)}", nth=3)
        ran = await Engine(tmp_path, front, gate, retries=2).run()
        assert ran.reasons == {"team/app:v1": "DONE", "team/other:v1": "DONE"}
        assert ran.images["team/app:v1"].attempts + ran.images["team/other:v1"].attempts == 3
    assert there.digest("team/app", "v1") == APP.digest


@pytest.mark.parametrize("status", [400, 403, 404, 410, 500, 503])
async def test_a_blob_that_cannot_be_read_fails_its_image_alone(
    tmp_path: Path, there: RegistryServer, status: int
) -> None:
    own = layer(f"blobs-own-{status}", 2_000_000)
    with RegistryServer() as server, PlainProxy(server) as front:
        server.push("team/bad", "v1", image("blobs-bad", [BASE, own]))
        server.push("team/good", "v1", image("blobs-good", [BASE]))
        front.rule(Reply(status, body=said("UNKNOWN"), headers=JSON), key=f"blobs/{digest_of(own)}")
        engine = Engine(tmp_path, front, there, retries=0)
        engine.patience = 0.1
        ran = await engine.run()
    assert ran.statuses == {"team/bad:v1": Status.FAILED, "team/good:v1": Status.DONE}
    reasons = {404: "BLOB_UNKNOWN", 500: "Unavailable", 503: "Unavailable"}
    assert ran.images["team/bad:v1"].reason == reasons.get(status, "UNKNOWN")


async def test_within_one_registry_nothing_crosses(tmp_path: Path) -> None:
    with RegistryServer() as server, PlainProxy(server) as front:
        server.push("team/app", "v1", APP)
        ran = await Engine(
            tmp_path,
            front,
            front,
            dest_prefix="copy",
            src_list="SELECTED",
            src_image_list="team/app:v1",
        ).run()
        assert ran.counts.done == 1
        assert server.digest("copy/team/app", "v1") == APP.digest
        assert front.count("GET", "/blobs/") == 0


async def test_an_artifact_of_a_draft_of_oci_is_offered_as_it_is(
    tmp_path: Path, there: RegistryServer, here: RegistryServer
) -> None:
    """docker-registry takes none: the reason is told, and the rest is copied."""
    here.push("team/app", "v1", APP)
    content = b"a draft"
    body = json.dumps({
        "mediaType": "application/vnd.oci.artifact.manifest.v1+json",
        "artifactType": "application/x",
        "blobs": [{"mediaType": "application/x", "digest": digest_of(content),
        "size": len(content)}],
    }).encode()  # fmt: skip
    here.push("team/app", "carrier", artifact("application/x", content))
    with PlainProxy(here) as front:
        draft = Built("application/vnd.oci.artifact.manifest.v1+json", body)
        headers = {"Content-Type": draft.media_type, "Docker-Content-Digest": draft.digest}
        front.rule(
            Reply(200, body=body, headers=headers), key=f"manifests/(carrier|{draft.digest})"
        )
        ran = await Engine(tmp_path, front, there).run()
    assert ran.statuses == {"team/app:v1": Status.DONE, "team/app:carrier": Status.FAILED}


async def test_manifests_are_read_once(tmp_path: Path, there: RegistryServer) -> None:
    both = index(image("blobs-x", [BASE]), image("blobs-y", [BASE], architecture="arm64"))
    with RegistryServer() as server, PlainProxy(server) as front:
        server.push("team/app", "v1", both)
        ran = await Engine(tmp_path, front, there).run()
        assert ran.counts.done == 1
        assert front.count("GET", "manifests") == 3


async def test_blobs_of_one_registry_that_mounts_nothing(
    tmp_path: Path, open_there: RegistryServer
) -> None:
    """Each blob is read and written at the same registry, more of them at once than it is asked at
    once."""
    for number in range(20):
        layers = [layer(f"blobs-{number}-{part}", 1_500_000) for part in range(2)]
        open_there.push(f"team/app{number}", "v1", image(f"blobs-{number}", layers))
    with OddRegistry(open_there, "mounts-never") as odd:
        chosen = {"include_repositories": ("team/*",)}
        ran = await Engine(tmp_path, odd, odd, dest_prefix="copy", **chosen).run()
    assert (ran.counts.listed, ran.counts.done) == (20, 20)


@pytest.mark.parametrize("quirk", ["rate-429", "rate-429-seconds", "rate-503"])
@pytest.mark.parametrize("side", ["source", "destination"])
async def test_registries_that_take_so_many_requests(
    tmp_path: Path, open_there: RegistryServer, quirk: str, side: str
) -> None:
    """Planning and copying end, and no image fails."""
    with RegistryServer() as server:
        for number in range(12):
            server.push(
                "team/app",
                f"v{number}",
                image(f"blobs-{number}", [layer(f"blobs-r{number}", 1_200_000)]),
            )
        behind = server if side == "source" else open_there
        with OddRegistry(behind, quirk, rate=30, burst=10) as odd:
            ends = (odd, open_there) if side == "source" else (server, odd)
            ran = await Engine(tmp_path, *ends).run()
            assert odd.refused
    assert set(ran.statuses.values()) == {Status.DONE}
    assert ran.counts.done == 12


def _is_stream(request: Request) -> bool:
    """Whether it sends a blob that is larger than those that are read whole."""
    return int(request.headers.get("content-length") or 0) > SMALL


@pytest.mark.parametrize("status", [429, 503])
async def test_a_stream_that_is_refused_for_now_costs_no_attempt(
    tmp_path: Path, source: RegistryServer, open_there: RegistryServer, status: int
) -> None:
    with PlainProxy(open_there) as front:
        front.rule(
            Reply(status, body=said("UNAVAILABLE"), headers=JSON),
            method="PUT",
            when=_is_stream,
            nth=range(1, 4),
        )
        ran = await Engine(tmp_path, source, front, retries=0).run()
    assert ran.reasons == {"team/app:v1": "DONE", "team/other:v1": "DONE"}
    assert [record.attempts for record in ran.images.values()] == [1, 1]
    assert open_there.digest("team/app", "v1") == APP.digest


@pytest.mark.parametrize(("status", "reason"), [(429, "TOOMANYREQUESTS"), (503, "Unavailable")])
async def test_a_stream_that_is_always_refused_alone_fails_its_image(
    tmp_path: Path, source: RegistryServer, open_there: RegistryServer, status: int, reason: str
) -> None:
    with PlainProxy(open_there) as front:
        refused = front.rule(
            Reply(status, body=said("UNAVAILABLE"), headers=JSON),
            method="PUT",
            when=_is_stream,
        )
        chosen = {"src_list": "SELECTED", "src_image_list": "team/app:v1"}
        ran = await Engine(tmp_path, source, front, retries=0, **chosen).run()
    assert ran.reasons == {"team/app:v1": reason}
    assert refused.hits == STRIKES


class OnIpv6:
    """A registry at [::1]."""

    def __init__(self, behind: RegistryServer | PlainProxy) -> None:
        self._behind = behind
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "::1", 0)
        self.url = f"http://[::1]:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = urlsplit(self._behind.url)
        there, back = await asyncio.open_connection(place.hostname, place.port)
        await asyncio.gather(_pour(reader, back), _pour(there, writer), return_exceptions=True)


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def test_registries_at_ipv6_addresses(
    tmp_path: Path, source: RegistryServer, open_there: RegistryServer
) -> None:
    """skopeo 1.9 cannot read such a name; it is not needed for it."""
    async with OnIpv6(source) as here, OnIpv6(open_there) as there:
        ran = await Engine(tmp_path, here, there).run()
        assert ran.reasons == {"team/app:v1": "DONE", "team/other:v1": "DONE"}
        assert (await Engine(tmp_path, here, there).run()).counts.same == 2
    assert open_there.digest("team/app", "v1") == APP.digest


IPV6 = "skopeo takes no registry at an IPv6 address such as [::1]:"


async def test_what_is_to_be_converted_at_an_ipv6_address_fails_alone(
    tmp_path: Path, source: RegistryServer, open_there: RegistryServer
) -> None:
    """The plan says in one line that it would."""
    with PlainProxy(open_there) as gate:
        gate.rule(
            Reply(415, body=said("UNSUPPORTED"), headers=JSON),
            method="PUT",
            key="team/app/manifests",
        )
        async with OnIpv6(gate) as there:
            ran = await Engine(tmp_path, source, there).run()
    assert ran.reasons == {"team/app:v1": "UNSUPPORTED", "team/other:v1": "DONE"}
    assert ran.images["team/app:v1"].attempts == 1
    assert IPV6 in ran.images["team/app:v1"].detail
    (note,) = (note for note in ran.run.notes if IPV6 in note)
    assert note.startswith(
        f"an image fails if {there.url.removeprefix('http://')} does not take it as it is: "
    )


@pytest.mark.parametrize("side", ["source", "destination"])
async def test_what_the_policy_wants_checked_at_an_ipv6_address_is_refused_in_the_plan(
    tmp_path: Path,
    source: RegistryServer,
    open_there: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
    side: str,
) -> None:
    place = tmp_path / "home/.config/containers/policy.json"
    place.parent.mkdir(parents=True)
    accepted = {"type": "insecureAcceptAnything"}
    async with OnIpv6(source if side == "source" else open_there) as on_ipv6:
        here, there = (on_ipv6, open_there) if side == "source" else (source, on_ipv6)
        scope = f"{here.url.removeprefix('http://')}/team/app"
        docker = {scope: [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/key"}]}
        place.write_text(json.dumps({"default": [accepted], "transports": {"docker": docker}}))
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        ran = await Engine(tmp_path / "task", here, there).run()
    assert ran.reasons == {"team/app:v1": "NoSkopeo", "team/other:v1": "DONE"}
    refused = ran.images["team/app:v1"]
    assert refused.attempts == 0
    assert "the machine's policy wants" in refused.detail
    assert IPV6 in refused.detail
