"""What skopeo says when it fails, and what that amounts to."""

from __future__ import annotations

import pytest

from dth.core.errors import (
    ConnectionFailed,
    EndpointRefused,
    ObjectRefused,
    SourceGone,
    Throttled,
    TransferError,
    Transient,
    Unreachable,
)
from dth.images.registry.client import RegistryAddress
from dth.images.registry.reference import parse
from dth.images.skopeo.command import CopyEnd, _environment, explain

SOURCE = CopyEnd(parse("quay.io/denied/app:429"), RegistryAddress("quay.io"))
DEST = CopyEnd(
    parse("1.dkr.ecr.eu-west-1.amazonaws.com/not/found:v1"),
    RegistryAddress("1.dkr.ecr.eu-west-1.amazonaws.com"),
)
READING = (
    "initializing source docker://quay.io/denied/app:429: reading manifest 429 in "
    "quay.io/denied/app: "
)
REUSE = (
    "trying to reuse blob sha256:0 at destination: checking whether a blob sha256:0 exists in "
    "h/not/found: "
)


@pytest.mark.parametrize(
    ("message", "kind", "code"),
    [
        (
            f"{READING}toomanyrequests: You have reached your pull rate limit.",
            Throttled,
            "TOOMANYREQUESTS",
        ),
        ((
         "reading blob sha256:0: received unexpected HTTP status: 429 Too Many "
         "Requests"
         ), Throttled, "TOOMANYREQUESTS"),
        ("fetching blob: invalid status code from registry 503 (sorry)", Transient, "Unavailable"),
        ((
         "writing blob: received unexpected HTTP status: 500 Internal Server "
         "Error"
         ), Transient, "Unavailable"),
        (
            f"{READING}manifest unknown: manifest unknown",
            SourceGone,
            "MANIFEST_UNKNOWN",
        ),
        (
            f"{READING}name unknown: repository not found",
            SourceGone,
            "MANIFEST_UNKNOWN",
        ),
        (
            (
            f"{REUSE}name unknown: The repository with name 'not/found' does not exist in the "
            "registry with id '1'"
            ),
            ObjectRefused,
            "NAME_UNKNOWN",
        ),
        (
            f"{READING}unauthorized: access to the requested resource is not authorized",
            ObjectRefused,
            "DENIED",
        ),
        ((
         "unable to retrieve auth token: invalid username/password: "
         "unauthorized"
         ), EndpointRefused, "UNAUTHORIZED"),
        ("requested access to the resource is denied", ObjectRefused, "DENIED"),
        (
            (
            "errors: denied: requested access to the resource is denied unauthorized: "
            "authentication required"
            ),
            ObjectRefused,
            "DENIED",
        ),
        (f"{REUSE}unauthorized: authentication required", EndpointRefused, "UNAUTHORIZED"),
        (f"{REUSE}StatusCode: 403, nginx", ObjectRefused, "DENIED"),
        (
            "writing manifest: uploading manifest v1 to h: tag invalid: the tag is immutable.",
            ObjectRefused,
            "IMMUTABLE",
        ),
        ((
         f"{REUSE}denied: Your authorization token has expired. "
         "Reauthenticate"
         ), Transient, "ExpiredToken"),
        ((
         "pinging container registry h: Get https://h/v2/: x509: certificate signed by unknown "
         "authority"
         ),
         Unreachable, "UntrustedCertificate"),
        ((
         "pinging container registry h: Get https://h/v2/: http: server gave HTTP response to "
         "HTTPS client"
         ),
         Unreachable, "NoTls"),
        ((
         "Get https://h/v2/: tls: first record does not look like a TLS "
         "handshake"
         ), Unreachable, "NoTls"),
        ("dial tcp: lookup h on 10.0.0.1:53: no such host", ConnectionFailed, "UnknownHost"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", ConnectionFailed, "ConnectionFailed"),
        ((
         "reading blob sha256:0: read tcp 1:2->3:4: read: connection reset by "
         "peer"
         ), Transient, "ConnectionBroken"),
        ("writing blob: Patch https://h/v2/a: unexpected EOF", Transient, "ConnectionBroken"),
        ("net/http: TLS handshake timeout", Transient, "TimeOut"),
        ((
         "writing blob: Digest did not match, expected sha256:0, got "
         "sha256:1"
         ), Transient, "Corrupted"),
        ((
         "Source image rejected: Running image docker://a is rejected by "
         "policy."
         ), ObjectRefused, "POLICY"),
        (
            (
            "reading blob sha256:0: fetching blob: invalid status code from registry 404 (Not "
            "Found)"
            ),
            ObjectRefused,
            "BLOB_UNKNOWN",
        ),
        ((
         "reading blob sha256:0: blob unknown to registry: blob unknown to "
         "registry"
         ), ObjectRefused, "BLOB_UNKNOWN"),
        (
            (
            "initializing source: reading config blob sha256:0: fetching blob: invalid status "
            "code from registry 404"
            ),
            ObjectRefused,
            "BLOB_UNKNOWN",
        ),
        ((
         "writing blob: uploading layer chunked: blob upload unknown: blob upload "
         "unknown"
         ), Transient, "UploadLost"),
        (
            (
            "copying image 2/2 from manifest list: Unexpectedly received a manifest list "
            "instead of a manifest"
            ),
            ObjectRefused,
            "UNSUPPORTED",
        ),
        ((
         'Invalid source name docker://[::1]:5000/a:v1: invalid reference '
         'format'
         ), ObjectRefused, "BadName"),
        (
            f"{READING}parsing manifest: invalid character 'x' looking for beginning of value",
            ObjectRefused,
            "MANIFEST_INVALID",
        ),
        ("something nobody has heard of in quay.io/denied/app", Transient, "Unknown"),
    ],
)  # fmt: skip
def test_failures(message: str, kind: type[TransferError], code: str) -> None:
    said = (
        'time="2026-01-01T00:00:00Z" level=warning msg="denied"\ntime="x" level=fatal '
        f'msg="{message}"\n'
    )
    error = explain(said, SOURCE, DEST, 1)
    assert (type(error), error.code) == (kind, code)
    assert str(error) == f"{SOURCE.reference} -> {DEST.reference}: {message}"


def test_a_skopeo_that_was_killed_or_says_nothing() -> None:
    error = explain("", SOURCE, DEST, -9)
    assert (type(error), error.code) == (Transient, "Killed")
    assert "ended by signal 9" in str(error)
    assert str(explain("", SOURCE, DEST, 1)).endswith(": skopeo failed without a word")


def test_quotes_and_line_ends_are_read() -> None:
    error = explain('level=fatal msg="Get \\"http://h/v2/\\": a\nb"', SOURCE, DEST, 1)
    assert str(error).endswith(': Get "http://h/v2/": a b')
    assert str(explain("no log at all\n", SOURCE, DEST, 1)).endswith(": no log at all")


def test_the_environment_is_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AWS_SECRET_ACCESS_KEY",
        "REGISTRY_AUTH_FILE",
        "DOCKER_CONFIG",
        "DTH_PASSPHRASE",
        "https_proxy",
    ):
        monkeypatch.setenv(name, "x")
    found = _environment()
    assert found["https_proxy"] == "x"
    assert "PATH" in found
    assert (
        not {"AWS_SECRET_ACCESS_KEY", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "DTH_PASSPHRASE"}
        & found.keys()
    )
