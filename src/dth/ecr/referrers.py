"""What refers to an image, at a registry without the referrers API of OCI 1.1: an index under a tag made from the
image's digest, which whoever pushes a referrer has to keep (OCI distribution specification 1.1, "Referrers Tag
Schema").
"""

import hashlib
import json
from typing import Any

from dth.ecr.manifest import OCI_INDEX, Manifest
from dth.ecr.registry import Registry, fallback_tag


async def keep_fallback(registry: Registry, repository: str, about: str, referrer: Manifest) -> bool:
    """Enter the referrer in the index, where the registry finds it in no other way. True: it was entered now. Not to
    be called twice at once for one image: each writes what it has read."""
    if await registry.ask_referrers(repository, about) is not None:
        return False
    tag = fallback_tag(about)
    found = await registry.manifest(repository, tag)
    entries: list[dict[str, Any]] = json.loads(found.body)["manifests"] if found and found.is_index else []
    if any(entry.get("digest") == referrer.digest for entry in entries):
        return False
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*entries, _descriptor(referrer)]}
    body = json.dumps(index, separators=(",", ":")).encode()
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    await registry.put_manifest(repository, tag, Manifest(digest, OCI_INDEX, body))
    return True


def _descriptor(referrer: Manifest) -> dict[str, Any]:
    """As the API would describe it: with its artifact type and annotations."""
    fields = json.loads(referrer.body)
    artifact = fields.get("artifactType") or (fields.get("config") or {}).get("mediaType")
    return {
        "mediaType": referrer.media_type,
        "digest": referrer.digest,
        "size": len(referrer.body),
        **({"artifactType": artifact} if artifact else {}),
        **({"annotations": fields["annotations"]} if fields.get("annotations") else {}),
    }
