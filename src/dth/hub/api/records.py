"""Runs, records, failures and certificates of a task's objects and images."""

import json
from dataclasses import asdict
from functools import partial
from typing import Any, Self

from dth.core.ports.images import ImageRecord
from dth.core.ports.records import FailureGroup, Record
from dth.core.ports.runs import Run, RunKind, RunState
from dth.core.ports.status import Status, Verified
from dth.hub import certificate
from dth.hub.advice import advice
from dth.hub.api.answers import answers
from dth.hub.api.jobs import JobAnswer
from dth.hub.api.resolve import Call, empty_at_first, mutation, query
from dth.hub.api.text import cursor, iso, key_of, text_of, within
from dth.hub.model import Role, Task
from dth.hub.ports import HubPorts

MAX_RUNS = 100
MAX_RECORDS = 1000


@answers("Run")
class RunAnswer:
    id: int
    kind: RunKind
    state: RunState
    started_at: str | None
    ended_at: str | None
    error: str
    notes: list[str]
    # Keyed by the field names of `Counts`, which the schema uses unchanged.
    counts: dict[str, int]

    @classmethod
    def of(cls, run: Run) -> Self:
        return cls(
            id=run.id,
            kind=run.kind,
            state=run.state,
            started_at=iso(run.started),
            ended_at=iso(run.ended),
            error=run.error,
            notes=run.notes,
            counts=asdict(run.counts),
        )


@answers("Record")
class RecordAnswer:
    key: str
    status: Status
    run: int
    etag: str
    size: int
    dest_etag: str
    proof: str
    verified: Verified
    attempts: int
    reason: str
    detail: str
    updated_at: str | None

    @classmethod
    def of(cls, record: Record) -> Self:
        return cls(
            key=text_of(record.key),
            status=record.status,
            run=record.run,
            etag=record.etag,
            size=record.size,
            dest_etag=record.dest_etag,
            proof=record.proof,
            verified=record.verified,
            attempts=record.attempts,
            reason=record.reason,
            detail=record.detail,
            updated_at=iso(record.updated),
        )


@answers("ListRecordsResponse")
class RecordPage:
    items: list[RecordAnswer]
    next_token: str | None


@answers("ImageRecord")
class ImageRecordAnswer:
    key: str
    run: int
    source: str
    status: Status
    source_digest: str
    dest_digest: str
    size: int
    moved: int
    skipped: int
    seconds: float
    attempts: int
    reason: str
    detail: str
    platforms: list[str]
    about: str
    ended_at: str | None

    @classmethod
    def of(cls, image: ImageRecord) -> Self:
        return cls(
            key=image.key,
            run=image.run,
            source=image.source,
            status=image.status,
            source_digest=image.source_digest,
            dest_digest=image.dest_digest,
            size=image.size,
            moved=image.moved,
            skipped=max(0, image.size - image.moved),
            seconds=image.seconds,
            attempts=image.attempts,
            reason=image.reason,
            detail=image.detail,
            platforms=[each for each in image.platforms.split(",") if each],
            about=image.about,
            ended_at=iso(image.ended),
        )


@answers("ListImagesResponse")
class ImagePage:
    items: list[ImageRecordAnswer]
    next_token: str | None


@answers("FailureGroup")
class FailureGroupAnswer:
    reason: str
    count: int
    detail: str
    keys: list[str]
    more: bool
    advice: str

    @classmethod
    def of(cls, group: FailureGroup) -> Self:
        return cls(
            reason=group.reason,
            count=group.count,
            detail=group.detail,
            keys=[text_of(key) for key in group.keys],
            more=group.more,
            advice=advice(group.reason),
        )


@query()
@empty_at_first(list)
async def list_runs(call: Call, *, id: str, count: int = 20) -> list[RunAnswer]:
    await call.ports.tasks.get(id)
    async with call.ports.engine.open(id) as platform:
        runs = await platform.records.list_runs(within("count", count, MAX_RUNS))
    return [RunAnswer.of(run) for run in runs]


@query()
@empty_at_first(lambda: RecordPage([], None))
async def list_records(
    call: Call, *, id: str, status: str | None = None, prefix: str | None = None,
    reason: str | None = None,
    run: int | None = None, limit: int = 100, next_token: str | None = None,
) -> RecordPage:  # fmt: skip
    await call.ports.tasks.get(id)
    async with call.ports.engine.open(id) as platform:
        records, after = await platform.records.page(
            run=run,
            status=Status(status) if status else None,
            prefix=prefix or "",
            reason=reason or "",
            after=key_of(next_token),
            limit=within("limit", limit, MAX_RECORDS),
        )
    return RecordPage(
        items=[RecordAnswer.of(record) for record in records],
        next_token=cursor(after) if after else None,
    )


@query()
@empty_at_first(lambda: ImagePage([], None))
async def list_images(
    call: Call, *, id: str, run: int | None = None, status: str | None = None,
    prefix: str | None = None,
    reason: str | None = None, limit: int = 100, next_token: str | None = None,
) -> ImagePage:  # fmt: skip
    await call.ports.tasks.get(id)
    most = within("limit", limit, MAX_RECORDS)
    async with call.ports.engine.open(id) as platform:
        images = await platform.images.page(
            run,
            status=Status(status) if status else None,
            prefix=prefix or "",
            reason=reason or "",
            after=key_of(next_token),
            limit=most,
        )
    return ImagePage(
        items=[ImageRecordAnswer.of(image) for image in images],
        next_token=cursor(images[-1].key) if len(images) == most else None,
    )


@query()
@empty_at_first(list)
async def image_history(call: Call, *, id: str, key: str) -> list[ImageRecordAnswer]:
    await call.ports.tasks.get(id)
    async with call.ports.engine.open(id) as platform:
        return [ImageRecordAnswer.of(image) for image in await platform.images.history(key)]


@query()
@empty_at_first(list)
async def failure_groups(call: Call, *, id: str) -> list[FailureGroupAnswer]:
    await call.ports.tasks.get(id)
    async with call.ports.engine.open(id) as platform:
        return [FailureGroupAnswer.of(group) for group in await platform.records.failure_groups()]


@query()
async def get_certificate(call: Call, *, id: str, run: int) -> str:
    task = await call.ports.tasks.get(id)
    return json.dumps(await _certificate(call.ports, task, run))


@mutation(Role.VIEWER)
async def certify(call: Call, *, id: str, run: int) -> JobAnswer:
    await call.ports.tasks.get(id)
    async with call.ports.engine.open(id) as platform:
        certificate.check(await platform.records.get_run(run))
    work = partial(make_certificate, call.ports, id, run)
    return JobAnswer.of(await call.ports.jobs.certify(id, run, work))


async def make_certificate(ports: HubPorts, id: str, run: int) -> dict[str, Any]:
    """The result of the job that `certify` starts."""
    task = await ports.tasks.get(id)
    await ports.engine.read_digest(id, run)
    return {"certificate": await _certificate(ports, task, run)}


async def _certificate(ports: HubPorts, task: Task, number: int) -> dict[str, Any]:
    async with ports.engine.open(task.id) as platform:
        run = await platform.records.get_run(number)
        certificate.check(run)
        digest = await platform.records.digest(number)
    return certificate.issue(task, run, digest, await ports.signing_key())
