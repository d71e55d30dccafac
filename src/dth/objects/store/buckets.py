"""Requests about the bucket itself: whether it exists, and its settings."""

from xml.etree import ElementTree

from dth.core.errors import NotSupported, SourceGone
from dth.core.transport import Response
from dth.objects.store.answers import parse_xml
from dth.objects.store.base import Requests
from dth.objects.store.key_lists import of_key
from dth.objects.store.request import Request

# The query of each setting, and the root element of its answer.
SETTINGS = {
    "versioning": "VersioningConfiguration",
    "object-lock": "ObjectLockConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "encryption": "ServerSideEncryptionConfiguration",
    "ownershipControls": "OwnershipControls",
}


class Bucket(Requests):
    """Requests about the bucket."""

    async def head_bucket(self) -> Response:
        """HEAD of the bucket. Raises TransferError if it does not exist or may not be read."""
        return await self.send(Request("HEAD"))

    async def setting(self, name: str) -> ElementTree.Element | None:
        """A setting of the bucket (one of `SETTINGS`), with element names without namespaces; None
        if it is not set. Raises NotSupported if the store answers something else."""
        try:
            response = await self.send(Request("GET", query={name: ""}))
        except SourceGone:
            return None
        root = parse_xml(response.body)
        if root.tag != SETTINGS[name]:
            # The store does not know this query, and lists the bucket.
            raise NotSupported(
                f"GET {self.endpoint.host}/{self.bucket}: no {name} in the answer",
                code="NotImplemented",
                status=501,
            )
        return root

    async def versions(self, key: str) -> list[str]:
        """The ids of all versions and delete markers of exactly this key."""
        return [item.findtext("VersionId") or "" async for item in of_key(self, "versions", key)]
