"""Tests what a task needs at its destination, and what the bucket's settings will do with the
copies.

The tests leave nothing behind. To test writing, they begin and abort an upload, which never becomes
an object. They write a probe object only if it is certain that it can be deleted again with all its
versions.
"""

import asyncio
import contextlib
import os
from collections.abc import Coroutine, Mapping
from typing import Any
from xml.etree.ElementTree import Element

from dth.core import confinement
from dth.core.checks import CheckState
from dth.core.errors import (
    ConnectionFailed,
    EndpointRefused,
    NotSupported,
    ObjectRefused,
    SourceGone,
    TransferError,
    Transient,
)
from dth.objects.checks import bucket_settings as buckets
from dth.objects.checks import policies
from dth.objects.checks.notes import CheckedSide
from dth.objects.compare.merge import Policy, unholdable
from dth.objects.listing.pages import ListedObject
from dth.objects.parameters import Encryption
from dth.objects.plugin import deletes
from dth.objects.store.endpoints import ChecksumMode
from dth.objects.store.etags import SOURCE_ETAG
from dth.objects.transfer.relay import ObjectRoute

PROBE = (
    b"A probe of Data Transfer Hub. It deletes this object itself; if it is still here, "
    b"delete it.\n"
)
PROBE_TAGS = "dth-preflight=probe"
HEADER_ACTIONS = {"x-amz-tagging": "s3:PutObjectTagging", "x-amz-acl": "s3:PutObjectAcl"}
INSTEAD = {
    "s3:PutObjectTagging": "set copyTags to false: tags are left out then",
    "s3:PutObjectAcl": "take destAcl away",
}
REFUSED_WRITES = {
    "InvalidStorageClass": "the store does not know this class: change destStorageClass",
    "AccessControlListNotSupported": "take destAcl away",
    "InvalidEncryptionAlgorithmError": "change destPutObjectSSEType",
}


class DestChecks(CheckedSide):
    side = "destination"

    def __init__(self, route: ObjectRoute) -> None:
        parameters = route.parameters
        super().__init__(parameters, route.dest, route.keys.to_dest(parameters.src_prefix))
        self.route = route
        self._policy = Policy.ALWAYS if parameters.src_skip_compare else parameters.compare_policy
        self._key = f"{self.prefix}.dth-preflight-{os.urandom(6).hex()}"
        self._settings: dict[str, Element | None] = {}
        # Settings that may not be read.
        self._unread: set[str] = set()
        # Whether uploads can be begun, because they can be aborted again.
        self._uploads = False

    async def probe(self) -> None:
        entries = await self._check_listing()
        for name in buckets.READING:
            await self._read_setting(name)
        self._judge_settings()
        if trouble := unholdable(self._key):
            found = f"the key of a probe {trouble}"
            self.note("PutObject", CheckState.UNKNOWN, found, "give a shorter destPrefix")
            return
        versioned = await self._keeps_versions(entries)
        reason = await self._why_no_object(versioned)
        proven = await self._check_uploading()
        if reason:
            if proven is None:
                found = "not tried, because nothing that is written could be taken away again"
                self.note(
                    "PutObject",
                    CheckState.UNKNOWN,
                    found,
                    "see that it is allowed",
                    self._on_objects("s3:PutObject"),
                )
            self.note("probe object", CheckState.UNKNOWN, f"none was written: {reason}")
            if entries:
                await self._check_head(entries[0].key)
        elif proven is not False:
            await self._check_object(versioned)
        self._note_lessons()

    async def _check_listing(self) -> list[ListedObject]:
        try:
            entries = await self.list_keys(self.prefix)
        except ObjectRefused as error:
            if error.status != 403:
                raise
            statement = policies.on_listing(self.client.endpoint, self.client.bucket, self.prefix)
            if self._policy is Policy.ALWAYS:
                found = "not allowed, and not needed while nothing is compared"
                self.note("ListBucket", CheckState.OK, found)
            else:
                self.lacks(
                    "ListBucket",
                    statement,
                    but="set srcSkipCompare: everything is copied each time then",
                )
            return []
        self.note(
            "ListBucket",
            CheckState.OK,
            f"{f's3://{self.client.bucket}/{self.prefix}'!r} can be listed",
        )
        return entries

    # Settings.

    async def _read_setting(self, name: str) -> None:
        action, meaning = buckets.READING[name]
        self._settings[name] = None
        try:
            self._settings[name] = await self.ask(lambda: self.client.setting(name))
        except NotSupported:
            self.note(name, CheckState.UNKNOWN, f"the store does not tell {meaning}")
        except ConnectionFailed:
            raise
        except (ObjectRefused, Transient) as error:
            self._unread.add(name)
            refused = error.status == 403
            self.note(
                name,
                CheckState.UNKNOWN,
                f"cannot be read ({error.code}): {meaning}",
                "add the statement to have it checked; the task does not need it"
                if refused
                else "try again later",
                policies.on_bucket(self.client.endpoint, self.client.bucket, action)
                if refused
                else None,
            )

    def _judge_settings(self) -> None:
        parameters, settings = self.route.parameters, self._settings
        told = {name for name in settings if not any(check.name == name for check in self.checks)}
        if "versioning" in told:
            self._judge_versioning()
        if "object-lock" in told:
            self._judge_lock()
        if "lifecycle" in told:
            rules = buckets.lifecycle(settings["lifecycle"], self.prefix)
            for rule in rules:
                self.note("lifecycle", CheckState.WARNING, rule, "see that this is meant")
            if not rules:
                self.note("lifecycle", CheckState.OK, "no rule deletes or moves what is copied")
        if "encryption" in told:
            algorithm, key = buckets.encryption(settings["encryption"])
            key = f" with the key {key}" if key else ""
            self.note(
                "encryption",
                CheckState.OK,
                f"by default {algorithm}{key}" if algorithm else "none by default",
            )
        if "ownershipControls" in told:
            if buckets.takes_acls(settings["ownershipControls"]):
                self.note("ownershipControls", CheckState.OK, "the bucket takes ACLs")
            elif parameters.dest_acl in buckets.ACLS_ALWAYS_TAKEN:
                self.note(
                    "ownershipControls",
                    CheckState.OK,
                    "ACLs are disabled, and the task sets none that matters",
                )
            else:
                found = (
                    "ACLs are disabled in the bucket, and the task sets destAcl "
                    f"{parameters.dest_acl}"
                )
                todo = (
                    "take destAcl away, or set the bucket's Object Ownership to "
                    "BucketOwnerPreferred"
                )
                self.note("ownershipControls", CheckState.FAILED, found, todo)

    def _judge_versioning(self) -> None:
        status = buckets.versioning(self._settings["versioning"])
        if status == "Enabled":
            found = "on: what is overwritten or deleted stays as an old version, and is paid for"
            self.note(
                "versioning",
                CheckState.OK,
                found,
                "a lifecycle rule for noncurrent versions removes them in time",
            )
        elif deletes(self.route.parameters):
            found = "off: what the task deletes is gone for good"
            self.note(
                "versioning", CheckState.WARNING, found, "turn versioning on if that must be undone"
            )
        else:
            self.note("versioning", CheckState.OK, "off: what is overwritten is gone")

    def _judge_lock(self) -> None:
        kept = buckets.retention(self._settings["object-lock"])
        if not kept:
            self.note("object-lock", CheckState.OK, "no retention by default")
        elif self.client.capabilities.checksum is ChecksumMode.NONE:
            found = f"every object is kept {kept}, and such a bucket takes none without a checksum"
            self.note(
                "object-lock", CheckState.FAILED, found, "set checksumMode to anything but none"
            )
        else:
            self.note(
                "object-lock",
                CheckState.WARNING,
                f"every copy is kept {kept}: nobody can delete it before",
            )

    # What could prevent deleting a probe again.

    async def _keeps_versions(self, entries: list[ListedObject]) -> bool:
        """Whether the bucket keeps versions. If the setting may not be read, an object in the
        bucket shows it. If nothing shows it, the bucket is assumed to keep them."""
        if "versioning" not in self._unread:
            return buckets.versioning(self._settings["versioning"]) != ""
        try:
            for entry in entries[:1]:
                answer = await self.ask(lambda: self.client.head(entry.key))  # noqa: B023 - awaited here
                return "x-amz-version-id" in answer.headers
        except (SourceGone, ObjectRefused, Transient):
            pass
        return True

    async def _why_no_object(self, versioned: bool) -> str:
        """Why a probe object might stay permanently, as the end of a sentence; "" if it can be
        deleted. Also notes whether the task may delete, as far as this can be determined without an
        object."""
        needed = deletes(self.route.parameters)
        kept = buckets.retention(self._settings["object-lock"])
        if kept:
            reason = f"Object Lock would keep it {kept}"
        elif versioned and "object-lock" in self._unread:
            reason = "whether Object Lock would keep it cannot be read"
        elif versioned:
            # Deleting a version that does not exist leaves no delete marker.
            reason = await self._why_undeletable("s3:DeleteObjectVersion", {"versionId": "null"})
            reason = reason or await self._why_unlisted()
        else:
            reason = await self._why_undeletable("s3:DeleteObject", {})
            if needed and reason.startswith("not allowed"):
                self.lacks(
                    "DeleteObject", self._on_objects("s3:DeleteObject"), but="delete nothing"
                )
                return reason
        if reason and needed:
            found = "not tried, because the probe would leave a trace"
            self.note(
                "DeleteObject",
                CheckState.UNKNOWN,
                found,
                "see that it is allowed",
                self._on_objects("s3:DeleteObject"),
            )
        return reason

    async def _why_undeletable(self, action: str, query: Mapping[str, str]) -> str:
        """Why an object could not be deleted, tested by deleting one that does not exist; "" if it
        could."""
        try:
            await self.ask(lambda: self.client.request("DELETE", self._key, query=query))
        except SourceGone:
            return ""
        except ObjectRefused as error:
            return (
                f"not allowed: {action}"
                if error.status == 403
                else f"it cannot be deleted: {error}"
            )
        except ConnectionFailed:
            raise
        except Transient as error:
            return f"DELETE does not work now: {error}"
        return ""

    async def _why_unlisted(self) -> str:
        """Why versions may not be listed; "" if they may. If the answer to a write is lost, only a
        listing shows which version it created."""
        try:
            await self.ask(lambda: self.client.versions(self._key))
        except ObjectRefused as error:
            return "not allowed: s3:ListBucketVersions" if error.status == 403 else str(error)
        return ""

    # Writing.

    def _on_objects(self, *actions: str) -> policies.Statement:
        return policies.on_objects(self.client.endpoint, self.client.bucket, self.prefix, *actions)

    def _headers(self) -> dict[str, str]:
        """The headers of the task's own requests."""
        headers = {SOURCE_ETAG: "dth-preflight", **self.route.asked_for}
        if self.route.parameters.copy_tags and self.client.capabilities.tags:
            headers["x-amz-tagging"] = PROBE_TAGS
        return headers

    async def _check_uploading(self) -> bool | None:
        """Try to write parts of an upload that never becomes an object. None: it could not be
        tested."""
        try:
            await self.ask(lambda: self.client.abort_upload(self._key, "none"))
        except NotSupported:
            self.note(
                "multipart",
                CheckState.WARNING,
                "the store knows no multipart uploads",
                "raise multipartThreshold",
            )
            return None
        except ObjectRefused as error:
            if error.status == 403:
                self.lacks("AbortMultipartUpload", self._on_objects("s3:AbortMultipartUpload"))
                return None
        self._uploads = True
        refusal = await self._upload(self._headers(), part=True)
        if refusal:
            await self._explain(refusal)
            return False
        self.note(
            "PutObject",
            CheckState.OK,
            "an upload was begun, written to and discarded, with the task's headers",
        )
        return True

    async def _upload(
        self, headers: Mapping[str, str], *, part: bool = False
    ) -> TransferError | None:
        """Begin an upload and abort it. Returns the store's refusal, or None."""
        upload_id, begun = "", 0

        async def begin() -> None:
            nonlocal upload_id, begun
            begun += 1
            upload_id = await self.client.create_upload(self._key, headers)

        refused = False
        try:
            await self.ask(begin)
            if part:
                await self.ask(lambda: self.client.upload_part(self._key, upload_id, 1, [PROBE]))
        except (ObjectRefused, EndpointRefused) as error:
            refused = True
            return error
        finally:
            if not (refused and begun == 1):
                await _finish(self._abort(upload_id))
        return None

    async def _abort(self, upload_id: str) -> None:
        """Abort every upload of the probe's key. A request whose answer was lost may also have
        begun one. libcurl may cause this by repeating a request on a connection that was just
        closed."""
        try:
            found = {upload_id} - {""}
            with contextlib.suppress(ObjectRefused):
                found |= {
                    upload.upload_id
                    for upload in await self.ask(lambda: self.client.uploads(self._key))
                }
            for each in found:
                await self.ask(lambda: self.client.abort_upload(self._key, each))  # noqa: B023 - awaited here
        except TransferError as error:
            name = f"upload {upload_id}" if upload_id else "an upload that may have begun"
            where = f"of the key {self._key!r} in s3://{self.client.bucket}"
            self.note("clean-up", CheckState.FAILED, f"{name} {where} is left: {error}", "abort it")

    async def _explain(self, refusal: TransferError) -> None:
        """Determine what a refused write lacks, and note it."""
        action, resource = policies.denied(refusal)
        parameters = self.route.parameters
        if action.startswith("kms:") or refusal.code.startswith("KMS."):
            key = resource or parameters.dest_put_object_sse_kms_key_id
            key = key or buckets.encryption(self._settings["encryption"])[1]
            statement = policies.on_key(
                self.client.endpoint, key, "kms:GenerateDataKey", "kms:Decrypt"
            )
            if action:
                self.lacks("KMS", statement)
            else:
                self.note(
                    "KMS",
                    CheckState.FAILED,
                    str(refusal),
                    "see that the key is enabled and in the bucket's region",
                )
        elif isinstance(refusal, EndpointRefused):
            raise refusal
        elif refusal.status != 403:
            todo = REFUSED_WRITES.get(refusal.code, "see what the store says, and change the task")
            self.note("PutObject", CheckState.FAILED, str(refusal), todo)
        elif action and "explicit deny" not in refusal.said:
            self._note_missing(action)
        elif demanded := await self._demanded_encryption() if self._uploads else None:
            found = f"the bucket demands encryption {demanded.value}"
            self.note(
                "encryption",
                CheckState.FAILED,
                found,
                f"set destPutObjectSSEType to {demanded.value}",
            )
        elif "explicit deny" in refusal.said:
            found = (
                f"a policy forbids {action or 'writing'} "
                f"explicitly{confinement.foreign(f': {refusal.said}')}"
            )
            self.note(
                "PutObject",
                CheckState.FAILED,
                found,
                "change the policy of the bucket: a statement would not help",
            )
        else:
            missing = await self._refused_headers() if self._uploads else []
            for action in missing or ["s3:PutObject"]:
                self._note_missing(action)

    def _note_missing(self, action: str) -> None:
        self.lacks(
            action.removeprefix("s3:"), self._on_objects(action), but=INSTEAD.get(action, "")
        )

    async def _refused_headers(self) -> list[str]:
        """The actions whose lack makes the store refuse the task's headers, if a write without
        those headers succeeds."""
        headers = self._headers()
        carried = [(name, action) for name, action in HEADER_ACTIONS.items() if name in headers]
        for left_out in ([one] for one in carried):
            if not await self._upload(_without(headers, left_out)):
                return [action for _, action in left_out]
        if len(carried) > 1 and not await self._upload(_without(headers, carried)):
            return [action for _, action in carried]
        return []

    async def _demanded_encryption(self) -> Encryption | None:
        """The encryption that the bucket requires, if a write that asks for it succeeds; None
        otherwise."""
        if self.route.parameters.dest_put_object_sse_type is not Encryption.NONE:
            return None
        for kind, value in ((Encryption.AES256, "AES256"), (Encryption.AWS_KMS, "aws:kms")):
            if not await self._upload({**self._headers(), "x-amz-server-side-encryption": value}):
                return kind
        return None

    # The probe object.

    async def _check_object(self, versioned: bool) -> None:
        """Write an object as the task would, look at it, and delete it."""
        versions: set[str] = set()
        answered = False
        try:
            written = await self.ask(lambda: self.client.put(self._key, [PROBE], self._headers()))
            answered = True
            versions.add(written.version)
            self.note(
                "probe object", CheckState.OK, "an object was written as the task will write them"
            )
            await self._check_head(self._key)
            if deletes(self.route.parameters):
                await self._check_delete(versions)
        except ConnectionFailed:
            raise
        except (ObjectRefused, EndpointRefused) as error:
            answered = True
            await self._explain(error)
        except Transient as error:
            self.note(
                "probe object",
                CheckState.UNKNOWN,
                f"it could not be written: {error}",
                "try again later",
            )
        finally:
            await _finish(self._clean(versions - {""}, versioned, answered))

    async def _check_head(self, key: str) -> None:
        """Check that objects in the bucket can be read (HEAD), as comparing does."""
        try:
            await self.ask(lambda: self.client.head(key))
        except SourceGone:
            self.note(
                "GetObject",
                CheckState.UNKNOWN,
                "what was written cannot be seen at once",
                "try again later",
            )
        except ObjectRefused as error:
            if error.status != 403:
                raise
            needed = self._policy in (Policy.ETAG, Policy.CHECKSUM, Policy.CONTENT)
            self.lacks(
                "GetObject",
                self._on_objects("s3:GetObject"),
                state=CheckState.FAILED if needed else CheckState.WARNING,
                but="compare by size+time" if needed else "",
            )
        else:
            self.note("GetObject", CheckState.OK, "objects there can be read")

    async def _check_delete(self, versions: set[str]) -> None:
        try:
            answer = await self.ask(lambda: self.client.request("DELETE", self._key))
        except SourceGone:
            # Deleted by an attempt whose answer was lost.
            self.note("DeleteObject", CheckState.OK, "objects there can be deleted")
        except ObjectRefused as error:
            if error.status != 403:
                raise
            self.lacks("DeleteObject", self._on_objects("s3:DeleteObject"), but="delete nothing")
        else:
            versions.add(answer.headers.get("x-amz-version-id", ""))
            self.note("DeleteObject", CheckState.OK, "objects there can be deleted")

    async def _clean(self, versions: set[str], versioned: bool, answered: bool) -> None:
        """Delete the probe object with all its versions, and check that nothing is left."""
        problem = ""
        try:
            if versioned or versions:
                await self._delete_versions(versions)
            else:
                await self.ask(lambda: self.client.delete(self._key))
        except TransferError as error:
            problem = str(error)
        left = await self._left(versioned or bool(versions), bool(problem))
        where = f"{self._key!r} in s3://{self.client.bucket}"
        if left:
            why = f" ({problem})" if problem else ""
            self.note(
                "clean-up",
                CheckState.FAILED,
                f"the probe object {where} {left}{why}",
                "delete that object",
            )
        elif answered:
            self.note("clean-up", CheckState.OK, "the probe object is gone")
        else:
            found = (
                f"the probe object {where} is gone, but a write of it without an answer may "
                "still arrive"
            )
            self.note("clean-up", CheckState.WARNING, found, "look for that object later")

    async def _delete_versions(self, versions: set[str]) -> None:
        # Otherwise the known versions have to be enough.
        with contextlib.suppress(ObjectRefused):
            versions = versions | set(await self.ask(lambda: self.client.versions(self._key)))
        for version in sorted(versions):
            query = {"versionId": version}
            await self.ask(lambda: self.client.request("DELETE", self._key, query=query))  # noqa: B023 - awaited here

    async def _left(self, versioned: bool, doubtful: bool) -> str:
        """What is left of the probe, as the end of a sentence about it; "" if nothing is left."""
        try:
            if versioned:
                try:
                    found = await self.ask(lambda: self.client.versions(self._key))
                    return f"is left, with the versions {', '.join(found)}" if found else ""
                except ObjectRefused:
                    pass
            await self.ask(lambda: self.client.head(self._key))
        except SourceGone:
            return ""
        except TransferError:
            return "may be left" if doubtful else ""
        return "is left"

    def _note_lessons(self) -> None:
        """Note what the store was found not to support, and the task will omit."""
        for note in self.client.capabilities.notes:
            self.note("store", CheckState.WARNING, note)


def _without(headers: Mapping[str, str], left_out: list[tuple[str, str]]) -> dict[str, str]:
    names = {name for name, _ in left_out}
    return {name: value for name, value in headers.items() if name not in names}


async def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Complete the work, even if the caller is cancelled in the meantime."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
