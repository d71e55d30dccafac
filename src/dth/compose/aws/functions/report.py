"""Writes a function's metrics as lines of CloudWatch's embedded metric format, per task.

Zeros are left out: each metric that is written costs money, also in a task that waits.
"""

import json
import os
import time
from collections.abc import Mapping

from dth.platforms.aws.gauges import NAMESPACE

UNITS = {
    "ObjectsTransferred": "Count",
    "ObjectsFailed": "Count",
    "RunsFailed": "Count",
    "BytesTransferred": "Bytes",
    "MessagesWaiting": "Count",
    "MessagesInFlight": "Count",
    "DeadLetters": "Count",
    "MissedStarts": "Count",
    "MachinesFailed": "Count",
    "Paused": "Count",
    # All that a person must know of: what the alarm looks at.
    "Failures": "Count",
}


def report(values: Mapping[str, float]) -> None:
    """Report what was settled since the last look, and what is waiting: names from UNITS."""
    values = {name: value for name, value in values.items() if value}
    if not values:
        return
    described = {
        "Namespace": NAMESPACE,
        "Dimensions": [["Task"]],
        "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in values],
    }
    line = {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [described]},
        "Task": os.environ["DTH_TASK"],
        **values,
    }
    print(json.dumps(line), flush=True)
