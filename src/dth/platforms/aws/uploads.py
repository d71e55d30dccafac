"""The records of giant uploads and their parts. A change of state is one conditional write, so only
one caller succeeds.

A live upload is an item of the state table, with `upload` and its key, so that listing live uploads
reads nothing else. When an upload ends, its item becomes `ended`, and its parts are deleted:

    {"pk": "upload", "sk": KEY, "state": "UPLOADING", "upload_id": ..., "parts": 12,
     "parts_done": 3, ...}
    {"UploadId": ..., "PartNumber": 4, "ETag": ..., "Checksum": ..., "Attempts": 1}
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dth.core.ports.queue import Outgoing
from dth.core.ports.status import Verified
from dth.core.ports.uploads import GiantUpload, Part, UploadState
from dth.platforms.aws.client import unbroken
from dth.platforms.aws.dynamo import Dynamo, TransactItem
from dth.platforms.aws.items import Item, key_extra, key_of, key_text
from dth.platforms.aws.queue import AwsQueue

# Seconds that an ended upload is remembered: as long as its messages may last.
KEPT = 14 * 86_400

THIS = "#upload_id = :upload_id"
UPLOADING = f"#state = :uploading AND {THIS}"


class AwsUploads:
    """`ports.Uploads` over DynamoDB. Tables are written before messages are sent: a crash in
    between leaves an upload whose parts the controller sends again."""

    def __init__(self, dynamo: Dynamo, queue: AwsQueue) -> None:
        self._dynamo = dynamo
        self._queue = queue

    async def intend(self, upload: GiantUpload) -> bool:
        intent = GiantUpload(
            upload.key,
            upload.run,
            upload.etag,
            upload.size,
            upload.part_size,
            begun=upload.begun or time.time(),
            attempts=upload.attempts,
            sequencer=upload.sequencer,
            source_part=upload.source_part,
        )
        item = _head(intent)
        return await self._dynamo.put(
            "state", item, "attribute_not_exists(#pk) OR #token = :token", item
        )

    async def start(
        self, key: str, upload_id: str, parts: Sequence[Part], messages: Sequence[Outgoing]
    ) -> bool:
        return await unbroken(self._start(key, upload_id, parts, messages))

    async def _start(
        self, key: str, upload_id: str, parts: Sequence[Part], messages: Sequence[Outgoing]
    ) -> bool:
        await self._dynamo.write_many("parts", [_part_item(upload_id, part) for part in parts])
        begun = await self._change(
            key,
            (
                "SET #state = :uploading, #upload_id = :upload_id, #parts = :parts, #parts_done = "
                ":done, #modified = :now"
            ),
            f"(#state = :intent AND attribute_not_exists(#upload_id)) OR ({UPLOADING})",
            upload_id,
            {"parts": len(parts), "done": sum(1 for part in parts if part.etag)},
        )
        if not begun:
            await self._forget_parts(upload_id)
            return False
        await self._queue.send(messages)
        return True

    async def get(self, key: str) -> GiantUpload | None:
        keys = [{"pk": pk, "sk": key_text(key)} for pk in ("upload", "ended")]
        found = {item["pk"]: item for item in await self._dynamo.get_many("state", keys)}
        item = found.get("upload") or found.get("ended")
        return _upload(item) if item else None

    async def parts(self, key: str) -> list[Part]:
        upload = await self._live(key)
        return await self._parts(upload.upload_id) if upload and upload.upload_id else []

    async def part_done(self, key: str, upload_id: str, part: Part) -> GiantUpload | None:
        """Store the part and increase the count of parts done, in one transaction. If a part is
        uploaded twice, the store keeps the last bytes and expects the last ETag."""
        return await unbroken(self._part_done(key, upload_id, part))

    async def _part_done(self, key: str, upload_id: str, part: Part) -> GiantUpload | None:
        written = TransactItem(
            "parts",
            {"UploadId": upload_id, "PartNumber": part.number},
            update="SET #ETag = :etag, #Checksum = :checksum, #Attempts = :attempts, #Verified "
            "= :verified, #Digests = :digests",
            condition="attribute_not_exists(#ETag)",
            values={
                "etag": part.etag,
                "checksum": part.checksum,
                "attempts": part.attempts,
                "verified": part.verified.value,
                "digests": part.digests,
            },
        )
        head = TransactItem("state", _key(key), condition=UPLOADING, values=_states(upload_id))
        head.update, head.values = (
            "SET #modified = :now ADD #parts_done :one",
            {**head.values, "one": 1},
        )
        codes = await self._dynamo.transact([written, head])
        if codes and codes[1] == "None":  # it was done before
            written.condition, head.update = "", ""
            codes = await self._dynamo.transact([written, head])
        upload = await self._live(key)
        return upload if not codes and upload and upload.upload_id == upload_id else None

    async def claim(self, key: str, upload_id: str, owner: str, lease: float) -> bool:
        now, token = time.time(), random.getrandbits(48)
        return await self._change(
            key,
            "SET #state = :completing, #owner = :owner, #lease_until = :until, #claim = :claim",
            f"{THIS} AND (#state = :uploading OR (#state = :completing AND "
            "(#lease_until <= :now OR #claim = :claim)))",
            upload_id,
            {"owner": owner, "until": now + lease, "claim": token},
        )

    async def unclaim(self, key: str, upload_id: str, owner: str) -> None:
        await self._change(
            key,
            "SET #state = :uploading REMOVE #owner, #lease_until, #claim",
            f"{THIS} AND #state = :completing AND #owner = :owner",
            upload_id,
            {"owner": owner},
        )

    async def end(self, key: str, upload_id: str, state: UploadState) -> bool:
        return await unbroken(self._end(key, upload_id, state))

    async def _end(self, key: str, upload_id: str, state: UploadState) -> bool:
        upload = await self._live(key)
        if upload is None or upload.upload_id != upload_id:
            return False
        upload.state, upload.modified = state, time.time()
        ended = {**_head(upload), "pk": "ended", "expires": int(time.time()) + KEPT}
        condition = (
            THIS if upload_id else "attribute_exists(#pk) AND attribute_not_exists(#upload_id)"
        )
        gone = TransactItem(
            "state", _key(key), delete=True, condition=condition, values={"upload_id": upload_id}
        )
        if await self._dynamo.transact([gone, TransactItem("state", item=ended)]):
            return False
        if upload_id:
            await self._forget_parts(upload_id)
        return True

    async def live(self) -> list[GiantUpload]:
        return [
            _upload(item)
            async for item in self._dynamo.query("state", "#pk = :pk", {"pk": "upload"})
        ]

    async def resend(self, key: str, messages: Sequence[Outgoing]) -> None:
        """Messages in the queue cannot be listed: the caller has checked that it was empty, and a
        copy does no harm."""
        await self._queue.send(messages)

    # -------------------------------------------------------------------------------------- details

    async def _live(self, key: str) -> GiantUpload | None:
        item = await self._dynamo.get("state", _key(key))
        return _upload(item) if item else None

    async def _change(
        self, key: str, update: str, condition: str, upload_id: str, values: Mapping[str, Any]
    ) -> bool:
        every = {**_states(upload_id), **values}
        return (await self._dynamo.update("state", _key(key), update, condition, every)).ok

    async def _parts(self, upload_id: str) -> list[Part]:
        found = self._dynamo.query("parts", "#UploadId = :id", {"id": upload_id})
        return [
            Part(
                item["PartNumber"],
                item.get("ETag", ""),
                item.get("Checksum", ""),
                item.get("Attempts", 0),
                Verified(item.get("Verified", "")),
                item.get("Digests", ""),
            )
            async for item in found
        ]

    async def _forget_parts(self, upload_id: str) -> None:
        numbers = [part.number for part in await self._parts(upload_id)]
        await self._dynamo.write_many(
            "parts", deletes=[{"UploadId": upload_id, "PartNumber": number} for number in numbers]
        )


def _states(upload_id: str) -> dict[str, Any]:
    """Values for the conditions."""
    return {
        "intent": UploadState.INTENT.value,
        "uploading": UploadState.UPLOADING.value,
        "completing": UploadState.COMPLETING.value,
        "upload_id": upload_id,
        "now": time.time(),
    }


def _key(key: str) -> Item:
    return {"pk": "upload", "sk": key_text(key)}


def _head(upload: GiantUpload) -> Item:
    values = asdict(upload) | {"state": upload.state.value, **key_extra(upload.key)}
    del values["key"]
    if upload.sequencer is not None:
        # Never empty: an empty value would be left out.
        values["sequencer"] = f"={upload.sequencer}"
    return {**_key(upload.key), **values, "token": f"{random.getrandbits(64):x}"}


def _upload(item: Item) -> GiantUpload:
    names = GiantUpload.__dataclass_fields__.keys() - {"key", "state"}
    values = {name: item[name] for name in names if name in item}
    if "sequencer" in values:
        values["sequencer"] = values["sequencer"][1:]
    return GiantUpload(key=key_of(item, "sk"), state=UploadState(item["state"]), **values)


def _part_item(upload_id: str, part: Part) -> Item:
    return {
        "UploadId": upload_id,
        "PartNumber": part.number,
        "ETag": part.etag,
        "Checksum": part.checksum,
        "Attempts": part.attempts,
        "Verified": part.verified.value,
        "Digests": part.digests,
    }
