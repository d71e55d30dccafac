"""All ports of one task over AWS."""

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from dth.core.errors import UsageError
from dth.core.ports.platform import Platform
from dth.platforms.aws.client import Aws
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.gauges import AwsGauges, Lines
from dth.platforms.aws.images import AwsImages
from dth.platforms.aws.limits import AwsLimits
from dth.platforms.aws.machines import AwsMachines
from dth.platforms.aws.queue import AwsQueue
from dth.platforms.aws.records import AwsRecords
from dth.platforms.aws.secrets import AwsSecrets
from dth.platforms.aws.uploads import AwsUploads

VARIABLES = {  # maps AwsNames to the environment
    "task": "DTH_TASK",
    "region": "DTH_REGION",
    "queue_url": "DTH_QUEUE_URL",
    "dead_letter_url": "DTH_DEAD_LETTER_URL",
    "objects": "DTH_OBJECTS_TABLE",
    "parts": "DTH_PARTS_TABLE",
    "images": "DTH_IMAGES_TABLE",
    "state": "DTH_STATE_TABLE",
    "secret_prefix": "DTH_SECRET_PREFIX",
    "bindings": "DTH_HUB_TABLE",
}
# A plugin has only the tables that it needs.
OPTIONAL = {"parts", "images", "secret_prefix", "bindings"}


@dataclass(frozen=True, slots=True)
class AwsNames:
    """The resources that a deployment created for one task: its queues, its tables (`tables`), and
    the place of its secrets."""

    task: str
    region: str
    queue_url: str
    dead_letter_url: str
    objects: str
    parts: str
    images: str
    state: str
    secret_prefix: str = ""
    # The hub's table, which has the bindings of secrets; "" = there is no hub.
    bindings: str = ""
    # URL of all services; "" = those of the region.
    endpoint: str = ""
    max_receives: int = 5  # as in the queue's redrive policy

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "AwsNames":
        """From the environment of a task's functions and machines. Raises UsageError for missing
        variables."""
        given: dict[str, Any] = {
            field: environment.get(name, "") for field, name in VARIABLES.items()
        }
        given["region"] = given["region"] or environment.get("AWS_REGION", "")
        if missing := [
            VARIABLES[field] for field in given if not given[field] and field not in OPTIONAL
        ]:
            raise UsageError(
                f"the environment does not say which task this is: {', '.join(missing)} missing"
            )
        return cls(**given)


@dataclass(frozen=True, slots=True)
class AwsPlatform(Platform):
    """The ports, with the secrets and the clients that they all use."""

    queue: AwsQueue
    records: AwsRecords
    uploads: AwsUploads
    gauges: AwsGauges
    secrets: AwsSecrets
    machines: AwsMachines
    aws: Aws
    dynamo: Dynamo


@asynccontextmanager
async def open_platform(
    names: AwsNames, process: str, metrics: Lines | None = None
) -> AsyncIterator[AwsPlatform]:
    """Open the task's ports for `process`, a name that no other live process of the task has: two
    processes with one name would overwrite each other's counts. The id of a machine plus a number,
    or the id of a Lambda request, is suitable. `metrics`: where lines of the embedded metric format
    are written, standard output by default."""
    aws = Aws(names.region, names.endpoint)
    tables = {each: getattr(names, each) for each in ("objects", "parts", "images", "state")}
    dynamo = Dynamo(aws, tables)
    queue = AwsQueue(aws, names.queue_url, names.dead_letter_url, names.max_receives)
    gauges = AwsGauges(names.task, metrics or sys.stdout, dynamo)
    try:
        yield AwsPlatform(
            queue=queue,
            records=AwsRecords(dynamo, queue, process),
            images=AwsImages(dynamo),
            uploads=AwsUploads(dynamo, queue),
            limits=AwsLimits(dynamo),
            gauges=gauges,
            secrets=AwsSecrets(aws, names.secret_prefix, names.bindings),
            machines=AwsMachines(aws, dynamo),
            aws=aws,
            dynamo=dynamo,
        )
    finally:
        gauges.flush()
        await queue.close()
        aws.close()
