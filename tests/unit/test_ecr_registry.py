"""What registries say, read: challenges, refusals, manifests."""

from __future__ import annotations

import json
import time

import pytest

from dth.core.errors import (
    NotSupported,
    ObjectRefused,
    SourceGone,
    Throttled,
    TransferError,
    Transient,
)
from dth.core.transport import Response
from dth.images.registry.address import RegistryAddress
from dth.images.registry.answers import refusal
from dth.images.registry.client import fallback_tag
from dth.images.registry.headers import Challenge, read_challenge
from dth.images.registry.login import UserPassword
from dth.images.registry.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    read_manifest,
)
from dth.images.registry.registries import KNOWN, known_registry

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', Challenge("basic", "x")),
        (
            (
                'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
                'scope="repository:library/a:pull,push",error="insufficient_scope"'
            ),
            Challenge(
                "bearer",
                "https://auth.docker.io/token",
                "registry.docker.io",
                "repository:library/a:pull,push",
                "insufficient_scope",
            ),
        ),
        ('bearer service=s , realm="https://h/t?a=b"', Challenge("bearer", "https://h/t?a=b", "s")),
        ('Basic realm="a, b", Bearer realm="https://h/t"', Challenge("bearer", "https://h/t")),
        ('Bearer realm="https://h/t", Basic realm="r"', Challenge("bearer", "https://h/t")),
        (r'Basic realm="a \"quoted\" one"', Challenge("basic", 'a "quoted" one')),
        ("Basic", Challenge("basic")),
        ("Negotiate", None),
        ("Bearer", None),
        ("", None),
    ],
)
def test_challenges(header: str, expected: Challenge | None) -> None:
    assert read_challenge(header) == expected


def answer(status: int, code: str = "", message: str = "", **headers: str) -> Response:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode() if code else b""
    return Response(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, [body]
    )


@pytest.mark.parametrize(
    ("given", "kind", "code"),
    [
        (answer(404, "MANIFEST_UNKNOWN", "manifest unknown"), SourceGone, "MANIFEST_UNKNOWN"),
        (answer(404), SourceGone, "HTTP404"),
        (answer(403, "DENIED", "no"), ObjectRefused, "DENIED"),
        (answer(400, "TAG_INVALID", "immutable"), ObjectRefused, "TAG_INVALID"),
        (answer(429), Throttled, "HTTP429"),
        (answer(400, "TOOMANYREQUESTS"), Throttled, "TOOMANYREQUESTS"),
        (answer(503), Transient, "HTTP503"),
        (answer(500), Transient, "HTTP500"),
        (answer(501), NotSupported, "HTTP501"),
        (answer(405, "UNSUPPORTED"), NotSupported, "UNSUPPORTED"),
        (answer(408), Transient, "HTTP408"),
    ],
)
def test_refusals_say_what_follows(given: Response, kind: type[TransferError], code: str) -> None:
    error = refusal(given, "GET host/x")
    assert type(error) is kind
    assert error.code == code
    assert str(error).startswith("GET host/x: HTTP ")


def test_what_is_said_is_one_line_and_not_too_long() -> None:
    error = refusal(Response(502, {}, [b"<html>\n" + b"x" * 5000]), "GET x")
    assert "\n" not in str(error)
    assert len(str(error)) < 400
    assert str(refusal(answer(404, "A", "b\nc"), "GET x")) == "GET x: HTTP 404 A: b c"
    assert str(refusal(Response(403, {}, [b'{"details": "d"}']), "GET x")) == "GET x: HTTP 403: d"


def test_seconds_to_wait() -> None:
    assert refusal(answer(429, retry_after="7"), "").retry_after == 7
    assert refusal(answer(503, retry_after="2"), "").retry_after == 2
    assert refusal(answer(429, retry_after="soon"), "").retry_after == 0
    at = refusal(answer(429, x_ratelimit_reset=str(int(time.time()) + 100)), "").retry_after
    assert 95 < at <= 100


def test_addresses() -> None:
    assert RegistryAddress("docker.io").url == "https://registry-1.docker.io"
    assert RegistryAddress("quay.io").url == "https://quay.io"
    assert RegistryAddress("quay.io", plain_http=True).url == "http://quay.io"
    for host in ("localhost", "localhost:5000", "127.0.0.1:5000", "[::1]:5000"):
        assert RegistryAddress(host).url == f"http://{host}"
        assert RegistryAddress(host, ca_bundle="ca.pem").url == f"https://{host}"
    for host in ("localhost.example.com", "127.0.0.1.nip.io", "10.0.0.1"):
        assert not RegistryAddress(host).insecure


def test_no_password_is_ever_shown() -> None:
    assert "hunter2" not in repr(UserPassword("me", "hunter2"))


def body(**fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}).encode()


def blob(digest: str, size: int, kind: str = "", **fields: object) -> dict[str, object]:
    return {"digest": digest, "size": size, "mediaType": kind, **fields}


def test_an_image() -> None:
    found = read_manifest(
        body(
            config=blob(A, 1),
            layers=[blob(B, 2), blob(C, 3, "x.foreign.y"), blob(C, 3, urls=["https://h"])],
        ),
        f"{DOCKER_MANIFEST}; charset=utf-8",
    )
    assert found.media_type == DOCKER_MANIFEST
    assert [(each.digest, each.size) for each in found.blobs] == [
        (A, 1),
        (B, 2),
    ]  # foreign ones lie elsewhere
    assert found.config is not None
    assert (found.config.digest, found.subject, found.children) == (A, "", ())


def test_an_index_and_a_referrer() -> None:
    platform = {"os": "linux", "architecture": "arm", "variant": "v7"}
    found = read_manifest(body(manifests=[blob(A, 1, platform=platform), blob(B, 2)]), OCI_INDEX)
    assert [each.platform for each in found.children] == ["linux/arm/v7", ""]
    assert found.blobs == ()
    assert found.config is None
    referrer = read_manifest(body(config=blob(A, 1), layers=[], subject=blob(C, 5)), OCI_MANIFEST)
    assert referrer.subject == C


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (body(mediaType=DOCKER_LIST, manifests=[]), DOCKER_LIST),
        (body(manifests=[]), OCI_INDEX),
        (body(config=blob(A, 1), layers=[]), OCI_MANIFEST),
    ],
)
def test_a_kind_that_the_answer_does_not_tell(content: bytes, kind: str) -> None:
    assert read_manifest(content, "application/json").media_type == kind


@pytest.mark.parametrize(
    ("content", "kind", "problem"),
    [
        (b"<html>", OCI_MANIFEST, "is a web page"),
        (b"[]", OCI_MANIFEST, "is not JSON"),
        (body(config=blob(A, 1), layers=[{"size": 1}]), OCI_MANIFEST, "without saying what"),
        (body(config=blob("sha256:1", 1), layers=[]), OCI_MANIFEST, "without saying what"),
        (body(config=blob(A, 1), layers="x"), OCI_MANIFEST, "layers is not a list"),
        (
            b'{"schemaVersion": 1}',
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "schema 1",
        ),
        (b'{"schemaVersion": 3}', "text/plain", "unknown kind"),
    ],
)
def test_what_is_no_manifest(content: bytes, kind: str, problem: str) -> None:
    with pytest.raises(ObjectRefused, match=problem):
        _ = read_manifest(content, kind).blobs


def test_fallback_tags() -> None:
    assert fallback_tag(A) == f"sha256-{'a' * 64}"
    assert fallback_tag("sha512:" + "b" * 128) == f"sha512-{'b' * 64}"


def test_addresses_of_this_machine() -> None:
    for host in ("127.1.2.3", "[0:0:0:0:0:0:0:1]:5000", "[::1]"):
        assert RegistryAddress(host).url == f"http://{host}"
    for host in ("127.999.1.1", "[::2]:5000", "localhost.", "[2001:db8::1]"):
        assert RegistryAddress(host).url == f"https://{host}"


def test_what_is_known_of_registries() -> None:
    for host, name in (
        ("docker.io", "Docker Hub"),
        ("quay.io", "Quay"),
        ("ghcr.io", "GHCR"),
        ("public.ecr.aws", "Amazon ECR Public"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "Amazon ECR"),
        ("registry.gitlab.com", "GitLab"),
        ("acme.jfrog.io", "Artifactory"),
        ("quay.io.example.com", "Other"),
        ("quay-io", "Other"),
        ("localhost:5000", "Other"),
    ):
        assert known_registry(host).name == name
    assert len({known.name for known in KNOWN}) == len(KNOWN)
