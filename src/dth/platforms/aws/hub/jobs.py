"""Preflights, forecasts and probes: each is an invocation of a function with the permissions of
workers. Another function, which may read the records of tasks, makes certificates.
"""

import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from dth.core.errors import NotFound
from dth.hub.ports import CERTIFICATE, Job
from dth.platforms.aws.client import Aws
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.items import Item, pack, unpack

# Seconds. A forecast of billions of objects samples, and takes no longer.
LONGEST = 600.0
KEPT = 86_400.0  # seconds that a result is kept
# Seconds after LONGEST when a job without a result has failed.
LATE = 60.0


class AwsJobs:
    """`hub.ports.Jobs`. `function`: the name of the function that runs the jobs; `certifies`: of
    the function that makes certificates. They call `end`."""

    def __init__(self, aws: Aws, dynamo: Dynamo, function: str, certifies: str) -> None:
        self._aws = aws
        self._dynamo = dynamo
        self._function = function
        self._certifies = certifies

    async def start(
        self,
        kind: str,
        parameters: Mapping[str, Any],
        side: str = "",
        asked: Mapping[str, str] | None = None,
    ) -> Job:
        event = {
            "kind": kind,
            "parameters": dict(parameters),
            "side": side,
            "asked": dict(asked or {}),
        }
        return await self._invoke(self._function, kind, event)

    async def certify(
        self, task: str, run: int, work: Callable[[], Awaitable[dict[str, Any]]]
    ) -> Job:
        """An invocation ends with its answer, so another function does the work."""
        return await self._invoke(self._certifies, CERTIFICATE, {"task": task, "run": run})

    async def _invoke(self, function: str, kind: str, event: Mapping[str, Any]) -> Job:
        started = Job(id=str(uuid.uuid4()), kind=kind, started=time.time())
        await self._dynamo.put("hub", _item(started))
        payload = json.dumps({"job": started.id, **event})
        await self._aws.call(
            "lambda", "invoke", FunctionName=function, InvocationType="Event", Payload=payload
        )
        return started

    async def get(self, id: str) -> Job:
        item = await self._dynamo.get("hub", _key(id[:100] or "-"))
        if not item:
            raise NotFound(f"there is no job {id!r}")
        found = Job(**unpack(item["job"]))
        if found.state == "RUNNING" and time.time() - found.started > LONGEST + LATE:
            found.state, found.error = "FAILED", f"it took longer than {LONGEST / 60:.0f} minutes"
        return found

    async def end(self, id: str, result: dict[str, Any] | None, error: str = "") -> None:
        """Store that a job is done, or has failed with an error."""
        ended = await self.get(id)
        ended.state, ended.result, ended.error = (
            ("FAILED" if error else "DONE"),
            result or {},
            error,
        )
        ended.ended = time.time()
        await self._dynamo.put("hub", _item(ended))


def _key(id: str) -> Item:
    return {"pk": "job", "sk": id}


def _item(job: Job) -> Item:
    """Packed, because a preflight or a plan of images may be long."""
    return {**_key(job.id), "job": pack(asdict(job)), "expires": int(job.started + KEPT)}
