"""Tests what a task needs at its source: listing, reading, tags, and the lists that name what to
copy."""

import asyncio
import json
from pathlib import Path

from dth.core.checks import CheckState
from dth.core.errors import NotSupported, ObjectChanged, ObjectRefused, SourceGone, TransferError
from dth.core.transport import Response
from dth.objects.checks import policies
from dth.objects.checks.notes import CheckedSide
from dth.objects.listing.filters import build
from dth.objects.listing.lists import listed_object, local_list, missing
from dth.objects.listing.pages import ListedObject, is_archived
from dth.objects.task import object_filter
from dth.objects.transfer.relay import ObjectRoute

SAMPLES = 3  # source objects read
# Bytes read from a prefix list or manifest.
HEAD_OF_LIST = 64 * 1024


class SourceChecks(CheckedSide):
    side = "source"

    def __init__(self, route: ObjectRoute) -> None:
        super().__init__(route.parameters, route.source, route.parameters.src_prefix)
        self.route = route

    async def probe(self) -> None:
        prefix = await self._check_lists()
        entries = await self._check_listing(prefix)
        keep = build(object_filter(self.route.parameters), self.prefix)
        kept = [entry for entry in entries if keep is None or keep(entry)]
        readable = [entry for entry in kept if not is_archived(entry)]
        if entries and not kept:
            self.note(
                "filters",
                CheckState.WARNING,
                f"none of the first {len(entries)} keys passes the task's filters",
            )
        self._check_restoring(len(kept) - len(readable))
        await self._check_reading(readable)

    async def _check_listing(self, prefix: str) -> list[ListedObject]:
        parameters, endpoint = self.route.parameters, self.client.endpoint
        try:
            entries = await self.list_keys(prefix)
        except ObjectRefused as error:
            if error.status != 403:
                raise
            named = parameters.src_manifest or parameters.src_inventory
            self.lacks(
                "ListBucket",
                policies.on_listing(endpoint, self.client.bucket, self.prefix),
                state=CheckState.WARNING if named else CheckState.FAILED,
                but="live with it: an object of the list that is gone counts as failed then"
                if named
                else "",
            )
            return []
        where = f"s3://{self.client.bucket}/{prefix}"
        if entries:
            self.note("ListBucket", CheckState.OK, f"{where!r} can be listed")
        else:
            self.note(
                "ListBucket",
                CheckState.WARNING,
                f"there is nothing at {where!r}",
                "see that srcPrefix is right",
            )
        return entries

    def _check_restoring(self, archived: int) -> None:
        parameters = self.route.parameters
        if parameters.restore_archived:
            statement = policies.on_objects(
                self.client.endpoint, self.client.bucket, self.prefix, "s3:RestoreObject"
            )
            self.note(
                "RestoreObject",
                CheckState.UNKNOWN,
                "not tried, because a restore costs money",
                "see that the statement is allowed",
                statement,
            )
        elif archived:
            found = f"{archived} of the first keys are archived, and cannot be read"
            self.note(
                "archived", CheckState.WARNING, found, "set restoreArchived to have them restored"
            )

    async def _check_reading(self, entries: list[ListedObject]) -> None:
        read = 0
        tags = ""
        for entry in entries[:SAMPLES]:
            try:
                answer = await self._read(entry)
            except (SourceGone, ObjectChanged):
                # The object is changing at the moment.
                continue
            except ObjectRefused as error:
                self._note_unreadable(entry, error)
                return
            read += 1
            tags = tags or (
                entry.key if answer.headers.get("x-amz-tagging-count", "0") != "0" else ""
            )
            charged = "x-amz-request-charged" in answer.headers
        if not read:
            self.note(
                "GetObject", CheckState.UNKNOWN, "there is no object at hand that could be read now"
            )
            return
        self.note("GetObject", CheckState.OK, f"{read} objects were read")
        if self.route.parameters.is_payer_request:
            found = (
                "reading is charged to us"
                if charged
                else "the bucket does not charge those who read"
            )
            self.note("requester pays", CheckState.OK, found)
        if self.route.parameters.copy_tags and self.route.dest.capabilities.tags:
            await self._check_tags(tags or entries[0].key, tagged=bool(tags))

    async def _read(self, entry: ListedObject) -> Response:
        span = (0, 0) if entry.size else None
        return await self.ask(
            lambda: self.client.get(entry.key, size=entry.size, etag=entry.etag, span=span)
        )

    def _note_unreadable(self, entry: ListedObject, error: TransferError) -> None:
        endpoint, bucket = self.client.endpoint, self.client.bucket
        action, resource = policies.denied(error)
        if action == "kms:Decrypt":
            self.lacks("KMS", policies.on_key(endpoint, resource, action))
        elif error.status == 403:
            self.lacks(
                "GetObject",
                policies.on_objects(endpoint, bucket, self.prefix, "s3:GetObject"),
                but=""
                if endpoint.requester_pays
                else "set isPayerRequest if who reads the bucket has to pay",
            )
        else:
            self.note("GetObject", CheckState.FAILED, str(error), "see what the store says")

    async def _check_tags(self, key: str, *, tagged: bool) -> None:
        try:
            await self.ask(lambda: self.client.tags(key))
        except SourceGone:
            return
        except NotSupported:
            self.note("tags", CheckState.OK, "the store knows no tags")
        except ObjectRefused:
            # A store does not show tags to callers that may not read them, so the tags would be
            # lost silently.
            self.lacks(
                "GetObjectTagging",
                policies.on_objects(
                    self.client.endpoint, self.client.bucket, self.prefix, "s3:GetObjectTagging"
                ),
                state=CheckState.FAILED if tagged else CheckState.WARNING,
                but="set copyTags to false: tags are left out then",
            )
        else:
            self.note("GetObjectTagging", CheckState.OK, "tags can be read")

    # The lists of what to copy.

    async def _check_lists(self) -> str:
        """Check that the task's prefix list, manifest or inventory can be read. Returns the first
        prefix to list."""
        parameters = self.route.parameters
        if parameters.src_prefixs_list_file:
            text = await self._head_of(
                parameters.src_prefixs_list_file, parameters.src_prefix_list_bucket
            )
            lines = (
                line.removesuffix("\r") for line in text.decode("utf-8", "replace").split("\n")
            )
            return next(
                (
                    line if line.startswith(self.prefix) else self.prefix
                    for line in lines
                    if line.strip()
                    and (line.startswith(self.prefix) or self.prefix.startswith(line))
                ),
                self.prefix,
            )
        if parameters.src_manifest:
            await self._head_of(parameters.src_manifest, "")
        elif parameters.src_inventory:
            await self._check_inventory(parameters.src_inventory)
        return self.prefix

    async def _head_of(self, place: str, bucket: str, limit: int = HEAD_OF_LIST) -> bytes:
        """The beginning of a local file, or of an object at the source. If it cannot be read, this
        is noted and the result is empty."""
        if path := await asyncio.to_thread(local_list, place, bucket):
            return await self._head_of_file(path, limit)
        bucket, key = listed_object(place, bucket or self.client.bucket)
        client, where = self.client.for_bucket(bucket), f"s3://{bucket}/{key}"
        headers = {"range": f"bytes=0-{limit - 1}"} if limit else {}
        try:
            body = (await self.ask(lambda: client.request("GET", key, headers=headers))).body
        except SourceGone:
            self.note("list", CheckState.FAILED, missing(bucket, key), "correct its name")
            return b""
        except ObjectChanged:
            # The range of an empty object.
            body = b""
        except ObjectRefused as error:
            if error.status != 403:
                raise
            self.lacks("list", policies.on_objects(client.endpoint, bucket, key, "s3:GetObject"))
            return b""
        self._note_list(where, body)
        return body

    async def _head_of_file(self, path: Path, limit: int) -> bytes:
        def read() -> bytes:
            with path.open("rb") as file:
                return file.read(limit or -1)

        try:
            body = await asyncio.to_thread(read)
        except OSError as error:
            self.note(
                "list",
                CheckState.FAILED,
                f"{path} cannot be read: {error.strerror}",
                "see who may read it",
            )
            return b""
        self._note_list(str(path), body)
        return body

    def _note_list(self, where: str, body: bytes) -> None:
        if body.strip():
            self.note("list", CheckState.OK, f"{where!r} can be read")
        else:
            self.note(
                "list",
                CheckState.WARNING,
                f"{where!r} is empty: nothing will be copied",
                "see that it is right",
            )

    async def _check_inventory(self, place: str) -> None:
        manifest = await self._head_of(place, "", limit=0)
        if not manifest:
            return
        try:
            files = [str(file["key"]) for file in json.loads(manifest)["files"]]
        except (ValueError, KeyError, TypeError):
            found = f"{place!r} is not a manifest.json of an S3 Inventory report"
            self.note("inventory", CheckState.FAILED, found, "correct srcInventory")
            return
        if files:
            bucket, _ = listed_object(place, self.client.bucket)
            await self._head_of(f"s3://{bucket}/{files[0]}", "", limit=1)
