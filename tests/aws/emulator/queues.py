"""SQS: the time that a call takes does not grow with the queue's depth."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ministack.services import sqs

from tests.aws.emulator.patching import replace

if TYPE_CHECKING:
    from collections.abc import Callable

EXPIRE = 1.0  # seconds between two sweeps for what has been kept long enough


def patch() -> None:
    replace(sqs, "_expire_retained", _now_and_then)


def _now_and_then(original: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    last: dict[str, float] = {}

    def expire(queue: dict[str, Any]) -> None:
        name = queue["attributes"].get("QueueArn", "")
        if time.time() - last.get(name, 0.0) > EXPIRE:
            last[name] = time.time()
            original(queue)

    return expire
