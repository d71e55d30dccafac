"""What became of a task's objects and images: runs, records, failures, certificates."""

import json
from dataclasses import asdict
from typing import Any

from dth.hub import certificate
from dth.hub.advice import advice
from dth.hub.api.door import Answer, Call, empty_at_first, query
from dth.hub.api.text import iso, text_of, within
from dth.platforms.ports import ImageRecord, Record, Status

MAX_RUNS = 100
MAX_RECORDS = 1000


@query()
@empty_at_first(list)
async def list_runs(call: Call, *, id: str, count: int = 20) -> Answer:
    await call.ports.tasks.get(id)
    async with call.ports.engine.open(id) as platform:
        runs = await platform.records.list_runs(within("count", count, MAX_RUNS))
    return [
        {
            "id": run.id,
            "kind": run.kind.value,
            "state": run.state.value,
            "startedAt": iso(run.started),
            "endedAt": iso(run.ended),
            "error": run.error,
            "notes": run.notes,
            "counts": asdict(run.counts),
        }
        for run in runs
    ]


@query()
@empty_at_first(lambda: {"items": [], "nextToken": None})
async def list_records(
    call: Call, *, id: str, status: str | None = None, prefix: str | None = None, reason: str | None = None,
    run: int | None = None, limit: int = 100, next_token: str | None = None,
) -> Answer:  # fmt: skip
    await call.ports.tasks.get(id)
    most = within("limit", limit, MAX_RECORDS)
    async with call.ports.engine.open(id) as platform:
        records = await platform.records.page(
            run=run,
            status=Status(status) if status else None,
            prefix=prefix or "",
            reason=reason or "",
            after=next_token or "",
            limit=most,
        )
    return {
        "items": [_record(record) for record in records],
        "nextToken": text_of(records[-1].key) if len(records) == most else None,
    }


@query()
@empty_at_first(lambda: {"items": [], "nextToken": None})
async def list_images(
    call: Call, *, id: str, run: int | None = None, status: str | None = None, prefix: str | None = None,
    reason: str | None = None, limit: int = 100, next_token: str | None = None,
) -> Answer:  # fmt: skip
    await call.ports.tasks.get(id)
    most = within("limit", limit, MAX_RECORDS)
    async with call.ports.engine.open(id) as platform:
        images = await platform.images.page(
            run,
            status=Status(status) if status else None,
            prefix=prefix or "",
            reason=reason or "",
            after=next_token or "",
            limit=most,
        )
    return {
        "items": [_image(image) for image in images],
        "nextToken": images[-1].key if len(images) == most else None,
    }


@query()
@empty_at_first(list)
async def image_history(call: Call, *, id: str, key: str) -> Answer:
    await call.ports.tasks.get(id)
    async with call.ports.engine.open(id) as platform:
        return [_image(image) for image in await platform.images.history(key)]


@query()
@empty_at_first(list)
async def failure_groups(call: Call, *, id: str) -> Answer:
    await call.ports.tasks.get(id)
    async with call.ports.engine.open(id) as platform:
        groups = await platform.records.failure_groups()
    return [
        {
            "reason": group.reason,
            "count": group.count,
            "detail": group.detail,
            "keys": [text_of(key) for key in group.keys],
            "advice": advice(group.reason),
        }
        for group in groups
    ]


@query()
async def get_certificate(call: Call, *, id: str, run: int) -> Answer:
    task = await call.ports.tasks.get(id)
    async with call.ports.engine.open(id) as platform:
        found = await platform.records.get_run(run)
        records = platform.records.scan(run=run)
        return json.dumps(await certificate.issue(task, found, records, await call.ports.signing_key()))


def _record(record: Record) -> dict[str, Any]:
    return {
        "key": text_of(record.key),
        "status": record.status.value,
        "run": record.run,
        "etag": record.etag,
        "size": record.size,
        "destEtag": record.dest_etag,
        "proof": record.proof,
        "verified": record.verified.value,
        "attempts": record.attempts,
        "reason": record.reason,
        "detail": record.detail,
        "updatedAt": iso(record.updated),
    }


def _image(image: ImageRecord) -> dict[str, Any]:
    return {
        "key": image.key,
        "run": image.run,
        "source": image.source,
        "status": image.status.value,
        "sourceDigest": image.source_digest,
        "destDigest": image.dest_digest,
        "size": image.size,
        "moved": image.moved,
        "skipped": max(0, image.size - image.moved),
        "seconds": image.seconds,
        "attempts": image.attempts,
        "reason": image.reason,
        "detail": image.detail,
        "platforms": [each for each in image.platforms.split(",") if each],
        "about": image.about,
        "endedAt": iso(image.ended),
    }
