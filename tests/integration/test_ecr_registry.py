"""The client of registries, against docker-registry and what a proxy makes of it."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from dth.core.errors import (
    ConnectionFailed,
    Corrupted,
    EndpointRefused,
    ListingFailed,
    NotSupported,
    ObjectRefused,
    Throttled,
    Transient,
    Unreachable,
    UsageError,
)
from dth.core.transport import Response, Transport
from dth.images.registry.client import RateLimit, Registry, RegistryAddress, fallback_tag
from dth.images.registry.login import ANONYMOUS, FixedLogin, Login, SecretLogin, UserPassword
from dth.images.registry.manifest import DOCKER_LIST, OCI_INDEX
from tests.servers.proxy import (
    Corrupt,
    Drop,
    Proxy,
    Reply,
    ResponseHeaders,
    Rewrite,
    Stall,
    Truncate,
)
from tests.servers.registry import (
    PASSWORD,
    USER,
    RegistryServer,
    TokenServer,
    artifact,
    basic,
    digest_of,
    fallback,
    image,
    index,
    layer,
    signature,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.proxy import Request, Response

pytestmark = pytest.mark.skipif(
    shutil.which("docker-registry") is None, reason="docker-registry is not installed"
)

BASE = layer("base", 100_000)
BOTH = index(image("a", [BASE]), image("a", [BASE], architecture="arm64"))
LOGIN = FixedLogin(UserPassword(USER, PASSWORD))


@pytest.fixture(scope="module")
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        server.push("team/app", "v1", BOTH)
        yield server


@pytest.fixture(scope="module")
def private() -> Iterator[RegistryServer]:
    with RegistryServer(auth=True) as server:
        server.push("team/app", "v1", BOTH)
        yield server


@pytest.fixture
def proxy(server: RegistryServer) -> Iterator[Proxy]:
    with Proxy(server) as proxy:
        yield proxy


@pytest.fixture
def client(transport: Transport) -> Callable[..., Registry]:
    """Makes clients that hurry."""

    def make(url: str, login: Login = ANONYMOUS, attempts: int = 3, ca: str = "") -> Registry:
        address = RegistryAddress(url.partition("//")[2], ca_bundle=ca)
        return Registry(transport, address, login, attempts=attempts)

    return make


async def test_manifests(server: RegistryServer, client: Callable[..., Registry]) -> None:
    registry = client(server.url)
    await registry.ping()
    assert await registry.head("team/app", "v1") == BOTH.digest
    assert await registry.head("team/app", BOTH.digest) == BOTH.digest
    found = await registry.manifest("team/app", "v1")
    assert found is not None
    assert (found.digest, found.media_type, found.body) == (BOTH.digest, OCI_INDEX, BOTH.body)
    assert [each.platform for each in found.children] == ["linux/amd64", "linux/arm64"]
    child = await registry.manifest("team/app", found.children[0].digest)
    assert child is not None
    assert [each.digest for each in child.blobs] == [
        digest_of(blob) for blob in BOTH.children[0].blobs
    ]
    assert child.config is not None
    assert (
        json.loads(await registry.blob("team/app", child.config.digest))["architecture"] == "amd64"
    )
    assert await registry.has_blob("team/app", digest_of(BASE))


async def test_what_is_not_there_is_none(
    server: RegistryServer, client: Callable[..., Registry]
) -> None:
    registry = client(server.url)
    for repository, reference in (
        ("team/app", "v2"),
        ("no/such", "v1"),
        ("team/app", f"sha256:{'0' * 64}"),
    ):
        assert await registry.head(repository, reference) is None
        assert await registry.manifest(repository, reference) is None
    assert not await registry.has_blob("team/app", f"sha256:{'0' * 64}")
    assert await registry.tags("no/such") is None
    assert await registry.referrers("no/such", BOTH.digest) == []


async def test_kinds_of_manifest(server: RegistryServer, client: Callable[..., Registry]) -> None:
    registry = client(server.url)
    docker = index(image("d", [BASE], docker=True), docker=True)
    server.push("kinds/docker", "1", docker)
    chart = artifact("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"chart")
    server.push("kinds/chart", "1", chart)
    for repository, built in (("kinds/docker", docker), ("kinds/chart", chart)):
        found = await registry.manifest(repository, "1")
        assert found is not None
        assert (found.digest, found.media_type) == (built.digest, built.media_type)
    assert docker.media_type == DOCKER_LIST


async def test_all_pages_of_tags_and_repositories(client: Callable[..., Registry]) -> None:
    one = image("one", [BASE])
    with RegistryServer() as server, Proxy(server) as proxy:
        server.push("many/tags", "t0000", one)
        for number in range(1, 25):
            server.tag("many/tags", f"t{number:04}", one)
        for name in "abcde":
            server.push(f"repo/{name}", "1", one)

        # Smaller pages than we ask for.
        def fewer(request: Request, response: Response, body: bytes) -> bytes:
            found = json.loads(body)
            field = "tags" if "tags" in found else "repositories"
            last = next(
                (v for k, v in (p.split("=") for p in request.query.split("&")) if k == "last"), ""
            )
            names = [name for name in sorted(found[field]) if name > last.replace("%2F", "/")]
            response.headers.remove("link")
            if len(names) > 3:
                link = f'<{request.path}?n=3&last={names[2].replace("/", "%2F")}>; rel="next"'
                response.headers.set("Link", link)
            return json.dumps({field: names[:3]}).encode()

        proxy.rule(Rewrite(fewer), method="GET", key="tags/list|_catalog")
        registry = client(proxy.url)
        assert await registry.tags("many/tags") == [f"t{number:04}" for number in range(25)]
        assert registry.calls["GET tags"] == 9
        assert await registry.repositories() == ["many/tags", *(f"repo/{name}" for name in "abcde")]
        assert registry.calls["GET catalog"] == 2


async def test_the_pages_of_a_real_registry(
    server: RegistryServer, client: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dth.images.registry.client.PAGES", ("1", ""))
    for name in "abc":
        server.push(f"paged/{name}", "1", image(name, [BASE]))
    registry = client(server.url)
    assert {"paged/a", "paged/b", "paged/c", "team/app"} <= set(await registry.repositories())
    assert registry.calls["GET catalog"] >= 4


async def test_pages_in_circles_and_elsewhere(
    server: RegistryServer, proxy: Proxy, client: Callable[..., Registry]
) -> None:
    rule = proxy.rule(
        ResponseHeaders(set={"Link": '</v2/team/app/tags/list?n=1000>; rel="next"'}),
        key="tags/list",
    )
    with pytest.raises(ListingFailed, match="goes in circles"):
        await client(proxy.url).tags("team/app")
    proxy.remove(rule)
    proxy.rule(
        ResponseHeaders(set={"Link": '<http://elsewhere/x?last=1>; rel="next"'}), key="tags/list"
    )
    with pytest.raises(ListingFailed, match="next page is at elsewhere"):
        await client(proxy.url).tags("team/app")


async def test_a_repository_without_tags(proxy: Proxy, client: Callable[..., Registry]) -> None:
    proxy.rule(Reply(200, body=b'{"name": "x", "tags": null}'), key="tags/list")
    assert await client(proxy.url).tags("x") == []
    proxy.clear()
    proxy.rule(Reply(200, body=b'{"name": "x", "tags": "all"}'), key="tags/list")
    with pytest.raises(ListingFailed, match="something else"):
        await client(proxy.url).tags("x")


async def test_no_catalogue(proxy: Proxy, client: Callable[..., Registry]) -> None:
    proxy.rule(
        Reply(404, body=b'{"errors": [{"code": "UNSUPPORTED", "message": "no catalogue"}]}'),
        key="_catalog",
    )
    with pytest.raises(
        ListingFailed,
        match=r"gives no catalogue of its repositories \(no catalogue\); name the images",
    ):
        await client(proxy.url).repositories()
    with pytest.raises(ListingFailed, match="Docker Hub has no catalogue"):
        await client("https://docker.io").repositories()


# --------------------------------------------------------------------------------------- signing in


async def test_user_and_password(private: RegistryServer, client: Callable[..., Registry]) -> None:
    registry = client(private.url, LOGIN)
    assert await registry.head("team/app", "v1") == BOTH.digest
    assert await registry.head("team/app", "v1") == BOTH.digest
    assert (
        registry.calls["HEAD manifests"] == 2
    )  # the challenge is asked for once, within the first
    with pytest.raises(EndpointRefused, match="refuses the credentials of 'dth'"):
        await client(private.url, FixedLogin(UserPassword(USER, "wrong"))).head("team/app", "v1")
    with pytest.raises(EndpointRefused, match="wants credentials"):
        await client(private.url).head("team/app", "v1")


async def test_a_secret_is_read_again_when_it_is_refused(
    private: RegistryServer, client: Callable[..., Registry]
) -> None:
    class Secrets:
        text = json.dumps({"username": USER, "password": "old"})

        def read(self, name: str) -> str:
            if name != "mine":
                raise UsageError(f"there is no secret {name!r}")
            return self.text

    secrets = Secrets()
    registry = client(private.url, SecretLogin("mine", secrets))
    with pytest.raises(EndpointRefused, match="refuses the credentials"):
        await registry.ping()
    secrets.text = json.dumps({"username": USER, "password": PASSWORD})
    await registry.ping()
    for text, problem in (
        ('{"a": 1}', "is not JSON of the form"),
        ("x", "is not JSON of the form"),
    ):
        secrets.text = text
        with pytest.raises(EndpointRefused, match=problem):
            await client(private.url, SecretLogin("mine", secrets)).ping()
    with pytest.raises(EndpointRefused, match="no secret 'other'"):
        await client(private.url, SecretLogin("other", secrets)).ping()


async def test_tokens(client: Callable[..., Registry]) -> None:
    with TokenServer(public=True) as tokens, RegistryServer(tokens=tokens) as server:
        server.push("team/app", "v1", BOTH)
        server.push("team/b", "v1", image("b", [BASE]))
        anonymous = client(server.url)
        found = await asyncio.gather(*(anonymous.head("team/app", "v1") for _ in range(5)))
        assert set(found) == {BOTH.digest}
        assert tokens.asked == [["repository:team/app:pull"]]  # one for all
        assert await anonymous.head("team/b", "v1")
        assert tokens.asked[1:] == [["repository:team/b:pull"]]
        manifest = await anonymous.manifest("team/app", "v1")
        assert manifest is not None
        with pytest.raises(
            ObjectRefused, match="whoever has no credentials has no right to it"
        ) as told:
            await anonymous.put_manifest("team/app", "v2", manifest)
        assert told.value.code == "DENIED"
        await client(server.url, LOGIN).put_manifest("team/app", "v2", manifest)
        assert server.digest("team/app", "v2") == BOTH.digest
        with pytest.raises(
            EndpointRefused, match="refuses the credentials of 'dth': wrong user or password"
        ):
            await client(server.url, FixedLogin(UserPassword(USER, "wrong"))).head("team/app", "v1")
        tokens.public = False
        with pytest.raises(ObjectRefused, match="no right to repository:team/app:pull"):
            await client(server.url).head("team/app", "v1")


async def test_tokens_are_renewed_before_and_after_their_end(
    client: Callable[..., Registry],
) -> None:
    with TokenServer(seconds=2) as tokens, RegistryServer(tokens=tokens) as server:
        server.push("team/app", "v1", BOTH)
        registry = client(server.url, LOGIN)
        assert await registry.head("team/app", "v1")
        await asyncio.sleep(1.1)
        assert await registry.head("team/app", "v1")
        assert len(tokens.asked) == 2
    with TokenServer() as tokens, RegistryServer(tokens=tokens) as server, Proxy(server) as proxy:
        server.push("team/app", "v1", BOTH)
        registry = client(proxy.url, LOGIN)
        assert await registry.head("team/app", "v1")
        challenge = f'Bearer realm="{tokens.url}/token",service="tests",error="invalid_token"'
        proxy.rule(Reply(401, headers={"WWW-Authenticate": challenge}), nth=1)  # revoked
        assert await registry.head("team/app", "v1")
        assert len(tokens.asked) == 2


async def test_tokens_are_asked_for_over_tls_only(client: Callable[..., Registry]) -> None:
    with TokenServer() as tokens, RegistryServer(tls=True, tokens=tokens) as tls:
        registry = client(tls.url, LOGIN, ca=str(tls.ca))
        with pytest.raises(EndpointRefused, match="wants us to sign in without TLS"):
            await registry.head("team/app", "v1")


async def test_tls(client: Callable[..., Registry], tmp_path: Path) -> None:
    with RegistryServer(tls=True) as server:
        server.push("team/app", "v1", BOTH)
        assert await client(server.url, ca=str(server.ca)).head("team/app", "v1") == BOTH.digest
        for ca, code in (
            ("/etc/ssl/certs/ca-certificates.crt", "UntrustedCertificate"),
            (str(tmp_path / "none.pem"), "BadCaFile"),
        ):
            with pytest.raises(Unreachable) as told:
                await client(server.url, ca=ca).head("team/app", "v1")
            assert told.value.code == code


# -------------------------------------------------------------------------------- what may go wrong


async def test_passing_failures_are_tried_again(
    proxy: Proxy, client: Callable[..., Registry]
) -> None:
    # Of manifests: after a 503 the registry is asked at /v2/ whether it answers anything.
    proxy.rule(Reply(503), method="HEAD", nth=1)
    # libcurl itself tries again on a connection that it kept.
    proxy.rule(Drop(), method="HEAD", nth=(2, 3))
    registry = client(proxy.url)
    assert await registry.head("team/app", "v1") == BOTH.digest
    assert registry.calls["HEAD manifests"] == 3
    proxy.clear()
    proxy.rule(Reply(500), method="GET")
    before = proxy.count(method="GET")
    with pytest.raises(Transient, match="HTTP 500"):
        await registry.manifest("team/app", "v1")
    assert proxy.count(method="GET") - before == 3


async def test_a_registry_that_is_not_there(client: Callable[..., Registry]) -> None:
    with pytest.raises(ConnectionFailed, match=r"^127\.0\.0\.1:9: failed to connect"):
        await client("http://127.0.0.1:9", attempts=1).ping()


async def test_waiting_as_long_as_the_registry_asks(
    proxy: Proxy, client: Callable[..., Registry]
) -> None:
    proxy.rule(Reply(429, headers={"Retry-After": "1"}), nth=1)
    registry = client(proxy.url)
    begun = time.monotonic()
    assert await registry.head("team/app", "v1")
    assert time.monotonic() - begun >= 0.9
    proxy.rule(Reply(429, headers={"Retry-After": "3600"}), nth=1)
    proxy.forget()
    for _ in range(2):
        with pytest.raises(Throttled) as told:
            await registry.head("team/app", "v1")
        assert told.value.retry_after > 3590
    assert len(proxy.requests) == 1  # it is not asked again before


async def test_how_much_may_still_be_pulled(proxy: Proxy, client: Callable[..., Registry]) -> None:
    registry = client(proxy.url)
    await registry.head("team/app", "v1")
    assert registry.rate_limit is None
    limits = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}
    proxy.rule(ResponseHeaders(set=limits))
    await registry.head("team/app", "v1")
    assert registry.rate_limit == RateLimit(100, 76, 21600)


async def test_bytes_that_are_not_those_of_the_digest(
    proxy: Proxy, client: Callable[..., Registry]
) -> None:
    proxy.rule(Corrupt(5), method="GET")
    registry = client(proxy.url, attempts=2)
    for reference in ("v1", BOTH.digest):
        with pytest.raises(Corrupted, match="the manifest is sha256:"):
            await registry.manifest("team/app", reference)
    with pytest.raises(Corrupted, match="the blob is not"):
        await registry.blob("team/app", digest_of(BASE))
    proxy.clear()
    proxy.rule(Truncate(10), method="GET", nth=1)
    assert await registry.manifest("team/app", "v1")
    proxy.rule(ResponseHeaders(set={"Docker-Content-Digest": f"sha256:{'0' * 64}"}), method="HEAD")
    with pytest.raises(Corrupted, match=r"answers sha256:0+ for"):
        await registry.head("team/app", BOTH.digest)


async def test_a_registry_that_does_not_tell_digests(
    proxy: Proxy, client: Callable[..., Registry]
) -> None:
    proxy.rule(ResponseHeaders(remove="docker-content-digest"))
    assert await client(proxy.url).head("team/app", "v1") == BOTH.digest


async def test_answers_have_a_limit(
    server: RegistryServer, client: Callable[..., Registry]
) -> None:
    with pytest.raises(ObjectRefused, match="sends more than the 1000 bytes"):
        await client(server.url).blob("team/app", digest_of(BASE), limit=1000)


async def test_blob_stores_are_not_told_who_we_are(
    private: RegistryServer, server: RegistryServer, client: Callable[..., Registry]
) -> None:
    with Proxy(private) as front, Proxy(server) as store:
        place = f"{store.url}/v2/team/app/blobs/{digest_of(BASE)}?X-Amz-Signature=s"
        front.rule(
            Reply(307, headers={"Location": place}),
            key="blobs",
            when=lambda r: "authorization" in r.headers,
        )
        registry = client(front.url, LOGIN)
        assert await registry.blob("team/app", digest_of(BASE)) == BASE
        assert front.seen(key="blobs")[-1].headers.get("authorization") == basic(USER, PASSWORD)
        assert "authorization" not in store.seen(key="blobs")[0].headers
        front.clear()
        # Within the registry itself they are.
        there = f"/v2/team/app/blobs/{digest_of(BASE)}?again"
        front.rule(Reply(307, headers={"Location": there}), key="blobs", when=lambda r: not r.query)
        assert await registry.blob("team/app", digest_of(BASE)) == BASE
        assert front.requests[-1].query == "again"
        front.clear()
        front.rule(Reply(307, headers={"Location": there}), key="blobs")
        with pytest.raises(ObjectRefused, match="redirects without end"):
            await registry.blob("team/app", digest_of(BASE))


async def test_no_redirect_leaves_tls() -> None:
    class Redirecting(Transport):
        async def send(self, method: str, url: str, *_: object, **__: object) -> Response:
            assert url.startswith("https://")
            return Response(307, {"location": url.replace("https:", "http:")})

    with (
        Redirecting() as transport,
        pytest.raises(EndpointRefused, match=r"redirects to quay\.io without TLS"),
    ):
        await Registry(transport, RegistryAddress("quay.io")).blob("team/app", digest_of(BASE))


# ---------------------------------------------------------------------------------------- referrers


async def test_referrers_by_their_tag(
    server: RegistryServer, client: Callable[..., Registry]
) -> None:
    sbom = artifact("application/spdx+json", b'{"spdxVersion": "SPDX-2.3"}', subject=BOTH)
    server.push("team/app", "", sbom)
    tag, listed = fallback(BOTH, ("application/spdx+json", sbom))
    server.push("team/app", tag, listed)
    server.push("team/app", *signature(BOTH))
    registry = client(server.url)
    found = await registry.referrers("team/app", BOTH.digest)
    assert [(each.digest, each.artifact_type) for each in found] == [
        (sbom.digest, "application/spdx+json")
    ]
    assert tag == fallback_tag(BOTH.digest)
    assert await registry.referrers("team/app", sbom.digest) == []
    assert registry.calls["GET referrers"] == 1  # that there is no API is remembered
    manifest = await registry.manifest("team/app", sbom.digest)
    assert manifest is not None
    assert manifest.subject == BOTH.digest


async def test_referrers_by_the_api(proxy: Proxy, client: Callable[..., Registry]) -> None:
    sbom = artifact("application/spdx+json", b"{}", subject=BOTH)
    other = artifact("application/vnd.in-toto+json", b"{}", subject=BOTH)
    first = index(sbom, artifact_types=["application/spdx+json"]).body
    second = index(other, artifact_types=["application/vnd.in-toto+json"]).body
    path = f"/v2/team/app/referrers/{BOTH.digest}"
    link = {"Content-Type": OCI_INDEX, "Link": f'<{path}?page=2>; rel="next"'}
    proxy.rule(Reply(200, body=first, headers=link), key="referrers", when=lambda r: not r.query)
    proxy.rule(
        Reply(200, body=second, headers={"Content-Type": OCI_INDEX}),
        key="referrers",
        query="page=2",
    )
    registry = client(proxy.url)
    found = await registry.referrers("team/app", BOTH.digest)
    assert [each.digest for each in found] == [sbom.digest, other.digest]


async def test_a_page_that_is_no_list_of_referrers(
    proxy: Proxy, client: Callable[..., Registry]
) -> None:
    proxy.rule(
        Reply(200, body=b"<html>hello", headers={"Content-Type": "text/html"}), key="referrers"
    )
    assert await client(proxy.url).referrers("team/other", BOTH.digest) == []


async def test_a_schema_of_old_is_refused(proxy: Proxy, client: Callable[..., Registry]) -> None:
    kind = {"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"}
    proxy.rule(Reply(200, body=b'{"schemaVersion": 1}', headers=kind), method="GET")
    with pytest.raises(NotSupported, match="schema 1"):
        await client(proxy.url).manifest("team/app", "v1")


async def test_closing_the_transport_ends_what_is_under_way(proxy: Proxy) -> None:
    proxy.rule(Stall(30))
    with Transport() as transport:
        registry = Registry(transport, RegistryAddress(proxy.url.partition("//")[2]))
        asking = asyncio.create_task(registry.head("team/app", "v1"))
        await asyncio.sleep(0.2)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asking, 1)


async def test_a_layer_is_mounted_from_another_repository(client: Callable[..., Registry]) -> None:
    """With a token for both of them; what is not there is not mounted, and leaves nothing
    behind."""
    digest = digest_of(BASE)
    with TokenServer() as tokens, RegistryServer(tokens=tokens) as server:
        server.push("team/app", "v1", BOTH)
        registry = client(server.url, LOGIN)
        assert not await registry.has_blob("other/app", digest)
        assert await registry.begin_upload("other/app", (digest, "team/app")) is None
        assert await registry.has_blob("other/app", digest)
        upload = await registry.begin_upload("other/app", (f"sha256:{'0' * 64}", "team/app"))
        assert upload
        await registry.give_up(upload)
