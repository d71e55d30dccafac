"""Referrers of an image at a registry without the referrers API of OCI 1.1.

They are in an index under a tag made from the image's digest. The client that pushes a referrer
must maintain this index (OCI distribution specification 1.1, "Referrers Tag Schema").
"""

import hashlib
import json
from collections.abc import Collection
from typing import Any

from dth.core.errors import ObjectRefused
from dth.images.registry.client import Registry, fallback_tag
from dth.images.registry.manifest import OCI_INDEX, Manifest


async def keep_fallback(
    registry: Registry, repository: str, about: str, referrer: Manifest
) -> bool:
    """Enter the referrer in the index, if the registry has no API for it. True if it was added now.

    Do not call this concurrently for one image: each call writes what it has read.
    """
    if await registry.ask_referrers(repository, about) is not None:
        return False
    tag = fallback_tag(about)
    there = await registry.manifest(repository, tag)
    found = _with(there, about, [_descriptor(referrer)])
    if there and found.digest == there.digest:
        return False
    await registry.put_manifest(repository, tag, found)
    return True


def merge(
    theirs: Manifest | None, ours: Manifest, about: str, lost: Collection[str] = ()
) -> Manifest:
    """Return the index with the entries of both, without our own that are lost.

    The destination's entries stay as they are. Raises ObjectRefused if the destination's tag is not
    such an index.
    """
    if theirs is None and not lost:
        return ours
    return _with(theirs, about, [each for each in _entries(ours) if each["digest"] not in lost])


def _with(there: Manifest | None, about: str, entries: list[dict[str, Any]]) -> Manifest:
    """Return the index with these entries added; the index itself if it has them already."""
    if there and there.digest == about:
        # Some registries resolve such a tag to the digest itself.
        there = None
    if there and not there.is_index:
        raise ObjectRefused(
            (
                f"the tag {fallback_tag(about)} is an image at the destination, where a list of "
                "referrers has to be"
            ),
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
    """Return the entries. Raises ObjectRefused if one of them is invalid."""
    return (index.fields.get("manifests") or []) if index.children else []


def _descriptor(referrer: Manifest) -> dict[str, Any]:
    """Describe the referrer as the API would: with its artifact type and annotations."""
    fields = referrer.fields
    config = fields.get("config")
    artifact = fields.get("artifactType") or (
        config.get("mediaType") if isinstance(config, dict) else ""
    )
    return {
        "mediaType": referrer.media_type,
        "digest": referrer.digest,
        "size": len(referrer.body),
        **({"artifactType": artifact} if artifact else {}),
        **({"annotations": fields["annotations"]} if fields.get("annotations") else {}),
    }
