"""An index with only some of its platforms: written by us, because skopeo copies one platform or all.

The same index and platforms always make the same bytes, so that what was copied is known by its digest. An image with
one platform is no index, and stays as it is.
"""

import hashlib
import json
from collections.abc import Sequence

from dth.ecr.manifest import Manifest

ATTESTED = "vnd.docker.reference.digest"  # annotation of what BuildKit adds: the digest that it is about


def narrow(manifest: Manifest, platforms: Sequence[str]) -> Manifest | None:
    """The index with what runs on these platforms, and what is about it; itself where that is all of it or where it is
    no index; None where nothing runs on them. `linux/arm` takes every variant, `linux/arm/v7` that one."""
    if not manifest.is_index or not platforms:
        return manifest
    fields = json.loads(manifest.body)
    entries = fields["manifests"]
    kept = {
        child.digest
        for child in manifest.children
        if any(child.platform == each or child.platform.startswith(f"{each}/") for each in platforms)
    }
    if not kept:
        return None
    narrowed = [
        entry
        for entry in entries
        if entry["digest"] in kept or (entry.get("annotations") or {}).get(ATTESTED) in kept
    ]
    if len(narrowed) == len(entries):
        return manifest
    body = json.dumps({**fields, "manifests": narrowed}, separators=(",", ":")).encode()
    algorithm = manifest.digest.partition(":")[0]
    return Manifest(f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}", manifest.media_type, body)
