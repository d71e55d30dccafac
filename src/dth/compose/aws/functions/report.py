"""Writes a function's metrics as lines of CloudWatch's embedded metric format, per task."""

import json
import os
import time
from collections.abc import Mapping

from dth.platforms.aws.gauges import NAMESPACE

UNITS = {
    "ObjectsTransferred": "Count",
    "ObjectsFailed": "Count",
    "BytesTransferred": "Bytes",
    "MessagesWaiting": "Count",
    "MessagesInFlight": "Count",
    "DeadLetters": "Count",
}


def report(values: Mapping[str, float]) -> None:
    """Report what was settled since the last look, and what is waiting: names from UNITS."""
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
