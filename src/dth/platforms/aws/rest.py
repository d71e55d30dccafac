"""When a task rests: nothing is in progress, and nothing has changed since a look saw that.

A look at a task costs money, every minute, also while the task waits for months. So a task that
rests is checked in full only now and then. In between, a look reads what says whether the task
still rests: three items of the state table, and how many messages its queues have.
"""

import hashlib
import json
import time
from collections.abc import Iterable

from dth.platforms.aws.client import Aws
from dth.platforms.aws.dynamo import Dynamo
from dth.platforms.aws.parameters import KEY as PARAMETERS
from dth.platforms.aws.runs import PAUSE_KEY, STATE_KEY

# Seconds after which a task that rests is checked in full again.
FULL = 600.0
WAITING = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]


async def mark_of(dynamo: Dynamo) -> str:
    """A text that is another one after a run began or ended, after the task was paused or resumed,
    and after its parameters changed."""
    items = await dynamo.get_many("state", [STATE_KEY, PAUSE_KEY, PARAMETERS])
    texts = sorted(json.dumps(each, sort_keys=True, default=sorted) for each in items)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


def is_recent(at: float) -> bool:
    """Whether a full look at that time is enough for now."""
    return 0 <= time.time() - at < FULL


async def are_empty(aws: Aws, queues: Iterable[str]) -> bool:
    """Whether none of the queues has a message. `queues`: their URLs."""
    for url in queues:
        told = await aws.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=WAITING)
        if any(int(count) for count in told.get("Attributes", {}).values()):
            return False
    return True
