"""What a registry stores under a tag or digest: a manifest, or an index of several."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dth.core.confinement import foreign
from dth.core.errors import NotSupported, ObjectRefused
from dth.images.registry.reference import is_digest

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
# From an abandoned draft of OCI 1.1; some of these exist.
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST, OCI_ARTIFACT})
# Bytes: more than anything stored in a registry has.
LARGEST = 2**42
ACCEPT = f"{OCI_INDEX}, {DOCKER_LIST}, {OCI_MANIFEST}, {DOCKER_MANIFEST}, {OCI_ARTIFACT}"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A manifest's description of something that it refers to."""

    digest: str
    size: int
    media_type: str = ""
    artifact_type: str = ""
    # os/architecture, or os/architecture/variant.
    platform: str = ""
    foreign: bool = False  # stored outside a registry


@dataclass(frozen=True)
class Manifest:
    """A manifest or index. `digest` is that of the bytes in `body`."""

    digest: str
    media_type: str
    body: bytes

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests of several platforms."""
        return self.media_type in INDEXES

    @cached_property
    def children(self) -> tuple[Descriptor, ...]:
        """The manifests of an index."""
        return self._several("manifests") if self.is_index else ()

    @cached_property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config and layers that are in the registry."""
        if self.is_index:
            return ()
        config = self.fields.get("config")
        found = [_descriptor(config)] if config else []
        found += self._several("layers") or self._several("blobs")
        return tuple(each for each in found if not each.foreign)

    @cached_property
    def blob_count(self) -> int:
        """The number of blobs of the manifest, including those outside the registry."""
        if self.is_index:
            return 0
        layers = self.fields.get("layers") or self.fields.get("blobs") or []
        return len(layers) + bool(self.fields.get("config"))

    @cached_property
    def config(self) -> Descriptor | None:
        """The descriptor of the configuration; None if there is none, as in an index."""
        config = self.fields.get("config")
        return _descriptor(config) if config else None

    @cached_property
    def subject(self) -> str:
        """The digest of the manifest that this one describes; usually ""."""
        subject = self.fields.get("subject")
        return _descriptor(subject).digest if subject else ""

    @cached_property
    def annotations(self) -> dict[str, Any]:
        """The annotations; empty if there are none or they are malformed."""
        found = self.fields.get("annotations")
        return found if isinstance(found, dict) else {}

    def _several(self, name: str) -> tuple[Descriptor, ...]:
        found = self.fields.get(name) or []
        if not isinstance(found, list):
            raise ObjectRefused(
                f"manifest {self.digest}: {name} is not a list", code="MANIFEST_INVALID"
            )
        return tuple(map(_descriptor, found))

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The parsed JSON object. Raises ObjectRefused if it is not an object."""
        return _read(self.body, self.digest)


def read_manifest(body: bytes, content_type: str, algorithm: str = "sha256") -> Manifest:
    """Return the manifest in an answer.

    Raises ObjectRefused if it is not a manifest, NotSupported for an obsolete kind.
    """
    digest = f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in INDEXES | MANIFESTS:
        fields = _read(body, digest)
        # Some registries send application/json, or no type.
        kind = str(fields.get("mediaType") or _guess(fields))
    if kind not in INDEXES | MANIFESTS:
        if fields.get("schemaVersion") == 1:
            raise NotSupported(
                (
                    f"manifest {digest} is of Docker's schema 1, which nobody can push any more; "
                    "build the image again"
                ),
                code="SCHEMA1",
            )
        raise NotSupported(
            f"manifest {digest} is of an unknown kind{foreign(f': {kind!r}')}",
            code="UNKNOWN_MANIFEST",
        )
    return Manifest(digest, kind, body)


def _guess(fields: dict[str, Any]) -> str:
    """Return the kind of a manifest without a media type, which OCI allows."""
    if fields.get("schemaVersion") != 2:
        return ""
    return OCI_INDEX if "manifests" in fields else OCI_MANIFEST if "config" in fields else ""


def _read(body: bytes, digest: str) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        said = (
            "the answer is a web page, not a manifest; see that the registry's name is right"
            if body.lstrip()[:1] == b"<"
            else f"manifest {digest} is not JSON"
        )
        raise ObjectRefused(said, code="MANIFEST_INVALID")
    return fields


def _descriptor(fields: Any) -> Descriptor:
    try:
        digest, size = fields["digest"], fields.get("size", 0)
        platform = fields.get("platform") or {}
        parts = [
            platform.get("os", ""),
            platform.get("architecture", ""),
            platform.get("variant", ""),
        ]
        media_type = str(fields.get("mediaType") or "")
        if not is_digest(digest) or not isinstance(size, int) or not 0 <= size <= LARGEST:
            raise TypeError
    except (KeyError, TypeError, AttributeError):
        raise ObjectRefused(
            "a manifest refers to something without saying what", code="MANIFEST_INVALID"
        ) from None
    return Descriptor(
        digest,
        size,
        media_type,
        str(fields.get("artifactType") or ""),
        "/".join(map(str, parts)).rstrip("/"),
        bool(fields.get("urls")) or "foreign" in media_type or "nondistributable" in media_type,
    )
