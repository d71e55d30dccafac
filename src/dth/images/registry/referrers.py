"""What refers to an image, at a registry without the referrers API of OCI 1.1: an index under a tag made from the
image's digest, which whoever pushes a referrer has to keep (OCI distribution specification 1.1, "Referrers Tag
Schema").
"""

import hashlib
import json
from collections.abc import Collection
from typing import Any

from dth.core.errors import ObjectRefused
from dth.images.registry.client import Registry, fallback_tag
from dth.images.registry.manifest import OCI_INDEX, Manifest


async def keep_fallback(registry: Registry, repository: str, about: str, referrer: Manifest) -> bool:
    """Enter the referrer in the index, where the registry finds it in no other way. True: it was entered now. Not to
    be called twice at once for one image: each writes what it has read."""
    if await registry.ask_referrers(repository, about) is not None:
        return False
    tag = fallback_tag(about)
    there = await registry.manifest(repository, tag)
    found = _with(there, about, [_descriptor(referrer)])
    if there and found.digest == there.digest:
        return False
    await registry.put_manifest(repository, tag, found)
    return True


def merge(theirs: Manifest | None, ours: Manifest, about: str, lost: Collection[str] = ()) -> Manifest:
    """The index with the entries of both, without those of ours that are lost. Those of the destination stay as they
    are. Raises ObjectRefused where the destination's tag is no such index."""
    if theirs is None and not lost:
        return ours
    return _with(theirs, about, [each for each in _entries(ours) if each["digest"] not in lost])


def _with(there: Manifest | None, about: str, entries: list[dict[str, Any]]) -> Manifest:
    """The index with these entries too; itself where it has them."""
    if there and there.digest == about:
        there = None  # some registries take such a tag for the digest itself
    if there and not there.is_index:
        raise ObjectRefused(
            f"the tag {fallback_tag(about)} is an image at the destination, where a list of referrers has to be",
            code="CONFLICT",
        )
    fields = there.fields if there else {"schemaVersion": 2, "mediaType": OCI_INDEX}
    before = _entries(there) if there else []
    known = {each["digest"] for each in before}
    fresh = [each for each in entries if each["digest"] not in known]
    if there and not fresh:
        return there
    body = json.dumps({**fields, "manifests": [*before, *fresh]}, separators=(",", ":")).encode()
    media_type = there.media_type if there else OCI_INDEX
    return Manifest(f"sha256:{hashlib.sha256(body).hexdigest()}", media_type, body)


def _entries(index: Manifest) -> list[dict[str, Any]]:
    """Raises ObjectRefused where one of them is none."""
    return (index.fields.get("manifests") or []) if index.children else []


def _descriptor(referrer: Manifest) -> dict[str, Any]:
    """As the API would describe it: with its artifact type and annotations."""
    fields = referrer.fields
    config = fields.get("config")
    artifact = fields.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else "")
    return {
        "mediaType": referrer.media_type,
        "digest": referrer.digest,
        "size": len(referrer.body),
        **({"artifactType": artifact} if artifact else {}),
        **({"annotations": fields["annotations"]} if fields.get("annotations") else {}),
    }
