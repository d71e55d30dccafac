"""docker-registry (Debian) as a process, and images made on the spot, without docker.

    with RegistryServer() as registry:
        base = layer("base", 1 << 20)
        arm = image("a", [base], architecture="arm64")
        registry.push("team/app", "v1", index(image("a", [base]), arm))
        assert registry.digest("team/app", "v1") == ...

What is pushed is stored byte for byte: the digests are those of the made images. A `Proxy` may
stand in front.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import http.client
import io
import json
import os
import random
import shutil
import ssl
import tarfile
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificate
from joserfc import jwt
from joserfc.jwk import ECKey

from .certificates import Certificates, make_certificates
from .process import Process, Server
from .proxy import Proxy
from .s3 import S3Server

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

USER, PASSWORD = "dth", "s3cret-of-the-registry"
_HTPASSWD = (
    f"{USER}:$2b$04$.1D7UGuhfZZ1lqiVT.3Xv.sMt6SiX2OWzgzgSaBB2tT81rIG7dt/i\n"  # bcrypt, cheap
)

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
EMPTY = b"{}"


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


NEEDED = pytest.mark.skipif(
    not shutil.which("skopeo") or not shutil.which("docker-registry"),
    reason="skopeo or docker-registry is not installed",
)

# --- images
# ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Built:
    """A manifest or an index, with everything under it."""

    media_type: str
    body: bytes = field(repr=False)
    blobs: tuple[bytes, ...] = field(default=(), repr=False)
    children: tuple[Built, ...] = ()
    platform: dict[str, str] | None = None

    @property
    def digest(self) -> str:
        return digest_of(self.body)

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.body)}


@cache
def layer(seed: str, size: int) -> bytes:
    """A layer of about this size that does not compress, the same for the same seed."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        member = tarfile.TarInfo(f"data/{seed}.bin")
        member.size = size
        archive.addfile(member, io.BytesIO(random.Random(seed).randbytes(size)))
    return gzip.compress(raw.getvalue(), compresslevel=1, mtime=0)


def image(
    name: str,
    layers: Sequence[bytes],
    *,
    architecture: str = "amd64",
    created: str = "2026-01-01T00:00:00Z",
    docker: bool = False,
) -> Built:
    """An image of one platform; `docker`: as docker makes them, not OCI."""
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "created": created,
            "config": {"Env": [f"APP={name}"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": [digest_of(gzip.decompress(each)) for each in layers],
            },
        }
    ).encode()
    kind = "vnd.docker" if docker else "vnd.oci"
    config_type = "container.image.v1" if docker else "image.config.v1"
    layer_type = (
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
        if docker
        else ("application/vnd.oci.image.layer.v1.tar+gzip")
    )
    return _manifest(
        DOCKER_MANIFEST if docker else OCI_MANIFEST,
        (f"application/{kind}.{config_type}+json", config),
        [(layer_type, each) for each in layers],
        platform={"architecture": architecture, "os": "linux"},
    )


def artifact(kind: str, content: bytes, *, subject: Built | None = None) -> Built:
    """An OCI 1.1 artifact, such as an SBOM; one that refers to its subject where there is one."""
    extra: dict[str, Any] = {"artifactType": kind}
    if subject:
        extra["subject"] = subject.descriptor
    return _manifest(
        OCI_MANIFEST, ("application/vnd.oci.empty.v1+json", EMPTY), [(kind, content)], extra=extra
    )


def signature(subject: Built) -> tuple[str, Built]:
    """A signature as cosign stores it: the tag, and the image."""
    payload = json.dumps(
        {"critical": {"image": {"docker-manifest-digest": subject.digest}}}
    ).encode()
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [digest_of(payload)]}}).encode()
    built = _manifest(
        OCI_MANIFEST,
        ("application/vnd.oci.image.config.v1+json", config),
        [("application/vnd.dev.cosign.simplesigning.v1+json", payload)],
    )
    return f"{subject.digest.replace(':', '-')}.sig", built


def index(*children: Built, docker: bool = False, artifact_types: Sequence[str] = ()) -> Built:
    """Several images under one name."""
    entries = [
        {**each.descriptor, **({"platform": each.platform} if each.platform else {})}
        for each in children
    ]
    for entry, kind in zip(entries, artifact_types, strict=False):
        entry["artifactType"] = kind
    media_type = DOCKER_LIST if docker else OCI_INDEX
    body = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode()
    return Built(media_type, body, children=children)


def fallback(subject: Built, *referrers: tuple[str, Built]) -> tuple[str, Built]:
    """What stands for the referrers of an image where the registry has no API for them: a tag, and
    an index."""
    built = index(*(each for _, each in referrers), artifact_types=[kind for kind, _ in referrers])
    return subject.digest.replace(":", "-"), built


def _manifest(
    media_type: str,
    config: tuple[str, bytes],
    layers: Sequence[tuple[str, bytes]],
    *,
    platform: dict[str, str] | None = None,
    extra: dict[str, Any] | None = None,
) -> Built:
    def described(kind: str, content: bytes) -> dict[str, Any]:
        return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}

    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": described(*config),
            "layers": [described(*each) for each in layers],
            **(extra or {}),
        }
    ).encode()
    return Built(media_type, body, (config[1], *(content for _, content in layers)), (), platform)


# --- the server
# --------------------------------------------------------------------------------------


class RegistryServer(S3Server):
    """A registry on 127.0.0.1. `auth`: it wants USER and PASSWORD; `tokens`: tokens of this server;
    `tls`: it speaks TLS, with a CA of its own in `.ca`. (It is an S3Server in name only, so that a
    `Proxy` can stand in front.)"""

    def __init__(
        self, *, auth: bool = False, tls: bool = False, tokens: TokenServer | None = None
    ) -> None:
        # In memory where that can be: a registry waits for the disk at every manifest.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(prefix="dth-registry-", dir=memory)
        folder = Path(self._folder.name)
        self.data = folder / "data"
        self._login = (USER, PASSWORD) if auth else None
        self._tokens = tokens
        address: dict[str, Any] = {"addr": "127.0.0.1:0", "secret": "tests"}
        settings: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(self.data)},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": address,
        }
        if tls:
            files = make_certificates(folder)
            self.ca = files.ca
            address["tls"] = {"certificate": str(files.certificate), "key": str(files.key)}
        if auth:
            (folder / "htpasswd").write_text(_HTPASSWD)
            settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
        if tokens:
            settings["auth"] = {"token": tokens.settings()}
        self._settings = settings
        port = self._serve()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"

    def _serve(self) -> str:
        """Start the process; its port."""
        config = Path(self._folder.name) / "config.yml"
        config.write_text(json.dumps(self._settings))  # JSON is YAML
        self.process = Process(["docker-registry", "serve", str(config)])
        return self.process.wait_for_line(r"listening on 127\.0\.0\.1:(\d+)")[1]

    def kill(self) -> None:
        """As when its machine loses power; what it has stored stays."""
        self.process.stop(kill=True)

    def revive(self) -> None:
        """Start it again where it was."""
        self._settings["http"]["addr"] = self.host
        self._serve()

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def close(self) -> None:
        self.process.stop()
        self._folder.cleanup()

    def push(self, repository: str, tag: str, built: Built) -> str:
        """Store the image with all that is under it; with no tag by its digest alone. Returns the
        digest."""
        for child in built.children:
            self.push(repository, "", child)
        for blob in built.blobs:
            self._push_blob(repository, blob)
        return self.tag(repository, tag, built)

    def tag(self, repository: str, tag: str, built: Built) -> str:
        """Store the manifest alone: what is under it is there."""
        path = f"/v2/{repository}/manifests/{tag or built.digest}"
        self._ask(
            "PUT", path, repository, built.body, {"Content-Type": built.media_type}, expect=(201,)
        )
        return built.digest

    def tag_many(self, repository: str, tags: Iterable[str], built: Built) -> None:
        """The same for many tags, as the registry itself writes them: a request for each would take
        long."""
        folder = self.data / "docker/registry/v2/repositories" / repository / "_manifests/tags"
        for tag in tags:
            for place in ("current", f"index/{built.digest.replace(':', '/')}"):
                (folder / tag / place).mkdir(parents=True)
                (folder / tag / place / "link").write_text(built.digest)

    def delete(self, repository: str, digest: str) -> None:
        """Forget a manifest, with the tags that lead to it."""
        self._ask("DELETE", f"/v2/{repository}/manifests/{digest}", repository, expect=(202,))

    def digest(self, repository: str, reference: str) -> str | None:
        """That of a tag; None where there is none."""
        found = self.manifest(repository, reference)
        return None if found is None else digest_of(found)

    def manifest(self, repository: str, reference: str) -> bytes | None:
        kinds = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"
        path = f"/v2/{repository}/manifests/{reference}"
        status, _, body = self._ask(
            "GET", path, repository, headers={"Accept": kinds}, expect=(200, 404)
        )
        return body if status == 200 else None

    def has_blob(self, repository: str, digest: str) -> bool:
        path = f"/v2/{repository}/blobs/{digest}"
        return self._ask("HEAD", path, repository, expect=(200, 404))[0] == 200

    def _push_blob(self, repository: str, blob: bytes) -> None:
        digest = digest_of(blob)
        if self.has_blob(repository, digest):
            return
        _, headers, _ = self._ask(
            "POST", f"/v2/{repository}/blobs/uploads/", repository, b"", expect=(202,)
        )
        place = urlsplit(headers["location"])
        self._ask(
            "PUT", f"{place.path}?{place.query}&digest={quote(digest)}", repository, blob,
            {"Content-Type": "application/octet-stream"}, expect=(201,),
        )  # fmt: skip

    def _ask(
        self,
        method: str,
        target: str,
        repository: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        expect: tuple[int, ...] = (200,),
    ) -> tuple[int, dict[str, str], bytes]:
        headers = dict(headers or {})
        if self._login:
            headers["Authorization"] = basic(*self._login)
        if self._tokens:
            scope = f"repository:{repository}:pull,push"
            headers["Authorization"] = f"Bearer {self._tokens.token([scope])}"
        address = urlsplit(self.url)
        assert address.hostname is not None
        connection: http.client.HTTPConnection = (
            http.client.HTTPSConnection(
                address.hostname,
                address.port,
                timeout=60,
                context=ssl.create_default_context(cafile=self.ca),
            )
            if self.ca
            else http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        )
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            found = answer.read()
            if answer.status not in expect:
                raise RuntimeError(
                    f"{method} {target}: {answer.status} {found.decode(errors='replace')}"
                )
            return (
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                found,
            )
        finally:
            connection.close()


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


class TokenServer(Server):
    """Gives out tokens for a registry, as the registry's own service of larger ones does. Anybody
    may pull with a token for nobody where `public`; USER and PASSWORD may do all. Counts what it
    was asked for."""

    SERVICE, ISSUER = "tests", "tests-issuer"

    def __init__(self, *, public: bool = False, seconds: int = 300) -> None:
        self.public = public
        self.seconds = seconds
        self.asked: list[list[str]] = []  # the scopes of each request
        self._folder = tempfile.TemporaryDirectory(prefix="dth-tokens-")
        self._files: Certificates = make_certificates(Path(self._folder.name))
        self._key = ECKey.import_key(self._files.key.read_text())
        certificate = load_pem_x509_certificate(self._files.certificate.read_bytes())
        self._chain = [
            base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
        ]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="tokens", daemon=True
        )
        self._thread.start()

    def settings(self) -> dict[str, str]:
        return {
            "realm": f"{self.url}/token",
            "service": self.SERVICE,
            "issuer": self.ISSUER,
            "rootcertbundle": str(self._files.ca),
        }

    def token(self, scopes: Sequence[str], *, pull_only: bool = False) -> str:
        now = int(time.time())
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            allowed = [each for each in actions.split(",") if each == "pull" or not pull_only]
            access.append({"type": kind, "name": name, "actions": allowed})
        claims = {
            "iss": self.ISSUER, "sub": USER, "aud": self.SERVICE, "iat": now, "nbf": now - 10,
            "exp": now + self.seconds, "jti": str(random.random()), "access": access,
        }  # fmt: skip
        return jwt.encode({"alg": "ES256", "typ": "JWT", "x5c": self._chain}, claims, self._key)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        query = parse_qs(urlsplit(handler.path).query)
        scopes = query.get("scope", [])
        self.asked.append(scopes)
        said = handler.headers.get("Authorization")
        known = said == basic(USER, PASSWORD)
        if (
            (said and not known)
            or (not said and not self.public)
            or query.get("service") != [self.SERVICE]
        ):
            status, answer = (
                401,
                {"errors": [{"code": "UNAUTHORIZED", "message": "wrong user or password"}]},
            )
        else:
            token = self.token(scopes, pull_only=not known)
            status, answer = 200, {"token": token, "expires_in": self.seconds}  # type: ignore[dict-item]
        body = json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


class EcrServer(Server):
    """The control plane of an Amazon ECR whose images are those of a `RegistryServer`. Pages are as
    small as `page`.

    Its repositories are those that were made by CreateRepository or by `make`; `calls` lists the
    operations, and `refuse` holds what some are answered instead: operation -> (code, message)."""

    account, region = "123456789012", "eu-west-1"

    def __init__(
        self, registry: RegistryServer, *, page: int = 1000, token_seconds: float = 43200
    ) -> None:
        self.registry = registry
        self.page = page
        self.token_seconds = token_seconds
        self.calls: list[str] = []
        self.refuse: dict[str, tuple[str, str]] = {}
        self.repositories: dict[str, dict[str, Any]] = {}
        self.pushed: dict[str, float] = {}  # by digest: epoch seconds
        self.accounts: list[str] = []  # the registryId of every call
        self.password = PASSWORD  # of the tokens that are given out
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="ecr", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def make(self, *names: str, **settings: Any) -> None:
        for name in names:
            self._create({"repositoryName": name, **settings})

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        operation = handler.headers["X-Amz-Target"].partition(".")[2]
        given = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])) or b"{}")
        self.calls.append(operation)
        self.accounts.append(given.get("registryId", ""))
        try:
            if operation in self.refuse:
                raise _Refused(*self.refuse[operation])
            answer = {
                "GetAuthorizationToken": self._authorize,
                "CreateRepository": self._create,
                "DescribeRepositories": self._describe_repositories,
                "DescribeImages": self._describe_images,
            }[operation](given)
            status = 200
        except _Refused as refused:
            status = 400
            answer = {"__type": refused.code, "message": refused.message}
        body = json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/x-amz-json-1.1")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _authorize(self, _: dict[str, Any]) -> dict[str, Any]:
        token = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        until = time.time() + self.token_seconds
        endpoint = f"https://{self.registry.host}"  # as ECR says it
        return {
            "authorizationData": [
                {"authorizationToken": token, "expiresAt": until, "proxyEndpoint": endpoint}
            ]
        }

    def _create(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given["repositoryName"]
        if name in self.repositories:
            raise _Refused(
                "RepositoryAlreadyExistsException",
                f"The repository with name '{name}' already exists",
            )
        self.repositories[name] = {
            "repositoryName": name,
            "registryId": self.account,
            "repositoryUri": f"{self.registry.host}/{name}",
            "imageTagMutability": "MUTABLE",
            **given,
        }
        return {"repository": self.repositories[name]}

    def _describe_repositories(self, given: dict[str, Any]) -> dict[str, Any]:
        for name in given.get("repositoryNames", []):
            self._known(name)
        names = given.get("repositoryNames") or sorted(self.repositories)
        return self._paged("repositories", [self.repositories[name] for name in names], given)

    def _describe_images(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given["repositoryName"]
        self._known(name)
        folder = self.registry.data / "docker/registry/v2/repositories" / name / "_manifests"
        tags: dict[str, list[str]] = {}
        for link in sorted(folder.glob("tags/*/current/link")):
            tags.setdefault(link.read_text(), []).append(link.parts[-3])
        found = []
        for link in sorted(folder.glob("revisions/sha256/*/link")):
            digest = link.read_text()
            manifest = json.loads(self.registry.manifest(name, digest) or b"{}")
            image = {
                "registryId": self.account,
                "repositoryName": name,
                "imageDigest": digest,
                "imageSizeInBytes": sum(each["size"] for each in manifest.get("layers", [])),
                "imagePushedAt": self.pushed.get(digest, 1.7e9),
                "imageManifestMediaType": manifest.get("mediaType"),
            }
            if digest in tags:
                image["imageTags"] = tags[digest]
            if "subject" in manifest:
                image["subjectManifestDigest"] = manifest["subject"]["digest"]
            found.append(image)
        return self._paged("imageDetails", found, given)

    def _known(self, name: str) -> None:
        if name not in self.repositories:
            raise _Refused(
                "RepositoryNotFoundException",
                (
                    f"The repository with name '{name}' does not exist in the registry with id "
                    f"'{self.account}'"
                ),
            )

    def _paged(self, field: str, everything: list[Any], given: dict[str, Any]) -> dict[str, Any]:
        begin = int(given.get("nextToken") or 0)
        end = begin + min(self.page, given.get("maxResults") or 100)
        more = {"nextToken": str(end)} if end < len(everything) else {}
        return {field: everything[begin:end], **more}


class PlainProxy(Proxy):
    """A `Proxy` that sends away whoever begins with TLS, at once: skopeo tries that first, for ten
    seconds."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1)
        if first in (b"", b"\x16"):
            writer.close()
            return
        reader._buffer[:0] = first  # type: ignore[attr-defined]
        await super()._serve(reader, writer)


def copying(server: Server) -> list[int]:
    """The skopeo processes that copy from or to this server."""
    host = server.url.partition("//")[2]
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            arguments = place.read_bytes()
            if arguments.startswith(b"skopeo\0") and f"docker://{host}/".encode() in arguments:
                found.append(int(place.parts[2]))
    return found


class _Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
