"""Writes an index with only some platforms, because skopeo copies one platform or all.

The same index and platforms always produce the same bytes, so the digest identifies earlier copies.
An image with one platform is not an index, and stays as it is.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from dth.core.errors import ObjectRefused
from dth.images.registry.manifest import INDEXES, Manifest

_WITH_VARIANT = ("/armhf", "/armel")  # architectures that imply a variant
# Annotation of BuildKit's attestations: the digest they describe.
ATTESTED = "vnd.docker.reference.digest"


def narrow(manifest: Manifest, platforms: Sequence[str]) -> Manifest | None:
    """Return the index with the images for these platforms and their attestations.

    Returns the index itself if that is all of it, or if it is not an index; None if no image is for
    these platforms. `linux/arm` takes every variant, `linux/arm/v7` only that one. Raises
    ObjectRefused for an index that contains other indexes.
    """
    if not manifest.is_index or not platforms:
        return manifest
    if any(child.media_type in INDEXES for child in manifest.children):
        raise ObjectRefused(
            f"index {manifest.digest} has other indexes in it, of which no platforms can be chosen",
            code="NESTED",
        )
    fields = manifest.fields
    entries = fields.get("manifests") or []
    kept = {
        child.digest
        for child in manifest.children
        if any(runs_on(child.platform, each) for each in platforms)
    }
    if not kept:
        return None
    narrowed = [entry for entry in entries if entry["digest"] in kept or _attests(entry) in kept]
    if len(narrowed) == len(entries):
        return manifest
    body = json.dumps({**fields, "manifests": narrowed}, separators=(",", ":")).encode()
    algorithm = manifest.digest.partition(":")[0]
    return Manifest(
        f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}", manifest.media_type, body
    )


def runs_on(platform: str, wanted: str) -> bool:
    """Whether an image for this platform is wanted; both as os/architecture or
    os/architecture/variant.
    """
    there, asked = normal(platform), normal(wanted)
    has_variant = wanted.count("/") > 1 or wanted.lower().endswith(_WITH_VARIANT)
    return there[:2] == asked[:2] and (not has_variant or there[2] == asked[2])


def normal(platform: str) -> tuple[str, str, str]:
    """Return operating system, architecture, and variant as containerd writes them.

    One platform has several names.
    """
    system, architecture, variant = (*platform.lower().split("/"), "", "")[:3]
    if system == "macos":
        system = "darwin"
    match architecture:
        case "i386":
            architecture, variant = "386", ""
        case "x86_64" | "x86-64" | "amd64":
            architecture, variant = "amd64", "" if variant == "v1" else variant
        case "aarch64" | "arm64":
            architecture, variant = "arm64", "" if variant in ("8", "v8") else variant
        case "armhf":
            architecture, variant = "arm", "v7"
        case "armel":
            architecture, variant = "arm", "v6"
        case "arm":
            variant = {"": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8"}.get(variant, variant)
    return system, architecture, variant


def _attests(entry: Any) -> str:
    """Return the digest that an entry of an index describes; usually ""."""
    annotations = entry.get("annotations")
    found = annotations.get(ATTESTED) if isinstance(annotations, dict) else ""
    return found if isinstance(found, str) else ""
