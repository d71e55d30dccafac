"""All ports of one task over AWS."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TextIO

from dth.platforms.aws.client import Aws
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.gauges import AwsGauges
from dth.platforms.aws.images import AwsImages
from dth.platforms.aws.limits import AwsLimits
from dth.platforms.aws.queue import AwsQueue
from dth.platforms.aws.records import AwsRecords
from dth.platforms.aws.secrets import AwsSecrets
from dth.platforms.aws.uploads import AwsUploads
from dth.platforms.ports import Platform


@dataclass(frozen=True, slots=True)
class AwsNames:
    """What a deployment made for one task: its queues, its tables (`tables`), and where its secrets are."""

    task: str
    region: str
    queue_url: str
    dead_letter_url: str
    objects: str
    parts: str
    images: str
    state: str
    secret_prefix: str = ""
    endpoint: str = ""  # URL of all services; "" = the region's own
    max_receives: int = 5  # as the queue's redrive policy says


@dataclass(frozen=True, slots=True)
class AwsPlatform(Platform):
    """The ports, with the secrets and the clients behind them all."""

    queue: AwsQueue
    records: AwsRecords
    uploads: AwsUploads
    gauges: AwsGauges
    secrets: AwsSecrets
    aws: Aws


@asynccontextmanager
async def open_platform(
    names: AwsNames, process: str, metrics: TextIO | None = None
) -> AsyncIterator[AwsPlatform]:
    """The task's ports for `process`, a name that no other living process of the task has: two that share one would
    count over each other (a machine's id and a number will do, or the id of a Lambda's request). `metrics`: where lines
    of the embedded metric format go, standard output by default."""
    aws = Aws(names.region, names.endpoint)
    tables = {each: getattr(names, each) for each in ("objects", "parts", "images", "state")}
    dynamo = Dynamo(aws, tables)
    queue = AwsQueue(aws, names.queue_url, names.dead_letter_url, names.max_receives)
    gauges = AwsGauges(names.task, metrics or sys.stdout)
    try:
        yield AwsPlatform(
            queue=queue,
            records=AwsRecords(dynamo, queue, process),
            images=AwsImages(dynamo),
            uploads=AwsUploads(dynamo, queue),
            limits=AwsLimits(dynamo),
            gauges=gauges,
            secrets=AwsSecrets(aws, names.secret_prefix),
            aws=aws,
        )
    finally:
        gauges.flush()
        await queue.close()
        aws.close()
