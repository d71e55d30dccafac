"""The resources of a task on AWS: its tables and its log group, which exist as long as the task,
and its stack, which exists while the task works.
"""

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from dth.core.errors import BeingSetUp, Conflict, NotFound, UsageError
from dth.core.parameters import in_templates
from dth.core.plugin import AwsTask
from dth.core.plugins import plugin
from dth.hub.model import Task
from dth.hub.ports import TaskStackState
from dth.hub.schedule import SCHEDULES
from dth.hub.steward import schedule_of
from dth.platforms.aws.client import Aws, Refused
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.hub.settings import HubSettings
from dth.platforms.aws.hub.stacks import MAX_VALUE, as_tags
from dth.platforms.aws.platform import AwsNames, AwsPlatform, open_platform
from dth.platforms.aws.tables import TABLES, Table, create_table

DIGESTED_AT_ONCE = 50_000  # records
RETENTION = 14  # days that log groups keep their events
GONE = "ResourceNotFoundException"
# Partition of the items in the hub's table that describe stacks.
STACK = "stack"
# Partition of the items that say when a task was last seen resting.
REST = "rest"


class _Nowhere:
    """Discards the metrics of the hub's own looks: nobody needs them."""

    def write(self, text: str, /) -> int:
        return len(text)

    def flush(self) -> None: ...


@dataclass(frozen=True, slots=True)
class TaskNames:
    """The names of all resources of one task."""

    settings: HubSettings
    task: str
    type: str

    @property
    def kind(self) -> AwsTask:
        """Raises UsageError if tasks of this type cannot run on AWS."""
        found = plugin(self.type).aws
        if found is None:
            raise UsageError(f"type: tasks of type {self.type} cannot run on AWS")
        return found

    @property
    def tables(self) -> dict[str, str]:
        return {name: f"{self.table_prefix}-{name}" for name in self.kind.tables}

    @property
    def table_prefix(self) -> str:
        return f"{self.settings.table_prefix}-{self.task}"

    @property
    def log_group(self) -> str:
        return f"{self.settings.log_prefix}/{self.task}"

    @property
    def stack(self) -> str:
        return f"{self.settings.stack_prefix}-{self.kind.name}-{self.task}"

    @property
    def tags(self) -> dict[str, str]:
        """Of everything that is made for the task."""
        return self.settings.tags_of(self.task)

    @property
    def template(self) -> str:
        """Below the asset prefix."""
        return f"templates/{self.kind.name}.json"

    def names(self, outputs: Mapping[str, str]) -> AwsNames:
        """For the adapters of the task's ports. Without outputs (there is no stack), the queue is
        left out."""
        objects, parts, images, state = (
            self.tables.get(name, "") for name in ("objects", "parts", "images", "state")
        )
        queue, dead = outputs.get("QueueUrl", ""), outputs.get("DeadLetterUrl", "")
        return AwsNames(self.task, self.settings.region, queue, dead, objects, parts, images, state)

    def parameters(self, task: Task) -> dict[str, str]:
        """The parameters of the task's template. Texts that are too long for CloudFormation are
        only in the task's own parameters: no template needs them."""
        settings = self.settings
        known = in_templates(plugin(task.type).parameters)
        given = {
            name: value
            for name, value in task.resolved.items()
            if name in known and len(value) <= MAX_VALUE
        }
        ours = {
            "taskId": self.task,
            "tablePrefix": self.table_prefix,
            "logGroup": self.log_group,
            "assetBucket": settings.asset_bucket,
            "assetPrefix": settings.asset_prefix,
            "permissionsBoundary": settings.permissions_boundary,
            "kmsKeyArn": settings.kms_key,
            "allowedNetworks": settings.allowed_networks,
            "hubTable": settings.hub_table,
            **self._schedule(task),
        }
        network = self._of_settings(self.kind.network)
        given = {name: value for name, value in given.items() if value}
        return {**network, **given, **ours, **self._of_settings(self.kind.code)}

    def _of_settings(self, names: Mapping[str, str]) -> dict[str, str]:
        return {name: str(getattr(self.settings, field)) for name, field in names.items()}

    def _schedule(self, task: Task) -> dict[str, str]:
        """The stack begins the runs. For a one-time task, it begins only the first one."""
        schedule = schedule_of(task)
        return dict.fromkeys(SCHEDULES, "") | (
            {schedule.parameter: schedule.text} if schedule else {}
        )


class AwsEngine:
    """`hub.ports.Engine`."""

    def __init__(self, aws: Aws, dynamo: Dynamo, settings: HubSettings) -> None:
        self._aws = aws
        self._dynamo = dynamo
        self.settings = settings

    def place(self, task: str, type: str) -> TaskNames:
        return TaskNames(self.settings, task, type)

    async def worker_group(self, id: str) -> str:
        """The Auto Scaling group of the task's workers; "" if it has none."""
        item = await self._dynamo.get("tasks", {"Id": id})
        place = self.place(id, item["Type"]) if item else None
        return f"{place.stack}-{place.kind.workers}" if place and place.kind.workers else ""

    async def changed(self, id: str) -> None:
        """Start the workflow, which brings the task to its desired state. If two executions do so
        at the same time, each finds what the other has done."""
        await self._aws.call(
            "stepfunctions",
            "start_execution",
            stateMachineArn=self.settings.workflow,
            name=f"{id[:36]}-{uuid.uuid4().hex[:12]}",
            input=json.dumps({"task": id}),
        )

    async def read_digest(self, id: str, run: int) -> None:
        async with self.open(id) as platform:
            while not await platform.records.read_digest(run, DIGESTED_AT_ONCE):
                pass

    @asynccontextmanager
    async def open(self, id: str, *, make: bool = False) -> AsyncIterator[AwsPlatform]:
        """Raises BeingSetUp while the task has no tables yet. Only its steward makes them."""
        item = await self._dynamo.get("tasks", {"Id": id})
        if not item:
            raise NotFound(f"there is no task {id!r}")
        place = self.place(id, item["Type"])
        try:
            stack = await self.stack(id)
            names = place.names(stack.outputs if stack else {})
            async with open_platform(names, f"hub-{uuid.uuid4().hex[:12]}", _Nowhere()) as platform:
                yield platform
        except Refused as error:
            if error.code != GONE:
                raise
            raise BeingSetUp(f"task {id} has no records yet: it is being set up") from None

    async def discard(self, id: str) -> None:
        """Raises Conflict while there is a stack, which nobody would delete afterwards, or while
        tables are being created."""
        if await self.stack(id):
            raise Conflict(
                "the task's CloudFormation stack is being deleted; try again in a minute"
            )
        item = await self._dynamo.get("tasks", {"Id": id})
        if not item:
            return
        place = self.place(id, item["Type"])
        for name in place.tables.values():
            if not await self._forget("dynamodb", "delete_table", TableName=name):
                raise Conflict("the task's tables are being made; try again in a minute")
        await self._forget("logs", "delete_log_group", logGroupName=place.log_group)
        for kind in (STACK, "look", REST):
            await self._dynamo.delete("hub", {"pk": kind, "sk": id})

    async def _forget(self, service: str, operation: str, **arguments: Any) -> bool:
        """Returns False if the resource is still being created. A resource that is gone, or is
        being deleted, counts as deleted."""
        try:
            await self._aws.call(service, operation, **arguments)
        except Refused as error:
            if error.code == "ResourceInUseException":
                return "being created" not in str(error)
            if error.code != GONE:
                raise
        return True

    async def stack(self, id: str) -> TaskStackState | None:
        item = await self._dynamo.get("hub", {"pk": STACK, "sk": id})
        return TaskStackState(**json.loads(item["json"])) if item else None

    # ------------------------------------------------------------------------------ for the steward

    async def keep_stack(self, id: str, stack: TaskStackState | None) -> None:
        """Store the state of the stack. A stack may have no outputs while it changes: the previous
        ones are kept."""
        before, key = await self.stack(id), {"pk": STACK, "sk": id}
        if stack is None:
            if before:
                await self._dynamo.delete("hub", key)
            return
        if before and before.id == stack.id and not stack.outputs:
            stack = replace(stack, outputs=before.outputs, descriptions=before.descriptions)
        if stack != before:
            await self._dynamo.put("hub", {**key, "json": json.dumps(asdict(stack))})

    async def rested(self, id: str) -> tuple[float, str]:
        """When the task was last seen resting, and its mark then; 0 and "" if it was not."""
        item = await self._dynamo.get("hub", {"pk": REST, "sk": id})
        return item.get("at", 0.0), item.get("mark", "")

    async def keep_rested(self, id: str, at: float, mark: str) -> None:
        await self._dynamo.put("hub", {"pk": REST, "sk": id, "at": at, "mark": mark})

    async def with_stacks(self) -> list[str]:
        """The tasks that had a stack at their last look."""
        return [item["sk"] async for item in self._dynamo.query("hub", "#pk = :pk", {"pk": STACK})]

    async def template(self, place: TaskNames) -> str:
        """The address of the template of the task, as it was published with this hub, and of no
        other version of it. Raises UsageError if somebody changed it."""
        settings, address = self.settings, f"{self.settings.asset_url}/{place.template}"
        digest = settings.template_digest(place.kind.name)
        if not digest:
            return address
        key = f"{settings.asset_prefix}/{place.template}"
        found = await self._aws.call("s3", "get_object", Bucket=settings.asset_bucket, Key=key)
        body = await asyncio.to_thread(found["Body"].read)
        if hashlib.sha256(body).hexdigest() != digest:
            raise UsageError(
                f"s3://{settings.asset_bucket}/{key} is not the template that was published "
                "with this hub: an administrator publishes it again"
            )
        version = found.get("VersionId", "null")
        return address if version == "null" else f"{address}?versionId={version}"

    async def make_memory(self, place: TaskNames) -> bool:
        """Create the tables and the log group of a task, which outlive its stacks. Returns False
        while they are being created."""
        for name, table in place.tables.items():
            await self._make_table(table, name, place.task)
        group: dict[str, str] = {"logGroupName": place.log_group}
        if self.settings.kms_key:
            group["kmsKeyId"] = self.settings.kms_key
        with suppress_code("ResourceAlreadyExistsException"):
            await self._aws.call("logs", "create_log_group", **group, tags=place.tags)
        await self._aws.call(
            "logs", "put_retention_policy", logGroupName=place.log_group, retentionInDays=RETENTION
        )
        told = [
            await self._aws.call("dynamodb", "describe_table", TableName=name)
            for name in place.tables.values()
        ]
        if any(each["Table"]["TableStatus"] != "ACTIVE" for each in told):
            return False
        for name, table in place.tables.items():
            await self._protect(table, TABLES[name])
        return True

    async def _make_table(self, name: str, kind: str, task: str) -> None:
        encrypted: dict[str, Any] = {"Enabled": True, "SSEType": "KMS"}
        if self.settings.kms_key:
            encrypted["KMSMasterKeyId"] = self.settings.kms_key
        with suppress_code("ResourceInUseException"):
            await self._aws.call(
                "dynamodb",
                "create_table",
                **create_table(name, TABLES[kind]),
                SSESpecification=encrypted,
                Tags=as_tags(self.settings.tags_of(task)),
            )

    async def _protect(self, name: str, table: Table) -> None:
        await self._aws.call(
            "dynamodb",
            "update_continuous_backups",
            TableName=name,
            PointInTimeRecoverySpecification={
                "PointInTimeRecoveryEnabled": table.is_recoverable(
                    self.settings.point_in_time_recovery
                )
            },
        )
        if table.expires:
            with suppress_code("ValidationException"):  # already set
                await self._aws.call(
                    "dynamodb",
                    "update_time_to_live",
                    TableName=name,
                    TimeToLiveSpecification={"Enabled": True, "AttributeName": table.expires},
                )


@contextmanager
def suppress_code(*codes: str) -> Iterator[None]:
    """Continue if AWS refuses with one of these codes."""
    try:
        yield
    except Refused as error:
        if error.code not in codes:
            raise
