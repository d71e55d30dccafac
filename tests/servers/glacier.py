"""A store with archived objects: chosen keys of a real store are in GLACIER until a test restores
them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .proxy import Action, Proxy, Reply, Request, Response

if TYPE_CHECKING:
    from .s3 import S3Server

_EXPIRY_HEADER = "Fri, 31 Dec 2100 00:00:00 GMT"
_EXPIRY_XML = "2100-12-31T00:00:00.000Z"
_LISTING_WORDS = {"list-type", "prefix", "marker", "max-keys", "encoding-type", "delimiter"}
_SUBRESOURCES = {"tagging", "acl", "attributes", "uploads", "uploadId"}


@dataclass
class _Archived:
    """One archived object."""

    storage_class: str
    restore: str = ""
    """Empty, then "ongoing", then "done"."""


class Glacier(Proxy):
    """Behaves as S3 does for archived objects; all else passes through to the store that holds the
    contents.

    `requests`, `rule` and the rest of `Proxy` are there too.
    """

    def __init__(self, upstream: S3Server) -> None:
        self._archived: dict[tuple[str, str], _Archived] = {}
        super().__init__(upstream)
        self.rule(_Archive(self._archived))

    def archive(self, bucket: str, *keys: str, storage_class: str = "GLACIER") -> None:
        """Put these objects, which the store already holds, into an archive class."""
        for key in keys:
            self._archived[bucket, key] = _Archived(storage_class)

    def restore_asked(self, bucket: str, key: str) -> bool:
        """Whether somebody asked for a restore that has not finished."""
        return self._archived[bucket, key].restore == "ongoing"

    def finish_restore(self, bucket: str, key: str) -> None:
        """Make the restored copy readable, as S3 does hours after it was asked to."""
        self._archived[bucket, key].restore = "done"

    def expire_restore(self, bucket: str, key: str) -> None:
        """Take the restored copy away again."""
        self._archived[bucket, key].restore = ""

    def clear(self) -> None:
        super().clear()
        self.rule(_Archive(self._archived))


class _Archive(Action):
    """What S3 does differently for archived objects."""

    def __init__(self, archived: dict[tuple[str, str], _Archived]) -> None:
        self._archived = archived

    async def request(self, request: Request) -> Reply | None:
        source = unquote(request.headers.get("x-amz-copy-source") or "").lstrip("/")
        if source:
            bucket, _, key = source.partition("/")
            state = self._archived.get((bucket, key))
            return _refusal(state) if state is not None and state.restore != "done" else None

        state = self._archived.get((request.bucket, request.key))
        if state is None:
            return None
        words = _words(request.query)
        if request.method == "POST" and "restore" in words:
            return _begin_restore(state)
        if request.method == "GET" and state.restore != "done" and not words & _SUBRESOURCES:
            return _refusal(state)
        if request.method in ("PUT", "DELETE") and not words & _SUBRESOURCES:
            # Overwritten or deleted: whatever is there afterwards is a new object.
            del self._archived[request.bucket, request.key]
        return None

    async def response(self, request: Request, response: Response) -> None:
        if response.status >= 300 or request.method not in ("GET", "HEAD"):
            return
        state = self._archived.get((request.bucket, request.key))
        if state is not None:
            response.headers.set("x-amz-storage-class", state.storage_class)
            if state.restore == "ongoing":
                response.headers.set("x-amz-restore", 'ongoing-request="true"')
            elif state.restore == "done":
                value = f'ongoing-request="false", expiry-date="{_EXPIRY_HEADER}"'
                response.headers.set("x-amz-restore", value)
        words = _words(request.query)
        if request.method == "GET" and not request.key and (not words or words & _LISTING_WORDS):
            response.replace(self._rewrite(request, (await response.read()).decode()).encode())

    def _rewrite(self, request: Request, listing: str) -> str:
        encoded = "encoding-type=url" in request.query
        wants_status = "RestoreStatus" in (
            request.headers.get("x-amz-optional-object-attributes") or ""
        )

        def rewrite(entry: re.Match[str]) -> str:
            key = re.search(r"<Key>(.*?)</Key>", entry[0], re.DOTALL)
            if key is None:
                return entry[0]
            name = unquote(key[1]) if encoded else key[1]
            state = self._archived.get((request.bucket, name))
            if state is None:
                return entry[0]
            storage_class = f"<StorageClass>{state.storage_class}</StorageClass>"
            status = _restore_status(state) if wants_status else ""
            return re.sub(r"<StorageClass>\w*</StorageClass>", storage_class + status, entry[0])

        return re.sub(r"<Contents>.*?</Contents>", rewrite, listing, flags=re.DOTALL)


def _words(query: str) -> set[str]:
    return {part.partition("=")[0] for part in query.split("&")} - {""}


def _begin_restore(state: _Archived) -> Reply:
    if state.restore == "ongoing":
        return Reply(409, "RestoreAlreadyInProgress", "Object restore is already in progress")
    if state.restore == "done":
        return Reply(200)  # the copy is kept for longer
    state.restore = "ongoing"
    return Reply(202)


def _restore_status(state: _Archived) -> str:
    if not state.restore:
        return ""
    expiry = (
        f"<RestoreExpiryDate>{_EXPIRY_XML}</RestoreExpiryDate>" if state.restore == "done" else ""
    )
    in_progress = "true" if state.restore == "ongoing" else "false"
    return f"<RestoreStatus><IsRestoreInProgress>{in_progress}</IsRestoreInProgress>{expiry}</RestoreStatus>"


def _refusal(state: _Archived) -> Reply:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InvalidObjectState</Code>'
        "<Message>The operation is not valid for the object's storage class</Message>"
        f"<StorageClass>{state.storage_class}</StorageClass><RequestId>4442587FB7D0A2F9</RequestId></Error>"
    )
    return Reply(403, "InvalidObjectState", body=body.encode())
