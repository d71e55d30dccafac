"""An index with only some of its platforms: written by us, because skopeo copies one platform or all.

The same index and platforms always make the same bytes, so that what was copied is known by its digest. An image with
one platform is no index, and stays as it is.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from dth.core.errors import ObjectRefused
from dth.images.registry.manifest import INDEXES, Manifest

_WITH_VARIANT = ("/armhf", "/armel")  # architectures whose names tell the variant
ATTESTED = "vnd.docker.reference.digest"  # annotation of what BuildKit adds: the digest that it is about


def narrow(manifest: Manifest, platforms: Sequence[str]) -> Manifest | None:
    """The index with what runs on these platforms, and what is about it; itself where that is all of it or where it is
    no index; None where nothing runs on them. `linux/arm` takes every variant, `linux/arm/v7` that one. Raises
    ObjectRefused for an index that has others in it."""
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
    return Manifest(f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}", manifest.media_type, body)


def runs_on(platform: str, wanted: str) -> bool:
    """Whether what is for this platform is wanted; both as os/architecture or os/architecture/variant."""
    there, asked = normal(platform), normal(wanted)
    has_variant = wanted.count("/") > 1 or wanted.lower().endswith(_WITH_VARIANT)
    return there[:2] == asked[:2] and (not has_variant or there[2] == asked[2])


def normal(platform: str) -> tuple[str, str, str]:
    """Operating system, architecture and variant, as containerd writes them: one platform has several names."""
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
    """The digest which an entry of an index is about; "" for most."""
    annotations = entry.get("annotations")
    found = annotations.get(ATTESTED) if isinstance(annotations, dict) else ""
    return found if isinstance(found, str) else ""
